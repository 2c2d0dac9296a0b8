"""The choice among style losses by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from fastsynth._errors import ObjectiveError
from fastsynth.objective.bures import GaussianWasserstein
from fastsynth.objective.distribution import Histogram, SlicedWasserstein
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.moments import MMD, BNStatistics, MeanCovariance
from fastsynth.objective.style import Style

if TYPE_CHECKING:
    from fastsynth.objective.base import Term
    from fastsynth.objective.content import Normalization

__all__ = ["StyleLoss", "style_term"]

StyleLoss = Literal[
    "auto",
    "gram",
    "mean_covariance",
    "bn_statistics",
    "mmd_linear",
    "mmd_polynomial",
    "mmd_gaussian",
    "sliced_wasserstein",
    "histogram",
    "gaussian_wasserstein",
]

TERMS: dict[str, type[ExemplarTerm]] = {
    "mean_covariance": MeanCovariance,
    "bn_statistics": BNStatistics,
    "sliced_wasserstein": SlicedWasserstein,
    "histogram": Histogram,
    "gaussian_wasserstein": GaussianWasserstein,
}


def style_term(
    loss: StyleLoss, image: Any, layers: Any, *, normalization: Normalization, **settings: Any
) -> Term:
    """The term for a style loss: "gram" (or "auto") is Style, the others are dimensionless.

    Raises ObjectiveError for unknown names, and for a normalization that only Style has.

    >>> import numpy as np
    >>> style_term("bn_statistics", np.zeros((8, 8, 3), np.uint8), "conv1_1",
    ...            normalization="relative")
    BNStatistics(image=Picture 8x8 RGB uint8, layers={'conv1_1': 1.0})
    """
    if loss not in get_args(StyleLoss):
        names = ", ".join(repr(name) for name in get_args(StyleLoss))
        raise ObjectiveError(f"style_loss must be one of {names}, not {loss!r}")
    if loss in ("auto", "gram"):
        return Style(image, layers, normalization=normalization, **settings)
    if normalization != "relative":
        raise ObjectiveError(
            f"style_loss={loss!r} is always relative; normalization={normalization!r} is one of "
            "style_loss='gram'"
        )
    if loss in TERMS:
        return TERMS[loss](image, layers, **settings)
    return MMD(image, layers, kernel=loss.removeprefix("mmd_"), **settings)  # type: ignore[arg-type]
