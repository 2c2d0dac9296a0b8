"""The picture of the worst places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth.image import ImageArray, luminance
from fastsynth.score.patches import misfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.score.pixels import Planes

__all__ = ["worst_places"]

# Misfit 1 is usual, 3 is red: what has no like in the exemplar.
_STOPS = np.array([1.0, 1.7, 3.0, 6.0])
_COLORS = np.array([[1.0, 0.9, 0.2], [1.0, 0.8, 0.1], [0.9, 0.1, 0.05], [0.7, 0.0, 0.5]])
_COVER = np.array([0.0, 0.6, 0.85, 0.95])  # how much the colour hides of the image


def worst_places(image: Planes, exemplar: Planes) -> ImageArray:
    """The image in dimmed grey under a heat map of its misfit; (H, W, 3) uint8."""
    return painted(image, misfit(image, exemplar, levels=_levels(image, exemplar)))


def painted(image: Planes, heat: NDArray[np.float32]) -> ImageArray:
    """Planar pixels (3, H, W) in grey with heat (H, W) over them, from 1 (none) to 6 (purple)."""
    grey = 0.15 + 0.6 * luminance(image).astype(np.float64)
    clipped = np.clip(heat, _STOPS[0], _STOPS[-1])
    cover = np.interp(clipped, _STOPS, _COVER)
    planes = [
        (1 - cover) * grey + cover * np.interp(clipped, _STOPS, _COLORS[:, channel])
        for channel in range(3)
    ]
    return ImageArray.of(np.rint(np.stack(planes, axis=-1) * 255).astype(np.uint8))


def _levels(image: Planes, exemplar: Planes) -> int:
    """Three, or fewer where the coarsest would have less than 24 px."""
    least = int(min(*image.shape[1:], *exemplar.shape[1:]))
    return max(1, min(3, (least // 24).bit_length()))
