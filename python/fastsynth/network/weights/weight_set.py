"""A set of weights that a network can be opened with, whatever it was made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.weights.cards import architecture_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["WeightSet"]


@dataclass(frozen=True, eq=False, repr=False)
class WeightSet:
    """Weights of a network, checked: finite, of the right shapes, complete down to some layer.

    `arrays` holds read-only float32 in canonical order: `normalize.weight` (3, 3, 1, 1) and
    `normalize.bias` (3,), which map RGB in [0, 1] to what the weights expect, then `conv1_1.weight`
    (out, in, 3, 3), `conv1_1.bias` (out,) and so on. `id` names where they come from ("oxford",
    "random:0", "file:NAME"), `licence` their terms.

    >>> from fastsynth.network.weights import load_weights
    >>> weights = load_weights("random:0", "vgg16")
    >>> weights.arrays["conv1_1.weight"].shape
    (64, 3, 3, 3)
    """

    id: str
    network: str
    arrays: Mapping[str, NDArray[np.float32]]
    licence: str
    title: str

    @classmethod
    def build(
        cls,
        identity: str,
        network: str,
        arrays: Mapping[str, NDArray[np.float32]],
        *,
        licence: str,
        title: str,
    ) -> WeightSet:
        """Check `arrays` against the architecture, order them and make them read-only.

        Raises:
            WeightsError: an array is missing, has another shape or holds NaN; names it.
        """
        checked: dict[str, NDArray[np.float32]] = {}
        for name, shape in expected_shapes(network).items():
            if name not in arrays:
                break
            array = np.ascontiguousarray(arrays[name], np.float32)
            if array.shape != shape:
                raise WeightsError(f"{identity}: {name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise WeightsError(
                    f"{identity}: {name} holds NaN or infinity, expected finite numbers"
                )
            array = array.view()
            array.flags.writeable = False
            checked[name] = array
        unused = [name for name in arrays if name not in checked]
        if unused or len(checked) < 4 or len(checked) % 2:
            missing = next((n for n in expected_shapes(network) if n not in checked), "nothing")
            raise WeightsError(
                f"{identity}: {missing} is missing"
                + (f", although {unused[0]} is there" if unused else "")
                + "; layers must be complete from conv1_1 down to the deepest"
            )
        return cls(identity, network, MappingProxyType(checked), licence, title)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that these weights serve, shallow to deep."""
        return tuple(
            name.removesuffix(".weight")
            for name in self.arrays
            if name.endswith(".weight") and name != "normalize.weight"
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over names, shapes and little-endian float32 values in canonical order."""
        digest = hashlib.sha256()
        for name, array in self.arrays.items():
            digest.update(f"{name}{list(array.shape)}\n".encode())
            digest.update(array.astype("<f4", copy=False).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def require(self, layers: Iterable[str]) -> None:
        """Raise unless every one of `layers` is served.

        Raises:
            NetworkError: the network has no such layer.
            WeightsError: the network has it, but these weights end before.
        """
        served = self.layers
        names = architecture_of(self.network).names
        for layer in layers:
            if layer not in names:
                raise NetworkError(
                    f"{self.network} has no layer {layer!r}; it has {', '.join(names)}"
                )
            if layer not in served:
                raise WeightsError(
                    f"the weights {self.id} end at {served[-1]} and cannot serve {layer}; "
                    f"choose layers up to {served[-1]}, or weights that go deeper"
                )

    def describe(self) -> str:
        """One line for people: what was loaded, under which terms, and how deep it goes."""
        return f"{self.id}: {self.title}; {self.layers[0]} to {self.layers[-1]}; {self.licence}"

    def __repr__(self) -> str:
        return f"WeightSet(id={self.id!r}, network={self.network!r}, deepest={self.layers[-1]!r})"


def expected_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Shape of every array of `network` in canonical order.

    >>> list(expected_shapes("vgg16").items())[2:4]
    [('conv1_1.weight', (64, 3, 3, 3)), ('conv1_1.bias', (64,))]
    """
    shapes: dict[str, tuple[int, ...]] = {"normalize.weight": (3, 3, 1, 1), "normalize.bias": (3,)}
    for layer in architecture_of(network).layers:
        shapes[f"{layer.name}.weight"] = (layer.out_channels, layer.in_channels, 3, 3)
        shapes[f"{layer.name}.bias"] = (layer.out_channels,)
    return shapes
