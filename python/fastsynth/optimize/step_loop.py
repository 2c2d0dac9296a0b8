"""The loop around a step graph: its images' runs, and the rules that end each of them.

An image whose run is over keeps what it had then, while the graph goes on for the others.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._closing import Closing
from fastsynth._core import Cancel
from fastsynth._errors import DivergenceError
from fastsynth.network.resident import ResidentGraph
from fastsynth.optimize.loop import UNLIMITED, History, RunResult, StopRules
from fastsynth.optimize.step import REPORT, StepGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.session import Provider

__all__ = ["OpenGraph", "Start", "StepEvent", "StepRun", "run_together"]

BATCH_SECONDS = 0.2  # steps between two looks of the host, at most, where looking costs
MOST_STEPS = 64


@dataclass(frozen=True, eq=False)
class StepEvent:
    """What a callback sees, as `Progress` of the engine's loop."""

    iteration: int
    evaluation: int
    loss: float
    names: list[str]
    values: list[float]
    seconds: float
    _run: StepRun

    def best(self) -> NDArray[np.float32]:
        """A copy of the best image so far."""
        return self._run.best()

    def state(self) -> dict[str, Any]:
        """What `StepRun.restore` goes on from."""
        return self._run.state()


Callback = Callable[[StepEvent], "bool | None"]


class StepRun:
    """One image's run in a step graph that is open: its numbers, and what ends it.

    graph, resident: the graph; k: the image's place in it. shape: of the image.
    """

    def __init__(
        self, graph: StepGraph, resident: ResidentGraph, k: int, shape: tuple[int, ...]
    ) -> None:
        self._graph, self._resident, self._k, self._shape = graph, resident, k, shape
        self._names = graph.objectives[k].names
        self._reports: list[NDArray[np.float32]] = []
        self._lowest: list[float] = []  # finite loss up to each evaluation
        self._seconds: list[float] = []
        self._iteration: list[int] = []
        self._iterations = 0
        self._earlier = 0.0
        self.result: RunResult | None = None
        self.error: BaseException | None = None

    def best(self) -> NDArray[np.float32]:
        """The image with the least loss so far; at first the start."""
        found: NDArray[np.float32] = self._read("best" if self._reports else "image")
        return found.reshape(self._shape)

    def _read(self, name: str) -> NDArray[Any]:
        return self._resident.read(self._graph.place(name, self._k))

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        width = len(REPORT) + len(self._names)
        return {
            "step": {name: self._read(name) for name in self._graph.state},
            "iterations": self._iterations,
            "reports": np.array(self._reports, np.float32).reshape(-1, width),
            "seconds": np.array(self._seconds, np.float64),
            "iteration": np.array(self._iteration, np.int64),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state. Raises ValueError for one that does not fit."""
        found = state.get("step")
        if not isinstance(found, Mapping) or set(found) != set(self._graph.state):
            raise ValueError("it is not the state of a step graph of this optimiser")
        for name, shape in self._graph.state.items():
            check_array(name, found[name], shape, np.float32)
        count, width = np.size(state["seconds"]), len(REPORT) + len(self._names)
        check_array("seconds", state["seconds"], (count,), np.float64)
        check_array("reports", state["reports"], (count, width), np.float32)
        check_array("iteration", state["iteration"], (count,), np.int64)
        for name, array in found.items():
            self._resident.write(self._graph.place(name, self._k), array)
        self._reports = list(state["reports"])
        self._lowest = lowest_of(self._reports, math.inf)
        self._seconds = [float(second) for second in state["seconds"]]
        self._iteration = [int(number) for number in state["iteration"]]
        self._iterations = int(state["iterations"])
        self._earlier = self._seconds[-1] if self._seconds else 0.0

    def begin(
        self,
        rules: StopRules,
        callback: Callback | None,
        cancel: Cancel | None,
        *,
        keep_state: bool,
    ) -> None:
        """Sets what ends the run, and starts its clock."""
        self._rules, self._callback, self._cancel = rules, callback, cancel
        self._keep_state = keep_state
        self._begun = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether there is a result or an error."""
        return self.result is not None or self.error is not None

    def end(self, reason: str) -> None:
        """Makes the result of what is known now."""
        history = np.array(self._reports, np.float64).reshape(-1, len(REPORT) + len(self._names))
        losses = np.where(np.isfinite(history[:, :2]).all(1), history[:, 0], np.nan)
        self.result = RunResult(
            x=self.best(),
            loss=self._least(),
            reason=reason,
            evaluations=len(self._reports),
            iterations=self._iterations,
            seconds=self._now(),
            history=History(
                names=self._names,
                iteration=np.array(self._iteration, np.int64),
                seconds=np.array(self._seconds, np.float64),
                loss=losses,
                parts=history[:, len(REPORT) :],
            ),
            average=self._read("average").reshape(self._shape)
            if "average" in self._graph.state
            else None,
            state=self.state() if self._keep_state else None,
        )

    def _now(self) -> float:
        return self._earlier + time.monotonic() - self._begun

    def _least(self, behind: int = 0) -> float:
        """The least finite loss, of evaluations but the last `behind`; infinite without one."""
        return self._lowest[-1 - behind] if len(self._lowest) > behind else math.inf

    def look(self) -> int:
        """Steps that the rules allow; ends the run where they allow none."""
        rules, done = self._rules, len(self._reports)
        limit = math.inf if rules.time_limit is None else rules.time_limit
        reasons = {
            "iterations": rules.max_iterations is not None
            and self._iterations >= rules.max_iterations,
            "plateau": self._on_plateau(),
            "cancelled": self._cancel is not None and self._cancel.is_set(),
            "evaluations": rules.max_evaluations is not None and done >= rules.max_evaluations,
            "time": done > 0 and self._now() >= limit,
        }
        for reason, holds in reasons.items():
            if holds:
                self.end(reason)
                return 0
        most = UNLIMITED if rules.max_evaluations is None else rules.max_evaluations
        return int(most) - done

    def take(self, reports: NDArray[np.float32]) -> None:
        """Notes the reports of steps, tells the callback, and ends the run where they say so."""
        before = self._iterations
        self._lowest += lowest_of(reports, self._least())
        for report in reports:
            self._seconds.append(self._now())
            self._iteration.append(self._iterations)
            self._reports.append(report)
            self._iterations += int(report[2] > 0.5)
        try:
            if reason := self._ended(reports[-1]):
                self.end(reason)
            elif self._callback is not None and self._iterations > before:
                event = StepEvent(
                    self._iterations,
                    len(self._reports),
                    float(reports[-1][0]),
                    list(self._names),
                    [float(value) for value in reports[-1][len(REPORT) :]],
                    self._now(),
                    self,
                )
                if self._callback(event) is False:
                    self.end("cancelled")
        except Exception as error:  # this image's own; the others are not to blame
            self.error = error

    def _ended(self, report: NDArray[np.float32]) -> str:
        finite = bool(np.isfinite(report[:2]).all())
        searching = "search" in self._graph.state and len(self._reports) > 1
        if not finite and (not searching or report[3] > 0.5):
            error = DivergenceError(
                f"the loss or its gradient is not finite at evaluation {len(self._reports)}; take "
                "a smaller step or learning rate, or start from an image and weights without "
                "infinite values"
            )
            if math.isfinite(self._least()):
                error.image = self.best()
            raise error
        if finite and report[1] <= self._rules.gradient_tolerance:
            return "gradient"
        return "line-search" if report[3] > 0.5 else ""

    def _on_plateau(self) -> bool:
        if self._rules.plateau is None:
            return False
        window, drop = self._rules.plateau
        if drop <= 0 or len(self._reports) <= window:
            return False
        before = self._least(behind=window)
        return before - self._least() < drop * abs(before)


def lowest_of(reports: Iterable[NDArray[np.float32]], before: float) -> list[float]:
    """The least finite loss up to each report, where `before` was known."""
    losses = (float(r[0]) if np.isfinite(r[:2]).all() else math.inf for r in reports)
    return list(itertools.accumulate(losses, min, initial=before))[1:]


def check_array(name: str, array: Any, shape: tuple[int, ...], kind: type) -> None:
    """Raises ValueError where a state's array is not of this shape and type."""
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != kind:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
        raise ValueError(f"{name} is {found:.80}; expected {np.dtype(kind)} {shape}")


class OpenGraph(Closing):
    """A step graph on a provider with the runs of its images. Close it when its level is done."""

    def __init__(
        self,
        graph: StepGraph,
        images: Sequence[NDArray[np.float32]],
        provider: Provider,
        threads: int,
    ) -> None:
        self._looks_always = provider.name == "CPUExecutionProvider"
        self._widths = graph.widths
        self._resident = graph.open(images, provider, threads)
        self.runs = [
            StepRun(graph, self._resident, k, image.shape) for k, image in enumerate(images)
        ]

    def go(self) -> None:
        """Steps until every run that has begun is over.

        On the CPU the host looks after every step; elsewhere some times a second, so that a rule
        may be seen a few steps late. `max_evaluations` is never exceeded.
        """
        pace = 0.0  # seconds of a step
        try:
            while True:
                allowed = [(run, run.look()) for run in self.runs if not run.is_over]
                left = [steps for run, steps in allowed if not run.is_over]
                if not left:
                    return
                steps = self._steps(min(left), pace)
                began = time.monotonic()
                try:
                    reports = self._resident.run(steps)
                except KeyboardInterrupt:  # the state has taken some steps; so must the runs
                    self._take(self._resident.done())
                    raise
                pace = (time.monotonic() - began) / steps
                self._take(reports)
        except KeyboardInterrupt:
            for run in self.runs:
                if not run.is_over:
                    run.end("interrupted")

    def _take(self, reports: NDArray[np.float32]) -> None:
        """Gives each run that is not over its part of the reports."""
        if not len(reports):
            return
        ends = np.cumsum(self._widths)
        for run, own in zip(self.runs, np.split(reports, ends[:-1], axis=1), strict=True):
            if not run.is_over:
                run.take(own)

    def _steps(self, left: int, pace: float) -> int:
        """How many steps the host may start before it looks again."""
        if self._looks_always or pace == 0.0:
            return 1
        return max(1, min(left, MOST_STEPS, int(BATCH_SECONDS / pace)))

    def close(self) -> None:
        """Releases the device's memory; a second call does nothing."""
        self._resident.close()


@dataclass(eq=False)
class Start:
    """What one image's run begins with: its first picture (3, H, W), and as of `run`."""

    image: NDArray[np.float32]
    rules: StopRules
    callback: Callback | None = None
    cancel: Cancel | None = None
    resume: Mapping[str, Any] | None = None
    keep_state: bool = False


def run_together(
    graph: StepGraph, starts: Sequence[Start], provider: Provider, threads: int
) -> list[RunResult | BaseException]:
    """Runs a step graph's images to their ends; what fastsynth.optimize.run does in the engine.

    Gives each image's result, or what it raised: DivergenceError as the engine's loop does,
    ValueError for a state that does not fit, and what its callback raised. Raises DeviceError or
    MemoryLimitError where the graph cannot run.
    """
    with OpenGraph(graph, [start.image for start in starts], provider, threads) as opened:
        for run, start in zip(opened.runs, starts, strict=True):
            run.begin(start.rules, start.callback, start.cancel, keep_state=start.keep_state)
            try:
                if start.resume is not None:
                    run.restore(start.resume)
            except (ValueError, KeyError) as error:
                run.error = error
        opened.go()
        found = [run.error or run.result for run in opened.runs]
    return [outcome for outcome in found if outcome is not None]
