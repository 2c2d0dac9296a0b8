"""One measure's result, and how distances become ratios."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth.score.features import gram_distance, held_out_grams
from fastsynth.score.pixels import Settings
from fastsynth.score.statistics import describe, distances

if TYPE_CHECKING:
    from fastsynth.score.pixels import Planes

__all__ = ["FLOORS", "Component", "components", "composite"]

# The least base of each measure, about what crops of an even texture differ by. Differences below
# cannot be seen, and two crops may agree by chance.
FLOORS = {
    "autocorrelation": 0.02,
    "spectrum": 1.0,
    "patches": 0.06,
    "marginals": 0.04,
    "color": 0.03,
    "gram": 0.05,
}


@dataclass(frozen=True)
class Component:
    """A measure of how far an image is from its reference.

    distance: as measured, 0 or more; its unit depends on the measure.
    base: the distance between halves of the reference over √2, at least the measure's floor.
    """

    distance: float
    base: float

    @property
    def ratio(self) -> float:
        """Distance over base, at least 1.

        >>> Component(0.5, 0.25).ratio, Component(0.01, 0.25).ratio
        (2.0, 1.0)
        """
        return max(1.0, self.distance / self.base)

    def to_dict(self) -> dict[str, float]:
        """Distance, base and ratio."""
        return {"distance": self.distance, "base": self.base, "ratio": self.ratio}


def components(
    images: Mapping[str, Planes],
    reference: Planes,
    *,
    weights: str | os.PathLike[str] | None,
    network: str,
    varied: bool = False,
) -> dict[str, dict[str, Component]]:
    """The components of each image against one reference, by the image's key and measure.

    The base is the larger distance of the two pairs of halves of the reference, left and right,
    upper and lower, over √2: a half has half the pixels, and so √2 times the error of sampling. Or
    it is the floor alone, where the reference is `varied`: a painting whose parts differ, so that
    its halves say nothing about a picture in its manner.
    """
    height, width = reference.shape[1:]
    halves = [
        reference[:, :, : width // 2],
        reference[:, :, width - width // 2 :],
        reference[:, : height // 2],
        reference[:, height - height // 2 :],
    ]
    sides = [side for planes in (*halves, *images.values()) for side in planes.shape[1:]]
    settings = Settings.of(min(sides))
    pictures = [reference, *images.values(), *(() if varied else halves)]
    with ThreadPoolExecutor() as pool:
        described = list(pool.map(lambda planes: describe(planes, settings), pictures))
    grams = held_out_grams(pictures, weights, network) if weights is not None else None

    def measure(image: int, to: int) -> dict[str, float]:
        found = distances(described[image], described[to])
        return {**found, "gram": gram_distance(grams[image], grams[to])} if grams else found

    first = 1 + len(images)
    pairs = [] if varied else [measure(first, first + 1), measure(first + 2, first + 3)]

    def base(name: str) -> float:
        return max([FLOORS[name], *(pair[name] / math.sqrt(2) for pair in pairs)])

    return {
        key: {name: Component(value, base(name)) for name, value in measure(index, 0).items()}
        for index, key in enumerate(images, start=1)
    }


def composite(found: Iterable[Component]) -> float:
    """The geometric mean of the ratios."""
    return float(np.exp(np.mean([np.log(component.ratio) for component in found])))
