"""Tones: intensity by intensity through curves, each channel by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.compose.checks import check_fraction, check_number
from fastsynth.compose.images import Samples, pool, read
from fastsynth.image import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray

    Tone = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    Points = Sequence[tuple[float, float]]

__all__ = ["brightness_contrast", "curves", "gamma", "invert", "levels", "posterize"]

CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Line:
    """The tone low + (high - low) clip((x - center) slope + middle, 0, 1)^exponent."""

    center: float = 0.0
    slope: float = 1.0
    middle: float = 0.0
    exponent: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The tone of intensities x, in float64."""
        straight = np.clip((x - self.center) * self.slope + self.middle, 0, 1)
        return self.low + (self.high - self.low) * np.asarray(straight**self.exponent)


def levels(
    image: ImageLike,
    *,
    black: float = 0.0,
    white: float = 1.0,
    gamma: float = 1.0,
    low: float = 0.0,
    high: float = 1.0,
    threads: int | None = None,
) -> ImageArray:
    """Stretches the intensities from black … white to low … high.

        y = low + (high - low) clip((x - black) / (white - black), 0, 1)^(1/gamma)

    All arguments but gamma are intensities in [0, 1] (255 of a byte is 1), and black is below
    white; low may be above high, which inverts. gamma is above 0; more than 1 brightens the middle.
    Alpha stays. Raises ImageError for numbers out of range.

    >>> levels(np.array([[50, 100, 150]], np.uint8), black=50 / 255, white=150 / 255).tolist()
    [[0, 128, 255]]
    """
    dark, light = check_fraction("black", black), check_fraction("white", white)
    if dark >= light:
        raise ImageError(f"black is {dark:g} and white {light:g}; expected black below white")
    power = 1 / _positive("gamma", gamma)
    bottom, top = check_fraction("low", low), check_fraction("high", high)

    slope = 1 / max(light - dark, 1e-30)
    tone = Line(center=dark, slope=slope, exponent=power, low=bottom, high=top)
    step = {"black": dark, "white": light, "gamma": 1 / power, "low": bottom, "high": top}
    return apply_tone(image, tone, {"step": "levels", **step}, threads)


def curves(
    image: ImageLike,
    points: Points | Mapping[str, Points],
    *,
    threads: int | None = None,
) -> ImageArray:
    """Maps intensities by a smooth curve through given points, alike or for each channel.

    points: pairs (x, y) in [0, 1], at least two, x rising; or such pairs by channel, {"red": …,
        "green": …, "blue": …}, where channels that are left out stay.

    The curve is the monotone piecewise cubic of Fritsch and Carlson ("Monotone Piecewise Cubic
    Interpolation", 1980): it passes through the points and turns nowhere between them. Outside of
    the first and last x it is constant. Alpha stays. Raises ImageError for points that make no
    curve, and for channels of a grey image.

    >>> curves(np.array([[0, 128, 255]], np.uint8), [(0, 0), (0.5, 0.7), (1, 1)]).tolist()
    [[0, 179, 255]]
    """
    if isinstance(points, Mapping):
        unknown = set(points) - set(CHANNELS)
        if unknown or not points:
            raise ImageError(
                f"the curves are for {', '.join(map(str, points)) or 'no channel'}; "
                f"expected some of {', '.join(CHANNELS)}"
            )
        known = {name: _knots(points[name]) for name in CHANNELS if name in points}
        tones = [_curve(known[name]) if name in known else _unchanged for name in CHANNELS]
        recorded: Any = {name: _plain(knots) for name, knots in known.items()}
        return apply_tone(image, tones, {"step": "curves", "points": recorded}, threads)
    knots = _knots(points)
    return apply_tone(image, _curve(knots), {"step": "curves", "points": _plain(knots)}, threads)


def gamma(image: ImageLike, value: float, *, threads: int | None = None) -> ImageArray:
    """y = x^(1/value): above 1 the middle becomes brighter, below 1 darker; 0 and 1 stay.

    Raises ImageError unless value is above 0.

    >>> gamma(np.array([[0, 64, 255]], np.uint8), 2).tolist()
    [[0, 128, 255]]
    """
    power = 1 / _positive("value", value)
    step = {"step": "gamma", "value": float(value)}
    return apply_tone(image, Line(exponent=power), step, threads)


def brightness_contrast(
    image: ImageLike,
    brightness: float = 0.0,
    contrast: float = 0.0,
    *,
    linear: bool = False,
    threads: int | None = None,
) -> ImageArray:
    """y = (x - ½) tan((contrast + 1) π/4) + ½ + brightness, cut to [0, 1].

    brightness: -1 to 1, added; default 0
    contrast: -1 (all grey) to 1 (two tones); 0 leaves the slope at 1
    linear: add in linear light. Default False
    Alpha stays. Raises ImageError for numbers out of range.

    >>> brightness_contrast(np.array([[0, 100, 250]], np.uint8), 20 / 255).tolist()
    [[20, 120, 255]]
    """
    added, amount = check_number("brightness", brightness), check_number("contrast", contrast)
    for name, number in (("brightness", added), ("contrast", amount)):
        if not -1 <= number <= 1:
            raise ImageError(f"{name} is {number:g}; expected -1 to 1")
    # tan(π/2) is a finite number of 1e16: two tones, with the middle between them.
    slope = float(np.tan((amount + 1) * np.pi / 4))

    tone = Line(center=0.5, slope=slope, middle=0.5 + added)

    def of_light(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(linear_to_srgb(tone(np.asarray(srgb_to_linear(x)))))

    step = {"step": "brightness_contrast", "brightness": added, "contrast": amount}
    if linear:
        step["linear"] = True
    return apply_tone(image, of_light if linear else tone, step, threads)


def invert(image: ImageLike, *, threads: int | None = None) -> ImageArray:
    """y = 1 - x; alpha stays.

    >>> invert(np.array([[0, 100]], np.uint8)).tolist()
    [[255, 155]]
    """
    return apply_tone(image, Line(low=1.0, high=0.0), {"step": "invert"}, threads)


def posterize(image: ImageLike, tones: int = 4, *, threads: int | None = None) -> ImageArray:
    """Rounds each channel to the nearest of `tones` equally spaced intensities; alpha stays.

    tones: 2 to 256; default 4. Raises ImageError for others.

    >>> posterize(np.array([[0, 100, 200, 255]], np.uint8), 2).tolist()
    [[0, 0, 255, 255]]
    """
    if not isinstance(tones, (int, np.integer)) or isinstance(tones, bool) or not 2 <= tones <= 256:
        raise ImageError(f"tones is {tones!r}; expected a whole number from 2 to 256")
    steps = int(tones) - 1
    return apply_tone(
        image,
        lambda x: np.rint(x * steps) / steps,
        {"step": "posterize", "tones": steps + 1},
        threads,
    )


# ---- how tones are applied ----


def apply_tone(
    image: ImageLike, tone: Tone | list[Tone], step: Mapping[str, Any], threads: int | None
) -> ImageArray:
    """Each colour channel through its tone: by tables for integers, by the formula for floats."""
    samples = read(image)
    if isinstance(tone, list) and samples.channels == 1:
        raise ImageError("the image is grey; expected one curve, not curves by channel")
    colors = min(3, samples.channels)
    tones = tone if isinstance(tone, list) else [tone] * colors
    if samples.values.dtype.kind == "f" and isinstance(tone, Line):
        t = tone
        values = _core.tone_curve(
            samples.values, t.center, t.slope, t.middle, t.exponent, t.low, t.high, pool(threads)
        )
        return samples.result(values, step)
    if samples.values.dtype.kind == "f":
        return samples.result(_by_formula(samples, tones, threads), step)
    places = np.arange(samples.top + 1)
    tables = np.tile(places.astype(samples.values.dtype), (samples.channels, 1))
    for channel in range(colors):
        if channel and tones[channel] is tones[0]:
            tables[channel] = tables[0]
        else:
            curve = np.clip(tones[channel](places / samples.top), 0, 1)
            # Halves go up, also those that rounding in the formula left just below.
            tables[channel] = np.floor(curve * samples.top + (0.5 + 1e-9)).astype(tables.dtype)
    return samples.result(_core.look_up(samples.values, tables, pool(threads)), step)


def _by_formula(
    samples: Samples, tones: Sequence[Tone], threads: int | None
) -> NDArray[np.float32]:
    """Float samples through the tones, in float64, some rows at a time."""
    out = samples.values.copy()
    rows = max(1, (1 << 16) // samples.width)

    def change(begin: int) -> None:
        for channel, tone in enumerate(tones):
            part = out[begin : begin + rows, :, channel]
            part[...] = np.clip(tone(part.astype(np.float64).clip(0, 1)), 0, 1)

    with ThreadPoolExecutor(pool(threads).threads) as workers:
        list(workers.map(change, range(0, samples.height, rows)))
    return out


def _unchanged(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x


def _positive(name: str, value: float) -> float:
    number = check_number(name, value)
    if not 1e-3 <= number <= 1e3:
        raise ImageError(f"{name} is {value!r}; expected a number from 0.001 to 1000")
    return number


# ---- curves ----


def _knots(points: Points) -> NDArray[np.float64]:
    """The points as (n, 2), or an ImageError that says what is wrong with them."""
    expected = "expected at least two (x, y) pairs in [0, 1] with rising x, 1e-9 or more apart"
    try:
        knots = np.array([(float(x), float(y)) for x, y in points])
    except (TypeError, ValueError) as error:
        raise ImageError(f"the points of a curve are {points!r}; {expected}") from error
    if (
        len(knots) < 2
        or not np.all((knots >= 0) & (knots <= 1))
        or np.any(np.diff(knots[:, 0]) < 1e-9)
    ):
        raise ImageError(f"the points of a curve are {_plain(knots)}; {expected}")
    return knots


def _plain(knots: NDArray[np.float64]) -> list[list[float]]:
    return [[float(number) for number in pair] for pair in knots]


def _curve(knots: NDArray[np.float64]) -> Tone:
    """The monotone piecewise cubic through the knots, constant outside."""
    x, y = knots[:, 0], knots[:, 1]
    width = np.diff(x)
    slope = np.diff(y) / width
    tangent = _tangents(width, slope)
    c2 = (3 * slope - 2 * tangent[:-1] - tangent[1:]) / width
    c3 = (tangent[:-1] + tangent[1:] - 2 * slope) / width**2

    def evaluate(at: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(at, x[0], x[-1])
        i = np.searchsorted(x[1:-1], inside, side="right")
        t = inside - x[i]
        return np.asarray(y[i] + t * (tangent[i] + t * (c2[i] + t * c3[i])))

    return evaluate


def _tangents(width: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes at the knots with which the cubics are monotone where the points are.

    Inside, the weighted harmonic mean of the two neighbours, 0 where they turn; at the ends a
    parabola's slope, held within what keeps the curve monotone (Fritsch and Butland, 1984).
    """
    tangent = np.empty(len(slope) + 1)
    if len(slope) == 1:
        tangent[:] = slope[0]
        return tangent
    first, second = slope[:-1], slope[1:]
    w1, w2 = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    product = first * second
    rising = product > 0
    # (w1 + w2) / (w1 / first + w2 / second), with no division by a slope of next to nothing
    weighed = np.where(rising, w1 * second + w2 * first, 1)
    tangent[1:-1] = np.where(rising, (w1 + w2) * product / weighed, 0)
    for end, near, far in ((0, 0, 1), (-1, -1, -2)):
        parabola = ((2 * width[near] + width[far]) * slope[near] - width[near] * slope[far]) / (
            width[near] + width[far]
        )
        if parabola * slope[near] <= 0:
            parabola = 0.0
        elif slope[near] * slope[far] <= 0 and abs(parabola) > 3 * abs(slope[near]):
            parabola = 3 * slope[near]
        tangent[end] = parabola
    return tangent
