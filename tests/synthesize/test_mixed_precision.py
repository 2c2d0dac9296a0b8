"""precision="mixed": fast on the way, exact in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth import _core
from fastsynth.objective import Canvas, RangePenalty, plan
from fastsynth.optimize import handed_over
from fastsynth.optimize import run as minimise

from .test_verbs import picture

A, B = picture(0), picture(1, 40, 40)
SHORT: dict[str, Any] = {"max_evaluations": [6, 8, 12], "scales": 2, "plateau": 0.0}
LOSS = fs.Content(A, "conv1_2") + 5.0 * fs.Style(B, ["conv1_1", "conv2_1"])


@pytest.fixture(scope="module")
def mixed() -> Iterator[fs.Synthesizer]:
    with fs.Synthesizer(weights="random:0", threads=2, precision="mixed") as made:
        yield made


def loss_of(synthesizer: fs.Synthesizer, image: np.ndarray[Any, Any]) -> float:
    canvas = Canvas(*image.shape[1:])
    with plan(LOSS + 10.0 * RangePenalty(), canvas, synthesizer.open, synthesizer.pool) as bound:
        return float(bound.objective.evaluate(np.ascontiguousarray(image))[0])


def test_last_level_is_the_exact_networks(mixed: fs.Synthesizer) -> None:
    result = mixed.minimize(LOSS, init=A, **SHORT)
    *coarse, before, last = result.levels
    assert [level.level.rough for level in result.levels] == [True, True, False]
    with fs.Synthesizer(weights="random:0", threads=2) as exact:
        assert last.loss == loss_of(exact, last.run.x)
        fast_loss = before.loss
        assert fast_loss == pytest.approx(loss_of(exact, before.run.x), rel=0.02)
        # It goes on from the rough level's picture, not from somewhere else.
        assert last.run.history.loss[0] == loss_of(exact, before.run.x)
    with fs.Synthesizer(weights="random:0", threads=2, precision="fast") as fast:
        assert fast_loss == loss_of(fast, before.run.x)
    assert last.loss < before.loss < coarse[0].run.history.loss[0]


def test_record_says_so_and_is_replayed(mixed: fs.Synthesizer, tmp_path: Path) -> None:
    seen = []

    def stop(progress: fs.Progress) -> bool:
        seen.append((progress.level, progress.levels))
        return progress.evaluation < 18

    for name, array in (("content.png", A), ("style.png", B)):
        Image.fromarray(array).save(tmp_path / name)
    inputs = tmp_path / "content.png", tmp_path / "style.png"
    result = mixed.style_transfer(*inputs, callback=stop, **SHORT)
    assert result.stopped == "cancelled"
    assert seen[-1] == (2, 3)
    assert result.provenance["engine"]["precision"] == "mixed"
    assert [level.get("rough", False) for level in result.provenance["levels"]] == [
        True,
        True,
        False,
    ]
    result.save(tmp_path / "a.png")
    again = fs.replay(tmp_path / "a.png")
    assert np.array_equal(again.pixels, result.pixels)


def test_whole_runs_by_their_usual_schedule(mixed: fs.Synthesizer) -> None:
    result = mixed.style_transfer(A, B, max_evaluations=20)
    assert result.provenance["schedule"] == [level.level.evaluations for level in result.levels]
    assert sum(result.provenance["schedule"]) == 20
    again = mixed.style_transfer(A, B, max_evaluations=20)
    assert np.array_equal(again.pixels, result.pixels)


def test_estimate_knows_the_levels() -> None:
    found = fs.estimate(
        "style_transfer", A, B, weights="random:0", precision="mixed", max_evaluations=20
    )
    assert sum(level.evaluations for level in found.levels) == 20
    sizes = [(level.width, level.height) for level in found.levels]
    assert sizes[-1] == sizes[-2]


def test_pairs_are_handed_over() -> None:
    """On a bent valley that moves a little, the pairs of the old one save evaluations."""
    scales = np.geomspace(1.0, 1e4, 60)

    def valley(centre: float) -> _core.FunctionObjective:
        def function(x: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
            away = x.astype(np.float64) - centre
            return float(0.5 * (scales * away**2).sum()), (scales * away).astype(np.float32)

        return _core.FunctionObjective(function, 60)

    rules = fs.optimize.StopRules(max_evaluations=60, plateau=None)
    first = minimise(valley(0.0), np.ones(60), rules=rules, keep_state=True)
    assert first.state is not None
    begin = handed_over(first.state)
    few = fs.optimize.StopRules(max_evaluations=15, plateau=None)
    warm = minimise(valley(0.3), first.x, rules=few, resume=begin)
    cold = minimise(valley(0.3), first.x, rules=few)
    assert warm.evaluations == cold.evaluations == 15
    assert warm.history.loss[0] == cold.history.loss[0]
    assert warm.loss < 0.5 * cold.loss
    adam = minimise(valley(0.0), np.ones(60), "adam", few, keep_state=True)
    assert adam.state is not None
    assert handed_over(adam.state) is None


def test_what_is_not_lbfgs_begins_anew(mixed: fs.Synthesizer) -> None:
    result = mixed.minimize(LOSS, init=A, optimizer="adam", **SHORT)
    assert result.levels[-1].run.evaluations == 12


def test_memory_counts_both_forms_of_the_weights() -> None:
    sizes = {}
    for precision in ("exact", "mixed"):
        found = fs.estimate("minimize", LOSS, init=A, weights="random:0", precision=precision)
        sizes[precision] = found.memory
    assert sizes["mixed"] > sizes["exact"]


@pytest.mark.parametrize("backend", ["onnx", "step"])
def test_other_backends_do_not_mix(backend: str) -> None:
    pytest.importorskip("onnxruntime")
    with (
        fs.Synthesizer(weights="random:0", backend=backend, precision="mixed") as synthesizer,
        pytest.raises(fs.DeviceError, match="only the native backend mixes precisions"),
    ):
        synthesizer.open()


def test_rough_twin_of_a_network(mixed: fs.Synthesizer) -> None:
    network = mixed.open("vgg16", "max")
    twin = fs.network.rough_network(network)
    assert (network.precision, twin.precision) == ("mixed", "fast")
    assert fs.network.rough_network(network) is twin
    assert fs.network.rough_network(twin) is twin
    image = np.random.default_rng(0).random((3, 64, 64), np.float32)
    exact, fast = (n.features(image, ["conv3_1"])["conv3_1"] for n in (network, twin))
    error = np.linalg.norm(fast - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.03
    with fs.Synthesizer(weights="random:0", precision="fast") as other:
        assert np.array_equal(other.open().features(image, ["conv3_1"])["conv3_1"], fast)
