"""Objectives are values: frozen terms that add up and take a weight.

    objective = Content("town.jpg") + 10 * Style("painting.jpg") + 0.1 * TotalVariation()

A term says what it wants (`requests`) and, once the features of its images are known, which parts
it contributes to the engine's sum (`parts`). It knows nothing of sessions, optimisers or levels.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastsynth._errors import ObjectiveError
from fastsynth._numbers import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.image import Picture
    from fastsynth.objective.plan import Sources

Source = tuple[str, int, int, str | None, int]

__all__ = [
    "Canvas",
    "ContentImages",
    "OctaveParts",
    "Part",
    "Request",
    "Source",
    "Sum",
    "Term",
    "layer_weights",
]


@dataclass(frozen=True)
class Canvas:
    """The picture that a level optimises: its size, and how it relates to the final one.

    `height` and `width` include a `margin` on each side, which is optimised too and cut off in the
    end: the zeros that networks pad with leave their marks there instead of in the picture.
    `shrink` is this level's size over the final size, in (0, 1]: exemplars that keep their own
    pixel scale are shrunk by the same factor.
    `wrap`: the picture is one tile of many: its margin is not optimised, but shows the picture
    continued cyclically.
    """

    height: int
    width: int
    shrink: float = 1.0
    margin: int = 0
    wrap: bool = False


@dataclass(frozen=True, eq=False)
class Request:
    """Features that a term needs: of which image at which size, of which layers and network."""

    picture: Picture
    height: int
    width: int
    layers: tuple[str, ...]
    network: str | None = None
    # Pixels of the height and width, on each side, where the picture is continued by reflection.
    margin: int = 0

    @property
    def source(self) -> Source:
        """Requests with the same source share one forward pass."""
        return (self.picture.sha256, self.height, self.width, self.network, self.margin)


@dataclass(frozen=True, eq=False)
class ContentImages:
    """A content target that is computed tile by tile: Σ share · features of images.

    images: (pixels (3, h, w), border, share); the pixels are continued by reflection over `border`
        pixels on each side.
    normalization: of the loss, see Content.
    """

    images: tuple[tuple[NDArray[np.float32], int, float], ...]
    normalization: str


@dataclass(frozen=True, eq=False)
class OctaveParts:
    """Parts that see the image reduced by octaves, through a network bound to its size there."""

    octaves: int
    height: int
    width: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """One summand for the engine: a C++ term with its weight and the name of its loss."""

    name: str
    term: _core.LayerTerm | _core.ImageTerm | ContentImages | OctaveParts
    weight: float
    layer: str | None = None  # where a LayerTerm is tapped; None for an ImageTerm: the pixels
    network: str | None = None
    balanced: bool = False  # its weight is set per level so that all balanced parts pull equally


class _Composable(ABC):
    """`+` and `*` for terms and sums."""

    __array_ufunc__ = None  # a number of NumPy times a term is the term's to work out

    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """The summands."""

    def __add__(self, other: object) -> Sum:
        if not isinstance(other, _Composable):
            return NotImplemented
        return Sum(self.terms() + other.terms())

    def __radd__(self, other: object) -> Sum:
        start = plain(other)
        if isinstance(start, (int, float)) and start == 0:  # sum([...]) starts from 0
            return Sum(self.terms())
        return NotImplemented


@dataclass(frozen=True, eq=False)
class Term(_Composable):
    """A summand of an objective, times `weight`. Subclasses are frozen dataclasses.

    Their fields hold Python's numbers where they are given NumPy's (`__post_init__`).
    """

    weight: float = dataclasses.field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            object.__setattr__(self, name, plain(value))
        if not isinstance(self.weight, (int, float)) or not math.isfinite(self.weight):
            raise ObjectiveError(
                f"the weight of a term must be a finite number, not {self.weight!r}"
            )

    def terms(self) -> tuple[Term, ...]:
        return (self,)

    def __mul__(self, factor: object) -> Term:
        factor = plain(factor)
        if not isinstance(factor, (int, float)):
            return NotImplemented
        return dataclasses.replace(self, weight=self.weight * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Term:
        return self * -1.0

    @property
    def is_tileable(self) -> bool:
        """Whether the term's value and gradient can be had from tiles of the picture.

        Terms of pixels see the whole picture anyway; terms of layers say so themselves.
        """
        return not hasattr(self, "layers") and not hasattr(self, "layer")

    def requests(self, canvas: Canvas) -> Iterable[Request]:
        """Features of images that this term needs for its target at this level."""
        return ()

    @abstractmethod
    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        """The engine's summands at this level; `sources` has the features that `requests` named."""

    def __repr__(self) -> str:
        shown = []
        # `weight` is inherited and so comes first, but a reader wants it last.
        for field in sorted(dataclasses.fields(self), key=lambda field: field.name == "weight"):
            value = getattr(self, field.name)
            default = field.default
            if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            if field.repr and (default is dataclasses.MISSING or value != default):
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, eq=False)
class Sum(_Composable):
    """A sum of terms; made by `+`."""

    members: tuple[Term, ...]

    def terms(self) -> tuple[Term, ...]:
        return self.members

    def __mul__(self, factor: object) -> Sum:
        factor = plain(factor)
        if not isinstance(factor, (int, float)):
            return NotImplemented
        return Sum(tuple(term * factor for term in self.members))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return " + ".join(repr(term) for term in self.members)


def layer_weights(layers: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    """Layers with their weights from a name, a sequence of names (equal weights) or a mapping.

    >>> layer_weights("conv4_2")
    {'conv4_2': 1.0}
    >>> layer_weights(["conv1_1", "conv2_1"])
    {'conv1_1': 1.0, 'conv2_1': 1.0}
    """
    if isinstance(layers, str):
        layers = [layers]
    if not isinstance(layers, Iterable):
        raise ObjectiveError(
            f'layers are a name such as "conv4_2", names, or names with weights, not {layers!r}'
        )
    pairs = layers.items() if isinstance(layers, Mapping) else ((name, 1.0) for name in layers)
    weights: dict[str, Any] = {}
    for name, weight in pairs:
        if not isinstance(name, str):
            raise ObjectiveError(f'a layer is named by a string such as "conv4_2", not {name!r}')
        weights[name] = weight
    if not weights:
        raise ObjectiveError('no layers given; name at least one, such as "conv4_2"')
    for name, weight in weights.items():
        if not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ObjectiveError(
                f"the weight of layer {name} must be a finite number, not {weight!r}"
            )
    return {name: float(weight) for name, weight in weights.items()}
