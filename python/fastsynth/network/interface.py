"""The two implementations' common face, and the choice between them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from fastsynth._errors import DeviceError, NetworkError
from fastsynth.network.architecture import ARCHITECTURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastsynth import _core
    from fastsynth.network.architecture import Architecture
    from fastsynth.network.weights import WeightSet

__all__ = ["BACKENDS", "BoundNetwork", "Network", "open_network", "rough_network"]

BACKENDS = ("auto", "native", "onnx", "step")


class BoundNetwork(Protocol):
    """A network bound to one image size and one set of taps; it holds buffers until closed."""

    @property
    def core(self) -> _core.Network:
        """What the engine works on."""

    def close(self) -> None:
        """Releases the buffers."""


class Network(Protocol):
    """A network with its weights. Threads may share it."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be tapped, shallow to deep."""

    @property
    def architecture(self) -> Architecture:
        """The chain of layers."""

    @property
    def backend(self) -> str:
        """ "native", "onnx" or "step"."""

    @property
    def device(self) -> str:
        """The device that was asked for and is used."""

    @property
    def precision(self) -> str:
        """The precision that was asked for."""

    @property
    def provider(self) -> str:
        """What computes: an ONNX Runtime provider, or the kernel set."""

    def bind(self, height: int, width: int, taps: Collection[str]) -> BoundNetwork:
        """Prepares forward and gradient for images of height × width pixels."""

    def bound_bytes(
        self, height: int, width: int, taps: Collection[str], *, gradient: bool = True
    ) -> int:
        """Bytes that `bind` takes, or without gradient `features`; nothing is allocated."""

    def features(
        self, image: NDArray[np.float32], taps: Collection[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Activations (C, H, W) of the taps for a planar RGB image (3, H, W) in [0, 1]."""

    def with_pool(self, pool: _core.ThreadPool) -> Self:
        """The same network on the same weights in memory, computing with other threads.

        Closing one leaves the other open.
        """

    def describe(self) -> str:
        """One line for people."""

    def close(self) -> None:
        """Releases what is held between uses."""


def open_network(
    name: str,
    weights: WeightSet,
    *,
    pooling: str = "max",
    backend: str = "auto",
    device: str = "auto",
    precision: str = "exact",
    pool: _core.ThreadPool,
) -> Network:
    """Opens a network with weights on a backend.

    backend: "native" (C++ kernels, CPU only), "onnx" (ONNX Runtime, any device), "step" (the same,
        with a whole iteration as one graph), or "auto": native on the CPU, step elsewhere.
    device: "auto" (the CPU), "cpu", "cuda", or the name of an ONNX Runtime provider.
    precision: "exact" (float32), "fast" (the device's own best trade), "mixed" (the native
        backend's: fast on the way, exact in the end), "tf32", "bf16" or "fp16".

    Raises NetworkError for an unknown network or backend, DeviceError for a device or a
    precision that cannot be had.
    """
    if name not in ARCHITECTURES:
        raise NetworkError(f"unknown network {name!r}; known are {', '.join(ARCHITECTURES)}")
    if backend not in BACKENDS:
        raise NetworkError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    on_cpu = device in ("auto", "cpu")
    if backend == "native" and not on_cpu:
        raise DeviceError(
            f"the native backend computes on the CPU, not on {device!r}; use backend='onnx' for "
            "other devices"
        )
    if backend == "native" or (backend == "auto" and on_cpu):
        from fastsynth.network.native import NATIVE_PRECISIONS, NativeNetwork

        if precision not in NATIVE_PRECISIONS:
            raise DeviceError(
                f"the native backend computes in float32, not in {precision!r}; use precision="
                "'exact', 'fast' or 'mixed' (bfloat16 products where the processor has them), or a "
                "device that has it, such as device='openvino'"
            )
        return NativeNetwork(name, weights.arrays, pooling=pooling, precision=precision, pool=pool)
    from fastsynth.network.onnx_network import OnnxNetwork
    from fastsynth.network.step_network import StepNetwork

    if precision == "mixed":
        raise DeviceError(
            f"only the native backend mixes precisions, not {backend!r} on {device!r}; use "
            "precision='exact' or 'fast'"
        )
    kind = OnnxNetwork if backend == "onnx" else StepNetwork
    return kind(
        name, weights.arrays, pooling=pooling, device=device, precision=precision, pool=pool
    )


def rough_network(network: Network) -> Network:
    """What rough levels of a run see: the fast twin of a network of mixed precision, or itself."""
    from fastsynth.network.native import NativeNetwork

    return network.rough() if isinstance(network, NativeNetwork) else network
