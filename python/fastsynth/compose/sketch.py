"""A picture as a pencil drawing: a layer of strokes times a layer of tone.

The effect is one of Ahmad and Phon-Amnuaisuk's. How the layers are made follows Lu, Xu and Jia,
"Combining Sketch and Tone for Pencil Drawing Production" (NPAR 2012): strokes are what straight
lines pick up of the gradient, tones are brought to the histogram of drawings and laid on in a
texture of pencil. Our own: the line sums by doubling, the hatching, and the closed form of its
density.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.compose.blend import as_type
from fastsynth.compose.checks import check_number
from fastsynth.compose.images import read
from fastsynth.image import join_luminance, luminance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray

    Plane = NDArray[np.float32]

__all__ = ["pencil_sketch"]

# Steps (dx, dy) of lines in eight directions, on the grid or half-way between two of its rows.
DIRECTIONS = ((1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (-0.5, 1), (-1, 1), (-1, 0.5))


def pencil_sketch(
    image: ImageLike,
    *,
    tone: float = 1.0,
    stroke: float = 1.0,
    texture: float = 1.0,
    length: int | None = None,
    colored: bool = False,
    seed: int = 0,
) -> ImageArray:
    """The image as a pencil drawing: strokes along its edges times hatched tone.

    tone: darkness of the tone layer; 0 leaves bare outlines; default 1, at most 4
    stroke: darkness of the outlines; 0 leaves tone alone; default 1, at most 4
    texture: 1 (default) shows the hatching and the grain of the paper; 0 is smooth, at most 2
    length: of the strokes in pixels, 3 to 1024; default a 40th of the shorter side
    colored: keep the colours, as with coloured pencils; default False
    seed: of hatching and grain; equal seeds give equal drawings

    The result has the type and channels of the image, of which alpha stays; a grey image stays
    grey. Raises ImageError for numbers out of range.

    >>> page = pencil_sketch(np.full((32, 48, 3), 255, np.uint8), texture=0)
    >>> page.shape, int(page.min())
    ((32, 48, 3), 255)
    """
    amounts = {"tone": tone, "stroke": stroke, "texture": texture}
    for name, value in amounts.items():
        most = 2 if name == "texture" else 4
        if not 0 <= check_number(name, value) <= most:
            raise ImageError(f"{name} is {value!r}; expected 0 to {most}")
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ImageError(f"seed is {seed!r}; expected a whole number from 0")
    samples = read(image)
    reach = _stroke_length(length, samples.height, samples.width)
    unit = as_type(samples.values[..., :3], np.dtype(np.float32)).clip(0, 1)
    planes = np.ascontiguousarray(
        np.broadcast_to(unit, (*unit.shape[:2], 3)).transpose(2, 0, 1), np.float32
    )
    luma = luminance(planes)
    drawing = _strokes(luma, reach, float(stroke))
    if tone > 0:
        goal = _drawing_tone(_blurred(luma, max(0.6, reach / 24)), colored)
        if colored:  # paper left white would show no colour: the vivid ones are laid on thicker
            goal = goal * (1 - np.float32(0.3) * (planes.max(axis=0) - planes.min(axis=0)))
        density = -np.log(np.clip(goal, 0.04, 1)) * np.float32(tone)
        drawing = drawing * np.exp(-_hatched(density, reach, float(texture), int(seed)))
    out = samples.values.copy()
    if colored and samples.channels > 1:
        chroma = np.stack([planes[2] - luma, planes[0] - luma]) * np.float32(1.15)
        drawn = join_luminance(drawing, chroma).transpose(1, 2, 0)
    else:
        drawn = drawing[..., None]
    out[..., : min(3, samples.channels)] = as_type(drawn, out.dtype)
    step = {
        "step": "pencil_sketch",
        **{name: float(value) for name, value in amounts.items()},
        "length": reach,
        "colored": bool(colored),
        "seed": int(seed),
    }
    return samples.result(out, step)


def _stroke_length(length: int | None, height: int, width: int) -> int:
    if length is None:
        return min(1024, max(5, round(min(height, width) / 40)))
    whole = isinstance(length, (int, np.integer)) and not isinstance(length, bool)
    if not whole or not 3 <= length <= 1024:
        raise ImageError(f"length is {length!r}; expected 3 to 1024 pixels, or None")
    return int(length)


# ---- strokes ----


def _strokes(luma: Plane, length: int, amount: float) -> Plane:
    """The layer of outlines, white paper where nothing is: (H, W) in [0, 1]."""
    if amount == 0:
        return np.ones_like(luma)
    smooth = _blurred(luma, max(0.6, length / 40))
    gradient = np.hypot(*np.gradient(np.pad(smooth, 1, mode="edge")))[1:-1, 1:-1]
    gradient = np.asarray(gradient, np.float32)
    # Each pixel belongs to the direction in which a line gathers most; then lines are drawn, which
    # run over the ends of edges as a hand does.
    answers = np.stack([line_mean(gradient, step, length) for step in DIRECTIONS])
    winner = answers.argmax(axis=0)
    drawn = np.zeros_like(gradient)
    for index, direction in enumerate(DIRECTIONS):
        drawn += line_mean(np.where(winner == index, gradient, 0), direction, length)
    # A strong outline is black, whatever the contrast of the picture; but noise stays faint.
    full = max(float(np.quantile(drawn, 0.985)), 0.02)
    darkness = np.clip((drawn / full - 0.06) / 0.94, 0, 1) ** 0.85
    return np.asarray(np.clip(1 - 0.85 * darkness, 0, 1) ** amount, np.float32)


def line_mean(plane: Plane, step: tuple[float, float], length: int) -> Plane:
    """The mean along a line of `length` samples, `step` = (dx, dy) apart, centred on each pixel.

    Borders repeat. Sums of 1, 2, 4, … samples are made by doubling, and the length is put together
    of these: a few passes instead of one for each sample.
    """
    height, width = plane.shape
    reach = length + 1
    power = np.pad(plane, reach, mode="edge").astype(np.float32)
    total: Plane | None = None
    offset, size, rest = 0, 1, length
    while rest:
        if rest & 1:
            part = _shifted(power, step, offset)
            total = part.copy() if total is None else total + part
            offset += size
        rest >>= 1
        if rest:
            power = power + _shifted(power, step, size)
            size *= 2
    assert total is not None
    back = (length - 1) / 2
    total = _shifted(total, step, -back)
    return total[reach : reach + height, reach : reach + width] / np.float32(length)


def _shifted(plane: Plane, step: tuple[float, float], steps: float) -> Plane:
    """plane(p + steps · step), interpolated; what comes in from outside repeats the border."""
    out = plane
    for axis, amount in ((1, step[0] * steps), (0, step[1] * steps)):
        whole = int(np.floor(amount))
        part = np.float32(amount - whole)
        moved = _moved(out, axis, whole)
        out = moved if part == 0 else moved + part * (_moved(out, axis, whole + 1) - moved)
    return out


def _moved(plane: Plane, axis: int, by: int) -> Plane:
    if by == 0:
        return plane
    count = plane.shape[axis]
    by = max(-count, min(count, by))
    inside = [slice(None), slice(None)]
    inside[axis] = slice(by, None) if by > 0 else slice(None, by)
    edge = [slice(None), slice(None)]
    edge[axis] = slice(-1, None) if by > 0 else slice(0, 1)
    border = np.repeat(plane[tuple(edge)], abs(by), axis=axis)
    parts = [plane[tuple(inside)], border] if by > 0 else [border, plane[tuple(inside)]]
    return np.concatenate(parts, axis=axis)


def _blurred(plane: Plane, sigma: float) -> Plane:
    """A Gaussian blur of small sigma, borders repeated."""
    radius = max(1, round(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    out = plane
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius, radius)
        padded = np.pad(out, pad, mode="edge")
        count = plane.shape[axis]
        total = np.zeros_like(plane)
        for index, tap in enumerate(taps):
            part = padded[index : index + count] if axis == 0 else padded[:, index : index + count]
            total += tap * part
        out = total
    return out


# ---- tone ----


def _hatched(density: Plane, length: int, texture: float, seed: int) -> Plane:
    """The optical density (0 is white) with hatching in it, which leaves the mean as it is."""
    if texture == 0:
        return density
    pencil, crossing = _pencil(density.shape, length, seed)
    # Hatched once in the lights, twice where it is darker; faint in the deep, where the strokes
    # run together.
    twice = np.clip((density - 0.35) / 0.6, 0, 1)
    depth = texture * (1 - 0.5 * np.clip(density / 2, 0, 1))
    return np.asarray(density * np.maximum(0, 1 + depth * (pencil + twice * crossing)), np.float32)


def _drawing_tone(luma: Plane, colored: bool) -> Plane:
    """Luma brought to the histogram of pencil drawings, mixed with the luma that it has."""
    v = np.arange(256)
    bright = np.exp(-(255 - v) / 9) / 9
    middle = np.where((v >= 105) & (v <= 225), 1 / 120, 0)
    dark = np.exp(-((v - 90) ** 2) / (2 * 11**2)) / np.sqrt(2 * np.pi * 11**2)
    weights = (0.66, 0.30, 0.04) if colored else (0.60, 0.31, 0.09)
    wanted = np.cumsum(sum(w * p for w, p in zip(weights, (bright, middle, dark), strict=True)))
    wanted /= wanted[-1]
    bins = np.minimum((luma * 256).astype(np.int32), 255)
    counts = np.bincount(bins.ravel(), minlength=256)
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    matched = np.interp(rank, wanted, v / 255)
    # The histogram alone would draw grey clouds into a picture that is all dark or all bright.
    own = np.arange(256) / 255
    curve = 0.7 * matched + 0.3 * own**0.4
    curve[-1] = 1.0
    return np.asarray(np.interp(luma, own, curve), np.float32)


def _pencil(shape: tuple[int, ...], length: int, seed: int) -> tuple[Plane, Plane]:
    """Two layers (H, W) of mean 0: strokes on the grain of the paper, and strokes across them."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3, *shape), np.float32)
    along = line_mean(noise[0], (1, -0.75), 2 * length) * np.sqrt(2 * length)
    across = line_mean(noise[1], (1, 0.6), length) * np.sqrt(length)
    grain = noise[2]
    return (
        np.asarray(0.34 * along + 0.2 * grain, np.float32),
        np.asarray(0.22 * across, np.float32),
    )
