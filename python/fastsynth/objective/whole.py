"""An objective as ONNX nodes: networks, terms and gradient in one graph, for one canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.network.builder import Tensor
from fastsynth.objective.base import Canvas, OctaveParts, Part
from fastsynth.objective.forms import image_form, layer_form
from fastsynth.objective.hosted import HostPart, HostWork, hosted_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.builder import GraphBuilder
    from fastsynth.network.onnx_network import OnnxNetwork

__all__ = ["Evaluated", "WholeObjective"]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation yields.

    loss: the sum of `parts`, (1,).
    parts: values times weights, (parts,).
    gradient: of the loss, (1, 3, H, W).
    host: what comes before, where the host has a share in it.
    """

    loss: Tensor
    parts: Tensor
    gradient: Tensor
    host: HostWork | None = None


@dataclass(frozen=True, eq=False)
class WholeObjective:
    """An objective bound to a canvas, from which graphs are made.

    names: of the parts' losses; weights: theirs.
    networks: those that parts tap, by the parts' name of them.
    outer: the objective of which this is a part, at an octave.
    """

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    weights: tuple[float, ...]
    canvas: Canvas
    networks: dict[str | None, OnnxNetwork]
    outer: WholeObjective | None = None

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

        host = self.host_work()
        count = 1 + len(others)
        assert host is None or count == 1, "objectives with a share of the host are not like others"
        every = [
            _Building(whole, image, share, host)
            for whole, image, share in zip((self, *others), images, weights, strict=True)
        ]
        joined = images[0] if count == 1 else builder.concat(images, 0)
        for name, network in self.networks.items():
            prefix = self.prefix(name)
            taps = self.taps(name)
            is_seen = any(h.part.layer and h.part.network == name for h in self.hosted)
            front = host.front if host is not None and is_seen else None
            whole = WholeNetwork(
                builder,
                network,
                joined,
                prefix=prefix,
                size=self.size,
                taps=taps,
                count=count,
                front=front,
            )
            if host is not None:
                host.between |= whole.between
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

    @cached_property
    def hosted(self) -> tuple[HostPart, ...]:
        """The parts that only the host can compute."""
        shapes = {
            (name, layer): network.architecture.shape(layer, *self.size)
            for name, network in self.networks.items()
            for layer in self.taps(name)
        }
        return hosted_parts(self.parts, self.names, shapes, self.size)

    def host_work(self) -> HostWork | None:
        """What is to come before the graph, still empty; None where nothing is."""
        if not self.hosted:
            return None
        from fastsynth.network.builder import GraphBuilder

        front = GraphBuilder()
        front.input("image", (1, 3, *self.size))
        pools = [network.pool for network in self.networks.values()]
        return HostWork(front, self.hosted, pools[0] if pools else _core.ThreadPool())

    def prefix(self, network: str | None) -> str:
        """Of the names of a network's weights."""
        if self.outer is not None:
            return self.outer.prefix(network)
        return f"network{list(self.networks).index(network)}." if len(self.networks) > 1 else ""

    def octave(self, part: Part) -> WholeObjective:
        """The objective that a part shows an octave of the image."""
        octave = part.term
        assert isinstance(octave, OctaveParts)
        return WholeObjective(
            octave.parts,
            tuple(inner.name for inner in octave.parts),
            weights_of(octave.parts),
            Canvas(octave.height, octave.width),
            {part.network: self.networks[part.network]},
            self,
        )

    def taps(self, network: str | None) -> tuple[str, ...]:
        """The layers of a network that parts look at, shallow to deep."""
        wanted = {part.layer for part in self.parts if part.network == network and part.layer}
        return tuple(layer for layer in self.networks[network].layers if layer in wanted)

    def is_like(self, other: WholeObjective) -> bool:
        """Whether both may be built beside one another: equal sizes, weights, taps, device."""

        if self.hosted or other.hosted:
            return False

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

    def __init__(
        self, whole: WholeObjective, image: Tensor, weights: Tensor, host: HostWork | None
    ) -> None:
        self._whole, self._image, self._weights, self._host = whole, image, weights, host
        self._hosted = {part.index: part for part in whole.hosted}
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
            feature = features[part.layer]
            channels, rows, columns = shapes[part.layer]
            if i in self._hosted:
                assert self._host is not None
                front, own = self._host.front, self._hosted[i]
                shown = own.show(Tensor(front, feature.name))
                front.output(f"shown.{i}", shown, (1, *own.shape))
                self._values[i], slope = own.read(feature.builder)
                slope = slope * self._shares[i]
            else:
                self._values[i], slope = layer_form(
                    part.term,
                    self._whole.names[i],
                    feature,
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
            if part.layer is not None:
                continue
            if isinstance(part.term, OctaveParts):
                self._values[i], slope = self._octave(part)
                self.add(slope * self._shares[i])
                continue
            assert isinstance(part.term, _core.ImageTerm)
            if i in self._hosted:
                self._values[i], slope = self._hosted[i].read(self._image.builder)
                self.add(slope * self._shares[i])
            else:
                self._values[i], slope = image_form(
                    part.term, whole.names[i], self._image, whole.size, self._shares[i]
                )
                self.add(slope)
        assert self._gradient is not None, "an objective has a part"
        builder, every = self._weights.builder, range(len(whole.parts))
        weighted = builder.concat([self._values[i] for i in every], 0) * self._weights
        return Evaluated(weighted.sum(), weighted, self._gradient, self._host)

    def _octave(self, part: Part) -> tuple[Tensor, Tensor]:
        """Value (1,) and gradient of parts that see the image reduced by octaves."""
        assert isinstance(part.term, OctaveParts)
        builder, whole = self._image.builder, self._whole.octave(part)
        down, across = (octave_matrix(side, part.term.octaves) for side in self._whole.size)
        turned = [builder.tensor(np.ascontiguousarray(m.T)) for m in (down, across)]
        small = builder.tensor(down) @ self._image @ turned[1]
        weights = builder.tensor(np.array(whole.weights, np.float32))
        seen = whole.build(builder, small, weights)
        return seen.loss, turned[0] @ seen.gradient @ builder.tensor(across)


def octave_matrix(side: int, octaves: int) -> NDArray[np.float32]:
    """What reduces a side by octaves, (reduced, side): see cpp's octave_term.hpp."""
    whole = np.eye(side)
    for _ in range(octaves):
        size = len(whole)
        one = np.zeros(((size + 1) // 2, size))
        for tap, factor in enumerate((0.05, 0.25, 0.4, 0.25, 0.05)):
            for row in range(len(one)):
                place = abs(2 * row + tap - 2) % max(1, 2 * (size - 1))
                one[row, min(place, 2 * (size - 1) - place)] += factor
        whole = one @ whole
    return np.asarray(whole, np.float32)


def weights_of(parts: Sequence[Part]) -> tuple[float, ...]:
    """The parts' weights as they are before balancing."""
    return tuple(float(part.weight) for part in parts)
