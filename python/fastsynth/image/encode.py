"""Pictures out, to bytes: PNG, JPEG, TIFF and WebP with an sRGB profile and provenance.

The same input gives the same bytes: no times, no host names. Pillow writes 8 bits; 16-bit PNG is
written by pypng and 16-bit TIFF by tifffile, as Pillow has no 16-bit colour mode.
"""

from __future__ import annotations

import io
import logging
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ImageError
from fastsynth._numbers import plain_arguments
from fastsynth.image import icc
from fastsynth.image import metadata as provenance
from fastsynth.image.color import luminance
from fastsynth.image.picture import check_alpha, check_planar

if TYPE_CHECKING:
    from numpy.typing import NDArray

Format = Literal["PNG", "JPEG", "TIFF", "WEBP"]

SUFFIXES: dict[str, Format] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
LARGEST_SIDE: dict[Format, int] = {
    "PNG": 2**31 - 1,
    "JPEG": 65500,
    "TIFF": 2**31 - 1,
    "WEBP": 16383,
}

logger = logging.getLogger("fastsynth.image")


def check_form(
    form: Format, *, bit_depth: int = 8, quality: int = 95, size: tuple[int, int] | None = None
) -> None:
    """Raise ImageError where `form` cannot hold a picture of this depth or size (width, height)."""
    if form not in LARGEST_SIDE:
        raise ImageError(f"format is {form!r}; expected one of {', '.join(LARGEST_SIDE)}")
    if bit_depth not in (8, 16):
        raise ImageError(f"bit_depth is {bit_depth!r}; expected 8 or 16")
    if bit_depth == 16 and form not in ("PNG", "TIFF"):
        raise ImageError(f"{form} holds 8 bits, not 16; save as PNG or TIFF, or with bit_depth=8")
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ImageError(f"quality is {quality!r}; expected a whole number from 1 to 100")
    if size is not None and max(size) > LARGEST_SIDE[form]:
        raise ImageError(
            f"{form} holds at most {LARGEST_SIDE[form]} pixels a side, not {size[0]} × {size[1]}; "
            "save as PNG or TIFF"
        )


@plain_arguments
def encode(
    pixels: NDArray[np.float32],
    form: Format = "PNG",
    *,
    alpha: NDArray[np.float32] | None = None,
    quality: int = 95,
    bit_depth: int = 8,
    metadata: dict[str, Any] | None = None,
    grey: bool = False,
) -> bytes:
    """The bytes of a picture file.

    pixels: planar sRGB (3, H, W), cut to [0, 1] and rounded half to even; alpha: (H, W), not
    multiplied in, or None. form: "PNG" or "TIFF" (lossless, 8 or 16 bits), "JPEG" (8 bits, no
    alpha: flattened on white, with a logged warning), "WEBP" (8 bits; quality 100 is lossless).
    quality: 1-100 for JPEG (4:4:4) and WebP. metadata: a JSON-able dict, see `read_metadata`. grey:
    write luma only (WebP has no grey and writes it as RGB). Raises ImageError for other arguments,
    and for what the format cannot hold.

    >>> encode(np.zeros((3, 2, 2), np.float32))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    pixels = check_planar(pixels, channels=(3,))
    height, width = pixels.shape[1:]
    check_form(form, bit_depth=bit_depth, quality=quality, size=(width, height))
    provenance.check_metadata(metadata)
    if alpha is not None:
        alpha = check_alpha(alpha, (height, width))
        if form == "JPEG":
            logger.warning("JPEG has no alpha: flattened on white; save as PNG to keep it")
            cover = np.clip(alpha, 0, 1)
            pixels, alpha = pixels * cover + (1 - cover), None
    planes = [luminance(pixels)] if grey else list(pixels)
    if alpha is not None:
        planes.append(alpha)
    samples = _quantized(planes, bit_depth)
    if bit_depth == 8:
        return _encode_by_pillow(samples, form, quality, metadata)
    return (_encode_png16 if form == "PNG" else _encode_tiff16)(samples, metadata)


def _quantized(planes: list[NDArray[np.float32]], bit_depth: int) -> NDArray[Any]:
    dtype, top = (np.uint8, 255) if bit_depth == 8 else (np.uint16, 65535)
    samples = np.empty((*planes[0].shape, len(planes)), dtype)
    for index, plane in enumerate(planes):
        samples[..., index] = quantize(plane, top)
    return samples


def quantize(plane: NDArray[np.float32], top: int, *, whole: bool = True) -> NDArray[np.float32]:
    """Values cut to [0, 1], times `top`, if `whole` rounded half to even; still floats.

    Raises ImageError for NaN.
    """
    bad = int(np.isnan(plane).sum())
    if bad:
        raise ImageError(f"{bad} of {plane.size} values are NaN; expected numbers in [0, 1]")
    scaled = np.clip(plane, 0, 1) * np.float32(top)
    return np.asarray(np.rint(scaled) if whole else scaled, np.float32)


def _encode_by_pillow(
    samples: NDArray[np.uint8], form: Format, quality: int, metadata: dict[str, Any] | None
) -> bytes:
    from PIL import Image, PngImagePlugin

    grey = samples.shape[2] < 3
    options: dict[str, Any] = {} if grey else {"icc_profile": icc.srgb_profile()}
    if form == "PNG":
        options["compress_level"] = 4  # 6 takes 2.4 times as long and saves 1 %
        if metadata is not None:
            text = PngImagePlugin.PngInfo()
            text.add_itxt(provenance.KEY, provenance.to_json(metadata))
            options["pnginfo"] = text
    elif form == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
        if metadata is not None:
            options["description"] = provenance.to_json({provenance.KEY: metadata})
    elif form == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
        if metadata is not None:
            options["exif"] = provenance.to_jpeg_exif(metadata)
    else:
        options |= {"quality": quality, "lossless": quality == 100, "exact": True, "method": 4}
        if metadata is not None:
            options["exif"] = provenance.to_exif(metadata, limit=None)
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    buffer = io.BytesIO()
    try:
        image.save(buffer, form, **options)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{form} cannot hold this picture of {image.width} × {image.height}: {error}; "
            "save as PNG"
        ) from error
    return buffer.getvalue()


def _encode_png16(samples: NDArray[np.uint16], metadata: dict[str, Any] | None) -> bytes:
    import png

    height, width, channels = samples.shape
    writer = png.Writer(
        width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16, compression=6
    )
    plain = io.BytesIO()
    writer.write_packed(plain, (row.astype(">u2").tobytes() for row in samples))
    header, *rest = png.Reader(bytes=plain.getvalue()).chunks()
    extra = []
    if channels >= 3:  # PNG 3rd edition, 11.3.2.3: name, NUL, method 0, deflated profile
        extra.append((b"iCCP", b"sRGB\0\0" + zlib.compress(icc.srgb_profile(), 6)))
    if (
        metadata is not None
    ):  # 11.3.3.4: keyword, NUL, not compressed, method 0, no language, no translation
        text = provenance.to_json(metadata).encode("ascii")
        extra.append((b"iTXt", provenance.KEY.encode() + b"\0\0\0\0\0" + text))
    whole = io.BytesIO()
    png.write_chunks(whole, [header, *extra, *rest])
    return whole.getvalue()


def _encode_tiff16(samples: NDArray[np.uint16], metadata: dict[str, Any] | None) -> bytes:
    import tifffile

    channels = samples.shape[2]
    text = None if metadata is None else provenance.to_json({provenance.KEY: metadata})
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        samples[..., 0] if channels == 1 else samples,
        byteorder="<",
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        description=text,
        metadata=None,
        software=False,
        iccprofile=icc.srgb_profile() if channels >= 3 else None,
    )
    return buffer.getvalue()
