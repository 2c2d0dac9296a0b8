"""Coarse to fine: the sizes at which a picture is optimised, and how long at each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from fastsynth._errors import ObjectiveError

__all__ = ["Level", "schedule"]

MOST = 10**9  # evaluations of a level
COARSEST = 32  # px, the longer side of the coarsest level is never below
NARROWEST = 16  # px, nor its shorter side below this: deep layers would have no position left
COARSE_ENOUGH = 128  # px, further levels are added until the coarsest is no larger
LEVELS = 4
# Evaluations per level: most work where it is cheapest (measured: four levels reach a third of the
# loss of one at equal cost). The two finest of four or more levels get fewer.
COARSE, FINE, SINGLE = 100, 60, 300


@dataclass(frozen=True)
class Level:
    """One size of the picture, in pixels, and the evaluations to spend there at most."""

    height: int
    width: int
    evaluations: int


def schedule(
    height: int,
    width: int,
    scales: int | None = None,
    max_evaluations: int | Sequence[int] | None = None,
) -> tuple[Level, ...]:
    """Levels from coarse to fine; each doubles the one before.

    height, width: of the last level, which has exactly this size, in pixels.
    scales: number of levels; 1 optimises at full size only. Default: 4, fewer where the coarsest
        would fall under 32 px (16 on its shorter side), more until it is at most 128 px.
    max_evaluations: total number, shared out among the levels, or a sequence with one number per
        level (coarsest first); 0 leaves a level out. Default 100, 100, 60, 60.
    Raises ObjectiveError for numbers out of range.

    >>> [(level.width, level.evaluations) for level in schedule(512, 512)]
    [(64, 100), (128, 100), (256, 60), (512, 60)]
    >>> schedule(300, 200, scales=1, max_evaluations=50)
    (Level(height=300, width=200, evaluations=50),)
    """
    longest = max(height, width)
    if scales is None:
        halvings = math.log2(min(longest / COARSEST, min(height, width) / NARROWEST))
        most = 1 + max(0, math.floor(halvings))
        enough = 1 + max(0, math.ceil(math.log2(longest / COARSE_ENOUGH)))
        count = min(most, max(LEVELS, enough))
    elif isinstance(scales, int) and 1 <= scales <= 16:
        count = scales
    else:
        raise ObjectiveError(f"scales must be a number of levels from 1 to 16, not {scales!r}")
    evaluations = share_out(count, max_evaluations)
    levels = []
    for index in range(count):
        divisor = 2 ** (count - 1 - index)
        levels.append(
            Level(
                max(1, round(height / divisor)), max(1, round(width / divisor)), evaluations[index]
            )
        )
    return tuple(levels)


def share_out(count: int, max_evaluations: int | Sequence[int] | None) -> list[int]:
    """Evaluations for each of `count` levels, coarsest first."""
    usual = [SINGLE] if count == 1 else [COARSE] * (count - 1) + [FINE]
    if count >= 4:
        usual[-2] = FINE
    if max_evaluations is None:
        return usual
    if isinstance(max_evaluations, Integral):
        max_evaluations = int(max_evaluations)
        if max_evaluations > MOST:
            raise ObjectiveError(f"max_evaluations must be at most {MOST}, not {max_evaluations}")
    if isinstance(max_evaluations, int):
        if max_evaluations < count:
            raise ObjectiveError(
                f"max_evaluations={max_evaluations} is too few for {count} levels; give at least "
                "one for each, or set scales=1"
            )
        # One for each level, the rest in the usual proportions. Differences of rounded cumulative
        # sums add up to it exactly.
        rest = max_evaluations - count
        ends = [round(rest * sum(usual[: i + 1]) / sum(usual)) for i in range(count)]
        return [1 + end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    numbers = list(max_evaluations) if isinstance(max_evaluations, Sequence) else []
    whole = all(isinstance(n, int) and 0 <= n <= MOST for n in numbers)
    if len(numbers) != count or not whole or sum(numbers) == 0:
        raise ObjectiveError(
            f"max_evaluations must be a total or one number for each of the {count} levels, "
            f"not {max_evaluations!r}"
        )
    return numbers
