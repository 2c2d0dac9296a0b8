"""Networks that run in ONNX Runtime (`backend="onnx"`), on any of its execution providers."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth._closing import Closing
from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.graph import POOLINGS
from fastsynth.network.passes import host_bytes, open_passes
from fastsynth.network.session import CPU, choose_provider, onnxruntime, release_memory
from fastsynth.network.winograd import suits, transform_weights

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray
    from typing_extensions import Self

    FloatArray = NDArray[np.float32]

__all__ = ["BoundOnnxNetwork", "OnnxNetwork"]


# Memory of the sessions of a network in one piece, over that of the features of all layers up to
# the deepest tap: with the gradient, and of the forward pass alone. Measured at 512² (1.9 to 2.7,
# and 1.4).
BYTES_SHARE = 2.4
FORWARD_SHARE = 1.4


class OnnxNetwork(Closing):
    """A network with its weights, run by ONNX Runtime. Threads may share it.

    network: "vgg16" or "vgg19".
    weights: arrays `normalize.weight` (3, 3, 1, 1), `normalize.bias` (3,), which turn RGB in [0,
    1] into what
        the weights were trained on, and `conv1_1.weight` (out, in, 3, 3), `conv1_1.bias` (out,) …
        float32. They may end at any layer; then the layers before serve.
    pooling: "max" (default) or "avg".
    device: "cpu" (default), "cuda", "auto", or another provider of ONNX Runtime
        (`fastsynth.network.session.choose_provider`).
    precision: "exact" (default, float32), "fast", or what convolutions shall multiply in
        (`fastsynth.network.providers`).
    memory_limit: bytes that the provider may take, for providers that can be told.
    pool: threads of the engine, as many as the CPU provider takes; default: as many as cores that
        the process may use.

    Raises NetworkError for an unknown network or pooling, WeightsError for weights that do not fit,
    DeviceError for a device that cannot run, or where ONNX Runtime is missing.
    """

    backend = "onnx"
    bytes_share = BYTES_SHARE

    def __init__(
        self,
        network: str,
        weights: Mapping[str, FloatArray],
        *,
        pooling: str = "max",
        device: str = "cpu",
        precision: str = "exact",
        memory_limit: int | None = None,
        pool: _core.ThreadPool | None = None,
    ) -> None:
        if network not in ARCHITECTURES:
            raise NetworkError(
                f"unknown network {network!r}; expected one of {list(ARCHITECTURES)}"
            )
        if pooling not in POOLINGS:
            raise NetworkError(f"unknown pooling {pooling!r}; expected one of {list(POOLINGS)}")
        self.architecture = ARCHITECTURES[network]
        self.pooling = pooling
        self.device = device
        self.precision = precision
        self.pool = _core.ThreadPool() if pool is None else pool
        self.parameters = _checked(network, weights)
        self.execution = choose_provider(device, precision, memory_limit)
        if self.execution.name == CPU:
            for layer in self.architecture.layers:
                weight = self.parameters.get(f"{layer.name}.weight")
                if weight is not None and suits(layer.in_channels, layer.out_channels):
                    self.parameters |= transform_weights(layer.name, weight)
        self._bound: list[BoundOnnxNetwork] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that the weights serve, shallow to deep."""
        return tuple(n for n in self.architecture.names if f"{n}.weight" in self.parameters)

    @property
    def threads(self) -> int:
        """Threads of the CPU provider, and of the engine's work between its pieces."""
        return self.pool.threads

    @property
    def provider(self) -> str:
        """The execution provider that runs the network."""
        return self.execution.name

    def describe(self) -> str:
        """One line: network, pooling, provider, and why this one."""
        return (
            f"{self.architecture.name} with {self.pooling} pooling to {self.layers[-1]}, "
            f"ONNX Runtime {onnxruntime().__version__}, {self.execution.name} "
            f"({self.execution.reason}) in {self.execution.precision} precision, "
            f"{self.threads} threads"
        )

    def bind(
        self, height: int, width: int, taps: Collection[str], *, gradient: bool = True
    ) -> BoundOnnxNetwork:
        """Opens sessions and buffers for images of height × width pixels and the layers `taps`.

        gradient: False leaves the backward pass out.

        Raises NetworkError for unknown layers, a closed network, or an image too small for the
        deepest tap; WeightsError for layers beyond the weights.
        """
        taps = self._check(height, width, taps)
        bound = BoundOnnxNetwork(self, (height, width), taps, gradient=gradient)
        with self._lock:
            if not self._closed:
                self._bound = [other for other in self._bound if not other.closed]
                self._bound.append(bound)
                return bound
        bound.close()
        raise NetworkError("the network is closed; open it again")

    def features(self, image: FloatArray, taps: Collection[str]) -> dict[str, FloatArray]:
        """Features (C, H, W) after the ReLU of the layers `taps`, for an image (3, H, W) in [0, 1].

        Raises what `bind` raises, and NetworkError for an image of another shape.
        """
        if image.ndim != 3 or image.shape[0] != 3:
            raise NetworkError(f"the image has shape {image.shape}; expected (3, height, width)")
        with self.bind(image.shape[1], image.shape[2], taps, gradient=False) as bound:
            return bound.forward(image)

    def with_pool(self, pool: _core.ThreadPool) -> Self:
        """The same network on the same weights in memory, computing with other threads.

        Closing one leaves the other open.
        """
        twin = copy.copy(self)
        twin.pool, twin._bound, twin._lock = pool, [], threading.Lock()
        return twin

    def bound_bytes(
        self, height: int, width: int, taps: Collection[str], *, gradient: bool = True
    ) -> int:
        """About the bytes that `bind` takes; ONNX Runtime decides. On the CPU most are arrays of
        ours (`host_bytes`); else see BYTES_SHARE.

        Raises what `bind` raises.
        """
        ordered = self._check(height, width, taps)
        if self.execution.name == CPU and self.backend == "onnx":
            return host_bytes(self.architecture, (height, width), ordered, gradient=gradient)
        total = 0
        for layer in self.architecture.names[: self.architecture.names.index(ordered[-1]) + 1]:
            channels, rows, columns = self.architecture.shape(layer, height, width)
            total += 4 * channels * rows * columns
        return int(total * (self.bytes_share if gradient else FORWARD_SHARE))

    def close(self) -> None:
        """Releases the weights and everything bound; a second call does nothing."""
        with self._lock:
            self._closed = True
            bound, self._bound = self._bound, []
        for network in bound:
            network.close()

    def _check(self, height: int, width: int, taps: Iterable[str]) -> tuple[str, ...]:
        if self._closed:
            raise NetworkError("the network is closed; open it again")
        wanted, served = set(taps), self.layers
        name = self.architecture.name
        if not wanted:
            raise NetworkError(f"no layer is tapped; name at least one of {', '.join(served)}")
        if unknown := wanted.difference(self.architecture.names):
            raise NetworkError(
                f"{name} has no layer {min(unknown)!r}; its layers are "
                f"{', '.join(self.architecture.names)}"
            )
        if beyond := wanted.difference(served):
            raise WeightsError(
                f"the weights of {name} end at {served[-1]}, but {min(beyond)} is tapped; "
                "use layers up to there, or weights that go deeper"
            )
        ordered = tuple(layer for layer in served if layer in wanted)
        smallest = self.architecture.scale(ordered[-1])
        if min(height, width) < smallest:
            raise NetworkError(
                f"an image of {width} × {height} pixels leaves nothing at {ordered[-1]}; it needs "
                f"at least {smallest} × {smallest}: use a larger image or a shallower layer"
            )
        return ordered


class BoundOnnxNetwork(Closing):
    """An OnnxNetwork with sessions and buffers for one image size and one set of taps.

    `core` is the engine's network. One thread at a time may use it.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        size: tuple[int, int],
        taps: tuple[str, ...],
        *,
        gradient: bool,
    ) -> None:
        self.taps = taps
        self._passes = passes = open_passes(network, size, taps, gradient=gradient)
        self._core: _core.Network | None = None
        if gradient:
            # The engine's network refers to the passes, and nothing refers back: no cycle that
            # would keep hundreds of megabytes alive until the garbage collector comes by.
            self._core = _core.CallbackNetwork(
                list(taps),
                passes.buffer("image"),
                [passes.buffer(tap) for tap in taps],
                passes.buffer("d_image"),
                passes.run_forward,
                passes.run_backward,
            )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._passes.closed

    @property
    def core(self) -> _core.Network:
        """The engine's side. Raises NetworkError when closed, or bound without gradient."""
        if self._core is None:
            raise NetworkError(
                "the network is closed, or was bound with gradient=False; bind it anew"
            )
        return self._core

    def forward(self, image: FloatArray) -> dict[str, FloatArray]:
        """Copies of the taps' features for an image (3, H, W)."""
        self._passes.buffer("image")[...] = image
        self._passes.run_forward()
        return {tap: np.array(self._passes.buffer(tap)) for tap in self.taps}

    def backward(self, cotangents: Mapping[str, FloatArray]) -> FloatArray:
        """A copy of the gradient (3, H, W) with respect to the image of the last forward.

        Needs a cotangent, shaped like the features, for each tap.
        """

        def pull(tap: int, buffer: FloatArray, add: bool) -> bool:
            given = cotangents[self.taps[tap]]
            buffer[...] = buffer + given if add else given
            return True

        self._passes.run_backward(pull)
        return np.array(self._passes.buffer("d_image"))

    def close(self) -> None:
        """Releases sessions and buffers; a second call does nothing."""
        if not self.closed:
            self._core = None
            self._passes.close()
            release_memory()


def _checked(network: str, weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The parameters in use, contiguous float32, up to the first layer that is missing."""
    shapes: dict[str, tuple[int, ...]] = {"normalize.weight": (3, 3, 1, 1), "normalize.bias": (3,)}
    for layer in ARCHITECTURES[network].layers:
        shapes[f"{layer.name}.weight"] = (layer.out_channels, layer.in_channels, 3, 3)
        shapes[f"{layer.name}.bias"] = (layer.out_channels,)
    found: dict[str, FloatArray] = {}
    names = list(shapes)
    for weight, bias in zip(names[::2], names[1::2], strict=True):
        if weight not in weights or bias not in weights:
            break
        for name in (weight, bias):
            if weights[name].shape != shapes[name]:
                raise WeightsError(
                    f"{name} has shape {weights[name].shape}, but {network} needs {shapes[name]}; "
                    "these weights belong to another network or another layout (expected: OIHW)"
                )
            found[name] = np.ascontiguousarray(weights[name], np.float32)
    if len(found) < 4:
        raise WeightsError(
            f"the weights hold {', '.join(sorted(weights)) or 'nothing'}; {network} needs at least "
            f"{', '.join(names[:4])}"
        )
    return found
