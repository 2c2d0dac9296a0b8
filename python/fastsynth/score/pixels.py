"""What the measures share: SciPy, planes, pyramids, quantiles, directions, visible rectangles."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastsynth._errors import FastsynthError, ImageError
from fastsynth.image import Picture, load, opaque_rectangle

if TYPE_CHECKING:
    from fastsynth._types import ImageLike

__all__ = [
    "MINIMUM",
    "Planes",
    "Settings",
    "directions",
    "load_visible",
    "patches_at",
    "places",
    "pyramid",
    "quantiles",
    "scipy_module",
    "visible_rectangle",
]

Planes: TypeAlias = NDArray[np.float32]  # (3, H, W) in [0, 1]

MINIMUM = 64  # px of the shorter side: halves of it still have two levels and some long lags
QUANTILES = 512  # of a distribution, at (i + 1/2) / 512


def scipy_module(name: str) -> Any:
    """The module scipy.NAME. Raises FastsynthError, naming the extra, where SciPy is missing."""
    try:
        return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise FastsynthError(
            f"scores need SciPy, which cannot be imported ({error}); install it with "
            "`pip install fastsynth[score]`"
        ) from error


@dataclass(frozen=True)
class Settings:
    """What must be the same for all pictures that are compared: it follows from the smallest.

    levels: of the Gaussian pyramids; the coarsest has at least 16 px
    window: side of the windows of the power spectrum, a power of two
    """

    levels: int
    window: int

    @staticmethod
    def of(least: int) -> Settings:
        """For pictures whose smallest side is `least` pixels.

        >>> Settings.of(32), Settings.of(200)
        (Settings(levels=2, window=32), Settings(levels=4, window=128))
        """
        power = least.bit_length() - 1
        return Settings(levels=max(1, min(4, power - 3)), window=min(128, 1 << power))


def load_visible(source: ImageLike, name: str, least: int = MINIMUM) -> Planes:
    """The pixels of a picture, cut to its largest opaque rectangle where it has transparent places.

    Raises ImageError for unusable pictures, and where less than least × least pixels are left.
    """
    picture = load(source, name=name)
    rows, columns = visible_rectangle(picture, name, least)
    return np.ascontiguousarray(picture.pixels[:, rows, columns])


def visible_rectangle(picture: Picture, name: str, least: int) -> tuple[slice, slice]:
    """Rows and columns of the largest opaque rectangle; all if opaque.

    Raises ImageError where less than least × least pixels are left.
    """
    height, width = picture.pixels.shape[1:]
    if min(height, width) < least:
        raise ImageError(
            f"the {name} has {width} × {height} pixels; a score needs at least {least} × {least}"
        )
    top, bottom, left, right = opaque_rectangle(picture)
    if min(bottom - top, right - left) < least:
        raise ImageError(
            f"the largest opaque rectangle of the {name} has {right - left} × {bottom - top} "
            f"pixels; a score needs at least {least} × {least}: crop it, or fill the transparent "
            "places"
        )
    return slice(top, bottom), slice(left, right)


def pyramid(planes: NDArray[np.float32], levels: int) -> list[NDArray[np.float32]]:
    """Gaussian pyramid of planes (C, H, W): each level is blurred (σ = 1 px), then halved."""
    ndimage = scipy_module("ndimage")
    found = [planes]
    for _ in range(levels - 1):
        smooth = ndimage.gaussian_filter(found[-1], (0, 1, 1), mode="reflect", truncate=3.0)
        found.append(smooth[:, ::2, ::2])
    return found


def quantiles(samples: NDArray[Any]) -> NDArray[np.float64]:
    """512 quantiles of each row of samples (rows, n), at (i + 1/2) / 512, linearly interpolated.

    The mean distance of two such rows is the Wasserstein distance W1 of the distributions.

    >>> quantiles(np.array([[3.0, 1.0]]))[0, [0, -1]].tolist()
    [1.0, 3.0]
    """
    ordered = np.sort(samples, axis=-1)
    count = ordered.shape[-1]
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES * count - 0.5
    low = np.clip(np.floor(places).astype(np.int64), 0, count - 1)
    high = np.minimum(low + 1, count - 1)
    share = np.clip(places - low, 0, 1)
    return np.asarray((1 - share) * ordered[..., low] + share * ordered[..., high], np.float64)


def directions(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """Unit vectors (count, dimensions), uniform on the sphere, the same with every NumPy.

    From the bit stream of PCG64 by Box and Muller's transform, since the distributions of NumPy's
    generators may change.

    >>> bool(np.allclose(np.linalg.norm(directions(5, 7, seed=0), axis=1), 1))
    True
    """
    total = count * dimensions
    raw = np.asarray(np.random.PCG64(seed).random_raw(2 * total))
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    normal = np.sqrt(-2 * np.log(uniform[:total])) * np.cos(2 * np.pi * uniform[total:])
    vectors = normal.reshape(count, dimensions)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def places(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` different numbers below `count`, in order, drawn evenly from a seed."""
    if count <= most:
        return np.arange(count)
    keys = np.asarray(np.random.PCG64(seed).random_raw(count))
    return np.sort(np.argpartition(keys, most)[:most])


def patches_at(
    planes: NDArray[np.float32], keys: NDArray[np.int64], side: int
) -> NDArray[np.float32]:
    """Patches (keys, C side²) of planes (C, H, W); keys number their corners row by row."""
    windows = np.lib.stride_tricks.sliding_window_view(planes, (side, side), axis=(1, 2))
    columns = windows.shape[2]
    chosen = windows[:, keys // columns, keys % columns]  # (C, keys, side, side)
    return np.ascontiguousarray(chosen.transpose(1, 0, 2, 3)).reshape(len(keys), -1)
