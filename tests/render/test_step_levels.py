"""Whole runs with backend="step": the picture and the losses of the other backends."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.image import resize
from fastsynth.network import load_weights
from fastsynth.network.providers import Provider, provider_options
from fastsynth.network.step_network import StepNetwork
from fastsynth.objective import Canvas, WholeObjective
from fastsynth.optimize import Adam, GradientDescent, StopRules
from fastsynth.optimize.step_loop import Start
from fastsynth.render.meeting import Asked


def picture(seed: int, height: int, width: int) -> Any:
    coarse = np.random.default_rng(seed).random((3, 5, 6)).astype(np.float32)
    pixels = np.clip(resize(coarse, (height, width), "bicubic"), 0, 1)
    return (pixels.transpose(1, 2, 0) * 255).astype(np.uint8)


CONTENT, STYLE = picture(0, 21, 28), picture(1, 26, 20)
SHALLOW: dict[str, Any] = {"style_layers": ["conv1_1", "conv2_1"], "content_layers": "conv2_2"}


def transfer(backend: str, **options: Any) -> fs.Result:
    with fs.Synthesizer(weights="random:0", backend=backend, threads=2) as synthesizer:
        settings = {"scales": 1, "max_evaluations": 60, "plateau": 0, **SHALLOW, **options}
        return synthesizer.style_transfer(CONTENT, STYLE, **settings)


def distance(a: fs.Result, b: fs.Result) -> float:
    """Root mean square difference of two pictures, in units of [0, 1]."""
    return float(np.sqrt(np.mean((a.levels[-1].run.x - b.levels[-1].run.x) ** 2)))


@pytest.mark.parametrize("optimizer", [GradientDescent(1.0), "adam"], ids=["gd", "adam"])
def test_first_order_pictures_agree_to_rounding(optimizer: Any) -> None:
    """As closely as the two other backends, whose rounding differs, agree with one another."""
    runs = {name: transfer(name, optimizer=optimizer) for name in ("native", "onnx", "step")}
    rounding = distance(runs["native"], runs["onnx"])
    assert distance(runs["step"], runs["onnx"]) <= 3 * rounding + 1e-5
    losses = [runs[name].levels[0].run.history.loss for name in ("onnx", "step")]
    assert np.allclose(*losses, rtol=1e-3)
    assert len(losses[0]) == 60


def test_lbfgs_arrives_at_the_same_loss() -> None:
    native, step = transfer("native"), transfer("step")
    assert step.levels[0].loss <= 1.01 * native.levels[0].loss
    assert step.levels[0].run.evaluations == 60
    assert set(step.losses) == set(native.losses)


def test_levels_balance_and_callbacks() -> None:
    seen: list[Any] = []

    def notify(progress: fs.Progress) -> None:
        seen.append((progress.level, progress.evaluation, progress.image().shape))

    options = {"scales": 2, "max_evaluations": [6, 5], "callback": notify}
    found = transfer("step", **options)
    wanted = transfer("native", **{**options, "callback": None})
    assert found.size == wanted.size
    assert [level.run.evaluations for level in found.levels] == [6, 5]
    for ours, theirs in zip(found.levels, wanted.levels, strict=True):
        assert ours.weights == pytest.approx(theirs.weights, rel=1e-3)
    assert seen[-1] == (1, 11, (3, found.size[1], found.size[0]))


def test_what_has_no_nodes_runs_on_the_host(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "fastsynth"),
        fs.Synthesizer(weights="random:0", backend="step") as synthesizer,
    ):
        term = fs.FunctionTerm("conv1_1", lambda f: (float((f**2).sum()), 2 * f), name="mine")
        result = synthesizer.minimize(term, size=(20, 16), scales=1, max_evaluations=3)
    assert "mine/conv1_1" in caplog.text
    assert "each evaluation" in caplog.text
    assert np.isfinite(result.levels[0].loss)


def test_a_checkpoint_is_gone_on_with(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_evaluations": 12, "checkpoint_seconds": 0}
    whole = transfer("step", max_evaluations=12)

    def stop(progress: fs.Progress) -> bool:
        return progress.evaluation < 5

    path = tmp_path / "run.ckpt"
    cut = transfer("step", checkpoint=path, callback=stop, **options)
    assert cut.stopped == "cancelled"
    rest = transfer("step", checkpoint=path, **options)
    assert np.array_equal(rest.pixels, whole.pixels)
    assert rest.levels[0].run.evaluations == 12


def test_the_limit_of_memory_reaches_the_device() -> None:
    """The provider is told it; the CPU's memory is bounded by the choice of tiles alone."""
    network = StepNetwork("vgg16", load_weights("random:0", "vgg16").arrays)
    whole = WholeObjective((), (), (), Canvas(16, 16), {None: network})
    asked = Asked(whole, Adam(), Start(np.zeros((3, 16, 16), np.float32), StopRules()), 1 << 30)
    assert asked.execution.memory_limit is None
    network.execution = Provider("CUDAExecutionProvider", "as asked")
    assert asked.execution.memory_limit == 1 << 30
    options = provider_options(asked.execution, 1)[0][1]
    assert options["gpu_mem_limit"] == str(1 << 30)
    assert not asked.is_like(dataclasses.replace(asked, memory_limit=1 << 29))
    network.close()
