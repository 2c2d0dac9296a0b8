"""The part of a picture that shows through nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.image.picture import Picture

__all__ = ["largest_rectangle", "opaque_rectangle"]

_GRID = 96  # cells along the longer side in the search for the visible rectangle


def opaque_rectangle(picture: Picture) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the largest opaque rectangle, on a grid of 96 cells.

    The whole picture if it is opaque; four zeros if no cell is.
    """
    height, width = picture.pixels.shape[1:]
    alpha = picture.alpha
    if alpha is None or alpha.min() >= 1:
        return 0, height, 0, width
    cell = max(1, -(-max(height, width) // _GRID))
    shape = (-(-height // cell) * cell, -(-width // cell) * cell)
    # What lies beyond the border is visible, so that it does not spoil the cells there.
    padded = np.ones(shape, np.bool_)
    padded[:height, :width] = alpha >= 1
    cells = np.asarray(padded.reshape(shape[0] // cell, cell, -1, cell).all(axis=(1, 3)))
    top, bottom, left, right = (edge * cell for edge in largest_rectangle(cells))
    return top, min(bottom, height), left, min(right, width)


def largest_rectangle(cells: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the largest rectangle of true cells; empty if there is none.

    >>> largest_rectangle(np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]], bool))
    (0, 3, 0, 2)
    """
    best, found = 0, (0, 0, 0, 0)
    heights = np.zeros(cells.shape[1] + 1, np.int64)  # a last column of height 0 ends all bars
    for row, line in enumerate(cells):
        heights[:-1] = np.where(line, heights[:-1] + 1, 0)
        open_bars: list[tuple[int, int]] = []  # (left end, height), of rising heights
        for column, height in enumerate(heights.tolist()):
            left = column
            while open_bars and open_bars[-1][1] >= height:
                left, tall = open_bars.pop()
                if tall * (column - left) > best:
                    best = tall * (column - left)
                    found = (row + 1 - tall, row + 1, left, column)
            open_bars.append((left, height))
    return found
