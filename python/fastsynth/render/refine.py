"""The coarse-to-fine run: one plan per level, the picture carried from level to level."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import DivergenceError
from fastsynth.image import resize
from fastsynth.objective import Canvas, Sum, Term, plan, with_margin
from fastsynth.optimize import RunResult, StopRules, run
from fastsynth.render.schedule import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.plan import Networks
    from fastsynth.optimize import Optimizer
    from fastsynth.optimize import Progress as StepProgress

    Engage = Callable[[_core.Objective, Canvas, int], tuple[_core.Objective, Optimizer]]

__all__ = ["LevelResult", "Progress", "Refined", "coarse_to_fine"]

# Reasons for which a run, or a level of it, ends before its time.
ENDING = ("cancelled", "interrupted", "time")


@dataclass(frozen=True, eq=False)
class Progress:
    """What a callback sees after an iteration, which is mostly one evaluation.

    level, levels: number of this level (from 0) and of all levels
    height, width: size of the picture at this level, pixels
    evaluation, evaluations: done so far and planned at most, over all levels
    loss, losses: total at the last evaluation, and its parts by name
    seconds, seconds_left: since the start, and an estimate of the time still to come
    """

    level: int
    levels: int
    height: int
    width: int
    evaluation: int
    evaluations: int
    loss: float
    losses: dict[str, float]
    seconds: float
    seconds_left: float
    _image: Callable[[], NDArray[np.float32]] = field(repr=False)

    def image(self) -> NDArray[np.float32]:
        """The best picture so far at this level, planar RGB (3, H, W) in [0, 1]; a copy.

        Only while the callback runs.
        """
        return self._image()


@dataclass(frozen=True, eq=False)
class LevelResult:
    """One finished level: the `index`-th of the schedule."""

    index: int
    level: Level
    run: RunResult
    weights: dict[str, float]

    @property
    def loss(self) -> float:
        """Total loss of the level's picture."""
        return self.run.loss

    @property
    def losses(self) -> dict[str, NDArray[np.float64]]:
        """History of each part of the loss, one value per evaluation."""
        history = self.run.history
        return {name: history.parts[:, i] for i, name in enumerate(history.names)}


@dataclass(frozen=True, eq=False)
class Refined:
    """The picture (3, H, W) at the size of the last level, and what happened on the way."""

    pixels: NDArray[np.float32]
    levels: tuple[LevelResult, ...]
    stopped: str


def coarse_to_fine(
    objective: Term | Sum,
    levels: Sequence[Level],
    init: Callable[[int, int], NDArray[np.float32]],
    *,
    networks: Networks,
    pool: _core.ThreadPool,
    optimizer: Optimizer,
    rules: StopRules,
    time_limit: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    cancel: _core.Cancel | None = None,
    margin: int = 0,
    carry: Callable[[NDArray[np.float32], Level], NDArray[np.float32]] | None = None,
    engage: Engage | None = None,
    wrap: bool = False,
) -> Refined:
    """Optimises at each level in turn; the result always has the last level's size.

    init: gives the first picture (3, H, W) for the coarsest level's height and width.
    margin: pixels on each side that are optimised at every level and cut off after it.
    wrap: the picture is to fit together with itself: its margin shows it continued cyclically.
    rules: stop rules of every level; its evaluations are taken from the level.
    carry: gives a level's first picture from the one before it, and the last picture from where a
        run ended; default: bicubic resizing.
    engage: gives the objective and optimiser of a level from its plan's objective; default: this
        objective with `optimizer`.
    When a callback returns False, Ctrl-C is pressed or the time is over, the best picture so far is
    returned.
    """
    carry = carry or (cyclic_resized if wrap else resized)
    started = time.monotonic()
    final = levels[-1]
    optimised = 0 if wrap else margin  # pixels of the margin that are variables
    reporter = None if callback is None else _Reporter(callback, levels, started, optimised)
    pixels = init(levels[0].height, levels[0].width)
    results: list[LevelResult] = []
    stopped = "evaluations"
    work = [level.evaluations * level.height * level.width for level in levels]
    for index, level in enumerate(levels):
        if level.evaluations == 0:
            continue
        # Each level gets its share of the time that is left, by its pixels and evaluations, so that
        # the last one is reached; what a level does not need goes to the next.
        left = None
        if time_limit is not None:
            left = max(0.0, time_limit - (time.monotonic() - started))
            if left == 0 and results:
                stopped = "time"
                break
            left *= work[index] / sum(work[index:])
        shrink = max(level.height, level.width) / max(final.height, final.width)
        canvas = Canvas(level.height + 2 * margin, level.width + 2 * margin, shrink, margin, wrap)
        try:
            first = with_margin(carry(pixels, level), optimised)
            with plan(objective, canvas, networks, pool) as bound:
                bound.balance(first)
                engine, mover = (
                    engage(bound.objective, canvas, index)
                    if engage
                    else (bound.objective, optimizer)
                )
                result = run(
                    engine,
                    first,
                    mover,
                    replace(rules, max_evaluations=level.evaluations, time_limit=left),
                    callback=None if reporter is None else reporter.at(index),
                    cancel=cancel,
                    pool=pool,
                )
                weights = dict(zip(bound.objective.names, bound.objective.weights, strict=True))
        except KeyboardInterrupt:  # outside the update loop, which has its own way to stop
            if not results:
                raise
            stopped = "interrupted"
            break
        except DivergenceError as error:
            if error.image is not None:
                error.image = without_margin(np.clip(error.image, 0.0, 1.0), optimised)
            elif results:
                error.image = np.clip(pixels, 0.0, 1.0)
            raise
        pixels = without_margin(result.x, optimised)
        interrupted = reporter is not None and reporter.interrupted
        stopped = "interrupted" if interrupted else result.reason
        results.append(LevelResult(index, level, replace(result, reason=stopped), weights))
        if reporter is not None:
            reporter.finish(index, result.evaluations)
        if stopped in ("cancelled", "interrupted"):
            break
    pixels = carry(pixels, final)
    return Refined(pixels, tuple(results), stopped)


class _Reporter:
    """Tells the caller's callback about the whole run, level by level."""

    def __init__(
        self,
        callback: Callable[[Progress], bool | None],
        levels: Sequence[Level],
        started: float,
        margin: int,
    ) -> None:
        self._callback = callback
        self._levels = levels
        self._started = started
        self._margin = margin
        # An evaluation costs as much as it has pixels: the time left is estimated in those.
        self._pixels = [(v.height + 2 * margin) * (v.width + 2 * margin) for v in levels]
        self._spent = 0  # pixels × evaluations of finished levels
        self.interrupted = False  # by Ctrl-C while the caller's callback ran

    def finish(self, index: int, evaluations: int) -> None:
        """Notes what a level really took; it may have stopped early."""
        self._spent += evaluations * self._pixels[index]

    def at(self, index: int) -> Callable[[StepProgress], bool | None]:
        """The callback for the update loop of one level."""
        level = self._levels[index]
        before = sum(level.evaluations for level in self._levels[:index])
        planned = sum(level.evaluations for level in self._levels)
        later = sum(
            level.evaluations * pixels
            for level, pixels in zip(
                self._levels[index + 1 :], self._pixels[index + 1 :], strict=True
            )
        )

        def notify(event: StepProgress) -> bool | None:
            seconds = time.monotonic() - self._started
            spent = self._spent + event.evaluation * self._pixels[index]
            left = later + (level.evaluations - event.evaluation) * self._pixels[index]
            progress = Progress(
                level=index,
                levels=len(self._levels),
                height=level.height,
                width=level.width,
                evaluation=before + event.evaluation,
                evaluations=planned,
                loss=event.loss,
                losses=dict(zip(event.names, event.values, strict=True)),
                seconds=seconds,
                seconds_left=seconds / spent * left if spent else 0.0,
                _image=lambda: without_margin(np.clip(event.best(), 0.0, 1.0), self._margin),
            )
            try:
                answer = self._callback(progress)
                return None if answer is None else bool(answer)
            except KeyboardInterrupt:
                self.interrupted = True
                return False

        return notify


def resized(pixels: NDArray[np.float32], level: Level) -> NDArray[np.float32]:
    """The picture at a level's size."""
    return resize(pixels, (level.height, level.width), "bicubic")


def cyclic_resized(pixels: NDArray[np.float32], level: Level) -> NDArray[np.float32]:
    """The same for a picture that is one tile of many: its borders see the opposite ones."""
    _, height, width = pixels.shape
    if (height, width) == (level.height, level.width):
        return pixels
    tall = np.tile(pixels, (1, 3, 1))
    pixels = resize(tall, (3 * level.height, width), "bicubic")[:, level.height : 2 * level.height]
    wide = np.tile(pixels, (1, 1, 3))
    found = resize(wide, (level.height, 3 * level.width), "bicubic")
    return np.ascontiguousarray(found[:, :, level.width : 2 * level.width])


def without_margin(pixels: NDArray[np.float32], margin: int) -> NDArray[np.float32]:
    """Cuts `margin` pixels off each side."""
    _, height, width = pixels.shape
    return np.ascontiguousarray(pixels[:, margin : height - margin, margin : width - margin])
