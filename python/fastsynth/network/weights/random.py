"""Random weights: a representation that needs no training and no download (paper ref 13).

He, Wang and Hopcroft, "A Powerful Generative Model Using Random Weights for the Deep Image
Representation", 2016, and Ustyuzhaninov et al., "What does it take to generate natural textures?",
2017, show that textures and painterly transfer do not need learnt filters.

A seed gives the same bits on every machine and with every NumPy. The numbers come straight from the
bit stream of PCG64, which NumPy keeps stable for ever (unlike the distributions of `Generator`);
they stay integers wherever they are added up, so that no order of summation shows, and what follows
is single IEEE operations, never the mathematics library.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastsynth._errors import WeightsError
from fastsynth.network.weights.cards import Convention, architecture_of
from fastsynth.network.weights.weight_set import WeightSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastsynth.network.architecture import Architecture, ConvLayer

__all__ = ["DEFAULT_RECIPE", "RECIPES", "random_weights"]

Arrays: TypeAlias = dict[str, NDArray[np.float32]]

# About the mean and spread of photographs in [0, 1]: conv1_1 sees zero mean and unit scale.
_CONVENTION = Convention("random", "RGB", 1.0, (0.45, 0.45, 0.45), (0.25, 0.25, 0.25))
SMOOTH_GAIN = 0.78
_UNIT = math.sqrt((2**32 - 1) / 3)  # standard deviation of what _bell returns
_RECTIFIED_VARIANCE = 0.5 - 0.5 / math.pi  # of max(0, n), n standard normal


def random_weights(network: str = "vgg16", seed: int = 0, recipe: str | None = None) -> WeightSet:
    """Weights of `network` drawn from `seed` by a recipe of RECIPES (default DEFAULT_RECIPE).

    Raises:
        NetworkError: an unknown network.
        WeightsError: an unknown recipe, or a seed outside 0 to 2**64 - 1.

    >>> random_weights("vgg16", seed=7).id
    'random:7'
    """
    recipe_name = DEFAULT_RECIPE if recipe is None else recipe
    if recipe_name not in RECIPES:
        raise WeightsError(f"no random recipe {recipe_name!r}; there are {', '.join(RECIPES)}")
    if not 0 <= seed < 2**64:
        raise WeightsError(f"the seed of random weights is {seed}, expected 0 to 2**64 - 1")
    architecture = architecture_of(network)
    weight, bias = _CONVENTION.normalization()
    arrays = {"normalize.weight": weight, "normalize.bias": bias}
    arrays.update(RECIPES[recipe_name](architecture, seed))
    return WeightSet.build(
        f"random:{seed}" if recipe is None else f"random-{recipe}:{seed}",
        network,
        arrays,
        licence="free of rights",
        title=f"built-in random weights, not trained (recipe {recipe_name})",
    )


# ---- recipes: an architecture and a seed -> weight and bias of every layer ----


def he(architecture: Architecture, seed: int) -> Arrays:
    """Independent weights of variance 2 / fan-in, no biases: keeps E[x²] (He et al. 2015)."""
    arrays: Arrays = {}
    for layer in architecture.layers:
        draws = _bell(layer, seed, layer.out_channels)
        _store(arrays, layer, draws.astype(np.float32), _he_scale(layer))
    return arrays


def he_pairs(architecture: Architecture, seed: int) -> Arrays:
    """Like `he`, but filters come in pairs w, -w: together their ReLUs lose nothing of w * x."""
    arrays: Arrays = {}
    for layer in architecture.layers:
        draws = _bell(layer, seed, layer.out_channels // 2)
        _store(arrays, layer, _antipodal(draws).astype(np.float32), _he_scale(layer))
    return arrays


def he_center(architecture: Architecture, seed: int) -> Arrays:
    """Filters that sum to zero: what all inputs have in common is not passed on and on.

    After a ReLU everything is positive, and the mean of it dominates deep layers of `he`. Filters
    without a sum do not see it; what they see is the variance of a rectified normal, ½ - 1/(2π) of
    E[n²], which sets their scale. In the first layer a quarter of the filters are blurs of a random
    colour instead, so that colour is not lost, and the others are amplified, since within 3×3
    pixels a photograph varies about a quarter as much as in all.
    """
    arrays: Arrays = {}
    for layer in architecture.layers:
        fan_in = 9 * layer.in_channels
        draws = _bell(layer, seed, layer.out_channels)
        mean = draws.sum(axis=(1, 2, 3), dtype=np.int64, keepdims=True) / fan_in
        weight = draws.astype(np.float32)
        weight -= mean.astype(np.float32)
        scale = math.sqrt(1 / _RECTIFIED_VARIANCE / fan_in) / _UNIT
        if layer is architecture.layers[0]:
            scale = 4 * math.sqrt(1 / fan_in) / _UNIT
            binomial = np.array([1, 2, 1], np.int64)
            blur = binomial[:, None] * binomial  # sums to 16
            quarter = layer.out_channels // 4
            colors = draws[:quarter, :, :1, :1] * blur
            gain = np.float32(math.sqrt(1 / layer.in_channels) / _UNIT / scale / 16)
            weight[:quarter] = colors.astype(np.float32) * gain
        _store(arrays, layer, weight, scale)
    return arrays


def orthogonal(architecture: Architecture, seed: int) -> Arrays:
    """Pairs w, -w of mutually orthogonal filters, so that no two pairs see the same.

    At each of the nine places the channel weights of the filters are different rows of one Hadamard
    matrix, with signs, order and size drawn at random; the first layer, whose three channels have
    no such matrix, is that of `he_pairs`.
    """
    first, *others = architecture.layers
    arrays: Arrays = {}
    draws = _bell(first, seed, first.out_channels // 2)
    _store(arrays, first, _antipodal(draws).astype(np.float32), _he_scale(first))
    for layer in others:
        inputs, filters = layer.in_channels, layer.out_channels // 2
        hadamard = _hadamard(inputs)
        bits = _bits(layer, seed)
        weight = np.empty((filters, inputs, 9), np.int64)
        for place in range(9):
            rows = np.argsort(bits.random_raw(inputs), kind="stable")[:filters]
            signs = 1 - 2 * (np.asarray(bits.random_raw(inputs)) >> np.uint64(63)).astype(np.int64)
            sizes = _sum_of_quarters(np.asarray(bits.random_raw(filters)))
            weight[:, :, place] = hadamard[rows] * signs * sizes[:, None]
        shaped = weight.reshape(filters, inputs, 3, 3)
        _store(arrays, layer, _antipodal(shaped).astype(np.float32), _he_scale(layer))
    return arrays


def smooth(architecture: Architecture, seed: int) -> Arrays:
    """Pairs w, -w of filters that are smooth in space and only half see what all inputs share.

    White-noise filters paint grain. Here a filter is drawn in the cosine basis of its 3×3 places,
    finer cosines by ¾ weaker for each step of frequency, so that gradients are strokes rather than
    grain. Half of the mean over the inputs is taken from the flat cosine: after a ReLU everything
    is positive, and that mean would otherwise dominate deep layers. The first layer sees all
    frequencies alike. Chosen by eye on two pairs of pictures, among this module's recipes and
    mixtures of them.
    """
    cosines = (np.array([1.0, 1, 1]), np.array([1.0, 0, -1]), np.array([1.0, -2, 1]))
    arrays: Arrays = {}
    for layer in architecture.layers:
        first = layer is architecture.layers[0]
        draws = _bell(layer, seed, layer.out_channels // 2)
        coefficients = draws.reshape(*draws.shape[:2], 9)
        weight = np.zeros((*draws.shape[:2], 3, 3), np.float64)
        energy = 0.0
        for place in range(9):
            down, across = cosines[place // 3], cosines[place % 3]
            wave = down[:, None] * across
            fade = (1.0 if first else 0.75) ** (place // 3 + place % 3)
            energy += fade * fade / 9
            values = coefficients[:, :, place].astype(np.float64)
            if place == 0 and not first:
                mean = coefficients[:, :, 0].sum(axis=1, dtype=np.int64, keepdims=True)
                values -= 0.5 * (mean / layer.in_channels)
            weight += values[:, :, None, None] * (fade / math.sqrt((wave * wave).sum()) * wave)
        # Smooth filters answer a picture, which is smooth, more than noise of the same energy:
        # hence the smaller gain, which keeps the scale of activations level through the layers.
        gain = 1.0 if first else SMOOTH_GAIN
        scale = gain * _he_scale(layer) / math.sqrt(energy)
        _store(arrays, layer, _antipodal(weight.astype(np.float32)), scale)
    return arrays


RECIPES: Mapping[str, Callable[[Architecture, int], Arrays]] = {
    "smooth": smooth,
    "he": he,
    "he-pairs": he_pairs,
    "he-center": he_center,
    "orthogonal": orthogonal,
}
DEFAULT_RECIPE = "smooth"


# ---- what recipes are made of ----


def _bits(layer: ConvLayer, seed: int) -> np.random.PCG64:
    """The bit stream of a layer: a layer has the same weights in every network."""
    return np.random.PCG64(np.random.SeedSequence(seed, spawn_key=tuple(layer.name.encode())))


def _bell(layer: ConvLayer, seed: int, filters: int) -> NDArray[np.int32]:
    """Bell-shaped integers (filters, in, 3, 3): mean 0, standard deviation _UNIT, below 2^17.

    A convolution adds at least 27 of them, after which nothing tells them from normal ones.
    """
    bits = _bits(layer, seed)
    count = filters * layer.in_channels * 9
    out = np.empty(count, np.int32)
    for start in range(0, count, 1 << 16):  # blocks that stay in the cache
        raw = np.asarray(bits.random_raw(min(1 << 16, count - start)))
        out[start : start + raw.size] = _sum_of_quarters(raw)
    return out.reshape(filters, layer.in_channels, 3, 3)


def _sum_of_quarters(raw: NDArray[np.uint64]) -> NDArray[np.int32]:
    """The 16-bit quarters of each number added up, minus the mean (Irwin-Hall of order four)."""
    pairs = np.uint64(0x0000FFFF0000FFFF)
    halves = (raw & pairs) + ((raw >> np.uint64(16)) & pairs)
    total: NDArray[np.uint64] = (halves + (halves >> np.uint64(32))) & np.uint64(0x3FFFF)
    centered: NDArray[np.int32] = total.astype(np.int32) - np.int32(2 * 0xFFFF)
    return centered


def _he_scale(layer: ConvLayer) -> float:
    return math.sqrt(2 / (9 * layer.in_channels)) / _UNIT


def _store(arrays: Arrays, layer: ConvLayer, weight: NDArray[np.float32], scale: float) -> None:
    arrays[f"{layer.name}.weight"] = weight * np.float32(scale)
    arrays[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)


def _antipodal(filters: NDArray[Any]) -> NDArray[Any]:
    """Each filter followed by its negative."""
    pairs = np.stack([filters, -filters], axis=1)
    return pairs.reshape(-1, *filters.shape[1:])


def _hadamard(size: int) -> NDArray[np.int64]:
    """Sylvester's matrix of ±1 with orthogonal rows; `size` is a power of two."""
    matrix = np.ones((1, 1), np.int64)
    while matrix.shape[0] < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix
