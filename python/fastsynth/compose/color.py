"""Colour and intensity, pixel by pixel: grey, hue and saturation, matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.compose.blend import as_type, origin
from fastsynth.compose.checks import check_fraction, check_number
from fastsynth.compose.images import Samples, pool, read
from fastsynth.compose.tones import Line, apply_tone
from fastsynth.image import color as image_color
from fastsynth.image import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.image.color import MatchMode

__all__ = [
    "grayscale",
    "hue_saturation",
    "match_color",
    "match_histogram",
    "threshold",
]

REC601 = (0.299, 0.587, 0.114)
REC709 = (0.2126, 0.7152, 0.0722)


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
        return apply_tone(image, Line(low=added, high=rest + added), step, threads)
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
