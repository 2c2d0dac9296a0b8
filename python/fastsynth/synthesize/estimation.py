"""What a run will take, memory and time, before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.objective import Canvas, plan, with_margin
from fastsynth.optimize import LBFGS, Adam, Ascent, StopRules, make_optimizer, run
from fastsynth.render import coarse_to_fine, schedule
from fastsynth.render.refine import handed_bytes, networks_of, plan_level
from fastsynth.render.tiling import foreign_bytes
from fastsynth.synthesize.options import EngineOptions, checked_time
from fastsynth.synthesize.regions import PatchStart
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.synthesizer import (
    Synthesizer,
    limit_of,
    plateau_rule,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.image import Kind
    from fastsynth.network import Network
    from fastsynth.objective import Sum, Term
    from fastsynth.objective.plan import Networks
    from fastsynth.optimize import Optimizer
    from fastsynth.render import Level

    Pixels = NDArray[np.float32]

__all__ = ["Estimate", "LevelEstimate", "estimate", "rehearse"]

VERBS = ("style_transfer", "synthesize_texture", "invert", "mix", "minimize", "dream", "visualize")
# A picture of this longer side, in pixels, is optimised for this many evaluations on a trial, and
# its times are scaled by the pixels.
TRIAL = 160
TRIAL_EVALUATIONS = 6
# Levels that may stop on a plateau do this share of their evaluations: style transfer from its
# content 0.5 to 1.0 at 256 and 512 px, textures from noise 0.9 to 1.0.
FROM_PICTURE, FROM_NOISE = 0.65, 0.95


@dataclass(frozen=True)
class LevelEstimate:
    """What one level will take.

    width, height: in pixels; evaluations: at most
    seconds: wall time if all evaluations are done
    memory: peak resident memory of the process at this level, in bytes
    tile: longer side of the tiles that the network sees, in pixels; None: the picture at once
    """

    width: int
    height: int
    evaluations: int
    seconds: float
    memory: int
    tile: int | None


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `str()` says it in a line.

    memory: peak resident memory of the process, in bytes
    seconds: wall time to be expected: levels that stop early do so as they usually do
    seconds_at_most: wall time if every level does all its evaluations
    A time_limit cuts both short.
    levels: the same by level, coarse to fine
    """

    memory: int
    seconds: float
    seconds_at_most: float
    levels: tuple[LevelEstimate, ...]

    def __str__(self) -> str:
        text = f"about {readable_bytes(self.memory)} of memory, {readable(self.seconds)}"
        if self.seconds_at_most > 1.1 * self.seconds:
            text += f" (at most {readable(self.seconds_at_most)})"
        tile = self.levels[-1].tile if self.levels else None
        return text if tile is None else f"{text}, in tiles of {tile} px"


def estimate(verb: str | Callable[..., Any], *arguments: Any, **keywords: Any) -> Estimate:
    """Memory and time that a verb will take with these arguments, without running it.

    verb: a name such as "style_transfer", the function, or the method of a Synthesizer that is
        open.
    arguments, keywords: what the verb would be given, those of the engine included.

    Memory is counted; seen within 20 % of the true peak. Time comes from a trial of a few
    evaluations of a small picture, about a second on the machine as it is now; seen within 40 %. A
    callback that is handed in is not called; a checkpoint is not looked at.

    Raises what the verb raises for arguments that make no sense, MemoryLimitError where a
    memory_limit cannot be kept, and ObjectiveError for a verb that has no network.

    >>> import numpy as np
    >>> content, style = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), np.uint8)
    >>> found = estimate("style_transfer", content, style, weights="random:0", max_evaluations=3)
    >>> [(level.width, level.evaluations) for level in found.levels]
    [(32, 2), (64, 1)]
    >>> found.memory > 100e6, found.seconds > 0
    (True, True)
    """
    name = verb if isinstance(verb, str) else getattr(verb, "__name__", repr(verb))
    if name not in VERBS:
        raise ObjectiveError(f"there is no estimate for {name!r}; it is for {', '.join(VERBS)}")
    owner = getattr(verb, "__self__", None)
    if isinstance(owner, Synthesizer):
        found = rehearse(owner, name, *arguments, **keywords)
        assert found is not None
        return found
    engine = {
        key: keywords.pop(key) for key in list(keywords) if key in EngineOptions.__annotations__
    }
    with Synthesizer(**engine) as synthesizer:
        found = rehearse(synthesizer, name, *arguments, **keywords)
    assert found is not None
    return found


def rehearse(
    synthesizer: Synthesizer, verb: str, *arguments: Any, least: float = 0.0, **keywords: Any
) -> Estimate | None:
    """The estimate for a synthesizer that is open. None where the work is below `least`.

    least: evaluations times pixels; smaller work is not tried out.
    """
    rehearsal = Rehearsal(synthesizer, least)
    getattr(rehearsal, verb)(*arguments, **keywords)
    parts = rehearsal.estimates
    if not parts:
        return None
    opened = synthesizer.open_seconds
    return Estimate(
        memory=max(part.memory for part in parts),
        seconds=opened + sum(part.seconds for part in parts),
        seconds_at_most=opened + sum(part.seconds_at_most for part in parts),
        levels=tuple(level for part in parts for level in part.levels),
    )


class Rehearsal(Synthesizer):
    """A synthesizer's stand-in: its verbs plan what they would do, and give an empty Result.

    It shares the networks and the threads. `estimates` has one entry for each synthesis whose work
    is not below `least`. `own` and `shared` have one for each: bytes of the run alone, and of what
    the process has for all runs, prepared weights above all.
    """

    def __init__(self, whole: Synthesizer, least: float = 0.0) -> None:
        self.__dict__.update(whole.__dict__)
        self.least = least
        self.estimates: list[Estimate] = []
        self.own: list[int] = []
        self.shared: list[int] = []

    def synthesize(
        self,
        objective: Term | Sum,
        size: tuple[int, int],
        init: Callable[[int, int], Pixels],
        *,
        pooling: str,
        kind: Kind,
        job: dict[str, Any],
        margin: int = 0,
        levels: Sequence[Level] | None = None,
        wrap: bool = False,
        optional: Sequence[Term] = (),
        **run: Any,
    ) -> Result:
        """What Synthesizer.synthesize would take; keywords as there."""
        levels = levels or schedule(
            *size,
            run.get("scales"),
            run.get("max_evaluations"),
            mixed=self.precision == "mixed",
        )
        levels = [level for level in levels if level.evaluations > 0]

        def networks(name: str | None) -> Network:
            return self.open(name, pooling)

        def canvas_of(level: Level) -> Canvas:
            shrink = max(level.height, level.width) / max(size)
            height, width = level.height + 2 * margin, level.width + 2 * margin
            return Canvas(height, width, shrink, margin, wrap)

        limit = limit_of(run.get("memory_limit"), self.open(None, pooling))
        plateau = plateau_rule(run.get("plateau", 0.01))
        time_limit = checked_time(run.get("time_limit"))
        refine = run.get("refine", coarse_to_fine)
        held = foreign_bytes(objective, networks, canvas_of(levels[-1]))
        optimizer: str | Optimizer = run.get("optimizer", "auto")
        if refine is not coarse_to_fine:  # dream, or visualize
            is_dream = getattr(refine, "func", None) is coarse_to_fine
            optimizer = Ascent(step=1.0) if is_dream else Adam()
        elif optimizer != "auto":
            optimizer = make_optimizer(optimizer)
        plans = [
            plan_level(
                objective,
                level,
                canvas_of(level),
                networks_of(level, networks),
                optional=optional,
                optimizer=optimizer,
                limit=limit,
                held=held + handed_bytes(levels, index, canvas_of(level)),
            )
            # The last level first: an error names the size that was asked for.
            for index, level in reversed(list(enumerate(levels)))
        ][::-1]
        self.own.append(max(way.own or 0 for way in plans))
        self.shared.append(max((way.bytes or 0) - (way.own or 0) for way in plans))
        blank = np.broadcast_to(np.float32(0), (3, *size))
        nothing = {"open": 0.0, "levels": 0.0, "total": 0.0}
        result = Result(blank, None, kind, (), "evaluations", nothing, {**job, "levels": []})
        work = (level.evaluations * pixels_of(canvas_of(level)) for level in levels)
        if sum(work) < self.least:
            return result
        start = init.rough if isinstance(init, PatchStart) else init
        paces = {
            rough: self.trial(
                plans[-1].objective,
                canvas_of(small(levels[-1])),
                start,
                networks_of(level, networks),
                LBFGS() if isinstance(plans[-1].optimizer, Ascent) else plans[-1].optimizer,
            )
            for rough, level in {level.rough: level for level in levels}.items()
        }
        share = 1.0
        if plateau is not None and refine is coarse_to_fine and not isinstance(optimizer, Adam):
            share = (
                FROM_PICTURE if job.get("arguments", {}).get("init") == "content" else FROM_NOISE
            )
        found = []
        once = sum(pace.once for pace in paces.values())
        once += init.seconds() if isinstance(init, PatchStart) else 0.0
        expected = once
        for level, way in zip(levels, plans, strict=True):
            pace = paces[level.rough]
            pixels = pixels_of(canvas_of(level))
            setup, once_through = pace.plan * pixels, pace.evaluation * pixels * way.passes
            seconds = setup + level.evaluations * once_through
            expected += setup + share * level.evaluations * once_through
            tile = way.tiling.inner if way.tiling and way.tiling.canvas else None
            found.append(
                LevelEstimate(
                    level.width, level.height, level.evaluations, seconds, way.bytes or 0, tile
                )
            )
        most = once + sum(level.seconds for level in found)
        if time_limit is not None:
            expected, most = min(expected, time_limit), min(most, time_limit)
        memory = max(level.memory for level in found)
        self.estimates.append(Estimate(memory, expected, most, tuple(found)))
        return result

    def trial(
        self,
        objective: Term | Sum,
        canvas: Canvas,
        init: Callable[[int, int], Pixels],
        networks: Networks,
        optimizer: Optimizer,
    ) -> Pace:
        """Optimises a small picture for a few evaluations, and takes the time."""
        border = 0 if canvas.wrap else canvas.margin
        inner = (canvas.height - 2 * canvas.margin, canvas.width - 2 * canvas.margin)
        first = with_margin(init(*inner), border)
        began = time.monotonic()
        with plan(objective, canvas, networks, self.pool) as bound:  # weights are prepared here
            bound.objective.evaluate(first)
        warm = time.monotonic()
        with plan(objective, canvas, networks, self.pool) as bound:
            ready = time.monotonic()
            done = run(
                bound.objective,
                first,
                optimizer,
                StopRules(max_evaluations=TRIAL_EVALUATIONS),
                pool=self.pool,
            )
        size = pixels_of(canvas)
        evaluation = done.seconds / max(1, done.evaluations)
        once = max(0.0, warm - began - (ready - warm) - evaluation)
        return Pace(once, (ready - warm) / size, evaluation / size)


@dataclass(frozen=True)
class Pace:
    """Times of a trial, in seconds.

    once: to prepare the weights
    plan, evaluation: the targets of a level and one evaluation, for each pixel of the canvas
    """

    once: float
    plan: float
    evaluation: float


def small(level: Level) -> Level:
    """The level's shape with TRIAL pixels on its longer side, or TRIAL / 2 on its shorter one."""
    long, short = max(level.height, level.width), min(level.height, level.width)
    factor = min(1.0, max(TRIAL / long, TRIAL / 2 / short))
    return replace(level, height=round(level.height * factor), width=round(level.width * factor))


def pixels_of(canvas: Canvas) -> int:
    """What the networks see of a canvas."""
    return canvas.height * canvas.width


def readable_bytes(count: int) -> str:
    """
    >>> readable_bytes(700 << 20), readable_bytes(5 << 29)
    ('700 MiB', '2.5 GiB')
    """
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"


def readable(seconds: float) -> str:
    """
    >>> readable(4.21), readable(75), readable(7300)
    ('4.2 s', '75 s', '2 h 2 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
