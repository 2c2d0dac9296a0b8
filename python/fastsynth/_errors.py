"""The exceptions of fastsynth.

    FastsynthError
      ├─ ImageError        a picture that cannot be read, used or written
      ├─ WeightsError      weights that are missing, damaged or do not fit the network
      ├─ NetworkError      an unknown network or layer, or a graph that cannot run
      ├─ ObjectiveError    terms that make no sense together or for these images
      ├─ DeviceError       a device or provider that was asked for and cannot run
      ├─ CheckpointError   a checkpoint that is damaged, of another run, or cannot be written
      ├─ MemoryLimitError  work that does not fit the memory that it was given
      └─ DivergenceError   a loss that became infinite or not a number; carries the last good image

Each message says the value seen, what was expected, and the way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CheckpointError",
    "DeviceError",
    "DivergenceError",
    "FastsynthError",
    "ImageError",
    "MemoryLimitError",
    "NetworkError",
    "ObjectiveError",
    "WeightsError",
]


class FastsynthError(Exception):
    """Base class of every error that fastsynth raises on purpose."""


class ImageError(FastsynthError, ValueError):
    """A picture that cannot be read, used or written."""


class WeightsError(FastsynthError):
    """Weights that are missing, damaged or do not fit the network."""


class NetworkError(FastsynthError, ValueError):
    """An unknown network or layer, or a graph that cannot run."""


class ObjectiveError(FastsynthError, ValueError):
    """Terms or settings that make no sense together or for these images."""


class DeviceError(FastsynthError, RuntimeError):
    """A device or provider that was asked for and cannot run."""


class CheckpointError(FastsynthError, ValueError):
    """A checkpoint that is damaged, belongs to another run, or cannot be written."""


class MemoryLimitError(FastsynthError, MemoryError):
    """Work that does not fit the memory that it was given."""


class DivergenceError(FastsynthError, ArithmeticError):
    """A loss that became infinite or not a number.

    `image` is the last good image, planar float32 RGB of shape (3, H, W) in [0, 1], or None.
    """

    def __init__(self, message: str, image: NDArray[np.float32] | None = None) -> None:
        super().__init__(message)
        self.image = image
