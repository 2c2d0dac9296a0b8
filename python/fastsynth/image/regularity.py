"""How regular a texture is: what its autocorrelation keeps at long lags.

Of a brick wall, a weave or a lattice, distant places predict one another; of pebbles or noise they
do not. The autocorrelation of a few maps of the picture tells these apart without a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image.color import luminance
from fastsynth.image.io import load
from fastsynth.image.resample import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike

__all__ = [
    "LONG_LAG",
    "REACH",
    "REGULAR",
    "autocorrelation",
    "long_lags",
    "regularity",
    "structure_maps",
]

LONG_LAG = 8  # px: nearer pixels resemble one another in every picture
REACH = 3 / 8  # of the shorter side: the farthest lag; five eighths of the picture overlap there
SMALLEST = 32  # px: below, no long lags are left
LARGEST = 768  # px, the longer side: enough to tell, and a tenth of a second
REGULAR = 0.2  # regularity above which a texture needs a term for its long range
# Variance of a map below which it counts as flat: a fifth of an 8-bit step, so that the rounding of
# a grey picture is no colour pattern.
FLAT = (0.2 / 255) ** 2


def regularity(exemplar: ImageLike) -> float:
    """How much of a texture repeats at a distance, from 0 (noise) to 1 (a perfect lattice).

    The autocorrelation ρ(τ) of luma, of its gradient's size and of R - B, at the lags
    8 ≤ max(|τx|, |τy|) ≤ 3/8 of the shorter side: the value that the best hundredth of the lags
    exceeds, averaged over the maps that are not flat. Slow shading is taken out first, for it too
    correlates distant places. Above REGULAR = 0.2 a texture counts as regular: brick walls, weaves
    and lattices have 0.25 to 0.9; pebbles, clouds, water and paintings 0.02 to 0.16. A flat picture
    has 0.

    exemplar: a picture of at least 32 × 32 pixels; transparent places do not count. One whose
        longer side exceeds 768 px is reduced to that.

    Raises ImageError for unusable and for smaller pictures.

    >>> rows = np.arange(64)
    >>> stripes = np.broadcast_to(np.where(rows // 5 % 2, 1.0, 0.0), (64, 64)).astype(np.float32)
    >>> noise = np.random.default_rng(0).random((64, 64), np.float32)
    >>> regularity(stripes) > 0.5, regularity(noise) < 0.1
    (True, True)
    """
    picture = load(exemplar, name="exemplar")
    height, width = picture.pixels.shape[1:]
    if min(height, width) < SMALLEST:
        raise ImageError(
            f"the exemplar has {width} × {height} pixels; regularity needs at least "
            f"{SMALLEST} × {SMALLEST}"
        )
    pixels, alpha = picture.pixels, picture.alpha
    if max(height, width) > LARGEST:
        factor = LARGEST / max(height, width)
        size = (max(SMALLEST, round(height * factor)), max(SMALLEST, round(width * factor)))
        pixels = resize(pixels, size, "area")
        alpha = None if alpha is None else resize(alpha, size, "area")
    reach = int(REACH * min(pixels.shape[1:]))
    lags = long_lags(reach)
    found = []
    for plane in structure_maps(pixels):
        correlation = autocorrelation(_without_shading(plane, reach, alpha), reach, alpha)
        if correlation is not None:
            found.append(float(np.quantile(correlation[lags], 0.99)))
    return max(0.0, float(np.mean(found))) if found else 0.0


def structure_maps(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """Luma, the size of its gradient (Gaussian, σ = 1 px) and R - B of planar pixels (3, H, W)."""
    luma = luminance(pixels).astype(np.float64)
    red, _, blue = pixels.astype(np.float64)
    return luma, np.hypot(_filtered(luma, 1, 0), _filtered(luma, 0, 1)), red - blue


def long_lags(reach: int) -> NDArray[np.bool_]:
    """Which entries of an autocorrelation (reach + 1, 2 reach + 1) have LONG_LAG ≤ |τ|∞ ≤ reach."""
    down = np.arange(reach + 1)[:, None]
    across = np.abs(np.arange(-reach, reach + 1))[None]
    return np.maximum(down, across) >= min(LONG_LAG, reach)


def autocorrelation(
    plane: NDArray[np.float64], reach: int, alpha: NDArray[np.float32] | None = None
) -> NDArray[np.float64] | None:
    """ρ(τ) = Σ f(p) f(p + τ) / overlap(τ) / variance of the centred plane f; no wrapping around.

    plane: (H, W); alpha: (H, W) weights of the pixels, or None. overlap(τ) is the number of pairs.
    reach: lags of up to so many pixels, below H and W. Since ρ(-τ) = ρ(τ), the lower half is given:
        entry [dy, reach + dx] for 0 ≤ dy ≤ reach, -reach ≤ dx ≤ reach. Lags that no pair of visible
        pixels has are 0.

    Returns None for a flat plane. Zero-padded Fourier transforms in float64.

    >>> autocorrelation(np.array([[0.0, 1.0, 0.0, 1.0]]).repeat(4, 0), 1).round(6).tolist()
    [[-1.0, 1.0, -1.0], [-1.0, 1.0, -1.0]]
    """
    weight = np.ones(plane.shape) if alpha is None else alpha.astype(np.float64)
    total = weight.sum()
    if total <= 0:
        return None
    centred = (plane - (plane * weight).sum() / total) * weight
    variance = (centred * (plane - (plane * weight).sum() / total)).sum() / total
    if variance < FLAT:
        return None
    sums = _lagged_products(centred, reach)
    if alpha is None:
        rows = plane.shape[0] - np.arange(reach + 1)
        columns = plane.shape[1] - np.abs(np.arange(-reach, reach + 1))
        overlap = np.outer(rows, columns).astype(np.float64)
    else:
        overlap = _lagged_products(weight, reach)
    seen = overlap > 0.5  # rounding of the transforms is far below a pair
    return np.asarray(np.divide(sums, overlap, out=np.zeros_like(sums), where=seen) / variance)


def _without_shading(
    plane: NDArray[np.float64], reach: int, alpha: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """The plane less what varies over more than about half of `reach`: a coarse grid, enlarged."""
    height, width = plane.shape
    cell = reach / 3
    coarse = (max(2, round(height / cell)), max(2, round(width / cell)))

    def slow(values: NDArray[np.float64]) -> NDArray[np.float64]:
        grid = resize(values.astype(np.float32), coarse, "bilinear")
        return resize(grid, (height, width), "bicubic").astype(np.float64)

    if alpha is None:
        return plane - slow(plane)
    weight = alpha.astype(np.float64)
    return plane - slow(plane * weight) / np.maximum(slow(weight), 0.05)


def _lagged_products(plane: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Σ_p f(p) f(p + τ) for the lags of `autocorrelation`."""
    shape = (_good_length(plane.shape[0] + reach), _good_length(plane.shape[1] + reach))
    power = np.abs(np.fft.rfft2(plane, shape)) ** 2
    sums = np.fft.irfft2(power, shape)[: reach + 1]
    return np.concatenate([sums[:, shape[1] - reach :], sums[:, : reach + 1]], axis=1)


def _good_length(least: int) -> int:
    """The smallest product of 2, 3 and 5 that is not below `least`: quick to transform."""
    best = 1 << (least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            two = three
            while two < least:
                two *= 2
            best = min(best, two)
            three *= 3
        five *= 5
    return best


def _filtered(plane: NDArray[np.float64], down: int, across: int) -> NDArray[np.float64]:
    """Derivatives of the plane blurred by a Gaussian of σ = 1 px; borders are reflected."""
    places = np.arange(-4, 5)
    blur = np.exp(-0.5 * places**2)
    blur /= blur.sum()
    slope = places * blur
    padded = np.pad(plane, 4, mode="symmetric")
    for axis, order in ((0, down), (1, across)):
        kernel = slope if order else blur
        length = padded.shape[axis] - 8
        padded = np.asarray(
            sum(
                value * np.take(padded, range(i, i + length), axis)
                for i, value in enumerate(kernel)
            )
        )
    return padded
