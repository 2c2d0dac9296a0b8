"""Pictures from formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.image import ImageArray
from fastsynth.patterns.expression import MAX_LENGTH, compile_expression
from fastsynth.patterns.frame import Frame, FrameOptions, in_core, number, pair
from fastsynth.patterns.palette import plain_palette

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import PaletteLike

__all__ = ["formula"]


def formula(
    expression: str | Sequence[str] = "sin(12*r - 5*theta + 3*fbm(2*x, 2*y))",
    *,
    t: float = 0.0,
    value_range: tuple[float, float] = (-1.0, 1.0),
    repeat: bool = False,
    zoom: float = 1.0,
    center: tuple[float, float] = (0.0, 0.0),
    palette: PaletteLike = "dusk",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """A picture of an expression in x, y, r, theta and t.

    The shorter side of the picture spans [-1, 1], y grows upwards, r = √(x² + y²), theta is the
    angle in (-π, π]. An expression is parsed and run by a machine of its own, never as Python: text
    from strangers is safe.

    expression: one expression, whose value goes through the palette, or three for red, green and
        blue in [0, 1] (sRGB), as a list or separated by ";".
        Numbers, + - * / % (floored) ^ or ** , < <= > >= == !=, && || !, c ? a : b, pi tau e phi,
        and abs sign floor ceil round fract sqrt exp log log2 sin cos tan asin acos atan sinh cosh
        tanh min max mod pow atan2(y, x) hypot step(edge, v) clamp(v, low, high) mix(a, b, s)
        smoothstep(low, high, v) where(c, a, b) noise(x, y) fbm(x, y).
        noise is gradient noise in [-1, 1], fbm five octaves of it; both change with `seed`.
    t: a number for animations; default 0
    value_range: the values that are the palette's ends; default (-1, 1)
    repeat: values beyond the range begin the palette anew instead of being cut off; default False
    zoom, center: what part of the plane is shown; default 1 and (0, 0)
    palette: a name, a list of colours or a gradient; default "dusk"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    What is not a number is drawn as 0 of the palette or channel. Returns an image (H, W, 3). Raises
    ImageError for other values, and for an expression that cannot be read, with the place.

    >>> formula("x > 0", size=(2, 1), value_range=(0, 1), palette="grey")[0, :, 0].tolist()
    [0, 255]
    """
    if isinstance(expression, str):
        if len(expression) > 3 * MAX_LENGTH + 2:
            raise ImageError(
                f"the expression has {len(expression)} characters; expected at most {MAX_LENGTH}"
            )
        texts = expression.split(";")
    elif isinstance(expression, Sequence) and not isinstance(expression, bytes):
        texts = list(expression)
    else:
        raise ImageError(f"the expression is {expression!r:.60}; expected text, or three texts")
    if len(texts) not in (1, 3):
        raise ImageError(f"there are {len(texts)} expressions; expected 1, or 3 for RGB")
    programs = [compile_expression(text) for text in texts]
    t = number("t", t)
    low, high = pair("value_range", value_range)
    if low == high:
        raise ImageError(f"value_range is ({low:g}, {high:g}); expected two different numbers")
    zoom = number("zoom", zoom, 0, 1e12, above=0)
    center = pair("center", center)
    frame = Frame.of(
        "formula",
        options,
        expression=texts[0] if len(texts) == 1 else texts,
        t=t,
        value_range=[low, high],
        repeat=bool(repeat),
        zoom=zoom,
        center=list(center),
        palette=plain_palette(palette),
    )
    with in_core():
        _core.draw_formula(
            frame.image,
            programs,
            t,
            frame.seed,
            (low, high),
            bool(repeat),
            frame.table(palette),
            frame.view(center, 1 / zoom),
            frame.antialias,
            frame.pool,
        )
    return frame.finish()
