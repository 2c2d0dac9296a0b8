"""Convolution against SciPy, OpenCV and Pillow, its laws, and bad input."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter
from tests.compose.filter_reference import SCIPY, TOP, as_type, convolved, random_image

from fastsynth import ImageError, _core
from fastsynth.compose import KERNELS, convolve, kernel

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(7)
SOME_KERNELS: dict[str, Any] = {
    "sharpen": kernel("sharpen"),
    "sobel_x": kernel("sobel_x"),
    "gaussian": kernel("gaussian", sigma=1.7),
    "log": kernel("log", sigma=1.5),
    "motion": kernel("motion", length=11, angle=33),
    "5 x 3": RNG.random((5, 3)) / 7,
    "even": RNG.random((4, 6)) / 12,
    "2 x 2": [[1, 2], [3, -4]],
    "row": np.ones((1, 8)) / 8,
    "column": np.ones((7, 1)) / 7,
    "2 x 5": RNG.random((2, 5)) / 5,
    "3 x 4": RNG.random((3, 4)) / 6,
    "rank 3": sum(np.outer(RNG.random(13), RNG.random(11)) for _ in range(3)) / 100,
    "large": RNG.random((21, 19)) / 200,
    "sparse": (RNG.random((9, 9)) < 0.2) * RNG.random((9, 9)) / 8,
    "zero": np.zeros((3, 3)),
    "one": [[0.25]],
}


def agree(found: Any, exact: np.ndarray, dtype: str) -> None:
    """To rounding: float32 within 2e-6 of the sum of products; integers but where `exact` is as
    near to a half as that."""
    wanted = as_type(exact, dtype)
    error = np.abs(np.asarray(found, np.float64) - wanted)
    if dtype == "float32":
        assert error.max() <= 2e-6 * max(1.0, np.abs(exact).max())
        return
    # Inexact sums may fall on the other side of a half.
    close = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 4e-7 * TOP[dtype]
    assert error.max() <= 1
    assert not (error[~close] > 0).any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("name", SOME_KERNELS)
def test_agrees_with_scipy(name: str, dtype: str) -> None:
    image = random_image((29, 43, 3), dtype)
    agree(convolve(image, SOME_KERNELS[name]), convolved(image, SOME_KERNELS[name]), dtype)


@pytest.mark.parametrize("border", SCIPY)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5, 3), (2, 3, 1), (7, 1, 4), (65, 4, 3)])
@pytest.mark.parametrize("name", ["sharpen", "even", "large", "motion", "rank 3"])
def test_borders_also_of_images_smaller_than_the_kernel(
    name: str, shape: tuple[int, ...], border: Any
) -> None:
    image = random_image(shape, "uint8")
    taps = SOME_KERNELS[name]
    found = convolve(image, taps, border=border, constant=77, alpha="channel")
    assert found.shape == shape
    agree(found, convolved(image, taps, border, 77), "uint8")


def test_wide_images_are_cut_into_tiles_without_seams() -> None:
    image = random_image((70, 4500), "float32")
    for name in ("sharpen", "gaussian", "large"):
        agree(convolve(image, SOME_KERNELS[name]), convolved(image, SOME_KERNELS[name]), "float32")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("border", ["reflect", "mirror", "replicate"])
def test_agrees_with_opencv(border: Any, dtype: str) -> None:
    cv2 = pytest.importorskip("cv2")
    flag = {
        "reflect": cv2.BORDER_REFLECT,
        "mirror": cv2.BORDER_REFLECT_101,
        "replicate": cv2.BORDER_REPLICATE,
    }[border]
    image = random_image((31, 47, 3), dtype)
    for name in ("sharpen", "5 x 3", "sobel_x", "even"):
        taps = np.asarray(SOME_KERNELS[name], np.float64)
        theirs = cv2.filter2D(image, -1, taps, borderType=flag).astype(np.float64)
        ours = convolve(image, taps, border=border, correlate=True, clip=False)
        tolerance = 1e-6 if dtype == "float32" else 1
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
        assert np.mean(np.abs(ours - theirs)) < 1e-2


def test_whole_numbers_are_bit_exact_beside_opencv_and_pillow() -> None:
    cv2 = pytest.importorskip("cv2")
    image = random_image((33, 41, 3), "uint8")
    taps = kernel("emboss")
    ours = convolve(image, taps, correlate=True)
    np.testing.assert_array_equal(
        ours, cv2.filter2D(image, -1, taps, borderType=cv2.BORDER_REFLECT)
    )
    filtered = Image.fromarray(image).filter(ImageFilter.Kernel((3, 3), taps.ravel().tolist(), 1))
    # Pillow leaves the border as it is, and its kernels are upside down.
    ours = convolve(image, taps[::-1], correlate=True)
    np.testing.assert_array_equal(ours[1:-1, 1:-1], np.asarray(filtered)[1:-1, 1:-1])


@pytest.mark.parametrize("name", ["box", "blur", "sharpen", "laplacian", "edge", "scharr_y"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_classic_kernels_are_exact(name: str, dtype: str) -> None:
    """Sums of whole numbers, one rounding: nothing may fall on the wrong side."""
    image = random_image((40, 50), dtype, seed=3)
    exact = convolved(image, np.rint(kernel(name) * 144)) / 144
    np.testing.assert_array_equal(convolve(image, name), as_type(exact, dtype))


def test_integer_factors_are_exact() -> None:
    taps = np.outer([1, 4, 6, 4, 1, -2, 3, 5, 7], [2, -3, 0, 5, 1, 1, 1, 4, 6])
    image = random_image((30, 40, 3), "uint8")
    found = convolve(image, taps / 16)
    np.testing.assert_array_equal(found, as_type(convolved(image, taps) / 16, "uint8"))


# ---- laws ----

images = hnp.arrays(
    np.uint8,
    st.one_of(
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])),
    ),
)
kernels = hnp.arrays(
    np.int8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(-9, 9)
)
borders = st.sampled_from(list(SCIPY))


@settings(max_examples=60, deadline=None)
@given(images, kernels, borders)
def test_any_integer_kernel_is_bit_exact(image: np.ndarray, taps: np.ndarray, border: Any) -> None:
    found = convolve(image, taps, border=border, constant=9, alpha="channel")
    wanted = as_type(convolved(image, taps, border, 9), "uint8")
    np.testing.assert_array_equal(found, wanted)


@settings(max_examples=40, deadline=None)
@given(images, borders)
def test_the_identity_changes_nothing(image: np.ndarray, border: Any) -> None:
    np.testing.assert_array_equal(
        convolve(image, "identity", border=border, alpha="channel"), image
    )


@settings(max_examples=40, deadline=None)
@given(images, st.integers(-3, 3), st.integers(-3, 3))
def test_a_shifted_delta_shifts(image: np.ndarray, down: int, right: int) -> None:
    taps = np.zeros((7, 7))
    taps[3 + down, 3 + right] = 1
    found = convolve(image, taps, border="wrap", alpha="channel")
    np.testing.assert_array_equal(found, np.roll(image, (down, right), (0, 1)))


@settings(max_examples=40, deadline=None)
@given(kernels, kernels, st.integers(0, 99))
def test_linear_in_the_kernel(a: np.ndarray, b: np.ndarray, seed: int) -> None:
    height, width = max(a.shape[0], b.shape[0]), max(a.shape[1], b.shape[1])
    padded = [np.zeros((2 * height + 1, 2 * width + 1)) for _ in range(2)]
    for target, taps in zip(padded, (a, b), strict=True):
        target[: taps.shape[0], : taps.shape[1]] = taps
    image = random_image((9, 8), "float32", seed)
    run = [np.asarray(convolve(image, k, clip=False), np.float64) for k in (*padded, sum(padded))]
    np.testing.assert_allclose(run[0] + run[1], run[2], atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(kernels, kernels, st.integers(0, 99))
def test_one_filter_after_another_is_their_convolution(
    a: np.ndarray, b: np.ndarray, seed: int
) -> None:
    """Associative, with borders that wrap; both kernels of odd sizes."""
    from scipy.signal import convolve2d

    a, b = (np.pad(k, [(0, 1 - n % 2) for n in k.shape]).astype(float) for k in (a, b))
    image = random_image((11, 13), "float32", seed)
    first = convolve(image, a, border="wrap", clip=False)
    twice = convolve(first, b, border="wrap", clip=False)
    once = convolve(image, convolve2d(a, b), border="wrap", clip=False)
    scale = max(1.0, float(np.abs(a).sum() * np.abs(b).sum()))
    np.testing.assert_allclose(twice, once, atol=1e-6 * scale)


def test_separable_equals_full() -> None:
    """A kernel that is nearly separable is summed in full; both agree."""
    taps = kernel("gaussian", sigma=2)
    near = taps.copy()
    near[0, 0] += 1e-6
    image = random_image((40, 37, 3), "float32")
    np.testing.assert_allclose(convolve(image, taps), convolve(image, near), atol=5e-6)


# ---- alpha, linear light, other options ----


def test_transparent_colours_do_not_bleed() -> None:
    image = np.zeros((9, 9, 4), np.uint8)
    image[..., 1] = 255  # green everywhere, but seen nowhere
    image[3:6, 3:6] = (200, 0, 0, 255)
    found = convolve(image, "gaussian").astype(int)
    seen = found[..., 3] > 0
    assert (found[seen][:, 1] == 0).all()
    assert (found[seen][:, 0] == 200).all()
    alpha = convolved(image[..., 3], kernel("gaussian"))
    assert np.abs(found[..., 3] - alpha).max() <= 0.5 + 1e-3


def test_opaque_pictures_are_filtered_as_without_alpha() -> None:
    color = random_image((20, 21, 3), "uint8")
    opaque = np.dstack([color, np.full((20, 21), 255, np.uint8)])
    for name in ("sharpen", "blur", "edge", "gaussian"):
        found = convolve(opaque, name)
        np.testing.assert_array_equal(found[..., :3], convolve(color, name))
        assert (found[..., 3] == 255).all()


def test_derivatives_keep_alpha() -> None:
    image = random_image((8, 9, 4), "uint8")
    found = convolve(image, "sobel_x", linear=True)
    np.testing.assert_array_equal(found[..., 3], image[..., 3])
    with pytest.raises(ImageError, match="sum"):
        convolve(image, "sobel_x", alpha="premultiply")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_linear_light(dtype: str) -> None:
    image = random_image((20, 30, 3), dtype)
    unit = image / TOP[dtype]
    light = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(convolved(light, kernel("blur")), 0, 1)
    coded = np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)
    found = np.asarray(convolve(image, "blur", linear=True), np.float64)
    assert np.abs(found - coded * TOP[dtype]).max() <= (2e-6 if dtype == "float32" else 0.51)
    same = np.asarray(convolve(image, "identity", linear=True), np.float64)
    np.testing.assert_allclose(same, image, atol=2e-6 if dtype == "float32" else 0)


def test_offset_clip_and_constants_by_channel() -> None:
    image = np.full((5, 5, 3), 100, np.uint8)
    assert (convolve(image, "sobel_x", offset=0.5) == 128).all()  # 127.5, halves to even
    floats = np.linspace(0, 1, 25, dtype=np.float32).reshape(5, 5)
    assert convolve(floats, [[-2.0]], clip=False).min() == -2
    assert convolve(floats, [[-2.0]]).max() == 0
    shifted = convolve(image, [[0, 0, 1]], border="constant", constant=(1, 2, 3))
    assert shifted[2, 0].tolist() == [1, 2, 3]


def test_the_record_repeats_the_step() -> None:
    image = random_image((9, 9, 3), "uint8")
    first = convolve(image, {"name": "gaussian", "sigma": 1.5}, border="wrap")
    second = convolve(first, [[1, -1]], offset=0.25, correlate=True)
    assert second.provenance is not None
    steps = second.provenance["arguments"]["steps"]
    assert [step.pop("step") for step in steps] == ["convolve", "convolve"]
    again: Any = image
    for step in steps:
        again = convolve(again, **step)
    np.testing.assert_array_equal(again, second)


# ---- the same bits everywhere ----

DIGEST = """
import hashlib, numpy as np
from fastsynth.compose import affine, convolve, kernel
from tests.compose.filter_reference import random_image
rng = np.random.default_rng(1)
digest = hashlib.sha256()
for dtype in ("uint8", "uint16", "float32"):
    for shape in ((37, 301, 3), (67, 1000), (5, 9, 4)):
        image = random_image(shape, dtype)
        for taps in ("sharpen", "gaussian", "motion", rng.random((13, 12)) / 80, [[1, 2]],
                     rng.random((2, 3)), rng.random((3, 5))):
            for linear in (False, True):
                found = convolve(image, taps, threads=THREADS, linear=linear)
                digest.update(found.tobytes())
        for kind in ("nearest", "bilinear", "bicubic", "lanczos"):
            for scale in (1.3, 0.4):
                found = affine(image, rotate=20, scale=scale, interpolation=kind, threads=THREADS)
                digest.update(found.tobytes())
print(digest.hexdigest())
"""


def test_all_kernel_sets_and_thread_counts_give_the_same_bits() -> None:
    digests = set()
    for name in _core.available_kernel_sets():
        for threads in (1, 3):
            done = subprocess.run(
                [sys.executable, "-c", DIGEST.replace("THREADS", str(threads))],
                env={**os.environ, "FASTSYNTH_KERNELS": name},
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == hashlib.sha256().digest_size * 2


# ---- kernels by name ----


@pytest.mark.parametrize("name", KERNELS)
def test_named_kernels(name: str) -> None:
    taps = kernel(name)
    assert taps.ndim == 2
    zero = name.partition("_")[0] in ("edge", "sobel", "scharr", "prewitt", "laplacian", "log")
    assert taps.sum() == pytest.approx(0 if zero else 1, abs=1e-12)
    taps[:] = 0  # the caller's own: a second call is not changed
    assert np.abs(kernel(name)).sum() > 0


def test_kernels_do_what_they_say() -> None:
    ramp = np.tile(np.arange(0, 90, 10, dtype=np.float32) / 100, (9, 1))
    for name in ("sobel_x", "scharr_x", "prewitt_x"):
        assert (np.asarray(convolve(ramp, name))[:, 1:-1] > 0.1).all()
        assert (np.asarray(convolve(ramp.T, name.replace("x", "y")))[1:-1] > 0.1).all()
    disk = kernel("disk", radius=5)
    assert disk.shape == (11, 11)
    assert disk[5, 5] == pytest.approx(1 / (np.pi * 25), rel=0.01)
    np.testing.assert_allclose(kernel("motion", length=5), np.full((1, 5), 0.2))
    assert kernel("motion", length=7, angle=90).shape == (7, 1)
    from scipy import ndimage

    delta = np.zeros((17, 17))
    delta[8, 8] = 1
    np.testing.assert_allclose(
        kernel("gaussian", sigma=2), ndimage.gaussian_filter(delta, 2), atol=1e-7
    )
    x = np.arange(-20, 21) / 4.0
    bowl = x[:, None] ** 2 + x**2  # its Laplacian is 4, in steps of 1/4: 4 / 16
    middle = ndimage.convolve(bowl, kernel("log", sigma=1.5))[20, 20]
    assert middle == pytest.approx(0.25, rel=0.02)


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "blurr"}, "expected one of identity"),
        ({"kernel": {"name": "gaussian", "sigma": -1}}, "sigma"),
        ({"kernel": {"name": "gaussian", "sigma": "wide"}}, "sigma"),
        ({"kernel": {"name": "gaussian", "width": 3}}, "no parameter 'width'"),
        ({"kernel": {"name": "box", "size": 2.5}}, "whole"),
        ({"kernel": {"sigma": 3}}, "expected one of"),
        ({"kernel": {"name": "motion", "length": float("nan")}}, "finite"),
        ({"kernel": np.zeros((2, 2, 2))}, "shape"),
        ({"kernel": np.zeros((0, 3))}, "shape"),
        ({"kernel": [[1, float("nan")]]}, "NaN"),
        ({"kernel": [[1, 1e300]]}, "huge"),
        ({"kernel": [["a"]]}, "numbers"),
        ({"kernel": [[1, 2], [3]]}, "numbers"),
        ({"kernel": None}, "numbers"),
        ({"border": "mirrored"}, "border"),
        ({"border": 3}, "border"),
        ({"constant": (1, 2)}, "constant"),
        ({"constant": "white"}, "constant"),
        ({"alpha": "ignore"}, "alpha"),
        ({"offset": float("inf")}, "offset"),
        ({"threads": 0}, "threads"),
        ({"image": np.full((3, 3), np.nan, np.float32)}, "NaN"),
        ({"image": np.zeros((3, 3, 2), np.uint8)}, "shape"),
        ({"image": "missing.png"}, "no such file"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        convolve(**{"image": np.zeros((3, 3, 3), np.uint8), "kernel": "blur", **arguments})


def test_the_core_checks_again() -> None:
    image = np.zeros((3, 3, 1), np.uint8)
    taps = np.ones((1, 1), np.float32)
    rest = (1.0, 1.0, 0.0, True, "reflect", [0.0], False, "keep", _core.ThreadPool(1))
    with pytest.raises(ValueError, match="differ"):
        _core.convolve(image, np.zeros((3, 4, 1), np.uint8), taps, [], (0, 0), *rest)
    with pytest.raises(ValueError, match="anchor"):
        _core.convolve(image, image.copy(), taps, [], (1, 0), *rest)
    with pytest.raises(ValueError, match="term"):
        _core.convolve(
            image, image.copy(), taps, [(taps[0], np.ones(2, np.float32))], (0, 0), *rest
        )
