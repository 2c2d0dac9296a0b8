"""Step graphs on OpenVINO, where it is installed: a provider of another make than the CPU's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

import fastsynth as fs
from fastsynth import _core
from fastsynth.network import load_weights, session
from fastsynth.network.step_network import StepNetwork
from fastsynth.objective import Canvas, WholeObjective, find_parts
from fastsynth.objective.plan import unique_names
from fastsynth.objective.whole import weights_of
from fastsynth.optimize import LBFGS, Adam, GradientDescent, RunResult, StopRules
from fastsynth.optimize.evaluator import Evaluator
from fastsynth.optimize.step import StepGraph
from fastsynth.optimize.step_loop import Start, run_together

pytestmark = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in session.available_providers(),
    reason="needs onnxruntime-openvino",
)

SIZE = (37, 50)
LAYERS = ["conv1_1", "conv2_1"]
POOL = _core.ThreadPool(2)


def picture(seed: int) -> Any:
    small = np.random.default_rng(seed).integers(0, 255, (10, 12, 3))
    return np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)


PLAIN = fs.Content(picture(0), "conv2_2") + 3 * fs.Style(picture(1), LAYERS) + fs.TotalVariation()
# The host computes one of them.
TERMS = {
    "plain": PLAIN,
    "mean_covariance": fs.MeanCovariance(picture(1), LAYERS) + fs.RangePenalty(0.3, 0.6),
    "shifted": fs.ShiftedGram(picture(1), LAYERS, shifts=(2, 4)),
    "host": fs.Content(picture(0), "conv2_2") + fs.Autocorrelation(picture(1), "conv2_1"),
}


def whole_of(objective: Any, device: str, precision: str = "exact") -> WholeObjective:
    weights = load_weights("random:0", "vgg16").arrays
    network = StepNetwork(
        "vgg16", weights, device=device, precision=precision, pool=POOL, pooling="avg"
    )
    canvas = Canvas(*SIZE)
    # Targets come from one provider, so that they are the same for all.
    source = StepNetwork("vgg16", weights, pool=POOL, pooling="avg")
    parts = find_parts(objective, canvas, lambda _: source, POOL)
    names = tuple(unique_names(parts))
    return WholeObjective(parts, names, weights_of(parts), canvas, {None: network})


def start() -> Any:
    return np.random.default_rng(7).random((3, *SIZE)).astype(np.float32)


def evaluated(whole: WholeObjective) -> tuple[float, Any]:
    network = whole.networks[None]
    with Evaluator(whole, network.execution, 2) as evaluator:
        loss, _, gradient = evaluator.evaluate(start())
    return loss, gradient.astype(np.float64)


@pytest.mark.parametrize("name", list(TERMS))
def test_losses_and_gradients_equal_the_cpu_provider(name: str) -> None:
    wanted, slopes = evaluated(whole_of(TERMS[name], "cpu"))
    loss, gradient = evaluated(whole_of(TERMS[name], "openvino"))
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert np.linalg.norm(gradient - slopes) <= 1e-5 * np.linalg.norm(slopes)


def test_bfloat16_has_the_error_that_is_told(record_property: Any) -> None:
    """A processor without bfloat16 computes in float32. Figures: docs/devices.md."""
    wanted, slopes = evaluated(whole_of(PLAIN, "openvino"))
    loss, gradient = evaluated(whole_of(PLAIN, "openvino", "bf16"))
    error = np.linalg.norm(gradient - slopes) / np.linalg.norm(slopes)
    record_property("loss", abs(loss / wanted - 1))
    record_property("gradient", error)
    print(f"bf16: loss {abs(loss / wanted - 1):.1e}, gradient {error:.2g}")
    assert abs(loss / wanted - 1) < 2e-2
    assert error < 0.3


def ran(whole: WholeObjective, optimizer: Any, others: Any = ()) -> list[RunResult]:
    rules = StopRules(max_evaluations=60, plateau=None)
    starts = [Start(start(), rules) for _ in range(1 + len(others))]
    network = whole.networks[None]
    found = run_together(StepGraph(whole, optimizer, others), starts, network.execution, 2)
    assert all(isinstance(result, RunResult) for result in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("optimizer", [GradientDescent(1.0), Adam(0.02)], ids=["gd", "adam"])
def test_sixty_iterations_end_in_the_same_picture(optimizer: Any) -> None:
    (wanted,) = ran(whole_of(PLAIN, "cpu"), optimizer)
    (found,) = ran(whole_of(PLAIN, "openvino"), optimizer)
    assert np.allclose(found.history.loss, wanted.history.loss, rtol=1e-3)
    assert np.sqrt(np.mean((found.x - wanted.x) ** 2)) < 1e-3


def test_sixty_evaluations_of_lbfgs_end_at_the_same_loss() -> None:
    """Also in a batch of two pictures, and in bfloat16 within a little more."""
    (wanted,) = ran(whole_of(PLAIN, "cpu"), LBFGS())
    whole = whole_of(PLAIN, "openvino")
    (found,) = ran(whole, LBFGS())
    assert found.loss == pytest.approx(wanted.loss, rel=1e-2)
    for twin in ran(whole, LBFGS(), [whole]):
        assert twin.loss == pytest.approx(wanted.loss, rel=1e-2)
    (rough,) = ran(whole_of(PLAIN, "openvino", "bf16"), LBFGS())
    print(f"bf16 after 60: {rough.loss / wanted.loss:.3f} of float32's loss")
    assert rough.loss < 1.5 * wanted.loss
