"""Escape-time fractals: the Mandelbrot set and Julia sets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastsynth import _core
from fastsynth._numbers import plain
from fastsynth.image import ImageArray
from fastsynth.patterns.frame import Frame, FrameOptions, in_core, linear, number, pair, whole
from fastsynth.patterns.palette import color_of, plain_palette

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import Color, PaletteLike

__all__ = ["julia", "mandelbrot"]

MAX_ZOOM = 1e13  # beyond, neighbouring pixels have the same float64 coordinates


def mandelbrot(
    *,
    center: complex | tuple[float, float] = (-0.65, 0.0),
    zoom: float = 1.0,
    angle: float = 0.0,
    max_iterations: int | None = None,
    density: float = 1.0,
    offset: float = 0.0,
    relief: float = 0.0,
    inside: Color = "#06060f",
    palette: PaletteLike = "ocean",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """The Mandelbrot set: the c for which z ← z² + c, from 0, stays bounded.

    Outside, colour follows the smooth number of iterations n + 1 - log2(ln|z| / ln R), on a
    logarithmic scale.

    center: the middle of the picture, (re, im) or complex; default (-0.65, 0)
    zoom: 1 (default) shows ± 1.25 over the shorter side; up to 1e13
    angle: turns the picture, degrees; default 0
    max_iterations: 1-1000000; default 500, more with the zoom
    density: how often the palette is run through and back per factor of 16 in iterations; default 1
    offset: where in the palette it begins, 0-1; default 0
    relief: light and shadow on the slopes, 0-1; default 0
    inside: colour of the set; default nearly black
    palette: a name, a list of colours or a gradient; default "ocean"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> mandelbrot(size=(3, 1), inside="black", antialias=False)[0, 1].tolist()
    [0, 0, 0]
    """
    return _escape("mandelbrot", {}, 1.25, options, **_own(locals()))


def julia(
    *,
    c: complex | tuple[float, float] = (-0.8, 0.156),
    center: complex | tuple[float, float] = (0.0, 0.0),
    zoom: float = 1.0,
    angle: float = 0.0,
    max_iterations: int | None = None,
    density: float = 1.0,
    offset: float = 0.0,
    relief: float = 0.0,
    inside: Color = "#06060f",
    palette: PaletteLike = "ember",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """The Julia set of z² + c: the starts z for which z ← z² + c stays bounded.

    c: (re, im) or complex; default (-0.8, 0.156)
    center, zoom, angle, max_iterations, density, offset, relief, inside, palette, options: as for
        `mandelbrot`; the default palette is "ember"

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> julia(c=0, size=1, inside="white").tolist()
    [[[255, 255, 255]]]
    """
    c = plain(c)
    point = pair("c", (c, 0.0) if isinstance(c, (int, float)) else c, -1e3, 1e3)
    return _escape("julia", {"c": list(point)}, 1.35, options, **_own(locals()))


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """The keywords that both functions share."""
    names = ("center", "zoom", "angle", "max_iterations", "density", "offset", "relief")
    return {name: values[name] for name in (*names, "inside", "palette")}


def _escape(
    name: str,
    constant: dict[str, Any],
    half: float,
    options: Any,
    *,
    center: Any,
    zoom: Any,
    angle: Any,
    max_iterations: Any,
    density: Any,
    offset: Any,
    relief: Any,
    inside: Any,
    palette: Any,
) -> ImageArray:
    center = pair("center", center, -1e3, 1e3)
    zoom = number("zoom", zoom, 0, MAX_ZOOM, above=0)
    angle = number("angle", angle)
    if max_iterations is None:
        max_iterations = 500 + int(150 * max(0.0, math.log2(zoom)))
    max_iterations = whole("max_iterations", max_iterations, 1, 1_000_000)
    density = number("density", density, -1e3, 1e3)
    offset = number("offset", offset)
    relief = number("relief", relief, 0, 1)
    frame = Frame.of(
        name,
        options,
        **constant,
        center=list(center),
        zoom=zoom,
        angle=angle,
        max_iterations=max_iterations,
        density=density,
        offset=offset,
        relief=relief,
        inside=list(color_of(inside, "inside")),
        palette=plain_palette(palette),
    )
    c = constant.get("c")
    with in_core():
        _core.draw_escape(
            frame.image,
            None if c is None else (c[0], c[1]),
            max_iterations,
            density,
            offset,
            relief,
            linear(inside, "inside"),
            frame.table(palette),
            frame.view(center, half / zoom, angle),
            frame.antialias,
            frame.pool,
        )
    return frame.finish()
