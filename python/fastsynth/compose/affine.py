"""Affine transforms: rotate, scale, shear, move, or any 2 × 3 matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.compose.checks import check_choice, check_number
from fastsynth.compose.convolve import Border, check_settings, fill_values, recorded_fill
from fastsynth.compose.images import pool, read
from fastsynth.image import MAX_PIXELS, fit_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from fastsynth._types import ImageLike, Size
    from fastsynth.image import ImageArray

__all__ = ["affine"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Pair = "float | tuple[float, float]"

# A square of this side is still a point: smaller maps are taken as singular.
_SINGULAR = 1e-12
# Beyond it, products of entries and positions leave what float64 can tell apart.
_LARGEST = 1e15


def affine(
    image: ImageLike,
    matrix: ArrayLike | None = None,
    *,
    rotate: float = 0.0,
    scale: float | tuple[float, float] = 1.0,
    shear: float | tuple[float, float] = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    center: tuple[float, float] | None = None,
    size: Size | Literal["fit"] = None,
    interpolation: Interpolation = "bilinear",
    border: Border = "constant",
    constant: float | Sequence[float] = 0,
    antialias: bool = True,
    linear: bool = False,
    clip: bool = True,
    threads: int | None = None,
) -> ImageArray:
    """Map an image affinely: a point (x, y) of it goes to A (x, y) + t.

    Points are in pixels from the upper left corner of the image, x to the right, y downwards: the
    pixel in column i and row j covers [i, i + 1) × [j, j + 1), its centre is (i + ½, j + ½).
    (OpenCV puts centres at whole numbers: its M is this one between shifts by ½.)

    image: whatever `fastsynth.image.load` takes; arrays (H, W), (H, W, 1 | 3 | 4) of uint8, uint16,
      float32 (any finite values) or float64 are worked on as they are. A fourth channel is alpha;
      colours are weighted by it.
    matrix: (2, 3), [A | t], or (3, 3) with the last row 0 0 1. Instead of it, about `center`, in
      this order:
    scale: a factor, or (x, y); negative ones mirror.
    shear: x += shear · y, or factors (x by y, y by x).
    rotate: degrees, against the clock.
    translate: (x, y) pixels.
    center: the point that stays, but for `translate`. Default: the centre of the image, which goes
      to the centre of the result.
    size: of the result: None, the image's; a number (longest side) or (width, height); "fit", what
      holds the whole image, which is moved there.
    interpolation: "nearest", "bilinear" (default), "bicubic" (Keys 1981, a = -½) or "lanczos"
      (3 lobes). The last two can overshoot.
    border: what lies outside: "constant" (default, with `constant` in samples: 0 is black, or
      transparent), on which the image lies with smooth edges; "reflect", "mirror", "replicate" or
      "wrap", as in `convolve`.
    antialias: when shrinking, the kernel is widened in each axis of the image by the map's scale
      along it, so that nothing is skipped. Not for "nearest".
    linear: interpolate in linear light, by the sRGB curve.
    clip: cut floats to [0, 1]. Integers are rounded to the nearest and saturate.
    threads: default all cores. The result does not depend on it, nor on the processor.

    Positions are exact to about 1e-6 pixels; weights of bicubic, Lanczos and widened kernels are
    interpolated in a table of 1024 phases.

    Returns an image of the same kind, with the step in its record. Raises ImageError for what is no
    image, a matrix that cannot be inverted, and settings out of range.

    >>> row = np.array([[0, 10, 20, 30]], np.uint8)
    >>> affine(row, translate=(1, 0)).tolist(), affine(row, scale=(-1, 1)).tolist()
    ([[0, 0, 10, 20]], [[30, 20, 10, 0]])
    """
    samples = read(image, bounded=False, threads=threads)
    check_settings(border=border, threads=threads)
    kinds = ("nearest", "bilinear", "bicubic", "lanczos")
    check_choice("interpolation", interpolation, kinds)
    scale, shear, translate, center = map(_plain, (scale, shear, translate, center))
    parts = {"rotate": rotate, "scale": scale, "shear": shear, "translate": translate}
    defaults = {"rotate": 0.0, "scale": 1.0, "shear": 0.0, "translate": (0.0, 0.0), "center": None}
    given = {k: v for k, v in {**parts, "center": center}.items() if v != defaults[k]}
    source = (samples.height, samples.width)
    if matrix is not None:
        if given:
            raise ImageError(
                f"matrix is given together with {', '.join(given)}; expected one or the other"
            )
        forward = _matrix(matrix)
    else:
        forward = _turned(rotate, scale, shear)
    if isinstance(size, str) and size == "fit":
        forward, (height, width) = _fitted(forward, source)
        if matrix is None and given.get("translate"):
            forward[:, 2] += _pair("translate", translate)
    else:
        height, width = fit_size(size, source)
        if matrix is None:
            middle = np.array([samples.width / 2, samples.height / 2])
            still = middle if center is None else np.array(_pair("center", center))
            goal = np.array([width / 2, height / 2]) if center is None else still
            forward[:, 2] = goal - forward[:, :2] @ still + _pair("translate", translate)
    out = np.empty((height, width, samples.channels), samples.values.dtype)
    near = interpolation == "nearest"
    try:
        _core.affine(
            samples.values,
            out,
            _output_to_source(forward),
            interpolation,
            bool(antialias),
            bool(clip),
            border,
            fill_values(constant, samples),
            bool(linear) and not near,
            "channel" if near else "premultiply",
            pool(threads),
        )
    except ValueError as error:  # maps that lead too far
        raise ImageError(str(error)) from error
    step: dict[str, Any] = {"step": "affine"}
    if matrix is not None:
        step["matrix"] = forward.tolist() if size != "fit" else _matrix(matrix).tolist()
    step.update({k: list(v) if isinstance(v, tuple) else v for k, v in given.items()})
    step["size"] = "fit" if size == "fit" else [width, height]
    step.update(interpolation=interpolation, border=border)
    if border == "constant":
        step["constant"] = recorded_fill(constant)
    options = {"antialias": (antialias, True), "linear": (linear, False), "clip": (clip, True)}
    step.update({k: value for k, (value, default) in options.items() if value != default})
    return samples.result(out, step)


def _plain(value: Any) -> Any:
    """Arrays of numbers as tuples, which compare as a whole."""
    return tuple(value.tolist()) if isinstance(value, np.ndarray) and value.ndim else value


def _pair(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    both = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    if len(both) != 2:
        raise ImageError(f"{name} is {value!r}; expected two numbers (x, y)")
    return check_number(name, both[0], _LARGEST), check_number(name, both[1], _LARGEST)


def _matrix(matrix: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"matrix is {matrix!r}; expected (2, 3) numbers") from error
    if array.shape == (3, 3) and np.array_equal(array[2], [0, 0, 1]):
        array = array[:2]
    if array.shape != (2, 3) or not (np.abs(array) <= _LARGEST).all():
        raise ImageError(
            f"matrix is {array.tolist()}; expected (2, 3) finite numbers up to 1e15, or (3, 3) "
            "with the last row 0 0 1"
        )
    return array.copy()


def _turned(
    rotate: float, scale: float | tuple[float, float], shear: float | tuple[float, float]
) -> NDArray[np.float64]:
    """Rotation · shear · scale, as (2, 3) without translation. y points down."""
    turn = math.radians(check_number("rotate", rotate))
    cosine, sine = math.cos(turn), math.sin(turn)
    if rotate % 90 == 0:  # exactly, not to 1e-16: pixels then map onto pixels
        cosine, sine = float(round(cosine)), float(round(sine))
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    along = (
        _pair("shear", shear)
        if isinstance(shear, (tuple, list))
        else (check_number("shear", shear, _LARGEST), 0.0)
    )
    sheared = np.array([[1.0, along[0]], [along[1], 1.0]])
    matrix = rotation @ sheared @ np.diag(_pair("scale", scale))
    return np.hstack([matrix, np.zeros((2, 1))])


def _fitted(
    forward: NDArray[np.float64], source: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The map with a shift that brings the whole image into the result, and the result's size."""
    height, width = source
    corners = np.array([[0, width, 0, width], [0, 0, height, height]], np.float64)
    mapped = forward[:, :2] @ corners
    low, high = mapped.min(axis=1), mapped.max(axis=1)
    extent = high - low
    # Rounding must not add a row.
    sides = [max(1.0, math.ceil(float(e) - 1e-6)) for e in extent]
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ImageError(
            f"the result would have {sides[0]:.0f} × {sides[1]:.0f} pixels; "
            f"expected at most {MAX_PIXELS}"
        )
    fitted = forward.copy()
    fitted[:, 2] = (np.array(sides) - extent) / 2 - low
    return fitted, (int(sides[1]), int(sides[0]))


def _output_to_source(forward: NDArray[np.float64]) -> list[float]:
    """The inverse map, between pixel centres at whole numbers, row by row."""
    determinant = float(forward[0, 0] * forward[1, 1] - forward[0, 1] * forward[1, 0])
    if not abs(determinant) > _SINGULAR:
        raise ImageError(
            f"the map has determinant {determinant:.3g} and cannot be inverted; "
            "expected scales other than 0"
        )
    inverse = np.linalg.inv(forward[:, :2])
    half = np.array([0.5, 0.5])
    shift = inverse @ (half - forward[:, 2]) - half
    # Rounding of the inverse must not bring a whole shift off the grid.
    near = np.rint(shift)
    shift = np.where(np.abs(shift - near) < 1e-9, near, shift)
    return [float(v) for v in np.column_stack([inverse, shift]).ravel()]
