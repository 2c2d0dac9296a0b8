"""The measures S1 to S5: what two pictures of one texture have in common, wherever things lie.

Each measure has a `describe` that sees one picture, and a distance between two descriptions. A
picture's description is made once and compared several times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from fastsynth.image import luminance
from fastsynth.image.regularity import REACH, autocorrelation, long_lags, structure_maps
from fastsynth.score.pixels import (
    directions,
    patches_at,
    places,
    pyramid,
    quantiles,
    scipy_module,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.score.pixels import Planes, Settings

__all__ = ["Description", "describe", "distances"]

PATCH = 7
PATCH_DIRECTIONS = 96
PATCH_SAMPLES = 1 << 14  # patches of a level, drawn from a seed where there are more
COLOR_DIRECTIONS = 48
PIXEL_SAMPLES = 1 << 15  # pixels, likewise
SMALLEST_SPREAD = 1 / 255  # a distribution narrower than an 8-bit step is taken as that wide
QUANTIZATION = 1 / 12 / 255**2  # variance of the rounding to 8 bits
MOST_DECIBELS = 30.0
ORIENTATIONS = 8


@dataclass(frozen=True)
class Distribution:
    """512 quantiles and the standard deviation of each row of samples."""

    quantiles: NDArray[np.float64]  # (rows, 512)
    spread: NDArray[np.float64]  # (rows,)

    @staticmethod
    def of(samples: NDArray[np.floating]) -> Distribution:
        """Of samples (rows, n)."""
        return Distribution(quantiles(samples), samples.std(axis=1, dtype=np.float64))

    def distance(self, reference: Distribution) -> float:
        """The mean over rows of W1 over the reference's standard deviation."""
        w1 = np.abs(self.quantiles - reference.quantiles).mean(axis=1)
        return float(np.mean(w1 / np.maximum(reference.spread, SMALLEST_SPREAD)))


@dataclass(frozen=True)
class Description:
    """What the measures know of one picture."""

    reach: int
    correlations: tuple[NDArray[np.float64] | None, ...]  # S1, of each structure map
    decibels: NDArray[np.float64]  # S2, of each band
    patches: tuple[Distribution, ...]  # S3, of each level
    marginals: tuple[Distribution, ...]  # S4, of each level
    color: Distribution  # S5


def describe(pixels: Planes, settings: Settings) -> Description:
    """The descriptions of all measures for planar pixels (3, H, W)."""
    reach = int(REACH * min(pixels.shape[1:]))
    levels = pyramid(pixels, settings.levels)
    return Description(
        reach,
        tuple(autocorrelation(plane, reach) for plane in structure_maps(pixels)),
        band_power(luminance(pixels).astype(np.float64), settings.window),
        tuple(patch_distribution(level, i) for i, level in enumerate(levels)),
        tuple(derivative_distribution(luminance(level)) for level in levels),
        color_distribution(pixels),
    )


def distances(image: Description, reference: Description) -> dict[str, float]:
    """The distances S1 to S5 of an image from the reference."""
    return {
        "autocorrelation": correlation_distance(image, reference),
        "spectrum": spectrum_distance(image.decibels, reference.decibels),
        "patches": _mean_distance(image.patches, reference.patches),
        "marginals": _mean_distance(image.marginals, reference.marginals),
        "color": image.color.distance(reference.color),
    }


def _mean_distance(image: tuple[Distribution, ...], reference: tuple[Distribution, ...]) -> float:
    """The mean over levels, each with half the weight of the finer one.

    A level has a quarter of the pixels of the finer one, and so twice its error of sampling.
    """
    weights = 0.5 ** np.arange(len(reference))
    found = [a.distance(b) for a, b in zip(image, reference, strict=True)]
    return float(np.average(found, weights=weights))


# ---- S1: long range ----


def correlation_distance(image: Description, reference: Description) -> float:
    """S1: mean over maps of the root mean square of ρ_x - ρ_0 at the long lags.

    A flat map has no correlation, ρ = 0. Maps that are flat in both pictures do not count.
    """
    reach = min(image.reach, reference.reach)
    lags = long_lags(reach)
    found = []
    for a, b in zip(image.correlations, reference.correlations, strict=True):
        if a is None and b is None:
            continue
        difference = _cut(a, reach) - _cut(b, reach)
        found.append(float(np.sqrt(np.mean(difference[lags] ** 2))))
    return float(np.mean(found)) if found else 0.0


def _cut(correlation: NDArray[np.float64] | None, reach: int) -> NDArray[np.float64]:
    """The lags up to `reach`, of an autocorrelation that may have more."""
    if correlation is None:
        return np.zeros((reach + 1, 2 * reach + 1))
    middle = correlation.shape[1] // 2
    return correlation[: reach + 1, middle - reach : middle + reach + 1]


# ---- S2: spectrum ----


def band_power(plane: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Power in decibels by half octave and orientation: Welch's mean of windowed periodograms.

    Hann windows of `window` px, overlapping by half and spread evenly; 8 orientations; frequencies
    from 2 / window to 1/2 cycles per pixel, and the corners beyond. Density: the sum over
    frequencies of the periodogram, before banding, is the variance. The noise of 8-bit rounding is
    added, so that what lies below it does not count.
    """
    fft = scipy_module("fft")
    hann = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    taper = np.outer(hann, hann)
    taper /= np.sqrt((taper**2).sum())
    centred = plane - plane.mean()
    starts = [
        np.unique(np.linspace(0, n - window, 1 + -(-2 * (n - window) // window)).astype(np.int64))
        for n in plane.shape
    ]
    power = np.zeros((window, window // 2 + 1))
    for top in starts[0]:
        rows = np.stack([centred[top : top + window, s : s + window] for s in starts[1]])
        power += (np.abs(fft.rfft2(rows * taper)) ** 2).sum(axis=0)
    power /= len(starts[0]) * len(starts[1])
    index, count = _bands(window)
    sums = np.bincount(index.ravel(), power.ravel(), minlength=count + 1)[:count]
    members = np.bincount(index.ravel(), minlength=count + 1)[:count]
    mean = sums[members > 0] / members[members > 0]
    return np.asarray(10 * np.log10(mean + QUANTIZATION))


def _bands(window: int) -> tuple[NDArray[np.int64], int]:
    """The band of each frequency of rfft2, and their number; that number itself: no band."""
    down = np.fft.fftfreq(window)[:, None]
    across = np.fft.rfftfreq(window)[None]
    radius = np.hypot(down, across)
    lowest = 2 / window
    octave = np.floor(2 * np.log2(np.maximum(radius, lowest) / lowest) + 1e-9).astype(np.int64)
    # Orientation bins are centred on the axes, so that an axis does not fall into two of them.
    turn = np.mod(np.arctan2(down, across) / np.pi + 0.5 / ORIENTATIONS, 1.0)
    orientation = np.minimum((turn * ORIENTATIONS).astype(np.int64), ORIENTATIONS - 1)
    count = (int(octave.max()) + 1) * ORIENTATIONS
    return np.where(radius < lowest - 1e-12, count, octave * ORIENTATIONS + orientation), count


def spectrum_distance(image: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """S2: root mean square over bands of the power ratio in decibels, clipped to ±30."""
    ratio = np.clip(image - reference, -MOST_DECIBELS, MOST_DECIBELS)
    return float(np.sqrt(np.mean(ratio**2)))


# ---- S3 to S5: distributions of patches, derivatives and colours ----


def patch_distribution(planes: NDArray[np.float32], level: int) -> Distribution:
    """7 × 7 × 3 patches of planes (3, H, W), projected on 96 fixed directions (sliced W1)."""
    count = (planes.shape[1] - PATCH + 1) * (planes.shape[2] - PATCH + 1)
    patches = patches_at(planes, places(count, PATCH_SAMPLES, seed=level), PATCH)
    return Distribution.of(patch_directions().astype(np.float32) @ patches.T)


@cache
def patch_directions() -> NDArray[np.float64]:
    """96 unit vectors (96, 147) in the space of 7 × 7 × 3 patches, fixed.

    Each is a random mixture of two waves: cosines cos(π (i + ½) u / 7) cos(π (j + ½) v / 7) in
    light (u + v ≤ 4), R - B or G - (R + B) / 2 (u + v ≤ 2), amplified by u + v + ½, since natural
    patches have the less of a wave the finer it is. Directions that are drawn evenly from the
    sphere mix so many waves that all projections look normal: they hardly see structure.
    """
    u = np.arange(PATCH)[:, None]
    cosines = np.cos(np.pi * (np.arange(PATCH) + 0.5) * u / PATCH)
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    colors = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])
    colors /= np.linalg.norm(colors, axis=1, keepdims=True)
    waves = np.stack(
        [
            (down + across + 0.5)
            * np.multiply.outer(color, np.outer(cosines[down], cosines[across])).ravel()
            for color, finest in zip(colors, (4, 2, 2), strict=True)
            for down in range(finest + 1)
            for across in range(finest + 1 - down)
        ]
    )
    amounts = directions(PATCH_DIRECTIONS, len(waves), seed=3)
    second = np.partition(np.abs(amounts), -2, axis=1)[:, -2, None]
    mixed = np.where(np.abs(amounts) >= second, amounts, 0) @ waves
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))


def derivative_distribution(plane: NDArray[np.float32]) -> Distribution:
    """Derivatives of the Gaussian (σ = 1 px) of a plane: x, y, xy, xx, yy, away from borders."""
    ndimage = scipy_module("ndimage")
    border = 4
    orders = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    rows = [
        ndimage.gaussian_filter(plane, 1.0, order=order, truncate=4.0)[
            border:-border, border:-border
        ].ravel()
        for order in orders
    ]
    return Distribution.of(np.stack(rows)[:, places(rows[0].size, PIXEL_SAMPLES, seed=9)])


def color_distribution(planes: NDArray[np.float32]) -> Distribution:
    """Colours of planes (3, H, W), projected on 48 random directions."""
    flat = planes.reshape(3, -1)
    chosen = flat[:, places(flat.shape[1], PIXEL_SAMPLES, seed=4)]
    return Distribution.of(directions(COLOR_DIRECTIONS, 3, seed=5).astype(np.float32) @ chosen)
