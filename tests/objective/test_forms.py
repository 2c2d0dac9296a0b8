"""Every term as ONNX nodes: values and gradients equal both other backends'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.network import load_weights
from fastsynth.network.native import NativeNetwork
from fastsynth.network.step_network import StepNetwork
from fastsynth.objective import Canvas, FunctionTerm, GuidedStyle, WholeObjective, find_parts, plan
from fastsynth.objective.plan import unique_names
from fastsynth.objective.whole import weights_of
from fastsynth.optimize.evaluator import Evaluator

SIZE = (29, 38)
LAYERS = ["conv1_1", "conv2_1"]
POOL = _core.ThreadPool(2)
WEIGHTS = load_weights("random:0", "vgg16").arrays
NETWORKS = {
    "step": StepNetwork("vgg16", WEIGHTS, pool=POOL),
    "native": NativeNetwork("vgg16", WEIGHTS, pool=POOL),
}


def picture(seed: int, height: int = 40, width: int = 44) -> Any:
    small = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3))
    return np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)


def mask() -> Any:
    white = np.zeros((30, 40, 3), np.uint8)
    white[:, :21] = 255
    return white


TERMS: dict[str, Any] = {
    "content": fs.Content(picture(1), ["conv2_2", "conv3_1"]),
    "content paper": fs.Content(picture(1), "conv2_2", normalization="paper"),
    "content normalized": fs.Content(picture(1), "conv2_2", normalization="normalized"),
    "style": fs.Style(picture(2), [*LAYERS, "conv3_1"]),
    "style paper": fs.Style(picture(2), LAYERS, normalization="paper"),
    "style normalized": fs.Style(picture(2), LAYERS, normalization="normalized"),
    "mean_covariance": fs.MeanCovariance(picture(2), [*LAYERS, "conv3_1"]),
    "bn_statistics": fs.BNStatistics(picture(2), LAYERS),
    "mmd linear": fs.MMD(picture(2), LAYERS, kernel="linear"),
    "mmd polynomial": fs.MMD(picture(2), LAYERS, kernel="polynomial", offset=0.5),
    "mmd gaussian": fs.MMD(picture(2), LAYERS, kernel="gaussian"),
    "sliced": fs.SlicedWasserstein(picture(2), LAYERS, directions=5),
    "histogram": fs.Histogram(picture(2), "conv2_1"),
    "guided style": GuidedStyle(picture(2), LAYERS, content_mask=mask(), style_mask=mask()),
    "activation": fs.Activation(["conv2_2", "conv3_1"]),
    "activation mean": fs.Activation("conv2_2", {3: 1.0, 7: -0.5}, measure="mean"),
    "activation neuron": fs.Activation("conv3_1", 5, "center", measure="sum"),
    "activation guide": fs.Activation("conv2_1", guide=picture(3), match="nearest"),
    "activation guide dot": fs.Activation("conv2_1", guide=picture(3)),
    "total variation": fs.TotalVariation(),
    "total variation 1": fs.TotalVariation(beta=1.0),
    "total variation 2.5": fs.TotalVariation(beta=2.5),
    "alpha norm": fs.AlphaNorm(),
    "alpha norm 3": fs.AlphaNorm(alpha=3.0),
    "range": 10.0 * fs.RangePenalty(0.2, 0.7),
    "sum": fs.Content(picture(1), "conv2_2")
    + 3 * fs.Style(picture(2), LAYERS)
    + fs.TotalVariation(),
}


# Terms that sort or choose: where two values differ by rounding alone, so may their order.
CHOOSING = ("sliced", "histogram", "activation guide", "activation guide dot")


def whole_of(objective: Any, canvas: Canvas) -> WholeObjective:
    network = NETWORKS["step"]
    parts = find_parts(objective, canvas, lambda _: network, POOL)
    tapped = {None: network} if any(part.layer for part in parts) else {}
    return WholeObjective(parts, tuple(unique_names(parts)), weights_of(parts), canvas, tapped)


def start(size: tuple[int, int]) -> Any:
    return np.random.default_rng(7).random((3, *size)).astype(np.float32)


@pytest.mark.parametrize("name", list(TERMS))
def test_values_and_gradients_equal_the_other_backends(name: str) -> None:
    canvas = Canvas(*SIZE, margin=4)
    image = start(SIZE)
    whole = whole_of(TERMS[name], canvas)
    with Evaluator(whole, NETWORKS["step"].execution, 2) as evaluator:
        loss, values, gradient = evaluator.evaluate(image)
    for backend, network in NETWORKS.items():
        # A StepNetwork that is bound to taps computes as the onnx backend does.
        with plan(TERMS[name], canvas, lambda _, own=network: own, POOL) as bound:
            wanted, slopes = bound.objective.evaluate(image)
            parts = np.array(bound.objective.values)
        assert loss == pytest.approx(wanted, rel=1e-5), backend
        assert np.allclose(values, parts, rtol=2e-5, atol=1e-5 * abs(wanted)), backend
        distance = np.linalg.norm((gradient - slopes).astype(np.float64))
        limit = 1e-4 if name in CHOOSING and backend == "native" else 1e-5
        assert distance <= limit * np.linalg.norm(slopes.astype(np.float64)), backend


def test_two_networks_share_a_graph() -> None:
    other = StepNetwork("vgg16", load_weights("random:3", "vgg16").arrays, pool=POOL)
    networks = {None: NETWORKS["step"], "other": other}
    objective = fs.Content(picture(1), "conv1_2") + fs.Content(
        picture(1), "conv2_1", network="other"
    )
    canvas, image = Canvas(*SIZE), start(SIZE)
    parts = find_parts(objective, canvas, networks.__getitem__, POOL)
    names = tuple(unique_names(parts))
    whole = WholeObjective(parts, names, weights_of(parts), canvas, networks)
    with Evaluator(whole, other.execution, 2) as evaluator:
        loss, _, gradient = evaluator.evaluate(image)
    with plan(objective, canvas, networks.__getitem__, POOL) as bound:
        wanted, slopes = bound.objective.evaluate(image)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert np.linalg.norm(gradient - slopes) <= 1e-5 * np.linalg.norm(slopes)


def test_a_term_without_a_form_is_named() -> None:
    term = FunctionTerm("conv1_1", lambda f: (float(f.sum()), np.ones_like(f)), name="mine")
    whole = whole_of(term, Canvas(*SIZE))
    with pytest.raises(ObjectiveError, match=r"mine/conv1_1 .*native"):
        Evaluator(whole, NETWORKS["step"].execution, 2)
