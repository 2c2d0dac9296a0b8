"""Lists of shapes for the core's rasteriser (cpp/include/fastsynth/patterns/raster.hpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.patterns.frame import Frame, in_core

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Shapes"]

MAX_SHAPES = 20_000_000
_COLUMNS = 25
_LINE, _ELLIPSE, _LEAF, _POLYGON = range(4)


class Shapes:
    """Shapes in pixels, y down, drawn in the order in which they were added.

    Every argument is a number, or an array with one value per shape; colours are linear light,
    (3,) or (N, 3).
    """

    def __init__(self) -> None:
        self._rows: list[NDArray[np.float32]] = []
        self._vertices: list[NDArray[np.float32]] = []
        self._vertex_count = 0
        self._groups = 0

    def _add(self, kind: int, count: int, joined: bool, **columns: Any) -> None:
        places = {
            "x": 2,
            "y": 3,
            "u": 4,
            "v": 5,
            "a": 6,
            "b": 7,
            "near": 8,
            "far": 11,
            "alpha": 14,
            "soft": 15,
            "light": 16,
            "shine": 17,
            "belly": 18,
            "sharpness": 19,
            "bend": 20,
            "veins": 21,
            "fold": 22,
            "first": 23,
            "vertices": 24,
        }
        rows = np.zeros((count, _COLUMNS), np.float32)
        rows[:, 0] = kind
        rows[:, 1] = self._groups if joined else -1
        self._groups += joined
        for name, value in columns.items():
            place = places[name]
            wide = 3 if name in ("near", "far") else 1
            if wide == 3:
                rows[:, place : place + 3] = value
            else:
                rows[:, place] = value
        self._rows.append(rows)

    def lines(
        self,
        start: ArrayLike,
        end: ArrayLike,
        *,
        radius: ArrayLike,
        end_radius: ArrayLike,
        near: ArrayLike,
        far: ArrayLike,
        alpha: ArrayLike = 1.0,
        joined: bool = True,
    ) -> None:
        """Lines (N, 2) to (N, 2) with round ends; joined: blended as one shape."""
        first, last = np.asarray(start, np.float64), np.asarray(end, np.float64)
        self._add(
            _LINE,
            len(first),
            joined,
            x=first[:, 0],
            y=first[:, 1],
            u=last[:, 0],
            v=last[:, 1],
            a=radius,
            b=end_radius,
            near=near,
            far=far,
            alpha=alpha,
        )

    def ellipses(
        self,
        center: ArrayLike,
        direction: ArrayLike,
        *,
        a: ArrayLike,
        b: ArrayLike,
        near: ArrayLike,
        far: ArrayLike,
        alpha: ArrayLike = 1.0,
        soft: ArrayLike = 0.0,
        light: ArrayLike = 0.0,
        shine: ArrayLike = 0.0,
    ) -> None:
        """Ellipses around (N, 2) with half axes a along `direction` (N, 2) and b across."""
        middle, axis = np.asarray(center, np.float64), np.asarray(direction, np.float64)
        self._add(
            _ELLIPSE,
            len(middle),
            False,
            x=middle[:, 0],
            y=middle[:, 1],
            u=axis[:, 0],
            v=axis[:, 1],
            a=a,
            b=b,
            near=near,
            far=far,
            alpha=alpha,
            soft=soft,
            light=light,
            shine=shine,
        )

    def leaves(
        self,
        base: ArrayLike,
        direction: ArrayLike,
        *,
        length: ArrayLike,
        half_width: ArrayLike,
        near: ArrayLike,
        far: ArrayLike,
        alpha: ArrayLike = 1.0,
        soft: ArrayLike = 0.0,
        shade: ArrayLike = 0.0,
        belly: ArrayLike = 0.5,
        sharpness: ArrayLike = 0.5,
        bend: ArrayLike = 0.0,
        veins: ArrayLike = 0.0,
        fold: ArrayLike = 0.0,
    ) -> None:
        """Leaves and petals from (N, 2) along unit vectors (N, 2); shade: darkness at the base."""
        foot, axis = np.asarray(base, np.float64), np.asarray(direction, np.float64)
        self._add(
            _LEAF,
            len(foot),
            False,
            x=foot[:, 0],
            y=foot[:, 1],
            u=axis[:, 0],
            v=axis[:, 1],
            a=length,
            b=half_width,
            near=near,
            far=far,
            alpha=alpha,
            soft=soft,
            light=shade,
            belly=belly,
            sharpness=sharpness,
            bend=bend,
            veins=veins,
            fold=fold,
        )

    def polygon(self, points: ArrayLike, color: ArrayLike, alpha: float = 1.0) -> None:
        """A filled polygon of (N, 2) points, N ≥ 3."""
        corners = np.asarray(points, np.float32).reshape(-1, 2)
        self._add(
            _POLYGON,
            1,
            False,
            near=color,
            far=color,
            alpha=alpha,
            first=self._vertex_count,
            vertices=len(corners),
        )
        self._vertices.append(corners)
        self._vertex_count += len(corners)

    def draw(
        self,
        frame: Frame,
        middle: tuple[float, float, float],
        corner: tuple[float, float, float] | None = None,
    ) -> None:
        """Draws all on a background of linear light that goes from `middle` to `corner`."""
        total = sum(map(len, self._rows))
        if total > MAX_SHAPES:
            raise ImageError(f"the drawing has {total} shapes; expected at most {MAX_SHAPES}")
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, _COLUMNS), np.float32)
        vertices = (
            np.concatenate(self._vertices) if self._vertices else np.zeros((0, 2), np.float32)
        )
        with in_core():
            _core.draw_shapes(
                frame.image,
                np.ascontiguousarray(rows),
                np.ascontiguousarray(vertices),
                middle,
                middle if corner is None else corner,
                frame.antialias,
                frame.pool,
            )
