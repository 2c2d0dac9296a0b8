"""Activation terms: against float64 formulas and torch's autograd, in every layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.objective import reference
from tests.objective.reference import to_blocked, to_planar
from tests.support import TinyNetwork, random_image, relative_error

import fastsynth as fs
from fastsynth import _core
from fastsynth.objective import Activation, Canvas

Array = NDArray[np.float64]
LIMIT = 1e-6
ROOT = Path(__file__).parents[2]
SHAPES = [(1, 1, 1), (3, 5, 7), (16, 8, 8), (17, 9, 11), (32, 33, 17), (64, 40, 33), (48, 1, 9)]
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)


@pytest.fixture(scope="module")
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


def activation(
    a: Array,
    measure: str,
    channels: list[tuple[int, float]],
    neuron: tuple[float, float] | None,
) -> tuple[float, Array]:
    """Minus the activation, and its gradient, straight from the definition."""
    weights = np.zeros(len(a))
    for channel, weight in channels or [(c, 1.0) for c in range(len(a))]:
        weights[channel] += weight
    where = np.ones(a.shape[1:])
    if neuron is not None:
        place = tuple(min(int(s * n), n - 1) for s, n in zip(neuron, a.shape[1:], strict=True))
        where[:] = 0
        where[place] = 1
    w = weights[:, None, None] * where
    if measure == "energy":
        return -0.5 * float((w * a**2).sum()), -w * a
    total = sum(abs(weight) for _, weight in channels) if channels else len(a)
    scale = 1.0 if measure == "sum" else 1 / (where.sum() * total)
    return -scale * float((w * a).sum()), -scale * w


def choices(count: int) -> list[list[tuple[int, float]]]:
    last = count - 1
    return [[], [(0, 1.0)], [(last, -2.0)], [(0, 0.5), (last // 2, -1.5), (last, 2.0), (0, 1.0)]]


def errors(pool: _core.ThreadPool) -> dict[str, float]:
    """The largest relative error of each measure over shapes, channels, positions and layouts."""
    worst: dict[str, float] = {}
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        f = np.maximum(rng.standard_normal(shape, dtype=np.float32) + np.float32(0.3), 0) + 0.01
        f = f.astype(np.float32)
        start = rng.standard_normal(shape, dtype=np.float32)
        for measure in ("energy", "sum", "mean"):
            for channels in choices(shape[0]):
                for neuron in (None, (0.5, 0.5), (0.0, 1.0)):
                    term = _core.ActivationTerm(measure, channels, neuron)
                    value, slope = activation(f.astype(np.float64), measure, channels, neuron)
                    for block in (b for b in reference.BLOCKS if shape[0] % b == 0):
                        found = _core.evaluate_layer_term(
                            term, to_blocked(f, block), 0.5, pool, block
                        )
                        added = _core.evaluate_layer_term(
                            term, to_blocked(f, block), 0.5, pool, block, to_blocked(start, block)
                        )
                        for error in (
                            relative_error(found[0], value),
                            relative_error(to_planar(found[1]), 0.5 * slope),
                            relative_error(to_planar(added[1]), start + 0.5 * slope),
                        ):
                            worst[measure] = max(worst.get(measure, 0.0), error)
    return worst


@pytest.mark.parametrize("threads", [1, 3])
def test_terms_match_float64(threads: int) -> None:
    found = errors(_core.ThreadPool(threads))
    assert set(found) == {"energy", "sum", "mean"}
    assert max(found.values()) < LIMIT, found


@pytest.mark.parametrize("kernels", _core.available_kernel_sets())
def test_every_kernel_set_matches_float64(kernels: str) -> None:
    code = (
        "import json; from fastsynth import _core; from tests.objective.test_activation import "
        "errors, guided_error; from tests.synthesize.dream_reference import pyramid_error; "
        "p = _core.ThreadPool(2); print(json.dumps([_core.kernel_set(), max(errors(p).values()), "
        "guided_error(p), pyramid_error(p)]))"
    )
    path = os.pathsep.join([str(Path(_core.__file__).parents[1]), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FASTSYNTH_KERNELS": kernels, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    name, *found = json.loads(done.stdout)
    assert name == kernels
    assert len(found) == 3
    assert max(found) < 2e-6, found


def guided(a: Array, g: Array, match: str) -> tuple[float, Array]:
    """The guide's term by brute force: all products of all positions, in float64."""
    flat, columns = a.reshape(len(a), -1), g.reshape(len(g), -1)
    products = columns.T @ flat
    if match == "dot":
        chosen = columns[:, products.argmax(0)]
        return -float((flat * chosen).sum()), -chosen.reshape(a.shape)
    distances = ((columns[:, :, None] - flat[:, None, :]) ** 2).sum(0)
    chosen = columns[:, distances.argmin(0)]
    return 0.5 * float(distances.min(0).sum()), (flat - chosen).reshape(a.shape)


def guided_error(pool: _core.ThreadPool) -> float:
    rng = np.random.default_rng(2)
    worst = 0.0
    for shape, count in (((3, 5, 7), 11), ((16, 9, 8), 16), ((32, 13, 17), 70), ((17, 6, 5), 3)):
        f = rng.random(shape, dtype=np.float32)
        g = rng.random((shape[0], count), dtype=np.float32)
        for match in ("dot", "nearest"):
            value, slope = guided(f.astype(np.float64), g.astype(np.float64), match)
            term = _core.GuidedTerm(g, match)
            for block in (b for b in reference.BLOCKS if shape[0] % b == 0):
                found, gradient = _core.evaluate_layer_term(
                    term, to_blocked(f, block), 2.0, pool, block
                )
                again = _core.evaluate_layer_term(
                    term, to_blocked(f, block), 2.0, pool, block, to_blocked(f, block)
                )
                worst = max(
                    worst,
                    relative_error(found, value),
                    relative_error(to_planar(gradient), 2 * slope),
                    relative_error(to_planar(again[1]), f + 2 * slope),
                )
    return worst


def test_guided_terms_match_brute_force(pool: _core.ThreadPool) -> None:
    assert guided_error(pool) < LIMIT


def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(3)
    f = rng.random((64, 70, 61), dtype=np.float32)
    g = rng.random((64, 200), dtype=np.float32)
    terms = [_core.ActivationTerm("energy", [(3, 1.0), (40, -0.5)]), _core.GuidedTerm(g)]
    for term in terms:
        results = [_core.evaluate_layer_term(term, f, 1.0, _core.ThreadPool(n)) for n in (1, 2, 5)]
        for value, slope in results[1:]:
            assert value == results[0][0]
            np.testing.assert_array_equal(slope, results[0][1])


@pytest.mark.torch
def test_gradients_match_autograd(pool: _core.ThreadPool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    f = rng.random((8, 6, 5), dtype=np.float32)
    g = rng.random((8, 20), dtype=np.float32)
    x = torch.tensor(f, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(g, dtype=torch.float64)
    flat = x.reshape(8, -1)
    cases = [
        (_core.ActivationTerm(), -(x**2).sum() / 2),
        (_core.ActivationTerm("sum", [(2, 1.0)]), -x[2].sum()),
        (_core.ActivationTerm("mean", [(2, 1.0), (5, -3.0)]), -(x[2] - 3 * x[5]).mean() / 4),
        (_core.ActivationTerm("mean"), -x.mean()),
        (_core.ActivationTerm("energy", [], (0.5, 0.2)), -(x[:, 3, 1] ** 2).sum() / 2),
        (_core.GuidedTerm(g, "dot"), -(t.T @ flat).max(0).values.sum()),
        (_core.GuidedTerm(g, "nearest"), torch.cdist(flat.T, t.T).min(1).values.pow(2).sum() / 2),
    ]
    for term, loss in cases:
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        value, slope = _core.evaluate_layer_term(term, f, 1.0, pool)
        assert value == pytest.approx(loss.item(), rel=LIMIT)
        assert relative_error(slope, gradient.numpy()) < LIMIT


@pytest.mark.parametrize("backend", ["native", "onnx"])
@pytest.mark.parametrize(
    "term",
    [
        Activation("conv2_1"),
        Activation({"conv1_2": 1.0, "conv2_2": 0.5}, channel=3, measure="mean"),
        Activation("conv2_1", channel={0: 1.0, 9: -0.5}, measure="sum"),
        Activation("conv2_2", neuron="center"),
        Activation("conv2_1", guide=PICTURE[::-1]),
        Activation("conv2_1", guide=PICTURE[::-1], match="nearest"),
    ],
    ids=["layer", "channel", "direction", "neuron", "guide", "nearest"],
)
def test_five_steps_of_descent_raise_the_activation(backend: str, term: Activation) -> None:
    with fs.Synthesizer(weights="random:0", backend=backend, threads=2) as synthesizer:
        result = synthesizer.minimize(
            term,
            init=PICTURE,
            scales=1,
            max_evaluations=6,
            plateau=0,
            optimizer=fs.GradientDescent(step=0.01, normalize=True),
        )
    losses = sum(values for name, values in result.losses.items() if "activation" in name)
    assert losses[5] < losses[0]


def test_the_term_is_the_networks_activation() -> None:
    """Through the whole engine: the loss is minus the formula on the network's own features."""
    with fs.Synthesizer(weights="random:0", threads=2) as synthesizer:
        image = random_image(24, 32)
        features = synthesizer.open().features(image, ["conv2_1"])["conv2_1"].astype(np.float64)
        picture = np.ascontiguousarray(image.transpose(1, 2, 0))
        for channels, neuron in (([], None), ([(4, 1.0)], None), ([], (0.9, 0.1))):
            term = Activation("conv2_1", dict(channels) or None, neuron)
            result = synthesizer.minimize(term, init=picture, scales=1, max_evaluations=1)
            expected, _ = activation(features, "energy", channels, neuron)
            assert result.losses["activation/conv2_1"][0] == pytest.approx(expected, rel=1e-4)


def test_a_neuron_keeps_its_place_inside_a_margin() -> None:
    term = Activation("conv1_1", neuron=(1.0, 0.0))
    (part,) = term.parts(Canvas(height=20, width=30, margin=5), None)  # type: ignore[arg-type]
    f = np.arange(600, dtype=np.float32).reshape(1, 20, 30)
    _, slope = _core.evaluate_layer_term(part.term, f, -1.0, _core.ThreadPool(1))  # type: ignore[arg-type]
    assert [tuple(place) for place in np.argwhere(slope)] == [(0, 15, 5)]


def test_a_tiny_network_agrees_with_finite_differences(pool: _core.ThreadPool) -> None:
    network = TinyNetwork(6, 7)
    objective = _core.ImageObjective([network.core], 6, 7, pool)
    objective.add_layer_term(0, 2, _core.ActivationTerm(), 1.0, "activation")
    x = random_image(6, 7, seed=5)
    _, gradient = objective.evaluate(x)
    direction = np.random.default_rng(6).standard_normal(x.shape)

    def value(t: float) -> float:
        f = network.compute(x.astype(np.float64) + t * direction)["conv2"]
        return -0.5 * float((f**2).sum())

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"channel": -1}, "numbered from 0"),
    ({"channel": 1.5}, "number of a channel"),
    ({"channel": True}, "number of a channel"),
    ({"channel": {}}, "numbered from 0"),
    ({"channel": {1: float("nan")}}, "finite"),
    ({"channel": {1: 0.0}}, "all weights of the channels are 0"),
    ({"channel": "x"}, "number of a channel"),
    ({"neuron": (0.5, 1.5)}, "shares of the height"),
    ({"neuron": "left"}, "shares of the height"),
    ({"neuron": (1, 2, 3)}, "shares of the height"),
    ({"measure": "most"}, "'energy', 'sum' or 'mean', not 'most'"),
    ({"match": "best"}, "'dot' or 'nearest', not 'best'"),
    ({"guide": PICTURE, "channel": 1}, "either a guide"),
    ({"weight": float("inf")}, "finite number"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        Activation("conv1_1", **settings)


def test_the_core_checks_again(pool: _core.ThreadPool) -> None:
    f = np.ones((4, 3, 3), np.float32)
    with pytest.raises(ValueError, match="no channel 4; the layer has channels 0 to 3"):
        _core.evaluate_layer_term(_core.ActivationTerm("sum", [(4, 1.0)]), f, 1.0, pool)
    with pytest.raises(ValueError, match="the guide has 3 channels, the features have 4"):
        _core.evaluate_layer_term(_core.GuidedTerm(np.ones((3, 2), np.float32)), f, 1.0, pool)
    with pytest.raises(ValueError, match="infinite or not a number"):
        _core.GuidedTerm(np.full((3, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="shares of height and width"):
        _core.ActivationTerm("sum", [], (2.0, 0.0))
    with pytest.raises(ValueError, match="energy, sum or mean, not most"):
        _core.ActivationTerm("most")


def test_values_that_are_not_finite_are_passed_on(pool: _core.ThreadPool) -> None:
    f = np.ones((4, 3, 3), np.float32)
    f[1, 1, 1] = np.nan
    for term in (_core.ActivationTerm(), _core.GuidedTerm(np.ones((4, 2), np.float32))):
        assert np.isnan(_core.evaluate_layer_term(term, f, 1.0, pool)[0])
