"""Weights of the networks: published, random or from a file; checked, with their origin noted."""

from __future__ import annotations

from fastsynth.network.weights.cards import Convention, ModelCard, WeightsCard, model_card
from fastsynth.network.weights.load import load_weights
from fastsynth.network.weights.random import DEFAULT_RECIPE, RECIPES, random_weights
from fastsynth.network.weights.store import WeightsEntry, get_weights, list_weights, weights_path
from fastsynth.network.weights.weight_set import WeightSet

__all__ = [
    "DEFAULT_RECIPE",
    "RECIPES",
    "Convention",
    "ModelCard",
    "WeightSet",
    "WeightsCard",
    "WeightsEntry",
    "get_weights",
    "list_weights",
    "load_weights",
    "model_card",
    "random_weights",
    "weights_path",
]
