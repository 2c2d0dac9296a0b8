"""L-BFGS as ONNX nodes: its direction against the two-loop recursion in float64, and whole runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastsynth import _core
from fastsynth._errors import DivergenceError
from fastsynth.network.builder import GraphBuilder, Tensor
from fastsynth.network.resident import ResidentGraph
from fastsynth.network.session import choose_provider
from fastsynth.optimize import LBFGS, Adam, GradientDescent, StopRules, run
from fastsynth.optimize.step import StepGraph
from fastsynth.optimize.step_lbfgs import coefficients
from fastsynth.optimize.step_loop import Start, run_together

CPU = choose_provider("cpu")
SIZE = (4, 5)


@dataclass(frozen=True)
class Nodes:
    loss: Tensor
    parts: Tensor
    gradient: Tensor
    host: Any = None


class Valley:
    """f = Σ a (x - c)² + (Σ b (x - c)²)², of values that differ a hundred times in curvature."""

    names = ("valley",)
    weights = (1.0,)
    size = SIZE

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        shape = (1, 3, *SIZE)
        self.a = np.asarray(10 ** rng.uniform(-1, 1, shape), np.float32)
        self.b = np.asarray(rng.uniform(0, 1, shape), np.float32)
        self.c = np.asarray(rng.uniform(0, 1, shape), np.float32)

    def build_beside(
        self, others: Any, builder: GraphBuilder, images: Any, weights: Any
    ) -> list[Nodes]:
        every = zip((self, *others), images, weights, strict=True)
        return [valley.build(image, share) for valley, image, share in every]

    def build(self, image: Tensor, weights: Tensor) -> Nodes:
        x = image - self.c
        bowl = (x.square() * self.b).sum()
        value = (x.square() * self.a).sum() + bowl.square()
        gradient = x * self.a * 2.0 + x * self.b * (bowl * 4.0)
        return Nodes(value * weights, value * weights, gradient * weights)

    def engine(self) -> _core.Objective:
        def function(flat: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
            x = flat.reshape(self.a.shape).astype(np.float64) - self.c
            bowl = (x**2 * self.b).sum()
            gradient = 2 * x * self.a + 4 * bowl * x * self.b
            return float((x**2 * self.a).sum() + bowl**2), gradient.ravel()

        return _core.FunctionObjective(function, self.a.size)


def together(optimizer: Any, valleys: Any, *starts: Start) -> list[Any]:
    first, *others = valleys
    return run_together(StepGraph(first, optimizer, others), starts, CPU, 1)


def outcome(optimizer: Any, start: Start) -> Any:
    """A run's result; raises what it raised."""
    (found,) = together(optimizer, [Valley()], start)
    if isinstance(found, Exception):
        raise found
    return found


MIDDLE = np.ones((3, *SIZE), np.float32) * 0.5


def stepped(optimizer: Any, evaluations: int, plateau: Any = None, start: Any = None) -> Any:
    rules = StopRules(max_evaluations=evaluations, plateau=plateau)
    return outcome(optimizer, Start(MIDDLE if start is None else start, rules))


@pytest.mark.parametrize(
    "optimizer",
    [
        GradientDescent(0.01),
        GradientDescent(0.005, momentum=0.5),
        GradientDescent(0.01, normalize=True),
        Adam(0.02),
        Adam(0.05, (0.8, 0.95), average=0.9),
    ],
)
def test_first_order_updates_equal_the_engine(optimizer: Any) -> None:
    found = stepped(optimizer, 60)
    rules = StopRules(max_evaluations=60, plateau=None)
    first = np.ones((3, *SIZE), np.float32) * 0.5
    wanted = run(Valley().engine(), first, optimizer, rules)
    assert found.evaluations == wanted.evaluations == 60
    assert found.iterations == wanted.iterations
    assert np.abs(found.x - wanted.x).max() < 2e-5
    assert np.allclose(found.history.loss, wanted.history.loss, rtol=1e-4)
    if wanted.average is not None:
        assert np.abs(found.average - wanted.average).max() < 2e-5


@pytest.mark.parametrize("memory", [1, 3, 6, 20])
def test_lbfgs_gets_as_far_as_the_engine(memory: int) -> None:
    """Within twice the engine's evaluations for the same loss, and to the minimum."""
    optimizer = LBFGS(memory=memory)
    first = np.ones((3, *SIZE), np.float32) * 0.5
    wanted = run(Valley().engine(), first, optimizer, StopRules(max_evaluations=40, plateau=None))
    found = stepped(optimizer, 80)
    assert found.loss <= max(wanted.loss * 1.01, 1e-7)
    assert found.iterations >= 5


def test_lbfgs_direction_is_the_two_loop_recursion() -> None:
    m, n, kept = 6, 40, 5
    rng = np.random.default_rng(3)
    matrix = np.diag(rng.uniform(0.5, 4, n))
    steps = rng.standard_normal((kept, n))  # newest first
    bends = steps @ matrix + 0.05 * rng.standard_normal((kept, n))
    g = rng.standard_normal(n)

    q, a = g.copy(), np.zeros(kept)
    for i in range(kept):
        a[i] = steps[i] @ q / (steps[i] @ bends[i])
        q -= a[i] * bends[i]
    q *= steps[0] @ bends[0] / (bends[0] @ bends[0])
    for i in reversed(range(kept)):
        q += (a[i] - bends[i] @ q / (steps[i] @ bends[i])) * steps[i]

    def square(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        filled = np.full((m, m), 7.0, np.float32)  # what is not valid must not count
        filled[:kept, :kept] = values
        return filled

    def column(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.append(values, 7.0).astype(np.float32).reshape(m, 1)

    b = GraphBuilder()
    b.input("nothing", (1,))
    valid = b.tensor(np.arange(m, dtype=np.float32).reshape(m, 1)) < float(kept)
    gamma, on_s, on_y = coefficients(
        b,
        b.tensor(square(np.tril(steps @ bends.T))),
        b.tensor(square(bends @ bends.T)),
        along=b.tensor(column(steps @ g)),
        back=b.tensor(column(bends @ g)),
        valid=valid,
        m=m,
    )
    report = b.concat([gamma, on_s.reshape((m,)), on_y.reshape((m,))], 0)
    b.output("report", report, (1 + 2 * m,))
    with ResidentGraph(
        b.model(),
        b.parameters,
        CPU,
        1,
        state={},
        fixed={"nothing": np.zeros(1, np.float32)},
        report=("report", 1 + 2 * m),
    ) as graph:
        found = graph.run(1)[0].astype(np.float64)
    s, y = found[1 : 1 + kept], found[1 + m : 1 + m + kept]
    direction = s @ steps + y @ bends - found[0] * g
    assert np.abs(direction + q).max() < 1e-4 * np.abs(q).max()


def test_rules_end_a_run() -> None:
    assert stepped(LBFGS(), 7).reason == "evaluations"
    late = stepped(GradientDescent(1e-6), 50, plateau=(10, 0.01))
    assert (late.reason, late.evaluations) == ("plateau", 11)
    at_minimum = stepped(LBFGS(), 9, start=np.asarray(Valley().c[0]))
    assert at_minimum.reason == "gradient"


def test_a_step_too_far_diverges_with_the_best_image() -> None:
    with pytest.raises(DivergenceError) as error:
        stepped(GradientDescent(1e4), 60)
    assert error.value.image is not None
    assert np.isfinite(error.value.image).all()


@pytest.mark.parametrize("optimizer", [Adam(), LBFGS(memory=4)])
def test_a_restored_run_goes_on_bit_for_bit(optimizer: Any) -> None:
    whole = stepped(optimizer, 20)
    state = outcome(
        optimizer, Start(MIDDLE, StopRules(max_evaluations=9, plateau=None), keep_state=True)
    ).state
    assert state is not None
    rest = outcome(
        optimizer, Start(MIDDLE, StopRules(max_evaluations=20, plateau=None), resume=state)
    )
    assert np.array_equal(rest.x, whole.x)
    assert np.array_equal(rest.history.loss, whole.history.loss)
    with pytest.raises(ValueError, match="state"):
        outcome(optimizer, Start(MIDDLE, StopRules(), resume={"x": 1}))


def test_the_callback_sees_the_run_and_ends_it() -> None:
    seen = []

    def notify(event: Any) -> bool:
        seen.append((event.evaluation, event.loss, event.best().shape, event.names))
        return len(seen) < 3

    start = Start(np.zeros((3, *SIZE), np.float32), StopRules(max_evaluations=20), notify)
    result = outcome(Adam(), start)
    assert result.reason == "cancelled"
    assert [item[0] for item in seen] == [1, 2, 3]
    assert seen[0][2:] == ((3, *SIZE), ["valley"])


@pytest.mark.parametrize("optimizer", [GradientDescent(0.01), Adam(0.05), LBFGS(memory=4)])
def test_images_of_one_graph_run_as_alone(optimizer: Any) -> None:
    """Their own line searches, states and ends: one is cut short, one diverges, one is resumed."""
    other = np.random.default_rng(5).random((3, *SIZE)).astype(np.float32)
    long = StopRules(max_evaluations=30, plateau=None)
    short = StopRules(max_evaluations=9, plateau=None)
    broken = np.full_like(other, np.nan)

    def fail(_: Any) -> None:
        raise KeyError("the caller's own")

    alone = [outcome(optimizer, Start(x, rules)) for x, rules in ((MIDDLE, long), (other, short))]
    cut = outcome(optimizer, Start(other, short, keep_state=True))
    rest = outcome(optimizer, Start(other, long, resume=cut.state))
    found = together(
        optimizer,
        [Valley(), Valley(), Valley(), Valley(), Valley()],
        Start(MIDDLE, long),
        Start(other, short),
        Start(broken, long),
        Start(other, long, resume=cut.state),
        Start(other, long, fail),
    )
    assert isinstance(found[2], DivergenceError)
    assert isinstance(found[4], KeyError)
    for wanted, result in zip([*alone, rest], [found[0], found[1], found[3]], strict=True):
        assert result.evaluations == wanted.evaluations
        assert result.reason == wanted.reason
        assert np.array_equal(result.x, wanted.x)
        assert np.array_equal(result.history.loss, wanted.history.loss)
