"""Checks of arguments that the pixel functions share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check_choice", "check_fraction", "check_number", "check_sizes"]


def check_number(name: str, value: float, limit: float = math.inf) -> float:
    """The number as a float, or an ImageError unless it is finite and within ± limit."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if number and not isinstance(value, bool):
        try:
            finite = float(value)
        except OverflowError:  # an int beyond floats
            finite = math.inf
        if math.isfinite(finite) and abs(finite) <= limit:
            return finite
    within = "" if limit == math.inf else f" from {-limit:g} to {limit:g}"
    raise ImageError(f"{name} is {value!r}; expected a finite number{within}")


def check_fraction(name: str, value: float) -> float:
    """The number, or an ImageError unless it is in [0, 1]."""
    number = check_number(name, value)
    if not 0 <= number <= 1:
        raise ImageError(f"{name} is {value!r}; expected 0 to 1")
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises an ImageError that lists the choices unless the value is one."""
    if not isinstance(value, str) or value not in choices:
        raise ImageError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def check_sizes(**layers: NDArray[Any] | None) -> None:
    """Raises an ImageError that shows the sizes where they differ."""
    sizes = {name: values.shape[:2] for name, values in layers.items() if values is not None}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} is {size[1]}×{size[0]}" for name, size in sizes.items())
        raise ImageError(f"{shown}; expected one size: resize or crop one of them first")
