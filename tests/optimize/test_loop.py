"""The update loop: when it ends, what it reports, what it does with bad values."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from optimize_problems import objective, quadratic, rosenbrock, rosenbrock_start, separable

from fastsynth import _core
from fastsynth._errors import DivergenceError
from fastsynth.optimize import (
    LBFGS,
    Adam,
    Cancel,
    GradientDescent,
    Optimizer,
    Progress,
    StopRules,
    run,
)

OPTIMIZERS = [LBFGS(), Adam(), GradientDescent(step=1e-3)]
FOREVER = StopRules(max_evaluations=None, plateau=None)
START = rosenbrock_start(10)


@pytest.fixture(params=OPTIMIZERS, ids=["lbfgs", "adam", "gd"])
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    chosen: Optimizer = request.param
    return chosen


@pytest.fixture
def problem() -> _core.Objective:
    return objective(rosenbrock, 10)


# ---- limits ----


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_evaluations(problem: _core.Objective, optimizer: Optimizer, limit: int) -> None:
    result = run(problem, START, optimizer, StopRules(limit))
    assert (result.reason, result.evaluations) == ("evaluations", limit)
    assert len(result.history.loss) == limit


def test_iterations(problem: _core.Objective, optimizer: Optimizer) -> None:
    result = run(problem, START, optimizer, StopRules(max_iterations=3))
    assert (result.reason, result.iterations) == ("iterations", 3)


def test_time(optimizer: Optimizer) -> None:
    def slow(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        time.sleep(0.01)
        return rosenbrock(x)

    rules = StopRules(max_evaluations=None, time_limit=0.1, plateau=None)
    result = run(objective(slow, 10), START, optimizer, rules)
    assert result.reason == "time"
    assert 0.1 <= result.seconds < 1.0
    assert 2 <= result.evaluations <= 11


def test_even_no_time_is_enough_for_one_evaluation(problem: _core.Objective) -> None:
    result = run(problem, START, "adam", StopRules(time_limit=0.0))
    assert (result.reason, result.evaluations) == ("time", 1)
    assert result.loss == pytest.approx(rosenbrock(START)[0])


def test_plateau() -> None:
    """Loss 100, 99.5, 99, ...: 10 evaluations gain 5 %, then 1 - t: less than 1 % at some point."""
    losses = iter([*np.arange(100, 90, -0.5), *np.full(100, 90.0)])

    def falling(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return float(next(losses)), np.ones_like(x)

    result = run(objective(falling, 4), np.zeros(4), GradientDescent(step=1e-3), StopRules())
    # 20 falling values, 90.5 the last of them; 90 is evaluation 21; 90.5 → 90 gains under 1 %.
    assert result.reason == "plateau"
    best = np.minimum.accumulate(result.history.loss)
    gains = 1 - best[10:] / best[:-10]
    assert gains[-1] < 0.01
    assert np.all(gains[:-1] >= 0.01)


def test_plateau_can_be_changed_and_turned_off() -> None:
    def flat(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return 1.0, np.ones_like(x)

    descent = GradientDescent(step=1e-3)
    result = run(objective(flat, 2), np.zeros(2), descent, StopRules(plateau=(3, 0.5)))
    assert (result.reason, result.evaluations) == ("plateau", 4)
    result = run(objective(flat, 2), np.zeros(2), descent, StopRules(50, plateau=None))
    assert (result.reason, result.evaluations) == ("evaluations", 50)


def test_gradient_tolerance(optimizer: Optimizer) -> None:
    function, _ = quadratic(10, 10.0)
    rules = StopRules(max_evaluations=100_000, plateau=None, gradient_tolerance=0.5)
    result = run(objective(function, 10), np.zeros(10), optimizer, rules)
    assert result.reason == "gradient"
    assert np.abs(function(result.x)[1]).max() <= 0.5


def test_already_optimal(optimizer: Optimizer) -> None:
    result = run(objective(rosenbrock, 4), np.ones(4), optimizer, FOREVER)
    assert (result.reason, result.evaluations, result.iterations) == ("gradient", 1, 0)
    np.testing.assert_array_equal(result.x, np.ones(4))


def test_one_variable(optimizer: Optimizer) -> None:
    def parabola(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return float((x[0] - 3) ** 2), 2 * (x - 3)

    result = run(objective(parabola, 1), [2.0], optimizer, StopRules(3000, plateau=None))
    assert result.x.shape == (1,)
    assert result.x[0] == pytest.approx(3, abs=0.01)


def test_returns_the_best_point_not_the_last() -> None:
    def bouncing(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return float(x[0] ** 2), 2 * x

    # |1 - 2 δ| > 1: the iterates move away from the minimum.
    result = run(objective(bouncing, 1), [1.0], GradientDescent(step=1.1), StopRules(9))
    assert result.loss == 1.0
    assert result.x[0] == 1.0
    assert result.history.loss[-1] > 1.0


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (StopRules(0), "max_evaluations must be at least 1, not 0"),
        (StopRules(max_iterations=0), "max_iterations must be at least 1, not 0"),
        (StopRules(time_limit=-1.0), "time_limit must not be negative, but is -1"),
        (StopRules(time_limit=math.nan), "time_limit must not be negative, but is nan"),
        (StopRules(plateau=(0, 0.1)), "plateau_window must be at least 1"),
        (StopRules(plateau=(10, 1.0)), r"plateau_drop must lie in \[0, 1\), not 1"),
        (StopRules(gradient_tolerance=-1.0), "gradient_tolerance must not be negative"),
    ],
)
def test_refuses_impossible_rules(problem: _core.Objective, rules: StopRules, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(problem, START, rules=rules)


def test_refuses_a_start_that_does_not_fit(problem: _core.Objective) -> None:
    with pytest.raises(ValueError, match="x has 9 values; the objective has 10 variables"):
        run(problem, START[:9])
    with pytest.raises(ValueError, match="not finite"):
        run(problem, np.full(10, np.nan))


# ---- what is reported ----


def test_history_and_shape() -> None:
    start = np.random.default_rng(0).random((3, 4, 5))
    before = start.copy()
    result = run(objective(separable(60), 60), start, rules=StopRules(20, plateau=None))
    assert result.x.shape == (3, 4, 5)
    assert result.x.dtype == np.float32
    np.testing.assert_array_equal(start, before)
    history = result.history
    assert history.names == ("function",)
    assert history.parts.shape == (result.evaluations, 1)
    np.testing.assert_array_equal(history.parts[:, 0], history.loss)
    assert np.all(np.diff(history.seconds) >= 0)
    assert np.all(np.diff(history.iteration) >= 0)
    assert history.loss.min() == result.loss
    assert separable(60)(result.x.ravel())[0] == pytest.approx(result.loss)


def test_progress(problem: _core.Objective, optimizer: Optimizer) -> None:
    seen: list[tuple[int, int, float, float]] = []

    def look(progress: Progress) -> None:
        assert progress.names == ["function"]
        assert progress.values == [progress.loss]
        assert progress.seconds > 0
        best = progress.best()
        assert rosenbrock(best)[0] == pytest.approx(progress.best_loss)
        best[:] = np.nan  # a copy: this does no harm
        seen.append((progress.iteration, progress.evaluation, progress.loss, progress.best_loss))

    result = run(problem, START, optimizer, StopRules(max_iterations=10, plateau=None), look)
    assert [entry[0] for entry in seen] == list(range(1, 11))
    assert seen[-1][1] == result.evaluations
    assert seen[-1][3] == result.loss
    assert np.isfinite(result.x).all()


def test_progress_interval(problem: _core.Objective) -> None:
    seen: list[int] = []
    run(
        problem,
        START,
        rules=StopRules(max_iterations=20, plateau=None),
        callback=lambda progress: seen.append(progress.iteration),
        interval=3600,
    )
    assert seen == [1, 20]  # the first, and always the last


def test_progress_is_closed_after_its_callback(problem: _core.Objective) -> None:
    kept: list[Progress] = []
    run(problem, START, rules=StopRules(3), callback=kept.append)
    assert kept[0].iteration == 1
    with pytest.raises(RuntimeError, match="is over"):
        kept[0].best()
    with pytest.raises(RuntimeError, match="is over"):
        kept[0].state()


# ---- ending it from outside ----


def test_cancel_from_the_callback(problem: _core.Objective, optimizer: Optimizer) -> None:
    result = run(problem, START, optimizer, FOREVER, lambda progress: progress.iteration < 4)
    assert (result.reason, result.iterations) == ("cancelled", 4)
    assert result.loss < rosenbrock(START)[0]


def test_cancel_from_another_thread(optimizer: Optimizer) -> None:
    cancel = Cancel()

    def endless(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        time.sleep(0.001)
        return float(-x.sum()), -np.ones_like(x)

    timer = threading.Timer(0.1, cancel.set)
    timer.start()
    result = run(objective(endless, 4), np.zeros(4), optimizer, FOREVER, cancel=cancel)
    timer.join()
    assert result.reason == "cancelled"
    assert result.evaluations > 1


def test_cancelled_before_the_start(problem: _core.Objective) -> None:
    cancel = Cancel()
    cancel.set()
    result = run(problem, START, cancel=cancel)
    assert (result.reason, result.evaluations, result.loss) == ("cancelled", 0, math.inf)
    np.testing.assert_array_equal(result.x, START)
    cancel.clear()
    assert not cancel.is_set()
    assert run(problem, START, cancel=cancel).reason != "cancelled"


def test_keyboard_interrupt_in_an_evaluation() -> None:
    calls = 0

    def interrupted(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        nonlocal calls
        calls += 1
        if calls == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return rosenbrock(x)

    result = run(objective(interrupted, 10), START, "adam", FOREVER)
    assert result.reason == "interrupted"
    assert result.evaluations in (4, 5)  # the signal may surface within the evaluation or after
    assert result.loss == np.nanmin(result.history.loss)


def test_keyboard_interrupt_in_the_callback(problem: _core.Objective) -> None:
    def press(progress: Progress) -> None:
        if progress.iteration == 3:
            raise KeyboardInterrupt

    result = run(problem, START, "adam", FOREVER, press)
    assert (result.reason, result.iterations) == ("interrupted", 3)


def test_other_signal_handlers_keep_their_exceptions(problem: _core.Objective) -> None:
    class AlarmError(Exception):
        pass

    def ring(_signal: int, _frame: Any) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(AlarmError):
            run(problem, START, GradientDescent(step=1e-9), FOREVER)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_exception_of_the_callback_propagates(
    problem: _core.Objective, optimizer: Optimizer
) -> None:
    def fail(progress: Progress) -> None:
        if progress.iteration == 2:
            raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        run(problem, START, optimizer, FOREVER, fail)
    # Neither the objective nor the description of the optimiser has suffered.
    first = run(problem, START, optimizer, StopRules(20, plateau=None))
    second = run(objective(rosenbrock, 10), START, optimizer, StopRules(20, plateau=None))
    np.testing.assert_array_equal(first.x, second.x)


def test_an_exception_of_the_objective_propagates(optimizer: Optimizer) -> None:
    def broken(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(objective(broken, 3), np.zeros(3), optimizer)


def test_runs_on_any_thread_and_side_by_side() -> None:
    results: dict[int, NDArray[np.float32]] = {}

    def work(index: int) -> None:
        problem = objective(rosenbrock, 10)
        results[index] = run(problem, START, "lbfgs", StopRules(60, plateau=None)).x

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3]
    for x in results.values():
        np.testing.assert_array_equal(x, results[0])


# ---- values that are not finite ----


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_bad_loss_at_the_start(optimizer: Optimizer, bad: float) -> None:
    def broken(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return bad, np.ones_like(x)

    with pytest.raises(DivergenceError, match=rf"the loss is {bad} at evaluation 1, the") as error:
        run(objective(broken, 3), np.zeros(3), optimizer)
    assert error.value.image is None


def test_bad_gradient_at_the_start(optimizer: Optimizer) -> None:
    def broken(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return 1.0, np.array([1.0, np.nan, 1.0], np.float32)

    with pytest.raises(DivergenceError, match="the gradient is not finite at evaluation 1"):
        run(objective(broken, 3), np.zeros(3), optimizer)


def test_divergence_carries_the_last_good_image() -> None:
    def steep(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        with np.errstate(over="ignore", invalid="ignore"):
            return float((x.astype(np.float64) ** 4).sum()), (4 * x**3).astype(np.float32)

    start = np.full((2, 3), 2.0, np.float32)
    with pytest.raises(DivergenceError, match="the last good loss was 96") as error:
        run(objective(steep, 6), start, GradientDescent(step=10.0))
    np.testing.assert_array_equal(error.value.image, start)


def test_line_search_steps_back_from_bad_values() -> None:
    def log_barrier(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        """-log(1 - x) - 100 x: defined for x < 1 only, least at 0.99."""
        with np.errstate(all="ignore"):
            value = -np.log(1 - x.astype(np.float64)) - 100 * x
        return float(value.sum()), 1 / (1 - x.astype(np.float64)) - 100

    # The first trial step goes far beyond the wall at 1.
    result = run(objective(log_barrier, 3), np.zeros(3), LBFGS(first_step=5.0), FOREVER)
    assert np.isnan(result.history.loss).any()
    np.testing.assert_allclose(result.x, 0.99, atol=1e-4)


def test_line_search_gives_up_when_bad_values_persist() -> None:
    calls = 0

    def fragile(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        nonlocal calls
        calls += 1
        return (1.0 if calls == 1 else math.nan), np.ones_like(x)

    with pytest.raises(
        DivergenceError, match=r"at evaluation \d+; the last good loss was 1\."
    ) as e:
        run(objective(fragile, 3), np.zeros(3), "lbfgs")
    np.testing.assert_array_equal(e.value.image, np.zeros(3))
    assert calls <= 13


# ---- determinism ----


@pytest.mark.parametrize("name", ["lbfgs", "adam", "gd"])
def test_number_of_threads_does_not_matter(name: str) -> None:
    size = 200_001  # seven ranges of the pool, the last one odd
    results = [
        run(
            objective(separable(size), size),
            np.zeros(size),
            name,
            StopRules(15, plateau=None),
            pool=_core.ThreadPool(threads),
        )
        for threads in (1, 2, 5)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].x, other.x)
        np.testing.assert_array_equal(results[0].history.loss, other.history.loss)
