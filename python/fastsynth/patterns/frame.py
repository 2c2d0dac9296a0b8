"""What all patterns share: the keywords of the picture, their checks, and the record."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.image import ImageArray, fit_size, srgb_to_linear
from fastsynth.patterns.palette import color_of, palette_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import Size

__all__ = ["Frame", "FrameOptions", "choice", "in_core", "number", "pair", "whole"]

DEFAULT_SIDE = 512
_DTYPES = ("uint8", "uint16", "float32")


class FrameOptions(TypedDict, total=False):
    """The picture that a pattern is drawn on.

    width, height: in pixels; where one is missing, it is as the other; default 512
    size: instead of these: the side of a square, (width, height) or "WIDTHxHEIGHT"
    seed: of everything random, a whole number from 0 to 2^64 - 1; default 0
    dtype: "uint8" (default), "uint16" or "float32"
    antialias: whether edges are smooth; default True
    threads: default all cores that the process may use; no influence on the picture
    """

    width: int | None
    height: int | None
    size: Size
    seed: int
    dtype: str
    antialias: bool
    threads: int | None


@dataclass
class Frame:
    """The checked keywords of one picture, its array, and the record of its making."""

    width: int
    height: int
    seed: int
    dtype: str
    antialias: bool
    pool: _core.ThreadPool
    image: NDArray[Any]
    name: str
    arguments: dict[str, Any]

    @staticmethod
    def of(name: str, options: Mapping[str, Any], **arguments: Any) -> Frame:
        """Checks `options`; `arguments` are the pattern's own, as plain data for the record."""
        unknown = set(options) - set(FrameOptions.__annotations__)
        if unknown:
            raise TypeError(
                f"{name}() got an unexpected keyword {sorted(unknown)[0]!r}; "
                f"it also knows {', '.join([*arguments, *FrameOptions.__annotations__])}"
            )
        width, height = _sides(options)
        seed = whole("seed", options.get("seed", 0), 0, 2**64 - 1)
        dtype = options.get("dtype", "uint8")
        dtype = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
        if dtype not in _DTYPES:
            raise ImageError(f"dtype is {dtype!r}; expected {', '.join(_DTYPES)}")
        antialias = options.get("antialias", True)
        if not isinstance(antialias, (bool, np.bool_)):
            raise ImageError(f"antialias is {antialias!r}; expected True or False")
        threads = options.get("threads")
        pool = _core.ThreadPool(0 if threads is None else whole("threads", threads, 1, 1024))
        return Frame(
            width,
            height,
            seed,
            dtype,
            bool(antialias),
            pool,
            np.zeros((height, width, 3), dtype),
            name,
            arguments,
        )

    def finish(self) -> ImageArray:
        """The drawn image with its record: what `draw` needs to make it again."""
        return ImageArray.of(
            self.image,
            {
                "verb": "pattern",
                "arguments": {
                    "name": self.name,
                    **self.arguments,
                    "width": self.width,
                    "height": self.height,
                    "seed": self.seed,
                    "dtype": self.dtype,
                    "antialias": self.antialias,
                },
            },
        )

    def view(
        self, center: tuple[float, float], half: float, angle: float = 0.0
    ) -> tuple[float, float, float, float]:
        """The part of the plane in which the shorter side reaches `half` from the centre."""
        return (center[0], center[1], 2 * half / min(self.width, self.height), math.radians(angle))

    def table(self, palette: Any, size: int = 1024) -> NDArray[np.float32]:
        """A palette in linear light."""
        return palette_table(palette, size)


def linear(color: Any, name: str = "colour") -> tuple[float, float, float]:
    """A colour in linear light."""
    r, g, b = srgb_to_linear(np.array(color_of(color, name))).tolist()
    return r, g, b


def _sides(options: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) by the keywords."""
    width, height, size = (options.get(key) for key in ("width", "height", "size"))
    if size is not None:
        if width is not None or height is not None:
            raise ImageError(
                f"size is {size!r}, and width or height is given too; expected one of both"
            )
        height, width = fit_size(size, (DEFAULT_SIDE, DEFAULT_SIDE))
        return width, height
    if width is None:
        width = DEFAULT_SIDE if height is None else height
    if height is None:
        height = width
    fitted = fit_size((width, height), (DEFAULT_SIDE, DEFAULT_SIDE))
    return fitted[1], fitted[0]


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number in [low, high], or ImageError."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            checked = operator.index(value)
        except TypeError:
            checked = low - 1
        if low <= checked <= high:
            return checked
    raise ImageError(f"{name} is {_shown(value)}; expected a whole number from {low} to {high}")


def number(
    name: str, value: Any, low: float = -1e9, high: float = 1e9, *, above: float | None = None
) -> float:
    """A finite number in [low, high] (and above `above`), or ImageError."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        try:
            checked = float(value)
        except OverflowError:
            checked = math.inf
        if low <= checked <= high and (above is None or checked > above):
            return checked
    if above is not None:
        raise ImageError(
            f"{name} is {_shown(value)}; expected a number above {above:g} to {high:g}"
        )
    raise ImageError(f"{name} is {_shown(value)}; expected a number from {low:g} to {high:g}")


def pair(name: str, value: Any, low: float = -1e9, high: float = 1e9) -> tuple[float, float]:
    """Two numbers, or a complex one, or ImageError."""
    if isinstance(value, (complex, np.complexfloating)):
        value = (value.real, value.imag)
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2:
        return number(f"{name}[0]", value[0], low, high), number(f"{name}[1]", value[1], low, high)
    raise ImageError(f"{name} is {_shown(value)}; expected two numbers")


def choice(name: str, value: Any, known: Sequence[str]) -> str:
    """One of the known names, or ImageError."""
    if isinstance(value, str) and value in known:
        return value
    raise ImageError(f"{name} is {_shown(value)}; expected one of {', '.join(known)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class in_core:  # noqa: N801  (used like a function)
    """with in_core(): the core's std::invalid_argument becomes an ImageError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError) and not isinstance(error, ImageError):
            raise ImageError(str(error)) from error
