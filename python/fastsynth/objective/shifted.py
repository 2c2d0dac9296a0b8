"""Long range by shifts: correlations of features with themselves a few positions on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.objective.autocorrelation import centred, components
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.moments import as_floats, positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.base import Canvas
    from fastsynth.objective.exemplar import Features

    Array = NDArray[np.float64]

__all__ = ["SHIFTED_LAYERS", "ShiftedGram"]

SHIFTED_LAYERS = ("conv2_1", "conv3_1")


@dataclass(frozen=True, eq=False, repr=False)
class ShiftedGram(ExemplarTerm):
    """Keep which features follow which at a distance: shifted Gram matrices (Berger & Memisevic).

    G(δ) = 1/M Σ_p f(p + δ) f(p)ᵀ for shifts δ along x and along y; the loss is
    Σ_δ ‖G(δ) - A(δ)‖² / Σ_δ ‖A(δ)‖², the mean over layers ("Incorporating long-range consistency in
    CNN-based texture generation", 2016). What is level or upright in the exemplar stays so: rows,
    columns, tilings along the axes. Beside a Gram term, which has δ = 0.

    shifts: distances in pixels, at the size that the exemplar has beside the canvas; default 4 to
        64 in powers of two. A layer takes those that are whole numbers of its positions, and less
        than half of the exemplar.
    components: number of the exemplar's principal components that are compared at each layer;
        default 32. The features are those less the exemplar's means.
    layers: default conv2_1 and conv3_1; shallower ones cost most and see least.
    image, sizing, scale, balance, network: see ExemplarTerm.

    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.

    >>> import numpy as np
    >>> ShiftedGram(np.zeros((8, 8, 3), np.uint8), "conv2_1", sizing="native")
    ShiftedGram(image=Picture 8x8 RGB uint8, layers={'conv2_1': 1.0}, sizing='native')
    """

    layers: str | Sequence[str] | Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(SHIFTED_LAYERS, 1.0)
    )
    shifts: Sequence[int] = (4, 8, 16, 32, 64)
    components: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = isinstance(self.shifts, (str, int)) or not len(self.shifts)
        if wrong or not all(isinstance(d, int) and d >= 1 for d in self.shifts):
            raise ObjectiveError(f"shifts are whole numbers of pixels ≥ 1, not {self.shifts!r}")
        object.__setattr__(self, "shifts", tuple(sorted(set(self.shifts))))
        if not isinstance(self.components, int) or self.components < 1:
            raise ObjectiveError(f"components must be a whole number ≥ 1, not {self.components!r}")

    @property
    def kind(self) -> str:
        return "shifted_gram"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        maps = [(feature.astype(np.float64), share) for feature, share in targets]
        mixtures = components(
            [(centred(feature), share) for feature, share in maps], self.components
        )
        mixed = [(np.tensordot(mixtures, feature, 1), share) for feature, share in maps]
        centre = np.asarray(sum(share * feature.mean((1, 2)) for feature, share in mixed))
        least = min(min(feature.shape[1:]) for feature, _ in maps)
        here = [d // stride for d in self.shifts if d % stride == 0 and 2 * (d // stride) <= least]
        steps = here or [1]  # of an exemplar that is too small for all of them
        wanted = np.zeros((2, len(steps), len(mixtures), len(mixtures)))
        for feature, share in mixed:
            wanted += share * shifted_grams(feature - centre[:, None, None], steps)
        energy = float((wanted**2).sum())
        spread = sum(share * float((f - centre[:, None, None]).var()) for f, share in mixed)
        return _core.ProjectedTerm(
            _core.ShiftedGramTerm(
                as_floats(wanted.reshape(-1, *wanted.shape[2:])),
                steps,
                as_floats(centre),
                1.0 / positive(energy, spread**2),
            ),
            as_floats(mixtures),
        )


def shifted_grams(maps: Array, steps: Sequence[int]) -> Array:
    """G(δ) of maps (K, h, w): (2, len(steps), K, K), along x and along y; 0 for steps too far."""
    found = np.zeros((2, len(steps), len(maps), len(maps)))
    for index, step in enumerate(steps):
        for axis, flipped in ((0, maps), (1, maps.transpose(0, 2, 1))):
            if step >= flipped.shape[2]:
                continue
            first = flipped[:, :, :-step].reshape(len(maps), -1)
            moved = flipped[:, :, step:].reshape(len(maps), -1)
            found[axis, index] = moved @ first.T / first.shape[1]
    return found
