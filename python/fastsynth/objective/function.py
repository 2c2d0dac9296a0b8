"""A term written in Python: any function of one layer's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastsynth._errors import ObjectiveError
from fastsynth.objective.base import Canvas, Part, Term

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastsynth.objective.plan import Sources

__all__ = ["FunctionTerm"]


@dataclass(frozen=True, eq=False, repr=False)
class FunctionTerm(Term):
    """A term of your own: `function(features) -> (value, gradient)`.

    layer: the layer whose activations the function gets, float32 of shape (C, H, W).
    function: returns the value, a float, and its gradient with respect to the features, an array
        of their shape.
    name: how the term is called in the losses; default "function".
    network: name of the network that is tapped; default: the synthesizer's own.

    Python runs at each evaluation, with the interpreter lock held: fine for trying an idea out.

    >>> def energy(features):
    ...     return float((features**2).mean()), 2 * features / features.size
    >>> FunctionTerm("conv2_1", energy, name="energy").layer
    'conv2_1'
    """

    layer: str
    function: Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]
    name: str = "function"
    network: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function):
            raise ObjectiveError(f"function must be callable, not {type(self.function).__name__}")

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        term = _core.FunctionTerm(self.function)
        yield Part(f"{self.name}/{self.layer}", term, self.weight, self.layer, self.network)
