"""Samples in and out of the pixel functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastsynth import ImageError
from fastsynth.compose.images import pool, read
from fastsynth.image import ImageArray, load


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", ">u2", ">f4"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_arrays_keep_dtype_and_shape(shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(0).random(shape)
    array = (array * 255 if np.dtype(dtype).kind == "u" else array).astype(dtype)
    samples = read(array)
    assert samples.values.flags.c_contiguous
    np.testing.assert_allclose(samples.values.reshape(shape), array, rtol=1e-7)
    result = samples.result(samples.values, {"step": "nothing"})
    assert result.shape == array.shape
    assert result.dtype == np.dtype(dtype).newbyteorder("=")


def test_an_array_is_not_copied() -> None:
    array = np.zeros((4, 5, 3), np.uint8)
    assert np.shares_memory(read(array).values, array)
    assert read(array[::2, ::-1]).values.flags.c_contiguous


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [("L", 1, "uint8"), ("LA", 4, "uint8"), ("RGB", 3, "uint8"), ("RGBA", 4, "uint8"),
     ("CMYK", 3, "uint8"), ("I;16", 1, "uint16"), ("F", 1, "float32")],
)  # fmt: skip
def test_pil_images_come_with_their_own_precision(mode: str, channels: int, dtype: str) -> None:
    samples = read(Image.new(mode, (5, 4)))
    assert samples.values.shape == (4, 5, channels)
    assert samples.values.dtype == dtype
    result = samples.result(samples.values)
    assert result.shape == ((4, 5) if channels == 1 else (4, 5, channels))


def test_a_file_comes_exactly(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").values, array)
    np.testing.assert_array_equal(read(load(array)).values, array)


def test_steps_are_recorded_one_after_another(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    first = read(tmp_path / "a.png")
    once = first.result(first.values, {"step": "one"})
    twice = read(once).result(first.values, {"step": "two", "by": 3})
    assert twice.provenance is not None
    assert twice.provenance["verb"] == "compose"
    arguments = twice.provenance["arguments"]
    assert arguments["image"]["path"] == str(tmp_path / "a.png")
    assert arguments["steps"] == [{"step": "one"}, {"step": "two", "by": 3}]
    pattern = ImageArray.of(array, {"verb": "pattern"})
    record = read(pattern).result(array, {"step": "one"}).provenance
    assert record is not None
    assert record["arguments"]["image"] == {"verb": "pattern"}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5), bool), "multiply by 255"),
        (np.zeros((4, 5), np.int32), "int32"),
        (np.zeros((3, 4, 5), np.uint8), "planar"),
        (np.zeros((4, 5, 2), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.full((4, 5), np.nan, np.float32), "NaN"),
        (np.full((4, 5), np.inf), "infinite"),
        (np.full((4, 5), 1e300), "infinite"),
        (np.full((4, 5), 200.0), "divide by 255"),
        (np.broadcast_to(np.uint8(0), (30000, 30000)), "at most"),
    ],
)
def test_what_is_no_picture(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(array)


def test_responses_may_leave_the_range() -> None:
    assert read(np.full((2, 2), -3.5, np.float32), bounded=False).values[0, 0, 0] == -3.5
    with pytest.raises(ImageError, match="NaN"):
        read(np.full((2, 2), np.nan, np.float32), bounded=False)


def test_pools_are_shared() -> None:
    assert pool(2) is pool(2)
    assert pool(2).threads == 2
    assert pool() is pool(None)


@pytest.mark.parametrize("threads", [0, -1, 5000, 1.5, True, "two"])
def test_threads_out_of_range(threads: object) -> None:
    with pytest.raises(ImageError, match="threads"):
        pool(threads)  # type: ignore[arg-type]
