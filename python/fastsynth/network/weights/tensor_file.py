"""What every reader yields: the tensors of a file, with their data still unread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Tensor", "TensorFile"]


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: its name there, shape and NumPy type, and how to read it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class TensorFile:
    """An open weights file; `metadata` holds what it says about itself."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
