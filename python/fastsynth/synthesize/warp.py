"""Zoom, rotation and shift of a picture by bilinear sampling, and the adjoint for gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

__all__ = ["GREY", "Warp"]

GREY = np.float32(0.5)  # what lies outside of a picture with border="grey"


class Warp:
    """A similarity transform of pictures (C, height, width) about their centre; the size stays.

    zoom: factor on the size of what is shown; 2 shows the middle half.
    degrees: counter-clockwise rotation.
    shift: (down, right), pixels that the content moves.
    border: "grey" shows mid grey outside of the picture, "reflect" its mirror image.

    `apply` samples bilinearly at pixel centres. `adjoint` is the transposed linear map:
    ⟨apply(x) - apply(0), y⟩ = ⟨x, adjoint(y)⟩.

    >>> picture = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    >>> Warp(3, 3, shift=(1, 0)).apply(picture)[0].tolist()
    [[0.5, 0.5, 0.5], [0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        zoom: float = 1.0,
        degrees: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        border: Literal["grey", "reflect"] = "grey",
    ) -> None:
        self._shape = (height, width)
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        down = np.arange(height)[:, None] - (height - 1) / 2 - shift[0]
        right = np.arange(width)[None, :] - (width - 1) / 2 - shift[1]
        # Rows count downwards: a counter-clockwise turn of the picture looks up its samples
        # clockwise.
        y = (cos * down + sin * right) / zoom + (height - 1) / 2
        x = (cos * right - sin * down) / zoom + (width - 1) / 2
        top, left = np.floor(y), np.floor(x)
        places, weights = [], []
        for dy in (0, 1):
            for dx in (0, 1):
                row, column = top.astype(np.int64) + dy, left.astype(np.int64) + dx
                weight = np.abs(1 - dy - (y - top)) * np.abs(1 - dx - (x - left))
                if border == "reflect":
                    row, column = _reflected(row, height), _reflected(column, width)
                else:
                    inside_row, inside_column = row.clip(0, height - 1), column.clip(0, width - 1)
                    weight = weight * ((row == inside_row) & (column == inside_column))
                    row, column = inside_row, inside_column
                places.append((row * width + column).ravel())
                weights.append(weight.ravel().astype(np.float32))
        self._places, self._weights = places, weights
        self._outside = GREY * (1 - np.sum(weights, axis=0))

    def apply(self, picture: Pixels) -> Pixels:
        """The picture as the transform shows it."""
        flat = picture.reshape(len(picture), -1)
        out = np.empty(flat.shape, np.float32)
        out[:] = self._outside
        for channel, plane in enumerate(flat):
            for place, weight in zip(self._places, self._weights, strict=True):
                out[channel] += weight * plane[place]
        return out.reshape(picture.shape)

    def adjoint(self, gradient: Pixels) -> Pixels:
        """From the gradient with respect to `apply`'s result, that with respect to its argument."""
        flat = gradient.reshape(len(gradient), -1)
        out = np.zeros(flat.shape)
        for channel, plane in enumerate(flat):
            for place, weight in zip(self._places, self._weights, strict=True):
                out[channel] += np.bincount(place, weight * plane, plane.size)
        return out.reshape(gradient.shape).astype(np.float32)


def _reflected(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices continued by mirror images: … 1 0 0 1 … n-1 n-1 …"""
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)
