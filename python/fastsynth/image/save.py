"""Pictures out, to files: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ImageError
from fastsynth._numbers import plain_arguments
from fastsynth.image.encode import SUFFIXES, Format, check_form, encode
from fastsynth.image.picture import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray


@plain_arguments
def save(
    path: str | os.PathLike[str],
    picture: NDArray[np.float32] | Picture,
    *,
    alpha: NDArray[np.float32] | None = None,
    quality: int = 95,
    bit_depth: int = 8,
    metadata: dict[str, Any] | None = None,
    grey: bool = False,
) -> Path:
    """Write a picture to a file, in the format of its suffix: .png .jpg .jpeg .tif .tiff .webp.

    picture: planar sRGB (3, H, W) in [0, 1], or a Picture (its own alpha is used unless `alpha` is
    given). The other arguments are those of `encode`: alpha (H, W), quality 1-100, bit_depth 8 or
    16 (PNG and TIFF), metadata (a JSON-able dict, read back by `read_metadata`), grey (luma only).
    An sRGB profile is embedded in colour files.

    The file appears whole or not at all: it is written beside its target, flushed to the disk, and
    renamed. On failure an existing file stays as it was. A symbolic link is followed. Returns the
    path. Equal input gives equal bytes. Raises ImageError; `check_writable` raises the same before
    a long run.
    """
    target, form = _target(path)
    if isinstance(picture, Picture):
        pixels, alpha = picture.pixels, picture.alpha if alpha is None else alpha
    else:
        pixels = picture
    try:
        data = encode(
            pixels,
            form,
            alpha=alpha,
            quality=quality,
            bit_depth=bit_depth,
            metadata=metadata,
            grey=grey,
        )
    except ImageError as error:
        raise ImageError(f"cannot write {str(path)!r}: {error}") from error.__cause__
    write_whole(target, data)
    return Path(os.fspath(path))


@plain_arguments
def check_writable(
    path: str | os.PathLike[str],
    *,
    bit_depth: int = 8,
    quality: int = 95,
    size: tuple[int, int] | None = None,
) -> Path:
    """Make sure, before a long run, that `save` will be able to write `path`.

    Tries suffix, depth, quality, size (width, height) against the format, and the directory by
    creating and removing an empty file in it. Returns the path as a Path. Raises ImageError with
    the cause and the way out.
    """
    target, form = _target(path)
    try:
        check_form(form, bit_depth=bit_depth, quality=quality, size=size)
    except ImageError as error:
        raise ImageError(f"cannot write {str(path)!r}: {error}") from None
    try:
        descriptor, temporary = _temporary_beside(target)
        os.close(descriptor)
        temporary.unlink()
    except OSError as error:
        raise _unwritable(target, error) from error
    return Path(os.fspath(path))


def _target(path: str | os.PathLike[str]) -> tuple[Path, Format]:
    """The real file behind `path`, and the format of its suffix."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise ImageError(f"the target is a {type(path).__name__}; expected a path")
    named = Path(os.fspath(path))
    form = SUFFIXES.get(named.suffix.lower())
    if form is None:
        raise ImageError(
            f"cannot write {str(path)!r}: the suffix is {named.suffix!r}; "
            f"expected one of {', '.join(SUFFIXES)}"
        )
    try:
        target = Path(os.path.realpath(named))
        if target.is_dir():
            raise ImageError(f"cannot write {str(path)!r}: it is a directory; give a file name")
        if target.exists() and not target.is_file():
            raise ImageError(f"cannot write {str(path)!r}: it is a device or pipe, not a file")
        if not target.parent.is_dir():
            raise ImageError(
                f"cannot write {str(path)!r}: there is no directory {str(target.parent)!r}; "
                "create it first"
            )
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot write {str(path)!r}: {error}") from error
    return target, form


def write_whole(target: Path, data: bytes) -> None:
    """Writes a file that appears whole or not at all; raises ImageError."""
    try:
        descriptor, temporary = _temporary_beside(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        # After a rename there is nothing left to remove; after anything else, Ctrl-C included,
        # there is.
        with contextlib.suppress(OSError):
            temporary.unlink()
    flush_directory(target.parent)


def _temporary_beside(target: Path) -> tuple[int, Path]:
    """A new empty file in the target's directory, with the permissions that the umask gives."""
    temporary = target.parent / f".fastsynth-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(temporary, flags, 0o666), temporary


def flush_directory(directory: Path) -> None:
    """Make the rename durable where the system allows it; the file is complete either way."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(target: Path, error: OSError) -> ImageError:
    return ImageError(
        f"cannot write {str(target)!r}: {error.strerror or error}; "
        "free space or change permissions, or choose another directory"
    )
