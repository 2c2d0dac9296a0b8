"""Style: the correlations of features, as Gram matrices (Eqs 6, 8, 9, 12)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture
from fastsynth.objective.base import Canvas, Part, Request, Term, layer_weights
from fastsynth.objective.blend import WeightedPictures, weighted_pictures
from fastsynth.objective.content import Normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike
    from fastsynth.objective.plan import Sources

__all__ = ["STYLE_LAYERS", "Style"]

STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

SMALLEST = 16  # px, a style image is not shrunk below: one position is left at the deepest layers


@dataclass(frozen=True, eq=False, repr=False)
class Style(Term):
    """Take over the style of an image: the distance of Gram matrices G = F Fᵀ / M.

    image: a picture, or pairs (picture, weight): the target is then the weighted sum of their Gram
        matrices.
    layers: name, names (equal weights) or mapping of layer name to weight; default conv1_1 …
        conv5_1.
    normalization:
        "relative" (default)  mean over layers of ‖G - A‖² / ‖A‖², dimensionless, independent of the
                              image size
        "paper"               Σ over layers of 1/(4N²M²) Σ (F Fᵀ - A_raw)² (Eqs 6, 8, 9); a
                              style image of another size is brought to the canvas' number of
                              positions M
        "normalized"          Σ over layers of the mean over the N² entries of (G - A)²
                              (Eq. 12; k_s is the weight)
    sizing: "canvas" (default) scales the style image so that its longer side equals the canvas'
        longer side; "native" keeps its own pixels (for textures), shrunk only as much as the level
        is.
    scale: further factor on the style image's size; > 1 makes its features larger in the picture.
    balance: True sets the layers' weights per level so that all pull equally on the first image
        (methods of random-weight networks); False keeps them as given.
    network: name of the network that is tapped; default: the synthesizer's own.

    Raises ObjectiveError for unknown settings, ImageError for unusable pictures.

    >>> import numpy as np
    >>> 10 * Style(np.zeros((8, 8, 3), np.uint8), ["conv1_1"], sizing="native")
    Style(image=Picture 8x8 RGB uint8, layers={'conv1_1': 1.0}, sizing='native', weight=10.0)
    """

    image: ImageLike | Sequence[tuple[ImageLike, float]] | WeightedPictures
    layers: str | Sequence[str] | Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(STYLE_LAYERS, 1.0)
    )
    normalization: Normalization = "relative"
    sizing: Literal["canvas", "native"] = "canvas"
    scale: float = 1.0
    balance: bool = False
    network: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalization not in ("relative", "paper", "normalized"):
            raise ObjectiveError(
                "normalization must be 'relative', 'paper' or 'normalized', "
                f"not {self.normalization!r}"
            )
        if self.sizing not in ("canvas", "native"):
            raise ObjectiveError(f"sizing must be 'canvas' or 'native', not {self.sizing!r}")
        if not isinstance(self.scale, (int, float)) or not 0 < self.scale < math.inf:
            raise ObjectiveError(f"scale must be a positive number, not {self.scale!r}")
        object.__setattr__(self, "image", weighted_pictures(self.image, "style"))
        object.__setattr__(self, "layers", layer_weights(self.layers))

    @property
    def is_tileable(self) -> bool:
        return True

    @property
    def pictures(self) -> tuple[tuple[Picture, float], ...]:
        """The style images with their weights."""
        assert isinstance(self.image, WeightedPictures)
        return self.image.pairs

    def _request(self, picture: Picture, canvas: Canvas) -> Request:
        _, height, width = picture.pixels.shape
        margin = 0
        if self.sizing == "native":
            factor = canvas.shrink * self.scale
        else:
            longest = max(canvas.height, canvas.width) - 2 * canvas.margin
            factor = longest / max(height, width) * self.scale
            # Seen through the same margin as the canvas. At small sizes the zeros that networks
            # pad with would otherwise weaken the target's deep features alone, and the relative
            # distance, and so the strength of the style, would grow without bound.
            margin = canvas.margin
        return Request(
            picture,
            max(SMALLEST, round(height * factor)) + 2 * margin,
            max(SMALLEST, round(width * factor)) + 2 * margin,
            tuple(self.layers),
            self.network,
            margin,
        )

    def requests(self, canvas: Canvas) -> Iterable[Request]:
        return [self._request(picture, canvas) for picture, _ in self.pictures]

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        assert isinstance(self.layers, Mapping)
        share = 1.0 / len(self.layers) if self.normalization == "relative" else 1.0
        for layer, layer_weight in self.layers.items():
            target: NDArray[np.float64] | None = None
            for picture, weight in self.pictures:
                gram = weight * sources.gram(self._request(picture, canvas), layer)
                target = gram if target is None else target + gram
            assert target is not None
            yield Part(
                f"style/{layer}",
                _core.GramTerm(np.ascontiguousarray(target, np.float32), self.normalization),
                self.weight * layer_weight * share,
                layer,
                self.network,
                self.balance,
            )
