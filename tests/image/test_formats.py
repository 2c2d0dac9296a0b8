"""Every mode and format at its full precision, against Pillow, pypng, tifffile and formulas."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from fastsynth._errors import ImageError
from fastsynth.image import load, to_array

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (11, 14, 4), np.uint16)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def wide_png(samples: np.ndarray, **options: Any) -> bytes:
    height, width, channels = samples.shape
    buffer = io.BytesIO()
    writer = png.Writer(
        width, height, bitdepth=16, greyscale=channels < 3, alpha=channels in (2, 4), **options
    )
    writer.write(buffer, samples.reshape(height, -1).tolist())
    return buffer.getvalue()


def wide_tiff(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options.setdefault("photometric", "rgb")
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


def check_wide(data: bytes, samples: np.ndarray) -> None:
    """Loaded exactly: the samples come back when quantised to 16 bits."""
    picture = load(data)
    assert picture.kind.dtype == "uint16"
    assert picture.kind.channels == samples.shape[2]
    out = to_array(picture.pixels, picture.alpha, dtype="uint16", channels=samples.shape[2])
    np.testing.assert_array_equal(out, samples)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
def test_16_bit_png(channels: int, interlace: bool) -> None:
    samples = WIDE[..., :channels]
    check_wide(wide_png(samples, interlace=interlace), samples)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_png_with_a_transparent_colour(channels: int) -> None:
    samples = WIDE[..., :channels]
    key = samples[3, 4]
    picture = load(
        wide_png(samples, transparent=int(key[0]) if channels == 1 else tuple(map(int, key)))
    )
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, (samples == key).all(axis=2))
    assert picture.alpha[0, 0] == 1
    np.testing.assert_array_equal(
        to_array(picture.pixels, dtype="uint16", channels=channels), samples
    )


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib"},
    ],
    ids=str,
)
def test_16_bit_tiff(channels: int, byteorder: str, options: dict[str, Any]) -> None:
    samples = WIDE[..., :channels]
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    stored = np.moveaxis(samples, 2, 0) if "planarconfig" in options else samples
    check_wide(wide_tiff(stored, byteorder=byteorder, **extra, **options), samples)


# 3 × 2 pixels, RGB, big-endian, LZW with predictor, as Photoshop writes it; sample i is 7919 i mod
# 2^16.
LZW = base64.b64decode(
    b"TU0AKgAAAAgADgEAAAQAAAABAAAAAwEBAAQAAAABAAAAAgECAAMAAAADAAAAtgEDAAMAAAABAAUAAAEGAAMAAAAB"
    b"AAIAAAERAAQAAAABAAAA0AEVAAMAAAABAAMAAAEWAAQAAAABAAAAAgEXAAQAAAABAAAAGgEaAAUAAAABAAAAvAEb"
    b"AAUAAAABAAAAxAEcAAMAAAABAAEAAAEoAAMAAAABAAEAAAE9AAMAAAABAAIAAAAAAAAAEAAQABAAAAABAAAAAQAA"
    b"AAEAAAABAAAAAIAAAAHnePW8XGbCIVCYYFjONSsVCLC4pDIC"
)


def test_16_bit_colour_tiff_lzw() -> None:
    check_wide(LZW, (np.arange(18) * 7919 % 65536).astype(np.uint16).reshape(2, 3, 3))


def test_16_bit_tiff_lzw() -> None:
    # tifffile cannot write LZW; Pillow can, for grey.
    grey = WIDE[..., 0]
    check_wide(encoded(Image.fromarray(grey), "TIFF", compression="tiff_lzw"), grey[..., None])


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_grey_tiff_where_zero_is_white(byteorder: str) -> None:
    grey = WIDE[..., 0]
    picture = load(wide_tiff(grey, photometric="miniswhite", byteorder=byteorder))
    np.testing.assert_array_equal(to_array(picture.pixels, dtype="uint16")[..., 0], 65535 - grey)


def test_16_bit_grey_tiff_with_alpha() -> None:
    data = wide_tiff(
        WIDE[..., :2], photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"
    )
    check_wide(data, WIDE[..., :2])


def test_16_bit_tiff_with_alpha_multiplied_in() -> None:
    color = np.array([[[0.5, 0.25, 1.0]]])
    alpha = 0.5
    stored = np.rint(np.dstack([color * alpha, [[alpha]]]) * 65535).astype(np.uint16)
    picture = load(wide_tiff(stored, extrasamples=["assocalpha"]))
    np.testing.assert_allclose(picture.pixels[:, 0, 0], color[0, 0], atol=3e-5)
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == pytest.approx(alpha, abs=1e-5)
    assert any("divided out" in note for note in picture.notes)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_tiff(dtype: str, channels: int) -> None:
    samples = RNG.random((5, 7, 3)).astype(dtype)[..., :channels]
    data = wide_tiff(
        samples[..., 0] if channels == 1 else samples,
        photometric="rgb" if channels == 3 else "minisblack",
    )
    picture = load(data)
    assert picture.kind.dtype == "float32"
    np.testing.assert_array_equal(
        picture.pixels[:channels], samples.transpose(2, 0, 1).astype(np.float32)
    )


def test_float_tiff_outside_the_range() -> None:
    with pytest.raises(ImageError, match=r"run from 0 to 7.5"):
        load(wide_tiff(np.array([[0, 7.5]], np.float32), photometric="minisblack"))


def test_signed_tiff_is_refused() -> None:
    with pytest.raises(ImageError, match="int16"):
        load(wide_tiff(np.zeros((2, 2, 3), np.int16)))


def test_32_bit_tiff() -> None:
    samples = np.array([[[0, 2**31, 2**32 - 1]]], np.uint32)
    np.testing.assert_allclose(load(wide_tiff(samples)).pixels.ravel(), [0, 0.5, 1], atol=1e-7)


MODES = {
    "1": (Image.new("1", (1, 1), 1), (255, 255, 255)),
    "L": (Image.new("L", (1, 1), 70), (70, 70, 70)),
    "LA": (Image.new("LA", (1, 1), (70, 128)), (70, 70, 70, 128)),
    "RGB": (Image.new("RGB", (1, 1), (1, 2, 3)), (1, 2, 3)),
    "RGBA": (Image.new("RGBA", (1, 1), (1, 2, 3, 4)), (1, 2, 3, 4)),
    "RGBX": (Image.new("RGBX", (1, 1), (1, 2, 3, 4)), (1, 2, 3)),
    "RGBa": (Image.new("RGBA", (1, 1), (200, 100, 0, 255)).convert("RGBa"), (200, 100, 0, 255)),
    "La": (Image.new("LA", (1, 1), (70, 255)).convert("La"), (70, 70, 70, 255)),
    # C = 255 - R, K = 0: the plain formula
    "CMYK": (Image.new("CMYK", (1, 1), (255, 155, 55, 0)), (0, 100, 200)),
    # JFIF: Y = 128, no chroma
    "YCbCr": (Image.new("YCbCr", (1, 1), (128, 128, 128)), (128, 128, 128)),
    "HSV": (Image.new("HSV", (1, 1), (0, 255, 255)), (255, 0, 0)),
    # L* = 100, a = b = 0 is white; ImageCms keeps a and b with an offset of 128
    "LAB": (
        Image.merge("LAB", [Image.new("L", (1, 1), v) for v in (255, 128, 128)]),
        (255, 255, 255),
    ),
    "I;16": (Image.fromarray(np.array([[257 * 9]], np.uint16)), (9, 9, 9)),
    "I": (Image.fromarray(np.array([[257 * 9]], np.int32)), (9, 9, 9)),
    "F": (Image.fromarray(np.array([[0.2]], np.float32)), (51, 51, 51)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_pil_mode(mode: str) -> None:
    image, expected = MODES[mode]
    assert image.mode == mode
    picture = load(image)
    out = to_array(picture.pixels, picture.alpha)[0, 0]
    np.testing.assert_allclose(out, expected, atol=1 if mode in ("LAB", "YCbCr") else 0)
    assert picture.kind.mode == mode


def test_big_endian_16_bit_pil_image() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([0x12, 0x34, 0xFF, 0xFF]))
    out = to_array(load(image).pixels, dtype="uint16", channels=1)
    assert out.ravel().tolist() == [0x1234, 0xFFFF]


@pytest.mark.parametrize("value", [-1, 65536])
def test_pil_integers_outside_16_bits(value: int) -> None:
    with pytest.raises(ImageError, match=f"{value}"):
        load(Image.fromarray(np.array([[value]], np.int32)))


def palette_image() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    return image


def test_palettes_with_and_without_transparency() -> None:
    plain = load(encoded(palette_image(), "PNG"))
    assert plain.alpha is None
    assert to_array(plain.pixels)[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    one = load(encoded(palette_image(), "PNG", transparency=1))
    assert to_array(one.pixels, one.alpha)[0, :, 3].tolist() == [255, 0]
    many = load(encoded(palette_image(), "PNG", transparency=bytes([7, 200])))
    assert to_array(many.pixels, many.alpha)[0].tolist() == [[10, 20, 30, 7], [200, 100, 50, 200]]
    gif = load(encoded(palette_image(), "GIF", transparency=0))
    assert to_array(gif.pixels, gif.alpha)[0, :, 3].tolist() == [0, 255]


def test_a_transparent_colour_at_8_bits() -> None:
    image = Image.new("RGB", (2, 1), (5, 6, 7))
    image.putpixel((1, 0), (8, 8, 8))
    picture = load(encoded(image, "PNG", transparency=(5, 6, 7)))
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [0, 1]
    grey = load(encoded(Image.new("L", (1, 1), 9), "PNG", transparency=9))
    assert grey.alpha is not None
    assert grey.alpha[0, 0] == 0
    assert grey.kind.channels == 2


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "PPM", "GIF", "WEBP", "JPEG2000"])
def test_lossless_formats(form: str) -> None:
    array = RNG.integers(0, 256, (8, 5, 3), np.uint8)
    options = {"lossless": True} if form == "WEBP" else {}
    expected = array
    image = Image.fromarray(array)
    if form == "GIF":
        image = image.quantize(40)
        expected = np.asarray(image.convert("RGB"))
    picture = load(encoded(image, form, **options))
    np.testing.assert_array_equal(to_array(picture.pixels), expected)
    assert picture.kind.format == form


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats(form: str) -> None:
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    picture = load(encoded(Image.fromarray(ramp), form, quality=95))
    assert picture.size == (64, 48)
    assert np.abs(to_array(picture.pixels).astype(int) - ramp).max() <= 4


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    picture = load(data)
    assert to_array(picture.pixels)[0, 0].tolist() == [255, 0, 0]
    assert any("first of several" in note for note in picture.notes)


# The picture as its viewer should see it; each orientation stores it turned, and the tag turns it
# back.
UPRIGHT = RNG.integers(0, 256, (4, 6, 3), np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "PIL", "PNG16", "TIFF16", "TIFF16 planar"])
def test_exif_orientation(orientation: int, form: str) -> None:
    stored = np.ascontiguousarray(STORED[orientation])
    image = Image.fromarray(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    source: Any
    if form == "PIL":
        image.getexif()[0x0112] = orientation
        source = image
    elif form == "PNG16":
        plain = wide_png(stored.astype(np.uint16) * 257)
        header, *rest = png.Reader(bytes=plain).chunks()
        buffer = io.BytesIO()
        png.write_chunks(buffer, [header, (b"eXIf", exif.tobytes()[6:]), *rest])
        source = buffer.getvalue()
    elif form.startswith("TIFF16"):
        wide = stored.astype(np.uint16) * 257
        tag = [(274, 3, 1, orientation, True)]
        if form.endswith("planar"):
            source = wide_tiff(np.moveaxis(wide, 2, 0), planarconfig="separate", extratags=tag)
        else:
            source = wide_tiff(wide, compression="zlib", extratags=tag)
    else:
        source = encoded(image, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    picture = load(source)
    np.testing.assert_array_equal(to_array(picture.pixels), UPRIGHT)


def test_jpeg_orientation_with_its_note() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = load(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    assert picture.size == (20, 30)
    assert picture.notes == ("EXIF orientation 6 was applied",)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_picture() -> None:
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(range(40))
    assert load(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)).size == (30, 20)
