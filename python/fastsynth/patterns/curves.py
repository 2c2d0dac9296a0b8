"""Trochoids: the curves of a pen on a wheel that rolls along a circle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image import ImageArray
from fastsynth.patterns.frame import Frame, FrameOptions, choice, linear, number, whole
from fastsynth.patterns.palette import color_of, plain_palette
from fastsynth.patterns.shapes import Shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import Color, PaletteLike

__all__ = ["trochoid", "trochoid_points"]

MAX_TURNS = 1000
MAX_LINES = 2_000_000  # of one curve, and of all together
DEFAULT_CURVES = tuple((96.0, 36.0, float(pen)) for pen in range(84, 14, -5))


def trochoid_points(fixed: float, rolling: float, pen: float, count: int) -> NDArray[np.float64]:
    """Points (count, 2) at equal steps of t along the whole curve, the last one back at the first.

        x = (R - r) cos t + d cos((R - r) t / r),   y = (R - r) sin t - d sin((R - r) t / r)

    fixed R > 0; rolling r inside of it, or outside if below 0; pen d from the wheel's centre. The
    curve closes after as many turns as the reduced fraction R / r has in its denominator; one that
    needs more than 1000 is left open there. Raises ImageError for radii that make no curve, and
    for more than 2,000,001 points.

    >>> trochoid_points(4, 1, 1, 5).round(6).tolist()  # an astroid
    [[4.0, 0.0], [0.0, 4.0], [-4.0, 0.0], [0.0, -4.0], [4.0, 0.0]]
    """
    fixed, rolling, pen = _radii(fixed, rolling, pen)
    count = whole("count", count, 0, MAX_LINES + 1)
    t = np.linspace(0, math.tau * turns(fixed, rolling), count)
    arm = fixed - rolling
    ratio = arm / rolling
    return np.column_stack(
        [arm * np.cos(t) + pen * np.cos(ratio * t), arm * np.sin(t) - pen * np.sin(ratio * t)]
    )


def turns(fixed: float, rolling: float) -> int:
    """Turns around the fixed circle until the curve closes, at most 1000.

    >>> turns(105, 45), turns(60, -12)
    (3, 1)
    """
    return min(
        MAX_TURNS,
        (Fraction(fixed) / Fraction(abs(rolling))).limit_denominator(MAX_TURNS).denominator,
    )


def trochoid(
    curves: Sequence[Sequence[float]] = DEFAULT_CURVES,
    *,
    thickness: float = 0.0035,
    opacity: float = 0.9,
    color_by: str = "curve",
    margin: float = 0.06,
    background: Color = "#101426",
    palette: PaletteLike = "lantern",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """Hypotrochoids and epitrochoids, laid over one another.

    curves: 1-500 triples (fixed, rolling, pen): the radius of the fixed circle; that of the wheel
        that rolls inside, or outside if it is below 0; and the distance of the pen from the wheel's
        centre. Only their proportions matter: all curves together are fitted into the frame.
    thickness: of the lines, as a share of the frame's shorter side, 0-0.2; default 0.0035
    opacity: 0-1; default 0.9
    color_by: "curve" (default: each curve has one colour of the palette) or "path" (the palette
        along each curve, there and back)
    margin: free space around, as a share of the frame, 0-0.45; default 0.06
    background: a colour; default a dark blue
    palette: a name, a list of colours or a gradient; default "lantern"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> trochoid([(5, 3, 5)], size=(20, 30)).shape
    (30, 20, 3)
    """
    checked = _curves(curves)
    thickness = number("thickness", thickness, 0, 0.2)
    opacity = number("opacity", opacity, 0, 1)
    choice("color_by", color_by, ("curve", "path"))
    margin = number("margin", margin, 0, 0.45)
    frame = Frame.of(
        "trochoid",
        options,
        curves=[list(curve) for curve in checked],
        thickness=thickness,
        opacity=opacity,
        color_by=color_by,
        margin=margin,
        background=list(color_of(background, "background")),
        palette=plain_palette(palette),
    )
    shorter = min(frame.width, frame.height)
    reach = max(abs(R - r) + abs(d) for R, r, d in checked)
    scale = shorter * (0.5 - margin) / max(reach, 1e-9)
    table = frame.table(palette).astype(np.float64)
    last = len(table) - 1
    counts = [_steps(curve, scale) for curve in checked]
    if sum(counts) > MAX_LINES:
        raise ImageError(
            f"the curves have {sum(counts)} steps of two pixels; expected at most {MAX_LINES}: "
            "take fewer curves, radii of simpler proportion, or a smaller picture"
        )
    shapes = Shapes()
    for k, ((fixed, rolling, pen), count) in enumerate(zip(checked, counts, strict=True)):
        points = trochoid_points(fixed, rolling, pen, count + 1) * (scale, -scale)
        points += (frame.width / 2, frame.height / 2)
        if color_by == "curve":
            near = far = table[round(k / max(1, len(checked) - 1) * last)]
        else:
            place = 1 - np.abs(np.linspace(-1, 1, count + 1))
            along = table[np.rint(place * last).astype(int)]
            near, far = along[:-1], along[1:]
        radius = thickness * shorter / 2
        shapes.lines(
            points[:-1],
            points[1:],
            radius=radius,
            end_radius=radius,
            near=near,
            far=far,
            alpha=opacity,
        )
    shapes.draw(frame, linear(background, "background"))
    return frame.finish()


def _steps(curve: tuple[float, float, float], scale: float) -> int:
    """Steps of two pixels along a curve at the pen's largest speed."""
    fixed, rolling, pen = curve
    speed = abs(fixed - rolling) * (1 + abs(pen / rolling)) * scale
    return int(min(MAX_LINES, max(64, math.tau * turns(fixed, rolling) * speed / 2)))


def _curves(curves: Any) -> list[tuple[float, float, float]]:
    if (
        isinstance(curves, (str, bytes))
        or not hasattr(curves, "__len__")
        or not hasattr(curves, "__getitem__")
        or not 1 <= len(curves) <= 500
    ):
        raise ImageError(
            f"curves is {curves!r:.60}; expected 1 to 500 triples (fixed, rolling, pen)"
        )
    out = []
    for curve in curves:
        if isinstance(curve, (str, bytes)) or not hasattr(curve, "__len__") or len(curve) != 3:
            raise ImageError(f"a curve is {curve!r:.60}; expected (fixed, rolling, pen)")
        out.append(_radii(*curve))
    return out


def _radii(fixed: Any, rolling: Any, pen: Any) -> tuple[float, float, float]:
    fixed = number("the fixed radius", fixed, 0, 1e6, above=0)
    rolling = number("the rolling radius", rolling, -1e6, 1e6)
    if abs(rolling) < 1e-3 * fixed:
        raise ImageError(
            f"the rolling radius is {rolling:g} beside a fixed one of {fixed:g}; "
            "expected at least a thousandth of it"
        )
    return fixed, rolling, number("the pen's distance", pen, -1e6, 1e6)
