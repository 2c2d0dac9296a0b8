"""Procedural textures of three kinds: regular, near-regular and stochastic; (H, W, 3) in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["TEXTURES", "bricks", "dots", "grain", "pebbles", "weave"]

Image = NDArray[np.float32]


def bricks(side: int = 256, seed: int = 0) -> Image:
    """A running bond: bricks of 44 × 20 px, joints of 4 px; every brick has its own shade."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    row = y // 24
    shifted = x + 24 * (row % 2)
    column = shifted // 48
    joint = (y % 24 < 4) | (shifted % 48 < 4)
    shade = rng.normal(0, 0.06, (row.max() + 1, column.max() + 1))[row, column]
    brick = np.array([0.62, 0.3, 0.22]) * (1 + shade[..., None])
    image = np.where(joint[..., None], np.array([0.75, 0.72, 0.68]), brick)
    return _finish(image + 0.02 * rng.normal(size=(side, side, 1)))


def weave(side: int = 256, seed: int = 0) -> Image:
    """A plain weave with threads of 10 px in two colours, shaded as cylinders."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    over = (x // 10 + y // 10) % 2 == 0
    across = np.where(over, y % 10, x % 10)
    light = 0.45 + 0.55 * np.sin(np.pi * (across + 0.5) / 10)
    colour = np.where(over[..., None], np.array([0.8, 0.65, 0.4]), np.array([0.35, 0.45, 0.6]))
    return _finish(colour * light[..., None] + 0.02 * rng.normal(size=(side, side, 1)))


def dots(side: int = 256, seed: int = 0) -> Image:
    """Round dots on an oblique lattice of 18 px, each off its place by about 1.5 px."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    covered = np.zeros((side, side))
    for i in range(-1, side // 16 + 2):
        for j in range(-1, side // 18 + 2):
            cy, cx = 16 * i + rng.normal(0, 1.5), 18 * j + 9 * (i % 2) + rng.normal(0, 1.5)
            covered = np.maximum(covered, np.clip(5.5 - np.hypot(y - cy, x - cx), 0, 1))
    ink, paper = np.array([0.15, 0.2, 0.45]), np.array([0.9, 0.88, 0.8])
    image = paper + covered[..., None] * (ink - paper)
    return _finish(image + 0.02 * rng.normal(size=(side, side, 1)))


def pebbles(side: int = 256, seed: int = 0) -> Image:
    """Cells around random points, each of its own grey or brown, dark at their borders."""
    rng = np.random.default_rng(seed)
    points = rng.random((max(8, side * side // 150), 2)) * side
    from scipy.spatial import cKDTree

    y, x = np.mgrid[:side, :side]
    distance, index = cKDTree(points).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    border = np.clip((distance[:, 1] - distance[:, 0]) / 4, 0, 1).reshape(side, side)
    colour = 0.25 + 0.5 * rng.random((len(points), 1)) + 0.1 * rng.random((len(points), 3))
    image = colour[index[:, 0]].reshape(side, side, 3) * (0.2 + 0.8 * border[..., None])
    return _finish(image + 0.02 * rng.normal(size=(side, side, 1)))


def grain(side: int = 256, seed: int = 0) -> Image:
    """Oriented coloured noise, like the grain of wood or brushed metal."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side, 2)), (0.7, 4, 0), mode="wrap")
    noise /= noise.std()
    colours = np.array([[0.12, 0.1, 0.07], [0.02, 0.0, -0.03]])
    return _finish(np.array([0.55, 0.4, 0.25]) + noise @ colours)


TEXTURES = {"bricks": bricks, "weave": weave, "dots": dots, "pebbles": pebbles, "grain": grain}


def _finish(image: NDArray[np.float64]) -> Image:
    return np.clip(image, 0, 1).astype(np.float32)
