"""Pictures out, to memory: the same kind as came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image.color import luminance
from fastsynth.image.encode import SUFFIXES, encode, quantize
from fastsynth.image.picture import DTypeName, Kind, check_alpha, check_planar

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_TOP = {"uint8": 255, "uint16": 65535}


def to_array(
    pixels: NDArray[np.float32],
    alpha: NDArray[np.float32] | None = None,
    *,
    dtype: DTypeName = "uint8",
    channels: int | None = None,
) -> NDArray[Any]:
    """Planar pixels (3, H, W) as an (H, W, C) array.

    Values are cut to [0, 1]; for integers they are scaled by 255 or 65535 and rounded to the
    nearest, halves to even. channels: 1 (Rec. 601 luma), 2 (luma, alpha), 3 or 4; default 3, or 4
    with alpha. Alpha that is asked for and not given is opaque; alpha that is given and not asked
    for is left out. Raises ImageError for other shapes or NaN.

    >>> to_array(np.full((3, 1, 1), 0.5, np.float32)).ravel().tolist()
    [128, 128, 128]
    """
    pixels = check_planar(pixels, channels=(3,))
    shape = (pixels.shape[1], pixels.shape[2])
    if alpha is not None:
        alpha = check_alpha(alpha, shape)
    if channels is None:
        channels = 3 if alpha is None else 4
    if channels not in (1, 2, 3, 4):
        raise ImageError(f"channels is {channels!r}; expected 1, 2, 3 or 4")
    if dtype not in ("uint8", "uint16", "float32", "float64"):
        raise ImageError(f"dtype is {dtype!r}; expected uint8, uint16, float32 or float64")
    planes = [luminance(pixels)] if channels < 3 else list(pixels)
    if channels in (2, 4):
        planes.append(np.ones(shape, np.float32) if alpha is None else alpha)
    out = np.empty((*shape, channels), dtype)
    for index, plane in enumerate(planes):
        out[..., index] = quantize(plane, _TOP.get(dtype, 1), whole=dtype in _TOP)
    return out


def to_pil(
    pixels: NDArray[np.float32],
    alpha: NDArray[np.float32] | None = None,
    *,
    mode: str | None = None,
) -> Image.Image:
    """Planar pixels (3, H, W) as a PIL image; rounding as in `to_array`.

    mode: "RGB", "RGBA", "L", "LA", or "I;16", "I" (16-bit grey) and "F" (grey in [0, 1]); default
    "RGB", or "RGBA" with alpha. Raises ImageError for other modes, shapes or NaN.

    >>> to_pil(np.zeros((3, 2, 5), np.float32)).size
    (5, 2)
    """
    from PIL import Image

    mode = mode or ("RGB" if alpha is None else "RGBA")
    forms: dict[str, tuple[DTypeName, int]] = {
        "L": ("uint8", 1),
        "LA": ("uint8", 2),
        "RGB": ("uint8", 3),
        "RGBA": ("uint8", 4),
        "I;16": ("uint16", 1),
        "I": ("uint16", 1),
        "F": ("float32", 1),
    }
    if mode not in forms:
        raise ImageError(f"mode is {mode!r}; expected one of {', '.join(forms)}")
    dtype, channels = forms[mode]
    array = to_array(pixels, alpha, dtype=dtype, channels=channels)
    if mode == "I":
        array = array.astype(np.int32)
    return Image.fromarray(array[..., 0] if channels == 1 else array)


def to_output(
    pixels: NDArray[np.float32],
    alpha: NDArray[np.float32] | None,
    kind: Kind,
    *,
    grey: bool | None = False,
) -> Any:
    """Planar pixels (3, H, W) as the kind that came in.

    - an ndarray came in: an ndarray of the same dtype and channels, (H, W) if it was (H, W);
    - a PIL image or a path: a PIL image, of the same mode where that is a plain one (L, LA, RGB,
      RGBA, I;16, I, F); other modes (palettes, CMYK, YCbCr, LAB, 1) become RGB, RGBA or L, for
      going back would lose colours;
    - bytes or a file object: the bytes of a file in the same format, at the same depth where the
      format has it; PNG where fastsynth does not write the format.

    grey: False (default) gives colour, also where grey came in: a painted picture is in colour.
    True gives luma only; None gives grey where grey came in. Alpha is present where it came in or
    is given. Rounding as in `to_array`. Raises ImageError for other shapes or NaN.

    >>> kind = Kind("ndarray", "uint16", 1, flat=True)
    >>> to_output(np.ones((3, 2, 2), np.float32), None, kind, grey=None).tolist()
    [[65535, 65535], [65535, 65535]]
    """
    one = kind.grey if grey is None else grey
    with_alpha = kind.alpha or alpha is not None
    if kind.container == "ndarray":
        array = to_array(
            pixels, alpha, dtype=kind.dtype, channels=(1 if one else 3) + (1 if with_alpha else 0)
        )
        return array[..., 0] if one and not with_alpha and kind.flat else array
    if kind.container in ("PIL", "path"):
        return to_pil(pixels, alpha, mode=_pil_mode(kind, one, with_alpha))
    form = kind.format if kind.format in SUFFIXES.values() else "PNG"
    if with_alpha and alpha is None:
        alpha = np.ones(pixels.shape[1:], np.float32)
    if form == "JPEG" and with_alpha:
        form = "PNG"
    deep = kind.dtype != "uint8" and form in ("PNG", "TIFF")
    return encode(pixels, cast("Any", form), alpha=alpha, bit_depth=16 if deep else 8, grey=one)


def _pil_mode(kind: Kind, grey: bool, with_alpha: bool) -> str:
    if not grey:
        return "RGBA" if with_alpha else "RGB"
    if with_alpha:
        return "LA"
    if kind.dtype == "uint8":
        return "L"
    return kind.mode if kind.mode in ("I", "F") else "I;16" if kind.dtype == "uint16" else "F"
