"""The coarse-to-fine search of an image analogy, with the engine's patch fields.

Each level is searched by turns, as in expectation maximisation (Kwatra et al., "Texture
Optimization for Example-based Synthesis", 2005): patches of B, B' find similar patches of A, A'
(PatchMatch), then the patches found vote on the pixels of B'. One such turn is a round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._core import PatchField
from fastsynth.image import resize
from fastsynth.optimize import History, RunResult
from fastsynth.render import Level, LevelResult, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core

    Planes = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = ["Problem", "Search", "Solved", "level_count", "solve"]

SWEEPS = 4  # of PatchMatch in a round
COARSE = 0.5  # weight of the parents' pixels beside the level's own
NEAR = 8  # px: random samples of later rounds stay this near; the first one searches everywhere
COARSEST = 32  # px: levels are added until the longer side of B is no larger than about this


@dataclass(frozen=True, eq=False)
class Problem:
    """The images of an analogy, planar float32 (C, H, W).

    source_prime: A' as it is compared, source_guide: A, or no channels
    target_guide: B, or no channels; its height and width are those of B'
    payload: A' as it is shown: the pixels that B' is made of
    allowed: pixels of A' that may be used, or None for all
    region: pixels of B' that are made; the others are `known`, in the channels of source_prime
    show: makes a picture (3, h, w) of voted payload at any level, for previews and the result
    """

    source_guide: Planes
    source_prime: Planes
    target_guide: Planes
    payload: Planes
    show: Callable[[Planes], Planes]
    allowed: Mask | None = None
    region: Mask | None = None
    known: Planes | None = None


@dataclass(frozen=True)
class Search:
    """How it is searched.

    patch: side of the patches in pixels
    weight: of the guide A, B beside A', B'
    kappa: price of leaving the neighbours' source, in units of the mean distance; a quarter for
        each of four neighbours. Halved from level to level towards the coarse, as in the paper.
    uniformity: price of using a patch of A' more than the others
    rounds: of each level, coarsest first
    seed: of the random samples
    """

    patch: int
    weight: float
    kappa: float
    uniformity: float
    rounds: tuple[int, ...]
    seed: int


@dataclass(frozen=True, eq=False)
class Solved:
    """The picture (3, H, W), what happened at each level, why it ended, and rounds completed."""

    pixels: Planes
    levels: tuple[LevelResult, ...]
    stopped: str
    rounds: tuple[int, ...]


class _StopError(Exception):
    """A round ends before its time."""


def level_count(
    source: tuple[int, int], target: tuple[int, int], patch: int, levels: int | None
) -> int:
    """Number of levels for sizes (height, width): each holds two patches side by side at least.

    >>> level_count((512, 512), (512, 512), 5, None), level_count((40, 30), (512, 512), 5, 9)
    (5, 2)
    """
    side = min(*source, *target)
    most = 1
    while (side := (side + 1) // 2) >= 2 * patch:
        most += 1
    wanted = 1 + max(0, round(math.log2(max(target) / COARSEST))) if levels is None else levels
    return min(most, wanted)


def pyramid(planes: Planes, count: int) -> list[Planes]:
    """The planes at `count` sizes, each half the one before, the finest first."""
    found = [planes]
    for _ in range(count - 1):
        height, width = found[-1].shape[1:]
        found.append(at_size(found[-1], ((height + 1) // 2, (width + 1) // 2)))
    return found


def at_size(planes: Planes, size: tuple[int, int]) -> Planes:
    """Planes of another size; (0, H, W) too."""
    if not len(planes):
        return np.zeros((0, *size), np.float32)
    return resize(planes, size, "bilinear")


class _Levels:
    """The pyramids of a problem, and the level in work."""

    def __init__(self, problem: Problem, search: Search, pool: _core.ThreadPool) -> None:
        count = len(search.rounds)
        self.problem, self.search, self.pool = problem, search, pool
        self.source_guide = pyramid(problem.source_guide, count)
        self.source_prime = pyramid(problem.source_prime, count)
        self.target_guide = pyramid(problem.target_guide, count)
        self.payload = pyramid(problem.payload, count)
        self.known = None if problem.known is None else pyramid(problem.known, count)
        self.region = self._masks(problem.region, count, any_pixel=True)
        self.allowed = self._masks(problem.allowed, count, any_pixel=False)
        self.guides = len(problem.source_guide)
        self.primes = len(problem.source_prime)
        self.coarse = False  # whether the level has parents: all but the coarsest do
        self.mean = 0.0  # energy without coherence
        self.field: PatchField
        self.prime: Planes

    @staticmethod
    def _masks(mask: Mask | None, count: int, *, any_pixel: bool) -> list[Mask] | None:
        if mask is None:
            return None
        planes = pyramid(mask[None].astype(np.float32), count)
        return [plane[0] > 0 if any_pixel else plane[0] >= 1 - 1e-6 for plane in planes]

    def weights(self, guide: float, prime: float, parent: float) -> list[float]:
        """Weights of the channels: guide, prime, and guide and prime of the parents."""
        weight = self.search.weight * guide
        own = [weight / max(1, self.guides)] * self.guides + [prime / self.primes] * self.primes
        if not self.coarse:
            return own
        parents = [weight / max(1, self.guides)] * self.guides
        parents += [parent / self.primes] * self.primes
        return own + [COARSE * value for value in parents]

    def open(self, index: int) -> None:
        """Makes the field of a level from the one before it, and a first B' from that."""
        size = self.target_guide[index].shape[1:]
        own = [self.source_guide[index], self.source_prime[index]]
        coarse = index + 1 < len(self.source_prime)
        if coarse:
            place = own[1].shape[1:]
            own += [at_size(p[index + 1], place) for p in (self.source_guide, self.source_prime)]
        allowed = None if self.allowed is None else self.allowed[index].astype(np.uint8)
        field = PatchField(
            np.concatenate(own),
            (size[0], size[1]),
            self.search.patch,
            allowed,
            (self.search.seed << 8) + index,
            self.pool,
        )
        if self.guides:
            field.set_target(self.target_guide[index], 0)
        if coarse:
            field.init_from(self.field)
            parents = [at_size(p, size) for p in (self.target_guide[index + 1], self.prime)]
            field.set_target(np.concatenate(parents), self.guides + self.primes)
        self.field, self.coarse, self.index = field, coarse, index
        # B' itself is not known yet: the guide and the parents decide.
        field.set_weights(self.weights(1.0, 0.0, 1.0))
        if self.guides:
            field.offer_same_place()
        self.vote()
        self.mark()

    def start(self, check: Callable[[], bool]) -> None:
        """Before the first round: at the coarsest level the guide alone finds a first field."""
        if not self.coarse and self.guides:
            for _ in range(SWEEPS):
                self._sweep(0.0, self._reach(), check)
            self.vote()
        self.field.set_weights(self.weights(1.0, 1.0, 1.0))
        self.mean = self.field.mean_distance(self.weights(1.0, 1.0, 1.0))

    def vote(self) -> None:
        """B' as the mean of the patches found, except where it is known."""
        prime = self.field.vote(self.source_prime[self.index])
        if self.region is not None and self.known is not None:
            prime = np.where(self.region[self.index], prime, self.known[self.index])
        self.prime = prime
        self.field.set_target(prime, self.guides)

    def mark(self) -> None:
        """Remembers field and B', for `rewind`."""
        self.field.mark()
        self._marked = self.prime

    def rewind(self) -> None:
        """Back to the mark: what an unfinished round did is forgotten."""
        self.field.rewind()
        self.prime = self._marked
        self.field.set_target(self.prime, self.guides)

    def unsearched(self) -> None:
        """Weights as before the first round, after a rewind to there."""
        self.field.set_weights(self.weights(1.0, 0.0, 1.0))

    def round(self, number: int, check: Callable[[], bool]) -> dict[str, float]:
        """Searches, votes, and gives the parts of the energy."""
        price = self.search.kappa * 2.0**-self.index * self.mean
        if self.search.uniformity:
            self.field.set_uniformity(self.search.uniformity)
        reach = self._reach()
        if number > 0 and self.coarse:
            reach = min(NEAR, reach)
        for _ in range(SWEEPS):
            self._sweep(price, reach, check)
        self.vote()
        parts = {}
        if self.guides:
            parts["guide"] = self.field.mean_distance(self.weights(1.0, 0.0, 0.0))
        parts["prime"] = self.field.mean_distance(self.weights(0.0, 1.0, 1.0))
        self.mean = sum(parts.values())
        parts["coherence"] = price * self.field.incoherence()
        self.mark()
        return parts

    def _reach(self) -> int:
        _, height, width = self.source_prime[self.index].shape
        return max(int(height), int(width))

    def _sweep(self, price: float, reach: int, check: Callable[[], bool]) -> None:
        if check() or not self.field.sweep(price, reach, check):
            raise _StopError

    def picture(self) -> Planes:
        """The picture of the level: pixels of A'."""
        return self.problem.show(self.field.vote(self.payload[self.index], sharp=True))


def solve(
    problem: Problem,
    search: Search,
    pool: _core.ThreadPool,
    *,
    callback: Callable[[Progress], bool | None] | None = None,
    cancel: _core.Cancel | None = None,
    time_limit: float | None = None,
) -> Solved:
    """Searches all levels. When it is stopped, complete rounds count: with as many rounds per level
    the same picture comes again."""
    started = time.monotonic()
    levels = _Levels(problem, search, pool)
    sizes = [(p.shape[1], p.shape[2]) for p in levels.target_guide][::-1]
    schedule = [Level(*size, rounds) for size, rounds in zip(sizes, search.rounds, strict=True)]
    stopped: list[str] = []

    def check() -> bool:
        """Whether to stop; the reason is kept."""
        if cancel is not None and cancel.is_set():
            stopped.append("cancelled")
        elif time_limit is not None and time.monotonic() - started > time_limit:
            stopped.append("time")
        return bool(stopped)

    def report(position: int, number: int, parts: dict[str, float]) -> None:
        if callback is None:
            return
        seconds = time.monotonic() - started
        cost = [level.height * level.width for level in schedule]
        spent = sum(
            c * level.evaluations for c, level in zip(cost, schedule[:position], strict=False)
        )
        spent += cost[position] * (number + 1)
        total = sum(c * level.evaluations for c, level in zip(cost, schedule, strict=True))
        progress = Progress(
            level=position,
            levels=len(schedule),
            height=schedule[position].height,
            width=schedule[position].width,
            evaluation=sum(search.rounds[:position]) + number + 1,
            evaluations=sum(search.rounds),
            loss=sum(parts.values()),
            losses=parts,
            seconds=seconds,
            seconds_left=seconds / spent * (total - spent),
            _image=levels.picture,
        )
        answer = callback(progress)
        if answer is not None and not answer:
            stopped.append("cancelled")

    results: list[LevelResult] = []
    done: list[int] = []
    for position, level in enumerate(schedule):
        levels.open(len(schedule) - 1 - position)
        history: list[tuple[float, dict[str, float]]] = []
        if level.evaluations and not stopped:
            try:
                levels.start(check)
                for number in range(level.evaluations):
                    parts = levels.round(number, check)
                    history.append((time.monotonic() - started, parts))
                    report(position, number, parts)
                    if stopped:
                        break
            except _StopError:
                levels.rewind()
            except KeyboardInterrupt:
                stopped.append("interrupted")
                levels.rewind()
            if not history:
                levels.unsearched()
        done.append(len(history))
        reason = stopped[0] if stopped else "evaluations"
        if history:
            results.append(level_result(position, level, history, reason, levels.picture()))
    pixels = np.clip(levels.picture(), 0.0, 1.0)
    return Solved(pixels, tuple(results), stopped[0] if stopped else "evaluations", tuple(done))


def level_result(
    index: int,
    level: Level,
    history: Sequence[tuple[float, dict[str, float]]],
    reason: str,
    pixels: Planes,
) -> LevelResult:
    """What a level leaves, in the form of the other verbs: one evaluation is one round."""
    names = tuple(history[0][1])
    parts = np.array([[row[name] for name in names] for _, row in history])
    count = len(history)
    seconds = np.array([row[0] for row in history])
    run = RunResult(
        x=pixels,
        loss=float(parts[-1].sum()),
        reason=reason,
        evaluations=count,
        iterations=count,
        seconds=float(seconds[-1]),
        history=History(names, np.arange(count), seconds, parts.sum(1), parts),
    )
    return LevelResult(index, level, run, dict.fromkeys(names, 1.0))
