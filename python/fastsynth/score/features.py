"""S7: Gram matrices of a network's layers that the synthesis did not see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastsynth.network import load_weights, open_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.score.pixels import Planes

__all__ = ["HELD_OUT_LAYERS", "Grams", "gram_distance", "held_out_grams"]

Grams: TypeAlias = "dict[str, NDArray[np.float64]]"

# The default style layers are conv1_1 … conv5_1; these lie between them.
HELD_OUT_LAYERS = ("conv1_2", "conv2_2", "conv3_2", "conv4_2")


def held_out_grams(
    pictures: Sequence[Planes],
    weights: str | os.PathLike[str],
    network: str,
    layers: Sequence[str] = HELD_OUT_LAYERS,
) -> list[Grams]:
    """Gram matrices F Fᵀ / M of each picture, by layer.

    Raises WeightsError and NetworkError.
    """
    from fastsynth import _core

    pool = _core.ThreadPool()
    opened = open_network(
        network, load_weights(weights, network, needed=layers), pooling="avg", pool=pool
    )
    try:
        found = []
        for pixels in pictures:
            features = opened.features(np.ascontiguousarray(pixels), layers)
            found.append({n: _core.gram(f, pool).astype(np.float64) for n, f in features.items()})
        return found
    finally:
        opened.close()


def gram_distance(image: Grams, reference: Grams) -> float:
    """S7: mean over layers of ‖G - A‖ / ‖A‖."""
    return float(
        np.mean(
            [
                np.linalg.norm(image[layer] - gram) / max(float(np.linalg.norm(gram)), 1e-12)
                for layer, gram in reference.items()
            ]
        )
    )
