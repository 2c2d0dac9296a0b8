"""The formulas of the W3C's "Compositing and Blending Level 1", pixel by pixel in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEPARABLE = (
    "normal",
    "multiply",
    "screen",
    "overlay",
    "darken",
    "lighten",
    "color-dodge",
    "color-burn",
    "hard-light",
    "soft-light",
    "difference",
    "exclusion",
    "add",
    "subtract",
)
NON_SEPARABLE = ("hue", "saturation", "color", "luminosity")
OPERATORS = {
    "clear": (lambda s, b: 0, lambda s, b: 0),
    "copy": (lambda s, b: 1, lambda s, b: 0),
    "destination": (lambda s, b: 0, lambda s, b: 1),
    "source-over": (lambda s, b: 1, lambda s, b: 1 - s),
    "destination-over": (lambda s, b: 1 - b, lambda s, b: 1),
    "source-in": (lambda s, b: b, lambda s, b: 0),
    "destination-in": (lambda s, b: 0, lambda s, b: s),
    "source-out": (lambda s, b: 1 - b, lambda s, b: 0),
    "destination-out": (lambda s, b: 0, lambda s, b: 1 - s),
    "source-atop": (lambda s, b: b, lambda s, b: 1 - s),
    "destination-atop": (lambda s, b: 1 - b, lambda s, b: s),
    "xor": (lambda s, b: 1 - b, lambda s, b: 1 - s),
    "lighter": (lambda s, b: 1, lambda s, b: 1),
}


def channel(mode: str, b: float, s: float) -> float:  # noqa: PLR0911, PLR0912
    """B(cb, cs) of one channel."""
    if mode == "multiply":
        return b * s
    if mode == "screen":
        return b + s - b * s
    if mode == "overlay":
        return channel("hard-light", s, b)
    if mode == "darken":
        return min(b, s)
    if mode == "lighten":
        return max(b, s)
    if mode == "color-dodge":
        return 0 if b == 0 else 1 if s == 1 else min(1, b / (1 - s))
    if mode == "color-burn":
        return 1 if b == 1 else 0 if s == 0 else 1 - min(1, (1 - b) / s)
    if mode == "hard-light":
        return channel("multiply", b, 2 * s) if s <= 0.5 else channel("screen", b, 2 * s - 1)
    if mode == "soft-light":
        if s <= 0.5:
            return b - (1 - 2 * s) * b * (1 - b)
        d = ((16 * b - 12) * b + 4) * b if b <= 0.25 else math.sqrt(b)
        return b + (2 * s - 1) * (d - b)
    if mode == "difference":
        return abs(b - s)
    if mode == "exclusion":
        return b + s - 2 * b * s
    if mode == "add":
        return min(1, b + s)
    if mode == "subtract":
        return max(0, s - b)
    return s


def lum(c: list[float]) -> float:
    return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]


def clip_color(c: list[float]) -> list[float]:
    middle, low, high = lum(c), min(c), max(c)
    if low < 0:
        c = [middle + (v - middle) * middle / (middle - low) for v in c]
    if high > 1:
        c = [middle + (v - middle) * (1 - middle) / (high - middle) for v in c]
    return c


def set_lum(c: list[float], to: float) -> list[float]:
    shift = to - lum(c)
    return clip_color([v + shift for v in c])


def sat(c: list[float]) -> float:
    return max(c) - min(c)


def set_sat(c: list[float], to: float) -> list[float]:
    order = sorted(range(3), key=lambda i: c[i])
    low, middle, high = order
    out = [0.0, 0.0, 0.0]
    if c[high] > c[low]:
        out[middle] = (c[middle] - c[low]) * to / (c[high] - c[low])
        out[high] = to
    return out


def color(mode: str, b: list[float], s: list[float]) -> list[float]:
    """B(Cb, Cs) of one pixel."""
    if mode == "hue":
        return set_lum(set_sat(s, sat(b)), lum(b))
    if mode == "saturation":
        return set_lum(set_sat(b, sat(s)), lum(b))
    if mode == "color":
        return set_lum(s, lum(b))
    if mode == "luminosity":
        return set_lum(b, lum(s))
    return [channel(mode, x, y) for x, y in zip(b, s, strict=True)]


def composite(
    source: Array, backdrop: Array, operator: str = "source-over", mode: str = "normal"
) -> Array:
    """(H, W, 4) over (H, W, 4) in [0, 1], colours not multiplied by alpha."""
    out = np.zeros_like(source)
    for index in np.ndindex(*source.shape[:2]):
        *cs, s = source[index].tolist()
        *cb, b = backdrop[index].tolist()
        blended = color(mode, cb, cs)
        fs, fb = (f(s, b) for f in OPERATORS[operator])
        alpha = min(1, s * fs + b * fb)
        for c in range(3):
            mixed = (1 - b) * cs[c] + b * blended[c]
            total = min(1, s * fs * mixed + b * fb * cb[c])
            out[(*index, c)] = total / alpha if alpha > 0 else 0
        out[(*index, 3)] = alpha
    return out
