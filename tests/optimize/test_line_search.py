"""The line search against the test functions of Moré & Thuente (1994), section 5."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fastsynth import _core

Phi = Callable[[float], tuple[float, float]]


def phi1(t: float) -> tuple[float, float]:
    beta = 2.0
    return -t / (t * t + beta), (t * t - beta) / (t * t + beta) ** 2


def phi2(t: float) -> tuple[float, float]:
    z = t + 0.004
    return z**5 - 2 * z**4, 5 * z**4 - 8 * z**3


def phi3(t: float) -> tuple[float, float]:
    beta, waves = 0.01, 39
    if t <= 1 - beta:
        value, slope = 1 - t, -1.0
    elif t >= 1 + beta:
        value, slope = t - 1, 1.0
    else:
        value, slope = (t - 1) ** 2 / (2 * beta) + beta / 2, (t - 1) / beta
    angle = waves * math.pi / 2
    value += 2 * (1 - beta) / (waves * math.pi) * math.sin(angle * t)
    return value, slope + (1 - beta) * math.cos(angle * t)


def yanai(beta1: float, beta2: float) -> Phi:
    def gamma(beta: float) -> float:
        return math.sqrt(1 + beta * beta) - beta

    def phi(t: float) -> tuple[float, float]:
        left = math.hypot(1 - t, beta2)
        right = math.hypot(t, beta1)
        value = gamma(beta1) * left + gamma(beta2) * right
        return value, -gamma(beta1) * (1 - t) / left + gamma(beta2) * t / right

    return phi


CASES = {
    "1": (phi1, 0.001, 0.1),
    "2": (phi2, 0.1, 0.1),
    "3": (phi3, 0.1, 0.1),
    "4": (yanai(0.001, 0.001), 0.001, 0.001),
    "5": (yanai(0.01, 0.001), 0.001, 0.001),
    "6": (yanai(0.001, 0.01), 0.001, 0.001),
}


@pytest.mark.parametrize("first", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize("case", CASES)
def test_strong_wolfe_on_hard_functions(case: str, first: float) -> None:
    phi, c1, c2 = CASES[case]
    calls = []

    def counted(t: float) -> tuple[float, float]:
        calls.append(t)
        return phi(t)

    found = _core.line_search(counted, first, c1=c1, c2=c2, max_evaluations=30)
    assert found["status"] == "accepted"
    value0, slope0 = phi(0.0)
    value, slope = phi(found["step"])
    assert value <= value0 + c1 * found["step"] * slope0
    assert abs(slope) <= c2 * abs(slope0)
    assert found["evaluations"] == len(calls) - 1  # one call is φ(0)
    assert found["evaluations"] <= 20


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_units_do_not_matter(scale: float) -> None:
    def phi(t: float) -> tuple[float, float]:
        return scale * phi1(t)[0], scale * phi1(t)[1]

    found = _core.line_search(phi, 0.1, c1=0.001, c2=0.1)
    expected = _core.line_search(phi1, 0.1, c1=0.001, c2=0.1)
    assert found["status"] == "accepted"
    assert found["step"] == pytest.approx(expected["step"], rel=1e-9)


def test_newton_step_of_a_parabola_is_accepted_at_once() -> None:
    found = _core.line_search(lambda t: ((t - 1) ** 2, 2 * (t - 1)), 1.0)
    assert (found["status"], found["step"], found["evaluations"]) == ("accepted", 1.0, 1)


@pytest.mark.parametrize("wall", [1e-6, 0.3, 0.7])
def test_retreats_from_where_there_is_no_value(wall: float) -> None:
    def phi(t: float) -> tuple[float, float]:
        return (math.nan, math.nan) if t > wall else (-t, -1.0)

    found = _core.line_search(phi, 1.0)
    assert found["status"] == "accepted"
    assert 0 < found["step"] <= wall


def test_a_hole_inside_the_interval_is_survived() -> None:
    def phi(t: float) -> tuple[float, float]:
        return (math.inf, math.nan) if 0.4 < t < 0.6 else ((t - 0.5) ** 2, 2 * (t - 0.5))

    found = _core.line_search(phi, 2.0, c2=0.3)
    assert found["status"] == "accepted"
    assert phi(found["step"])[0] < 0.25


def test_no_finite_value_anywhere_is_divergence() -> None:
    found = _core.line_search(lambda t: (math.nan if t else 0.0, -1.0), 1.0)
    assert found["status"] == "diverged"


def test_a_function_without_minimum_is_followed_for_as_long_as_allowed() -> None:
    found = _core.line_search(lambda t: (-t, -1.0), 1.0, max_evaluations=8)
    assert found["status"] == "failed"
    assert found["evaluations"] == 8
    assert found["step"] > 100  # the best point is handed over


def test_slopes_decide_where_values_drown_in_noise() -> None:
    # The value carries rounding noise far above its true differences; the slope is exact.
    rng = np.random.default_rng(0)

    def phi(t: float) -> tuple[float, float]:
        return 1.0 + 1e-12 * (t - 1) ** 2 + 3e-8 * rng.uniform(-1, 1), 2e-12 * (t - 1)

    for _ in range(50):
        found = _core.line_search(phi, 5.0, c2=0.5, noise=1e-7)
        assert found["status"] == "accepted"
        assert abs(found["step"] - 1) < 0.5 + 1e-9


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_refuses_directions_that_do_not_descend(slope: float) -> None:
    with pytest.raises(ValueError, match="does not descend"):
        _core.line_search(lambda t: (0.0, slope), 1.0)


@pytest.mark.parametrize("first", [0.0, -1.0, math.inf, math.nan])
def test_refuses_impossible_first_steps(first: float) -> None:
    with pytest.raises(ValueError, match="first step"):
        _core.line_search(phi1, first)
