"""An objective as ONNX nodes: networks, terms and gradient in one graph, for one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.objective.base import Canvas, Part
from fastsynth.objective.forms import image_form, layer_form

if TYPE_CHECKING:
    from fastsynth.network.builder import GraphBuilder, Tensor
    from fastsynth.network.onnx_network import OnnxNetwork

__all__ = ["Evaluated", "WholeObjective"]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation yields.

    loss: the sum of `parts`, (1,).
    parts: values times weights, (parts,).
    gradient: of the loss, (1, 3, H, W).
    """

    loss: Tensor
    parts: Tensor
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class WholeObjective:
    """An objective bound to a canvas, from which graphs are made.

    names: of the parts' losses; weights: theirs.
    networks: those that parts tap, by the parts' name of them.
    """

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    weights: tuple[float, ...]
    canvas: Canvas
    networks: dict[str | None, OnnxNetwork]

    def __post_init__(self) -> None:
        if self.canvas.wrap:
            raise ObjectiveError(
                "a seamless picture has no step graph; use backend='onnx' or backend='native'"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, its margin included."""
        return self.canvas.height, self.canvas.width

    def build(self, builder: GraphBuilder, image: Tensor, weights: Tensor) -> Evaluated:
        """Adds the nodes of one evaluation.

        image: (1, 3, H, W); weights: (parts,), in the order of the parts.
        """
        from fastsynth.network.whole import WholeNetwork

        shares = [weights.gather(np.array([index], np.int64)) for index in range(len(self.parts))]
        values: list[Tensor | None] = [None] * len(self.parts)
        gradient: Tensor | None = None
        for number, (name, network) in enumerate(self.networks.items()):
            own = [i for i, p in enumerate(self.parts) if p.layer is not None and p.network == name]
            taps = tuple(
                layer for layer in network.layers if any(self.parts[i].layer == layer for i in own)
            )
            prefix = f"network{number}." if len(self.networks) > 1 else ""
            whole = WholeNetwork(builder, network, image, prefix=prefix, size=self.size, taps=taps)
            cotangents: dict[str, Tensor] = {}
            for i in own:
                term, layer = self.parts[i].term, self.parts[i].layer
                assert isinstance(term, _core.LayerTerm)
                assert layer is not None
                shape = whole.shapes[layer][1:]
                value, slope = layer_form(
                    term,
                    self.names[i],
                    whole.features[layer],
                    (shape[0], shape[1], shape[2]),
                    shares[i],
                )
                values[i] = value
                known = cotangents.get(layer)
                cotangents[layer] = slope if known is None else known + slope
            pulled = whole.gradient(cotangents)
            gradient = pulled if gradient is None else gradient + pulled
        for i, part in enumerate(self.parts):
            if isinstance(part.term, _core.ImageTerm):
                values[i], slope = image_form(part.term, self.names[i], image, self.size, shares[i])
                gradient = slope if gradient is None else gradient + slope
        assert gradient is not None
        weighted = builder.concat([v for v in values if v is not None], 0) * weights
        return Evaluated(weighted.sum(), weighted, gradient)


def weights_of(parts: Sequence[Part]) -> tuple[float, ...]:
    """The parts' weights as they are before balancing."""
    return tuple(float(part.weight) for part in parts)
