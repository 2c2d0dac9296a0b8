"""Colour, against the formulas in float64 and against known values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import wasserstein_distance

from fastsynth._errors import ImageError
from fastsynth.image import (
    join_luminance,
    keep_luminance,
    linear_to_srgb,
    luminance,
    match_distribution,
    match_histogram,
    match_mean_covariance,
    split_luminance,
    srgb_to_linear,
)

RNG = np.random.default_rng(4)
MODES = ["monge", "cholesky", "pca"]
pictures = hnp.arrays(
    np.float32,
    st.tuples(st.just(3), st.integers(1, 6), st.integers(1, 6)),
    elements=st.one_of(st.sampled_from([0, 1, 0.5]), st.floats(0, 1, width=32)),
)


def moments(pixels: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    flat = pixels.reshape(3, -1).astype(np.float64)
    w = None if weight is None else weight.ravel().astype(np.float64)
    return np.average(flat, axis=1, weights=w), np.cov(flat, bias=True, aweights=w)


def mixed(height: int, width: int, seed: int) -> np.ndarray:
    """Correlated colours well inside [0, 1]."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(0, 0.05, (3, 3))
    pixels = np.tensordot(mix, rng.normal(size=(3, height, width)), 1) + rng.uniform(
        0.4, 0.6, (3, 1, 1)
    )
    return pixels.astype(np.float32)


def test_srgb_curve_at_known_points() -> None:
    encoded = np.array([0, 0.04045, 0.5, 1])
    linear = np.array([0, 0.0031308, 0.2140411, 1])
    np.testing.assert_allclose(srgb_to_linear(encoded), linear, atol=1e-7)
    np.testing.assert_allclose(linear_to_srgb(linear), encoded, atol=1e-6)
    levels = np.linspace(0, 1, 4097, dtype=np.float32)
    there_and_back = linear_to_srgb(srgb_to_linear(levels))
    assert there_and_back.dtype == np.float32
    np.testing.assert_allclose(there_and_back, levels, atol=3e-6)


def test_luminance_of_the_primaries() -> None:
    primaries = np.eye(3, dtype=np.float32).reshape(3, 1, 3)
    np.testing.assert_allclose(luminance(primaries)[0], [0.299, 0.587, 0.114], atol=1e-7)


@given(pictures)
@settings(deadline=None)
def test_split_and_join_are_inverse(pixels: np.ndarray) -> None:
    y, chroma = split_luminance(pixels)
    np.testing.assert_allclose(join_luminance(y, chroma), pixels, atol=1e-6)


@given(pictures, pictures)
@settings(deadline=None)
def test_keep_luminance_keeps_it_within_the_range(a: np.ndarray, b: np.ndarray) -> None:
    h, w = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
    result, content = a[:, :h, :w], b[:, :h, :w]
    out = keep_luminance(result, content)
    assert out.min() >= 0
    assert out.max() <= 1
    np.testing.assert_allclose(luminance(out), luminance(result), atol=2e-6)


def test_keep_luminance_takes_the_colours_of_the_content() -> None:
    content = mixed(5, 6, 1)
    result = np.broadcast_to(luminance(content) + np.float32(0.05), content.shape)
    np.testing.assert_allclose(keep_luminance(result, content), content + 0.05, atol=1e-6)
    np.testing.assert_allclose(keep_luminance(content, content), content, atol=1e-6)
    with pytest.raises(ImageError, match=r"resize the content"):
        keep_luminance(content, content[:, :2])
    with pytest.raises(ImageError, match="chroma has shape"):
        join_luminance(content[0], content)


@pytest.mark.parametrize("mode", MODES)
def test_mean_and_covariance_are_met(mode: Any) -> None:
    source, target = mixed(40, 50, 1), mixed(31, 17, 2)
    out = match_mean_covariance(source, target, mode, clip=False)
    for got, expected in zip(moments(out), moments(target), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-7)
    assert out.shape == source.shape
    assert out.dtype == np.float32


def test_the_maps_are_those_of_the_formulas() -> None:
    source, target = mixed(40, 50, 1), mixed(31, 17, 2)
    (mean_s, cov_s), (mean_t, cov_t) = moments(source), moments(target)
    root = scipy.linalg.sqrtm
    inverse = np.linalg.inv(root(cov_s))
    maps = {
        "monge": inverse @ root(root(cov_s) @ cov_t @ root(cov_s)) @ inverse,
        "pca": root(cov_t) @ inverse,
        "cholesky": np.linalg.cholesky(cov_t) @ np.linalg.inv(np.linalg.cholesky(cov_s)),
    }
    flat = source.reshape(3, -1) - mean_s[:, None]
    for mode, matrix in maps.items():
        expected = (matrix @ flat + mean_t[:, None]).reshape(source.shape)
        out = match_mean_covariance(source, target, mode, clip=False)  # type: ignore[arg-type]
        np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_matched_to_itself_stays(mode: Any) -> None:
    source = RNG.random((3, 20, 20), np.float32)
    np.testing.assert_allclose(match_mean_covariance(source, source, mode), source, atol=1e-6)


DEGENERATE = {
    "black": np.zeros((3, 4, 4), np.float32),
    "white": np.ones((3, 4, 4), np.float32),
    "one pixel": np.full((3, 1, 1), 0.3, np.float32),
    "one row": RNG.random((3, 1, 9), np.float32),
    "grey ramp": np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4), (3, 4, 4)),
    "red only": np.stack([RNG.random((4, 4), np.float32), *np.zeros((2, 4, 4), np.float32)]),
    "two colours": np.where(RNG.random((1, 4, 4)) < 0.5, 0.2, 0.8).astype(np.float32)
    * np.ones((3, 1, 1), np.float32),
    "rich": RNG.random((3, 8, 8), np.float32),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("source", DEGENERATE)
@pytest.mark.parametrize("target", DEGENERATE)
def test_degenerate_colours_stay_finite(source: str, target: str, mode: Any) -> None:
    out = match_mean_covariance(DEGENERATE[source], DEGENERATE[target], mode, clip=False)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out.mean((1, 2)), DEGENERATE[target].mean((1, 2)), atol=1e-5)


def test_a_constant_picture_takes_the_mean() -> None:
    out = match_mean_covariance(DEGENERATE["one pixel"], DEGENERATE["rich"])
    np.testing.assert_allclose(out[:, 0, 0], DEGENERATE["rich"].mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_rounding_noise_of_a_grey_picture_is_not_blown_up(mode: Any) -> None:
    grey = np.broadcast_to(RNG.random((60, 60), np.float32), (3, 60, 60))
    noisy = grey + RNG.normal(0, 0.3 / 255, grey.shape).astype(np.float32)
    out = match_mean_covariance(noisy, DEGENERATE["rich"], mode, clip=False)
    clean = match_mean_covariance(grey, DEGENERATE["rich"], mode, clip=False)
    # A naive match would stretch the noise (variance 1e-6) to the spread of the target (.08): by
    # 250.
    assert np.abs(out - clean).std() < 0.12


@given(pictures, pictures, st.sampled_from(MODES))
@settings(deadline=None, max_examples=200)
def test_matching_is_finite_and_in_range_for_every_input(
    a: np.ndarray, b: np.ndarray, mode: Any
) -> None:
    out = match_mean_covariance(a, b, mode)
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


def test_transparent_pixels_do_not_count() -> None:
    target, source = mixed(20, 20, 3), mixed(20, 20, 5)
    alpha = np.zeros((20, 20), np.float32)
    alpha[:, :10] = 1
    spoiled = target.copy()
    spoiled[:, :, 10:] = 1
    expected = match_mean_covariance(source, target[:, :, :10])
    np.testing.assert_allclose(
        match_mean_covariance(source, spoiled, target_alpha=alpha), expected, atol=1e-6
    )
    alpha[:, :10] = RNG.random((20, 10))
    out = match_mean_covariance(source, target, source_alpha=alpha, target_alpha=alpha, clip=False)
    for got, wanted in zip(moments(out, alpha), moments(target, alpha), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-7)
    with pytest.raises(ImageError, match="transparent everywhere"):
        match_mean_covariance(source, target, source_alpha=alpha * 0)
    with pytest.raises(ImageError, match=r"target_alpha has shape \(2, 2\)"):
        match_mean_covariance(source, target, target_alpha=alpha[:2, :2])


def test_histogram_matching() -> None:
    source, target = RNG.random((3, 30, 40), np.float32), RNG.random((3, 40, 30), np.float32) ** 2
    out = match_histogram(source, target)
    for channel in range(3):
        np.testing.assert_allclose(
            np.sort(out[channel], axis=None), np.sort(target[channel], axis=None), atol=1e-6
        )
        order = np.argsort(source[channel], axis=None)
        assert (np.diff(out[channel].ravel()[order]) >= 0).all()
    np.testing.assert_allclose(match_histogram(source, source), source, atol=1e-6)
    constant = match_histogram(np.zeros((3, 4, 4), np.float32), target)
    assert np.ptp(constant, axis=(1, 2)).max() == 0


def sliced_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest W1 distance of two pictures' colours over 20 directions, by SciPy."""
    rng = np.random.default_rng(5)
    return max(
        wasserstein_distance(line @ a.reshape(3, -1), line @ b.reshape(3, -1))
        for line in (v / np.linalg.norm(v) for v in rng.normal(size=(20, 3)))
    )


def test_distribution_matching_matches_jointly() -> None:
    """Two clusters of colour: channel by channel the wrong pairs of values would come about."""
    target = np.empty((3, 30, 40), np.float32)
    target[:, :15], target[:, 15:] = np.array([0.8, 0.2, 0.3])[:, None, None], 0.4
    target += RNG.normal(0, 0.03, target.shape).astype(np.float32)
    source = mixed(48, 36, 1)
    out = match_distribution(source, [(target, 1.0)])
    assert out.dtype == np.float32
    assert out.shape == source.shape
    assert sliced_distance(source, target) > 0.1
    assert sliced_distance(match_histogram(source, target), target) > 0.03
    assert sliced_distance(out, target) < 0.015
    np.testing.assert_array_equal(out, match_distribution(source, [(target, 1.0)]))
    np.testing.assert_allclose(match_distribution(source, [(source, 2.0)]), source, atol=2e-3)


def test_distribution_matching_of_mixtures_and_flat_pictures() -> None:
    dark, light = mixed(20, 20, 2) * 0.3, 0.7 + mixed(30, 20, 3) * 0.3
    out = match_distribution(mixed(40, 40, 4), [(dark, 1.0), (light, 3.0), (dark + 5, 0.0)])
    assert out.max() < 1.1
    assert np.mean(luminance(out) > 0.55) == pytest.approx(0.75, abs=0.01)
    # A flat picture gets the mean colour, and a grey target leaves no colour.
    flat = match_distribution(np.full((3, 8, 8), 0.2, np.float32), [(light, 1.0)])
    np.testing.assert_allclose(flat[:, 0, 0], light.mean((1, 2)), atol=5e-3)
    grey = match_distribution(mixed(40, 40, 6), [(dark[:1].repeat(3, 0), 1.0)])
    assert np.ptp(grey, axis=0).max() < 0.02


def test_other_shapes_and_modes_are_refused() -> None:
    good = mixed(4, 4, 0)
    with pytest.raises(ImageError, match="mode is 'best'"):
        match_mean_covariance(good, good, "best")  # type: ignore[arg-type]
    for call in (
        luminance,
        lambda bad: match_mean_covariance(bad, good),
        lambda bad: match_mean_covariance(good, bad),
        lambda bad: match_histogram(good, bad),
        lambda bad: match_distribution(bad, [(good, 1.0)]),
        lambda bad: match_distribution(good, [(bad, 1.0)]),
        lambda bad: keep_luminance(bad, good),
    ):
        with pytest.raises(ImageError, match=r"shape \(4, 4\); expected planar"):
            call(good[0])
