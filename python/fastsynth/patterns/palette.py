"""Colours and palettes: names, lists of colours and gradients as tables in linear light."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image import srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Color: TypeAlias = str | Sequence[float]
    PaletteLike: TypeAlias = (
        str | Sequence[Color] | Sequence[tuple[float, Color]] | Mapping[float, Color]
    )

__all__ = ["PALETTES", "color_of", "palette_names", "palette_table", "plain_palette"]

PALETTES: dict[str, tuple[str, ...]] = {
    "ink": ("#f6f1e6", "#1d2433"),
    "night": ("#10131f", "#f4e9d0"),
    "grey": ("#000000", "#ffffff"),
    "ember": ("#120d1f", "#4a1842", "#a3294a", "#e8613c", "#f9b35b", "#fdf0c8"),
    "ocean": ("#07142b", "#0c3a63", "#14728f", "#4bb3a7", "#b6e3c6", "#f7f7e4"),
    "aurora": ("#0b1026", "#1b3a5b", "#1f8a7d", "#7fd17a", "#e9f0a5", "#c86fb0", "#4b2a6b"),
    "dusk": ("#151a3c", "#43337a", "#8c4a8c", "#d9718a", "#f6ab86", "#fde6b8"),
    "forest": ("#16241c", "#28452f", "#4d7443", "#8ba95a", "#cfd08a", "#f5efd0"),
    "meadow": ("#5a3d28", "#6f5a33", "#5e7d3a", "#7fa650", "#b7cf78"),
    "autumn": ("#2b1a17", "#6b2d1f", "#b4522a", "#df8b36", "#f2c560", "#f8ebc2"),
    "candy": ("#2d1e4f", "#7b3fa0", "#e0559a", "#ff9a8b", "#ffd6a5", "#caffee"),
    "porcelain": ("#f4f1ea", "#b9cfe0", "#6d9bc3", "#2f5f98", "#16325c"),
    "gold": ("#0e0b08", "#3f2a14", "#8b5a1e", "#cf9b3f", "#f3d98c", "#fffbe6"),
    "copper": ("#14202b", "#1f4a55", "#4b8a80", "#c7b08a", "#d9814f", "#7c2f22"),
    "sakura": ("#fff6f4", "#fbd5d9", "#f0a1b4", "#c9668f", "#6f3b66", "#2d1f3d"),
    "electric": ("#05051a", "#1a1464", "#3b2fd6", "#2fa0ff", "#8ef6ff", "#ffffff"),
    "rainbow": ("#e8505b", "#f9a03f", "#f7e05b", "#67c587", "#3a9bdc", "#6a5acd", "#c45ab3"),
    "lantern": ("#ff7a59", "#ffb454", "#ffe08a", "#8fe3b0", "#52b6e8", "#a58bf0"),
    "spring": ("#2f7d4f", "#58a55c", "#9ccc65", "#d4e38a", "#f6e7a0"),
    "seeds": ("#5c6b2f", "#6a4a1e", "#2c1a12", "#3b2115", "#7a4a18", "#e0a52e"),
    "petals": ("#c4560b", "#ee8f0c", "#fbb91b", "#ffd84d"),
}
"""The palettes by name, as colours at equal distances; a name with "_r" is the reverse."""

_CSS = {
    "black": "#000000",
    "white": "#ffffff",
    "red": "#ff0000",
    "green": "#008000",
    "blue": "#0000ff",
    "yellow": "#ffff00",
    "orange": "#ffa500",
    "purple": "#800080",
    "pink": "#ffc0cb",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "navy": "#000080",
    "teal": "#008080",
    "gray": "#808080",
    "grey": "#808080",
    "brown": "#a52a2a",
    "gold": "#ffd700",
}


def palette_names() -> list[str]:
    """The names of the palettes, sorted.

    >>> "ember" in palette_names()
    True
    """
    return sorted(PALETTES)


def color_of(color: Any, name: str = "colour") -> tuple[float, float, float]:
    """A colour as sRGB values in [0, 1].

    color: "#rgb", "#rrggbb", a plain name such as "white", or three numbers: whole ones in 0-255,
        or floats in [0, 1]. Raises ImageError for anything else.

    >>> color_of("#ff0080")[:2], color_of((0, 255, 0)), color_of([0.5, 0.5, 1.0])
    ((1.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5, 1.0))
    """
    wrong = ImageError(
        f'the {name} is {color!r}; expected "#rrggbb", a name such as "white", or three numbers: '
        "whole ones in 0-255 or floats in [0, 1]"
    )
    if isinstance(color, str):
        text = _CSS.get(color.strip().lower(), color.strip())
        match = re.fullmatch(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})", text)
        if match is None:
            raise wrong
        digits = match.group(1)
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        return (
            int(digits[:2], 16) / 255,
            int(digits[2:4], 16) / 255,
            int(digits[4:], 16) / 255,
        )
    if isinstance(color, (bytes, Mapping)) or not hasattr(color, "__len__") or len(color) != 3:
        raise wrong
    try:
        array = np.asarray(list(color))
    except (TypeError, ValueError):
        raise wrong from None
    if array.shape != (3,) or array.dtype.kind not in "iuf":
        raise wrong
    values = array.astype(np.float64) / (255 if array.dtype.kind in "iu" else 1)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise wrong
    return float(values[0]), float(values[1]), float(values[2])


def plain_palette(palette: Any) -> Any:
    """A palette as plain data, for records: a name, colours, or [position, colour] pairs."""
    if isinstance(palette, str):
        return palette
    pairs = _stops(palette)
    if isinstance(palette, Mapping) or _is_gradient(palette):
        return [[position, list(color)] for position, color in pairs]
    return [list(color) for _, color in pairs]


def palette_table(palette: Any, size: int = 1024) -> NDArray[np.float32]:
    """A palette as `size` colours at equal distances, linear light (size, 3) in [0, 1].

    Between the given colours OKLab (Ottosson 2020) is interpolated linearly: steps look even, and
    no grey lies between complementary colours. The given colours themselves are exact where the
    table meets them. Raises ImageError for what is no palette.

    >>> palette_table(["black", "white"], 3)[[0, 2]].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    stops = _stops(palette)
    positions = np.array([position for position, _ in stops])
    linear = srgb_to_linear(np.array([color for _, color in stops], np.float64))
    places = np.linspace(0, 1, size)
    lab = _to_oklab(np.asarray(linear))
    mixed = np.stack([np.interp(places, positions, lab[:, c]) for c in range(3)], axis=1)
    table = np.clip(_from_oklab(mixed), 0, 1)
    for position, color in zip(positions, np.asarray(linear), strict=True):
        nearest = round(position * (size - 1))
        if abs(nearest - position * (size - 1)) < 1e-9:
            table[nearest] = color
    return np.ascontiguousarray(table, np.float32)


def _is_gradient(palette: Any) -> bool:
    """Whether the items are pairs (position, colour)."""
    return not isinstance(palette, np.ndarray) and all(
        isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2
        for item in palette
    )


def _stops(palette: Any) -> list[tuple[float, tuple[float, float, float]]]:
    """Positions in [0, 1], rising from 0 to 1, and colours."""
    if isinstance(palette, str):
        name = palette.removesuffix("_r")
        colors = PALETTES.get(name)
        if colors is None:
            raise ImageError(
                f"there is no palette {palette!r}; known are {', '.join(palette_names())} "
                '(with "_r": reversed), or give a list of colours'
            )
        ordered = colors[::-1] if palette.endswith("_r") else colors
        return _even([color_of(color) for color in ordered])
    if isinstance(palette, Mapping):
        palette = list(palette.items())
    if isinstance(palette, bytes) or not hasattr(palette, "__iter__"):
        raise ImageError(
            f"the palette is {palette!r}; expected a name, a list of colours, or pairs of position "
            "and colour"
        )
    items = list(palette)
    if not 1 <= len(items) <= 1024:
        raise ImageError(f"the palette has {len(items)} colours; expected 1 to 1024")
    if not _is_gradient(items):
        return _even([color_of(color, f"palette's colour {i}") for i, color in enumerate(items)])
    stops = []
    for position, color in items:
        if isinstance(position, (bool, str)) or not isinstance(position, (int, float, np.number)):
            raise ImageError(f"a palette's position is {position!r}; expected a number in [0, 1]")
        if not 0 <= float(position) <= 1:
            raise ImageError(f"a palette's position is {position!r}; expected a number in [0, 1]")
        stops.append((float(position), color_of(color, "palette's colour")))
    stops.sort(key=lambda stop: stop[0])
    return stops


def _even(
    colors: Sequence[tuple[float, float, float]],
) -> list[tuple[float, tuple[float, float, float]]]:
    last = max(1, len(colors) - 1)
    return [(i / last, color) for i, color in enumerate(colors)]


_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _to_oklab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T)


def _from_oklab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T)
