"""Coarse to fine: the sizes at which a picture is optimised, and how long at each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Integral

from fastsynth._errors import ObjectiveError

__all__ = ["Level", "schedule"]

MOST = 10**9  # evaluations of a level
COARSEST = 32  # px, the longer side of the coarsest level is never below
NARROWEST = 16  # px, nor its shorter side below this: deep layers would have no position left
COARSE_ENOUGH = 128  # px, further levels are added until the coarsest is no larger
LEVELS, MOST_LEVELS = 4, 16
# Evaluations per level: most work where it is cheapest (measured: four levels reach a third of the
# loss of one at equal cost). The two finest of four or more levels get fewer.
COARSE, FINE, SINGLE = 100, 60, 300


@dataclass(frozen=True)
class Level:
    """One size of the picture, in pixels, and the evaluations to spend there at most.

    rough: in the network's quick products, where its precision is "mixed".
    """

    height: int
    width: int
    evaluations: int
    rough: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def numbers(self) -> list[int | bool]:
        """The fields as plain data, for files: Level(*numbers) is the level again."""
        return [self.height, self.width, self.evaluations, *([True] if self.rough else [])]


def schedule(
    height: int,
    width: int,
    scales: int | Sequence[float] | None = None,
    max_evaluations: int | Sequence[int] | None = None,
    *,
    mixed: bool = False,
) -> tuple[Level, ...]:
    """Levels from coarse to fine.

    height, width: of the last level, which has exactly this size, in pixels.
    scales: number of levels, each of twice the size of the one before; 1 optimises at full size
        only. Or the levels' sizes as shares of the last, such as (0.25, 0.5, 0.75, 1). Default: 4
        levels, fewer where the coarsest would fall under 32 px (16 on its shorter side), more until
        it is at most 128 px.
    max_evaluations: total number, shared out among the levels, or a sequence with one number per
        level (coarsest first); 0 leaves a level out. Default 100, 100, 60, 60.
    mixed: all levels are rough, and a level more that is not, of the last one's size, follows. It
        gets half of the last number of evaluations, or a number of its own at the sequence's end.
    Raises ObjectiveError for numbers out of range.

    >>> [(level.width, level.evaluations) for level in schedule(512, 512)]
    [(64, 100), (128, 100), (256, 60), (512, 60)]
    >>> schedule(300, 200, scales=1, max_evaluations=50)
    (Level(height=300, width=200, evaluations=50, rough=False),)
    >>> [(v.width, v.evaluations, v.rough) for v in schedule(80, 80, (0.5, 1), (9, 5), mixed=True)]
    [(40, 9, True), (80, 2, True), (80, 3, False)]
    """
    shares = shares_of(height, width, scales)
    count = len(shares)
    given = max_evaluations
    ending = None
    if mixed and isinstance(given, Sequence) and len(given) == count + 1:
        *rest, ending = share_out(count + 1, given)
        evaluations = list(rest)
    else:
        evaluations = share_out(count, given, exact_end=mixed)
    levels = [
        Level(max(1, round(height * share)), max(1, round(width * share)), number, mixed)
        for share, number in zip(shares, evaluations, strict=True)
    ]
    if mixed:
        last = levels[-1]
        if ending is None:
            ending = last.evaluations - last.evaluations // 2
            levels[-1] = replace(last, evaluations=last.evaluations // 2)
        levels.append(Level(height, width, ending))
    return tuple(levels)


def shares_of(height: int, width: int, scales: int | Sequence[float] | None) -> list[float]:
    """Sizes of the levels as shares of the last one's; see `schedule`."""
    longest = max(height, width)
    if scales is None:
        halvings = math.log2(min(longest / COARSEST, min(height, width) / NARROWEST))
        most = 1 + max(0, math.floor(halvings))
        enough = 1 + max(0, math.ceil(math.log2(longest / COARSE_ENOUGH)))
        scales = min(most, max(LEVELS, enough))
    if isinstance(scales, int) and not isinstance(scales, bool) and 1 <= scales <= MOST_LEVELS:
        return [0.5 ** (scales - 1 - index) for index in range(scales)]
    shares = list(scales) if isinstance(scales, (list, tuple)) else []
    numbers = all(isinstance(s, (int, float)) and not isinstance(s, bool) for s in shares)
    fits = numbers and 1 <= len(shares) <= MOST_LEVELS and shares[-1] == 1
    if not fits or not all(a < b for a, b in pairwise([0, *shares])):
        raise ObjectiveError(
            f"scales must be a number of levels from 1 to {MOST_LEVELS}, or their rising sizes as "
            f"shares of the last, such as (0.25, 0.5, 1), not {scales!r}"
        )
    return [float(share) for share in shares]


def share_out(
    count: int, max_evaluations: int | Sequence[int] | None, *, exact_end: bool = False
) -> list[int]:
    """Evaluations for each of `count` levels, coarsest first.

    exact_end: an error tells that one number more may be given.
    """
    usual = [SINGLE] if count == 1 else [COARSE] * (count - 1) + [FINE]
    if count >= 4:
        usual[-2] = FINE
    if max_evaluations is None:
        return usual
    if isinstance(max_evaluations, Integral) and not isinstance(max_evaluations, bool):
        max_evaluations = int(max_evaluations)
        if max_evaluations > MOST:
            raise ObjectiveError(f"max_evaluations must be at most {MOST}, not {max_evaluations}")
    if isinstance(max_evaluations, int) and not isinstance(max_evaluations, bool):
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
    whole = all(
        isinstance(n, Integral) and not isinstance(n, bool) and 0 <= n <= MOST for n in numbers
    )
    if len(numbers) != count or not whole or sum(numbers) == 0:
        more = " (and one for the exact products at the end)" if exact_end else ""
        raise ObjectiveError(
            f"max_evaluations must be a total or one number for each of the {count} levels{more}, "
            f"not {max_evaluations!r}"
        )
    return [int(n) for n in numbers]
