"""Sizes and resampling: one meaning of `size` everywhere, one resize for every picture."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image.picture import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = int | str | tuple[int, int] | None
ResizeMethod = Literal["area", "bicubic", "lanczos", "bilinear"]


def resize(
    pixels: NDArray[np.float32],
    height_width: tuple[int, int],
    method: ResizeMethod = "lanczos",
    *,
    clip: bool = False,
) -> NDArray[np.float32]:
    """Resample planes (C, H, W) or one plane (H, W) to (height, width); float32 in and out.

    Antialiased: when shrinking, the kernel widens by the factor of reduction. Borders repeat
    nothing and invent nothing: the kernel is cut there and renormalised, so a constant stays
    constant. "area" averages the covered pixels (and repeats the nearest when enlarging); "bicubic"
    (a = -0.5) and "lanczos" (3 lobes) can overshoot [0, 1] at edges: `clip` cuts that off. Samples
    are at pixel centres. Computed in float64 by Pillow, one plane at a time. Raises ImageError for
    other shapes, sizes or methods.

    >>> resize(np.array([[[0.0, 1.0]]], np.float32), (1, 1), "area")
    array([[[0.5]]], dtype=float32)
    """
    from PIL import Image

    filters = {
        "area": Image.Resampling.BOX,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    if method not in filters:
        raise ImageError(f"method is {method!r}; expected one of {', '.join(filters)}")
    if pixels.ndim not in (2, 3) or pixels.size == 0 or pixels.dtype.kind != "f":
        raise ImageError(
            f"cannot resize {pixels.dtype} of shape {pixels.shape}; expected float32 (C, H, W)"
        )
    height, width = _checked(height_width[1], height_width[0], "size", MAX_PIXELS)
    planes = pixels.reshape(-1, *pixels.shape[-2:])
    out = np.empty((len(planes), height, width), np.float32)
    if planes.shape[1:] == (height, width):
        out[:] = planes
    else:
        for source, target in zip(planes, out, strict=True):
            image = Image.fromarray(np.ascontiguousarray(source, np.float32))
            target[:] = np.asarray(image.resize((width, height), filters[method]))
    if clip:
        np.clip(out, 0, 1, out=out)
    return out.reshape(*pixels.shape[:-2], height, width)


def fit_size(
    size: Size, source_hw: tuple[int, int], *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """What the keyword `size` means, as (height, width), each at least 1.

    - None: the source's own size, `source_hw` = (height, width);
    - an int, or "512": the longest side; the other follows the source's proportions, rounded half
      to even;
    - (width, height), or "512x384": exactly that.

    Raises ImageError for 0, negative or fractional numbers and for more than `max_pixels` pixels.

    >>> fit_size(512, (768, 1024)), fit_size((640, 480), (768, 1024)), fit_size("32x8", (1, 1))
    ((384, 512), (480, 640), (8, 32))
    """
    height, width = source_hw
    if height < 1 or width < 1:
        raise ImageError(f"the source has {width} × {height} pixels; expected at least 1 × 1")
    if size is None:
        return _checked(width, height, "the source's size", max_pixels)
    parsed = _parse(size)
    if isinstance(parsed, tuple):
        return _checked(*parsed, "size", max_pixels)
    longest = max(height, width)
    scaled = [
        max(1, round(side * parsed / longest)) if parsed > 0 else parsed for side in source_hw
    ]
    return _checked(scaled[1], scaled[0], "size", max_pixels)


def _parse(size: Size) -> int | tuple[int, int]:
    expected = 'expected a number (longest side), (width, height) or "WIDTHxHEIGHT"'
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:[x×X,]\s*(\d{1,9})\s*)?", size)
        if match is None:
            raise ImageError(f"size is {size!r}; {expected}")
        first, second = match.groups()
        return (int(first), int(second)) if second else int(first)
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if len(sides) not in (1, 2):
        raise ImageError(f"size is {size!r} with {len(sides)} numbers; {expected}")
    try:
        if any(isinstance(side, (bool, np.bool_)) for side in sides):
            raise TypeError("a truth value is no size")
        numbers = [operator.index(side) for side in sides]  # type: ignore[arg-type]
    except TypeError as error:
        raise ImageError(f"size is {size!r}; {expected}, in whole pixels") from error
    if isinstance(size, (tuple, list)):
        if len(numbers) != 2:
            raise ImageError(f"size is {size!r}; {expected}")
        return numbers[0], numbers[1]
    return numbers[0]


def _checked(width: int, height: int, what: str, max_pixels: int) -> tuple[int, int]:
    if width < 1 or height < 1:
        raise ImageError(f"{what} is {width} × {height}; expected at least 1 × 1 pixel")
    if width * height > max_pixels:
        raise ImageError(
            f"{what} is {width} × {height} = {width * height / 1e6:.0f} megapixels; "
            f"expected at most {max_pixels / 1e6:.0f}"
        )
    return height, width
