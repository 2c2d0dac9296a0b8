"""The native CPU network (`backend="native"`): forward and gradient by the C++ core's own kernels.

Convolutions run by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks", 2016) with points chosen for accuracy: with F(4×4, 3×3) a layer's relative error
is 3e-7 to 6e-7, where direct float32 convolution has 2e-7. ARCHITECTURE.md and cpp/src/kernels tell
how; bench/native.py measures.
"""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth._closing import Closing
from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.architecture import ARCHITECTURES, Architecture
from fastsynth.network.chain import load_chain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray
    from typing_extensions import Self

    FloatArray = NDArray[np.float32]

__all__ = ["NATIVE_PRECISIONS", "BoundNativeNetwork", "NativeNetwork"]

NATIVE_PRECISIONS = ("exact", "fast", "mixed")

LARGEST_SIDE = 1 << 20  # px: above, counts of bytes could leave 64 bits


class NativeNetwork(Closing):
    """A network with its weights, run by the native kernels. Threads may share it.

    `network` is "vgg16" or "vgg19", whose layers are read from the same graphs in `models/` that
    the onnx backend runs; or a table of any chain of 3×3 convolutions. `weights` holds
    float32 arrays: `normalize.weight` (3, 3, 1, 1) and `normalize.bias` (3,), which turn RGB in
    [0, 1] into what the weights were trained on, then `conv1_1.weight` (out, in, 3, 3),
    `conv1_1.bias` (out,) and so on. They may end at any layer; then the layers before serve. They
    are used in place and must not change.

    `pooling` is "max" (default) or "avg". `precision="fast"` multiplies in bfloat16 and adds in
    float32 where the processor does that (AVX512_BF16): half the time for products, half the memory
    for transformed weights, but a layer's relative error is 7.5e-3, where direct convolution in
    bfloat16 has 2.8e-3, and that of an image's gradient about 0.1. Elsewhere it uses F(6×6, 3×3) on
    maps of at least 96 px: less arithmetic, four times the rounding error of these layers (relative
    2.5e-6), and 1.8 times the memory for their weights. `describe` says which. Maps of at most 12
    tiles of 4 × 4 gain nothing from either and stay exact. `precision="mixed"`
    is exact, and gives its fast twin to the levels of a run that come before the end (`rough`).
    Results do not depend on the number of threads. `pool` defaults to one with all cores that the
    process may use.

    Weights are transformed when a layer is first needed, to 4 times the memory of the plain ones:
    160 MB for the forward pass of VGG16 to conv5_1. The gradient of large images transforms those
    of the large layers while it runs, and takes 61 MB; maps of at most 12 tiles do so both ways:
    86 MB in all for an image of 32 × 32. `weights_bytes` tells what is held now.

    Raises NetworkError for an unknown network or setting and for a graph that these kernels cannot
    run (it names the operator), WeightsError for weights that do not fit.

    >>> from fastsynth.network.architecture import ConvLayer
    >>> chain = Architecture("tiny", (ConvLayer("a", 3, 8), ConvLayer("b", 8, 4)), frozenset("a"))
    >>> rng = np.random.default_rng(0)
    >>> weights = {
    ...     "normalize.weight": np.eye(3).reshape(3, 3, 1, 1), "normalize.bias": np.zeros(3),
    ...     "a.weight": rng.normal(size=(8, 3, 3, 3)), "a.bias": np.zeros(8),
    ...     "b.weight": rng.normal(size=(4, 8, 3, 3)), "b.bias": np.zeros(4),
    ... }
    >>> network = NativeNetwork(chain, weights)
    >>> network.features(np.ones((3, 9, 13), np.float32), ["b"])["b"].shape
    (4, 4, 6)
    """

    backend = "native"
    device = "cpu"

    def __init__(
        self,
        network: str | Architecture,
        weights: Mapping[str, FloatArray],
        *,
        pooling: str = "max",
        precision: str = "exact",
        pool: _core.ThreadPool | None = None,
    ) -> None:
        if pooling not in ("max", "avg"):
            raise NetworkError(f'unknown pooling {pooling!r}; expected "max" or "avg"')
        if precision not in NATIVE_PRECISIONS:
            raise NetworkError(
                f"unknown precision {precision!r}; expected one of {list(NATIVE_PRECISIONS)}"
            )
        if isinstance(network, str):
            if network not in ARCHITECTURES:
                known = ", ".join(ARCHITECTURES)
                raise NetworkError(f"unknown network {network!r}; expected one of {known}")
            network = load_chain(network, pooling)
        self.architecture = network
        self.pooling = pooling
        self.precision = precision
        self._pool = pool or _core.ThreadPool()
        layers = list(_layers(network, weights))
        self.layers = tuple(name for name, *_ in layers)
        matrix = _array(weights, "normalize.weight", (3, 3, 1, 1)).reshape(3, 3)
        offset = _array(weights, "normalize.bias", (3,))
        self._weights: _core.NativeWeights | None = _core.NativeWeights(layers, matrix, offset)
        self._bound: list[BoundNativeNetwork] = []
        self._lock = threading.Lock()
        self._rough: Self | None = None

    @property
    def _products(self) -> str:
        """What is bound here: mixed networks are exact, but for what `rough` gives."""
        return "fast" if self.precision == "fast" else "exact"

    def rough(self) -> Self:
        """What coarse levels of a run see: of a mixed network the same in fast precision.

        It shares the weights and lives no longer than this one; of any other network, itself.
        """
        if self.precision != "mixed":
            return self
        with self._lock:
            if self._rough is None:
                self._rough = copy.copy(self)
                self._rough.precision = "fast"
                self._rough._bound, self._rough._lock = [], threading.Lock()
            return self._rough

    @property
    def provider(self) -> str:
        """The kernel set in use: "avx512pairs", "avx512", "avx2" or "portable"."""
        return _core.kernel_set()

    @property
    def weights_bytes(self) -> int:
        """Memory of the transformed weights made so far; 0 after `close`."""
        return self._weights.memory_bytes if self._weights else 0

    def describe(self) -> str:
        """One line: network, pooling, depth, kernels, threads."""
        means = ""
        if self.precision != "exact":
            means = " (bfloat16 products)" if _core.has_bf16() else " (F(6×6, 3×3))"
        return (
            f"{self.architecture.name} with {self.pooling} pooling to {self.layers[-1]}, native "
            f"{self.provider} kernels in {self.precision} precision{means}, "
            f"{self._pool.threads} threads"
        )

    def bind(
        self, height: int, width: int, taps: Collection[str], *, gradient: bool = True
    ) -> BoundNativeNetwork:
        """Prepares forward and gradient for images of height × width pixels, tapped at `taps`.

        All memory is taken here; passes allocate nothing. Nothing deeper than the deepest tap is
        computed or transformed. `gradient=False` leaves the backward pass out, and with it most of
        the memory: features are handed out while the pass runs.

        Raises NetworkError for unknown layers, a closed network, or an image too small for the
        deepest tap; WeightsError for layers beyond the weights.
        """
        ordered = self._check(height, width, taps)
        with self._lock:
            weights = self._weights
            self._bound = [other for other in self._bound if not other.closed]
        if weights is None:
            raise NetworkError("the network is closed; open it again")
        core = _core.NativeNetwork(
            weights, height, width, ordered, self.pooling, self._products, gradient, self._pool
        )
        bound = BoundNativeNetwork(core, gradient)
        with self._lock:
            if self._weights is not None:
                self._bound.append(bound)
                return bound
        raise NetworkError("the network was closed meanwhile; open it again")

    def bound_bytes(
        self, height: int, width: int, taps: Collection[str], *, gradient: bool = True
    ) -> int:
        """Bytes that `bind` would take for these arguments; allocates nothing.

        Raises what `bind` raises.
        """
        ordered = self._check(height, width, taps)
        weights = self._weights
        if weights is None:
            raise NetworkError("the network is closed; open it again")
        return _core.NativeNetwork.count_bytes(
            weights, height, width, ordered, self._products, gradient, self._pool
        )

    def features(self, image: FloatArray, taps: Collection[str]) -> dict[str, FloatArray]:
        """Activations (C, H, W) of the taps for a planar RGB image (3, H, W) in [0, 1].

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
        twin._pool, twin._bound, twin._lock, twin._rough = pool, [], threading.Lock(), None
        return twin

    def close(self) -> None:
        """Releases the weights and everything bound; a second call does nothing."""
        with self._lock:
            self._weights = None
            bound, self._bound = self._bound, []
            rough, self._rough = self._rough, None
        for network in bound:
            network.close()
        if rough is not None:
            rough.close()

    def _check(self, height: int, width: int, taps: Iterable[str]) -> list[str]:
        wanted = set(taps)
        name, names = self.architecture.name, self.architecture.names
        if not wanted:
            raise NetworkError(f"no layer is tapped; name at least one of {', '.join(self.layers)}")
        if unknown := wanted.difference(names):
            raise NetworkError(f"{name} has no layer {min(unknown)!r}; it has {', '.join(names)}")
        if beyond := wanted.difference(self.layers):
            raise WeightsError(
                f"the weights of {name} end at {self.layers[-1]}, but {min(beyond)} is tapped; use "
                "layers up to there, or weights that go deeper"
            )
        ordered = [layer for layer in self.layers if layer in wanted]
        smallest = self.architecture.scale(ordered[-1])
        if min(height, width) < smallest:
            raise NetworkError(
                f"an image of {width} × {height} pixels leaves nothing at {ordered[-1]}; it needs "
                f"at least {smallest} × {smallest}: use a larger image or a shallower layer"
            )
        if max(height, width) > LARGEST_SIDE:
            raise NetworkError(
                f"an image of {width} × {height} pixels is too large; a side has at most "
                f"{LARGEST_SIDE} pixels: use a smaller size"
            )
        return ordered


class BoundNativeNetwork(Closing):
    """A NativeNetwork with the buffers for one image size and one set of taps.

    `core` is the engine's network. One thread at a time may use it.
    """

    def __init__(self, core: _core.NativeNetwork, gradient: bool) -> None:
        self.taps = tuple(core.taps)
        self._core: _core.NativeNetwork | None = core
        self._gradient = gradient

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._core is None

    @property
    def core(self) -> _core.NativeNetwork:
        """The engine's side. Raises NetworkError when closed."""
        if self._core is None:
            raise NetworkError("the network was closed and cannot run; bind it anew")
        return self._core

    def forward(self, image: FloatArray) -> dict[str, FloatArray]:
        """Copies of the taps' features, each (C, H, W), for an image (3, H, W) in [0, 1]."""
        image = np.ascontiguousarray(image, np.float32)
        return dict(zip(self.taps, self.core.forward(image), strict=True))

    def backward(self, cotangents: Mapping[str, FloatArray]) -> FloatArray:
        """The gradient (3, H, W) with respect to the image of the last forward.

        Needs a cotangent, shaped like the features, for each tap. Once after each forward: it takes
        the memory of the features. Raises NetworkError when bound with `gradient=False`, ValueError
        without a forward before it.
        """
        if not self._gradient:
            raise NetworkError("the network was bound with gradient=False; bind it anew")
        return self.core.backward(
            [np.ascontiguousarray(cotangents[tap], np.float32) for tap in self.taps]
        )

    def close(self) -> None:
        """Releases the buffers; a second call does nothing."""
        self._core = None


def _layers(
    network: Architecture, weights: Mapping[str, FloatArray]
) -> Iterable[tuple[str, FloatArray, FloatArray, bool]]:
    """(name, kernel, bias, pooled afterwards) of the layers that the weights serve."""
    for place, layer in enumerate(network.layers):
        if place > 0 and f"{layer.name}.weight" not in weights:
            return
        shape = (layer.out_channels, layer.in_channels, 3, 3)
        kernel = _array(weights, f"{layer.name}.weight", shape)
        bias = _array(weights, f"{layer.name}.bias", (layer.out_channels,))
        yield layer.name, kernel, bias, layer.name in network.pool_after


def _array(weights: Mapping[str, FloatArray], name: str, shape: tuple[int, ...]) -> FloatArray:
    if name not in weights:
        raise WeightsError(f"the weights lack {name}")
    array = np.ascontiguousarray(weights[name], np.float32)
    if array.shape != shape:
        raise WeightsError(f"{name} has shape {array.shape}, expected {shape}")
    return array
