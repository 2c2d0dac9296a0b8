"""L-BFGS against dense formulas in float64 and against SciPy's L-BFGS-B."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray
from optimize_problems import (
    Function,
    logistic,
    objective,
    quadratic,
    rosenbrock,
    rosenbrock_start,
    separable,
)

from fastsynth.optimize import LBFGS, RunResult, StopRules, run

NO_PLATEAU = StopRules(max_evaluations=5000, plateau=None)


def minimize(function: Function, start: NDArray[np.float32], **settings: float) -> RunResult:
    return run(objective(function, start.size), start, LBFGS(**settings), NO_PLATEAU)


def scipy_losses(
    function: Function, start: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The minimiser and the loss at every evaluation of SciPy's L-BFGS-B, in float64."""
    losses = []

    def recorded(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = function(x)
        losses.append(value)
        return value, gradient

    options = {"maxcor": 20, "ftol": 1e-15, "gtol": 1e-9, "maxfun": 5000, "maxiter": 5000}
    start = start.astype(np.float64)
    found = scipy.optimize.minimize(recorded, start, jac=True, method="L-BFGS-B", options=options)
    return found.x, np.array(losses)


def first_below(losses: NDArray[np.float64], level: float) -> int:
    assert losses.min() < level
    return int(np.argmax(losses < level)) + 1


PROBLEMS = {
    "rosenbrock-2": (rosenbrock, rosenbrock_start(2), 1e-6),
    "rosenbrock-100": (rosenbrock, rosenbrock_start(100), 1e-5),
    "logistic": (logistic(200, 30), np.zeros(30, np.float32), 1e-3),
    "quadratic-1e2": (quadratic(200, 1e2)[0], np.zeros(200, np.float32), 1e-5),
    "quadratic-1e6": (quadratic(200, 1e6)[0], np.zeros(200, np.float32), None),
    "separable": (separable(1000), np.zeros(1000, np.float32), 1e-4),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_as_good_as_scipy(name: str) -> None:
    function, start, tolerance = PROBLEMS[name]
    ours = minimize(function, start)
    expected, theirs = scipy_losses(function, start)
    # Same minimiser, to what float32 variables and the flatness of the function allow.
    if tolerance is not None:
        np.testing.assert_allclose(ours.x, expected, atol=tolerance)
    # As many evaluations, to one quarter more, for any share of the reachable loss.
    span = theirs[0] - theirs.min()
    for share in (1e-1, 1e-2, 1e-3, 1e-4):
        level = theirs.min() + share * span
        assert first_below(ours.history.loss, level) <= 1.25 * first_below(theirs, level) + 3


def test_ill_conditioned_quadratic_reaches_the_float32_limit() -> None:
    function, target = quadratic(100, 1e6)
    result = minimize(function, np.zeros(100, np.float32))
    assert result.loss < 1e-11 * result.history.loss[0]
    np.testing.assert_allclose(result.x, target, atol=3e-3)


def test_most_iterations_take_one_evaluation() -> None:
    function, start, _ = PROBLEMS["separable"]
    result = minimize(function, start)
    useful = first_below(result.history.loss, 1e-6 * result.history.loss[0])
    assert useful >= 10
    assert useful <= 1.2 * result.history.iteration[useful - 1] + 4


def dense_direction(state: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """-H g with the BFGS update H ← (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ written out."""
    gradient = state["gradient"].astype(np.float64)
    identity = np.eye(gradient.size)
    pairs = [
        (state[f"s{i}"].astype(np.float64), state[f"y{i}"].astype(np.float64))
        for i in range(int(state["pairs"]))
    ]
    s, y = pairs[-1]
    inverse = (s @ y) / (y @ y) * identity
    for s, y in pairs:
        rho = 1 / (s @ y)
        left = identity - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
    return -inverse @ gradient


def test_direction_equals_the_dense_formula() -> None:
    states = []
    run(
        objective(logistic(100, 8), 8),
        np.zeros(8),
        LBFGS(memory=3),
        StopRules(max_iterations=12, plateau=None),
        lambda progress: states.append(progress.state()),
    )
    assert [int(state["pairs"]) for state in states[:5]] == [1, 2, 3, 3, 3]
    for before, after in pairwise(states):
        moved = after["x"].astype(np.float64) - before["x"]
        direction = dense_direction(before)
        step = (moved @ direction) / (direction @ direction)
        # x is rounded to float32 and so is what it moved.
        np.testing.assert_allclose(moved, step * direction, atol=3e-7 + 1e-5 * abs(moved).max())


def test_first_step_moves_by_the_size_asked_for() -> None:
    points = []

    def linear(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        points.append(x.copy())
        return float(x.sum()), np.ones_like(x)

    run(objective(linear, 400), np.zeros(400), LBFGS(first_step=0.03), StopRules(2))
    assert np.sqrt(np.mean(points[1].astype(np.float64) ** 2)) == pytest.approx(0.03, rel=1e-6)


@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_unit_of_the_loss_does_not_matter(unit: float) -> None:
    function, start, _ = PROBLEMS["logistic"]

    def scaled(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = function(x)
        return unit * value, unit * gradient

    ours = minimize(scaled, start)
    plain = minimize(function, start)
    np.testing.assert_allclose(ours.x, plain.x, atol=1e-3)
    # Until the last digits, the two take the same way.
    head = int(0.4 * plain.iterations)
    np.testing.assert_allclose(
        ours.history.loss[:head], unit * plain.history.loss[:head], rtol=1e-3
    )


def test_rounding_of_the_loss_does_not_stop_it() -> None:
    """With a loss that is known to float32 only, the gradient still leads to the minimum."""
    function, target = quadratic(50, 1e2, seed=3)

    def rounded(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        value, gradient = function(x)
        return float(np.float32(value + 1000.0)), gradient.astype(np.float32)

    result = minimize(rounded, np.zeros(50, np.float32))
    value, _ = function(result.x)
    # One unit in the last place of 1000 is 6e-5.
    assert value < 3e-4
    np.testing.assert_allclose(result.x, target, atol=0.02)


def test_wrong_gradient_ends_with_a_reason() -> None:
    """Uphill 'gradients': no search can succeed, and it says so after two of them."""

    def uphill(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return float((x * x).sum()), -2 * x

    result = run(objective(uphill, 3), np.ones(3), LBFGS(), NO_PLATEAU)
    assert result.reason == "line-search"
    assert result.iterations == 0
    assert result.evaluations <= 1 + 2 * LBFGS().max_search
    np.testing.assert_array_equal(result.x, np.ones(3))


def test_kinks_do_not_trap_it() -> None:
    """Σ |x|: the gradient jumps everywhere that matters, as behind ReLU and max pooling."""

    def kinked(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        weight = np.arange(1, 21)
        return float(np.sum(weight * np.abs(x))), weight * np.sign(x)

    rng = np.random.default_rng(2)
    start = rng.normal(size=20).astype(np.float32)
    result = minimize(kinked, start)
    assert result.loss < 1e-2 * kinked(start)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": 0}, "memory must be 1 to 1000 pairs, not 0"),
        ({"first_step": -1.0}, "first_step must be a positive number"),
        ({"c1": 0.95}, "0 < c1 < c2 < 1"),
        ({"noise": 1.5}, "noise must lie in"),
        ({"max_search": 1}, "max_search must be at least 2"),
        ({"patience": 0}, "patience must be at least 1"),
    ],
)
def test_refuses_impossible_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LBFGS(**settings).build()
