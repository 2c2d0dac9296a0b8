"""Damaged files: every one is either a picture or an ImageError, nothing else."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from fastsynth._errors import ImageError
from fastsynth.image import encode, load
from fastsynth.image.metadata import metadata_of_bytes

RNG = np.random.default_rng(5)
PIXELS = RNG.random((3, 24, 20), np.float32)
META = {"seed": 1, "losses": [0.5, 0.25]}


def by_pillow(form: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(RNG.integers(0, 256, (24, 20, 3), np.uint8)).convert(mode)
    image.save(buffer, form, exif=exif, **options)
    return buffer.getvalue()


def planar_tiff() -> bytes:
    buffer = io.BytesIO()
    samples = RNG.integers(0, 65536, (3, 24, 20), np.uint16)
    tifffile.imwrite(
        buffer, samples, photometric="rgb", planarconfig="separate", compression="zlib"
    )
    return buffer.getvalue()


FILES = {
    "png": encode(PIXELS, "PNG", metadata=META),
    "png16": encode(PIXELS, "PNG", bit_depth=16, alpha=PIXELS[0], metadata=META),
    "jpeg": encode(PIXELS, "JPEG", metadata=META),
    "tiff": encode(PIXELS, "TIFF", metadata=META),
    "tiff16": encode(PIXELS, "TIFF", bit_depth=16, alpha=PIXELS[0], metadata=META),
    "tiff planar": planar_tiff(),
    "tiff lzw": by_pillow("TIFF", compression="tiff_lzw"),
    "webp": encode(PIXELS, "WEBP", metadata=META),
    "png palette": by_pillow("PNG", "P"),
    "jpeg cmyk": by_pillow("JPEG", "CMYK"),
    "gif": by_pillow("GIF", "P"),
    "bmp": by_pillow("BMP"),
    "avif": by_pillow("AVIF"),
    "jpeg2000": by_pillow("JPEG2000"),
    "ppm": by_pillow("PPM"),
}


def survives(data: bytes) -> bool:
    """Whether it loads; ImageError is the one exception that may come out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of some damage; the outcome is what counts
        with contextlib.suppress(ImageError):
            metadata_of_bytes(data)
        try:
            load(data)
        except ImageError:
            return False
    return True


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_whole_to_begin_with(name: str) -> None:
    assert survives(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_truncated_files(name: str) -> None:
    data = FILES[name]
    cuts = np.unique(np.linspace(0, len(data) - 1, 40).astype(int))
    assert not any(survives(data[:cut]) for cut in cuts[: len(cuts) // 3])
    for cut in cuts:
        survives(data[:cut])


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for trial in range(60):
        damaged = bytearray(FILES[name])
        # Half of the trials hit the head of the file, where the structure is.
        reach = min(len(damaged), 200) if trial % 2 else len(damaged)
        for _ in range(1 + trial % 4):
            damaged[rng.integers(reach)] ^= 1 << int(rng.integers(8))
        survives(bytes(damaged))


@pytest.mark.parametrize("name", FILES)
def test_random_bytes_behind_a_valid_beginning(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for keep in (4, 8, 16, 32, 64):
        survives(FILES[name][:keep] + rng.bytes(400))


def test_pictures_cut_short_say_so(tmp_path: object) -> None:
    for name in ("png", "jpeg", "tiff16", "png16", "webp"):
        with pytest.raises(ImageError, match="damaged, incomplete or of an unsupported kind"):
            load(FILES[name][: len(FILES[name]) * 2 // 3])


def test_a_lazy_pil_image_that_is_cut_short() -> None:
    data = FILES["png"]
    lazy = Image.open(io.BytesIO(data[: len(data) * 2 // 3]))
    with pytest.raises(ImageError, match="PIL image cannot be decoded"):
        load(lazy)
