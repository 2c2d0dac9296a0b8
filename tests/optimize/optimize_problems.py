"""Standard functions to minimise, in float64: x (float32) -> (value, gradient)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastsynth import _core

Function = Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float64]]]


def objective(function: Function, size: int) -> _core.FunctionObjective:
    return _core.FunctionObjective(function, size)


def rosenbrock(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
    x = x.astype(np.float64)
    bend = x[1:] - x[:-1] ** 2
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * bend * x[:-1] - 2 * (1 - x[:-1])
    gradient[1:] += 200 * bend
    return float(np.sum(100 * bend**2 + (1 - x[:-1]) ** 2)), gradient


def rosenbrock_start(size: int) -> NDArray[np.float32]:
    return np.tile(np.array([-1.2, 1.0], np.float32), size // 2)


def quadratic(size: int, condition: float, seed: int = 0) -> tuple[Function, NDArray[np.float64]]:
    """½ (x-x*)ᵀ A (x-x*) with eigenvalues 1 … condition in a random basis; and x*."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = (basis * np.geomspace(1.0, condition, size)) @ basis.T
    target = rng.normal(size=size)

    def function(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        offset = x.astype(np.float64) - target
        gradient = matrix @ offset
        return float(0.5 * offset @ gradient), gradient

    return function, target


def logistic(rows: int, columns: int, seed: int = 0) -> Function:
    """Logistic regression with a ridge of 1e-3, labels from a random plane and noise."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(rows, columns))
    labels = np.where(data @ rng.normal(size=columns) + rng.normal(size=rows) > 0, 1.0, -1.0)

    def function(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        x = x.astype(np.float64)
        margin = labels * (data @ x)
        value = np.logaddexp(0, -margin).mean() + 0.5e-3 * (x @ x)
        slope = -labels / (1 + np.exp(margin)) / rows
        return float(value), data.T @ slope + 1e-3 * x

    return function


def separable(size: int) -> Function:
    """A smooth function of many variables that is cheap: Σ c (1 - cos(x-t)) + ½ ε (x-t)²."""
    rng = np.random.default_rng(1)
    target = rng.random(size)
    weight = rng.random(size) + 0.1

    def function(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        offset = x.astype(np.float64) - target
        value = np.sum(weight * (1 - np.cos(offset)) + 0.05 * offset**2)
        return float(value), weight * np.sin(offset) + 0.1 * offset

    return function
