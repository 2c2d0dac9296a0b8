"""Patches one by one: how much is copied (S6), and where they fit the exemplar worst."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth.image import resize
from fastsynth.score.pixels import patches_at, places, pyramid, scipy_module

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.score.pixels import Planes

__all__ = ["copied_share", "misfit"]

COPY = 16  # px, side of the patches of S6
CELL = 4  # px: a patch is compared by the means of its 4 × 4 cells in each channel
STEP = 8  # px between neighbouring patches
MOST_ANCHORS = 512

FIT = 7  # px, side of the patches of the map
FIT_DIMENSIONS = 12
FIT_SAMPLES = 20_000
FIT_STEP = 2  # px between the patches of the finest level
LEAST_DISTANCE = 0.05  # of patches: exemplars without any noise have copies of every patch


def copied_share(image: Planes, exemplar: Planes) -> float:
    """S6: the share of neighbouring 16 × 16 patches whose nearest ones in the exemplar neighbour.

    For patches of the image on a grid of 8 px (at most 512, drawn from a seed, each with its right
    and its lower neighbour) the nearest patch of the exemplar is found among all of its positions,
    by squared distance of the means of 4 × 4 pixels. Where both of a pair are found at the same
    offset the image continues like the exemplar: a copied piece. 1 is a verbatim copy.
    """
    candidates, columns = _cell_means(exemplar)
    own, own_columns = _cell_means(image)
    rows = own.shape[0] // own_columns
    grid_rows, grid_columns = (rows - 1) // STEP, (own_columns - 1) // STEP  # anchors with both
    if grid_rows < 1 or grid_columns < 1:
        return float("nan")
    anchors = places(grid_rows * grid_columns, MOST_ANCHORS, seed=6)
    top, left = anchors // grid_columns * STEP, anchors % grid_columns * STEP
    keys = top * own_columns + left
    trio = np.stack([keys, keys + STEP, keys + STEP * own_columns])
    wanted, inverse = np.unique(trio, return_inverse=True)
    nearest = _nearest(own[wanted], candidates)
    offset_y = nearest // columns - wanted // own_columns
    offset_x = nearest % columns - wanted % own_columns
    offsets = np.stack([offset_y, offset_x])[:, inverse.reshape(trio.shape)]
    same = (offsets[:, 1:] == offsets[:, :1]).all(axis=0)
    return float(same.mean())


def _cell_means(planes: Planes) -> tuple[NDArray[np.float32], int]:
    """Descriptors (positions, 48) of all 16 × 16 patches in row order, and positions per row."""
    ndimage = scipy_module("ndimage")
    # An even filter's centre is its upper middle: the mean of [p, p + 4) lies at p + 2.
    means = ndimage.uniform_filter(planes, (0, CELL, CELL))[:, CELL // 2 :, CELL // 2 :]
    height, width = planes.shape[1] - COPY + 1, planes.shape[2] - COPY + 1
    cells = [
        means[:, y : y + height, x : x + width]
        for y in range(0, COPY, CELL)
        for x in range(0, COPY, CELL)
    ]
    return np.concatenate(cells).reshape(-1, height * width).T.copy(), width


def _nearest(queries: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index of the candidate nearest to each query: |c - q|² = |c|² - 2 c·q + |q|², in blocks."""
    centre = candidates.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = candidates - centre
    half = 0.5 * np.einsum("ij,ij->i", centred, centred)
    found = np.empty(len(queries), np.int64)
    block = max(1, (1 << 24) // len(candidates))
    for start in range(0, len(queries), block):
        likeness = (queries[start : start + block] - centre) @ centred.T
        likeness -= half
        found[start : start + block] = likeness.argmax(axis=1)
    return found


def misfit(image: Planes, exemplar: Planes, levels: int = 3) -> NDArray[np.float32]:
    """How badly each place of the image fits the exemplar: (H, W), about 1 where it fits.

    At each level of Gaussian pyramids, the distance of a 7 × 7 patch to the nearest of the
    exemplar's, over the usual distance between the exemplar's halves; then the mean over levels.
    """
    height, width = image.shape[1:]
    total = np.zeros((height, width), np.float64)
    pairs = zip(pyramid(image, levels), pyramid(exemplar, levels), strict=True)
    for level, (own, reference) in enumerate(pairs):
        coarse = _level_misfit(own, reference, level)
        total += resize(coarse.astype(np.float32), (height, width), "bilinear")
    return (total / levels).astype(np.float32)


def _level_misfit(
    own: NDArray[np.float32], reference: NDArray[np.float32], level: int
) -> NDArray[np.float64]:
    spatial = scipy_module("spatial")
    reference, own = _continued(reference), _continued(own)
    columns = reference.shape[2] - FIT + 1
    count = (reference.shape[1] - FIT + 1) * columns
    chosen = places(count, FIT_SAMPLES, seed=10 + level)
    sample = patches_at(reference, chosen, FIT)
    mean = sample.mean(axis=0, dtype=np.float64)
    covariance = (sample - mean).T @ (sample - mean) / len(sample)
    basis = np.linalg.eigh(covariance)[1][:, -FIT_DIMENSIONS:]

    # What a patch of the exemplar itself must go to find its like in the other half.
    left = chosen % columns < columns // 2
    seen = (sample - mean) @ basis
    usual = spatial.cKDTree(seen[left]).query(seen[~left][:2000], workers=-1)[0]
    typical = max(float(np.median(usual)), LEAST_DISTANCE)

    rows, own_columns = own.shape[1] - FIT + 1, own.shape[2] - FIT + 1
    step = FIT_STEP if level == 0 else 1
    grid = np.add.outer(np.arange(0, rows, step) * own_columns, np.arange(0, own_columns, step))
    queries = (patches_at(own, grid.ravel(), FIT) - mean) @ basis
    distance = spatial.cKDTree(seen).query(queries, eps=0.5, workers=-1)[0]
    return np.asarray(distance.reshape(grid.shape) / typical, np.float64)


def _continued(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planes with a border of reflected pixels, so that every pixel has a patch around it."""
    margin = FIT // 2
    return np.pad(planes, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
