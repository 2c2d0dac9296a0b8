"""Style as distributions of features: sliced Wasserstein, histograms, the Gaussian kernel's MMD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.objective.exemplar import ExemplarTerm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.base import Canvas
    from fastsynth.objective.exemplar import Features

    Array = NDArray[np.float64]

__all__ = ["Histogram", "SlicedWasserstein", "gaussian_term"]

QUANTILES = 1024  # of the exemplar's values along a direction
MOST = 16384  # positions of a layer that are looked at
FOURIER = 192  # random Fourier features of the Gaussian kernel
# 1 / bandwidth², as multiples of 1 / mean squared distance: three widths see fine and coarse.
WIDTHS = (0.25, 1.0, 4.0)


@dataclass(frozen=True, eq=False, repr=False)
class SlicedWasserstein(ExemplarTerm):
    """Take over the whole distribution of features, along random directions (Heitz et al. 2021).

    The mean over unit directions of the squared distance between the sorted projections of picture
    and exemplar, over the variance of the exemplar's. Unlike Gram matrices it leaves no freedom for
    drifting contrast. The directions are fixed for a level and other ones for the next.

    directions: their number at each layer, default 32.
    seed: of the directions.
    image, layers, sizing, scale, balance, network: see ExemplarTerm.

    Of layers with many positions 16384 are looked at. Raises ObjectiveError for unknown settings,
    ImageError for unusable pictures.

    >>> import numpy as np
    >>> SlicedWasserstein(np.zeros((8, 8, 3), np.uint8), "conv1_1", directions=16)
    SlicedWasserstein(image=Picture 8x8 RGB uint8, layers={'conv1_1': 1.0}, directions=16)
    """

    directions: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("directions", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ObjectiveError(f"{name} must be a whole number ≥ {least}, not {value!r}")

    @property
    def kind(self) -> str:
        return "sliced_wasserstein"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        channels = len(targets[0][0])
        rng = np.random.default_rng([self.seed, canvas.height, canvas.width, channels])
        directions = rng.standard_normal((self.directions, channels))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return quantile_term(directions, targets)


@dataclass(frozen=True, eq=False, repr=False)
class Histogram(ExemplarTerm):
    """Take over the histogram of every channel of the features (Risser et al. 2017).

    The distance of sorted values, channel by channel: what matching the histogram exactly would
    move. Steadies brightness and contrast beside a Gram loss, on conv1_1 and conv4_1 say.

    image, layers, sizing, scale, balance, network: see ExemplarTerm.
    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.
    """

    @property
    def kind(self) -> str:
        return "histogram"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        return quantile_term(np.eye(len(targets[0][0])), targets)


def quantile_term(directions: Array, targets: Features) -> _core.LayerTerm:
    """Sorted projections against the exemplars', over the mean variance of those."""
    from fastsynth import _core

    ranks = (np.arange(QUANTILES) + 0.5) / QUANTILES
    rows = np.zeros((len(directions), QUANTILES))
    for feature, share in targets:
        values = directions @ feature.reshape(len(feature), -1).astype(np.float64)
        # Averages of quantiles: the Wasserstein barycentre along each direction.
        rows += share * np.quantile(values, ranks, axis=1).T
    spread = float(rows.var(1).sum())
    return _core.SliceTerm(
        np.ascontiguousarray(directions, np.float32),
        np.ascontiguousarray(rows, np.float32),
        None,
        1.0 / spread if spread > 1e-12 else 1.0,
        MOST,
    )


def gaussian_term(targets: Features) -> _core.LayerTerm:
    """MMD² of a sum of Gaussian kernels over E k(y, y'), by random Fourier features.

    k(x, y) = mean over widths of exp(-γ |x - y|²) is the mean of 2 cos(w·x + b) cos(w·y + b) over
    w ~ N(0, 2γ) and uniform b, so that MMD² is a mean of (E cos(w·x + b) - E cos(w·y + b))².
    Linear in the number of positions, and each of them counts.
    """
    from fastsynth import _core

    channels = len(targets[0][0])
    mean, square = np.zeros(channels), 0.0
    for feature, share in targets:
        flat = feature.reshape(channels, -1).astype(np.float64)
        mean += share * flat.mean(1)
        square += share * float((flat**2).sum(0).mean())
    distance = 2 * (square - float(mean @ mean))  # E |y - y'|²
    rng = np.random.default_rng(channels)
    widths = np.resize(WIDTHS, FOURIER) / (distance if distance > 1e-12 else 1.0)
    directions = rng.standard_normal((FOURIER, channels)) * np.sqrt(2 * widths)[:, None]
    phases = rng.uniform(0, 2 * np.pi, FOURIER)
    wanted = np.zeros(FOURIER)
    for feature, share in targets:
        flat = feature.reshape(channels, -1).astype(np.float64)
        wanted += share * np.cos(directions @ flat + phases[:, None]).mean(1)
    energy = float((wanted**2).sum())
    return _core.SliceTerm(
        np.ascontiguousarray(directions, np.float32),
        np.ascontiguousarray(wanted, np.float32),
        np.ascontiguousarray(phases, np.float32),
        1.0 / energy if energy > 1e-12 else 1.0,
        MOST,
    )
