"""From encoded bytes or a PIL image to samples at their full precision.

Pillow decodes; it has no 16-bit colour mode and keeps only the high byte of each sample. Its
unpackers come in both byte orders, though, so decoding once with each gives the high and the low
bytes: 16-bit RGB(A) PNG and TIFF in every compression that Pillow knows, at C speed. TIFF forms
outside Pillow's table (separate planes, floating point colour) are read by tifffile.

Plugins are called directly, not through `Image.open`, for two reasons: only the formats below are
ever tried on untrusted bytes, and the size limit is ours, not the process-wide
`Image.MAX_IMAGE_PIXELS`, which belongs to the application.
"""

from __future__ import annotations

import importlib
import io
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image import icc

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageFile

_PLUGINS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
    "JPEG2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
}
READABLE = "JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP, PNM or JPEG 2000"

# Beginnings of files that people pass by mistake: (bytes, what it is, the way out).
_NOT_PICTURES = (
    (b"8BPS", "a Photoshop document", "export it as TIFF or PNG"),
    (b"%PDF", "a PDF document", "render the page to PNG first"),
    (b"%!PS", "PostScript", "render it to PNG first"),
    (b"<!doctype html", "a web page, perhaps a failed download", "fetch the picture itself"),
    (b"<html", "a web page, perhaps a failed download", "fetch the picture itself"),
    (b"<svg", "an SVG drawing", "render it to PNG first"),
    (b"<?xml", "XML, perhaps an SVG drawing", "render it to PNG first"),
    (b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull`"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
)


@dataclass
class Decoded:
    """Samples as they were stored, and what is still to be applied to them.

    color: (H, W) or (H, W, 3), uint8, uint16 or float32; alpha: (H, W) of the same type or None.
    profile: an ICC profile that belongs to `color` and was not applied yet. orientation: EXIF, 1-8.
    """

    color: NDArray[Any]
    alpha: NDArray[Any] | None
    mode: str
    format: str | None = None
    profile: bytes | None = None
    orientation: int = 1
    notes: list[str] = field(default_factory=list)

    @property
    def channels(self) -> int:
        return (1 if self.color.ndim == 2 else 3) + (self.alpha is not None)


def decode_bytes(data: bytes, max_pixels: int) -> Decoded:
    """Decode an encoded picture. Raises ImageError, which does not name the source."""
    form = sniff(data)
    try:
        if form == "TIFF":
            return _decode_tiff(data, max_pixels)
        image = _open(form, data)
        check_size(*image.size, max_pixels)
        decoded = (
            _decode_wide_png(image, data) if _is_wide_png(image) else decode_pil(image, max_pixels)
        )
    except ImageError:
        raise
    # Decoders of damaged data raise nearly every built-in exception; all mean the same here, and
    # the cause is kept.
    except Exception as error:
        raise _damaged(form, error) from error
    decoded.format = form
    return decoded


def open_header(form: str, data: bytes) -> ImageFile.ImageFile:
    """Pillow's image object, its header read, its pixels not decoded. Raises ImageError."""
    try:
        return _open(form, data)
    except Exception as error:
        raise _damaged(form, error) from error


def tiff_description(data: bytes) -> str:
    """The ImageDescription of a TIFF file's first page, of whatever kind its pixels are."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            return str(tiff.pages.first.description)
    except Exception as error:
        raise _damaged("TIFF", error) from error


def decode_pil(image: Image.Image, max_pixels: int) -> Decoded:
    """Samples of a PIL image of any mode, its current frame. Decoding errors pass through."""
    check_size(*image.size, max_pixels)
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("only the first of several frames was used")
    image.load()
    orientation = _orientation(image, notes)
    profile = image.info.get("icc_profile") or None
    mode = image.mode
    if mode == "CMYK":
        image, profile = _from_cmyk(image, profile, notes), None
    elif mode == "LAB":
        image, profile = icc.convert_lab(image), None
    color, alpha = _samples(image)
    return Decoded(color, alpha, mode, image.format, profile, orientation, notes)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a declared size, before anything is decoded."""
    if width < 1 or height < 1:
        raise ImageError(f"it has {width} × {height} pixels; expected at least 1 × 1")
    if width * height > max_pixels:
        raise ImageError(
            f"it declares {width} × {height} = {width * height / 1e6:.0f} megapixels, more than "
            f"the limit of {max_pixels / 1e6:.0f}; if you trust it, raise max_pixels"
        )


def sniff(data: bytes) -> str:  # noqa: PLR0911, PLR0912  (a table, written as it is read)
    """The format by the first bytes, never by the file's name."""
    if not data:
        raise ImageError(f"it is empty (0 bytes); expected {READABLE}")
    head = data[:64]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or b"avif" in head[16:]):
        return "AVIF"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:2] == b"BM" and len(data) > 26:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace():
        return "PPM"
    if head.startswith((b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"hevc"):
        raise ImageError(f"it is HEIC; expected {READABLE}: convert it to JPEG or PNG first")
    start = head.lstrip().lower()
    for beginning, what, way_out in _NOT_PICTURES:
        if start.startswith(beginning.lower()):
            raise ImageError(f"it is {what}; expected {READABLE}: {way_out}")
    raise ImageError(
        f"it begins with {data[:12]!r}, which is no picture that fastsynth reads; "
        f"expected {READABLE}: convert it, or check that it is the right file"
    )


def _open(form: str, data: bytes) -> ImageFile.ImageFile:
    module, name = _PLUGINS[form]
    plugin = getattr(importlib.import_module(f"PIL.{module}"), name)
    return cast("ImageFile.ImageFile", plugin(io.BytesIO(data)))


def _damaged(form: str, error: Exception) -> ImageError:
    detail = str(error) or type(error).__name__
    return ImageError(
        f"the {form} data cannot be decoded, it is damaged, incomplete or of an unsupported kind "
        f"({type(error).__name__}: {detail[:200]}); fetch it again, or save it anew as PNG"
    )


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """EXIF tag 0x0112, 1-8. A damaged EXIF block does not cost the picture: it is noted."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception as error:
        notes.append(f"its EXIF data is damaged and was ignored ({type(error).__name__}: {error})")
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _from_cmyk(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    if profile:
        try:
            if icc.space(profile) == "CMYK":
                converted = icc.convert_by_lcms(image, profile)
                notes.append(f"CMYK converted to sRGB by its profile {icc.description(profile)!r}")
                return converted
            notes.append(f"its {icc.space(profile)} profile was ignored: the picture is CMYK")
        except icc.ProfileError as error:
            notes.append(f"its colour profile was ignored: {error}")
    notes.append("CMYK without a usable profile: converted by the plain formula")
    return image.convert("RGB")


def _samples(image: Image.Image) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour and alpha of a loaded PIL image; CMYK and LAB have been converted before."""
    mode = image.mode
    if mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16)
        return grey, _key_alpha(grey, image.info.get("transparency"))
    if mode == "I":
        wide = np.asarray(image)
        low, high = int(wide.min()), int(wide.max())
        if low < 0 or high > 65535:
            raise ImageError(
                f"its 32-bit integers run from {low} to {high}; expected 0 to 65535: scale them"
            )
        return wide.astype(np.uint16), None
    if mode == "F":
        return np.asarray(image).astype(np.float32), None
    if mode in ("1", "L", "LA", "La"):
        plain, full = "L", "LA"
    else:
        plain, full = "RGB", "RGBA"
    transparent = image.has_transparency_data
    target = full if transparent else plain
    array = np.asarray(image if image.mode == target else image.convert(target))
    if not transparent:
        return array, None
    return (array[..., 0] if full == "LA" else array[..., :3]), array[..., -1]


def _key_alpha(color: NDArray[np.uint16], key: object) -> NDArray[np.uint16] | None:
    """Alpha from PNG's tRNS chunk at 16 bits: the one colour that is transparent."""
    if key is None:
        return None
    same = color == np.asarray(key, np.int64)
    transparent = same if color.ndim == 2 else same.all(axis=2)
    return np.where(transparent, 0, 65535).astype(np.uint16)


def _is_wide_png(image: ImageFile.ImageFile) -> bool:
    rawmode = str(image.tile[0].args) if image.tile else ""
    return image.format == "PNG" and image.mode in ("RGB", "RGBA") and rawmode.endswith(";16B")


def _decode_wide_png(image: ImageFile.ImageFile, data: bytes) -> Decoded:
    """16-bit PNG with colour or alpha."""
    rawmode = str(image.tile[0].args)
    if rawmode == "LA;16B":
        # Grey and alpha are four bytes per pixel: unpacked as RGBA they are all there at once.
        _set_rawmode(image, "RGBA")
        image.load()
        both = np.ascontiguousarray(np.asarray(image)).view(">u2").astype(np.uint16)
        color, alpha = both[..., 0], cast("NDArray[np.uint16] | None", both[..., 1])
    else:
        samples = _two_passes(image, _open("PNG", data), rawmode)
        color = samples[..., :3]
        key = image.info.get("transparency")
        alpha = samples[..., 3] if samples.shape[2] == 4 else _key_alpha(color, key)
    notes: list[str] = []
    if getattr(image, "is_animated", False):
        notes.append("only the first of several frames was used")
    orientation = _orientation(image, notes)
    profile = image.info.get("icc_profile") or None
    return Decoded(color, alpha, f"{image.mode};16", "PNG", profile, orientation, notes)


def _two_passes(
    first: ImageFile.ImageFile, second: ImageFile.ImageFile, rawmode: str
) -> NDArray[np.uint16]:
    """(H, W, C) 16-bit samples from two openings of one file: high bytes, then low bytes."""
    form, order = rawmode[:-1], rawmode[-1]
    native = "L" if sys.byteorder == "little" else "B"
    stored = native if order == "N" else order
    _set_rawmode(first, form + stored)
    _set_rawmode(second, form + ("B" if stored == "L" else "L"))
    first.load()
    second.load()
    high = np.asarray(first).astype(np.uint16)
    high <<= 8
    high |= np.asarray(second)
    return high


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    image.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile
    ]


def _decode_tiff(data: bytes, max_pixels: int) -> Decoded:
    try:
        image = cast("Any", _open("TIFF", data))
    except (SyntaxError, TypeError, KeyError, ValueError) as error:
        return _decode_by_tifffile(data, max_pixels, error)  # a form that Pillow has no mode for
    check_size(image.width, image.height, max_pixels)
    bits = max(image.tag_v2.get(258, (1,)))
    planar, photometric = image.tag_v2.get(284, 1), image.tag_v2.get(262, 1)
    rawmodes = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile}
    rawmode = str(next(iter(rawmodes), ""))
    if bits > 8 and image.mode in ("RGB", "RGBA") and (planar != 1 or ";16" not in rawmode):
        return _decode_by_tifffile(data, max_pixels, None)
    _allocate(image)
    if bits == 16 and image.mode in ("RGB", "RGBA"):
        premultiplied = rawmode.startswith("RGBa")
        twin = cast("Any", _open("TIFF", data))
        _allocate(twin)
        samples = _two_passes(image, twin, rawmode.replace("RGBa", "RGBA"))
        color, alpha = samples[..., :3], samples[..., 3] if samples.shape[2] == 4 else None
        notes = ["only the first of several pages was used"] if image.is_animated else []
        profile = image.info.get("icc_profile") or None
        decoded = Decoded(color, alpha, f"{image.mode};16", "TIFF", profile, 1, notes)
        return _unmultiplied(decoded) if premultiplied else decoded
    decoded = decode_pil(image, max_pixels)
    decoded.format = "TIFF"
    if image.mode.startswith("I;16"):
        if bits < 16:  # stored as small numbers: spread over the full range
            decoded.color = (decoded.color / np.float32(2**bits - 1)).astype(np.float32)
        elif photometric == 0:  # 0 is white, which Pillow does not turn at this depth
            decoded.color = np.uint16(65535) - decoded.color
    return decoded


def _allocate(image: Any) -> None:
    """Give a large TIFF its memory here; Pillow would apply its process-wide limit to it."""
    from PIL import Image

    width, height = image.tag_v2.get(256, 0), image.tag_v2.get(257, 0)
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        image.im = Image.new(image.mode, (width, height)).im


def _decode_by_tifffile(data: bytes, max_pixels: int, cause: Exception | None) -> Decoded:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        check_size(page.imagewidth, page.imagelength, max_pixels)
        photometric = int(page.photometric)
        if photometric not in (0, 1, 2) or page.imagedepth != 1 or page.axes[-1:] not in "XS":
            raise ImageError(
                f"this kind of TIFF ({page.photometric!r}, {page.axes}) is not supported; "
                "expected grey or RGB: save it anew as 16-bit RGB"
            ) from cause
        samples = page.asarray()
        extras = [int(e) for e in page.extrasamples]
        profile, orientation = page.iccprofile, int(page.tags.valueof(274, default=1))
        bits = page.bitspersample
        several = page.next_page_offset != 0 if hasattr(page, "next_page_offset") else False
    if page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    if samples.ndim == 2:
        samples = samples[..., None]
    colors = 3 if photometric == 2 else 1
    samples = _in_range(samples[..., : colors + 1], bits)
    has_alpha = samples.shape[2] > colors and bool(extras) and extras[0] in (1, 2)
    color = samples[..., :3] if colors == 3 else samples[..., 0]
    if photometric == 0:
        color = (np.iinfo(color.dtype).max if color.dtype.kind == "u" else 1) - color
    alpha = samples[..., colors] if has_alpha else None
    mode = ("RGB" if colors == 3 else "L") + ("A" if has_alpha else "") + f";{bits}"
    notes = ["only the first of several pages was used"] if several else []
    decoded = Decoded(color, alpha, mode, "TIFF", profile, orientation, notes)
    return _unmultiplied(decoded) if has_alpha and extras[0] == 1 else decoded


def _in_range(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """TIFF samples of any depth as uint8, uint16 or float32."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    if samples.dtype.kind != "u":
        raise ImageError(
            f"its samples are {samples.dtype}; expected unsigned integers or floats: "
            "convert it to 16-bit RGB"
        )
    if (samples.dtype.itemsize, bits) in ((1, 8), (2, 16)):
        return samples
    return np.asarray(samples / np.float64(2**bits - 1), np.float32)


def _unmultiplied(decoded: Decoded) -> Decoded:
    """Divide the colour by the alpha that was multiplied into it; where alpha is 0 it stays 0."""
    assert decoded.alpha is not None
    top = 65535.0 if decoded.alpha.dtype.kind == "u" else 1.0
    alpha = decoded.alpha.astype(np.float32) / np.float32(top)
    weight = alpha if decoded.color.ndim == 2 else alpha[..., None]
    color = decoded.color.astype(np.float32) / np.float32(top)
    decoded.color = np.clip(
        np.divide(color, weight, out=np.zeros_like(color), where=weight > 0), 0, 1
    )
    decoded.alpha = alpha
    decoded.notes.append("alpha was multiplied into the colour; it was divided out")
    return decoded
