"""Random weights repeat exactly and keep activations alive through the whole network."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.weights import DEFAULT_RECIPE, RECIPES, WeightSet, load_weights
from fastsynth.network.weights.weight_set import expected_shapes

# Recorded once. A recipe that changes them changes every picture made with random weights.
RECORDED = {
    "random-he:0": "96f66d3d79384c55ffcbce879d624d98469b45b9d69f16bdaa059c49a553c540",
    "random-he:1": "97c82eb4c5ed8897261f2bb29406b1a15a51754a2eaccb682fb394e368f6ad9d",
    "random-he-pairs:0": "cdb0e8d56f07ad42b2149fd20f0702d02b192766285b80ae1e46533ddf1bd839",
    "random-he-center:0": "27104809c07559eec95416b9e9436a3a7c665820d8f023869a75ab01143a230b",
    "random-orthogonal:0": "02c139d2be9b5d38e06265e924da4ae5e6c0073671d7d5c4c6f0da8175004f45",
}


@pytest.mark.parametrize("spec", RECORDED)
def test_repeats_to_the_bit(spec: str) -> None:
    weights = load_weights(spec, "vgg16")
    assert weights.sha256 == RECORDED[spec]
    assert weights.id == spec


def test_default_recipe_and_seed() -> None:
    short, full = load_weights("random"), load_weights(f"random-{DEFAULT_RECIPE}:0")
    assert short.id == "random:0"
    assert short.sha256 == full.sha256 == load_weights("random:0").sha256
    assert short.sha256 != load_weights("random:1").sha256


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("network", ARCHITECTURES)
def test_shapes_and_kind(recipe: str, network: str) -> None:
    weights = load_weights(f"random-{recipe}:5", network)
    assert {name: array.shape for name, array in weights.arrays.items()} == expected_shapes(network)
    for array in weights.arrays.values():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        assert not array.flags.writeable
    assert weights.layers == ARCHITECTURES[network].names


def test_a_layer_is_the_same_in_both_networks() -> None:
    small, large = load_weights("random:4", "vgg16"), load_weights("random:4", "vgg19")
    for name in ("conv1_1.weight", "conv3_2.weight", "conv5_3.weight"):
        np.testing.assert_array_equal(small.arrays[name], large.arrays[name])


def test_he_moments() -> None:
    """Mean 0, variance 2 / fan-in, and the kurtosis of a sum of four uniforms, 3 - 1.2 / 4."""
    weight = load_weights("random-he:0").arrays["conv4_2.weight"].astype(np.float64)
    variance = (weight**2).mean()
    assert abs(weight.mean()) < 4 * math.sqrt(variance / weight.size)
    assert variance == pytest.approx(2 / (9 * 512), rel=0.005)
    assert (weight**4).mean() / variance**2 == pytest.approx(2.7, abs=0.02)
    assert np.corrcoef(weight.reshape(512, -1)[:8])[np.triu_indices(8, 1)] == pytest.approx(
        0, abs=0.08
    )


def test_pairs_are_antipodal() -> None:
    for recipe in ("he-pairs", "orthogonal"):
        weight = load_weights(f"random-{recipe}:0").arrays["conv3_1.weight"]
        np.testing.assert_array_equal(weight[::2], -weight[1::2])


def test_center_filters_sum_to_zero() -> None:
    weights = load_weights("random-he-center:0")
    deep = weights.arrays["conv3_1.weight"].astype(np.float64)
    size = np.abs(deep).sum(axis=(1, 2, 3))
    assert np.abs(deep.sum(axis=(1, 2, 3))).max() < 1e-6 * size.max()
    first = weights.arrays["conv1_1.weight"].astype(np.float64)
    assert np.abs(first[16:].sum(axis=(1, 2, 3))).max() < 1e-5
    # A blur of one colour: the 27 numbers are an outer product of colour and binomial.
    blur = np.outer([1, 2, 1], [1, 2, 1]) / 4  # 1 at the centre
    np.testing.assert_allclose(first[:16], first[:16, :, 1:2, 1:2] * blur, rtol=1e-5)


def test_orthogonal_filters() -> None:
    weight = load_weights("random-orthogonal:0").arrays["conv2_2.weight"].astype(np.float64)
    rows = weight[::2].reshape(64, -1)
    gram = rows @ rows.T
    scale = np.diag(gram).mean()
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-6 * scale
    assert scale == pytest.approx(2, rel=0.2)  # fan-in times the He variance


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_activations_keep_their_scale(recipe: str, pool: str) -> None:
    """Through all sixteen layers of VGG19, for an image of smooth patches and edges."""
    weights = load_weights(f"random-{recipe}:0", "vgg19")
    rms = _activation_scales(weights, _test_image(), pool)
    assert len(rms) == 16
    assert min(rms) > 0.1
    assert max(rms) < 10


def _test_image() -> NDArray[np.float64]:
    """(3, 48, 48) in [0, 1]: rectangles of random colours over a gradient."""
    generator = np.random.default_rng(3)
    image = np.tile(np.linspace(0, 1, 48), (3, 48, 1))
    for _ in range(40):
        row, column, height, width = generator.integers(2, 40, 4)
        image[:, row : row + height // 2, column : column + width // 2] = generator.random(
            (3, 1, 1)
        )
    return image


def _activation_scales(weights: WeightSet, image: NDArray[np.float64], pool: str) -> list[float]:
    """Root mean square of every layer's activations, by a plain forward pass."""
    weight, bias = weights.arrays["normalize.weight"], weights.arrays["normalize.bias"]
    x = np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], image) + bias[:, None, None]
    x = x.astype(np.float32)
    architecture = ARCHITECTURES[weights.network]
    scales = []
    for layer in architecture.names:
        kernel = weights.arrays[f"{layer}.weight"]
        height, width = x.shape[1:]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        total = np.zeros((kernel.shape[0], height * width), np.float32)
        for row in range(3):
            for column in range(3):
                shifted = padded[:, row : row + height, column : column + width]
                total += kernel[:, :, row, column] @ shifted.reshape(x.shape[0], -1)
        x = np.maximum(total.reshape(-1, height, width), 0)
        scales.append(float(np.sqrt((x**2).mean())))
        if layer in architecture.pool_after:
            quads = x.reshape(x.shape[0], height // 2, 2, width // 2, 2)
            x = quads.max(axis=(2, 4)) if pool == "max" else quads.mean(axis=(2, 4))
    return scales


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random:-1", "seed of random weights is '-1'"),
        ("random:x", "seed of random weights is 'x'"),
        ("random:", "seed of random weights is ''"),
        ("random:99999999999999999999", "0 to 2"),
        ("random-magic:0", "no random recipe 'magic'; there are smooth, he"),
    ],
)
def test_wrong_specs(spec: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_weights(spec)


def test_unknown_network() -> None:
    with pytest.raises(NetworkError, match="unknown network 'vgg17'; known are vgg16, vgg19"):
        load_weights("random", "vgg17")
