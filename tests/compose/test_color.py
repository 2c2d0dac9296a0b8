"""Curves of tone, matrices of colour and matching, against NumPy, SciPy, Pillow and OpenCV."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

import fastsynth as fs
from fastsynth import _core, compose
from fastsynth.image import match_mean_covariance

from .test_blend import DTYPES, TOPS, assert_rounded, samples, unit

Formula = Callable[[NDArray[np.float64]], NDArray[np.float64]]

TONES: dict[str, tuple[Callable[..., Any], Formula]] = {
    "levels": (
        lambda image: compose.levels(image, black=0.2, white=0.7, gamma=1.6, low=0.1, high=0.95),
        lambda x: 0.1 + 0.85 * np.clip((x - 0.2) / 0.5, 0, 1) ** (1 / 1.6),
    ),
    "gamma": (lambda image: compose.gamma(image, 0.45), lambda x: x ** (1 / 0.45)),
    "invert": (compose.invert, lambda x: 1 - x),
    "contrast": (
        lambda image: compose.brightness_contrast(image, 0.1, 0.4),
        lambda x: np.clip((x - 0.5) * np.tan(1.4 * np.pi / 4) + 0.6, 0, 1),
    ),
    "darker": (
        lambda image: compose.brightness_contrast(image, -0.3),
        lambda x: np.clip(x - 0.3, 0, 1),
    ),
    "lightness": (
        lambda image: compose.hue_saturation(image, lightness=0.25),
        lambda x: 0.75 * x + 0.25,
    ),
}


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([None, 1, 3, 4]),
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(TONES)),
    st.integers(0, 2**31),
)
def test_tones_are_their_formulas(
    size: tuple[int, int], depth: int | None, dtype: Any, name: str, seed: int
) -> None:
    shape = size if depth is None else (*size, depth)
    image = samples(shape, dtype, seed)
    call, formula = TONES[name]
    out = call(image)
    assert out.shape == shape
    assert out.dtype == dtype
    exact = formula(unit(image))
    if depth == 4:
        exact[..., 3] = unit(image)[..., 3]
    assert_rounded(out.array, exact, slack=0.02)


@pytest.mark.parametrize("dtype", DTYPES)
def test_curves_are_monotone_cubics(dtype: Any) -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    points = [(0.0, 0.1), (0.2, 0.15), (0.45, 0.8), (0.6, 0.8), (0.9, 0.3)]
    pchip = interpolate.PchipInterpolator(*np.array(points).T)
    image = samples((50, 60, 3), dtype, 1)
    exact = pchip(np.clip(unit(image), 0, 0.9))
    assert_rounded(compose.curves(image, points).array, exact, slack=1e-3)
    by_channel = compose.curves(image, {"green": points})
    exact = np.stack([unit(image)[..., 0], exact[..., 1], unit(image)[..., 2]], axis=2)
    assert_rounded(by_channel.array, exact, slack=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.floats(0, 1)),
        min_size=2,
        max_size=9,
        unique_by=lambda point: point[0],
    )
)
def test_curves_do_not_turn_between_points(points: list[tuple[int, float]]) -> None:
    knots = sorted((x / 1000, y) for x, y in points)
    ramp = np.arange(65536, dtype=np.uint16)[None]
    out = compose.curves(ramp, knots).array[0].astype(int)
    for (x0, y0), (x1, y1) in itertools.pairwise(knots):
        part = out[int(np.ceil(x0 * 65535)) : int(x1 * 65535) + 1]
        assert np.all(np.diff(part) * np.sign(y1 - y0) >= 0)


def test_curves_of_two_points_are_straight() -> None:
    image = samples((5, 6), np.float32, 3)
    assert np.allclose(compose.curves(image, [(0, 1), (1, 0)]), 1 - image, atol=1e-6)


def test_agrees_with_pillow() -> None:
    image = samples((40, 50, 3), seed=1)
    theirs = Image.fromarray(image)
    assert np.array_equal(compose.invert(image), np.asarray(ImageOps.invert(theirs)))
    grey = compose.grayscale(image)
    assert np.abs(grey[..., 0].astype(int) - np.asarray(theirs.convert("L"))).max() <= 1
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_grayscale_of_light() -> None:
    image = samples((10, 12, 3), np.float32, 1)
    x = image.astype(np.float64)
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) @ compose.color.REC709
    exact = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(compose.grayscale(image, linear=True)[..., 1] - exact).max() < 2e-6
    flat = samples((4, 4), seed=2)
    assert np.array_equal(compose.grayscale(flat, linear=True), flat)


def test_posterize_and_threshold() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    assert sorted(set(compose.posterize(ramp, 4).array.ravel().tolist())) == [0, 85, 170, 255]
    assert sorted(set(compose.posterize(ramp, 256).array.ravel().tolist())) == list(range(256))
    assert np.array_equal(compose.threshold(ramp, 100 / 255) == 255, ramp >= 100)
    colour = samples((9, 8, 4), seed=4)
    out = compose.threshold(colour)
    luma = colour[..., :3].astype(np.float64) @ (0.299, 0.587, 0.114)
    clear = np.abs(luma - 127.5) > 1e-3
    assert np.array_equal((out[..., 0] == 255)[clear], (luma >= 127.5)[clear])
    assert np.array_equal(out[..., 3], colour[..., 3])


@pytest.mark.parametrize("dtype", DTYPES)
def test_hue_and_saturation(dtype: Any) -> None:
    image = samples((20, 30, 3), dtype, 1)
    grey = np.array([0.213, 0.715, 0.072])
    luma = unit(image) @ grey
    out = compose.hue_saturation(image, saturation=0)
    assert_rounded(out.array, np.repeat(luma[..., None], 3, axis=2), slack=0.01)
    half = luma[..., None] + 0.5 * (unit(image) - luma[..., None])
    assert_rounded(compose.hue_saturation(image, saturation=0.5).array, half, slack=0.01)
    same = compose.hue_saturation(image, 360)
    assert np.abs(same.astype(np.float64) - image).max() <= (1e-5 if dtype == np.float32 else 0)
    # Pale colours stay inside, so turning keeps the luminance, and three thirds are a whole turn.
    pale = (0.4 + 0.2 * samples((20, 30, 3), np.float32, 2)).astype(np.float32)
    turned = compose.hue_saturation(pale, 120)
    assert np.abs(turned.array @ grey - pale @ grey).max() < 1e-3  # the W3C's digits are rounded
    back = compose.hue_saturation(compose.hue_saturation(turned, 120), 120)
    assert np.abs(back.array - pale).max() < 3e-3


def test_hue_matrix_of_red() -> None:
    """hueRotate(90) as the Filter Effects Module gives it: rows .213-.213, .715-.715, .072+.928."""
    matrix = compose.color.hue_matrix(90)
    assert np.allclose(matrix[0], [0.0, 0.0, 1.0], atol=1e-12)
    assert np.allclose(compose.color.hue_matrix(0), np.eye(3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_match_histogram(dtype: Any) -> None:
    image, target = samples((40, 30, 3), dtype, 1), samples((25, 33, 3), dtype, 2) // 2
    if dtype == np.float32:
        target = samples((25, 33, 3), dtype, 2) / np.float32(2)
    out = compose.match_histogram(image, target)
    top = TOPS[np.dtype(dtype).name]
    for channel in range(3):
        for share in (0.2, 0.5, 0.9):
            ours, theirs = (np.quantile(a[..., channel], share) / top for a in (out, target))
            assert abs(ours - theirs) < 0.06
        order = np.argsort(image[..., channel].ravel(), kind="stable")
        assert np.all(np.diff(out.array[..., channel].ravel()[order].astype(np.float64)) >= 0)
    assert np.array_equal(compose.match_histogram(image, image), image)


def test_match_histogram_is_the_same_for_bytes_and_floats() -> None:
    image, target = samples((20, 30, 3), seed=1), samples((11, 13, 3), seed=2)
    by_bytes = compose.match_histogram(image, target)
    by_floats = compose.match_histogram(unit(image), unit(target))
    assert np.abs(by_bytes - by_floats * 255).max() <= 0.5 + 1e-3
    grey = compose.match_histogram(image[..., 0], target)
    assert grey.shape == (20, 30)


def test_match_color() -> None:
    image = samples((20, 30, 3), np.float32, 1, extremes=False) * np.float32(0.2) + np.float32(0.4)
    target = samples((9, 8, 3), np.float32, 2, extremes=False) * np.float32(0.3) + np.float32(0.3)
    out = compose.match_color(image, target).array.reshape(-1, 3).astype(np.float64)
    assert np.allclose(out.mean(axis=0), target.reshape(-1, 3).mean(axis=0), atol=2e-3)
    aim = np.cov(target.reshape(-1, 3).T.astype(np.float64), bias=True)
    assert np.allclose(np.cov(out.T, bias=True), aim, atol=2e-3)
    planar = match_mean_covariance(image.transpose(2, 0, 1), target.transpose(2, 0, 1), "pca")
    by_pca = compose.match_color(image, target, "pca")
    assert np.array_equal(by_pca, planar.transpose(1, 2, 0))
    clear = np.dstack([image, np.full((20, 30), 0.5, np.float32)])
    assert np.array_equal(compose.match_color(clear, target)[..., 3], clear[..., 3])


def test_tables_agree_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = samples((30, 40, 3), seed=1)
    table = np.random.default_rng(0).integers(0, 256, 256).astype(np.uint8)
    ours = _core.look_up(image, np.tile(table, (3, 1)), _core.ThreadPool(2))
    assert np.array_equal(ours, cv2.LUT(image, table))


def test_the_core_checks_again() -> None:
    pool, image = _core.ThreadPool(1), samples((3, 4, 3))
    with pytest.raises(ValueError, match="every value"):
        _core.look_up(image, np.zeros((3, 255), np.uint8), pool)
    with pytest.raises(ValueError, match="of the image's type"):
        _core.look_up(image, np.zeros((3, 256), np.uint16), pool)
    with pytest.raises(ValueError, match="colour"):
        _core.color_matrix(image[..., :1].copy(), np.zeros((3, 4)), pool)
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        _core.color_matrix(image, np.zeros((3, 3)), pool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: compose.levels(x, black=0.5, white=0.5), "black below white"),
        (lambda x: compose.levels(x, low=2), "low is 2"),
        (lambda x: compose.levels(x, gamma=0), "gamma is 0"),
        (lambda x: compose.gamma(x, -1), "value is -1"),
        (lambda x: compose.gamma(x, "much"), "finite number"),
        (lambda x: compose.brightness_contrast(x, 1.5), "brightness is 1.5"),
        (lambda x: compose.brightness_contrast(x, 0, -2), "contrast is -2"),
        (lambda x: compose.curves(x, [(0, 0)]), "at least two"),
        (lambda x: compose.curves(x, [(0, 0), (0, 1)]), "rising x"),
        (lambda x: compose.curves(x, [(0, 0), (1, 2)]), "in .0, 1."),
        (lambda x: compose.curves(x, "abc"), "points of a curve"),
        (lambda x: compose.curves(x, {"cyan": [(0, 0), (1, 1)]}), "expected some of red"),
        (lambda x: compose.curves(x[..., 0], {"red": [(0, 0), (1, 1)]}), "image is grey"),
        (lambda x: compose.posterize(x, 1), "tones is 1"),
        (lambda x: compose.posterize(x, 2.5), "whole number"),
        (lambda x: compose.threshold(x, 7), "value is 7"),
        (lambda x: compose.hue_saturation(x, saturation=-1), "saturation is -1"),
        (lambda x: compose.hue_saturation(x, lightness=3), "lightness is 3"),
        (lambda x: compose.hue_saturation(x, hue=np.inf), "hue is inf"),
        (lambda x: compose.match_color(x, x, "magic"), "mode is 'magic'"),
        (lambda x: compose.match_histogram(x, "nowhere.png"), "no such file"),
        (lambda x: compose.invert(x.astype(np.int64)), "int64"),
        (lambda x: compose.resize(x, 0), "size is 0"),
        (lambda x: compose.resize(x, 8, "nearest"), "method is 'nearest'"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(fs.ImageError, match=message):
        call(samples((4, 5, 3)))


def test_resize_weighs_colour_by_alpha() -> None:
    """A transparent red pixel does not bleed into an opaque blue one."""
    image = np.array([[[255, 0, 0, 0], [0, 0, 255, 255]]], np.uint8)
    assert compose.resize(image, (1, 1), "area").ravel().tolist() == [0, 0, 255, 128]
    assert compose.resize(samples((30, 40, 3), np.uint16), "20x10").shape == (10, 20, 3)
