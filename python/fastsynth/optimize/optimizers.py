"""How the image moves: frozen descriptions of the optimisers that the C++ core runs.

A description is a value: it can be compared, printed, stored with a result and used for any number
of runs. Every run builds a fresh optimiser from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.optimize.ascent import Ascent

__all__ = ["LBFGS", "Adam", "GradientDescent", "Optimizer", "make_optimizer"]


@dataclass(frozen=True)
class GradientDescent:
    """Eq. 10 of the paper: N ← N + δ G_L, with G_L = -∂L/∂N.

    Parameters
    ----------
    step
        δ, positive. Its unit is that of x² over that of the loss; with `normalize`, that of x.
    momentum
        μ in [0, 1): V ← μ V + G_L, N ← N + δ V.
    normalize
        Divide each gradient by its mean magnitude, as DeepDream does: a step then moves a value by
        δ on average, whatever the scale of the loss.

    Raises
    ------
    ValueError
        When a value lies outside its range; raised where the run starts.

    Examples
    --------
    >>> GradientDescent(step=0.5)
    GradientDescent(step=0.5, momentum=0.0, normalize=False)
    """

    step: float
    momentum: float = 0.0
    normalize: bool = False

    def build(self) -> _core.Optimizer:
        """A fresh optimiser of the core."""
        return _core.GradientDescent(
            step=self.step, momentum=self.momentum, normalize=self.normalize
        )


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, ICLR 2015, algorithm 1), with bias correction.

    Needs memory for five vectors of the image's size, where `LBFGS` needs 2 `memory` + 6, and no
    exact gradients: the choice for very large images and for losses that change between
    evaluations.

    Parameters
    ----------
    learning_rate
        How far a value moves in a step at most (about), in units of x: 0.02 is 5 of 255 levels.
    betas
        Decay of the running means of the gradient and of its square, each in [0, 1).
    epsilon
        Added to the root of the mean square gradient, in units of the gradient: values whose
        gradient is far below it hardly move.
    average
        Decay γ in [0, 1) of a running average of the iterates, a ← γ a + (1-γ) x, returned as
        `RunResult.average`; 0 keeps none. 0.99 smooths what a large learning rate leaves noisy.

    Raises
    ------
    ValueError
        When a value lies outside its range; raised where the run starts.

    Examples
    --------
    >>> Adam(learning_rate=0.05).betas
    (0.9, 0.99)
    """

    learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-8
    average: float = 0.0

    def build(self) -> _core.Optimizer:
        """A fresh optimiser of the core."""
        beta1, beta2 = self.betas
        return _core.Adam(
            learning_rate=self.learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=self.epsilon,
            average=self.average,
        )


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS (Liu & Nocedal, 1989) with the line search of Moré & Thuente (1994).

    Vectors are float32, products of vectors float64. Most iterations take one evaluation. Where
    differences of the loss drown in rounding, the approximate Wolfe conditions of Hager & Zhang
    (2005) take over. When a search fails, the history is dropped and steepest descent tried once.

    Parameters
    ----------
    memory
        Pairs of image and gradient changes that are kept, 1 to 1000: two vectors each, taken when
        they come.
    first_step
        Root mean square change of x in the first trial step, in units of x.
    c1, c2
        Constants of the strong Wolfe conditions, 0 < c1 < c2 < 1.
    noise
        Relative rounding error of the loss, in [0, 1).
    max_search
        Evaluations in one line search at most, 2 or more.
    patience
        Iterations without a lower loss after which the run ends with reason "line-search".

    Raises
    ------
    ValueError
        When a value lies outside its range; raised where the run starts.

    Examples
    --------
    >>> LBFGS(memory=10) == LBFGS(memory=10)
    True
    """

    memory: int = 20
    first_step: float = 0.01
    c1: float = 1e-4
    c2: float = 0.9
    noise: float = 1e-6
    max_search: int = 20
    patience: int = 10

    def build(self) -> _core.Optimizer:
        """A fresh optimiser of the core."""
        return _core.LBFGS(
            memory=self.memory,
            first_step=self.first_step,
            c1=self.c1,
            c2=self.c2,
            noise=self.noise,
            max_search=self.max_search,
            patience=self.patience,
        )


Optimizer: TypeAlias = GradientDescent | Adam | LBFGS | Ascent


def make_optimizer(value: str | Optimizer) -> Optimizer:
    """The optimiser that a name stands for; a description is returned as it is.

    Parameters
    ----------
    value
        "lbfgs", "adam" or "gd" (normalised gradient descent, δ = 0.01, no momentum), or a
        `LBFGS`, `Adam` or `GradientDescent`.

    Raises
    ------
    ObjectiveError
        For anything else.

    Examples
    --------
    >>> make_optimizer("adam")
    Adam(learning_rate=0.02, betas=(0.9, 0.99), epsilon=1e-08, average=0.0)
    """
    if isinstance(value, (GradientDescent, Adam, LBFGS, Ascent)):
        try:
            value.build()  # checks the settings
        except (TypeError, ValueError) as error:
            raise ObjectiveError(f"{value!r}: {error}") from error
        return value
    if not isinstance(value, str):
        raise ObjectiveError(
            f"optimizer is a {type(value).__name__}; expected 'lbfgs', 'adam', 'gd', or an LBFGS, "
            "Adam or GradientDescent"
        )
    match value.lower():
        case "lbfgs":
            return LBFGS()
        case "adam":
            return Adam()
        case "gd":
            return GradientDescent(step=0.01, normalize=True)
    raise ObjectiveError(f"unknown optimizer {value!r}; expected 'lbfgs', 'adam' or 'gd'")
