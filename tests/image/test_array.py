"""Images as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastsynth import ImageError
from fastsynth.image import ImageArray, load, read_metadata

SHAPES = [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)]


def random_image(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    return (values * top).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_image_holds_samples_and_record(
    shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    array = random_image(shape, dtype)
    path = ImageArray.of(array, {"verb": "pattern"}).save(tmp_path / "a.png")
    levels = 65535 if dtype == "uint16" else 255
    wanted, found = load(array), load(path)
    np.testing.assert_allclose(found.pixels, wanted.pixels, atol=0.51 / levels)
    assert (found.alpha is None) == (len(shape) < 3 or shape[2] < 4)
    record = read_metadata(path)
    assert record is not None
    assert record["verb"] == "pattern"


def test_arithmetic_and_views_drop_the_record() -> None:
    image = ImageArray.of(random_image((4, 5, 3), "uint8"), {"verb": "pattern"})
    assert image.provenance == {"verb": "pattern"}
    assert image[1:].provenance is None
    assert (image // 2).provenance is None
    assert type(image.array) is np.ndarray


def test_what_is_no_image_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="shape"):
        ImageArray.of(np.zeros((2, 2, 7), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="suffix"):
        ImageArray.of(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


def test_a_pil_image_has_the_same_samples() -> None:
    array = random_image((4, 5, 4), "uint8")
    np.testing.assert_array_equal(np.asarray(ImageArray.of(array).image), array)
