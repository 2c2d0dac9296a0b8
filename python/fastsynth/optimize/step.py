"""The step graph: one whole iteration, from image to next image. `step_loop.py` runs it.

`StepGraph` is composed from an objective's nodes and an update's. Its inputs are the image, the
parts' weights and the state; its outputs the next of each, and a report of REPORT numbers and the
parts' losses. What goes on between host and device is these few numbers.

Several images of one size may share a graph: the network sees them at once, as one batch, and
terms, update and state are each image's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastsynth.network.builder import GraphBuilder
from fastsynth.network.resident import NEXT, Front, ResidentGraph
from fastsynth.optimize.optimizers import Optimizer
from fastsynth.optimize.step_updates import Sampled, Update, make_update

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.builder import Tensor
    from fastsynth.network.session import Provider

__all__ = ["REPORT", "StepGraph", "Whole"]

# The first numbers of a report: the loss, the largest |∂L/∂x|, whether an iteration is complete,
# whether no lower point can be found.
REPORT = ("loss", "largest_gradient", "iteration", "stuck")


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
