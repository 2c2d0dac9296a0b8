"""How much of the content's layout and of the style's look a style transfer has."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ImageError
from fastsynth._numbers import plain_arguments
from fastsynth.image import fit_size, load, match_histogram, resize
from fastsynth.score.component import Component, components, composite
from fastsynth.score.heat import worst_places
from fastsynth.score.layout import (
    at_working_size,
    edge_loss,
    self_similarity_loss,
    structure_loss,
    working_size,
)
from fastsynth.score.pixels import MINIMUM, load_visible, visible_rectangle

if TYPE_CHECKING:
    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.score.pixels import Planes

__all__ = ["TransferScore", "transfer"]


@dataclass(frozen=True)
class TransferScore:
    """A style transfer measured against its content and its style; lower is better.

    structure, edges, similarity: K1, K2, K3, what of the content's layout is lost; 0 is the content
        itself.
    spectrum, patches, marginals, color: S2 to S5 against the style image. Since the parts of a
        painting differ, their bases are fixed: what crops of an even texture differ by.
    gram: S7, held-out Gram matrices; None without a network. Not part of `style`.
    anchors: scores of simple pictures to compare with, by name; empty unless asked for.
    """

    structure: float
    edges: float
    similarity: float
    spectrum: Component
    patches: Component
    marginals: Component
    color: Component
    gram: Component | None
    anchors: Mapping[str, TransferScore] = field(repr=False, default_factory=dict)
    _image: Planes = field(repr=False, compare=False, kw_only=True)
    _style: Planes = field(repr=False, compare=False, kw_only=True)

    @property
    def content(self) -> float:
        """The mean of K1, K2 and K3: 0 keeps the whole layout, about 0.6 to 0.8 none."""
        return (self.structure + self.edges + self.similarity) / 3

    @property
    def style(self) -> float:
        """T: the geometric mean of the ratios of S2 to S5: 1 is the style itself; the untouched
        content has about 4 to 13.
        """
        return composite((self.spectrum, self.patches, self.marginals, self.color))

    @property
    def product(self) -> float:
        """(1 + content) (1 + log style): one number for the pair, 1 at best."""
        return (1 + self.content) * (1 + math.log(self.style))

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data, for JSON."""
        return {
            "content": self.content,
            "style": self.style,
            "product": self.product,
            "structure": self.structure,
            "edges": self.edges,
            "similarity": self.similarity,
            "spectrum": self.spectrum.to_dict(),
            "patches": self.patches.to_dict(),
            "marginals": self.marginals.to_dict(),
            "color": self.color.to_dict(),
            "gram": self.gram.to_dict() if self.gram else None,
            "anchors": {name: anchor.to_dict() for name, anchor in self.anchors.items()},
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def worst_places(self) -> ImageArray:
        """The image in grey, with a heat map of where its patches fit the style worst.

        (H, W, 3) uint8; the colours are those of TextureScore.worst_places.
        """
        return worst_places(self._image, self._style)


@plain_arguments
def transfer(
    image: ImageLike,
    content: ImageLike,
    style: ImageLike,
    *,
    style_scale: float = 1.0,
    anchors: bool = False,
    weights: str | os.PathLike[str] | None = None,
    network: str = "vgg16",
) -> TransferScore:
    """Measures a style transfer: the layout kept from the content, the look taken from the style.

    The two pull against each other: methods are compared as pairs (content, style), or by
    `product`. The measures and their limits are described in docs/score.md.

    image: the picture to judge, from 64 × 64 pixels.
    content: the picture whose shapes it should have; brought to the image's size.
    style: the picture whose manner it should have; its longer side is brought to the image's, times
        `style_scale`, as style_transfer does.
    anchors: also score the content itself, the content with the style's histograms, and a crop of
        the style, at the image's size: the ends of the scale. Default False.
    weights, network: for S7, see `texture`. None (default) leaves S7 out.

    Of an image or style with transparent places the largest opaque rectangle is used, and the same
    part of the content. Raises ImageError for unusable and too small pictures, FastsynthError
    where SciPy is missing (`pip install fastsynth[score]`), WeightsError, NetworkError.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> photo, painting = rng.random((2, 96, 96, 3), np.float32)
    >>> score = transfer(photo, photo, painting)
    >>> score.content, score.style < 1.2
    (0.0, True)
    """
    if not isinstance(style_scale, (int, float)) or not 0 < style_scale < math.inf:
        raise ImageError(f"style_scale is {style_scale!r}; expected a positive number")
    picture = load(image, name="image")
    rows, columns = visible_rectangle(picture, "image", MINIMUM)
    whole = resize(load(content, name="content").pixels, picture.pixels.shape[1:], "area")
    own = np.ascontiguousarray(picture.pixels[:, rows, columns])
    target = np.ascontiguousarray(whole[:, rows, columns])
    height, width = own.shape[1:]
    manner = load_visible(style, "style", least=1)
    longest = max(1, round(max(whole.shape[1:]) * style_scale))
    size = fit_size(longest, (manner.shape[1], manner.shape[2]))
    if min(size) < MINIMUM:
        raise ImageError(
            f"at the image's size and style_scale {style_scale:g} the style has {size[1]} × "
            f"{size[0]} pixels; a score needs at least {MINIMUM} × {MINIMUM}"
        )
    manner = resize(manner, size, "area" if size[0] < manner.shape[1] else "lanczos", clip=True)
    images = {"image": own}
    if anchors:
        images["content"] = target
        images["histogram"] = match_histogram(target, manner)
        images["style crop"] = style_crop(manner, (height, width))
    found = components(images, manner, weights=weights, network=network, varied=True)
    small = working_size(height, width)
    reference = at_working_size(target, small)
    scores = {
        key: TransferScore(
            structure=structure_loss(at_working_size(planes, small), reference),
            edges=edge_loss(at_working_size(planes, small), reference),
            similarity=self_similarity_loss(at_working_size(planes, small), reference),
            spectrum=found[key]["spectrum"],
            patches=found[key]["patches"],
            marginals=found[key]["marginals"],
            color=found[key]["color"],
            gram=found[key].get("gram"),
            _image=planes,
            _style=manner,
        )
        for key, planes in images.items()
    }
    score = scores.pop("image")
    return dataclasses.replace(score, anchors=scores) if anchors else score


def style_crop(style: Planes, height_width: tuple[int, int]) -> Planes:
    """The middle of the style in the proportions of (height, width), enlarged to that size."""
    height, width = height_width
    factor = min(style.shape[1] / height, style.shape[2] / width)
    tall, wide = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = (style.shape[1] - tall) // 2, (style.shape[2] - wide) // 2
    crop = np.ascontiguousarray(style[:, top : top + tall, left : left + wide])
    return resize(crop, (height, width), "bicubic", clip=True)
