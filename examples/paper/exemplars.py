"""Exemplars of three kinds, drawn here or shipped with the examples: for Fig. 4 and the scores.

    python examples/paper/exemplars.py out/exemplars

writes them all. Each is (H, W, 3) float32 in [0, 1], the same every time.

- regular: cells that repeat exactly in place, while their shades and grain differ;
- near-regular: cells whose places or shapes differ too;
- stochastic: no cells, or cells at random places.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fastsynth as fs

__all__ = ["CLASSES", "EXEMPLARS", "SIDE", "exemplar"]

Pixels = NDArray[np.float32]

EXAMPLES = Path(__file__).resolve().parent.parent
SIDE = 192  # px of every exemplar
GRAIN = 0.02  # deviation of the noise on all that is drawn


def bricks(rng: np.random.Generator) -> NDArray[np.float64]:
    """A running bond: bricks of 36 x 18 px with their joints, each of its own shade."""
    y, x = np.mgrid[:SIDE, :SIDE]
    row = y // 18
    moved = x + 18 * (row % 2)
    joint = (y % 18 < 3) | (moved % 36 < 3)
    shade = rng.normal(1.0, 0.12, (16, 16))[row, moved // 36]
    return np.where(joint[..., None], (0.78, 0.75, 0.7), shade[..., None] * (0.62, 0.28, 0.2))


def weave(rng: np.random.Generator) -> NDArray[np.float64]:
    """A plain weave of two colours, threads of 11 px, lit as cylinders."""
    y, x = np.mgrid[:SIDE, :SIDE]
    over = (x // 11 + y // 11) % 2 == 0
    light = 0.4 + 0.6 * np.sin(np.pi * (np.where(over, y % 11, x % 11) + 0.5) / 11)
    thread = rng.normal(1.0, 0.08, (2, 18))
    light = light * np.where(over, thread[0][y // 11], thread[1][x // 11])
    return np.where(over[..., None], (0.86, 0.7, 0.42), (0.3, 0.42, 0.62)) * light[..., None]


def hexagons(rng: np.random.Generator) -> NDArray[np.float64]:
    """Hexagonal tiles 24 px wide in three colours, with light joints."""
    centres, index = hexagonal(24.0)
    first, second, nearest = two_nearest(centres)
    joint = np.clip((second - first - 2.0) / 2.0, 0, 1)[..., None]
    colours = np.array([(0.17, 0.36, 0.45), (0.85, 0.62, 0.3), (0.72, 0.27, 0.22)])
    shade = rng.normal(1.0, 0.08, len(centres))
    tile = colours[index][nearest] * shade[nearest][..., None]
    return joint * tile + (1 - joint) * np.array((0.93, 0.9, 0.84))


def lattice(rng: np.random.Generator) -> NDArray[np.float64]:
    """Discs on a square lattice of 19 px that is turned by 20 degrees."""
    centres = turned_square(19.0, np.deg2rad(20.0))
    first, _, nearest = two_nearest(centres)
    ink = rng.normal(1.0, 0.15, len(centres))[nearest][..., None] * np.array((0.75, 0.2, 0.25))
    covered = np.clip(6.5 - first, 0, 1)[..., None]
    return covered * ink + (1 - covered) * np.array((0.93, 0.9, 0.8))


def scattered(rng: np.random.Generator) -> NDArray[np.float64]:
    """Dots on a hexagonal lattice of 20 px, each off its place by about 2 px, of its own size."""
    centres, _ = hexagonal(20.0)
    centres = centres + rng.normal(0.0, 2.0, centres.shape)
    first, _, nearest = two_nearest(centres)
    radius = rng.normal(5.5, 0.8, len(centres))[nearest]
    covered = np.clip(radius - first, 0, 1)[..., None]
    return covered * np.array((0.13, 0.18, 0.42)) + (1 - covered) * np.array((0.9, 0.87, 0.78))


def scales(rng: np.random.Generator) -> NDArray[np.float64]:
    """Overlapping fish scales in rows of 13 px, of uneven shade, place and size."""
    picture = np.zeros((SIDE, SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    for row in range(SIDE // 13 + 2, -2, -1):  # upper scales lie over lower ones
        for column in range(-1, SIDE // 26 + 2):
            cy = 13 * row + rng.normal(0, 1.0)
            cx = 26 * column + 13 * (row % 2) + rng.normal(0, 1.5)
            distance = np.hypot(y - cy, x - cx) / (15.5 + rng.normal(0, 0.6))
            colour = rng.normal(1.0, 0.14) * np.array((0.24, 0.5, 0.46)) + 0.03
            lit = (0.55 + 0.6 * distance**2) * (1 - 0.75 * np.clip((distance - 0.88) * 9, 0, 1))
            picture = np.where((distance < 1)[..., None], colour * lit[..., None], picture)
    return picture


def glazed(rng: np.random.Generator) -> NDArray[np.float64]:
    """Glazed tiles whose joints waver: a formula of fs.patterns."""
    text = "abs(sin(16*x + 0.25*noise(4*x, 4*y)))*abs(sin(16*y)) + 0.35*fbm(5*x, 5*y)"
    drawn = fs.patterns.formula(text, width=SIDE, height=SIDE, palette="copper", seed=4)
    return np.asarray(drawn.array, np.float64)[..., :3] / 255


def pebbles(rng: np.random.Generator) -> NDArray[np.float64]:
    """Cells around points at random, each of its own grey or brown, dark at their borders."""
    centres = rng.random((SIDE * SIDE // 170, 2)) * SIDE
    first, second, nearest = two_nearest(centres)
    colour = 0.25 + 0.5 * rng.random((len(centres), 1)) + 0.1 * rng.random((len(centres), 3))
    return colour[nearest] * (0.2 + 0.8 * np.clip((second - first) / 4, 0, 1))[..., None]


def grain(rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise drawn out along one axis, like the grain of wood."""
    noise = np.fft.rfft2(rng.normal(size=(2, SIDE, SIDE)))
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    noise *= np.exp(-2 * np.pi**2 * ((0.8 * fy) ** 2 + (6.0 * fx) ** 2))
    drawn = np.fft.irfft2(noise, (SIDE, SIDE))
    drawn /= drawn.std()
    tones = np.array([[0.13, 0.1, 0.07], [0.02, 0.0, -0.03]])
    return np.array((0.55, 0.4, 0.25)) + np.tensordot(drawn, tones, (0, 0))


def wall(rng: np.random.Generator) -> NDArray[np.float64]:
    """A photograph of bricks seen at an angle: rows that converge."""
    return photograph("bricks.png", (0, 0))


def swirls(rng: np.random.Generator) -> NDArray[np.float64]:
    """Brush strokes along whirls."""
    return photograph("swirls.jpg", (200, 120))


def photograph(name: str, corner: tuple[int, int]) -> NDArray[np.float64]:
    """A square of SIDE px of one of the examples; corner: its (left, top)."""
    left, top = corner
    with Image.open(EXAMPLES / name) as image:
        square = image.convert("RGB").crop((left, top, left + SIDE, top + SIDE))
    return np.asarray(square, np.float64) / 255


def hexagonal(width: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points (n, 2) of a hexagonal lattice over the picture, and three colours of them in turn."""
    height = width * np.sqrt(0.75)
    rows, columns = np.mgrid[-1 : SIDE // height + 2, -2 : SIDE // width + 2].reshape(2, -1)
    places = np.stack([height * rows, width * (columns + 0.5 * (rows % 2))], axis=1)
    # The colour of a cell counts along the lattice's own directions, whose rows drift to the left.
    turn = (columns - (rows - rows % 2) / 2 - rows) % 3
    return places, turn.astype(np.int64)


def turned_square(period: float, angle: float) -> NDArray[np.float64]:
    """Points (n, 2) of a turned square lattice that covers the picture."""
    reach = int(1.5 * SIDE / period)
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = (period * turn @ steps).T
    inside = ((places > -period) & (places < SIDE + period)).all(axis=1)
    return np.asarray(places[inside])


def two_nearest(
    centres: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Of each pixel: the distances of its two nearest centres, and the index of the nearest."""
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1).astype(np.float64)
    first, second, index = [], [], []
    for rows in np.array_split(np.arange(SIDE * SIDE), 16):
        distance = np.hypot(y[rows, None] - centres[:, 0], x[rows, None] - centres[:, 1])
        order = np.argpartition(distance, 1, axis=1)[:, :2]
        pair = np.take_along_axis(distance, order, axis=1)
        first.append(pair[:, 0])
        second.append(pair[:, 1])
        index.append(order[:, 0])
    shape = (SIDE, SIDE)
    return (
        np.concatenate(first).reshape(shape),
        np.concatenate(second).reshape(shape),
        np.concatenate(index).reshape(shape),
    )


Drawing = Callable[[np.random.Generator], NDArray[np.float64]]

CLASSES: dict[str, tuple[Drawing, ...]] = {
    "regular": (bricks, weave, hexagons, lattice),
    "near-regular": (scattered, scales, glazed, wall),
    "stochastic": (pebbles, grain, swirls),
}
EXEMPLARS: dict[str, Drawing] = {
    drawing.__name__: drawing for drawings in CLASSES.values() for drawing in drawings
}
PHOTOGRAPHS = ("wall", "swirls")


def exemplar(name: str) -> Pixels:
    """An exemplar by its name; (SIDE, SIDE, 3) in [0, 1]."""
    rng = np.random.default_rng(0)
    picture = EXEMPLARS[name](rng)
    if name not in PHOTOGRAPHS:
        picture = picture + GRAIN * rng.normal(size=(SIDE, SIDE, 1))
    return np.clip(picture, 0, 1).astype(np.float32)


def main() -> None:
    """Writes all exemplars into the folder that is named."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out/exemplars")
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXEMPLARS:
        Image.fromarray((exemplar(name) * 255 + 0.5).astype(np.uint8)).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
