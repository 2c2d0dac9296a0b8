"""Forward and backward through sessions of ONNX Runtime, for one image size and one set of taps.

Two ways exist. On the CPU (`HostPasses`) the network comes in pieces; between them the engine
pools, takes pooling back, adds cotangents where the gradient arrives, and masks. One pass of the
engine does there what takes ONNX Runtime several passes over the largest maps, and no map is held
for a cotangent alone. On other devices (`WholePasses`) the features come to the host, and all
cotangents go back before the gradient graph runs, in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastsynth import _core
from fastsynth._errors import NetworkError
from fastsynth.network.graph import (
    arriving_name,
    cotangent_name,
    cut_forward,
    cut_gradient,
    cut_ways_back,
    mask_name,
    pooled_name,
    sums_name,
)
from fastsynth.network.session import CPU, Session, release_memory, reserve_memory
from fastsynth.network.winograd import suits, use_winograd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.architecture import Architecture
    from fastsynth.network.graph import Cut, Value, Way
    from fastsynth.network.onnx_network import OnnxNetwork

    FloatArray: TypeAlias = NDArray[np.float32]
    # pull(tap, map, add): brings the cotangent of a tap, by its place, into the array `map`: adds
    # it, or replaces what the map holds. False where there is none; then the map stays as it is.
    Pull: TypeAlias = Callable[[int, FloatArray, bool], bool]

__all__ = ["HostPasses", "WholePasses", "host_bytes", "open_passes"]


def open_passes(
    network: OnnxNetwork, size: tuple[int, int], taps: tuple[str, ...], *, gradient: bool
) -> HostPasses | WholePasses:
    """The passes that suit the network's provider. taps: shallow to deep."""
    kind = HostPasses if network.execution.name == CPU else WholePasses
    return kind(network, size, taps, gradient=gradient)


class _Passes:
    """What both ways share: sessions, and the arrays (C, H, W) that these read and write."""

    def __init__(self, network: OnnxNetwork, size: tuple[int, int], taps: tuple[str, ...]) -> None:
        self.taps = taps
        self.closed = False
        self._network = network
        self._size = size
        self._buffers: dict[str, NDArray[Any]] = {}
        self._forward: list[Session] = []
        self._backward: list[Session] = []

    def buffer(self, name: str) -> FloatArray:
        """An array by the name that graphs give it: "image", a tap, "d_image"."""
        self._check()
        return self._buffers[name]

    def close(self) -> None:
        self.closed = True
        self._forward, self._backward, self._buffers = [], [], {}

    def _open(self, cuts: Iterable[Cut]) -> list[Session]:
        own = self._network
        return [
            Session(cut, own.parameters, own.execution, own.threads, self._buffers) for cut in cuts
        ]

    def _check(self) -> None:
        if self.closed:
            raise NetworkError("the network was closed and cannot run; bind it anew")


class HostPasses(_Passes):
    """The pieces of a network on the CPU, and what the engine does between them.

    Two scratch areas take turns: what a piece reads lies in one, what it writes in the other.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        size: tuple[int, int],
        taps: tuple[str, ...],
        *,
        gradient: bool,
    ) -> None:
        super().__init__(network, size, taps)
        architecture, pooling = network.architecture, network.pooling
        name = architecture.name
        ways = cut_ways_back(name, pooling, taps, *size) if gradient else []
        masks = {n for way in ways for n in way.cut.inputs if n.endswith(mask_name(""))}
        cuts = cut_forward(name, pooling, {*taps, *masks}, *size, with_pools=False)
        cuts = [use_winograd(cut, architecture, size) for cut in cuts]
        ways = [replace(way, cut=use_winograd(way.cut, architecture, size)) for way in ways]

        self._average = pooling == "avg"
        # (layer, pooled layer) behind each piece of the way forth; None: nothing is pooled there.
        self._pooled = [
            next((n for n in cut.outputs if n in architecture.pool_after), None)
            for cut in cuts[:-1]
        ]
        self._starts = [way.layer for way in ways]
        self._routes: dict[str, NDArray[np.uint8]] = {}
        self._allocate(cuts, ways)
        self._forward = self._open(cuts)
        self._backward = self._open(way.cut for way in ways)
        release_memory()  # what opening left behind
        reserve_memory(_working_memory(self._largest))

    def _allocate(self, cuts: list[Cut], ways: list[Way]) -> None:
        """Arrays for all that sessions read and write, scratch in the two areas."""
        values: dict[str, Value] = {}
        for cut in (*cuts, *(way.cut for way in ways)):
            values |= cut.inputs
            values |= cut.outputs
        shapes = {name: value.shape[1:] for name, value in values.items()}
        places: dict[str, int] = {}  # of scratch, in the two areas
        for layer in filter(None, self._pooled):
            pooled = self._network.architecture.shape(layer, *self._size)
            self._routes[layer] = np.zeros((pooled[0], pooled[1] // 2, pooled[2] // 2), np.uint8)
            places[pooled_name(layer)] = 1
            if layer not in self.taps:
                places[layer] = 0
        place = 0
        for way in ways:
            places[sums_name(way.layer)] = place
            if way.to is not None:
                places[arriving_name(way.to)] = 1 - place
                # What arrives at a layer that is pooled goes on into the other area.
                place = place if way.to in self._routes else 1 - place
        counts = [0, 0]
        for name, place in places.items():
            counts[place] = max(counts[place], int(np.prod(shapes[name])))
        areas = [_aligned((count,), "float32") for count in counts]
        for name, shape in shapes.items():
            if name in places:
                area = areas[places[name]]
                self._buffers[name] = area[: int(np.prod(shape))].reshape(shape)
            else:
                self._buffers[name] = _aligned(shape, values[name].dtype)
        self._largest = max(int(np.prod(shape)) for shape in shapes.values())

    def run_forward(self) -> None:
        self._check()
        for session, layer in zip(self._forward, [*self._pooled, None], strict=True):
            session.run()
            if layer is not None:
                _core.pool_planar(
                    self._buffers[layer],
                    self._buffers[pooled_name(layer)],
                    self._routes[layer],
                    self._average,
                    self._network.pool,
                )

    def run_backward(self, pull: Pull) -> None:
        self._check()
        for session, layer in zip(self._backward, self._starts, strict=True):
            self._gather(layer, pull)
            session.run()

    def _gather(self, layer: str, pull: Pull) -> None:
        """The gradient of a layer's sums, from what arrived there and the layer's cotangent."""
        pool = self._network.pool
        sums = self._buffers[sums_name(layer)]
        arrived = arriving_name(layer) in self._buffers
        routes = self._routes.get(layer) if arrived else None
        add = arrived and routes is None  # sums and what arrived are one array
        tapped = layer in self.taps
        pulled = tapped and pull(self.taps.index(layer), sums, add)
        if not arrived and not pulled:
            sums[...] = 0.0
        if tapped and (pulled or add):
            _core.mask_planar(self._buffers[layer], sums, pool)
        if routes is not None:
            _core.unpool_planar(
                self._buffers[arriving_name(layer)], routes, sums, self._average, pulled, pool
            )


class WholePasses(_Passes):
    """The pieces of the way forth, pooling included, and the gradient graph in one piece."""

    def __init__(
        self,
        network: OnnxNetwork,
        size: tuple[int, int],
        taps: tuple[str, ...],
        *,
        gradient: bool,
    ) -> None:
        super().__init__(network, size, taps)
        name, pooling = network.architecture.name, network.pooling
        outputs = set(taps)
        back: list[Cut] = []
        if gradient:
            back = [cut_gradient(name, pooling, taps, *size)]
            own = {"image", *map(cotangent_name, taps)}
            outputs.update(set(back[0].inputs) - own)
        forth = cut_forward(name, pooling, outputs, *size)
        for cut in (*forth, *back):
            values: Mapping[str, Value] = {**cut.inputs, **cut.outputs}
            for value_name, value in values.items():
                if value_name not in self._buffers:
                    self._buffers[value_name] = _aligned(value.shape[1:], value.dtype)
        self._forward, self._backward = self._open(forth), self._open(back)
        release_memory()

    def run_forward(self) -> None:
        self._check()
        for session in self._forward:
            session.run()

    def run_backward(self, pull: Pull) -> None:
        self._check()
        for index in reversed(range(len(self.taps))):
            cotangent = self._buffers[cotangent_name(self.taps[index])]
            if not pull(index, cotangent, False):
                cotangent[...] = 0.0
        for session in self._backward:
            session.run()


def host_bytes(
    architecture: Architecture, size: tuple[int, int], taps: tuple[str, ...], *, gradient: bool
) -> int:
    """Bytes of HostPasses: its arrays, and what ONNX Runtime works in. taps: shallow to deep."""
    layers = architecture.layers[: architecture.names.index(taps[-1]) + 1]
    maps = {layer.name: 4 * int(np.prod(architecture.shape(layer.name, *size))) for layer in layers}
    pooled = [name for name in maps if name in architecture.pool_after and name != taps[-1]]
    largest = max(maps.values())
    arrays = 12 * size[0] * size[1] + sum(maps[tap] for tap in taps)
    arrays += sum(maps[name] // 16 for name in pooled)  # routes: a byte for each pixel that is left
    if gradient:
        ends = {*taps, *pooled}
        masks = sum(maps[name] // 4 for name in maps if name not in ends)
        arrays += 12 * size[0] * size[1] + 2 * largest + masks
    else:  # what is pooled and not tapped, and what comes of it
        untapped = max((maps[name] for name in pooled if name not in taps), default=0)
        arrays += untapped + max((maps[name] // 4 for name in pooled), default=0)
    working = _working_memory(largest // 4)
    for layer in layers:
        if suits(layer.in_channels, layer.out_channels):  # sixteen entries for four pixels
            whole = maps[layer.name] * (layer.in_channels + layer.out_channels)
            working = max(working, 5 * whole // layer.out_channels)
    return arrays + working


def _working_memory(largest: int) -> int:
    """Bytes that ONNX Runtime works in: twice the largest map, and a little.

    A convolution's input and output, in ONNX Runtime's own layout. Should it need more, the arena
    grows.
    """
    return int(largest * 4 * 2.02)


def _aligned(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Zeros that begin at a cache line (64 bytes), as the engine's kernels like best."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)
