"""Every term as ONNX nodes: values and gradients equal both other backends'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.network import load_weights
from fastsynth.network.builder import GraphBuilder
from fastsynth.network.native import NativeNetwork
from fastsynth.network.step_network import StepNetwork
from fastsynth.objective import Canvas, GuidedStyle, WholeObjective, find_parts, plan
from fastsynth.objective.forms import layer_form
from fastsynth.objective.plan import unique_names
from fastsynth.objective.whole import weights_of
from fastsynth.optimize import Adam, RunResult, StopRules
from fastsynth.optimize.evaluator import Evaluator
from fastsynth.optimize.step import StepGraph
from fastsynth.optimize.step_loop import Start, run_together

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


def ramp() -> Any:
    """Black on the left, white on the right."""
    steps = np.linspace(-60, 255, 40).clip(0).astype(np.uint8)
    return np.broadcast_to(steps[None, :, None], (30, 40, 3)).copy()


def total(features: Any) -> tuple[float, Any]:
    return float((features.astype(np.float64) ** 2).mean()), 2 * features / features.size


# Terms that the host computes beside the graph.
HOSTED: dict[str, Any] = {
    "function": fs.FunctionTerm("conv2_1", total, name="mine"),
    "autocorrelation": fs.Autocorrelation(picture(2), LAYERS, components=5, resolution=12),
    "spectrum": fs.Spectrum(picture(2)),
    "wasserstein": fs.GaussianWasserstein(picture(2), LAYERS, components=6),
    "some": 10 * fs.Style(picture(2), LAYERS)
    + fs.Autocorrelation(picture(2), "conv2_1")
    + fs.Content(picture(1), "conv2_2")
    + 0.5 * fs.Spectrum(picture(2))
    + fs.TotalVariation(),
}
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
    "guided style, eroded": GuidedStyle(
        picture(2), LAYERS, content_mask=mask(), style_mask=mask(), strength_map=ramp()
    ),
    "guided covariance": GuidedStyle(
        picture(2),
        [*LAYERS, "conv3_1"],
        content_mask=mask(),
        strength_map=ramp(),
        statistics="mean_covariance",
        eroded=False,
    ),
    "strength map": GuidedStyle(picture(2), LAYERS, strength_map=ramp()),
    "shifted": fs.ShiftedGram(picture(2), LAYERS, shifts=(2, 4, 8), components=6),
    "shifted too far": fs.ShiftedGram(picture(2, 80, 84), "conv2_1", shifts=(32,), scale=2.0),
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


TERMS |= {f"host: {name}": term for name, term in HOSTED.items()}
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


def test_octaves_equal_the_other_backends() -> None:
    """Of an odd canvas; three octaves, each with a network of its own size."""
    canvas, image = Canvas(131, 150), start((131, 150))
    term = 5 * fs.PyramidGram(picture(2, 160, 160), ["conv1_1", "conv2_1"]) + fs.TotalVariation()
    whole = whole_of(term, canvas)
    assert [name for name in whole.names if "octave" in name] == [
        "pyramid_gram/octave1",
        "pyramid_gram/octave2",
    ]
    with Evaluator(whole, NETWORKS["step"].execution, 2) as evaluator:
        loss, values, gradient = evaluator.evaluate(image)
    for backend, network in NETWORKS.items():
        with plan(term, canvas, lambda _, own=network: own, POOL) as bound:
            wanted, slopes = bound.objective.evaluate(image)
            assert np.allclose(values, bound.objective.values, rtol=2e-5), backend
        assert loss == pytest.approx(wanted, rel=1e-5), backend
        distance = np.linalg.norm((gradient - slopes).astype(np.float64))
        assert distance <= 1e-5 * np.linalg.norm(slopes.astype(np.float64)), backend


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


def test_what_the_host_computes() -> None:
    """Of an autocorrelation it reads a few mixtures of channels at few positions, not the layer."""
    hosted = whole_of(HOSTED["some"], Canvas(64, 80)).hosted
    assert [part.name for part in hosted] == ["autocorrelation/conv2_1", "spectrum"]
    assert hosted[0].shape == (16, 32, 40)
    assert hosted[1].bytes == 2 * 4 * 3 * 64 * 80
    for name, term in TERMS.items():
        assert bool(whole_of(term, Canvas(*SIZE)).hosted) == name.startswith("host: "), name


def test_a_term_without_a_form_is_named() -> None:
    term = _core.FunctionTerm(total)
    builder = GraphBuilder()
    feature = builder.input("feature", (1, 3, 4, 4))
    with pytest.raises(ObjectiveError, match=r"mine .*FunctionTerm.*native"):
        layer_form(term, "mine", feature, (3, 4, 4), builder.input("weight", (1,)))


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_images_of_one_graph_run_as_alone(pooling: str) -> None:
    """The network sees them as one batch; sides are odd, styles and numbers of parts differ."""
    network = StepNetwork("vgg16", WEIGHTS, pool=POOL, pooling=pooling)
    rules = StopRules(max_evaluations=4, plateau=None)
    wholes, starts = [], []
    for seed in range(3):
        objective = fs.Content(picture(seed), "conv2_2") + fs.Style(picture(4 + seed), "conv3_1")
        if seed == 1:
            objective = objective + fs.TotalVariation()
        parts = find_parts(objective, Canvas(*SIZE), lambda _: network, POOL)
        names = tuple(unique_names(parts))
        wholes.append(
            WholeObjective(parts, names, weights_of(parts), Canvas(*SIZE), {None: network})
        )
        image = np.random.default_rng(seed).random((3, *SIZE)).astype(np.float32)
        starts.append(Start(image, rules))
    assert wholes[0].is_like(wholes[1])
    graph = StepGraph(wholes[0], Adam(0.05), wholes[1:])
    found = run_together(graph, starts, network.execution, 2)
    for whole, start, result in zip(wholes, starts, found, strict=True):
        (wanted,) = run_together(StepGraph(whole, Adam(0.05)), [start], network.execution, 2)
        assert isinstance(result, RunResult)
        assert isinstance(wanted, RunResult)
        assert np.allclose(result.history.parts, wanted.history.parts, rtol=1e-5)
        assert np.abs(result.x - wanted.x).max() <= 1e-5
    network.close()
    far = whole_of(TERMS["style"], Canvas(*SIZE))
    assert not far.is_like(wholes[0])
    assert not far.is_like(whole_of(TERMS["style"], Canvas(30, 38)))
    assert not far.is_like(whole_of(HOSTED["spectrum"], Canvas(*SIZE)))
