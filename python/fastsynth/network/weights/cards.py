"""Model cards: which pretrained weights exist for a network, read from `models/*.toml`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.architecture import ARCHITECTURES, Architecture
from fastsynth.network.files import models_directory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Convention", "ModelCard", "WeightsCard", "architecture_of", "model_card"]


@dataclass(frozen=True)
class Convention:
    """What weights expect of their input: (x[channels] · scale - mean) / std, for RGB x in [0, 1].

    `mean` and `std` follow the order of `channels`, "RGB" or "BGR".
    """

    name: str
    channels: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalization(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The convention as a 1×1 convolution of RGB in [0, 1]: weight (3, 3, 1, 1), bias (3,).

        >>> oxford = model_card("vgg16").weights["oxford"].convention
        >>> weight, bias = oxford.normalization()
        >>> weight[0, :, 0, 0].tolist()  # the first channel of the network is blue
        [0.0, 0.0, 255.0]
        """
        weight = np.zeros((3, 3, 1, 1), np.float64)
        for row, channel in enumerate(self.channels):
            weight[row, "RGB".index(channel)] = self.scale / self.std[row]
        bias = -np.asarray(self.mean, np.float64) / np.asarray(self.std, np.float64)
        return weight.astype(np.float32), bias.astype(np.float32)


@dataclass(frozen=True)
class WeightsCard:
    """One published weights file: where it lies, how to know it, its terms and input convention."""

    network: str
    name: str
    title: str
    url: str
    file: str
    size: int
    checksum: tuple[str, str]  # algorithm of hashlib, hexadecimal digest
    licence: str
    convention: Convention
    layers: tuple[str, ...]


@dataclass(frozen=True)
class ModelCard:
    """A network and the weights that exist for it."""

    network: str
    title: str
    weights: Mapping[str, WeightsCard]

    def conventions(self) -> dict[str, Convention]:
        """Input conventions by name: those of the published weights, and `rgb` (x as it is)."""
        named = {name: card.convention for name, card in self.weights.items()}
        named["rgb"] = Convention("rgb", "RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return named


def architecture_of(network: str) -> Architecture:
    """The architecture called `network`. NetworkError, naming those there are, for others."""
    if network not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise NetworkError(f"unknown network {network!r}; known are {known}")
    return ARCHITECTURES[network]


@cache
def model_card(network: str) -> ModelCard:
    """The model card of `network`, read once.

    Raises:
        NetworkError: an unknown network, or a card that is missing or malformed.

    >>> sorted(model_card("vgg16").weights)
    ['oxford', 'torchvision']
    """
    architecture = architecture_of(network)
    path = models_directory() / f"{network}.toml"
    try:
        with path.open("rb") as stream:
            table = tomllib.load(stream)
        weights = {
            name: _weights_card(architecture, name, entry)
            for name, entry in table["weights"].items()
        }
        return ModelCard(table["network"], table["title"], MappingProxyType(weights))
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise NetworkError(
            f"the model card {path} cannot be used ({error}); install fastsynth again"
        ) from error


def weights_card(name: str, network: str) -> WeightsCard:
    """The card of the published weights `name`. WeightsError, naming those there are, else."""
    published = model_card(network).weights
    if name not in published:
        known = ", ".join(published)
        raise WeightsError(f"no published weights {name!r} for {network}; there are {known}")
    return published[name]


def _weights_card(architecture: Architecture, name: str, entry: dict[str, Any]) -> WeightsCard:
    channels = entry["channels"]
    if sorted(channels) != ["B", "G", "R"]:
        raise ValueError(f"channels of {name} must be an order of R, G, B, not {channels!r}")
    layers = tuple(entry["layers"])
    if layers != architecture.names[: len(layers)] or not layers:
        raise ValueError(f"layers of {name} must be the first layers of {architecture.name}")
    algorithm = "sha256" if "sha256" in entry else "md5"
    return WeightsCard(
        network=architecture.name,
        name=name,
        title=entry["title"],
        url=entry["url"],
        file=entry["file"],
        size=entry["size"],
        checksum=(algorithm, entry[algorithm]),
        licence=entry["licence"],
        convention=Convention(
            name, channels, float(entry["scale"]), _three(entry["mean"]), _three(entry["std"])
        ),
        layers=layers,
    )


def _three(values: list[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
