"""Octaves: the sizes of a dream, and the detail that is carried from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.image import resize
from fastsynth.objective import Canvas
from fastsynth.optimize import Ascent, Optimizer
from fastsynth.render.schedule import MOST, Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

__all__ = ["Octaves", "octave_levels"]


def octave_levels(
    height: int,
    width: int,
    octaves: int = 4,
    scale: float = 1.4,
    iterations: int | Sequence[int] = 10,
    *,
    smallest: int = 1,
    max_evaluations: int | Sequence[int] | None = None,
) -> tuple[Level, ...]:
    """Sizes of a dream from small to large; each is `scale` times the one before.

    height, width: of the last octave, which has exactly this size, in pixels.
    iterations: steps at each octave, or one number per octave (coarsest first).
    smallest: octaves whose shorter side would be below are left out (the last never is).
    max_evaluations: in place of `iterations`: a total that is shared out evenly, or one number per
        octave that there is.
    Raises ObjectiveError for numbers out of range.

    >>> [(level.width, level.evaluations) for level in octave_levels(256, 512)]
    [(187, 10), (261, 10), (366, 10), (512, 10)]
    >>> len(octave_levels(40, 60, smallest=16))
    3
    """
    sizes = []
    for index in range(octaves - 1, -1, -1):
        sides = [max(1, round(side / scale**index)) for side in (height, width)]
        if min(sides) >= smallest or index == 0:
            sizes.append(sides)
    count = len(sizes)
    if max_evaluations is None:
        if isinstance(iterations, Integral):
            iterations = [int(iterations)] * octaves
        numbers = list(iterations) if isinstance(iterations, Sequence) else [iterations]
        if len(numbers) != octaves:
            raise ObjectiveError(
                f"iterations has {len(numbers)} numbers for {octaves} octaves; give one number, or "
                "one for each"
            )
        numbers = numbers[octaves - count :]
    elif isinstance(max_evaluations, Integral):
        max_evaluations = int(max_evaluations)
        if max_evaluations < count:
            raise ObjectiveError(
                f"max_evaluations={max_evaluations} is too few for {count} octaves; give at least "
                "one for each, or fewer octaves"
            )
        # What does not divide goes to the last, largest octaves.
        share, rest = divmod(max_evaluations, count)
        numbers = [share + (index >= count - rest) for index in range(count)]
    else:
        numbers = list(max_evaluations) if isinstance(max_evaluations, Sequence) else []
        if len(numbers) != count:
            raise ObjectiveError(
                f"max_evaluations has {len(numbers)} numbers for {count} octaves; give a total, or "
                "one for each"
            )
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MOST for n in numbers)
    if not whole or not sum(numbers):
        raise ObjectiveError(
            f"the steps of the octaves must be whole numbers ≥ 0 and not all 0, not {numbers!r}"
        )
    return tuple(
        Level(rows, columns, number) for (rows, columns), number in zip(sizes, numbers, strict=True)
    )


@dataclass(eq=False)
class Octaves:
    """How `coarse_to_fine` moves through a dream's levels: as its `carry` and its `engage`.

    image: the picture that is dreamt over, (3, H, W) in [0, 1], at its full size.
    step, normalize, bands: of each step, see optimize.Ascent.
    jitter: pixels of random shift before each evaluation; `seed` fixes them.
    """

    image: Pixels
    step: float
    normalize: bool
    bands: int
    jitter: int
    seed: int
    pool: _core.ThreadPool
    _base: Pixels | None = field(default=None, repr=False)

    def carry(self, pixels: Pixels, level: Level) -> Pixels:
        """The next octave's first picture: the image at its size, plus the detail so far."""
        before, size = self._base, (level.height, level.width)
        if before is not None and before.shape[1:] == size:
            return pixels
        self._base = resize(self.image, size, clip=True)
        if before is None:
            return self._base
        detail = pixels - before
        carried: Pixels = np.clip(self._base + resize(detail, size, "bicubic"), 0, 1)
        return carried

    def engage(
        self, objective: _core.Objective, canvas: Canvas, index: int
    ) -> tuple[_core.Objective, Optimizer]:
        """Objective and optimiser of one octave."""
        shaken = _core.JitteredObjective(
            objective,
            canvas.height,
            canvas.width,
            self.jitter,
            (self.seed * 1000 + index) % 2**64,
            self.pool,
        )
        ascent = Ascent(
            step=self.step,
            normalize=self.normalize,
            levels=self.bands,
            height=canvas.height,
            width=canvas.width,
            low=0.0,
            high=1.0,
        )
        return (shaken if self.jitter else objective), ascent

    def first(self) -> Callable[[int, int], Pixels]:
        """What `coarse_to_fine` starts from; `carry` replaces it."""
        return lambda height, width: np.zeros((3, height, width), np.float32)
