"""Sizes and resampling, against explicit kernels in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsynth._errors import ImageError
from fastsynth.image import fit_size, resize

RNG = np.random.default_rng(6)
METHODS: list[Any] = ["area", "bilinear", "bicubic", "lanczos"]


def kernel(method: str, x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    if method == "area":
        return (x <= 0.5).astype(float)
    if method == "bilinear":
        return np.maximum(0, 1 - x)
    if method == "bicubic":  # Keys, a = -0.5
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)


def matrix(method: str, source: int, target: int) -> np.ndarray:
    """Rows of weights: the kernel, widened when shrinking, cut at the border and normalised."""
    scale = source / target
    width = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    weight = kernel(method, (np.arange(source) + 0.5 - centre[:, None]) / width)
    return weight / weight.sum(axis=1, keepdims=True)


SIZES = [((17, 23), (8, 11)), ((9, 7), (21, 20)), ((30, 40), (10, 10)), ((12, 5), (12, 9))]


@pytest.mark.parametrize(
    ("method", "source", "target"),
    # A box of other than whole factors has ties at pixel borders; see the test of means below.
    [(m, *s) for m in METHODS for s in SIZES if m != "area"] + [("area", (30, 40), (10, 10))],
)
def test_resize_is_the_antialiased_kernel(method: Any, source: Any, target: Any) -> None:
    pixels = RNG.random((3, *source), np.float32)
    expected = (
        matrix(method, source[0], target[0])
        @ pixels.astype(float)
        @ matrix(method, source[1], target[1]).T
    )
    np.testing.assert_allclose(resize(pixels, target, method), expected, atol=2e-6)


def test_area_by_a_whole_factor_is_the_mean() -> None:
    pixels = RNG.random((5, 12, 20), np.float32)
    means = pixels.reshape(5, 4, 3, 5, 4).mean((2, 4))
    np.testing.assert_allclose(resize(pixels, (4, 5), "area"), means, atol=1e-6)
    np.testing.assert_array_equal(resize(means, (8, 10), "area"), means.repeat(2, 1).repeat(2, 2))


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(METHODS),
)
@settings(deadline=None, max_examples=80)
def test_exact_sizes_and_constants(source: Any, target: Any, method: Any) -> None:
    pixels = np.full((2, *source), 0.3, np.float32)
    out = resize(pixels, target, method)
    assert out.shape == (2, *target)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, 0.3, rtol=1e-6)


def test_resize_details() -> None:
    edge = np.zeros((1, 4, 20), np.float32)
    edge[..., 10:] = 1
    assert resize(edge, (4, 60)).max() > 1.01
    clipped = resize(edge, (4, 60), clip=True)
    assert clipped.min() >= 0
    assert clipped.max() <= 1
    np.testing.assert_allclose(clipped, np.clip(resize(edge, (4, 60)), 0, 1))
    same = resize(edge, (4, 20))
    np.testing.assert_array_equal(same, edge)
    assert not np.shares_memory(same, edge)
    np.testing.assert_array_equal(resize(edge[0], (2, 9)), resize(edge, (2, 9))[0])
    values = RNG.normal(0, 1000, (1, 6, 6)).astype(np.float32)  # features, not colours
    assert np.abs(resize(values, (12, 12))).max() > 255
    read_only = edge[:, ::2]
    read_only.setflags(write=False)
    assert resize(read_only, (3, 3)).shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("pixels", "size", "method", "message"),
    [
        (np.zeros((3, 4, 4), np.float32), (0, 4), "area", "0"),
        (np.zeros((3, 4, 4), np.float32), (4, -1), "area", "-1"),
        (np.zeros((3, 4, 4), np.float32), (4, 4), "nearest", "method is 'nearest'"),
        (np.zeros((3, 4, 4), np.uint8), (4, 4), "area", "uint8"),
        (np.zeros(4, np.float32), (4, 4), "area", "shape"),
        (np.zeros((3, 0, 4), np.float32), (4, 4), "area", "shape"),
    ],
)
def test_resize_refuses(pixels: Any, size: Any, method: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        resize(pixels, size, method)


@pytest.mark.parametrize(
    ("size", "source", "expected"),
    [
        (None, (768, 1024), (768, 1024)),
        (512, (768, 1024), (384, 512)),
        ("512", (1024, 768), (512, 384)),
        (2048, (768, 1024), (1536, 2048)),
        (np.int32(100), (50, 50), (100, 100)),
        ((640, 480), (1, 1), (480, 640)),
        ([640, 480], (1, 1), (480, 640)),
        ("640x480", (1, 1), (480, 640)),
        (" 640 × 480 ", (1, 1), (480, 640)),
        ("640X480", (1, 1), (480, 640)),
        (10, (1, 1000), (1, 10)),
        (1, (3000, 1), (1, 1)),
        (5, (2, 4), (2, 5)),  # 2.5 rounds to even
        (7, (2, 4), (4, 7)),  # 3.5 rounds to even
    ],
)
def test_fit_size(size: Any, source: Any, expected: Any) -> None:
    assert fit_size(size, source) == expected


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 4000))
def test_the_longest_side_is_met_and_proportions_are_kept(
    size: int, height: int, width: int
) -> None:
    out = fit_size(size, (height, width))
    assert max(out) == size
    ratio = size / max(height, width)
    assert all(abs(o - max(s * ratio, 1)) <= 0.5 for o, s in zip(out, (height, width), strict=True))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "size is 0 × 0"),
        (-5, "at least 1 × 1"),
        ((0, 5), "size is 0 × 5"),
        ((5, -1), "size is 5 × -1"),
        ("0x5", "size is 0 × 5"),
        (512.0, "whole pixels"),
        ((512.5, 3), "whole pixels"),
        (True, "whole pixels"),
        ("large", "'large'"),
        ("-5", "'-5'"),
        ("1x2x3", "'1x2x3'"),
        ((1, 2, 3), "3 numbers"),
        ((), "0 numbers"),
        ((512,), "expected a number"),
        ({}, "whole pixels"),
        (10**6, "megapixels"),
        ((10**6, 10**6), "1000000 megapixels"),
    ],
)
def test_fit_size_refuses(size: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        fit_size(size, (100, 100))


def test_fit_size_of_an_empty_source() -> None:
    with pytest.raises(ImageError, match="source has 5 × 0"):
        fit_size(None, (0, 5))
