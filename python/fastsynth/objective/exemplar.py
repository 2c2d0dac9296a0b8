"""What terms that take over the statistics of exemplars have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture
from fastsynth.objective.base import Canvas, Part, Request, Term, layer_weights
from fastsynth.objective.blend import WeightedPictures, weighted_pictures
from fastsynth.objective.style import STYLE_LAYERS
from fastsynth.objective.tiles import too_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth._types import ImageLike
    from fastsynth.objective.plan import Sources

    # Of tileable terms also TiledFeatures, for mean_and_square.
    Features = list[tuple[NDArray[np.float32], float]]

__all__ = ["ExemplarTerm", "inside_margin"]

SMALLEST = 16  # px, an exemplar is not shrunk below: one position is left at the deepest layers
LARGEST = 1 << 17  # pixels of an exemplar's longer side
# px, on each side: the exemplar is continued by reflection and its statistics are taken inside, so
# that the zeros that networks pad with are no part of them.
REFLECTED = 32
# Layers with positions at least this far apart are seen without the canvas' margin; of shallower
# ones so few positions meet the zeros that leaving them out is not worth a copy.
WINDOWED_STRIDE = 4


@dataclass(frozen=True, eq=False, repr=False)
class ExemplarTerm(Term):
    """Statistics of an exemplar's features, layer by layer. The base of such terms.

    image: a picture, or pairs (picture, weight): their statistics are then averaged.
    layers: name, names (equal weights) or mapping of layer name to weight; default conv1_1 …
        conv5_1.
    sizing: "canvas" (default) scales the exemplar so that its longer side equals the canvas' longer
        side; "native" keeps its own pixels (for textures), shrunk only as much as the level is.
    scale: further factor on the exemplar's size; > 1 makes its features larger in the picture.
    balance: True sets the layers' weights per level so that all pull equally on the first image.
    network: name of the network that is tapped; default: the synthesizer's own.
    """

    image: ImageLike | Sequence[tuple[ImageLike, float]] | WeightedPictures
    layers: str | Sequence[str] | Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(STYLE_LAYERS, 1.0)
    )
    sizing: Literal["canvas", "native"] = "canvas"
    scale: float = 1.0
    balance: bool = False
    network: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizing not in ("canvas", "native"):
            raise ObjectiveError(f"sizing must be 'canvas' or 'native', not {self.sizing!r}")
        if not isinstance(self.scale, (int, float)) or not 0 < self.scale < math.inf:
            raise ObjectiveError(f"scale must be a positive number, not {self.scale!r}")
        object.__setattr__(self, "image", weighted_pictures(self.image, "exemplar"))
        self.shares()  # refuses weights that cannot be shares
        object.__setattr__(self, "layers", layer_weights(self.layers))

    @property
    def pictures(self) -> tuple[tuple[Picture, float], ...]:
        """The exemplars with their weights."""
        assert isinstance(self.image, WeightedPictures)
        return self.image.pairs

    def shares(self) -> tuple[tuple[Picture, float], ...]:
        """The exemplars with their shares of the statistics, which add up to 1."""
        assert isinstance(self.image, WeightedPictures)
        return self.image.shares().pairs

    def size_of(self, picture: Picture, canvas: Canvas) -> tuple[int, int]:
        """Height and width that an exemplar has beside this canvas, pixels."""
        _, height, width = picture.pixels.shape
        factor = canvas.shrink * self.scale
        if self.sizing == "canvas":
            longest = max(canvas.height, canvas.width) - 2 * canvas.margin
            factor = longest / max(height, width) * self.scale
        if max(height, width) * factor > LARGEST:
            raise ObjectiveError(
                f"a scale of {self.scale:g} makes the exemplar larger than {LARGEST} px; "
                "choose a smaller one"
            )
        return max(SMALLEST, round(height * factor)), max(SMALLEST, round(width * factor))

    def _request(self, picture: Picture, canvas: Canvas) -> Request:
        height, width = self.size_of(picture, canvas)
        border = 2 * REFLECTED
        return Request(
            picture, height + border, width + border, tuple(self.layers), self.network, REFLECTED
        )

    def requests(self, canvas: Canvas) -> Iterable[Request]:
        return [self._request(picture, canvas) for picture, _ in self.pictures]

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        assert isinstance(self.layers, Mapping)
        shares = self.shares()
        for layer, layer_weight in self.layers.items():
            targets: Features = []
            stride = 1
            for picture, share in shares:
                request = self._request(picture, canvas)
                large = sources.is_tiled(request)
                if large and sources.tiles_canvas and not self.is_tileable:
                    raise too_large(self.kind, request.height, request.width)
                if large and self.is_tileable:
                    tiled, stride = sources.tiled(request, layer, REFLECTED)
                    targets.append((cast("NDArray[np.float32]", tiled), share))
                    continue
                feature = sources.features(request)[layer]
                # Each pooling halves and rounds down, so that h ≤ H / 2ⁿ < h + 1.
                stride = 2 ** math.floor(math.log2(request.height / feature.shape[1]))
                border = REFLECTED // stride
                rows, columns = (s - 2 * border for s in feature.shape[1:])
                inner = feature[:, border : border + rows, border : border + columns]
                targets.append((inner, share))
            yield Part(
                f"{self.kind}/{layer}",
                self.placed(self.layer_term(layer, targets, canvas, stride), canvas, stride),
                self.weight * layer_weight / len(self.layers),
                layer,
                self.network,
                self.balance,
            )

    def placed(self, term: _core.LayerTerm, canvas: Canvas, stride: int) -> _core.LayerTerm:
        """The term, shown the part of the canvas that counts: what lies inside the margin."""
        return inside_margin(term, canvas, stride)

    @property
    @abstractmethod
    def kind(self) -> str:
        """How the term's losses are called."""

    @abstractmethod
    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        """The engine's term for one layer.

        targets: the exemplars' features (C, h, w) with their shares, which add up to 1.
        stride: pixels between the layer's positions.
        """


def inside_margin(term: _core.LayerTerm, canvas: Canvas, stride: int) -> _core.LayerTerm:
    """The term, shown only the positions inside the canvas' margin, where those are worth it.

    Of a tile's continuation no layer is shown anything: places near the border would count twice,
    and the zeros beyond the continuation would be marked as lines inside the tile.
    """
    from fastsynth import _core

    rows, columns = canvas.height // stride, canvas.width // stride
    border = canvas.margin // stride
    shallow = stride < WINDOWED_STRIDE and not canvas.wrap
    if shallow or border == 0 or min(rows, columns) <= 2 * border:
        return term
    return _core.WindowTerm(
        term, rows, columns, border, border, rows - 2 * border, columns - 2 * border
    )
