"""How like its exemplar a texture is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastsynth.image import regularity
from fastsynth.score.component import Component, components, composite
from fastsynth.score.heat import worst_places
from fastsynth.score.patches import copied_share
from fastsynth.score.pixels import load_visible

if TYPE_CHECKING:
    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.score.pixels import Planes

__all__ = ["TextureScore", "texture"]


@dataclass(frozen=True)
class TextureScore:
    """A texture measured against its exemplar; lower is better, 1 is another crop of the exemplar.

    autocorrelation: S1, long-range structure.
    spectrum: S2, power by frequency and orientation, in decibels.
    patches: S3, the distribution of 7 × 7 patches at several scales.
    marginals: S4, the distributions of derivatives at several scales.
    color: S5, the distribution of colours.
    copied: S6, share of neighbouring patches that continue as in the exemplar; 1 is a verbatim
        copy. Reported, not part of `total`.
    gram: S7, held-out Gram matrices; None without a network. Not part of `total`.
    regularity: of the exemplar, see fastsynth.image.regularity: how much S1 can tell.
    """

    autocorrelation: Component
    spectrum: Component
    patches: Component
    marginals: Component
    color: Component
    copied: float
    gram: Component | None
    regularity: float
    _image: Planes = field(repr=False, compare=False)
    _exemplar: Planes = field(repr=False, compare=False)

    @property
    def total(self) -> float:
        """T: the geometric mean of the ratios of S1 to S5; at least 1."""
        return composite(
            (self.autocorrelation, self.spectrum, self.patches, self.marginals, self.color)
        )

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data, for JSON."""
        return {
            "total": self.total,
            "autocorrelation": self.autocorrelation.to_dict(),
            "spectrum": self.spectrum.to_dict(),
            "patches": self.patches.to_dict(),
            "marginals": self.marginals.to_dict(),
            "color": self.color.to_dict(),
            "gram": self.gram.to_dict() if self.gram else None,
            "copied": self.copied,
            "regularity": self.regularity,
        }

    def to_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def worst_places(self) -> ImageArray:
        """The image in grey, with a heat map of where its patches fit the exemplar worst.

        (H, W, 3) uint8: no colour where a patch is as near to one of the exemplar's as the
        exemplar's halves are to each other, then yellow, red (three times as far) and purple
        (six times).
        """
        return worst_places(self._image, self._exemplar)


def texture(
    image: ImageLike,
    exemplar: ImageLike,
    *,
    weights: str | os.PathLike[str] | None = None,
    network: str = "vgg16",
) -> TextureScore:
    """Measures how like its exemplar a texture is: needs no network, no trained model, no people.

    Each measure is a distance of statistics, divided by the same distance between two halves of the
    exemplar. The measures and their limits are described in docs/score.md.

    image: the texture to judge, of any size from 64 × 64 pixels, at the exemplar's scale.
    exemplar: what it should be like, from 64 × 64 pixels.
    weights: for S7, the weights of a network: "oxford", "random:1", a file, see Synthesizer; choose
        other ones than the texture was made with. None (default) leaves S7 out.
    network: "vgg16" (default) or "vgg19".

    Of pictures with transparent places the largest opaque rectangle is used. The result does not
    depend on anything random. Raises ImageError for unusable and too small pictures, FastsynthError
    where SciPy is missing (`pip install fastsynth[score]`), WeightsError, NetworkError.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.random((96, 96, 3), np.float32)
    >>> score = texture(rng.random((96, 96, 3), np.float32), noise)
    >>> score.total < 1.2, score.copied < 0.1, texture(noise, noise).total
    (True, True, 1.0)
    """
    own, reference = load_visible(image, "image"), load_visible(exemplar, "exemplar")
    found = components({"image": own}, reference, weights=weights, network=network)["image"]
    return TextureScore(
        autocorrelation=found["autocorrelation"],
        spectrum=found["spectrum"],
        patches=found["patches"],
        marginals=found["marginals"],
        color=found["color"],
        copied=copied_share(own, reference),
        gram=found.get("gram"),
        regularity=regularity(reference.transpose(1, 2, 0)),
        _image=own,
        _exemplar=reference,
    )
