"""Tiling: the same loss and gradient as of the whole picture, in the memory of a tile."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from fastsynth import (
    MMD,
    Activation,
    Autocorrelation,
    BNStatistics,
    Content,
    GuidedStyle,
    Histogram,
    MeanCovariance,
    MemoryLimitError,
    Style,
    TotalVariation,
    _core,
)
from fastsynth.network import ARCHITECTURES
from fastsynth.network.native import NativeNetwork
from fastsynth.network.onnx_network import OnnxNetwork
from fastsynth.objective import Canvas, plan
from fastsynth.objective.tiles import Tiling, grid_of, halo_of, tile_statistics

LAYERS = ("conv1_1", "conv2_1", "conv3_1")
POOL = _core.ThreadPool(2)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes and noise, float32 (H, W, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / 9 + seed) * np.cos(y / (5 + c) + c) for c in range(3)]
    found = 0.5 + 0.3 * np.stack(waves, -1) + 0.08 * rng.standard_normal((height, width, 3))
    return found.clip(0, 1).astype(np.float32)


@functools.cache
def weights_of(network: str) -> dict[str, np.ndarray]:
    """Weights to conv5_1 under which no sum is negative.

    A ReLU or maximum that rounding turns over moves a gradient by far more than rounding does: that
    happens once in a million values, and says nothing about tiles. Here it does not happen.
    """
    rng = np.random.default_rng(7)
    found = {
        "normalize.weight": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
        "normalize.bias": np.zeros(3, np.float32),
    }
    for layer in ARCHITECTURES[network].layers:
        shape = (layer.out_channels, layer.in_channels, 3, 3)
        # Few large values, so that channels differ.
        weight = rng.random(shape, np.float32) ** 16
        found[f"{layer.name}.weight"] = weight / weight.sum((1, 2, 3), keepdims=True)
        found[f"{layer.name}.bias"] = np.zeros(shape[0], np.float32)
        if layer.name == "conv5_1":
            return found
    raise AssertionError(network)


@functools.cache
def opened(network: str, backend: str, pooling: str, pool: _core.ThreadPool):
    """The network, once for all tests."""
    kind = NativeNetwork if backend == "native" else OnnxNetwork
    return kind(network, weights_of(network), pooling=pooling, pool=pool)


@dataclass
class Opened:
    """Networks by name."""

    backend: str = "native"
    pooling: str = "avg"
    network: str = "vgg16"
    pool: _core.ThreadPool = POOL

    def __call__(self, name: str | None):
        return opened(name or self.network, self.backend, self.pooling, self.pool)


def evaluated(objective, canvas, networks, x, tiling=None):
    """Value, gradient and values by name."""
    with plan(objective, canvas, networks, networks.pool, tiling) as bound:
        value, gradient = bound.objective.evaluate(x)
        values = dict(zip(bound.objective.names, bound.objective.values, strict=True))
        return value, gradient, values


def compare(objective, size, inner, networks=None, *, margin=0, wrap=False, keep=True, limit=1e-5):
    """Evaluates at once and in tiles; both must agree."""
    networks = networks or Opened()
    canvas = Canvas(size[0] + 2 * margin, size[1] + 2 * margin, 1.0, margin, wrap)
    shape = (3, *size) if wrap else (3, canvas.height, canvas.width)
    x = np.ascontiguousarray(picture(*shape[1:], seed=5).transpose(2, 0, 1))
    whole, expected, parts = evaluated(objective, canvas, networks, x)
    tiled, found, tiled_parts = evaluated(
        objective, canvas, networks, x, Tiling(inner, keep_targets=keep)
    )
    assert tiled == pytest.approx(whole, rel=1e-5)
    assert tiled_parts == pytest.approx(parts, rel=2e-5, abs=1e-9)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert np.linalg.norm(expected) > 0
    assert error < limit


STYLE = picture(90, 120, seed=2)
CONTENT = picture(150, 170, seed=3)


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_gram_and_content_equal_the_whole_picture(network, pooling):
    objective = Content(CONTENT, "conv4_2") + 10 * Style(STYLE) + 0.1 * TotalVariation()
    networks = Opened(pooling=pooling, network=network)
    # A maximum that rounding moves to its neighbour (see weights_of) is one of some millions.
    compare(objective, (230, 215), 48, networks, limit=1e-5 if pooling == "avg" else 1e-3)


@pytest.mark.parametrize(("size", "inner"), [((96, 96), 16), ((71, 157), 48), ((57, 200), 112)])
def test_any_size_and_tile(size, inner):
    objective = Content(CONTENT, "conv2_2") + 10 * Style(STYLE, LAYERS[:3])
    compare(objective, size, inner)


def test_onnx_network():
    objective = Content(CONTENT, "conv3_1") + 10 * Style(STYLE, LAYERS[:3])
    compare(objective, (91, 79), 32, Opened(backend="onnx"))


@pytest.mark.parametrize(
    "term",
    [
        MeanCovariance(STYLE, LAYERS),
        BNStatistics(STYLE, LAYERS),
        MMD(STYLE, LAYERS, kernel="linear"),
        MMD(STYLE, LAYERS, kernel="polynomial", offset=0.5),
        Style(STYLE, LAYERS, normalization="paper"),
        Content(CONTENT, LAYERS, normalization="paper"),
        Content([(CONTENT, 0.7), (STYLE, 0.3)], "conv3_2"),
        Content(CONTENT, "conv3_2", normalization="normalized"),
    ],
    ids=lambda term: type(term).__name__,
)
def test_each_additive_term(term):
    compare(term, (123, 109), 48, margin=16)


def test_guided_regions():
    mask = np.zeros((64, 64, 3), np.float32)
    mask[:, 20:50] = 1
    objective = GuidedStyle(STYLE, LAYERS, content_mask=mask) + GuidedStyle(
        STYLE, LAYERS, content_mask=1 - mask, style_mask=np.ones((8, 8, 3), np.float32)
    )
    compare(objective, (130, 120), 48, margin=16)


def test_seamless_pictures():
    compare(MeanCovariance(STYLE, LAYERS, sizing="native"), (110, 91), 48, margin=32, wrap=True)


def test_content_that_is_computed_anew():
    objective = Content([(CONTENT, 0.6), (STYLE, 0.4)], "conv3_1") + 5 * Style(STYLE, LAYERS)
    compare(objective, (123, 109), 48, margin=16, keep=False)


def test_two_networks():
    objective = Content(CONTENT, "conv2_2", network="vgg19") + Style(STYLE, LAYERS)
    compare(objective, (123, 109), 48)


def test_large_targets_are_gathered_over_tiles():
    # Canvas and targets are larger than a tile: statistics of both come from tiles.
    large = picture(200, 180, seed=4)
    mask = np.zeros((64, 64, 3), np.float32)
    mask[20:, 10:50] = 1
    objective = (
        Style(large, LAYERS)
        + MeanCovariance(large, LAYERS)
        + BNStatistics(large, LAYERS)
        + GuidedStyle(large, LAYERS, style_mask=mask)
    )
    compare(objective, (130, 140), 48, margin=16)


def test_statistics_are_those_of_the_whole_picture():
    network = Opened()(None)
    image = np.ascontiguousarray(picture(203, 177).transpose(2, 0, 1))
    layers = ["conv1_2", "conv3_1", "conv5_1"]
    found = tile_statistics(network, image, layers, 32, 48, POOL)
    for layer, features in network.features(image, layers).items():
        edge = 32 // network.architecture.scale(layer)
        inner = features[:, edge:-edge, edge:-edge].astype(np.float64)
        flat = inner.reshape(len(inner), -1)
        mean, gram = found[layer]
        np.testing.assert_allclose(mean, flat.mean(1), rtol=1e-5, atol=1e-6)
        expected = flat @ flat.T / flat.shape[1]
        np.testing.assert_allclose(gram, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_results_do_not_depend_on_the_threads():
    objective = Content(CONTENT, "conv3_1") + 10 * MeanCovariance(STYLE, LAYERS)
    canvas = Canvas(120, 130)
    x = np.ascontiguousarray(picture(120, 130).transpose(2, 0, 1))
    runs = [
        evaluated(objective, canvas, Opened(pool=_core.ThreadPool(n)), x, Tiling(48))
        for n in (1, 2, 3)
    ]
    for value, gradient, _ in runs[1:]:
        assert value == runs[0][0]
        np.testing.assert_array_equal(gradient, runs[0][1])


def test_balanced_layers_get_the_same_weights():
    objective = Style(STYLE, LAYERS, balance=True)
    canvas = Canvas(120, 130)
    x = np.ascontiguousarray(picture(120, 130).transpose(2, 0, 1))
    weights = []
    for tiling in (None, Tiling(48)):
        with plan(objective, canvas, Opened(), POOL, tiling) as bound:
            bound.balance(x)
            weights.append(bound.objective.weights)
    assert weights[1] == pytest.approx(weights[0], rel=1e-4)
    assert len(set(weights[0])) > 1


def test_repeated_evaluations_and_weights_of_zero():
    objective = Content(CONTENT, "conv3_1") + Style(STYLE, LAYERS)
    canvas = Canvas(120, 130)
    x = np.ascontiguousarray(picture(120, 130).transpose(2, 0, 1))
    with plan(objective, canvas, Opened(), POOL, Tiling(48)) as bound:
        engine = bound.objective
        first = engine.evaluate(x)
        again = engine.evaluate(x)
        np.testing.assert_array_equal(first[1], again[1])
        engine.set_weight("content/conv3_1", 0.0)
        value, _ = engine.evaluate(x)
        content = first[0] - value
        assert content > 0
        for layer in LAYERS:
            engine.set_weight(f"style/{layer}", 0.0)
        value, gradient = engine.evaluate(x)
        assert value == 0
        assert not gradient.any()


SMALL = picture(20, 24)


@pytest.mark.parametrize(
    "term",
    [
        Histogram(SMALL, ["conv1_1"], sizing="native"),
        MMD(SMALL, ["conv1_1"], kernel="gaussian", sizing="native"),
        Autocorrelation(SMALL, ["conv1_1"], sizing="native"),
        Activation("conv1_1"),
    ],
    ids=lambda term: type(term).__name__,
)
def test_terms_that_need_the_whole_layer_say_so(term):
    assert not term.is_tileable
    with pytest.raises(MemoryLimitError, match="conv1_1 needs the whole picture"):
        plan(term, Canvas(400, 410), Opened(), POOL, Tiling(112))


def test_large_targets_of_such_terms_are_refused():
    term = Histogram(CONTENT, ["conv1_1"])
    with pytest.raises(MemoryLimitError, match="histogram needs all features"):
        plan(term, Canvas(120, 130), Opened(), POOL, Tiling(16))


def test_targets_beside_a_canvas_that_is_seen_at_once():
    """Styles are gathered over tiles there; Content and terms that cannot be are as without."""
    terms = Content(CONTENT, "conv2_1") + Style(STYLE, ["conv1_1"]) + Histogram(STYLE, ["conv1_1"])
    x = picture(150, 170)
    found = []
    for tiling in (None, Tiling(16, canvas=False)):
        with plan(terms, Canvas(150, 170), Opened(), POOL, tiling) as bound:
            found.append(bound.objective.evaluate(x))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-4 * np.abs(found[0][1]).max())


@pytest.mark.parametrize("length", [16, 17, 63, 64, 100, 257, 1000, 4111])
@pytest.mark.parametrize(("stride", "halo", "inner"), [(16, 64, 48), (4, 12, 64), (1, 2, 5)])
def test_grids_cover_every_position_once(length, stride, halo, inner):
    grid = _core.TileGrid(length, 40 * stride, stride, halo, inner)
    assert grid.tile_height <= length
    assert grid.tile_height < inner + 2 * halo + 2 * stride
    for step in [s for s in (1, 2, 4, 8, 16) if s <= stride]:
        seen = np.zeros((length // step, 40 * stride // step), int)
        for index in range(grid.count):
            top, left, height, width = grid.owned(index, step)
            seen[top : top + height, left : left + width] += 1
            t, _, h, _ = grid.tile(index)
            assert t % stride == 0
            assert t + h <= length
            # Owned positions are `halo` from the tile's edge, or the image ends there.
            assert t == 0 or top * step - t >= halo
            assert t + h == length or t + h - (top + height) * step >= halo
        assert (seen == 1).all()


def test_halo_covers_what_the_deepest_layer_sees():
    for name, expected in (("vgg16", 64), ("vgg19", 80)):
        assert halo_of(ARCHITECTURES[name], ["conv1_1", "conv5_1"]) == (16, expected)
    grid = grid_of(ARCHITECTURES["vgg16"], ["conv3_1"], 400, 400, 100)
    assert grid.tile(1)[1] % 4 == 0
