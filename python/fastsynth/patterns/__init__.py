"""Automated composites: pictures from a rule, a formula or a growth process alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastsynth._errors import ImageError
from fastsynth.image import ImageArray
from fastsynth.patterns.automata import cellular_automaton, elementary_automaton
from fastsynth.patterns.curves import trochoid, trochoid_points
from fastsynth.patterns.formulas import formula
from fastsynth.patterns.fractals import julia, mandelbrot
from fastsynth.patterns.frame import FrameOptions
from fastsynth.patterns.function_systems import FUNCTION_SYSTEMS, iterated_function_system
from fastsynth.patterns.lsystem_presets import LSYSTEMS
from fastsynth.patterns.lsystems import expand_lsystem, lsystem
from fastsynth.patterns.palette import PALETTES, palette_names
from fastsynth.patterns.sunflowers import GOLDEN_ANGLE, phyllotaxis, sunflower

__all__ = [
    "FUNCTION_SYSTEMS",
    "GOLDEN_ANGLE",
    "LSYSTEMS",
    "PALETTES",
    "PATTERNS",
    "FrameOptions",
    "cellular_automaton",
    "draw",
    "elementary_automaton",
    "expand_lsystem",
    "formula",
    "iterated_function_system",
    "julia",
    "lsystem",
    "mandelbrot",
    "palette_names",
    "phyllotaxis",
    "sunflower",
    "trochoid",
    "trochoid_points",
]

PATTERNS: dict[str, Callable[..., ImageArray]] = {
    "elementary_automaton": elementary_automaton,
    "cellular_automaton": cellular_automaton,
    "formula": formula,
    "sunflower": sunflower,
    "mandelbrot": mandelbrot,
    "julia": julia,
    "iterated_function_system": iterated_function_system,
    "lsystem": lsystem,
    "trochoid": trochoid,
}
"""The patterns by name."""


def draw(name: str, **arguments: Any) -> ImageArray:
    """A pattern by its name: a record {"verb": "pattern", "arguments": …} repeated bit for bit.

    name: one of `PATTERNS`
    arguments: keywords of that function

    Raises ImageError for an unknown name or keyword, and as the function does.

    >>> image = mandelbrot(size=8)
    >>> bool((draw(**image.provenance["arguments"]) == image).all())
    True
    """
    function = PATTERNS.get(name) if isinstance(name, str) else None
    if function is None:
        raise ImageError(f"there is no pattern {name!r:.60}; known are {', '.join(PATTERNS)}")
    try:
        return function(**arguments)
    except TypeError as error:
        if "unexpected keyword" in str(error):
            raise ImageError(str(error)) from error
        raise
