"""Provenance inside the file: a dictionary that travels with the picture.

It is stored as JSON: in PNG as the international text "fastsynth" (iTXt), in TIFF as the
ImageDescription, in JPEG and WebP as the EXIF user comment; there and in TIFF inside {"fastsynth":
...}, so that foreign descriptions are not mistaken for ours.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.image import decode

KEY = "fastsynth"
_JPEG_LIMIT = 65000  # one APP1 segment holds 65533 bytes, the EXIF frame around the text included
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_ASCII = b"ASCII\0\0\0"

logger = logging.getLogger("fastsynth.image")


def to_json(metadata: dict[str, Any]) -> str:
    """JSON in ASCII, keys in their order. NumPy values become numbers and lists, paths strings.

    Raises ImageError for what JSON cannot say (other objects, NaN, infinity).

    >>> to_json({"seed": np.int64(3), "name": "Tübingen"})
    '{"seed": 3, "name": "T\\\\u00fcbingen"}'
    """
    check_metadata(metadata)
    try:
        return json.dumps(metadata, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ImageError(
            f"metadata cannot be written as JSON: {error}; expected finite numbers, strings, "
            "lists and dicts"
        ) from error


def check_metadata(metadata: object) -> None:
    """Raise ImageError for what is neither None nor a dict."""
    if metadata is not None and not isinstance(metadata, dict):
        raise ImageError(f"metadata is a {type(metadata).__name__}; expected a dict")


def to_exif(metadata: dict[str, Any], *, limit: int | None) -> bytes:
    """An EXIF block whose user comment holds the metadata, or the entries that fit `limit`.

    Entries that do not fit are left out, largest first, and named in the entry "omitted": a picture
    that took an hour is not lost to its own history.
    """
    from PIL import Image

    kept = dict(metadata)
    omitted: list[str] = []
    text = to_json({KEY: kept})
    while limit is not None and len(text) > limit:
        largest = max((k for k in kept if k != "omitted"), key=lambda k: len(to_json({k: kept[k]})))
        del kept[largest]
        omitted.append(largest)
        kept["omitted"] = omitted
        text = to_json({KEY: kept})
    if omitted:
        logger.warning(
            "JPEG holds %d bytes of metadata: left out %s; PNG, TIFF and WebP keep all",
            limit,
            ", ".join(omitted),
        )
    exif = Image.Exif()
    exif[_EXIF_IFD] = {_USER_COMMENT: _ASCII + text.encode("ascii")}
    return exif.tobytes()


def to_jpeg_exif(metadata: dict[str, Any]) -> bytes:
    """`to_exif` within the size of one JPEG segment."""
    return to_exif(metadata, limit=_JPEG_LIMIT)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The metadata that `save` wrote into a PNG, TIFF, JPEG or WebP file; None where there is none.

    Reads the header only, no pixels. Raises ImageError for what is no such picture or cannot be
    read.
    """
    source = Path(os.fspath(path))
    try:
        data = source.read_bytes()
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {str(source)!r}: {error}") from error
    try:
        return metadata_of_bytes(data)
    except ImageError as error:
        raise ImageError(f"{str(source)!r}: {error}") from error.__cause__


def metadata_of_bytes(data: bytes) -> dict[str, Any] | None:
    """As `read_metadata`, for the bytes of a file."""
    form = decode.sniff(data)
    if form == "TIFF":
        return _parsed(_loads(decode.tiff_description(data)))
    image = decode.open_header(form, data)
    if form == "PNG":
        text = image.info.get(KEY)
        return _parsed({KEY: _loads(text)}) if isinstance(text, str) else None
    try:
        comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    except (OSError, ValueError, SyntaxError, struct.error, KeyError, TypeError) as error:
        raise ImageError(f"its EXIF data is damaged: {error}") from error
    if isinstance(comment, str):
        comment = comment.encode("latin-1", "replace")
    if not isinstance(comment, bytes) or not comment.startswith(_ASCII):
        return None
    return _parsed(_loads(comment[len(_ASCII) :].decode("ascii", "replace")))


def _loads(text: object) -> object:
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # somebody else's description


def _parsed(document: object) -> dict[str, Any] | None:
    inner = document.get(KEY) if isinstance(document, dict) else None
    return inner if isinstance(inner, dict) else None


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
