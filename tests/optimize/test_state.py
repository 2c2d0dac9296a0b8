"""Save, restore, continue: the same as never having stopped, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from optimize_problems import objective, rosenbrock, rosenbrock_start, separable

from fastsynth.optimize import (
    LBFGS,
    Adam,
    GradientDescent,
    Optimizer,
    Progress,
    RunResult,
    StopRules,
    run,
)

OPTIMIZERS = {
    "lbfgs": LBFGS(memory=4),
    "adam": Adam(learning_rate=0.01, average=0.9),
    "gd": GradientDescent(step=1e-3),
    "momentum": GradientDescent(step=2e-4, momentum=0.9),
}
SIZE = 20
START = rosenbrock_start(SIZE)
WHOLE = StopRules(max_iterations=30, plateau=None)


@pytest.fixture(params=OPTIMIZERS)
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    return OPTIMIZERS[request.param]


def minimize(optimizer: Optimizer, rules: StopRules, **options: Any) -> RunResult:
    return run(objective(rosenbrock, SIZE), START, optimizer, rules, **options)


def assert_same(a: RunResult, b: RunResult) -> None:
    np.testing.assert_array_equal(a.x, b.x)
    assert (a.loss, a.reason, a.evaluations, a.iterations) == (
        b.loss,
        b.reason,
        b.evaluations,
        b.iterations,
    )
    np.testing.assert_array_equal(a.history.loss, b.history.loss)
    np.testing.assert_array_equal(a.history.iteration, b.history.iteration)
    assert a.state is not None
    assert b.state is not None
    assert a.state.keys() == b.state.keys()
    for key, value in a.state.items():
        if "seconds" not in key:
            np.testing.assert_array_equal(value, b.state[key], err_msg=key)


@pytest.mark.parametrize("at", [1, 2, 3, 11, 29])
def test_resumed_equals_uninterrupted(optimizer: Optimizer, at: int) -> None:
    states: dict[int, dict[str, Any]] = {}

    def save(progress: Progress) -> None:
        states[progress.iteration] = progress.state()

    whole = minimize(optimizer, WHOLE, callback=save, keep_state=True)
    resumed = minimize(optimizer, WHOLE, resume=states[at], keep_state=True)
    assert_same(whole, resumed)


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8, 13, 21])
def test_stopped_within_an_iteration(optimizer: Optimizer, budget: int) -> None:
    """A limit may end a line search half-way: that iteration is repeated, and all is the same."""
    whole = minimize(optimizer, WHOLE, keep_state=True)
    part = minimize(optimizer, StopRules(budget, plateau=None), keep_state=True)
    assert part.evaluations == budget
    assert_same(whole, minimize(optimizer, WHOLE, resume=part.state, keep_state=True))


def test_stopped_within_the_second_search_of_an_iteration() -> None:
    """After a failed search the history is dropped: that is undone when the iteration is."""
    calls = 0

    def breaking(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        value, gradient = rosenbrock(x)
        return (value, gradient) if calls <= 20 else (value + 1e6, gradient)

    rules = StopRules(20 + LBFGS().max_search + 3, plateau=None)
    result = run(objective(breaking, SIZE), START, LBFGS(), rules, keep_state=True)
    assert result.reason == "evaluations"
    assert result.state is not None
    assert result.state["pairs"] > 0


def test_seconds_add_up(optimizer: Optimizer) -> None:
    part = minimize(optimizer, StopRules(5, plateau=None), keep_state=True)
    assert part.state is not None
    part.state["seconds"] = 1000.0
    resumed = minimize(optimizer, StopRules(6, plateau=None), resume=part.state)
    assert 1000 < resumed.seconds < 1010


def test_limits_count_the_whole_run(optimizer: Optimizer) -> None:
    part = minimize(optimizer, StopRules(9, plateau=None), keep_state=True)
    resumed = minimize(optimizer, StopRules(12, plateau=None), resume=part.state)
    assert (resumed.reason, resumed.evaluations) == ("evaluations", 12)


def test_plateau_looks_back_beyond_the_resume() -> None:
    rules = StopRules(plateau=(10, 0.2))
    whole = run(objective(separable(50), 50), np.zeros(50), Adam(), rules)
    assert whole.reason == "plateau"
    part = run(
        objective(separable(50), 50),
        np.zeros(50),
        Adam(),
        StopRules(whole.evaluations - 3, plateau=None),
        keep_state=True,
    )
    resumed = run(objective(separable(50), 50), np.zeros(50), Adam(), rules, resume=part.state)
    assert resumed.evaluations == whole.evaluations
    np.testing.assert_array_equal(resumed.x, whole.x)


def test_state_is_plain_numbers_texts_and_arrays(optimizer: Optimizer) -> None:
    state = minimize(optimizer, WHOLE, keep_state=True).state
    assert state is not None
    assert {type(value) for value in state.values()} <= {int, float, bool, str, np.ndarray}
    dtypes = {value.dtype for value in state.values() if isinstance(value, np.ndarray)}
    assert dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}


def test_state_is_a_copy(optimizer: Optimizer) -> None:
    whole = minimize(optimizer, WHOLE)

    def spoil(progress: Progress) -> None:
        for value in progress.state().values():
            if isinstance(value, np.ndarray):
                value[...] = np.nan

    np.testing.assert_array_equal(minimize(optimizer, WHOLE, callback=spoil).x, whole.x)


# ---- states that do not fit: errors, never damage ----


@pytest.fixture
def state() -> dict[str, Any]:
    result = minimize(OPTIMIZERS["lbfgs"], WHOLE, keep_state=True)
    assert result.state is not None
    return copy.deepcopy(result.state)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", "2", "version is 2, expected 1"),
        ("optimizer", "adam", "optimizer is adam, expected lbfgs"),
        ("x", np.zeros(3, np.float32), "x has 3 values, expected 20"),
        ("x", np.zeros(20), "x is not a contiguous float32 array"),
        ("x", None, "x is not a contiguous float32 array"),
        ("gradient", b"123", "gradient is not a contiguous float32 array"),
        ("pairs", 99, "the state has 99 pairs, but memory is 4"),
        ("pairs", -1, "the state has -1 pairs"),
        ("pairs", 2**70, "pairs is too large"),
        ("pairs", "3", "pairs is not an integer"),
        ("sy0", 0.0, "pair 0 of the state has no curvature"),
        ("sy0", float("nan"), "sy0 is not a number"),
        ("evaluated", 1, "evaluated is not a bool"),
        ("best_loss", "low", "best_loss is not a float"),
        ("iterations", -5, "iterations must not be negative"),
        ("history_loss", np.zeros(2), "the history of the state does not fit 1 parts"),
        ("history_loss", np.zeros(2, np.float32), "history_loss is not a contiguous float64"),
    ],
)
def test_damaged_states(state: dict[str, Any], key: str, value: object, message: str) -> None:
    assert key in state
    state[key] = value
    with pytest.raises(ValueError, match=message):
        minimize(OPTIMIZERS["lbfgs"], WHOLE, resume=state)


def test_incomplete_states(state: dict[str, Any]) -> None:
    for key in list(state):
        rest = {name: value for name, value in state.items() if name != key}
        with pytest.raises(ValueError, match=f"the state has no {key}"):
            minimize(OPTIMIZERS["lbfgs"], WHOLE, resume=rest)


def test_state_of_another_optimizer(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="optimizer is lbfgs, expected adam"):
        minimize(Adam(), WHOLE, resume=state)
