"""Content: the features of an image, or of several in a weighted sum (Eqs 4, 5, 7, 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture
from fastsynth.objective.base import Canvas, ContentImages, Part, Request, Term, layer_weights
from fastsynth.objective.blend import WeightedPictures, weighted_pictures

if TYPE_CHECKING:
    from fastsynth._types import ImageLike
    from fastsynth.objective.plan import Sources

__all__ = ["CONTENT_LAYERS", "Content", "Normalization"]

Normalization = Literal["relative", "paper", "normalized"]

CONTENT_LAYERS = ("conv4_2",)


@dataclass(frozen=True, eq=False, repr=False)
class Content(Term):
    """Keep the features of an image: the content loss.

    image: a picture, or pairs (picture, weight): the target is then the weighted sum of their
        features, P = Σ w_i F_i.
    layers: name, names (equal weights) or mapping of layer name to weight; default conv4_2.
    normalization:
        "relative" (default)  mean over layers of ‖F - P‖² / ‖P - P̄‖², P̄ the channels' means: the
                              share of the target's structure that is lost, dimensionless,
                              independent of the image size
        "paper"               Σ over layers of ½ Σ (F - P)² (Eq. 7)
        "normalized"          Σ over layers of ½ Σ (F - P)² / (N M), N channels, M positions
                              (Eq. 11; k_c is the weight)
    network: name of the network that is tapped; default: the synthesizer's own.

    The image is resized to the canvas. Raises ObjectiveError for unknown settings, ImageError for
    unusable pictures.

    >>> import numpy as np
    >>> 0.5 * Content(np.zeros((8, 8, 3), np.uint8), "conv3_1")
    Content(image=Picture 8x8 RGB uint8, layers={'conv3_1': 1.0}, weight=0.5)
    """

    image: ImageLike | Sequence[tuple[ImageLike, float]] | WeightedPictures
    layers: str | Sequence[str] | Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(CONTENT_LAYERS, 1.0)
    )
    normalization: Normalization = "relative"
    network: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalization not in ("relative", "paper", "normalized"):
            raise ObjectiveError(
                "normalization must be 'relative', 'paper' or 'normalized', "
                f"not {self.normalization!r}"
            )
        object.__setattr__(self, "image", weighted_pictures(self.image, "content"))
        object.__setattr__(self, "layers", layer_weights(self.layers))

    @property
    def is_tileable(self) -> bool:
        return True

    @property
    def pictures(self) -> tuple[tuple[Picture, float], ...]:
        """The target images with their weights."""
        assert isinstance(self.image, WeightedPictures)
        return self.image.pairs

    def _request(self, picture: Picture, canvas: Canvas) -> Request:
        return Request(
            picture, canvas.height, canvas.width, tuple(self.layers), self.network, canvas.margin
        )

    def requests(self, canvas: Canvas) -> Iterable[Request]:
        return [self._request(picture, canvas) for picture, _ in self.pictures]

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        assert isinstance(self.layers, Mapping)
        share = 1.0 / len(self.layers) if self.normalization == "relative" else 1.0
        for layer, layer_weight in self.layers.items():
            if sources.tiles_canvas:
                requests = [(self._request(picture, canvas), w) for picture, w in self.pictures]
                yield Part(
                    f"content/{layer}",
                    ContentImages(
                        tuple((sources.pixels(r), r.margin, w) for r, w in requests),
                        self.normalization,
                    ),
                    self.weight * layer_weight * share,
                    layer,
                    self.network,
                )
                continue
            target = np.zeros((), np.float32)
            for picture, weight in self.pictures:
                feature = sources.features(self._request(picture, canvas))[layer]
                target = (
                    feature if weight == 1.0 and not target.shape else target + weight * feature
                )
            yield Part(
                f"content/{layer}",
                _core.ContentTerm(np.ascontiguousarray(target, np.float32), self.normalization),
                self.weight * layer_weight * share,
                layer,
                self.network,
            )
