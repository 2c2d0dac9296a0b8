"""Gradient descent (Eq. 10) and Adam against their formulas in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from optimize_problems import logistic, objective, separable

from fastsynth import ObjectiveError
from fastsynth.optimize import Adam, GradientDescent, Optimizer, StopRules, make_optimizer, run

SIZE = 1003  # not a multiple of any vector length
FUNCTION = separable(SIZE)
START = np.random.default_rng(5).random(SIZE).astype(np.float32)


def iterates(optimizer: Optimizer, steps: int) -> list[NDArray[np.float32]]:
    """x after each step."""
    points: list[NDArray[np.float32]] = []
    run(
        objective(FUNCTION, SIZE),
        START,
        optimizer,
        StopRules(max_iterations=steps, plateau=None),
        lambda progress: points.append(progress.state()["x"]),
    )
    assert len(points) == steps
    return points


def follow(step: Callable[[NDArray[np.float64]], NDArray[np.float64]], steps: int) -> list:
    """The iterates of x ← x + step(gradient) in float64."""
    x = START.astype(np.float64)
    points = []
    for _ in range(steps):
        x = x + step(FUNCTION(x)[1])
        points.append(x)
    return points


def test_equation_10() -> None:
    """One step is N + δ G_L, G_L = -∂L/∂N, to one rounding of float32."""
    gradient = FUNCTION(START)[1].astype(np.float32).astype(np.float64)
    step = np.float32(0.37)
    (x,) = iterates(GradientDescent(step=float(step)), 1)
    exact = START + float(step) * -gradient
    assert np.all(np.abs(x - exact) <= np.spacing(np.abs(exact).astype(np.float32)))


def test_equation_10_exactly_where_float32_is_exact() -> None:
    def square(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        return float((x * x).sum() / 2), x

    start = np.array([1.0, -2.0, 4.0, 0.5])
    result = run(
        objective(square, 4), start, GradientDescent(step=0.25), StopRules(4, plateau=None)
    )
    np.testing.assert_array_equal(result.x, (start * 0.75**3).astype(np.float32))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradient_descent(momentum: float, normalize: bool) -> None:
    velocity = np.zeros(SIZE)

    def step(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal velocity
        if normalize:
            gradient = gradient / np.mean(np.abs(gradient))
        velocity = momentum * velocity + gradient
        return -0.02 * velocity

    optimizer = GradientDescent(step=0.02, momentum=momentum, normalize=normalize)
    # Normalised steps do not shrink near the minimum, where they would amplify rounding.
    for ours, exact in zip(iterates(optimizer, 10), follow(step, 10), strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize(
    ("rate", "betas", "epsilon"),
    [(0.02, (0.9, 0.99), 1e-8), (0.1, (0.5, 0.999), 1e-3), (0.05, (0.0, 0.0), 1e-8)],
)
def test_adam_step_by_step(rate: float, betas: tuple[float, float], epsilon: float) -> None:
    m = v = np.zeros(SIZE)
    t = 0

    def step(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal m, v, t
        t += 1
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        corrected = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        return -rate * corrected[0] / (np.sqrt(corrected[1]) + epsilon)

    ours = iterates(Adam(rate, betas, epsilon), 12)
    for x, exact in zip(ours, follow(step, 12), strict=True):
        if betas == (0.0, 0.0) and t > 1:
            # Every step is ± rate: a gradient near zero may fall on either side in float32.
            assert np.mean(np.abs(x - exact) < 1e-5) > 0.98
        else:
            np.testing.assert_allclose(x, exact, atol=1e-5)


@pytest.mark.torch
def test_adam_against_torch() -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(START.astype(np.float64))
    adam = torch.optim.Adam([x], lr=0.02, betas=(0.9, 0.99), eps=1e-8)
    for ours in iterates(Adam(), 30):
        x.grad = torch.tensor(FUNCTION(x.numpy())[1])
        adam.step()
        np.testing.assert_allclose(ours, x.numpy(), atol=1e-5)


def test_average_of_the_iterates() -> None:
    points = iterates(Adam(average=0.8), 15)
    average = points[0].astype(np.float64)
    for x in points[1:]:
        average = 0.8 * average + 0.2 * x
    result = run(
        objective(FUNCTION, SIZE),
        START,
        Adam(average=0.8),
        StopRules(max_iterations=15, plateau=None),
    )
    assert result.average is not None
    np.testing.assert_allclose(result.average, average, atol=1e-6)


def test_no_average_unless_asked_for() -> None:
    result = run(objective(FUNCTION, SIZE), START, "adam", StopRules(5))
    assert result.average is None


@pytest.mark.parametrize("name", ["lbfgs", "adam", "gd"])
def test_named_optimizers_descend(name: str) -> None:
    result = run(objective(logistic(100, 20), 20), np.zeros(20), name, StopRules(200, plateau=None))
    assert result.loss < 0.75 * result.history.loss[0]


def test_make_optimizer() -> None:
    adam = Adam(learning_rate=0.5)
    assert make_optimizer(adam) is adam
    assert make_optimizer("LBFGS").memory == 20
    with pytest.raises(ValueError, match=r"unknown optimizer 'sgd'; expected 'lbfgs', 'adam' or"):
        make_optimizer("sgd")
    with pytest.raises(ObjectiveError, match="optimizer is a int"):
        make_optimizer(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (GradientDescent(step=0.0), "step must be a positive number, not 0"),
        (GradientDescent(step=float("nan")), "step must be a positive number, not nan"),
        (GradientDescent(step=1.0, momentum=1.0), r"momentum must lie in \[0, 1\), not 1"),
        (Adam(learning_rate=-1.0), "learning_rate must be a positive number, not -1"),
        (Adam(betas=(1.0, 0.9)), r"betas must lie in \[0, 1\), not \(1, 0.9\)"),
        (Adam(epsilon=0.0), "epsilon must be a positive number"),
        (Adam(average=1.0), "average must lie in"),
    ],
)
def test_refuses_impossible_settings(optimizer: Optimizer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optimizer.build()
