"""The two implementations of the network interface agree."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support import random_image, relative_error

import fastsynth as fs
from fastsynth import _core
from fastsynth.network import load_weights, open_network

TAPS = ("conv1_1", "conv2_2", "conv4_1")


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
def test_native_equals_onnx(name: str, pooling: str, size: tuple[int, int]) -> None:
    """Same weights, same loss, same gradient, up to the rounding of float32."""
    pool = _core.ThreadPool(2)
    weights = load_weights("random:5", name)
    image, target = random_image(*size, seed=1), random_image(*size, seed=2)
    found = {}
    for backend in ("native", "onnx"):
        network = open_network(name, weights, pooling=pooling, backend=backend, pool=pool)
        goal = network.features(target, TAPS)
        bound = network.bind(*size, TAPS)
        objective = _core.ImageObjective([bound.core], *size, pool)
        for index, layer in enumerate(TAPS):
            gram = _core.gram(goal[layer], pool)
            objective.add_layer_term(0, index, _core.GramTerm(gram), 1.0, f"style/{layer}")
        objective.add_layer_term(0, 2, _core.ContentTerm(goal[TAPS[2]]), 1.0, "content")
        found[backend] = (goal, *objective.evaluate(image))
        bound.close()
        network.close()
    native, onnx = found["native"], found["onnx"]
    for layer in TAPS:
        assert relative_error(native[0][layer], onnx[0][layer]) < 1e-5
    assert native[1] == pytest.approx(onnx[1], rel=1e-5)
    # A unit whose input is nearly zero, or two nearly equal maxima, may fall either way: that moves
    # a gradient by more than rounding does, but only a little.
    assert relative_error(native[2], onnx[2]) < 1e-2


def test_both_backends_lower_the_same_loss() -> None:
    rng = np.random.default_rng(0)
    content, style = rng.integers(0, 255, (2, 40, 48, 3), np.uint8)
    losses = {
        backend: fs.style_transfer(
            content, style, weights="random:0", backend=backend, max_evaluations=12, scales=1
        ).loss
        for backend in ("native", "onnx")
    }
    assert losses["native"] == pytest.approx(losses["onnx"], rel=0.05)
