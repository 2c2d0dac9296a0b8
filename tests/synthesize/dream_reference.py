"""DeepDream in float64 NumPy and SciPy: what the engine's loop must agree with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d
from tests.support import relative_error

from fastsynth import _core

Array = NDArray[np.float64]
BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def smooth(x: Array, axis: int) -> Array:
    """The binomial filter, its weights renormalised where the border cuts it off."""
    weight = convolve1d(np.ones(x.shape[axis]), BINOMIAL, mode="constant")
    shape = [1] * x.ndim
    shape[axis] = -1
    return convolve1d(x, BINOMIAL, axis=axis, mode="constant") / weight.reshape(shape)


def down(x: Array) -> Array:
    return smooth(smooth(x, 1), 2)[:, ::2, ::2]


def up(x: Array, height: int, width: int) -> Array:
    """Zeros between the samples, the filter over both samples and zeros, and their quotient."""
    sparse, mask = np.zeros((len(x), height, width)), np.zeros((1, height, width))
    sparse[:, ::2, ::2] = x
    mask[:, ::2, ::2] = 1

    def blur(y: Array) -> Array:
        for axis in (1, 2):
            y = convolve1d(y, BINOMIAL, axis=axis, mode="constant")
        return y

    return blur(sparse) / blur(mask)


def normalize_bands(x: Array, levels: int) -> Array:
    """Each band of the Laplacian pyramid divided by its root mean square."""
    floor = 1e-5 * np.sqrt((x**2).mean())
    if floor == 0:
        return x
    bands = []
    for _ in range(levels):
        if min(x.shape[1:]) < 4:
            break
        coarse = down(x)
        bands.append(x - up(coarse, *x.shape[1:]))
        x = coarse
    bands.append(x)
    bands = [band / max(np.sqrt((band**2).mean()), floor) for band in bands]
    total = bands.pop()
    while bands:
        band = bands.pop()
        total = band + up(total, *band.shape[1:])
    return total


def pyramid_error(pool: _core.ThreadPool) -> float:
    """The engine's pyramid against this one, over many shapes."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for shape in (
        (3, 1, 1),
        (3, 3, 9),
        (1, 4, 4),
        (3, 5, 6),
        (2, 17, 23),
        (3, 64, 64),
        (3, 121, 86),
    ):
        x = rng.standard_normal(shape).astype(np.float32)
        for levels in (0, 1, 4, 9):
            found = _core.normalize_bands(x, levels, pool)
            worst = max(worst, relative_error(found, normalize_bands(x.astype(np.float64), levels)))
    return worst


def shift(seed: int, count: int, jitter: int) -> tuple[int, int]:
    """SplitMix64, as its authors give it: one number for the seed, one for the evaluation."""
    mask = 2**64 - 1

    def mixed(state: int) -> int:
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return state ^ (state >> 31)

    bits = mixed((mixed(seed) + (count + 1) * 0x9E3779B97F4A7C15) & mask)
    span = 2 * jitter + 1
    return (bits >> 32) % span - jitter, (bits & 0xFFFFFFFF) % span - jitter


def octave(
    x: Array,
    gradient: Callable[[Array], Array],
    steps: int,
    *,
    step: float,
    normalize: bool,
    levels: int,
    jitter: int,
    seed: int,
) -> Array:
    """The loop of one octave: roll, gradient of the activation, roll back, normalise, step."""
    for count in range(steps):
        moved = shift(seed, count, jitter) if jitter else (0, 0)
        g = gradient(np.roll(x, moved, axis=(1, 2)))
        g = np.roll(g, (-moved[0], -moved[1]), axis=(1, 2))
        if levels:
            g = normalize_bands(g, levels)
        if normalize:
            g = g / np.abs(g).mean()
        x = np.clip(x + step * g, 0, 1)
    return x
