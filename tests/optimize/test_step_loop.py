"""The loop around step graphs: Ctrl-C between its steps, states that do not fit, plateaus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

import fastsynth as fs
from fastsynth import _core
from fastsynth.network.resident import ResidentGraph
from fastsynth.network.session import choose_provider
from fastsynth.objective import Canvas, WholeObjective, find_parts
from fastsynth.objective.plan import unique_names
from fastsynth.objective.whole import weights_of
from fastsynth.optimize import LBFGS, Adam, RunResult, StopRules
from fastsynth.optimize.step import StepGraph
from fastsynth.optimize.step_loop import OpenGraph, Start, run_together

POOL = _core.ThreadPool(1)
CPU = choose_provider("cpu")
SIZE = (7, 9)
IMAGE = np.random.default_rng(3).random((3, *SIZE)).astype(np.float32)


def graph(optimizer: Any, others: int = 0) -> StepGraph:
    """Of terms that look at pixels: no network."""
    objective = fs.TotalVariation() + 10 * fs.RangePenalty(0.4, 0.6)
    parts = find_parts(objective, Canvas(*SIZE), lambda _: None, POOL)  # type: ignore[arg-type, return-value]
    whole = WholeObjective(parts, tuple(unique_names(parts)), weights_of(parts), Canvas(*SIZE), {})
    return StepGraph(whole, optimizer, [whole] * others)


def run(optimizer: Any, rules: StopRules, **start: Any) -> Any:
    (found,) = run_together(graph(optimizer), [Start(IMAGE, rules, **start)], CPU, 1)
    return found


@pytest.mark.parametrize("optimizer", [Adam(0.01), LBFGS()])
def test_an_interrupt_loses_no_step(
    monkeypatch: pytest.MonkeyPatch, optimizer: Adam | LBFGS
) -> None:
    """Where the host looks after some steps only, those before Ctrl-C count; and it goes on."""
    wanted = run(optimizer, StopRules(max_evaluations=14, plateau=None))
    calls: list[int] = []
    plain = ResidentGraph._started

    def started(self: ResidentGraph, *arguments: Any) -> None:
        plain(self, *arguments)
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(OpenGraph, "_steps", lambda *_: 4)
        patched.setattr(ResidentGraph, "_started", started)
        cut = run(optimizer, StopRules(max_evaluations=14, plateau=None), keep_state=True)
    assert cut.reason == "interrupted"
    assert cut.evaluations == len(cut.history.loss) == 5
    assert cut.state["step"]["count"].tolist() == [5]
    found = run(optimizer, StopRules(max_evaluations=14, plateau=None), resume=cut.state)
    assert found.evaluations == 14
    assert np.array_equal(found.history.loss, wanted.history.loss)
    assert np.array_equal(found.x, wanted.x)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"reports": np.zeros((3, 2), np.float32)},
        {"reports": "none"},
        {"seconds": np.zeros(2)},
        {"iteration": np.zeros(3, np.float32)},
        {"seconds": 1.0},
        {"step": {}},
    ],
)
def test_a_state_that_does_not_fit_is_its_own_images_error(spoilt: dict[str, Any]) -> None:
    rules = StopRules(max_evaluations=3, plateau=None)
    state = run(Adam(0.01), rules, keep_state=True).state
    starts = [Start(IMAGE, rules, resume={**state, **spoilt}), Start(IMAGE, rules)]
    error, other = run_together(graph(Adam(0.01), 1), starts, CPU, 1)
    assert isinstance(error, ValueError)
    assert isinstance(other, RunResult)
    assert other.evaluations == 3


def test_one_array_of_a_state_that_is_none() -> None:
    rules = StopRules(max_evaluations=3, plateau=None)
    state = run(Adam(0.01), rules, keep_state=True).state
    state["step"]["mean"] = None
    assert isinstance(run(Adam(0.01), rules, resume=state), ValueError)


def test_a_plateau_ends_the_run() -> None:
    """By the least losses: as counted from the history itself."""
    rules = StopRules(max_evaluations=400, plateau=(8, 0.02))
    found = run(Adam(0.05), rules)
    assert found.reason == "plateau"
    least = np.minimum.accumulate(found.history.loss)
    drops = least[8:-1] - least[9:]
    flat = (least[:-8] - least[8:]) < 0.02 * np.abs(least[:-8])
    assert drops.min() >= 0
    assert np.flatnonzero(flat)[0] == len(flat) - 1  # at the first chance, not before
