"""The step graph: one whole iteration, from image to next image, and the loop that runs it.

`StepGraph` is composed from an objective's nodes and an update's. Its inputs are the image, the
parts' weights and the state; its outputs the next of each, and a report of REPORT numbers and the
parts' losses. What goes on between host and device is these few numbers.

Several images of one size may share a graph: the network sees them at once, as one batch, and
terms, update and state are each image's own. So are the rules that end its run: an image whose run
is over keeps what it had then, while the graph goes on for the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastsynth._closing import Closing
from fastsynth._core import Cancel
from fastsynth._errors import DivergenceError
from fastsynth.network.builder import GraphBuilder
from fastsynth.network.resident import NEXT, Front, ResidentGraph
from fastsynth.optimize.loop import UNLIMITED, History, RunResult, StopRules
from fastsynth.optimize.optimizers import Optimizer
from fastsynth.optimize.step_updates import Sampled, Update, make_update

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.builder import Tensor
    from fastsynth.network.session import Provider

__all__ = ["REPORT", "StepEvent", "StepGraph", "StepRun", "run_together"]

# The first numbers of a report: the loss, the largest |∂L/∂x|, whether an iteration is complete,
# whether no lower point can be found.
REPORT = ("loss", "largest_gradient", "iteration", "stuck")
BATCH_SECONDS = 0.2  # steps between two looks of the host, at most, where looking costs
MOST_STEPS = 64


class Evaluation(Protocol):
    """What `Whole.build` yields."""

    @property
    def loss(self) -> Tensor: ...
    @property
    def parts(self) -> Tensor: ...
    @property
    def gradient(self) -> Tensor: ...
    @property
    def host(self) -> Front | None: ...


class Whole(Protocol):
    """An objective that can be written as nodes (`fastsynth.objective.WholeObjective`)."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> tuple[float, ...]: ...
    @property
    def size(self) -> tuple[int, int]: ...

    def build_beside(
        self,
        others: Sequence[Any],
        builder: GraphBuilder,
        images: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Sequence[Evaluation]: ...


class StepGraph:
    """One iteration of an optimiser as one ONNX graph, for one image or for several.

    objective, others: one for each image; they must fit together (`WholeObjective.is_like`).
    builder: the graph, whose `model` gives its bytes.
    state: shapes of an image's state tensors: "image" (1, 3, H, W) and others, which begin as
        zeros. Where there are several images, ".0", ".1" … behind a name tells whose it is.
    names, weights, size: of the first image's objective.
    host: what comes before each step, where terms are computed on the host.
    """

    def __init__(
        self, objective: Whole, optimizer: Optimizer, others: Sequence[Whole] = ()
    ) -> None:
        height, width = objective.size
        size = 3 * height * width
        self.objectives: tuple[Whole, ...] = (objective, *others)
        self.names, self.weights, self.size = objective.names, objective.weights, objective.size
        update = make_update(optimizer, size)
        shape = (1, 3, height, width)
        self.state: dict[str, tuple[int, ...]] = {
            "image": shape,
            "count": (1,),
            "best": shape,
            "best_loss": (1,),
            **update.shapes(),
        }
        b = self.builder = GraphBuilder()
        every = range(len(self.objectives))
        given = [
            {name: b.input(self.place(name, k), dims) for name, dims in self.state.items()}
            for k in every
        ]
        weights = [
            b.input(self.place("weights", k), (len(self.objectives[k].names),)) for k in every
        ]
        found = objective.build_beside(others, b, [own["image"] for own in given], weights)
        self.host = found[0].host
        reports = [self._add(k, given[k], found[k], update) for k in every]
        b.output("report", b.concat(reports, 0), (sum(self.widths),))

    def _add(
        self, k: int, given: Mapping[str, Tensor], evaluated: Evaluation, update: Update
    ) -> Tensor:
        """What becomes of an image and its state; its report."""
        b, size = self.builder, update.size
        image = given["image"].reshape((1, size))
        gradient = evaluated.gradient.reshape((1, size))
        largest = gradient.abs().reduced("ReduceMax", [1]).reshape((1,))
        first = given["count"] < 0.5
        finite = b.finite(evaluated.loss) & b.finite(largest)
        better = finite & (first | (evaluated.loss < given["best_loss"]))
        sampled = Sampled(image, gradient, evaluated.loss, largest, first, finite, given["count"])
        moved = update.build(b, sampled, given)
        after = {
            **moved.state,
            "image": moved.image,
            "count": given["count"] + 1.0,
            "best": b.where(better | first, given["image"], given["best"]),
            "best_loss": b.where(better, evaluated.loss, b.where(first, 3e38, given["best_loss"])),
        }
        for name, dims in self.state.items():
            if name == "history":  # a step writes two of its rows
                b.output_in_place(NEXT + self.place(name, k), after[name], dims)
            else:
                b.output(NEXT + self.place(name, k), after[name], dims)
        return b.concat([evaluated.loss, largest, moved.moved, moved.stuck, evaluated.parts], 0)

    @property
    def widths(self) -> list[int]:
        """Numbers in the report of each image."""
        return [len(REPORT) + len(objective.names) for objective in self.objectives]

    def place(self, name: str, k: int) -> str:
        """What the k-th image's tensor of a name is called in the graph."""
        return name if len(self.objectives) == 1 else f"{name}.{k}"

    def first_state(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """An image's state before the first step."""
        state = {name: np.zeros(dims, np.float32) for name, dims in self.state.items()}
        state["image"] = np.asarray(image, np.float32).reshape(self.state["image"])
        return state

    def open(
        self, images: Sequence[NDArray[np.float32]], provider: Provider, threads: int
    ) -> ResidentGraph:
        """The graph on a provider, before its first step from images (3, H, W)."""
        b = self.builder
        names = b.used_parameters()
        return ResidentGraph(
            b.model(),
            {name: b.parameters[name] for name in names},
            provider,
            threads,
            state={
                self.place(name, k): array
                for k, image in enumerate(images)
                for name, array in self.first_state(image).items()
            },
            fixed={
                self.place("weights", k): np.asarray(objective.weights, np.float32)
                for k, objective in enumerate(self.objectives)
            },
            report=("report", sum(self.widths)),
            front=self.host,
            in_place=[
                self.place("history", k) for k in range(len(images)) if "history" in self.state
            ],
        )


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
            if found[name].shape != shape or found[name].dtype != np.float32:
                raise ValueError(f"{name} has shape {found[name].shape}; expected {shape}")
        for name, array in found.items():
            self._resident.write(self._graph.place(name, self._k), array)
        self._reports = list(state["reports"])
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

    def _least(self, last: int | None = None) -> float:
        """The least finite loss of the evaluations up to `last`; infinite without one."""
        good = [float(r[0]) for r in self._reports[:last] if np.isfinite(r[:2]).all()]
        return min(good, default=math.inf)

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
        before = self._least(-window)
        return before - self._least() < drop * abs(before)


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
        ends = np.cumsum(self._widths)
        try:
            while True:
                allowed = [(run, run.look()) for run in self.runs if not run.is_over]
                left = [steps for run, steps in allowed if not run.is_over]
                if not left:
                    return
                steps = self._steps(min(left), pace)
                began = time.monotonic()
                reports = np.split(self._resident.run(steps), ends[:-1], axis=1)
                pace = (time.monotonic() - began) / steps
                for run, own in zip(self.runs, reports, strict=True):
                    if not run.is_over:
                        run.take(own)
        except KeyboardInterrupt:
            for run in self.runs:
                if not run.is_over:
                    run.end("interrupted")

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
