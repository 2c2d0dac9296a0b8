"""An objective as ONNX nodes: networks, terms and gradient in one graph, for one canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        return self.build_beside((), builder, [image], [weights])[0]

    def build_beside(
        self,
        others: Sequence[WholeObjective],
        builder: GraphBuilder,
        images: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> list[Evaluated]:
        """Adds the nodes of this objective's evaluation and of others' at images of their own.

        The networks see all images at once. The others must be `is_like` this one.
        """
        from fastsynth.network.whole import WholeNetwork

        every = [
            _Building(whole, image, share)
            for whole, image, share in zip((self, *others), images, weights, strict=True)
        ]
        count = len(every)
        joined = images[0] if count == 1 else builder.concat(images, 0)
        for number, (name, network) in enumerate(self.networks.items()):
            prefix = f"network{number}." if len(self.networks) > 1 else ""
            taps = self.taps(name)
            whole = WholeNetwork(
                builder, network, joined, prefix=prefix, size=self.size, taps=taps, count=count
            )
            cotangents: dict[str, list[Tensor]] = {tap: [] for tap in taps}
            for place, building in enumerate(every):
                features = {
                    tap: feature if count == 1 else feature.slice(0, place, place + 1)
                    for tap, feature in whole.features.items()
                }
                for tap, slope in building.see(name, features, whole.shapes).items():
                    cotangents[tap].append(slope)
            pulled = whole.gradient(
                {
                    tap: slopes[0] if count == 1 else builder.concat(slopes, 0)
                    for tap, slopes in cotangents.items()
                }
            )
            for place, building in enumerate(every):
                building.add(pulled if count == 1 else pulled.slice(0, place, place + 1))
        return [building.done() for building in every]

    def taps(self, network: str | None) -> tuple[str, ...]:
        """The layers of a network that parts look at, shallow to deep."""
        wanted = {part.layer for part in self.parts if part.network == network and part.layer}
        return tuple(layer for layer in self.networks[network].layers if layer in wanted)

    def is_like(self, other: WholeObjective) -> bool:
        """Whether both may be built beside one another: equal sizes, weights, taps, device."""

        def key(whole: WholeObjective) -> object:
            return whole.size, [
                (
                    name,
                    network.architecture.name,
                    network.pooling,
                    network.execution,
                    id(network.parameters),
                    whole.taps(name),
                )
                for name, network in whole.networks.items()
            ]

        return key(self) == key(other)


class _Building:
    """One image's evaluation under construction."""

    def __init__(self, whole: WholeObjective, image: Tensor, weights: Tensor) -> None:
        self._whole, self._image, self._weights = whole, image, weights
        self._shares = [
            weights.gather(np.array([index], np.int64)) for index in range(len(whole.parts))
        ]
        self._values: dict[int, Tensor] = {}
        self._gradient: Tensor | None = None

    def see(
        self,
        network: str | None,
        features: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The parts that look at a network: dLoss/dFeature of its taps, (1, C, H, W)."""
        cotangents: dict[str, Tensor] = {}
        for i, part in enumerate(self._whole.parts):
            if part.layer is None or part.network != network:
                continue
            assert isinstance(part.term, _core.LayerTerm)
            channels, rows, columns = shapes[part.layer]
            self._values[i], slope = layer_form(
                part.term,
                self._whole.names[i],
                features[part.layer],
                (channels, rows, columns),
                self._shares[i],
            )
            known = cotangents.get(part.layer)
            cotangents[part.layer] = slope if known is None else known + slope
        return cotangents

    def add(self, gradient: Tensor) -> None:
        """A summand of the gradient, (1, 3, H, W)."""
        self._gradient = gradient if self._gradient is None else self._gradient + gradient

    def done(self) -> Evaluated:
        """The parts that look at pixels, and all together."""
        whole = self._whole
        for i, part in enumerate(whole.parts):
            if isinstance(part.term, _core.ImageTerm):
                self._values[i], slope = image_form(
                    part.term, whole.names[i], self._image, whole.size, self._shares[i]
                )
                self.add(slope)
        assert self._gradient is not None
        builder, every = self._weights.builder, range(len(whole.parts))
        weighted = builder.concat([self._values[i] for i in every], 0) * self._weights
        return Evaluated(weighted.sum(), weighted, self._gradient)


def weights_of(parts: Sequence[Part]) -> tuple[float, ...]:
    """The parts' weights as they are before balancing."""
    return tuple(float(part.weight) for part in parts)
