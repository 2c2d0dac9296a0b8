"""Scratch files: features that do not fit the memory limit.

FASTSYNTH_SCRATCH names the folder that they go to; "off" keeps them from being written. Unset: the
system's folder of temporary files, or /var/tmp where that one lies in memory.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastsynth._errors import MemoryLimitError

if TYPE_CHECKING:
    from fastsynth import _core

__all__ = ["has_room", "open_scratch", "scratch_folder"]

VARIABLE = "FASTSYNTH_SCRATCH"
SHARE = 0.5  # of a folder's free bytes that a scratch file may take
IN_MEMORY = ("tmpfs", "ramfs")

logger = logging.getLogger("fastsynth")


def scratch_folder(size: int) -> Path | None:
    """The folder for a scratch file of `size` bytes; None where none has room for it.

    A folder that was named gets it where it has twice the room; MemoryLimitError where there is no
    such folder, or nothing can be written to it.
    """
    named = os.environ.get(VARIABLE)
    if named == "off":
        return None
    if named:
        folder = Path(named)
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise MemoryLimitError(
                f"{VARIABLE} names {named!r}, which is no folder that can be written to; name one "
                'with room for large files, or "off" for none'
            )
        return folder if has_free(folder, size) else None
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp")):
        usable = folder.is_dir() and os.access(folder, os.W_OK)
        if usable and kind_of(folder) not in IN_MEMORY and has_free(folder, size):
            return folder
    return None


def has_room(size: int) -> bool:
    """Whether a scratch file of `size` bytes would be written."""
    return scratch_folder(size) is not None


def open_scratch(size: int) -> _core.ScratchFile | None:
    """An empty file of `size` bytes that has no name; None where there is no room for it.

    It vanishes with the last reference, and with the process however that ends.
    """
    from fastsynth import _core

    folder = scratch_folder(size)
    if folder is None:
        logger.info("no folder has room for %.1f GB of features: computed anew", size / 1e9)
        return None
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="fastsynth-") as file:
            # All blocks at once: a disk that others fill meanwhile is no matter.
            allocate: Callable[[int, int, int], None] | None
            allocate = getattr(os, "posix_fallocate", None)
            if allocate is not None:
                allocate(file.fileno(), 0, size)
            found = _core.ScratchFile(file.fileno())
    except OSError as error:
        logger.warning(
            "no scratch file of %.1f GB in %s (%s): features are computed anew; %s names another "
            "folder", size / 1e9, folder, error.strerror, VARIABLE,
        )  # fmt: skip
        return None
    logger.info("%.1f GB of features are kept in a scratch file in %s", size / 1e9, folder)
    return found


def has_free(folder: Path, size: int) -> bool:
    """Whether a file of `size` bytes leaves the folder's disk room for others."""
    return size <= SHARE * shutil.disk_usage(folder).free


def kind_of(folder: Path) -> str:
    """The file system that a folder lies on, "ext4" or "tmpfs"; "" where the system does not tell.

    >>> kind_of(Path("/proc")) in ("proc", "")
    True
    """
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return kind_among(mounts, str(folder.resolve()))


def kind_among(mounts: str, place: str) -> str:
    r"""The file system of a place, from the lines of /proc/self/mounts.

    >>> kind_among("disk / ext4 rw 0 0\nnone /a\\040b tmpfs rw 0 0", "/a b/c")
    'tmpfs'
    """
    found = (-1, "")
    for line in mounts.split("\n"):
        if not line:
            continue
        _, point, kind, *_ = line.split(" ")
        # Spaces, tabs, line ends and backslashes in names are written as octal numbers.
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
        inside = point in ("/", place) or place.startswith(point + "/")
        if inside and len(point) >= found[0]:  # the last of several on one point is seen
            found = (len(point), kind)
    return found[1]
