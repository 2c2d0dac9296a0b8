"""Style as a Gaussian: the Wasserstein distance of means and covariances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.objective.autocorrelation import centred, components
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.moments import moments, positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.base import Canvas
    from fastsynth.objective.exemplar import Features

    Array = NDArray[np.float64]
    Judge = Callable[[Array, Array], tuple[float, Array, Array]]

__all__ = ["GaussianWasserstein"]

FLOOR = 1e-8  # of the exemplar's variance: what is less counts as so much, where roots are inverted


@dataclass(frozen=True, eq=False, repr=False)
class GaussianWasserstein(ExemplarTerm):
    """Take over means and covariances of features by the distance that moves them least.

    The squared 2-Wasserstein distance of two Gaussians, with Bures' distance of their covariances:
    ‖μ - μ₀‖² + tr(C + C₀ - 2 (C₀^½ C C₀^½)^½), over tr C₀. Beside MeanCovariance it measures
    deviations instead of variances, so that weak components count as much as their share of the
    features' variance, and strong ones do not drown them.

    components: number of the exemplar's principal components that are compared at each layer;
        default 64, which have nearly all of the variance. The eigenvalues of a matrix of this size
        are found at each evaluation, in NumPy: 64 take some milliseconds.
    image, layers, sizing, scale, balance, network: see ExemplarTerm.

    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.

    >>> import numpy as np
    >>> GaussianWasserstein(np.zeros((8, 8, 3), np.uint8), "conv1_1", sizing="native")
    GaussianWasserstein(image=Picture 8x8 RGB uint8, layers={'conv1_1': 1.0}, sizing='native')
    """

    components: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.components, int) or self.components < 1:
            raise ObjectiveError(f"components must be a whole number ≥ 1, not {self.components!r}")

    @property
    def kind(self) -> str:
        return "gaussian_wasserstein"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        maps = [(centred(feature.astype(np.float64)), share) for feature, share in targets]
        mixtures = components(maps, self.components)
        mean, gram = moments(targets)
        judge = wasserstein(mean, gram - np.outer(mean, mean), mixtures)
        return _core.MomentFunctionTerm(judge, len(mean))


def wasserstein(mean: Array, covariance: Array, mixtures: Array) -> Judge:
    """Moments ↦ (value, dvalue/dmean, dvalue/dcovariance), relative to the target's variance.

    mixtures: (K, C) of channels, of which the Gaussians are compared.
    """
    wanted = mixtures @ covariance @ mixtures.T
    scale = 1.0 / positive(float(np.trace(wanted)), float(mean @ mean))
    root = square_roots(wanted)[0]
    across = np.ascontiguousarray(mixtures.T)

    def judge(found: Array, spread: Array) -> tuple[float, Array, Array]:
        d = np.einsum("kc,c->k", mixtures, found - mean)
        mixed = product(product(mixtures, spread), mixtures)
        middle, inverse = square_roots(product(product(root, mixed), root))
        value = float(d @ d) + float(np.trace(mixed) + np.trace(wanted) - 2 * np.trace(middle))
        # d tr M^½ = ½ tr M^-½ dM: the slope is 1 less the map that carries C to C₀.
        slope = np.eye(len(mixtures)) - product(product(root, inverse), root)
        return (
            scale * max(value, 0.0),
            2 * scale * np.einsum("k,kc->c", d, mixtures),
            scale * product(product(across, slope), across),
        )

    return judge


def product(a: Array, b: Array) -> Array:
    """a bᵀ without BLAS: its threads would go on spinning on the cores of the engine's.

    >>> product(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return np.asarray(np.einsum("ij,kj->ik", a, b))


def square_roots(matrix: Array) -> tuple[Array, Array]:
    """Square root of a symmetric matrix and its inverse, eigenvalues kept above rounding."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    roots = np.sqrt(np.maximum(values, 0.0))
    floor = max(float(roots[-1]) * FLOOR, 1e-150)
    inverse = product(vectors / np.maximum(roots, floor), vectors)
    return product(vectors * roots, vectors), inverse
