"""The networks that fastsynth knows: their layers, channels, and where they pool.

The table that exporter, weights and implementations share. A layer is a 3×3 convolution with stride
1 and zero padding, followed by a ReLU; its name stands for the activations after the ReLU.
Pooling is 2×2 with stride 2 and drops an odd last row or column. Source: Simonyan and Zisserman,
"Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015, table 1, columns D and
E.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ARCHITECTURES", "Architecture", "ConvLayer"]


@dataclass(frozen=True)
class ConvLayer:
    """One 3×3 convolution with its ReLU."""

    name: str
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class Architecture:
    """A chain of convolutions, some of them followed by 2×2 pooling.

    `layers` runs from shallow to deep; `pool_after` holds the names of the layers that are pooled.
    The pooling after the deepest layer is left out: nothing looks at it.

    >>> ARCHITECTURES["vgg16"].names[:3]
    ('conv1_1', 'conv1_2', 'conv2_1')
    >>> ARCHITECTURES["vgg19"].scale("conv5_4")
    16
    """

    name: str
    layers: tuple[ConvLayer, ...]
    pool_after: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """Layer names, shallow to deep."""
        return tuple(layer.name for layer in self.layers)

    def scale(self, layer: str) -> int:
        """How many pixels one step of `layer` spans: 1, 2, 4, 8 or 16.

        Raises KeyError for an unknown layer.
        """
        factor = 1
        for name in self.names:
            if name == layer:
                return factor
            if name in self.pool_after:
                factor *= 2
        raise KeyError(layer)

    def reach(self, layer: str) -> int:
        """Pixels on each side that a position of `layer` sees beyond the `scale` × `scale` of its
        own: those of every convolution up to there.

        Raises KeyError for an unknown layer.

        >>> ARCHITECTURES["vgg16"].reach("conv5_1"), ARCHITECTURES["vgg19"].reach("conv5_1")
        (58, 70)
        """
        self.scale(layer)
        return sum(self.scale(name) for name in self.names[: self.names.index(layer) + 1])

    def shape(self, layer: str, height: int, width: int) -> tuple[int, int, int]:
        """(C, H, W) of `layer` for an image of height × width pixels.

        Raises KeyError for an unknown layer.
        """
        factor = self.scale(layer)
        channels = next(entry.out_channels for entry in self.layers if entry.name == layer)
        return channels, height // factor, width // factor


def _vgg(name: str, blocks: tuple[tuple[int, int], ...]) -> Architecture:
    """`blocks` holds (convolutions, channels) of each of the five blocks."""
    layers: list[ConvLayer] = []
    pool_after: set[str] = set()
    channels = 3
    for block, (count, width) in enumerate(blocks, start=1):
        for index in range(1, count + 1):
            layers.append(ConvLayer(f"conv{block}_{index}", channels, width))
            channels = width
        if block < len(blocks):
            pool_after.add(layers[-1].name)
    return Architecture(name, tuple(layers), frozenset(pool_after))


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "vgg16": _vgg("vgg16", ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))),
        "vgg19": _vgg("vgg19", ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))),
    }
)
