"""The coarse-to-fine run: one plan per level, the picture carried from level to level."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import (
    CheckpointError,
    DivergenceError,
    FastsynthError,
    MemoryLimitError,
)
from fastsynth._machine import memory_in_use, peak_memory
from fastsynth.image import resize
from fastsynth.network import rough_network
from fastsynth.objective import Canvas, Sum, Term, find_parts, plan, with_margin
from fastsynth.objective.tiles import Tiling
from fastsynth.optimize import LBFGS, Adam, Ascent, RunResult, StopRules, handed_over, run
from fastsynth.render.checkpoint import Checkpoint, Position
from fastsynth.render.schedule import Level
from fastsynth.render.stepping import run_steps, whole_objective
from fastsynth.render.tiling import foreign_bytes, plan_memory

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
# An evaluation of a rough level takes about this share of the time of one that is not.
ROUGH = 0.6


@dataclass(frozen=True, eq=False)
class Progress:
    """What a callback sees after an iteration, which is mostly one evaluation.

    level, levels: number of this level (from 0) and of all levels
    height, width: size of the picture at this level, pixels
    evaluation, evaluations: done so far and planned at most, over all levels
    loss, losses: total at the last evaluation, and its parts by name
    seconds, seconds_left: since the start, and an estimate of the time still to come
    iteration: of this level, complete; None for what has no iterations
    memory, peak_memory: bytes that the process holds, and the most that it has held (resident);
        None where the system does not tell
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
    iteration: int | None = None
    memory: int | None = field(default_factory=memory_in_use)
    peak_memory: int | None = field(default_factory=peak_memory)

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
class LevelPlan:
    """How a level is done: see MemoryPlan. left_out: terms that cannot be tiled."""

    objective: Term | Sum
    tiling: Tiling | None
    optimizer: Optimizer
    left_out: tuple[str, ...]
    bytes: int | None
    passes: float = 1.0
    own: int | None = None


def plan_level(
    objective: Term | Sum,
    level: Level,
    canvas: Canvas,
    networks: Networks,
    *,
    optional: Collection[Term] = (),
    **settings: Any,
) -> LevelPlan:
    """How a level is done; settings as of `plan_memory`, whose MemoryLimitError it raises.

    optional: terms that are left out where they cannot be tiled.
    """
    spare = [term for term in objective.terms() if term in optional]
    left_out: tuple[str, ...] = ()
    try:
        found = plan_memory(objective, level, canvas, networks, **settings)
    except MemoryLimitError:
        if not spare:
            raise
        objective = Sum(tuple(term for term in objective.terms() if term not in spare))
        found = plan_memory(objective, level, canvas, networks, **settings)
        left_out = tuple(type(term).__name__ for term in spare)
    counted = (found.bytes, found.passes, found.own)
    return LevelPlan(objective, found.tiling, found.optimizer, left_out, *counted)


@dataclass(frozen=True, eq=False)
class Refined:
    """The picture (3, H, W) at the size of the last level, and what happened on the way."""

    pixels: NDArray[np.float32]
    levels: tuple[LevelResult, ...]
    stopped: str
    plans: tuple[LevelPlan, ...] = ()


def coarse_to_fine(
    objective: Term | Sum,
    levels: Sequence[Level],
    init: Callable[[int, int], NDArray[np.float32]],
    *,
    networks: Networks,
    pool: _core.ThreadPool,
    optimizer: str | Optimizer,
    rules: StopRules,
    time_limit: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    cancel: _core.Cancel | None = None,
    margin: int = 0,
    carry: Callable[[NDArray[np.float32], Level], NDArray[np.float32]] | None = None,
    engage: Engage | None = None,
    wrap: bool = False,
    checkpoint: Checkpoint | None = None,
    memory_limit: int | None = None,
    optional: Collection[Term] = (),
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
    checkpoint: where the state is written now and then, and where the run may go on from.
    optimizer: "auto" takes L-BFGS, and Adam for what is too large for it, level by level.
    memory_limit: bytes; large levels are seen tile by tile. What cannot fit is a MemoryLimitError
        before the first level. Default: no limit.
    optional: terms that are left out at levels that must be tiled, where they cannot be.
    When a callback returns False, Ctrl-C is pressed or the time is over, the best picture so far is
    returned.
    """
    whole = _Run(
        objective=objective,
        levels=levels,
        networks=networks,
        pool=pool,
        optimizer=optimizer,
        rules=rules,
        time_limit=time_limit,
        cancel=cancel,
        margin=margin,
        optimised=0 if wrap else margin,
        wrap=wrap,
        carry=carry or (cyclic_resized if wrap else resized),
        engage=engage,
        checkpoint=checkpoint,
        memory_limit=memory_limit,
        optional=optional,
    )
    return whole.through(init, callback)


@dataclass(eq=False)
class _Run:
    """A run on its way through the levels; fields as the arguments of `coarse_to_fine`.

    optimised: pixels of the margin that are variables.
    leave: the position that the checkpoint is left with when the run ends.
    """

    objective: Term | Sum
    levels: Sequence[Level]
    networks: Networks
    pool: _core.ThreadPool
    optimizer: str | Optimizer
    rules: StopRules
    time_limit: float | None
    cancel: _core.Cancel | None
    margin: int
    optimised: int
    wrap: bool
    carry: Callable[[NDArray[np.float32], Level], NDArray[np.float32]]
    engage: Engage | None
    checkpoint: Checkpoint | None
    memory_limit: int | None
    optional: Collection[Term]
    stopped: str = "evaluations"
    leave: Position | None = None

    def through(
        self,
        init: Callable[[int, int], NDArray[np.float32]],
        callback: Callable[[Progress], bool | None] | None,
    ) -> Refined:
        """Runs all levels, from the position of the checkpoint if there is one."""
        levels, position = self.levels, continued(self.checkpoint, self.levels, self.optimised)
        self.plans = self.plan_levels(position)
        self.started = time.monotonic() - position.seconds
        self.position, self.results = position, list(position.results)
        self.reporter: _Reporter | None = None
        if callback is not None:
            self.reporter = _Reporter(callback, levels, self.started, self.optimised)
            self.reporter.goes_on(self.results)
        if self.results:
            last = self.results[-1].run
            self.pixels, self.stopped = without_margin(last.x, self.optimised), last.reason
        else:
            self.pixels = init(levels[0].height, levels[0].width)
        self.handed: Mapping[str, Any] | None = None
        for index, level in enumerate(levels):
            if level.evaluations == 0 or index < position.index:
                continue
            if not self.advance(index):
                break
        if self.checkpoint is not None and self.leave is not None:
            self.checkpoint.write(self.leave)
        used = tuple(self.plans[result.index] for result in self.results)
        return Refined(self.carry(self.pixels, levels[-1]), tuple(self.results), self.stopped, used)

    def canvas(self, level: Level) -> Canvas:
        """The canvas of a level."""
        final, border = self.levels[-1], 2 * self.margin
        shrink = max(level.height, level.width) / max(final.height, final.width)
        size = (level.height + border, level.width + border)
        return Canvas(*size, shrink, self.margin, self.wrap)

    def plan_levels(self, position: Position) -> list[LevelPlan]:
        """How each level is done within the memory limit; raises MemoryLimitError."""
        if self.memory_limit is None and self.optimizer != "auto":
            assert not isinstance(self.optimizer, str)
            return [LevelPlan(self.objective, None, self.optimizer, (), None)] * len(self.levels)
        limit, held = self.memory_limit, 0
        if limit is not None:
            held = foreign_bytes(self.objective, self.networks, self.canvas(self.levels[-1]))
        plans = []
        for index, level in reversed(list(enumerate(self.levels))):
            # The last level first: an error names the size that was asked for.
            if level.evaluations == 0:  # is left out, and may be too small for the network
                plans.append(LevelPlan(self.objective, None, Adam(), (), None))
                continue
            plans.append(
                plan_level(
                    self.objective,
                    level,
                    self.canvas(level),
                    networks_of(level, self.networks),
                    optional=self.optional,
                    optimizer=self.mover_of(index, position),
                    limit=limit,
                    held=held + handed_bytes(self.levels, index, self.canvas(level)),
                )
            )
        return plans[::-1]

    def hands_over(self, index: int) -> bool:
        """Whether the level after this one goes on with its pairs."""
        after = next_of(self.levels, index)
        return after is not None and all(
            isinstance(self.plans[i].optimizer, LBFGS) for i in (index, after)
        )

    def mover_of(self, index: int, position: Position) -> str | Optimizer:
        """The optimiser that a level is planned for.

        A level that goes on keeps what "auto" was when it began, maybe under another memory limit.
        """
        if self.engage is not None:
            return Ascent(step=1.0)
        begun = position.state or {} if index == position.index else {}
        known: dict[str, Optimizer] = {"adam": Adam(), "lbfgs": LBFGS()}
        own = self.optimizer
        return known.get(str(begun.get("optimizer")), own) if own == "auto" else own

    def seconds(self) -> float:
        """Since the run began, whatever process it began in."""
        return time.monotonic() - self.started

    def wait(self, seconds: float) -> None:
        """Takes time that was spent on waiting for other runs off this one's."""
        self.started += seconds

    def advance(self, index: int) -> bool:
        """Does one level; False where the run is to end."""
        state, began = self.handed, self.seconds()
        if index == self.position.index and self.position.state is not None:
            state, began = self.position.state, self.position.began
        self.handed = None
        here = functools.partial(Position, tuple(self.results), index, began=began)
        left = self.time_for(index, began)
        if left == 0 and self.results:
            self.stopped, self.leave = "time", here(state, seconds=began)
            return False
        try:
            result, weights = self.optimise(index, state, left, here)
        except KeyboardInterrupt:  # outside the update loop, which has its own way to stop
            if not self.results:
                raise
            self.stopped, self.leave = "interrupted", here(state, seconds=self.seconds())
            return False
        except DivergenceError as error:
            if error.image is not None:
                error.image = without_margin(np.clip(error.image, 0.0, 1.0), self.optimised)
            elif self.results:
                error.image = np.clip(self.pixels, 0.0, 1.0)
            raise
        self.pixels = without_margin(result.x, self.optimised)
        interrupted = self.reporter is not None and self.reporter.interrupted
        self.stopped = stopped = "interrupted" if interrupted else result.reason
        if self.hands_over(index) and result.state is not None:
            self.handed = handed_over(result.state)
        done = replace(result, reason=stopped, state=None)
        self.results.append(LevelResult(index, self.levels[index], done, weights))
        if self.reporter is not None:
            self.reporter.finish(index, result.evaluations)
        # A level that was cut short can be gone on with.
        now = self.seconds()
        self.leave = (
            here(result.state, seconds=now, stopped=stopped)
            if stopped in ENDING
            else Position(tuple(self.results), len(self.levels), None, now, now, stopped)
        )
        return stopped not in ("cancelled", "interrupted")

    def time_for(self, index: int, began: float) -> float | None:
        """A level's share of the time that is left, by its pixels and evaluations.

        So the last level is reached; what a level does not need goes to the next.
        """
        if self.time_limit is None:
            return None
        work = [level.evaluations * level.height * level.width for level in self.levels[index:]]
        return max(0.0, self.time_limit - began) * work[0] / sum(work)

    def optimise(
        self,
        index: int,
        state: Mapping[str, Any] | None,
        time_limit: float | None,
        here: Callable[..., Position],
    ) -> tuple[RunResult, dict[str, float]]:
        """The update loop of one level, and the weights of the loss's parts."""
        level, chosen = self.levels[index], self.plans[index]
        canvas = self.canvas(level)
        first = with_margin(self.carry(self.pixels, level), self.optimised)
        if not self.results:
            del self.pixels  # as large as the level; a run always leaves its picture
        notify = None if self.reporter is None else self.reporter.at(index)
        if self.checkpoint is not None:
            notify = self.checkpoint.watching(
                notify, lambda state: here(state, seconds=self.seconds())
            )
        tiling, networks = chosen.tiling, networks_of(level, self.networks)
        parts = find_parts(chosen.objective, canvas, networks, self.pool, tiling)
        at_once = tiling is None or not tiling.canvas
        whole = None
        if at_once and not self.engage:
            whole = whole_objective(parts, canvas, networks)
        rules = replace(self.rules, max_evaluations=level.evaluations, time_limit=time_limit)
        if whole is not None:
            try:
                return run_steps(
                    whole,
                    first,
                    chosen.optimizer,
                    rules,
                    callback=notify,
                    cancel=self.cancel,
                    resume=state,
                    keep_state=self.checkpoint is not None,
                    memory_limit=self.memory_limit,
                    waited=self.wait,
                )
            except (ValueError, KeyError) as error:
                if state is None or isinstance(error, FastsynthError) or self.is_callers(error):
                    raise
                raise unfitting(error) from error
        with plan(chosen.objective, canvas, networks, self.pool, tiling, parts=parts) as bound:
            bound.balance(first)
            engine: _core.Objective = bound.objective
            mover = chosen.optimizer
            if self.engage:
                engine, mover = self.engage(engine, canvas, index)
            start = [first]
            del first  # the run's own now: it lets go of it once it has its copy
            try:
                result = run(
                    engine,
                    start.pop(),
                    mover,
                    rules,
                    callback=notify,
                    cancel=self.cancel,
                    pool=self.pool,
                    resume=state,
                    keep_state=self.checkpoint is not None or self.hands_over(index),
                )
            except ValueError as error:
                if state is None or isinstance(error, FastsynthError) or self.is_callers(error):
                    raise
                raise unfitting(error) from error
            names, weights = bound.objective.names, bound.objective.weights
            return result, dict(zip(names, weights, strict=True))

    def is_callers(self, error: Exception) -> bool:
        """Whether an error came out of the caller's callback."""
        return self.reporter is not None and self.reporter.raised is error


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
        self._pixels = [
            (v.height + 2 * margin) * (v.width + 2 * margin) * (ROUGH if v.rough else 1.0)
            for v in levels
        ]
        self._spent = 0.0  # pixels × evaluations of finished levels
        self.interrupted = False  # by Ctrl-C while the caller's callback ran
        self.raised: Exception | None = None  # by the caller's callback

    def goes_on(self, results: Sequence[LevelResult]) -> None:
        """Notes the levels that were done before."""
        for result in results:
            self.finish(result.index, result.run.evaluations)

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
                iteration=event.iteration,
            )
            try:
                answer = self._callback(progress)
                return None if answer is None else bool(answer)
            except KeyboardInterrupt:
                self.interrupted = True
                return False
            except Exception as error:
                self.raised = error
                raise

        return notify


def unfitting(error: Exception) -> CheckpointError:
    """The error for a checkpoint whose state this run cannot take."""
    return CheckpointError(
        f"the checkpoint's state does not fit this run: {error}; if it began under another "
        "memory_limit, give that one (terms may have been left out), or resume=False (--no-resume) "
        "to begin anew"
    )


def continued(checkpoint: Checkpoint | None, levels: Sequence[Level], margin: int) -> Position:
    """Where the run goes on: at a checkpoint's position, or at the start."""
    position = None if checkpoint is None else checkpoint.position
    if position is None:
        return Position((), 0, None, 0.0, 0.0)
    for result in position.results:
        known = result.index < len(levels) and levels[result.index] == result.level
        shape = (3, result.level.height + 2 * margin, result.level.width + 2 * margin)
        if not known or result.run.x.shape != shape:
            raise CheckpointError(
                f"level {result.index} of the checkpoint does not fit this run's sizes; "
                "resume=False (--no-resume) begins anew"
            )
    return position


def networks_of(level: Level, networks: Networks) -> Networks:
    """What a level sees: rough ones the fast twins of networks of mixed precision."""
    return (lambda name: rough_network(networks(name))) if level.rough else networks


def next_of(levels: Sequence[Level], index: int) -> int | None:
    """The level after a rough one that sees the same picture exactly; None where there is none.

    >>> next_of([Level(8, 8, 9, True), Level(9, 9, 9, True), Level(9, 9, 9)], 1)
    2
    """
    after = next((i for i in range(index + 1, len(levels)) if levels[i].evaluations > 0), None)
    if after is None or levels[index].evaluations == 0:
        return None
    changes = levels[index].rough and not levels[after].rough
    return after if changes and levels[index].size == levels[after].size else None


def handed_bytes(levels: Sequence[Level], index: int, canvas: Canvas) -> int:
    """Copies of L-BFGS's pairs beside a level that hands them on, or takes them."""
    given = index + 1 < len(levels) and next_of(levels, index) is not None
    taken = any(next_of(levels, before) == index for before in range(index))
    return 2 * LBFGS().memory * 12 * canvas.height * canvas.width if given or taken else 0


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
