"""Gradient ascent on pixels (Eq. 3), as DeepDream does it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastsynth import _core

__all__ = ["Ascent"]


@dataclass(frozen=True)
class Ascent:
    """Eq. 3 of the paper: X ← X + δ G_h, with an objective that is minus the activation h.

    A run's result is where it arrives after the last step, not the point with the least loss.

    Parameters
    ----------
    step
        δ, positive. Its unit is that of x² over that of the loss; with `normalize`, that of x.
    normalize
        Divide each gradient by its mean magnitude: a step then moves a value by δ on average.
    levels
        Of a Laplacian pyramid whose bands are normalised before, so that coarse and fine structures
        grow alike; 0 for none.
    height, width
        Of the image, in pixels; needed where `levels` is not 0.
    low, high
        The range that values are held in.

    Raises
    ------
    ValueError
        When a value lies outside its range; raised where the run starts.

    Examples
    --------
    >>> Ascent(step=0.01, normalize=True).levels
    0
    """

    step: float
    normalize: bool = False
    levels: int = 0
    height: int = 0
    width: int = 0
    low: float = -math.inf
    high: float = math.inf

    def build(self) -> _core.Optimizer:
        """A fresh optimiser of the core."""
        return _core.Ascent(
            step=self.step,
            normalize=self.normalize,
            levels=self.levels,
            height=self.height,
            width=self.width,
            low=self.low,
            high=self.high,
        )
