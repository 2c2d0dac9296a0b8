"""Pictures in and out of the pixel functions: samples as they are, not by way of sRGB floats.

A pixel function reads with `read`, works on (H, W, C) samples, and ends with `Samples.result`:

    samples = read(image)
    out = ...samples.values...                       # the same dtype and channels; any size
    return samples.result(out, {"step": "invert"})
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.image import MAX_PIXELS, ImageArray, Picture, load, to_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike

__all__ = ["Samples", "pool", "read"]

MAX_THREADS = 4096


@dataclass(frozen=True, eq=False)
class Samples:
    """What a pixel function works on.

    - values: (H, W, C) plain ndarray, C-contiguous, C = 1, 3 or 4 (the last: alpha, not
      multiplied in); uint8, uint16 or float32. Not to be written to: it may be the caller's.
    - dtype: of the result, for float64 comes in as float32 and goes out as float64.
    - flat: (H, W) came in, without an axis for the channel.
    - origin: plain data that says what the image is, for the record.
    - steps: what pixel functions did to it before.
    """

    values: NDArray[Any]
    dtype: np.dtype[Any]
    flat: bool
    origin: Any
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    @property
    def channels(self) -> int:
        """1 grey, 3 colour, 4 colour with alpha."""
        return int(self.values.shape[2])

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels == 4

    @property
    def top(self) -> int:
        """The value of white: 255, 65535, or 1 for floats."""
        return {1: 255, 2: 65535}.get(self.values.dtype.itemsize, 1)

    def result(self, values: NDArray[Any], *steps: Mapping[str, Any]) -> ImageArray:
        """Samples (H, W, C) of any size as an image of the kind that came in, with its record.

        steps: what was done, each as plain data: {"step": "convolve", "kernel": ..., ...}.
        """
        if self.flat and values.shape[2] == 1:
            values = values.reshape(values.shape[:2])
        if values.dtype != self.dtype:
            values = values.astype(self.dtype)
        record = {
            "verb": "compose",
            "arguments": {"image": self.origin, "steps": [dict(s) for s in (*self.steps, *steps)]},
        }
        return ImageArray.of(values, record)


def read(
    image: ImageLike,
    *,
    name: str = "image",
    bounded: bool = True,
    checked: bool = True,
    threads: int | None = None,
) -> Samples:
    """The samples of whatever holds a picture.

    An ndarray (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16, float32 or float64 is
    taken as it is (float64 as float32). Anything else is loaded by `fastsynth.image.load`: its
    samples are uint8, uint16 or float32, as the source has them, (H, W) for grey.

    name: how messages call it.
    bounded: floats must lie in [0, 1]; False allows any finite ones, as responses of filters are.
    checked: False leaves the check of floats to whoever reads them.
    threads: of the check of floats.
    Raises ImageError for what is no picture, NaN, infinities and values out of range.

    >>> read(np.zeros((2, 5), np.uint16)).values.shape
    (2, 5, 1)
    """
    if isinstance(image, np.ndarray):
        samples = _from_array(image, name)
        if checked and samples.values.dtype.kind == "f":
            _check_floats(samples.values, name, bounded, threads)
        return samples
    return _from_picture(load(image, name=name))


def pool(threads: int | None = None) -> _core.ThreadPool:
    """The threads of pixel functions: all cores that this process may use, or as many as asked for.

    One pool per number of threads and process, made when first asked for. Raises ImageError unless
    threads is None or 1 to 4096.
    """
    whole = isinstance(threads, (int, np.integer)) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MAX_THREADS):
        raise ImageError(
            f"threads is {threads!r}; expected 1 to {MAX_THREADS}, or None for all cores"
        )
    return _core.shared_pool(int(threads or 0))


def _from_array(array: NDArray[Any], name: str) -> Samples:
    known = array.dtype.newbyteorder("=") in (np.uint8, np.uint16, np.float32, np.float64)
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not known or not shaped or array.size == 0:
        load(array, name=name)  # says what is wrong
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"{name} has shape {array.shape}; expected at most {MAX_PIXELS} pixels")
    dtype = array.dtype.newbyteorder("=")
    inside = np.dtype(np.float32) if dtype.kind == "f" else dtype
    with np.errstate(over="ignore"):  # float64 beyond float32: infinite, refused below
        values = np.ascontiguousarray(array.view(np.ndarray), inside)
    values = values.reshape(*array.shape[:2], -1)
    steps: tuple[Mapping[str, Any], ...] = ()
    origin: Any = {"array": list(array.shape), "dtype": dtype.name}
    record = array.provenance if isinstance(array, ImageArray) else None
    if record is not None and record.get("verb") == "compose":
        origin, steps = record["arguments"]["image"], tuple(record["arguments"]["steps"])
    elif record is not None:
        origin = record
    return Samples(values, dtype, array.ndim == 2, origin, steps)


def _from_picture(picture: Picture) -> Samples:
    kind = picture.kind
    dtype = "float32" if kind.dtype == "float64" else kind.dtype
    channels = 4 if picture.alpha is not None else 1 if kind.grey else 3
    values = to_array(picture.pixels, picture.alpha, dtype=dtype, channels=channels)
    source = None if picture.source is None else os.fspath(picture.source)
    origin = {"path": source, "sha256": picture.sha256}
    flat = channels == 1 and (kind.flat or kind.container != "ndarray")
    return Samples(values, np.dtype(dtype), flat, origin)


def _check_floats(
    values: NDArray[np.float32], name: str, bounded: bool, threads: int | None
) -> None:
    low, high = _core.value_range(values, pool(threads))
    if not np.isfinite(low + high):  # NaN if any is NaN
        bad = values.size - int(np.isfinite(values).sum())
        raise ImageError(
            f"{bad} of the {values.size} values of {name} are NaN or infinite; "
            "expected finite numbers"
        )
    slack = 1e-6  # as `load` allows: rounding in somebody's own arithmetic
    if bounded and (low < -slack or high > 1 + slack):
        hint = "divide by 255" if 1.5 < high <= 255 and low >= 0 else "scale or clip them"
        raise ImageError(
            f"the values of {name} run from {low:.6g} to {high:.6g}; expected [0, 1]: {hint}"
        )
