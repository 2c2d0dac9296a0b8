"""Pictures in: whatever holds a picture becomes a `Picture`."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image import icc
from fastsynth.image.decode import Decoded, decode_bytes, decode_pil
from fastsynth.image.picture import (
    MAX_PIXELS,
    Container,
    DTypeName,
    Kind,
    Picture,
    sha256_of_array,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

ImageSource = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Picture"

logger = logging.getLogger("fastsynth.image")

# Floats may leave [0, 1] by this much, as rounding in somebody's own arithmetic does; they are
# clipped.
_RANGE_SLACK = 1e-6


def load(source: Any, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture from whatever holds one: upright, in sRGB, at its full precision.

    source:
      - a path (str or PathLike), the bytes of a file, or a file object opened for binary reading:
        JPEG, PNG, TIFF, WebP, AVIF, GIF, BMP, PNM, JPEG 2000. The content decides, not the suffix.
        Of animations and multi-page files the first frame. 16-bit PNG and TIFF keep their 16 bits;
      - a PIL image in any mode;
      - an ndarray (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), taken as sRGB: uint8 in 0-255, uint16
        in 0-65535, float32 or float64 in [0, 1]; a fourth channel is alpha. Truth values are
        refused: 0/1 and 0/255 look alike;
      - a Picture, returned as it is.
    name: how messages call it ("content", "style", ...).
    max_pixels: larger pictures are refused from their header, before decoding (default 512
    megapixels).

    EXIF orientation is applied, ICC profiles are converted to sRGB, CMYK and palettes to RGB; alpha
    is kept, not multiplied in. What was done is in `Picture.notes`. No global state is changed. The
    smallest picture is 1 × 1.

    Raises ImageError, saying what was found and what to do, for everything that is not a usable
    picture: missing or damaged files, text, SVG, HEIC, wrong shapes and types, values outside the
    range, NaN.

    >>> picture = load(np.array([[0, 255]], np.uint8))
    >>> picture.size, picture.pixels[:, 0, 1].tolist(), picture.kind.channels
    ((2, 1), [1.0, 1.0, 1.0], 1)
    """
    if isinstance(source, Picture):
        return source
    label = f"{name} {os.fspath(source)!r}" if isinstance(source, (str, os.PathLike)) else name
    try:
        picture = _load(source, max_pixels)
    except ImageError as error:
        raise ImageError(f"{label}: {error}") from error.__cause__
    except MemoryError as error:
        raise ImageError(f"{label}: there is not enough memory to decode it") from error
    for note in picture.notes:
        logger.info("%s: %s", label, note)
    return picture


def _load(source: Any, max_pixels: int) -> Picture:
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.fspath(source))
        return _from_bytes(_read_path(path, max_pixels), "path", max_pixels, path)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), "bytes", max_pixels, None)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    # A PIL image exists only where PIL was imported, so asking its module costs nothing.
    if _is_pil(source):
        return _from_pil(source, max_pixels)
    if hasattr(source, "read"):
        return _from_bytes(_read_stream(source, max_pixels), "file", max_pixels, None)
    hint = ": pass numpy.asarray(it)" if hasattr(source, "__array__") else ""
    raise ImageError(
        f"it is a {type(source).__name__}; expected a path, bytes, a binary file, a PIL image, "
        f"an ndarray or a Picture{hint}"
    )


def _is_pil(source: object) -> bool:
    import sys

    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(source, pil.Image)


def _read_path(path: Path, max_pixels: int) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("it is a directory; expected a picture file")
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise ImageError("it is a device; expected a picture file")
        with path.open("rb") as file:
            return _read_limited(file, max_pixels)
    except FileNotFoundError as error:
        raise ImageError("there is no such file; check the path") from error
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: a NUL in the path; an ImageError is one too
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"it cannot be opened: {error}") from error


def _read_stream(stream: BinaryIO, max_pixels: int) -> bytes:
    try:
        data = _read_limited(stream, max_pixels)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"the file object cannot be read: {error}") from error
    return data


def _read_limited(stream: BinaryIO, max_pixels: int) -> bytes:
    """Read to the end, but not for ever: raw 16-bit RGBA is the largest picture there is."""
    limit = 8 * max_pixels + 2**26
    data = stream.read(limit + 1)
    if not isinstance(data, bytes):
        raise ImageError(
            f"reading it gives {type(data).__name__}; expected bytes: open the file with 'rb'"
        )
    if len(data) > limit:
        raise ImageError(
            f"it is larger than {limit / 1e6:.0f} MB, more than a picture of max_pixels needs"
        )
    return data


def _from_bytes(data: bytes, container: Container, max_pixels: int, path: Path | None) -> Picture:
    decoded = decode_bytes(data, max_pixels)
    return _picture(decoded, container, hashlib.sha256(data).hexdigest(), path)


def _from_pil(image: Image.Image, max_pixels: int) -> Picture:
    from PIL import Image

    try:
        decoded = decode_pil(image, max_pixels)
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"the PIL image cannot be decoded: {error}") from error
    palette = image.getpalette() if image.mode in ("P", "PA") else None
    digest = sha256_of_array(
        np.frombuffer(image.tobytes(), np.uint8), f"{image.mode} {image.size} {palette}"
    )
    return _picture(decoded, "PIL", digest, None)


def _from_array(array: NDArray[Any]) -> Picture:
    kinds: dict[tuple[str, int], DTypeName] = {
        ("u", 1): "uint8",
        ("u", 2): "uint16",
        ("f", 4): "float32",
        ("f", 8): "float64",
    }
    dtype = kinds.get((array.dtype.kind, array.dtype.itemsize))
    if dtype is None:
        way_out = {
            "b": "multiply by 255 and convert to uint8",
            "i": "convert to uint8 or uint16",
            "f": "convert to float32",
        }.get(array.dtype.kind, "convert it")
        raise ImageError(
            f"the array is {array.dtype}; expected uint8, uint16, float32 or float64: {way_out}"
        )
    channels = 1 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0
    if channels not in (1, 3, 4):
        planar = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = ": it looks planar, use array.transpose(1, 2, 0)" if planar else ""
        raise ImageError(
            f"the array has shape {array.shape}; "
            f"expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}"
        )
    if array.size == 0:
        raise ImageError(f"the array has shape {array.shape}, no pixels; expected at least 1 × 1")
    samples = np.asarray(array, dtype=array.dtype.newbyteorder("="))  # a plain ndarray, native
    grey = channels == 1
    color = samples.reshape(samples.shape[:2]) if grey else samples[..., :3]
    alpha = samples[..., 3] if channels == 4 else None
    decoded = Decoded(color, alpha, mode="")
    picture = _picture(decoded, "ndarray", sha256_of_array(samples), None)
    kind = Kind("ndarray", dtype, channels, flat=array.ndim == 2)
    return Picture(picture.pixels, picture.alpha, kind, picture.sha256)


def _picture(decoded: Decoded, container: Container, digest: str, path: Path | None) -> Picture:
    notes = list(decoded.notes)
    planar = decoded.color[None] if decoded.color.ndim == 2 else decoded.color.transpose(2, 0, 1)
    pixels = _to_srgb(planar, decoded.profile, notes)
    alpha = None if decoded.alpha is None else _to_unit(decoded.alpha, "alpha")
    if decoded.orientation != 1:
        pixels = _upright(pixels, decoded.orientation)
        alpha = None if alpha is None else _upright(alpha, decoded.orientation)
        notes.append(f"EXIF orientation {decoded.orientation} was applied")
    if pixels.shape[0] == 1:
        pixels = np.repeat(pixels, 3, axis=0)
    kind = Kind(
        container,
        cast("DTypeName", decoded.color.dtype.name),
        decoded.channels,
        decoded.mode,
        decoded.format,
    )
    return Picture(pixels, alpha, kind, digest, path, tuple(notes))


def _to_unit(samples: NDArray[Any], what: str = "values") -> NDArray[np.float32]:
    """Samples of any type as float32 in [0, 1]. Raises ImageError for floats outside."""
    if samples.dtype.kind == "u":
        top = np.float32(255 if samples.dtype.itemsize == 1 else 65535)
        out = np.empty(samples.shape, np.float32)  # in C order, whatever the order of the samples
        np.divide(samples, top, out=out, dtype=np.float32)
        return out
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite(low + high):  # NaN travels through min and max
        bad = samples.size - int(np.isfinite(samples).sum())
        raise ImageError(
            f"{bad} of its {samples.size} {what} are NaN or infinite; "
            "expected finite numbers in [0, 1]"
        )
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        hint = "divide by 255" if 1.5 < high <= 255 and low >= 0 else "scale or clip them"
        raise ImageError(
            f"its floating-point {what} run from {low:.6g} to {high:.6g}; expected [0, 1]: {hint}"
        )
    return np.asarray(np.clip(samples, 0, 1), np.float32)


def _to_srgb(planar: NDArray[Any], profile: bytes | None, notes: list[str]) -> NDArray[np.float32]:
    """(1 or 3, H, W) samples to float32 sRGB. A profile that cannot be used is noted."""
    unit = planar if planar.dtype.kind == "u" else _to_unit(planar)
    if profile is None or profile == icc.srgb_profile():
        return _to_unit(unit)
    try:
        return _by_profile(unit, profile, notes)
    except icc.ProfileError as error:
        notes.append(f"its colour profile was ignored, the values were taken as sRGB: {error}")
        logger.warning("%s", notes[-1])
        return _to_unit(unit)


def _by_profile(planar: NDArray[Any], profile: bytes, notes: list[str]) -> NDArray[np.float32]:
    space = icc.space(profile)
    wanted = {1: ("GRAY", "RGB"), 3: ("RGB",)}[planar.shape[0]]
    if space not in wanted:
        raise icc.ProfileError(f"it is for {space}, the picture has {planar.shape[0]} channel(s)")
    matrix = icc.parse_matrix(profile)
    if matrix is not None and matrix.is_srgb():
        return _to_unit(planar)
    notes.append(f"converted to sRGB from the colour profile {icc.description(profile)!r}")
    if space == "RGB" and planar.shape[0] == 1:
        planar = np.repeat(planar, 3, axis=0)
    if matrix is not None:
        return matrix.to_srgb(planar)
    from PIL import Image

    eight = np.rint(_to_unit(planar) * 255).astype(np.uint8)
    if planar.dtype != np.uint8:
        notes.append("that profile has look-up tables: the conversion worked at 8 bits")
    image = Image.fromarray(eight[0] if len(eight) == 1 else eight.transpose(1, 2, 0).copy())
    converted = np.asarray(icc.convert_by_lcms(image, profile))
    return _to_unit(converted.transpose(2, 0, 1))


def _upright(planes: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Undo an EXIF orientation on (..., H, W): 5-8 exchange the axes, then sides are turned."""
    if orientation >= 5:
        planes = planes.swapaxes(-1, -2)
    turn_rows = orientation in (3, 4, 7, 8)
    turn_columns = orientation in (2, 3, 6, 7)
    planes = planes[..., :: -1 if turn_rows else 1, :: -1 if turn_columns else 1]
    return np.ascontiguousarray(planes)
