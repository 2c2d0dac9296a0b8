"""Phyllotaxis: the seeds of a sunflower, its petals, and the whole flower."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastsynth.image import ImageArray
from fastsynth.patterns.frame import Frame, FrameOptions, linear, number, whole
from fastsynth.patterns.palette import color_of, palette_table, plain_palette
from fastsynth.patterns.shapes import Shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import Color, PaletteLike

__all__ = ["GOLDEN_ANGLE", "phyllotaxis", "sunflower"]

GOLDEN_ANGLE = 180 * (3 - math.sqrt(5))
"""137.507…°, the smaller part of a circle cut by the golden ratio."""


def phyllotaxis(count: int, *, angle: float = GOLDEN_ANGLE) -> NDArray[np.float64]:
    """Places (count, 2) of seeds in the unit disc, Vogel's model (1979).

        r_k = √((k + ½) / count),   θ_k = k · angle

    count: 0-1000000; angle: degrees, default the golden angle. Raises ImageError for others.

    >>> phyllotaxis(2).round(3).tolist()
    [[0.5, 0.0], [-0.639, 0.585]]
    """
    count = whole("count", count, 0, 1_000_000)
    k = np.arange(count)
    radius = np.sqrt((k + 0.5) / max(1, count))
    turn = np.radians(np.fmod(k * number("angle", angle), 360))
    return np.column_stack([radius * np.cos(turn), radius * np.sin(turn)])


def sunflower(
    seeds: int = 900,
    *,
    petals: int = 34,
    layers: int = 3,
    angle: float = GOLDEN_ANGLE,
    disc: float = 0.44,
    jitter: float = 1.0,
    background: Color = "#1d4350",
    corner: Color | None = None,
    petal_palette: PaletteLike = "petals",
    palette: PaletteLike = "seeds",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """A sunflower: seeds at the golden angle, layers of petals, sepals, light and shadow.

    seeds: 0-200000, placed by Vogel's model (see `phyllotaxis`); default 900
    petals: in each layer, 0-500; 0 leaves the seeds alone, which then fill the frame; default 34
    layers: of petals, 0-8; default 3
    angle: between one seed and the next, degrees; default 137.507…
    disc: radius of the disc of seeds as a share of the flower's, 0.05-0.95; default 0.44
    jitter: how much petals differ by chance, 0-2; default 1
    background: the colour behind the flower's middle, and `corner` that of the frame's corners;
        default a blue green, and a darker shade of it
    petal_palette: of the petals, from base to tip; default "petals"
    palette: of the seeds, from the centre outwards; default "seeds"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> sunflower(50, petals=8, size=(40, 30)).shape
    (30, 40, 3)
    """
    seeds = whole("seeds", seeds, 0, 200_000)
    petals = whole("petals", petals, 0, 500)
    layers = whole("layers", layers, 0, 8)
    angle = number("angle", angle)
    disc = number("disc", disc, 0.05, 0.95)
    jitter = number("jitter", jitter, 0, 2)
    middle = color_of(background, "background")
    edge = tuple(0.45 * c for c in middle) if corner is None else color_of(corner, "corner")
    frame = Frame.of(
        "sunflower",
        options,
        seeds=seeds,
        petals=petals,
        layers=layers,
        angle=angle,
        disc=disc,
        jitter=jitter,
        background=list(middle),
        corner=list(edge),
        petal_palette=plain_palette(petal_palette),
        palette=plain_palette(palette),
    )
    flower = _Flower(frame, jitter)
    if petals and layers:
        flower.add_sepals(petals, disc)
        flower.add_petals(petals, layers, disc, petal_palette)
    else:
        disc = 0.98
    flower.add_disc(disc, palette, shaded=bool(petals and layers))
    flower.add_seeds(phyllotaxis(seeds, angle=angle), disc, palette)
    flower.shapes.draw(frame, linear(middle), linear(edge))
    return frame.finish()


class _Flower:
    """The parts of a flower, from behind to the front; lengths in shares of its radius."""

    def __init__(self, frame: Frame, jitter: float) -> None:
        self.shapes = Shapes()
        self.radius = 0.485 * min(frame.width, frame.height)
        self.center = np.array([frame.width / 2, frame.height / 2])
        self.rng = np.random.Generator(np.random.PCG64([frame.seed, 2]))
        self.jitter = jitter

    def _chance(self, spread: float, count: int) -> NDArray[np.float64]:
        return np.asarray(self.rng.uniform(-1, 1, count) * spread * self.jitter)

    def _shadowed_leaves(
        self,
        base: NDArray[np.float64],
        axis: NDArray[np.float64],
        *,
        length: NDArray[np.float64],
        half: NDArray[np.float64],
        near: NDArray[np.floating],
        far: NDArray[np.floating],
        shade: float,
        belly: float,
        sharpness: float,
        bend: NDArray[np.float64],
        veins: float,
        fold: float,
        shadow: float,
    ) -> None:
        """Leaves one after the other, each above the soft shadow that it throws on the last."""
        soft = 0.03 * self.radius
        for k in range(len(base)):
            form = {"belly": belly, "sharpness": sharpness, "bend": bend[k]}
            self.shapes.leaves(
                base[k : k + 1] + 0.4 * soft,
                axis[k : k + 1],
                length=length[k],
                half_width=half[k] + 0.3 * soft,
                near=(0.02, 0.008, 0.0),
                far=(0.02, 0.008, 0.0),
                alpha=shadow,
                soft=soft,
                **form,
            )
            self.shapes.leaves(
                base[k : k + 1],
                axis[k : k + 1],
                length=length[k],
                half_width=half[k],
                near=near[k],
                far=far[k],
                shade=shade,
                veins=veins,
                fold=fold,
                **form,
            )

    def add_sepals(self, petals: int, disc: float) -> None:
        """Green points that show between the petals."""
        count = max(3, petals // 2)
        turn = np.arange(count) * (math.tau / count) + 0.11 + self._chance(0.08, count)
        axis = np.column_stack([np.cos(turn), -np.sin(turn)])
        start = 0.6 * disc
        length = (0.93 - start + self._chance(0.05, count)) * self.radius
        greens = palette_table(("#2f4d22", "#587a35"), 64)[self.rng.integers(0, 64, count)]
        self._shadowed_leaves(
            self.center + axis * start * self.radius,
            axis,
            length=length,
            half=np.full(count, 0.3 * (1 - start) * self.radius * min(1.0, 26 / petals)),
            near=greens * 0.5,
            far=greens,
            shade=0.3,
            belly=0.4,
            sharpness=1.0,
            bend=self._chance(0.05, count),
            veins=4,
            fold=0.3,
            shadow=0.3,
        )

    def add_petals(self, petals: int, layers: int, disc: float, palette: PaletteLike) -> None:
        """Layers of petals; those in front are shorter and lighter."""
        table = palette_table(palette, 256).astype(np.float64)
        start = 0.80 * disc
        for layer in range(layers):
            front = (layer + 1) / layers
            step = math.tau / petals
            turn = (np.arange(petals) + layer * 0.5 + 0.13 * layer) * step
            turn = turn + self._chance(0.2 * step, petals)
            axis = np.column_stack([np.cos(turn), -np.sin(turn)])
            reach = 1.0 - 0.10 * (front - 1 / layers)
            length = (reach - start) * self.radius * (0.96 + self._chance(0.05, petals))
            half = (
                0.5 * self.radius * step * (0.5 + 0.5 * disc) * (0.86 + self._chance(0.1, petals))
            )
            # Even and odd petals take turns in lying above: a spiral has no last petal.
            order = np.concatenate([np.arange(0, petals, 2), np.arange(1, petals, 2)])
            tone = 0.66 + 0.34 * front + self._chance(0.05, petals)
            near = table[0] * tone[:, None]
            tips = np.clip(0.80 + 0.2 * front + self._chance(0.12, petals), 0, 1)
            far = table[np.rint(tips * 255).astype(int)] * tone[:, None]
            self._shadowed_leaves(
                (self.center + axis * start * self.radius)[order],
                axis[order],
                length=length[order],
                half=half[order],
                near=near[order],
                far=far[order],
                shade=0.35,
                belly=0.46,
                sharpness=0.80,
                bend=self._chance(0.045, petals)[order],
                veins=7,
                fold=0.22,
                shadow=0.38,
            )

    def add_disc(self, disc: float, palette: PaletteLike, *, shaded: bool) -> None:
        """The ground of the seeds, and its shadow on the petals."""
        dark = palette_table(palette, 64).astype(np.float64).mean(axis=0) * 0.10
        axis, radius = [[1.0, 0.0]], disc * self.radius
        if shaded:
            self.shapes.ellipses(
                [self.center + 0.03 * radius],
                axis,
                a=radius * 1.28,
                b=radius * 1.28,
                near=(0.03, 0.012, 0.0),
                far=(0.03, 0.012, 0.0),
                alpha=0.8,
                soft=0.34,
            )
        self.shapes.ellipses(
            [self.center], axis, a=radius * 1.01, b=radius * 1.01, near=dark, far=dark
        )

    def add_seeds(self, places: NDArray[np.float64], disc: float, palette: PaletteLike) -> None:
        """Seeds from the rim to the centre: the middle of the disc is its highest part."""
        count = len(places)
        if not count:
            return
        r = np.hypot(places[:, 0], places[:, 1])
        axis = places / np.maximum(r, 1e-9)[:, None] * (1, -1)
        spacing = disc * self.radius / math.sqrt(count)
        # Smaller in the middle, where seeds are young, and at the rim, where they stand upright.
        size = spacing * (
            0.80 + 0.25 * np.sin(np.pi * np.clip(r, 0, 1)) + self._chance(0.04, count)
        )
        table = palette_table(palette, 512).astype(np.float64)
        place = np.clip(r + self._chance(0.03, count), 0, 1)
        color = table[np.rint(place * 511).astype(int)] * (1 + self._chance(0.12, count))[:, None]
        # The disc is a dome, lit from the upper left like everything.
        light = 1 - 0.38 * (places[:, 0] - places[:, 1]) / math.sqrt(2) * r
        color = np.clip(color * light[:, None], 0, 1)
        center = self.center + places * (1, -1) * (disc * self.radius * 0.985)
        order = np.argsort(-r, kind="stable")
        self.shapes.ellipses(
            center[order],
            axis[order],
            a=(1.12 * size)[order],
            b=(0.88 * size)[order],
            near=color[order],
            far=(color * 0.55)[order],
            light=0.9,
            shine=0.18,
        )
        # A pale tip on each seed, on the side of the centre.
        tip = center - axis * (0.25 * size)[:, None]
        bright = np.clip(color * 1.9 + 0.02, 0, 1)
        self.shapes.ellipses(
            tip[order],
            axis[order],
            a=(0.40 * size)[order],
            b=(0.22 * size)[order],
            near=bright[order],
            far=bright[order],
            alpha=0.55,
            soft=0.8,
        )
