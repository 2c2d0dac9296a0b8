"""Tiles: what networks see of pictures that are too large to be seen at once.

The grid, and why the result is that of the whole picture: cpp/include/fastsynth/network/tiles.hpp.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import MemoryLimitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.network import Architecture, Network

    Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]

__all__ = [
    "TiledFeatures",
    "Tiling",
    "grid_of",
    "halo_of",
    "mean_and_square",
    "strides_of",
    "tile_statistics",
    "too_large",
]


BLOCK = 1 << 16  # positions that are summed at a time


@dataclass(frozen=True)
class Tiling:
    """How a level sees its pictures.

    inner: pixels along a side that a tile owns at most, a multiple of 16. Target pictures that are
        larger than such a tile are tiled in any case, where their terms allow it.
    canvas: whether the canvas is tiled as well; where it is not, targets of its size (Content) and
        of terms that cannot be tiled are computed at once.
    keep_targets: False keeps the features of content pictures in a scratch file in place of memory;
        where no disk has room for it (see scratch.py), they are computed anew for every tile.
    """

    inner: int
    canvas: bool = True
    keep_targets: bool = True


def halo_of(architecture: Architecture, layers: Collection[str]) -> tuple[int, int]:
    """(stride, halo) in pixels: the deepest layer's stride, and what its positions see on each
    side beyond their own pixels, rounded up to a multiple of the stride.

    >>> from fastsynth.network import ARCHITECTURES
    >>> halo_of(ARCHITECTURES["vgg16"], ["conv1_1", "conv5_1"])
    (16, 64)
    >>> halo_of(ARCHITECTURES["vgg19"], ["conv5_1"])
    (16, 80)
    """
    deepest = max(layers, key=architecture.names.index)
    stride = architecture.scale(deepest)
    return stride, -(-architecture.reach(deepest) // stride) * stride


def grid_of(
    architecture: Architecture, layers: Collection[str], height: int, width: int, inner: int
) -> _core.TileGrid:
    """The grid of tiles for pictures of this size, tapped at `layers`."""
    from fastsynth import _core

    stride, halo = halo_of(architecture, layers)
    return _core.TileGrid(height, width, stride, halo, max(stride, inner // stride * stride))


def strides_of(architecture: Architecture, layers: Sequence[str]) -> list[int]:
    """Pixels between the positions of each layer."""
    return [architecture.scale(layer) for layer in layers]


@dataclass(frozen=True, eq=False)
class TiledFeatures:
    """A layer's features of a picture that is seen tile by tile: known by their statistics.

    shape: (channels, rows, columns)
    """

    shape: tuple[int, int, int]
    _network: Network
    _image: NDArray[np.float32]
    _layer: str
    _border: int
    _inner: int
    _pool: _core.ThreadPool
    _known: Statistics

    def __len__(self) -> int:
        return self.shape[0]

    def moments(self, guide: NDArray[np.float32] | None = None) -> Statistics:
        """Means (C,) and second moments F Fᵀ / M (C, C), with a guide those of T ∘ F over Σ T²."""
        if guide is None:
            return self._known
        guides = {self._layer: guide}
        return tile_statistics(
            self._network, self._image, [self._layer], self._border, self._inner, self._pool, guides
        )[self._layer]


def tile_statistics(  # noqa: PLR0917
    network: Network,
    image: NDArray[np.float32],
    layers: Sequence[str],
    border: int,
    inner: int,
    pool: _core.ThreadPool,
    guides: Mapping[str, NDArray[np.float32]] | None = None,
) -> dict[str, Statistics]:
    """Means (C,) and second moments F Fᵀ / M (C, C) of layers, gathered over tiles.

    border: pixels on each side whose positions are left out.
    guides: factors of the features, for each layer (rows, columns) inside the border.
    """
    from fastsynth import _core

    architecture = network.architecture
    _, height, width = image.shape
    grid = grid_of(architecture, layers, height, width, inner)
    taps = [layer for layer in network.layers if layer in layers]
    bound = network.bind(grid.tile_height, grid.tile_width, taps)
    try:
        strides = strides_of(architecture, taps)
        objective = _core.TiledObjective([(bound.core, grid, strides)], height, width, pool)
        terms = {}
        for tap, (layer, stride) in enumerate(zip(taps, strides, strict=True)):
            channels, rows, columns = architecture.shape(layer, height, width)
            zeros = np.zeros((channels, channels), np.float32)
            terms[layer] = term = _core.MomentsTerm(zeros[0], zeros, "gram")
            shown: _core.LayerTerm = term
            guide = None if guides is None else guides.get(layer)
            edge = border // stride
            if edge or guide is not None:
                if guide is not None:
                    # The sums are divided by the window's positions; with mean T² = 1 by Σ T².
                    guide = guide / np.sqrt((guide.astype(np.float64) ** 2).mean())
                    guide = np.ascontiguousarray(guide, np.float32)
                size = (rows - 2 * edge, columns - 2 * edge)
                shown = _core.WindowTerm(term, rows, columns, edge, edge, *size, guide)
            objective.add_layer_term(0, tap, shown, 1.0, layer)
        objective.gather(np.ascontiguousarray(image, np.float32))
        return {
            layer: (np.asarray(term.mean, np.float64), term.gram.astype(np.float64))
            for layer, term in terms.items()
        }
    finally:
        bound.close()


def too_large(name: str, height: int, width: int) -> MemoryLimitError:
    """The error for a target that must be seen at once and cannot be."""
    return MemoryLimitError(
        f"{name} needs all features of its {width} × {height} picture at once, which does not fit "
        "the memory limit; give a smaller picture or scale, raise memory_limit, or take statistics "
        "that can be tiled: gram, mean_covariance, bn_statistics, mmd_linear, mmd_polynomial"
    )


def mean_and_square(
    feature: NDArray[np.float32] | TiledFeatures, guide: NDArray[np.float32] | None = None
) -> Statistics:
    """Means (C,) and second moments F Fᵀ / M (C, C) of features (C, h, w) or of their tiles.

    guide: (h, w), then the second moments are Σ T² f fᵀ / Σ T².
    """
    if isinstance(feature, TiledFeatures):
        return feature.moments(guide)
    flat = feature.reshape(len(feature), -1)
    count = flat.shape[1]
    factors = None if guide is None else guide.reshape(-1).astype(np.float64)
    first = np.zeros(len(flat))
    second = np.zeros((len(flat), len(flat)))
    for begin in range(0, count, BLOCK):  # a float64 copy of all features would take twice theirs
        block = flat[:, begin : begin + BLOCK].astype(np.float64)
        if factors is not None:
            block *= factors[begin : begin + BLOCK]
        first += block.sum(1)
        second += block @ block.T
    return first / count, second / (count if factors is None else float((factors**2).sum()))
