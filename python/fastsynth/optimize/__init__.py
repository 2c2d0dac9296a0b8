"""Optimisers and the update loop: Eq. 10, Adam, L-BFGS, and when to stop."""

from fastsynth.optimize.ascent import Ascent
from fastsynth.optimize.loop import (
    Cancel,
    History,
    Progress,
    RunResult,
    StopRules,
    handed_over,
    run,
)
from fastsynth.optimize.optimizers import (
    LBFGS,
    Adam,
    GradientDescent,
    Optimizer,
    make_optimizer,
)

__all__ = [
    "LBFGS",
    "Adam",
    "Ascent",
    "Cancel",
    "GradientDescent",
    "History",
    "Optimizer",
    "Progress",
    "RunResult",
    "StopRules",
    "handed_over",
    "make_optimizer",
    "run",
]
