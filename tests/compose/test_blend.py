"""Eq. 2, blend modes and alpha compositing against float64 formulas, Pillow and OpenCV."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops

import fastsynth as fs
from fastsynth import _core
from fastsynth.compose import BLEND_MODES, OPERATORS, blend, composite

from . import w3c

DTYPES = (np.uint8, np.uint16, np.float32)
TOPS = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}


def samples(
    shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0, extremes: bool = True
) -> NDArray[Any]:
    """Random samples, in which black, white and the middle are common."""
    rng = np.random.default_rng(seed)
    unit = rng.random(shape)
    if extremes:
        unit = np.where(rng.random(shape) < 0.3, rng.choice([0, 0.25, 0.5, 1], shape), unit)
    top = TOPS[np.dtype(dtype).name]
    return np.rint(unit * top).astype(dtype) if top > 1 else unit.astype(dtype)


def unit(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64) / TOPS[values.dtype.name]


def assert_rounded(found: NDArray[Any], exact: NDArray[np.float64], slack: float = 2e-3) -> None:
    """Integers are the nearest to the exact value; floats agree to 2e-6."""
    top = TOPS[found.dtype.name]
    limit = 0.5 + slack if top > 1 else 2e-6
    worst = np.abs(np.asarray(found, np.float64) - exact * top).max()
    assert worst <= limit, worst


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
channels = st.sampled_from([None, 1, 3])
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=80, deadline=None)
@given(shapes, channels, st.sampled_from(DTYPES), st.floats(0, 1), seeds)
def test_plain_mean_is_equation_2(
    size: tuple[int, int], depth: int | None, dtype: Any, alpha: float, seed: int
) -> None:
    shape = size if depth is None else (*size, depth)
    a, b = samples(shape, dtype, seed), samples(shape, dtype, seed + 1)
    out = blend(a, b, alpha)
    assert out.shape == shape
    assert out.dtype == dtype
    exact = alpha * unit(a) + (1 - alpha) * unit(b)
    assert_rounded(out.array, exact, slack=1e-6)  # the mean is exact: only true ties are open


def test_every_byte_pair_is_rounded_right() -> None:
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for alpha in (0.1, 0.25, 1 / 3, 0.5, 0.7, 0.999):
        exact = alpha * a.astype(np.float64) + (1 - alpha) * b
        assert np.abs(blend(a, b, alpha) - exact).max() <= 0.5 + 1e-9
    for mode in ("multiply", "screen", "difference", "exclusion", "add", "subtract"):
        exact = np.vectorize(w3c.channel, otypes=[float])(mode, b / 255, a / 255) * 255
        assert np.abs(blend(a, b, 1, mode=mode) - exact).max() <= 0.5 + 1e-4, mode


def test_products_of_words_are_rounded_right() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 65536, (2, 300, 400)).astype(np.uint16)
    a[0, :3], b[0, :3] = (65535, 65535, 1), (65535, 65534, 32767)
    exact = a.astype(np.float64) * b / 65535
    assert np.abs(blend(a, b, 1, mode="multiply") - exact).max() <= 0.5


@settings(max_examples=40, deadline=None)
@given(shapes, st.sampled_from(DTYPES), st.sampled_from(BLEND_MODES), st.floats(0, 1), seeds)
def test_blend_modes_are_the_formulas(
    size: tuple[int, int], dtype: Any, mode: str, alpha: float, seed: int
) -> None:
    a, b = samples((*size, 3), dtype, seed), samples((*size, 3), dtype, seed + 1)
    mask = samples(size, np.float32, seed + 2)
    opaque = np.ones((*size, 1))
    layer = np.concatenate([unit(a), alpha * mask[..., None].astype(np.float64)], axis=2)
    exact = w3c.composite(layer, np.concatenate([unit(b), opaque], axis=2), mode=mode)
    out = blend(a, b, alpha, mask=mask, mode=mode)
    assert out.shape == a.shape
    # Where a mode divides by nearly nothing, a float32 input rules the last digits.
    slack = 2e-3 if mode not in ("color-dodge", "color-burn", *w3c.NON_SEPARABLE) else 4e-3
    if dtype == np.float32:
        assert np.abs(out - exact[..., :3]).max() < (2e-4 if slack > 2e-3 else 3e-6)
    else:
        assert_rounded(out.array, exact[..., :3], slack)


@settings(max_examples=60, deadline=None)
@given(
    shapes,
    st.sampled_from(DTYPES),
    st.tuples(st.sampled_from(OPERATORS), st.sampled_from(BLEND_MODES)),
    st.floats(0, 1),
    seeds,
)
def test_operators_are_the_formulas(
    size: tuple[int, int], dtype: Any, way: tuple[str, str], alpha: float, seed: int
) -> None:
    operator, mode = way
    a, b = samples((*size, 4), dtype, seed), samples((*size, 4), dtype, seed + 1)
    layer = unit(a)
    layer[..., 3] *= alpha
    exact = w3c.composite(layer, unit(b), operator, mode)
    out = composite(a, b, operator, alpha=alpha, mode=mode)
    # Colours are divided by alpha: next to nothing, they keep the digits that alpha has.
    seen = exact[..., 3] > 1e-3
    top = TOPS[np.dtype(dtype).name]
    error = np.abs(np.asarray(out, np.float64) - exact * top)
    assert error[..., 3].max() <= (0.502 if top > 1 else 1e-6)
    assert error[seen].max(initial=0) <= (0.52 if top > 1 else 2e-3)


def test_all_modes_and_operators_are_there() -> None:
    assert set(BLEND_MODES) == {*w3c.SEPARABLE, *w3c.NON_SEPARABLE}
    assert set(OPERATORS) == set(w3c.OPERATORS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_laws(dtype: Any) -> None:
    a, b = samples((13, 17, 3), dtype, 1), samples((13, 17, 3), dtype, 2)
    top = TOPS[np.dtype(dtype).name]
    white, black = np.full_like(a, top), np.zeros_like(a)
    assert np.array_equal(blend(a, b, 1), a)
    assert np.array_equal(blend(a, b, 0), b)
    for mode in BLEND_MODES:
        assert np.array_equal(blend(a, b, 0, mode=mode), b), mode
    same = {
        "multiply": white,
        "darken": white,
        "screen": black,
        "lighten": black,
        "add": black,
        "difference": black,
        "exclusion": black,
        "color-dodge": black,
        "color-burn": white,
    }
    for mode, neutral in same.items():
        found = blend(neutral, b, 1, mode=mode)
        assert np.abs(np.asarray(found, np.float64) - b).max() <= (0 if top > 1 else 1e-7), mode
    for mode in ("multiply", "screen", "darken", "lighten", "difference", "exclusion", "add"):
        assert np.array_equal(blend(a, b, 1, mode=mode), blend(b, a, 1, mode=mode)), mode
    assert np.array_equal(blend(a, b, 1, mode="overlay"), blend(b, a, 1, mode="hard-light"))
    assert not blend(a, a, 1, mode="difference").any()


def test_the_alpha_of_a_layer_is_a_mask() -> None:
    a, b = samples((9, 11, 3), seed=1), samples((9, 11, 3), seed=2)
    mask = samples((9, 11), seed=3)
    by_mask = blend(a, b, 0.7, mask=mask)
    by_alpha = blend(np.dstack([a, mask]), b, 0.7)
    assert np.array_equal(by_mask, by_alpha)
    assert by_alpha.shape == b.shape  # b is opaque, so is the result
    assert blend(a, np.dstack([b, mask])).shape == (9, 11, 4)


def test_masks_of_every_kind() -> None:
    a, b = samples((6, 5, 3), seed=1), samples((6, 5, 3), seed=2)
    inside = np.random.default_rng(0).random((6, 5)) < 0.5
    expected = np.where(inside[..., None], a, b)
    as_bytes = inside.astype(np.uint8) * np.uint8(255)
    for mask in (
        inside,
        as_bytes,
        inside.astype(np.uint16) * np.uint16(65535),
        inside.astype(np.float64),
        as_bytes[..., None],
        np.repeat(as_bytes[..., None], 3, axis=2),
        Image.fromarray(as_bytes),
    ):
        assert np.array_equal(blend(a, b, 1, mask=mask), expected)


def test_grey_and_colour_meet_in_colour() -> None:
    grey, colour = samples((5, 4), seed=1), samples((5, 4, 3), seed=2)
    full = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(blend(grey, colour, 0.3), blend(full, colour, 0.3))
    assert np.array_equal(
        blend(colour, grey, 0.3, mode="hue"), blend(colour, full, 0.3, mode="hue")
    )
    assert blend(grey, grey, mode="luminosity").shape == (5, 4)


def test_the_first_image_gives_the_type() -> None:
    a, b = samples((5, 4, 3), np.uint8, 1), samples((5, 4, 3), np.uint8, 2)
    wide = b.astype(np.uint16) * np.uint16(257)
    assert np.array_equal(blend(a, wide, 0.3), blend(a, b, 0.3))
    assert blend(wide, a, 0.3).dtype == np.uint16
    assert blend(unit(a), b).dtype == np.float64
    assert np.array_equal(blend(a, unit(b), 0.3), blend(a, b, 0.3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_light(dtype: Any) -> None:
    a, b = samples((40, 30, 3), dtype, 1), samples((40, 30, 3), dtype, 2)

    def light(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)

    def encoded(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)

    exact = encoded(0.3 * light(unit(a)) + 0.7 * light(unit(b)))
    assert_rounded(blend(a, b, 0.3, linear=True).array, exact, slack=0.02)
    total = encoded(np.minimum(1, light(unit(a)) + light(unit(b))))
    assert_rounded(blend(a, b, 1, mode="add", linear=True).array, total, slack=0.02)
    # Alpha is no light: it stays as it is.
    layer = np.dstack([a, a[..., 0]])
    assert np.array_equal(composite(layer, layer, "copy", linear=True)[..., 3], a[..., 0])


def test_agrees_with_pillow() -> None:
    a, b = samples((60, 70, 3), seed=1), samples((60, 70, 3), seed=2)
    pa, pb = Image.fromarray(a), Image.fromarray(b)
    functions = {
        "multiply": ImageChops.multiply,
        "screen": ImageChops.screen,
        "darken": ImageChops.darker,
        "lighten": ImageChops.lighter,
        "difference": ImageChops.difference,
        "add": ImageChops.add,
        "subtract": ImageChops.subtract,
    }
    for mode, function in functions.items():
        theirs = np.asarray(function(pa, pb)).astype(int)
        assert np.abs(blend(a, b, 1, mode=mode).array - theirs).max() <= 1, mode
    mean = np.asarray(Image.blend(pb, pa, 0.3)).astype(int)
    assert np.abs(blend(a, b, 0.3).array - mean).max() <= 1
    la, lb = samples((60, 70, 4), seed=3), samples((60, 70, 4), seed=4)
    theirs = np.asarray(Image.alpha_composite(Image.fromarray(lb), Image.fromarray(la)))
    ours = composite(la, lb)
    assert np.abs(ours[..., 3].astype(int) - theirs[..., 3]).max() <= 1
    solid = theirs[..., 3] > 100
    assert np.abs(ours.array.astype(int) - theirs)[solid].max() <= 2


def test_agrees_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    for dtype in DTYPES:
        a, b = samples((60, 70, 3), dtype, 1), samples((60, 70, 3), dtype, 2)
        one = 1 if dtype != np.float32 else 1e-6
        for alpha in (0.2, 0.5, 0.9):
            theirs = cv2.addWeighted(a, alpha, b, 1 - alpha, 0).astype(np.float64)
            assert np.abs(blend(a, b, alpha) - theirs).max() <= one
        assert np.array_equal(blend(a, b, 1, mode="darken"), cv2.min(a, b))
        assert np.array_equal(blend(a, b, 1, mode="lighten"), cv2.max(a, b))
        assert np.array_equal(blend(a, b, 1, mode="difference"), cv2.absdiff(a, b))
        assert np.allclose(
            blend(a, b, 1, mode="add"), np.minimum(cv2.add(a, b), TOPS[a.dtype.name])
        )


def test_threads_do_not_change_a_bit() -> None:
    a, b = samples((301, 457, 4), np.float32, 1), samples((301, 457, 4), np.float32, 2)
    for mode in ("normal", "soft-light", "hue"):
        one, three = (composite(a, b, mode=mode, threads=n) for n in (1, 3))
        assert np.array_equal(one, three)


def test_views_and_orders_of_memory() -> None:
    a, b = samples((20, 30, 3), seed=1), samples((20, 30, 3), seed=2)
    expected = blend(a[::2, ::-1].copy(), b[::2, ::-1].copy(), 0.4)
    assert np.array_equal(blend(a[::2, ::-1], b[::2, ::-1], 0.4), expected)
    assert np.array_equal(blend(np.asfortranarray(a), b, 0.4), blend(a, b, 0.4))


@pytest.mark.parametrize("name", _core.available_kernel_sets())
def test_every_kernel_set(name: str, tmp_path: Path) -> None:
    """Kernels of all instruction sets agree, to rounding."""
    code = """
import sys, numpy as np
from fastsynth import _core, compose
assert _core.kernel_set() == sys.argv[2]
rng = np.random.default_rng(5)
found = {}
for dtype, top in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
    a, b = (rng.random((2, 61, 43, 4)) * top).astype(dtype)
    for mode in compose.BLEND_MODES:
        found[f"{dtype} {mode}"] = compose.composite(a, b, mode=mode).array / top
        found[f"{dtype} {mode} opaque"] = compose.blend(
            a[..., :3], b[..., :3], 0.4, mode=mode, linear=True).array / top
np.savez(sys.argv[1], **found)
"""
    for kernels in {name, "portable"}:
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / f"{kernels}.npz"), kernels],
            check=True,
            env={**os.environ, "FASTSYNTH_KERNELS": kernels},
        )
    ours, reference = np.load(tmp_path / f"{name}.npz"), np.load(tmp_path / "portable.npz")
    for key in reference.files:
        step = {"uint8": 1 / 255, "uint16": 1 / 65535, "float32": 2e-5}[key.split()[0]]
        assert np.abs(ours[key] - reference[key]).max() <= step * 1.001, key


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: blend(a, b[:-1]), "a is 5×4, b is 5×3"),
        (lambda a, b: blend(a, b, mask=b[:, :2]), "mask is 2×4"),
        (lambda a, b: composite(a, b[:2]), "source is 5×4, backdrop is 5×2"),
        (lambda a, b: blend(a, b, 1.5), "alpha is 1.5; expected 0 to 1"),
        (lambda a, b: blend(a, b, float("nan")), "alpha is nan"),
        (lambda a, b: blend(a, b, "half"), "alpha is 'half'"),
        (lambda a, b: blend(a, b, True), "alpha is True"),
        (lambda a, b: blend(a, b, mode="dissolve"), "expected one of normal"),
        (lambda a, b: composite(a, b, "over"), "expected one of clear"),
        (lambda a, b: composite(a, b, mode="x"), "mode is 'x'"),
        (lambda a, b: blend(a, b, threads=0), "threads is 0"),
        (lambda a, b: blend(a.astype(np.int32), b), "a: the array is int32"),
        (lambda a, b: blend(a, np.full(a.shape, np.nan, np.float32)), "NaN"),
        (lambda a, b: blend(a, a * np.float32(3)), "the values of b run from"),
        (lambda a, b: blend(unit(a), unit(b) + 1), "the values of b run from"),
        (lambda a, b: blend(unit(a) - 1, unit(b)), "the values of a run from"),
        (lambda a, b: composite(unit(a), unit(b) * np.nan), "values of backdrop are NaN"),
        (lambda a, b: blend("missing.png", b), "no such file"),
        (lambda a, b: blend(a[:0], b[:0]), "no pixels"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    a, b = samples((4, 5, 3), seed=1), samples((4, 5, 3), seed=2)
    with pytest.raises(fs.ImageError, match=message):
        call(a, b)


def test_the_core_checks_again() -> None:
    """What Python lets no one do, the core refuses as well."""
    a, pool = samples((4, 5, 3)), _core.ThreadPool(1)
    good = (0.5, "normal", "source-over", False, 3, None, pool)
    with pytest.raises(ValueError, match="differ in size"):
        _core.compose(a, a[:2].copy(), *good)
    with pytest.raises(ValueError, match="of the image's type"):
        _core.compose(a, a.astype(np.uint16), *good)
    with pytest.raises(ValueError, match="channels must be"):
        _core.compose(a, a, 0.5, "normal", "source-over", False, 2, None, pool)
    with pytest.raises(ValueError, match="does not fit"):
        _core.compose(a, a, 0.5, "normal", "source-over", False, 1, None, pool)
    with pytest.raises(ValueError, match="weights"):
        _core.compose(a, a, *good[:5], np.zeros((2, 2), np.float32), pool)
    with pytest.raises(ValueError, match="no blend mode"):
        _core.compose(a, a, 0.5, "x", *good[2:])
    with pytest.raises(ValueError, match="alpha"):
        _core.compose(a, a, 2.0, *good[1:])


def test_modules_import_alone() -> None:
    for name in ("blend", "alpha", "color", "sketch", "pipeline", "resize"):
        assert importlib.import_module(f"fastsynth.compose.{name}").__all__
