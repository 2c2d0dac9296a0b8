"""The measures K1 to K3: how much of a content picture's layout another picture keeps.

All look at both pictures at 256 px of the longer side, so that they mean the same at every size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth.image import luminance, resize
from fastsynth.score.pixels import places, pyramid, scipy_module

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.score.pixels import Planes

__all__ = ["edge_loss", "self_similarity_loss", "structure_loss", "working_size"]

WORKING_SIDE = 256
NORMALIZING_SIGMA = 6.0  # px, of the local mean and deviation
NORMALIZING_FLOOR = 0.02  # deviation below which a place counts as flat
SSIM_SIGMA = 1.5
SSIM_CONSTANT = 0.05
EDGE_SIGMA = 2.0
EDGE_SHARE = 0.04  # of all pixels: the strongest edges
EDGE_TOLERANCE = 2.0  # px
POSITIONS = 256


def working_size(height: int, width: int) -> tuple[int, int]:
    """Height and width with the longer side at 256 px.

    >>> working_size(768, 1024)
    (192, 256)
    """
    factor = WORKING_SIDE / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def structure_loss(image: Planes, content: Planes) -> float:
    """K1: 1 - mean over two scales of SSIM's contrast-structure term; 0 is the same structure.

        cs = (2 σ_xy + C) / (σ_x² + σ_y² + C)

    of luma that was normalised locally, (Y - mean) / (deviation + 0.02), so that a repainted sky
    does not count as long as its edges stay. Wang, Bovik, Sheikh, Simoncelli 2004.
    """
    return 1.0 - float(np.mean([_contrast_structure(x, y) for x, y in _scales(image, content)]))


def _scales(image: Planes, content: Planes) -> list[tuple[NDArray[np.float64], ...]]:
    """The locally normalised luma of both pictures at full and at half size."""
    own = [_normalized(level) for level in pyramid(luminance(image)[None], 2)]
    theirs = [_normalized(level) for level in pyramid(luminance(content)[None], 2)]
    return list(zip(own, theirs, strict=True))


def _normalized(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    ndimage = scipy_module("ndimage")
    y = plane[0].astype(np.float64)
    centred = y - ndimage.gaussian_filter(y, NORMALIZING_SIGMA)
    variance = ndimage.gaussian_filter(centred**2, NORMALIZING_SIGMA)
    return np.asarray(centred / (np.sqrt(variance) + NORMALIZING_FLOOR))


def _contrast_structure(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    ndimage = scipy_module("ndimage")

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.gaussian_filter(values, SSIM_SIGMA))

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    return float(np.mean((2 * covariance + SSIM_CONSTANT) / (variances + SSIM_CONSTANT)))


def edge_loss(image: Planes, content: Planes) -> float:
    """K2: 1 - F-score of the edges; 0 where all edges are within 2 px of one another.

    Edges are the strongest 4 % of the pixels among the ridges of the luma's gradient (Gaussian,
    σ = 2 px). F = 2 P R / (P + R) with P, the share of the image's edges that are near one of the
    content's, and R, the reverse. Pictures both without edges agree: 0.
    """
    own, theirs = edges(luminance(image)), edges(luminance(content))
    if not own.any() and not theirs.any():
        return 0.0
    precision, recall = _near(own, theirs), _near(theirs, own)
    return 1.0 - (2 * precision * recall / (precision + recall) if precision + recall else 0.0)


def edges(luma: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the size of the gradient is a maximum across the edge, and among the strongest 4 %."""
    ndimage = scipy_module("ndimage")
    plane = luma.astype(np.float64)
    dy = ndimage.gaussian_filter(plane, EDGE_SIGMA, order=(1, 0))
    dx = ndimage.gaussian_filter(plane, EDGE_SIGMA, order=(0, 1))
    size = np.hypot(dy, dx)
    padded = np.pad(size, 1)
    turn = np.round(np.arctan2(dy, dx) / (np.pi / 4)).astype(np.int64) % 4
    # The neighbours across an edge, for gradients along x, the diagonal, y, the other diagonal.
    steps = ((0, 1), (1, 1), (1, 0), (1, -1))
    ridge = np.zeros(size.shape, np.bool_)
    height, width = size.shape
    for index, (down, across) in enumerate(steps):
        ahead = padded[1 + down : 1 + down + height, 1 + across : 1 + across + width]
        behind = padded[1 - down : 1 - down + height, 1 - across : 1 - across + width]
        ridge |= (turn == index) & (size >= ahead) & (size > behind)
    ridge &= size > 1e-4
    wanted = round(EDGE_SHARE * size.size)
    if np.count_nonzero(ridge) > wanted:
        ridge &= size >= np.partition(size[ridge], -wanted)[-wanted]
    return ridge


def _near(these: NDArray[np.bool_], those: NDArray[np.bool_]) -> float:
    """The share of these places that have one of those within the tolerance."""
    if not these.any() or not those.any():
        return 0.0
    away = scipy_module("ndimage").distance_transform_edt(~those)
    return float(np.mean(away[these] <= EDGE_TOLERANCE))


def self_similarity_loss(image: Planes, content: Planes) -> float:
    """K3: how differently places resemble one another; 0 is the same, 1 the most.

    At 256 places, features (colour, and energy in four orientations, at three scales, each
    standardised over the picture) have pairwise cosine distances D. Each row of D is divided by its
    sum; half the mean absolute difference of the rows' entries, summed over a row. After Kolkin,
    Salavon, Shakhnarovich 2019, who take a network's features.
    """
    own, theirs = _features(image), _features(content)
    chosen = places(own.shape[1], POSITIONS, seed=8)
    return float(0.5 * np.abs(_rows(own[:, chosen]) - _rows(theirs[:, chosen])).sum(axis=1).mean())


def _features(planes: Planes) -> NDArray[np.float64]:
    """(21, H W)."""
    ndimage = scipy_module("ndimage")
    red, green, blue = planes.astype(np.float64)
    luma = luminance(planes).astype(np.float64)
    rows = []
    for sigma in (2.0, 4.0, 8.0):
        rows += [
            ndimage.gaussian_filter(values, sigma)
            for values in (luma, red - blue, green - (red + blue) / 2)
        ]
        dy = ndimage.gaussian_filter(luma, sigma / 2, order=(1, 0))
        dx = ndimage.gaussian_filter(luma, sigma / 2, order=(0, 1))
        half = np.sqrt(0.5)
        rows += [
            ndimage.gaussian_filter(np.abs(values), sigma)
            for values in (dx, dy, half * (dx + dy), half * (dx - dy))
        ]
    found = np.stack([row.ravel() for row in rows])
    found -= found.mean(axis=1, keepdims=True)
    return np.asarray(found / np.maximum(found.std(axis=1, keepdims=True), 1e-4))


def _rows(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pairwise cosine distances of columns, each row divided by its sum."""
    length = np.maximum(np.linalg.norm(features, axis=0), 1e-9)
    unit = features / length
    distance = np.maximum(1 - unit.T @ unit, 0)
    np.fill_diagonal(distance, 0)
    return np.asarray(distance / np.maximum(distance.sum(axis=1, keepdims=True), 1e-9))


def at_working_size(planes: Planes, height_width: tuple[int, int]) -> Planes:
    """Planes at another size, antialiased."""
    return resize(planes, height_width, "area")
