"""The step graph: one whole iteration, from image to next image, and the loop that runs it.

`StepGraph` is composed from an objective's nodes and an update's. Its inputs are the image, the
parts' weights and the state; its outputs the next of each, and a report of REPORT numbers and the
parts' losses. What goes on between host and device is these few numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastsynth._closing import Closing
from fastsynth._core import Cancel
from fastsynth._errors import DivergenceError
from fastsynth.network.builder import GraphBuilder
from fastsynth.network.resident import NEXT, ResidentGraph
from fastsynth.optimize.loop import UNLIMITED, History, RunResult, StopRules
from fastsynth.optimize.optimizers import Optimizer
from fastsynth.optimize.step_updates import Sampled, make_update

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.builder import Tensor
    from fastsynth.network.session import Provider

__all__ = ["REPORT", "StepEvent", "StepGraph", "StepRun"]

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


class Whole(Protocol):
    """An objective that can be written as nodes (`fastsynth.objective.WholeObjective`)."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def weights(self) -> tuple[float, ...]: ...
    @property
    def size(self) -> tuple[int, int]: ...

    def build(self, builder: GraphBuilder, image: Tensor, weights: Tensor) -> Evaluation: ...


class StepGraph:
    """One iteration of an optimiser on an objective as one ONNX graph.

    builder: the graph, whose `model` gives its bytes.
    state: shapes of the state tensors: "image" (1, 3, H, W) and others, which begin as zeros.
    """

    def __init__(self, objective: Whole, optimizer: Optimizer) -> None:
        height, width = objective.size
        size, parts = 3 * height * width, len(objective.names)
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
        given = {name: b.input(name, dims) for name, dims in self.state.items()}
        weights = b.input("weights", (parts,))
        evaluated = objective.build(b, given["image"], weights)

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
            b.output(NEXT + name, after[name], dims)
        report = [evaluated.loss, largest, moved.moved, moved.stuck, evaluated.parts]
        b.output("report", b.concat(report, 0), (len(REPORT) + parts,))

    def first_state(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The state before the first step."""
        state = {name: np.zeros(dims, np.float32) for name, dims in self.state.items()}
        state["image"] = np.asarray(image, np.float32).reshape(self.state["image"])
        return state

    def open(self, image: NDArray[np.float32], provider: Provider, threads: int) -> ResidentGraph:
        """The graph on a provider, before its first step from an image (3, H, W)."""
        b = self.builder
        names = b.used_parameters()
        return ResidentGraph(
            b.model(),
            {name: b.parameters[name] for name in names},
            provider,
            threads,
            state=self.first_state(image),
            fixed={"weights": np.asarray(self.weights, np.float32)},
            report=("report", len(REPORT) + len(self.names)),
            in_place=["history"] if "history" in self.state else [],
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


class StepRun(Closing):
    """A run of a step graph. Close it when its level is done.

    shape: of the image. What `fastsynth.optimize.run` does with the engine's objectives.
    """

    def __init__(
        self,
        graph: StepGraph,
        image: NDArray[np.float32],
        provider: Provider,
        threads: int,
    ) -> None:
        self._graph = graph
        self._shape = image.shape
        self._on_host = provider.name == "CPUExecutionProvider"
        self._resident = graph.open(image, provider, threads)
        self._reports: list[NDArray[np.float32]] = []
        self._seconds: list[float] = []
        self._iteration: list[int] = []
        self._iterations = 0
        self._earlier = 0.0

    def best(self) -> NDArray[np.float32]:
        """The image with the least loss so far; at first the start."""
        name = "best" if self._reports else "image"
        found: NDArray[np.float32] = self._resident.read(name).reshape(self._shape)
        return found

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        width = len(REPORT) + len(self._graph.names)
        return {
            "step": {name: self._resident.read(name) for name in self._resident.names()},
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
            self._resident.write(name, array)
        self._reports = list(state["reports"])
        self._seconds = [float(second) for second in state["seconds"]]
        self._iteration = [int(number) for number in state["iteration"]]
        self._iterations = int(state["iterations"])
        self._earlier = self._seconds[-1] if self._seconds else 0.0

    def run(
        self,
        rules: StopRules,
        callback: Callable[[StepEvent], bool | None] | None = None,
        *,
        cancel: Cancel | None = None,
        keep_state: bool = False,
    ) -> RunResult:
        """Steps until a rule or the caller ends it.

        On the CPU the host looks after every step; elsewhere some times a second, so that a rule
        may be seen a few steps late. `max_evaluations` is never exceeded.

        Raises DivergenceError as the engine's loop does.
        """
        self._begun = time.monotonic()
        self._pace = 0.0  # seconds of a step
        try:
            reason = self._until(rules, callback, cancel)
        except KeyboardInterrupt:
            reason = "interrupted"
        history = np.array(self._reports, np.float64).reshape(-1, len(REPORT) + self._parts)
        losses = np.where(np.isfinite(history[:, :2]).all(1), history[:, 0], np.nan)
        return RunResult(
            x=self.best(),
            loss=self._least(),
            reason=reason,
            evaluations=len(self._reports),
            iterations=self._iterations,
            seconds=self._now(),
            history=History(
                names=self._graph.names,
                iteration=np.array(self._iteration, np.int64),
                seconds=np.array(self._seconds, np.float64),
                loss=losses,
                parts=history[:, len(REPORT) :],
            ),
            average=self._resident.read("average").reshape(self._shape)
            if "average" in self._graph.state
            else None,
            state=self.state() if keep_state else None,
        )

    @property
    def _parts(self) -> int:
        return len(self._graph.names)

    def _now(self) -> float:
        return self._earlier + time.monotonic() - self._begun

    def _least(self, last: int | None = None) -> float:
        """The least finite loss of the evaluations up to `last`; infinite without one."""
        good = [float(r[0]) for r in self._reports[:last] if np.isfinite(r[:2]).all()]
        return min(good, default=math.inf)

    def _until(
        self,
        rules: StopRules,
        callback: Callable[[StepEvent], bool | None] | None,
        cancel: Cancel | None,
    ) -> str:
        most = UNLIMITED if rules.max_evaluations is None else rules.max_evaluations
        while True:
            if reason := self._over(rules, cancel):
                return reason
            before = self._iterations
            steps = self._steps(int(most) - len(self._reports))
            began = time.monotonic()
            reports = self._resident.run(steps)
            self._pace = (time.monotonic() - began) / steps
            for report in reports:
                self._seconds.append(self._now())
                self._iteration.append(self._iterations)
                self._reports.append(report)
                self._iterations += int(report[2] > 0.5)
            if reason := self._ended(reports[-1], rules):
                return reason
            if callback is not None and self._iterations > before:
                event = StepEvent(
                    self._iterations,
                    len(self._reports),
                    float(reports[-1][0]),
                    list(self._graph.names),
                    [float(value) for value in reports[-1][len(REPORT) :]],
                    self._now(),
                    self,
                )
                if callback(event) is False:
                    return "cancelled"

    def _over(self, rules: StopRules, cancel: Cancel | None) -> str:
        """Why the run is to end before another step; "" where it is not."""
        done = len(self._reports)
        limit = math.inf if rules.time_limit is None else rules.time_limit
        reasons = {
            "iterations": rules.max_iterations is not None
            and self._iterations >= rules.max_iterations,
            "plateau": self._on_plateau(rules),
            "cancelled": cancel is not None and cancel.is_set(),
            "evaluations": rules.max_evaluations is not None and done >= rules.max_evaluations,
            "time": done > 0 and self._now() >= limit,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _steps(self, left: int) -> int:
        """How many steps the host may start before it looks again."""
        if self._on_host or self._pace == 0.0:
            return 1
        return max(1, min(left, MOST_STEPS, int(BATCH_SECONDS / self._pace)))

    def _ended(self, report: NDArray[np.float32], rules: StopRules) -> str:
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
        if finite and report[1] <= rules.gradient_tolerance:
            return "gradient"
        return "line-search" if report[3] > 0.5 else ""

    def _on_plateau(self, rules: StopRules) -> bool:
        if rules.plateau is None:
            return False
        window, drop = rules.plateau
        if drop <= 0 or len(self._reports) <= window:
            return False
        before = self._least(-window)
        return before - self._least() < drop * abs(before)

    def close(self) -> None:
        """Releases the device's memory; a second call does nothing."""
        self._resident.close()
