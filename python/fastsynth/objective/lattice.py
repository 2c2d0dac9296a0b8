"""Regular textures: a picture's pixels stay where the lattice of the exemplar has their like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth.objective.base import Canvas, Part, Term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.image import Lattice
    from fastsynth.objective.plan import Sources

    Pixels = NDArray[np.float32]

__all__ = ["DEVIATIONS", "LatticeRange"]

# Standard deviations that a pixel may be off before it counts: of normal ones 1 in 370 is.
DEVIATIONS = 3.0


@dataclass(frozen=True, eq=False, repr=False)
class LatticeRange(Term):
    """Keep a regular texture in its places: the range of values that each place of a cell may have.

    Statistics of features are nearly as good where a few tiles of a chequerboard have melted
    together, and autocorrelations hardly differ. But at such a place of the cell the exemplar has
    no such values: the loss is the mean squared distance from the range of three standard
    deviations around the mean cell, over the exemplar's variance. Where cells differ, as the
    colours of bricks do, the range is wide, and the term leaves them alone.

    lattice: the exemplar's, see image.find_lattice.
    size: (height, width) of the final picture, pixels.
    offset: (row, column) of its corner on the lattice, pixels.

    A wrapped canvas gets the lattice bent to fit, see Lattice.continued.
    """

    lattice: Lattice
    size: tuple[int, int]
    offset: tuple[float, float] = (0.0, 0.0)

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        border = 2 * canvas.margin
        low, high = self.lattice.bounds(
            self.size,
            offset=self.offset,
            wrap=canvas.wrap,
            margin=0 if canvas.wrap else canvas.margin,
            reduced=(canvas.height - border, canvas.width - border),
            deviations=DEVIATIONS,
        )
        # The mean cell's own and what differs from cell to cell.
        squares = (self.lattice.deviation**2).mean((1, 2))
        variance = float((self.lattice.cell.var((1, 2)) + squares).mean())
        loss = distance_from(low, high, max(variance, 1e-6))
        yield Part("lattice", _core.FunctionImageTerm(loss), self.weight)


def distance_from(
    low: Pixels, high: Pixels, variance: float
) -> Callable[[Pixels], tuple[float, Pixels]]:
    """Picture (3, H, W) ↦ (value, gradient) of its mean squared distance from [low, high]."""

    def loss(image: Pixels) -> tuple[float, Pixels]:
        off = image - np.clip(image, low, high)
        scale = 1.0 / (variance * off.size)
        value = scale * float((off.astype(np.float64) ** 2).sum())
        return value, np.float32(2.0 * scale) * off

    return loss
