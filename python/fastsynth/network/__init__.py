"""Networks: their architecture, weights, and the implementations of forward and gradient."""

from __future__ import annotations

from fastsynth.network.architecture import ARCHITECTURES, Architecture, ConvLayer
from fastsynth.network.interface import BoundNetwork, Network, open_network, rough_network
from fastsynth.network.weights import WeightSet, load_weights

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "BoundNetwork",
    "ConvLayer",
    "Network",
    "WeightSet",
    "load_weights",
    "open_network",
    "rough_network",
]
