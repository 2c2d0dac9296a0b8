"""Where a file comes from, and how to know it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Source", "by_hand", "checksum_matches"]

_BLOCK = 1 << 22  # bytes read at a time


@dataclass(frozen=True)
class Source:
    """Where a file comes from, its size in bytes, and its (hashlib algorithm, hex digest)."""

    url: str
    size: int
    checksum: tuple[str, str]


def checksum_matches(path: Path, source: Source) -> bool:
    """Whether the file has the size and checksum of `source`."""
    if path.stat().st_size != source.size:
        return False
    algorithm, expected = source.checksum
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == expected


def by_hand(source: Source, destination: Path) -> str:
    """How to do without this module: for the end of an error message."""
    algorithm, digest = source.checksum
    return f"or fetch {source.url} yourself and put it at {destination} ({algorithm} {digest})"
