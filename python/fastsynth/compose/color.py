"""Colour and intensity, pixel by pixel: curves of tone, matrices of colour, matching."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.compose.blend import as_type, check_fraction, check_number, origin
from fastsynth.compose.images import Samples, pool, read
from fastsynth.image import color as image_color
from fastsynth.image import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.image.color import MatchMode

    Tone = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    Points = Sequence[tuple[float, float]]

__all__ = [
    "brightness_contrast",
    "curves",
    "gamma",
    "grayscale",
    "hue_saturation",
    "invert",
    "levels",
    "match_color",
    "match_histogram",
    "posterize",
    "threshold",
]

REC601 = (0.299, 0.587, 0.114)
REC709 = (0.2126, 0.7152, 0.0722)
CHANNELS = ("red", "green", "blue")


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

    def tone(x: NDArray[np.float64]) -> NDArray[np.float64]:
        stretched = np.clip((x - dark) / (light - dark), 0, 1)
        return bottom + (top - bottom) * np.asarray(stretched**power)

    step = {"black": dark, "white": light, "gamma": 1 / power, "low": bottom, "high": top}
    return _apply(image, tone, {"step": "levels", **step}, threads)


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
        return _apply(image, tones, {"step": "curves", "points": recorded}, threads)
    knots = _knots(points)
    return _apply(image, _curve(knots), {"step": "curves", "points": _plain(knots)}, threads)


def gamma(image: ImageLike, value: float, *, threads: int | None = None) -> ImageArray:
    """y = x^(1/value): above 1 the middle becomes brighter, below 1 darker; 0 and 1 stay.

    Raises ImageError unless value is above 0.

    >>> gamma(np.array([[0, 64, 255]], np.uint8), 2).tolist()
    [[0, 128, 255]]
    """
    power = 1 / _positive("value", value)
    return _apply(image, lambda x: x**power, {"step": "gamma", "value": float(value)}, threads)


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

    def tone(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return _clipped((x - 0.5) * slope + 0.5 + added)

    def of_light(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(linear_to_srgb(tone(np.asarray(srgb_to_linear(x)))))

    step = {"step": "brightness_contrast", "brightness": added, "contrast": amount}
    if linear:
        step["linear"] = True
    return _apply(image, of_light if linear else tone, step, threads)


def invert(image: ImageLike, *, threads: int | None = None) -> ImageArray:
    """y = 1 - x; alpha stays.

    >>> invert(np.array([[0, 100]], np.uint8)).tolist()
    [[255, 155]]
    """
    return _apply(image, lambda x: 1 - x, {"step": "invert"}, threads)


def threshold(image: ImageLike, value: float = 0.5, *, threads: int | None = None) -> ImageArray:
    """White where the luma (Rec. 601) is at least `value`, black elsewhere; alpha stays.

    value: in [0, 1]; default 0.5. Raises ImageError for others.

    >>> threshold(np.array([[127, 128]], np.uint8)).tolist()
    [[0, 255]]
    """
    least = check_fraction("value", value)
    samples = read(image)
    luma = _luma(samples, REC601)
    # Float32 cannot tell a luma from the value that it equals in exact arithmetic.
    bright = luma >= np.float32(least * samples.top * (1 - 1e-6))
    out = samples.values.copy()
    out[..., : min(3, samples.channels)] = np.where(bright, samples.top, 0)[..., None]
    return samples.result(out, {"step": "threshold", "value": least})


def posterize(image: ImageLike, tones: int = 4, *, threads: int | None = None) -> ImageArray:
    """Rounds each channel to the nearest of `tones` equally spaced intensities; alpha stays.

    tones: 2 to 256; default 4. Raises ImageError for others.

    >>> posterize(np.array([[0, 100, 200, 255]], np.uint8), 2).tolist()
    [[0, 0, 255, 255]]
    """
    if not isinstance(tones, (int, np.integer)) or isinstance(tones, bool) or not 2 <= tones <= 256:
        raise ImageError(f"tones is {tones!r}; expected a whole number from 2 to 256")
    steps = int(tones) - 1
    return _apply(
        image,
        lambda x: np.rint(x * steps) / steps,
        {"step": "posterize", "tones": steps + 1},
        threads,
    )


def grayscale(image: ImageLike, *, linear: bool = False, threads: int | None = None) -> ImageArray:
    """Grey of the same brightness, in as many channels as before; alpha stays.

    The luma .299 R + .587 G + .114 B (Rec. 601); with `linear` the luminance .2126 R + .7152 G +
    .0722 B of linear light (Rec. 709), encoded as sRGB again.

    >>> grayscale(np.array([[[255, 0, 0]]], np.uint8))[0, 0].tolist()
    [76, 76, 76]
    """
    samples = read(image)
    step: dict[str, Any] = {"step": "grayscale"}
    if linear:
        step["linear"] = True
    if samples.channels == 1:
        return samples.result(samples.values.copy(), step)
    if not linear:
        return samples.result(_by_matrix(samples, np.tile(REC601, (3, 1)), 0.0, threads), step)
    unit = as_type(samples.values[..., :3], np.dtype(np.float32))
    light = np.asarray(srgb_to_linear(unit)) @ np.asarray(REC709, np.float32)
    grey = as_type(np.asarray(linear_to_srgb(light.clip(0, 1))), samples.values.dtype)
    out = samples.values.copy()
    out[..., :3] = grey[..., None]
    return samples.result(out, step)


def hue_saturation(
    image: ImageLike,
    hue: float = 0.0,
    saturation: float = 1.0,
    lightness: float = 0.0,
    *,
    threads: int | None = None,
) -> ImageArray:
    """Turns the hue, scales the saturation, then mixes with white or black.

    hue: degrees about the circle of colours; default 0
    saturation: factor: 0 is grey, 1 (default) leaves it, more is stronger; at most 100
    lightness: -1 (black) to 1 (white); default 0

    The matrices hueRotate and saturate of the W3C, "Filter Effects Module Level 1": grey stays
    grey and, where nothing is cut off, the luminance .213 R + .715 G + .072 B stays. On a grey
    image only the lightness has an effect. Alpha stays. Raises ImageError for numbers out of range.

    >>> hue_saturation(np.array([[[200, 100, 50]]], np.uint8), saturation=0)[0, 0].tolist()
    [118, 118, 118]
    """
    turn, scale = check_number("hue", hue), check_number("saturation", saturation)
    shift = check_number("lightness", lightness)
    if not 0 <= scale <= 100:
        raise ImageError(f"saturation is {scale:g}; expected a factor from 0 to 100")
    if not -1 <= shift <= 1:
        raise ImageError(f"lightness is {shift:g}; expected -1 to 1")
    samples = read(image)
    step = {"step": "hue_saturation", "hue": turn, "saturation": scale, "lightness": shift}
    rest, added = 1 - abs(shift), max(shift, 0.0)
    if samples.channels == 1:
        return _apply(image, lambda x: rest * x + added, step, threads)
    grey = np.tile((0.213, 0.715, 0.072), (3, 1))
    saturate = grey + scale * (np.eye(3) - grey)
    return samples.result(
        _by_matrix(samples, rest * saturate @ hue_matrix(turn), added, threads), step
    )


def hue_matrix(degrees: float) -> NDArray[np.float64]:
    """The matrix hueRotate of the W3C's filter effects, (3, 3)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    grey = np.tile((0.213, 0.715, 0.072), (3, 1))
    turned = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])
    return np.asarray(grey + cosine * (np.eye(3) - grey) + sine * turned)


def match_histogram(
    image: ImageLike, target: ImageLike, *, threads: int | None = None
) -> ImageArray:
    """Gives each channel the distribution of intensities that it has in `target`, of any size.

    Equal values stay equal and keep their order: x goes to the intensity that in the target has
    the same rank. Alpha stays, and does not count.

    >>> dark = np.array([[0, 10, 20]], np.uint8)
    >>> match_histogram(dark, np.array([[100], [150], [250]], np.uint8)).tolist()
    [[100, 150, 250]]
    """
    samples, wanted = read(image), read(target, name="target")
    step = {"step": "match_histogram", "target": origin(wanted)}
    aim = as_type(wanted.values, samples.values.dtype)[..., : min(3, wanted.channels)]
    colors = min(3, samples.channels)
    if samples.channels == 1 and wanted.channels > 1:
        aim = as_type(_luma(wanted, REC601)[..., None] / np.float32(wanted.top), aim.dtype)
    aim = np.broadcast_to(aim, (*aim.shape[:2], colors))
    if samples.values.dtype.kind == "f":
        planar = np.broadcast_to(samples.values[..., :colors], (*samples.values.shape[:2], 3))
        aimed = np.broadcast_to(aim, (*aim.shape[:2], 3))
        matched = image_color.match_histogram(planar.transpose(2, 0, 1), aimed.transpose(2, 0, 1))
        out = samples.values.copy()
        out[..., :colors] = matched.transpose(1, 2, 0)[..., :colors]
        return samples.result(out, step)
    entries = samples.top + 1
    tables = np.tile(np.arange(entries, dtype=samples.values.dtype), (samples.channels, 1))
    for channel in range(colors):
        counts = np.bincount(samples.values[..., channel].ravel(), minlength=entries)
        rank = (np.cumsum(counts) - counts / 2) / counts.sum()
        ordered = np.sort(aim[..., channel], axis=None)
        places = (np.arange(ordered.size) + 0.5) / ordered.size
        tables[channel] = np.rint(np.interp(rank, places, ordered)).astype(tables.dtype)
    return samples.result(_core.look_up(samples.values, tables, pool(threads)), step)


def match_color(
    image: ImageLike,
    target: ImageLike,
    mode: MatchMode = "monge",
    *,
    threads: int | None = None,
) -> ImageArray:
    """Recolours the image: its mean colour and colour covariance become those of `target`.

        y = A (x - mean) + target mean,   A C A^T = target C

    mode: "monge" (default; moves colours least), "cholesky" or "pca": see
        `fastsynth.image.match_mean_covariance`, which does the work (Gatys et al., arXiv
        1606.05897). Statistics weigh pixels by their alpha; alpha stays. A grey image becomes one
        of three equal channels, then coloured. Raises ImageError for unknown modes.

    >>> grey = np.full((2, 2, 3), 128, np.uint8)
    >>> target = np.full((1, 1, 3), (200, 100, 50), np.uint8)
    >>> match_color(grey, target)[0, 0].tolist()
    [200, 100, 50]
    """
    samples, wanted = read(image), read(target, name="target")
    alphas = [
        as_type(s.values[..., 3], np.dtype(np.float32)) if s.alpha else None
        for s in (samples, wanted)
    ]
    matched = image_color.match_mean_covariance(
        _planar(samples), _planar(wanted), mode, source_alpha=alphas[0], target_alpha=alphas[1]
    ).transpose(1, 2, 0)
    out = np.empty((*samples.values.shape[:2], 4 if samples.alpha else 3), samples.values.dtype)
    out[..., :3] = as_type(matched, samples.values.dtype)
    if samples.alpha:
        out[..., 3] = samples.values[..., 3]
    step = {"step": "match_color", "target": origin(wanted), "mode": mode}
    return samples.result(out, step)


# ---- how tones are applied ----


def _apply(
    image: ImageLike, tone: Tone | list[Tone], step: Mapping[str, Any], threads: int | None
) -> ImageArray:
    """Each colour channel through its tone: by tables for integers, by the formula for floats."""
    samples = read(image)
    if isinstance(tone, list) and samples.channels == 1:
        raise ImageError("the image is grey; expected one curve, not curves by channel")
    colors = min(3, samples.channels)
    tones = tone if isinstance(tone, list) else [tone] * colors
    if samples.values.dtype.kind == "f":
        return samples.result(_by_formula(samples, tones), step)
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


def _by_formula(samples: Samples, tones: Sequence[Tone]) -> NDArray[np.float32]:
    """Float samples through the tones, in float64, some rows at a time."""
    out = samples.values.copy()
    rows = max(1, (1 << 16) // samples.width)
    for channel, tone in enumerate(tones):
        for begin in range(0, samples.height, rows):
            part = out[begin : begin + rows, :, channel]
            part[...] = np.clip(tone(part.astype(np.float64).clip(0, 1)), 0, 1)
    return out


def _by_matrix(
    samples: Samples, matrix: NDArray[np.float64], offset: float, threads: int | None
) -> NDArray[Any]:
    whole = np.concatenate([matrix, np.full((3, 1), offset)], axis=1)
    return _core.color_matrix(samples.values, whole, pool(threads))


def _luma(samples: Samples, weights: tuple[float, float, float]) -> NDArray[np.float32]:
    """(H, W) luma in the units of the samples."""
    if samples.channels == 1:
        return samples.values[..., 0].astype(np.float32)
    colors = samples.values[..., :3].astype(np.float32)
    return np.asarray(colors @ np.asarray(weights, np.float32))


def _planar(samples: Samples) -> NDArray[np.float32]:
    unit = as_type(samples.values[..., :3], np.dtype(np.float32)).clip(0, 1)
    return np.broadcast_to(unit, (*unit.shape[:2], 3)).transpose(2, 0, 1)


def _clipped(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(x, 0, 1)


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
    expected = "expected at least two (x, y) pairs in [0, 1] with rising x"
    try:
        knots = np.array([(float(x), float(y)) for x, y in points])
    except (TypeError, ValueError) as error:
        raise ImageError(f"the points of a curve are {points!r}; {expected}") from error
    if (
        len(knots) < 2
        or not np.all((knots >= 0) & (knots <= 1))
        or np.any(np.diff(knots[:, 0]) <= 0)
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

    def evaluate(at: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(at, x[0], x[-1])
        i = np.clip(np.searchsorted(x, inside, side="right") - 1, 0, len(width) - 1)
        t = inside - x[i]
        c2 = (3 * slope[i] - 2 * tangent[i] - tangent[i + 1]) / width[i]
        c3 = (tangent[i] + tangent[i + 1] - 2 * slope[i]) / width[i] ** 2
        return np.asarray(y[i] + t * (tangent[i] + t * (c2 + t * c3)))

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
    rising = first * second > 0
    safe_first, safe_second = np.where(rising, first, 1), np.where(rising, second, 1)
    tangent[1:-1] = np.where(rising, (w1 + w2) / (w1 / safe_first + w2 / safe_second), 0)
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
