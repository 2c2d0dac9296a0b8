"""Iterated function systems, drawn by the chaos game."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.image import ImageArray
from fastsynth.patterns.frame import Frame, FrameOptions, in_core, linear, number
from fastsynth.patterns.palette import color_of, plain_palette

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import Color, PaletteLike

__all__ = ["FUNCTION_SYSTEMS", "iterated_function_system"]

_ROOT3 = math.sqrt(3)


def _turned(scale: float, degrees: float, x: float, y: float) -> tuple[float, ...]:
    """The similarity that scales and turns, then moves by (x, y)."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return (c, -s, s, c, x, y)


def _around(count: int, scale: float, turn: float = 0.0) -> tuple[tuple[float, ...], ...]:
    """Copies around a regular polygon, the first one at the top."""
    places = [math.pi / 2 + math.tau * k / count for k in range(count)]
    return tuple(
        _turned(scale, turn, (1 - scale) * math.cos(place), (1 - scale) * math.sin(place))
        for place in places
    )


FUNCTION_SYSTEMS: dict[str, tuple[tuple[float, ...], ...]] = {
    # Barnsley, Fractals Everywhere (1988), table III.3: stem, fronds, left and right leaflets.
    "fern": (
        (0.0, 0.0, 0.0, 0.16, 0.0, 0.0, 0.01),
        (0.85, 0.04, -0.04, 0.85, 0.0, 1.6, 0.85),
        (0.2, -0.26, 0.23, 0.22, 0.0, 1.6, 0.07),
        (-0.15, 0.28, 0.26, 0.24, 0.0, 0.44, 0.07),
    ),
    "sierpinski": _around(3, 0.5),
    "dragon": (_turned(math.sqrt(0.5), 45, 0, 0), _turned(math.sqrt(0.5), 135, 1, 0)),
    "twindragon": (_turned(math.sqrt(0.5), 45, 0, 0), _turned(math.sqrt(0.5), 45, 0.5, -0.5)),
    "levy": (_turned(math.sqrt(0.5), 45, 0, 0), _turned(math.sqrt(0.5), -45, 0.5, 0.5)),
    "koch": (
        _turned(1 / 3, 0, 0, 0),
        _turned(1 / 3, 60, 1 / 3, 0),
        _turned(1 / 3, -60, 1 / 2, _ROOT3 / 6),
        _turned(1 / 3, 0, 2 / 3, 0),
    ),
    "snowflake": (_turned(1 / _ROOT3, 30, 0, 0), *_around(6, 1 / 3)),
    "pentagon": _around(5, (3 - math.sqrt(5)) / 2),
    "carpet": tuple(
        (1 / 3, 0.0, 0.0, 1 / 3, i / 3, j / 3)
        for i in range(3)
        for j in range(3)
        if (i, j) != (1, 1)
    ),
    "spiral": ((*_turned(0.93, 23, 0, 0), 0.86), (*_turned(0.3, 70, 1.1, 0.1), 0.14)),
    "tree": (
        (0.05, 0.0, 0.0, 0.6, 0.0, 0.0, 0.1),
        (0.05, 0.0, 0.0, -0.5, 0.0, 1.0, 0.1),
        (0.46, -0.321, 0.386, 0.383, 0.0, 0.6, 0.2),
        (0.47, -0.154, 0.171, 0.423, 0.0, 1.1, 0.2),
        (0.433, 0.275, -0.25, 0.476, 0.0, 1.0, 0.2),
        (0.421, 0.257, -0.353, 0.306, 0.0, 0.7, 0.2),
    ),
}
"""Presets: maps (a, b, c, d, e, f[, weight]); without weights by their areas |ad - bc|."""


def iterated_function_system(
    maps: str | Sequence[Sequence[float]] | NDArray[np.generic] = "fern",
    *,
    samples: float = 12.0,
    gamma: float = 1.0,
    margin: float = 0.06,
    background: Color = "#0d1117",
    palette: PaletteLike = "spring",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """The attractor of affine maps (x, y) → (a x + b y + e, c x + d y + f).

    Points of a chaos game (Barnsley 1988) are counted in pixels; brightness is the logarithm of
    their density, hue the mean of their last maps. The attractor is fitted into the frame.

    maps: a preset (fern, sierpinski, dragon, twindragon, levy, koch, snowflake, pentagon, carpet,
        spiral, tree; default "fern") or 1-256 rows (a, b, c, d, e, f) or (a, …, f, weight): the
        chance of a map is proportional to its weight, without weights to its area |ad - bc|
    samples: mean number of points per pixel, 0.01-1000 (in all at most 268 million); default 12
    gamma: above 1 brings out what is faint; 0.1-10, default 1
    margin: free space around, as a share of the frame, 0-0.45; default 0.06
    background: a colour; default nearly black
    palette: a name, a list of colours or a gradient; default "spring"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`); with
        antialias=False a pixel with points is drawn in full

    Returns an image (H, W, 3). Raises ImageError for values outside of these, and for maps whose
    points run away.

    >>> iterated_function_system("sierpinski", size=(64, 48)).shape
    (48, 64, 3)
    """
    table = _maps(maps)
    samples = number("samples", samples, 0.01, 1000)
    gamma = number("gamma", gamma, 0.1, 10)
    margin = number("margin", margin, 0, 0.45)
    frame = Frame.of(
        "iterated_function_system",
        options,
        maps=maps if isinstance(maps, str) else table[:, :7].tolist(),
        samples=samples,
        gamma=gamma,
        margin=margin,
        background=list(color_of(background, "background")),
        palette=plain_palette(palette),
    )
    with in_core():
        left, bottom, right, top = _core.ifs_extent(table, frame.seed)
        size = max(
            (right - left) / (frame.width * (1 - 2 * margin)),
            (top - bottom) / (frame.height * (1 - 2 * margin)),
            1e-12,
        )
        _core.draw_ifs(
            frame.image,
            table,
            (left + right) / 2 - size * frame.width / 2,
            (top + bottom) / 2 + size * frame.height / 2,
            size,
            samples,
            gamma if frame.antialias else 1e6,
            linear(background, "background"),
            frame.seed,
            frame.table(palette),
            frame.pool,
        )
    return frame.finish()


def _maps(maps: Any) -> NDArray[np.float64]:
    """Rows (a, b, c, d, e, f, weight, colour)."""
    if isinstance(maps, str):
        rows: Any = FUNCTION_SYSTEMS.get(maps)
        if rows is None:
            raise ImageError(
                f"there is no function system {maps!r}; known are {', '.join(FUNCTION_SYSTEMS)}, "
                "or give rows (a, b, c, d, e, f[, weight])"
            )
    else:
        rows = maps
    try:
        table = np.array(rows, np.float64)
    except (TypeError, ValueError):
        table = np.zeros(0)
    if table.ndim != 2 or table.shape[1] not in (6, 7) or not 1 <= table.shape[0] <= 256:
        raise ImageError(
            f"maps has shape {table.shape}; expected 1 to 256 rows (a, b, c, d, e, f[, weight])"
        )
    if not np.isfinite(table).all() or np.abs(table).max() > 1e6:
        raise ImageError("maps has a number that is not finite or above 1e6 in size")
    if table.shape[1] == 6:
        area = np.abs(table[:, 0] * table[:, 3] - table[:, 1] * table[:, 2])
        table = np.column_stack([table, np.maximum(area, 0.01 * max(area.max(), 1e-9))])
    if table[:, 6].min() <= 0:
        raise ImageError(f"a map has the weight {table[:, 6].min():g}; expected above 0")
    count = len(table)
    return np.column_stack([table, np.arange(count) / max(1, count - 1)])
