"""Style as moments of features: mean with covariance, and the linear-time members of MMD."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.objective.distribution import gaussian_term
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.tiles import TiledFeatures, mean_and_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.base import Canvas
    from fastsynth.objective.exemplar import Features

__all__ = ["MMD", "BNStatistics", "MeanCovariance"]


@dataclass(frozen=True, eq=False, repr=False)
class MeanCovariance(ExemplarTerm):
    """Take over means and covariances of features: ‖C - C₀‖² / ‖C₀‖² + ‖μ - μ₀‖² / tr C₀.

    A Gram matrix is covariance plus μ μᵀ. Where the means are large, as with random weights, they
    hide what varies, and with it contrast and structure; centring brings it out (the principled
    form of the shift of Novak & Nikulin 2016). Dimensionless, independent of the picture's size.

    image, layers, sizing, scale, balance, network: see ExemplarTerm.
    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.

    >>> import numpy as np
    >>> MeanCovariance(np.zeros((8, 8, 3), np.uint8), "conv1_1", sizing="native")
    MeanCovariance(image=Picture 8x8 RGB uint8, layers={'conv1_1': 1.0}, sizing='native')
    """

    @property
    def kind(self) -> str:
        return "mean_covariance"

    @property
    def is_tileable(self) -> bool:
        return True

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        mean, gram = moments(targets)
        covariance = gram - np.outer(mean, mean)
        return _core.MomentsTerm(
            as_floats(mean),
            as_floats(covariance),
            "covariance",
            1.0 / positive(float(np.trace(covariance)), float(mean @ mean)),
            1.0 / positive(float((covariance**2).sum()), float((gram**2).sum())),
        )


@dataclass(frozen=True, eq=False, repr=False)
class BNStatistics(ExemplarTerm):
    """Take over mean and deviation of each channel: Σ ((μ - μ₀)² + (σ - σ₀)²) / Σ (μ₀² + σ₀²).

    The statistics of batch normalisation (Li, Wang, Liu, Hou 2017): cheaper than Gram matrices,
    N numbers in place of N².

    image, layers, sizing, scale, balance, network: see ExemplarTerm.
    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.
    """

    @property
    def kind(self) -> str:
        return "bn_statistics"

    @property
    def is_tileable(self) -> bool:
        return True

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        mean, square = np.zeros(0), np.zeros(0)
        for feature, share in targets:
            first, second = diagonal(feature)
            mean = share * first if not mean.size else mean + share * first
            square = share * second if not square.size else square + share * second
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        factor = 1.0 / positive(float(square.sum()), 0.0)
        return _core.MomentsTerm(as_floats(mean), as_floats(deviation), "deviation", factor, factor)


@dataclass(frozen=True, eq=False, repr=False)
class MMD(ExemplarTerm):
    """Take over the distribution of features, as far as a kernel sees it (Li et al. 2017).

    The squared maximum mean discrepancy between the feature vectors x of the picture and y of the
    exemplar, E k(x, x') + E k(y, y') - 2 E k(x, y), over E k(y, y') (without c²): dimensionless.

    kernel:
        "linear"                k = x·y: the distance of the means
        "polynomial" (default)  k = (x·y + c)²: with c = 0 Gram matrices; c > 0 adds 2c times the
                                distance of the means
        "gaussian"              k = exp(-γ |x - y|²), the mean of three widths, by random Fourier
                                features: the whole distribution
    offset: c ≥ 0 of the polynomial kernel, in units of the exemplar's mean |y|²; default 0.
    image, layers, sizing, scale, balance, network: see ExemplarTerm.

    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.

    >>> import numpy as np
    >>> MMD(np.zeros((8, 8, 3), np.uint8), "conv1_1", kernel="linear")
    MMD(image=Picture 8x8 RGB uint8, layers={'conv1_1': 1.0}, kernel='linear')
    """

    kernel: Literal["linear", "polynomial", "gaussian"] = "polynomial"
    offset: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in ("linear", "polynomial", "gaussian"):
            raise ObjectiveError(
                f"kernel must be 'linear', 'polynomial' or 'gaussian', not {self.kernel!r}"
            )
        if not isinstance(self.offset, (int, float)) or not 0 <= self.offset < math.inf:
            raise ObjectiveError(f"offset must be a number ≥ 0, not {self.offset!r}")

    @property
    def kind(self) -> str:
        return f"mmd_{self.kernel}"

    @property
    def is_tileable(self) -> bool:
        return self.kernel != "gaussian"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        if self.kernel == "gaussian":
            return gaussian_term(targets)
        mean, gram = moments(targets)
        energy = float(mean @ mean)
        if self.kernel == "linear":
            none = np.zeros(0, np.float32)
            return _core.MomentsTerm(
                as_floats(mean), none, "none", 1.0 / positive(energy, float(np.trace(gram))), 0.0
            )
        c = self.offset * float(np.trace(gram))
        factor = 1.0 / positive(float((gram**2).sum()) + 2 * c * energy, 0.0)
        return _core.MomentsTerm(as_floats(mean), as_floats(gram), "gram", 2 * c * factor, factor)


def moments(targets: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (N,) and second moments F Fᵀ / M (N, N) of exemplars, averaged by their shares."""
    channels = len(targets[0][0])
    mean, gram = np.zeros(channels), np.zeros((channels, channels))
    for feature, share in targets:
        first, second = mean_and_square(feature)
        mean += share * first
        gram += share * second
    return mean, gram


def diagonal(
    feature: NDArray[np.float32] | TiledFeatures,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (N,) and mean squares (N,) of features."""
    if isinstance(feature, TiledFeatures):
        mean, square = feature.moments()
        return mean, np.diagonal(square)
    wide = feature.astype(np.float64)
    return wide.mean((1, 2)), (wide**2).mean((1, 2))


def as_floats(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Contiguous float32, as the engine takes them."""
    return np.ascontiguousarray(values, np.float32)


def positive(value: float, fallback: float) -> float:
    """What a relative loss is divided by: the value unless it is rounding, beside the fallback."""
    floor = 1e-6 * fallback
    return value if value > floor and value > 0 else (floor if floor > 0 else 1.0)
