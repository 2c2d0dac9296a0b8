"""The update loop: runs an optimiser on an objective until a rule or the caller ends it.

The loop itself is C++ and runs without the GIL; see cpp/include/fastsynth/optimize/minimize.hpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsynth import _core
from fastsynth._core import Cancel, Progress
from fastsynth.optimize.optimizers import Optimizer, make_optimizer

__all__ = ["Cancel", "History", "Progress", "RunResult", "StopRules", "handed_over", "run"]

UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class StopRules:
    """When a run ends. Whichever rule holds first; None turns a rule off.

    All counts and times are of the whole run, including what came before a `resume`.

    Parameters
    ----------
    max_evaluations
        Evaluations of loss and gradient. Never exceeded.
    max_iterations
        Complete iterations.
    time_limit
        Seconds. Looked at before each evaluation: the run may last one evaluation longer, and
        always makes one.
    plateau
        (window, drop): stop when the best loss fell by less than the share `drop` of itself within
        the last `window` evaluations. Looked at after each iteration.
    gradient_tolerance
        Stop where max |∂L/∂x_i| is not larger. 0 stops only where the gradient is exactly zero.

    Examples
    --------
    >>> StopRules(max_evaluations=100, time_limit=60).plateau
    (10, 0.01)
    """

    max_evaluations: int | None = 500
    max_iterations: int | None = None
    time_limit: float | None = None
    plateau: tuple[int, float] | None = (10, 0.01)
    gradient_tolerance: float = 0.0

    def build(self) -> _core.Rules:
        """The rules in the form of the core."""
        rules = _core.Rules()
        rules.max_evaluations = UNLIMITED if self.max_evaluations is None else self.max_evaluations
        rules.max_iterations = UNLIMITED if self.max_iterations is None else self.max_iterations
        rules.time_limit = math.inf if self.time_limit is None else self.time_limit
        rules.plateau_window, rules.plateau_drop = self.plateau or (1, 0.0)
        rules.gradient_tolerance = self.gradient_tolerance
        return rules


@dataclass(frozen=True)
class History:
    """One entry per evaluation; entry i is evaluation i + 1.

    `iteration` counts the iterations that were complete before, `seconds` runs from the start of
    the run to the end of the evaluation, `loss` is NaN where loss or gradient were not finite, and
    `parts` has shape (evaluations, parts): the summands of the loss in the order of `names`.
    """

    names: tuple[str, ...]
    iteration: NDArray[np.int64]
    seconds: NDArray[np.float64]
    loss: NDArray[np.float64]
    parts: NDArray[np.float64]


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes
    ----------
    x
        The point with the least loss of all that were evaluated; shape of the start.
    loss
        Its loss; infinite when the run was cancelled before the first evaluation.
    reason
        "evaluations", "iterations", "time", "plateau", "gradient", "line-search" (no lower point
        can be found, also for want of precision), "cancelled" or "interrupted" (Ctrl-C).
    evaluations, iterations, seconds
        Of the whole run.
    history
        Loss and parts of every evaluation.
    average
        The running average of the iterates, where the optimiser keeps one.
    state
        With `keep_state`: what `resume` continues from.
    """

    x: NDArray[np.float32]
    loss: float
    reason: str
    evaluations: int
    iterations: int
    seconds: float
    history: History
    average: NDArray[np.float32] | None = None
    state: dict[str, Any] | None = None


def run(
    objective: _core.Objective,
    x: ArrayLike,
    optimizer: str | Optimizer = "lbfgs",
    rules: StopRules | None = None,
    callback: Callable[[Progress], object] | None = None,
    *,
    cancel: Cancel | None = None,
    interval: float = 0.0,
    pool: _core.ThreadPool | None = None,
    resume: Mapping[str, Any] | None = None,
    keep_state: bool = False,
) -> RunResult:
    """Minimises an objective from x.

    Parameters
    ----------
    objective
        Of `x.size` variables.
    x
        Start, finite, any shape; converted to float32. It is not changed.
    optimizer
        "lbfgs", "adam", "gd" or a description of `fastsynth.optimize`.
    rules
        When to end; `StopRules()` where None.
    callback
        Called with a `Progress` after each iteration; returning False ends the run. It may call
        `progress.best()` for a copy of the best image so far and `progress.state()` for what
        `resume` needs; both work only while it runs. What it raises ends the run and propagates.
    cancel
        A flag that any thread may set; looked at before each evaluation.
    interval
        Seconds between two calls of `callback` at least. The last iteration is always reported.
    pool
        Threads for the arithmetic of the optimiser; one per core where None. Results do not depend
        on their number.
    resume
        A state saved from a run of the same objective, optimiser and size. The run goes on as if
        it had never stopped, bit for bit; `x` then only gives the shape.
    keep_state
        Return the state at the last complete iteration too. It holds the optimiser's vectors.

    Returns
    -------
    RunResult
        Also after a cancelled, interrupted (Ctrl-C) or timed out run: the best image so far.

    Raises
    ------
    DivergenceError
        When loss or gradient are not finite at the start, or stay so however short the step;
        `.image` is the best image so far, or None.
    ValueError
        When sizes do not fit, a setting is out of range, or `resume` is not a fitting state.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsynth import _core
    >>> target = np.array([0.2, 0.4, 0.6], np.float32)
    >>> square = lambda x: (float(np.sum((x - target) ** 2)), 2 * (x - target))
    >>> result = run(_core.FunctionObjective(square, 3), np.zeros(3))
    >>> result.x.round(4), result.reason
    (array([0.2, 0.4, 0.6], dtype=float32), 'gradient')
    """
    start = np.ascontiguousarray(x, dtype=np.float32).reshape(np.shape(x))
    minimization = _core.Minimization(
        objective,
        make_optimizer(optimizer).build(),
        _core.ThreadPool() if pool is None else pool,
        start,
    )
    del x, start  # of a large picture these would be gigabytes
    if resume is not None:
        minimization.restore(dict(resume))
    reason = minimization.run(
        (StopRules() if rules is None else rules).build(),
        progress=callback,
        interval=interval,
        cancel=cancel,
    )
    history = minimization.history()
    average = minimization.average()
    state = minimization.state() if keep_state else None
    return RunResult(
        x=minimization.finish(),
        loss=minimization.best_loss,
        reason=reason,
        evaluations=minimization.evaluations,
        iterations=minimization.iterations,
        seconds=minimization.seconds,
        history=History(
            names=tuple(objective.names),
            iteration=history["iteration"].astype(np.int64),
            seconds=history["seconds"],
            loss=history["loss"],
            parts=history["parts"],
        ),
        average=average,
        state=state,
    )


def handed_over(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """A state from which a run on another objective of the same variables begins.

    Parameters
    ----------
    state
        Of a run that ended. What L-BFGS has learnt of the curvature goes on, for an objective that
        differs little; the best point is where it begins, and counts and history are empty.

    Returns
    -------
    dict or None
        For `resume` of `run`; None for optimisers other than L-BFGS.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsynth import _core
    >>> scales = np.array([1, 9, 100], np.float32)
    >>> bowl = lambda x: (float(np.sum(scales * x**2)), 2 * scales * x)
    >>> first = run(_core.FunctionObjective(bowl, 3), np.ones(3), keep_state=True)
    >>> moved = lambda x: bowl(x - 0.1)
    >>> begin = handed_over(first.state)
    >>> goes_on = run(_core.FunctionObjective(moved, 3), np.ones(3), resume=begin)
    >>> goes_on.evaluations < first.evaluations
    True
    """
    if state["optimizer"] != "lbfgs":
        return None
    empty = {key: value[:0] for key, value in state.items() if key.startswith("history_")}
    return {
        **state,
        **empty,
        "x": state["best"],
        "best_loss": math.inf,
        "seconds": 0.0,
        "iterations": 0,
        "idle": 0,
        "evaluated": False,
    }
