"""What lies between the pieces of the ONNX network, and the two ways through it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

from tests.network.onnx_reference import cotangents_of, he_normal, picture
from tests.support import relative_error

from fastsynth import _core
from fastsynth.network.onnx_network import OnnxNetwork
from fastsynth.network.passes import HostPasses, WholePasses
from fastsynth.network.winograd import suits, transform_weights

FloatArray = NDArray[np.float32]
POOL = _core.ThreadPool(2)
SHAPES = [(1, 1, 1), (2, 1, 7), (3, 2, 2), (2, 5, 3), (5, 33, 70), (1, 64, 131)]


def windows(x: FloatArray) -> FloatArray:
    """The 2 × 2 windows, (C, H/2, W/2, 4), pixels row by row."""
    c, h, w = x.shape
    cut = x[:, : h // 2 * 2, : w // 2 * 2].reshape(c, h // 2, 2, w // 2, 2)
    return cut.transpose(0, 1, 3, 2, 4).reshape(c, h // 2, w // 2, 4)


def pooled(x: FloatArray, average: bool) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Pooled map and routes, by the definition."""
    four = windows(x)
    if average:
        return four.mean(-1), ((four > 0) @ np.array([1, 2, 4, 8])).astype(np.uint8)
    best = four.argmax(-1)  # the first of equal ones
    return four.max(-1), np.where(four.max(-1) > 0, 1 << best, 0).astype(np.uint8)


def activations(shape: tuple[int, int, int], seed: int = 0) -> FloatArray:
    """Values after a ReLU, many of them equal."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.integers(-2, 3, shape), 0).astype(np.float32)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_pooling_and_its_way_back(shape: tuple[int, int, int], average: bool) -> None:
    x = activations(shape)
    half = (shape[0], shape[1] // 2, shape[2] // 2)
    found, routes = np.full(half, np.nan, np.float32), np.full(half, 99, np.uint8)
    _core.pool_planar(x, found, routes, average, POOL)
    values, ways = pooled(x, average)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(routes, ways)

    slope = np.random.default_rng(1).standard_normal(half, np.float32)
    bits = ways[..., None] >> np.arange(4) & 1
    four = bits * slope[..., None] * (0.25 if average else 1.0)
    expected = np.zeros(shape, np.float32)
    spread = four.reshape(*half, 2, 2).transpose(0, 1, 3, 2, 4)
    expected[:, : half[1] * 2, : half[2] * 2] = spread.reshape(half[0], half[1] * 2, half[2] * 2)
    gradient = np.full(shape, np.nan, np.float32)
    _core.unpool_planar(slope, routes, gradient, average, False, POOL)
    np.testing.assert_array_equal(gradient, expected)
    _core.unpool_planar(slope, routes, gradient, average, True, POOL)
    np.testing.assert_array_equal(gradient, 2 * expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_mask(shape: tuple[int, int, int]) -> None:
    x, slope = activations(shape), np.random.default_rng(1).standard_normal(shape, np.float32)
    found = slope.copy()
    _core.mask_planar(x, found, POOL)
    np.testing.assert_array_equal(found, np.where(x > 0, slope, 0))


def test_not_a_number_survives_pooling() -> None:
    for place in range(4):
        x = np.arange(4, dtype=np.float32)
        x[place] = np.nan
        wide = np.tile(x.reshape(1, 2, 2), (1, 1, 40))
        found, routes = np.zeros((1, 1, 40), np.float32), np.ones((1, 1, 40), np.uint8)
        _core.pool_planar(wide, found, routes, False, POOL)
        assert np.isnan(found).all()
        assert not routes.any()


def test_all_kernel_sets_pool_alike() -> None:
    program = """
import sys, numpy as np
from fastsynth import _core
x = np.maximum(np.random.default_rng(0).integers(-3, 4, (3, 37, 83)), 0).astype(np.float32)
pool, total = _core.ThreadPool(1), []
for average in (False, True):
    half = np.zeros((3, 18, 41), np.float32)
    routes, back = np.zeros((3, 18, 41), np.uint8), np.zeros_like(x)
    _core.pool_planar(x, half, routes, average, pool)
    _core.unpool_planar(half, routes, back, average, False, pool)
    _core.mask_planar(x, back, pool)
    total += [half, routes, back]
sys.stdout.buffer.write(b"".join(a.tobytes() for a in total))
"""
    sets = ["portable", *(["avx2"] if _core.kernel_set() != "portable" else [])]
    found = {
        name: subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "FASTSYNTH_KERNELS": name},
            capture_output=True,
            check=True,
        ).stdout
        for name in [*sets, _core.kernel_set()]
    }
    assert len(set(found.values())) == 1


def test_wrong_shapes_are_refused() -> None:
    x, half = np.ones((1, 4, 4), np.float32), np.ones((1, 2, 2), np.float32)
    with pytest.raises(ValueError, match="4 pooling windows; pooled holds 2"):
        _core.pool_planar(x, half[:, :1], np.zeros((1, 2, 2), np.uint8), False, POOL)
    with pytest.raises(ValueError, match="differ in shape"):
        _core.mask_planar(x, half, POOL)


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize(
    ("size", "taps"),
    [
        ((32, 48), ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2")),
        ((37, 51), ("conv1_2", "conv3_2", "conv3_3", "conv4_2")),
        ((21, 18), ("conv1_1",)),
        ((19, 40), ("conv2_2",)),
    ],
)
def test_both_ways_through_a_network_agree(
    size: tuple[int, int], taps: tuple[str, ...], pooling: str
) -> None:
    """In pieces with the engine between them, or the whole graphs: the same numbers."""
    image, cotangents = picture(*size), cotangents_of("vgg16", taps, *size)
    given = dict(enumerate(cotangents.values()))
    absent = len(taps) - 1  # of the deepest tap there is none
    results = []
    with OnnxNetwork("vgg16", he_normal("vgg16", taps[-1]), pooling=pooling) as net:
        for kind in (HostPasses, WholePasses):
            for without in ({}, {absent}, set(given)):
                passes = kind(net, size, taps, gradient=True)
                passes.buffer("image")[...] = image
                asked = []

                def pull(tap: int, map_: FloatArray, add: bool) -> bool:
                    asked.append(tap)  # noqa: B023
                    if tap in without:  # noqa: B023
                        return False
                    map_[...] = map_ + given[tap] if add else given[tap]
                    return True

                passes.run_forward()
                passes.run_backward(pull)
                passes.run_backward(pull)  # the same again after one forward
                assert asked == 2 * list(reversed(range(len(taps))))
                features = [passes.buffer(tap).copy() for tap in taps]
                results.append((features, passes.buffer("d_image").copy()))
                passes.close()
    for (a, gradient), (b, expected) in zip(results[:3], results[3:], strict=True):
        assert max(relative_error(x, y) for x, y in zip(a, b, strict=True)) < 3e-6
        assert relative_error(gradient, expected) < 1e-5
    assert not results[2][1].any()


def test_winograd_matrices_are_those_of_the_definition() -> None:
    """(G g Gᵀ) in float64; turned by 180° it reads the same matrices in another order."""
    weight = np.random.default_rng(0).standard_normal((6, 5, 3, 3)).astype(np.float32)
    g = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    expected = np.einsum("ai,koij,bj->abko", g, weight.astype(np.float64), g)
    found = transform_weights("x", weight)
    turned = np.einsum("ai,koij,bj->abko", g, weight[:, :, ::-1, ::-1].astype(np.float64), g)
    for a in range(4):
        for b in range(4):
            assert relative_error(found[f"x.winograd{a}{b}"], expected[a, b]) < 1e-6
            there = (3, 1, 2, 0)[a], (3, 1, 2, 0)[b]
            np.testing.assert_allclose(expected[there], turned[a, b], atol=1e-12)


def test_winograd_is_used_where_channels_are_many() -> None:
    assert suits(512, 512)
    assert suits(128, 256)
    assert suits(256, 128)
    assert not suits(128, 128)
    assert not suits(64, 64)
