"""The updates as ONNX nodes: gradient descent, Adam and L-BFGS, one evaluation in each step.

An update turns an evaluation at `image` into the next image to evaluate. What it remembers between
steps are state tensors, all of them zero before the first step, except for the image.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.optimize.ascent import Ascent
from fastsynth.optimize.optimizers import LBFGS, Adam, GradientDescent, Optimizer

if TYPE_CHECKING:
    from fastsynth.network.builder import GraphBuilder, Tensor

    State: TypeAlias = Mapping[str, Tensor]

__all__ = ["Sampled", "Update", "make_update"]

LONGEST_TABLE = 1 << 20  # steps; float32 has no more digits for 1 - β^t long before


@dataclass(frozen=True, eq=False)
class Sampled:
    """One evaluation, flat: image and gradient (1, N); loss and the gradient's largest (1,).

    first: whether it is the run's first; finite: whether loss and gradient are.
    """

    image: Tensor
    gradient: Tensor
    loss: Tensor
    largest: Tensor
    first: Tensor
    finite: Tensor
    count: Tensor


@dataclass(frozen=True, eq=False)
class Moved:
    """image: the next, (1, N). state: the next of each. moved, stuck: (1,), 1 or 0."""

    image: Tensor
    state: dict[str, Tensor]
    moved: Tensor
    stuck: Tensor


class Update(ABC):
    """The base of updates."""

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The state's tensors, float32, besides the image."""

    @abstractmethod
    def build(self, builder: GraphBuilder, sampled: Sampled, state: State) -> Moved:
        """Adds the update's nodes."""


def make_update(optimizer: Optimizer, size: int) -> Update:
    """The update of an optimiser for `size` values."""
    if isinstance(optimizer, GradientDescent):
        return DescentUpdate(optimizer, size)
    if isinstance(optimizer, Adam):
        return AdamUpdate(optimizer, size)
    if isinstance(optimizer, LBFGS):
        from fastsynth.optimize.step_lbfgs import LBFGSUpdate

        return LBFGSUpdate(optimizer, size)
    assert isinstance(optimizer, Ascent)
    raise ObjectiveError("gradient ascent has no step graph; use backend='onnx' for dreams")


class DescentUpdate(Update):
    """Eq. 10: N ← N - δ ∂L/∂N, with momentum V ← μ V - ∂L/∂N where there is any."""

    def __init__(self, settings: GradientDescent, size: int) -> None:
        super().__init__(size)
        self.settings = settings

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"velocity": (1, self.size)} if self.settings.momentum > 0 else {}

    def build(self, builder: GraphBuilder, sampled: Sampled, state: State) -> Moved:
        settings, gradient = self.settings, sampled.gradient
        scale = builder.tensor(np.ones(1, np.float32))
        if settings.normalize:
            norm = gradient.abs().sum()
            scale = builder.where(norm > 0.0, float(self.size) / norm, 1.0)
        one, none = (builder.tensor(np.full(1, value, np.float32)) for value in (1, 0))
        if "velocity" not in state:
            image = sampled.image - gradient * (scale * settings.step)
            return Moved(image, {}, one, none)
        velocity = state["velocity"] * settings.momentum + gradient * scale
        image = sampled.image - velocity * settings.step
        return Moved(image, {"velocity": velocity}, one, none)


class AdamUpdate(Update):
    """Adam; the corrections of its bias come from tables, in float64 as the engine has them."""

    def __init__(self, settings: Adam, size: int) -> None:
        super().__init__(size)
        self.settings = settings

    def shapes(self) -> dict[str, tuple[int, ...]]:
        names = ["mean", "square", *(["average"] if self.settings.average > 0 else [])]
        return dict.fromkeys(names, (1, self.size))

    def build(self, builder: GraphBuilder, sampled: Sampled, state: State) -> Moved:
        settings, gradient = self.settings, sampled.gradient
        (beta1, beta2), rate = settings.betas, settings.learning_rate
        at = sampled.count.minimum(float(LONGEST_TABLE)).cast("int64")
        mean = state["mean"] * beta1 + gradient * (1 - np.float32(beta1))
        square = state["square"] * beta2 + gradient.square() * (1 - np.float32(beta2))
        step = _corrected(builder, beta1, rate, at)
        root = (square * _corrected(builder, beta2, 1.0, at)).sqrt() + settings.epsilon
        image = sampled.image - mean * step / root
        moved = {"mean": mean, "square": square}
        if "average" in state:
            decay = settings.average
            kept = state["average"] * decay + image * (1 - decay)
            moved["average"] = builder.where(sampled.first, image, kept)
        one, none = (builder.tensor(np.full(1, value, np.float32)) for value in (1, 0))
        return Moved(image, moved, one, none)


def _corrected(builder: GraphBuilder, beta: float, factor: float, at: Tensor) -> Tensor:
    """factor / (1 - β^t) for step t = at + 1."""
    length = 1
    if beta > 0:
        length = min(LONGEST_TABLE, math.ceil(math.log(1e-9) / math.log(beta)))
    table = factor / (1 - np.asarray(beta, np.float64) ** np.arange(1, length + 1))
    last = np.array([length - 1], np.int64)
    return builder.tensor(table).gather(builder.op("Min", at, last))
