"""Priors on the pixels: total variation, α-norm, range (Mahendran & Vedaldi 2015, 2016)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastsynth._errors import ObjectiveError
from fastsynth.objective.base import Canvas, Part, Term

if TYPE_CHECKING:
    from fastsynth.objective.plan import Sources

__all__ = ["AlphaNorm", "RangePenalty", "TotalVariation"]


@dataclass(frozen=True, eq=False, repr=False)
class TotalVariation(Term):
    """Smoothness: mean over positions of (dx² + dy²)^(β/2), summed over the colour channels.

    beta: exponent, > 0; 2 (default) is quadratic, 1 keeps edges sharper.

    As a mean, its weight means the same at every size.
    Raises ObjectiveError for beta out of range.

    >>> 0.1 * TotalVariation(beta=1.5)
    TotalVariation(beta=1.5, weight=0.1)
    """

    beta: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.beta, (int, float)) or not 0 < self.beta < math.inf:
            raise ObjectiveError(f"beta must be a positive number, not {self.beta!r}")

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        yield Part("total_variation", _core.TotalVariation(float(self.beta)), self.weight)


@dataclass(frozen=True, eq=False, repr=False)
class AlphaNorm(Term):
    """Keep colours near mid grey: mean over positions of ‖x(p) - ½‖₂^α.

    alpha: exponent, > 1; default 6, flat inside the usual range and steep outside.
    Raises ObjectiveError for alpha out of range.

    >>> AlphaNorm()
    AlphaNorm()
    """

    alpha: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.alpha, (int, float)) or not 1 < self.alpha < math.inf:
            raise ObjectiveError(f"alpha must be a number above 1, not {self.alpha!r}")

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        yield Part("alpha_norm", _core.AlphaNorm(float(self.alpha)), self.weight)


@dataclass(frozen=True, eq=False, repr=False)
class RangePenalty(Term):
    """Keep values inside [low, high]: mean squared distance outside of it; default [0, 1].

    Raises ObjectiveError unless low < high.

    >>> 100 * RangePenalty()
    RangePenalty(weight=100.0)
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = all(isinstance(bound, (int, float)) for bound in (self.low, self.high))
        if not numbers or not -math.inf < self.low < self.high < math.inf:
            raise ObjectiveError(f"low must be below high, not {self.low!r} and {self.high!r}")

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        yield Part("range", _core.RangePenalty(float(self.low), float(self.high)), self.weight)
