"""An evaluation alone as one graph: losses and gradient, with weights of the caller's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth._closing import Closing
from fastsynth.network.builder import GraphBuilder
from fastsynth.network.resident import NEXT, ResidentGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastsynth.network.session import Provider
    from fastsynth.optimize.step import Whole

__all__ = ["Evaluator"]


class Evaluator(Closing):
    """Evaluates an objective's nodes on a provider."""

    def __init__(self, objective: Whole, provider: Provider, threads: int) -> None:
        shape = (1, 3, *objective.size)
        self._weights = np.asarray(objective.weights, np.float32)
        b = GraphBuilder()
        image, weights = b.input("image", shape), b.input("weights", self._weights.shape)
        b.input("gradient", shape)
        evaluated = objective.build_beside((), b, [image], [weights])[0]
        b.output(NEXT + "gradient", evaluated.gradient, shape)
        norm = evaluated.gradient.abs().sum()
        report = b.concat([evaluated.loss, norm, evaluated.parts], 0)
        b.output("report", report, (2 + len(self._weights),))
        nothing = np.zeros(shape, np.float32)
        self._graph = ResidentGraph(
            b.model(),
            {name: b.parameters[name] for name in b.used_parameters()},
            provider,
            threads,
            state={"gradient": nothing},
            fixed={"image": nothing, "weights": self._weights},
            report=("report", 2 + len(self._weights)),
            front=evaluated.host,
        )

    def evaluate(
        self, image: NDArray[np.float32]
    ) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
        """Loss, the parts' losses, and the gradient (3, H, W) at an image (3, H, W)."""
        self._graph.write("weights", self._weights)
        self._graph.write("image", image[None])
        report = self._graph.run(1)[0]
        return float(report[0]), report[2:], self._graph.read("gradient")[0]

    def gradient_norms(self, image: NDArray[np.float32], chosen: Sequence[int]) -> dict[int, float]:
        """Σ |∂/∂x| of each chosen part alone, with weight 1."""
        self._graph.write("image", image[None])
        norms = {}
        for index in chosen:
            self._graph.write("weights", np.eye(len(self._weights), dtype=np.float32)[index])
            norms[index] = float(self._graph.run(1)[0][1])
        return norms

    def close(self) -> None:
        """Releases the graph; a second call does nothing."""
        self._graph.close()
