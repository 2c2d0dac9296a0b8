"""Gram matrices over octaves of the picture: structure at scales beyond deep layers' sight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture, resize
from fastsynth.objective.base import Canvas, OctaveParts, Part, Request
from fastsynth.objective.blend import WeightedPictures
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.moments import as_floats, moments
from fastsynth.objective.plan import opaque

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.exemplar import Features
    from fastsynth.objective.plan import Sources

__all__ = ["PYRAMID_LAYERS", "PyramidGram"]

PYRAMID_LAYERS = ("conv2_1", "conv3_2")
SMALLEST = 32  # px: octaves whose shorter side is less are left out


@dataclass(frozen=True, eq=False, repr=False)
class PyramidGram(ExemplarTerm):
    """Take over Gram matrices of few shallow layers at several octaves of the picture.

    The picture is reduced by halves (Burt & Adelson's 5-tap filter), and the Gram matrices of each
    octave are compared with those of the exemplar reduced likewise: the sight of a layer doubles
    from octave to octave (Snelgrove, "High-resolution multi-scale neural texture synthesis", 2017).
    The loss is the mean over octaves and layers of ‖G - A‖² / ‖A‖².

    octaves: number of sizes, the picture's own included; default 4. Those under 32 px are left out.
    layers: default conv2_1 and conv3_2.
    image, sizing, scale, balance, network: see ExemplarTerm.

    Each octave is a pass of the network of its own, together a third more than the first. Raises
    ObjectiveError for unknown settings, and for pictures continued as tiles (seamless), whose
    octaves have no whole number of pixels; ImageError for unusable pictures.

    >>> import numpy as np
    >>> PyramidGram(np.zeros((8, 8, 3), np.uint8), "conv2_1", octaves=3)
    PyramidGram(image=Picture 8x8 RGB uint8, layers={'conv2_1': 1.0}, octaves=3)
    """

    layers: str | Sequence[str] | Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(PYRAMID_LAYERS, 1.0)
    )
    octaves: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.octaves, int) or not 1 <= self.octaves <= 16:
            raise ObjectiveError(
                f"octaves must be a whole number from 1 to 16, not {self.octaves!r}"
            )

    @property
    def kind(self) -> str:
        return "pyramid_gram"

    def used(self, canvas: Canvas) -> int:
        """The octaves of this canvas."""
        sides = [min(canvas.height, canvas.width)]
        for picture, _ in self.pictures:
            sides.append(min(self.size_of(picture, canvas)))
        count = 1
        while count < self.octaves and min(sides) // 2**count >= SMALLEST:
            count += 1
        return count

    def octave(self, k: int, canvas: Canvas) -> tuple[_Octave, Canvas]:
        """The term of an octave, and the canvas that it sees."""
        pairs = []
        for picture, share in self.shares():
            pixels = resize(opaque(picture), self.size_of(picture, canvas), clip=True)
            pairs.append((Picture.of(reduced(pixels, k)), share))
        height, width = canvas.height, canvas.width
        for _ in range(k):
            height, width = (height + 1) // 2, (width + 1) // 2
        here = Canvas(height, width, canvas.shrink, canvas.margin >> k)
        return _Octave(WeightedPictures(tuple(pairs)), self.layers, network=self.network), here

    def requests(self, canvas: Canvas) -> Iterable[Request]:
        if canvas.wrap:
            raise ObjectiveError(
                "PyramidGram does not go with seamless pictures; leave one of the two out"
            )
        yield from super().requests(canvas)
        for k in range(1, self.used(canvas)):
            term, here = self.octave(k, canvas)
            yield from term.requests(here)

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        count = self.used(canvas)
        for part in super().parts(canvas, sources):
            yield replace(part, weight=part.weight / count)
        for k in range(1, count):
            term, here = self.octave(k, canvas)
            yield Part(
                f"{self.kind}/octave{k}",
                OctaveParts(k, here.height, here.width, tuple(term.parts(here, sources))),
                self.weight / count,
                network=self.network,
                balanced=self.balance,
            )

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        return gram_term(targets)


@dataclass(frozen=True, eq=False, repr=False)
class _Octave(ExemplarTerm):
    """Gram matrices of exemplars that have their size already."""

    @property
    def kind(self) -> str:
        return "octave"

    def size_of(self, picture: Picture, canvas: Canvas) -> tuple[int, int]:
        _, height, width = picture.pixels.shape
        return height, width

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        return gram_term(targets)


def gram_term(targets: Features) -> _core.LayerTerm:
    """The relative distance from the exemplars' Gram matrices."""
    from fastsynth import _core

    return _core.GramTerm(as_floats(moments(targets)[1]))


def reduced(pixels: NDArray[np.float32], octaves: int) -> NDArray[np.float32]:
    """A picture (3, H, W) after so many octaves, as the engine reduces its own."""
    from fastsynth import _core

    for _ in range(octaves):
        pixels = _core.reduce_octave(np.ascontiguousarray(pixels))
    return np.clip(pixels, 0.0, 1.0)
