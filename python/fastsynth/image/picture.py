"""The picture that every stage works on, and what is remembered of how it came in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Container = Literal["path", "bytes", "file", "PIL", "ndarray"]
DTypeName = Literal["uint8", "uint16", "float32", "float64"]

MAX_PIXELS = 512_000_000
"""Largest picture that is decoded unless the caller allows more: 512 megapixels, 6 GB inside."""


@dataclass(frozen=True)
class Kind:
    """What came in, so that the result can go out as the same kind.

    - container: path | bytes | file | PIL | ndarray.
    - dtype: the precision of the source: uint8, uint16, float32 or float64.
    - channels: of the source: 1 grey, 2 grey with alpha, 3 colour, 4 colour with alpha.
    - mode: Pillow's name for the pixel form ("RGB", "CMYK", "I;16", ...); None for an ndarray.
    - format: of an encoded source ("JPEG", "PNG", ...), else None.
    - flat: a grey ndarray was (H, W), not (H, W, 1).

    >>> Kind("ndarray", "uint8", 3).grey
    False
    """

    container: Container
    dtype: DTypeName
    channels: int
    mode: str | None = None
    format: str | None = None
    flat: bool = False

    def __str__(self) -> str:
        return f"{('L', 'LA', 'RGB', 'RGBA')[self.channels - 1]} {self.dtype}"

    @property
    def bit_depth(self) -> Literal[8, 16]:
        """The depth of file that keeps what came in: 16 for uint16 and for float files, else 8."""
        deep = self.dtype == "uint16" or (self.dtype != "uint8" and self.format is not None)
        return 16 if deep else 8

    def as_array(self) -> Kind:
        """The same precision and channels, going out as an ndarray."""
        return replace(self, container="ndarray")

    def as_pil(self) -> Kind:
        """The same precision and channels, going out as a PIL image."""
        return replace(self, container="PIL")

    @property
    def grey(self) -> bool:
        """Whether the source had one colour channel."""
        return self.channels < 3

    @property
    def alpha(self) -> bool:
        """Whether the source had an alpha channel."""
        return self.channels in (2, 4)


DEFAULT_KIND = Kind("ndarray", "uint8", 3)
"""For results of which nothing came in: an (H, W, 3) uint8 array."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture: upright, in sRGB, planar.

    - pixels: (3, H, W) float32 sRGB in [0, 1], C-contiguous, read-only.
    - alpha: (H, W) float32 in [0, 1], 0 = transparent, not multiplied into the colour; or None.
    - kind: what came in.
    - sha256: of the file's bytes; for arrays and PIL images of dtype (or mode), shape and samples.
    - source: the path that it was read from, or None.
    - notes: what was done on the way in (orientation, colour profile, first frame, ...).

    Raises ImageError for arrays of another shape or type.

    >>> picture = Picture.of(np.zeros((3, 4, 5), np.float32))
    >>> picture.height, picture.width, picture.alpha is None
    (4, 5, True)
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    kind: Kind
    sha256: str
    source: Path | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _frozen(check_planar(self.pixels, channels=(3,))))
        if self.alpha is not None:
            object.__setattr__(
                self, "alpha", _frozen(check_alpha(self.alpha, (self.height, self.width)))
            )

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[2])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), the order of Pillow and of the keyword `size`."""
        return self.width, self.height

    def __repr__(self) -> str:
        return f"Picture {self.width}x{self.height} {self.kind}"

    def replace(self, pixels: NDArray[np.float32]) -> Picture:
        """The same picture (identity, alpha, kind) with other pixels, for instance recoloured ones.

        Raises ImageError where the alpha does not fit the new size.
        """
        return replace(self, pixels=pixels)

    @staticmethod
    def of(
        pixels: NDArray[np.float32],
        alpha: NDArray[np.float32] | None = None,
        *,
        kind: Kind | None = None,
    ) -> Picture:
        """Wrap planar pixels (3, H, W), for instance a result, as a Picture.

        `kind` defaults to a float32 array, (H, W, 3) or with alpha (H, W, 4).
        Raises ImageError as `Picture` does.
        """
        pixels = check_planar(pixels, channels=(3,))
        digest = sha256_of_array(pixels)
        default = Kind("ndarray", "float32", 3 if alpha is None else 4)
        return Picture(pixels, alpha, kind or default, digest)


def sha256_of_array(array: NDArray[np.generic], label: str | None = None) -> str:
    """SHA-256 over dtype (or `label`), shape and the samples in row order, as hexadecimal.

    Byte order and memory layout do not matter: equal values give equal digests.
    """
    import hashlib

    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    head = f"{label or little.dtype.str} {array.shape}\n"
    digest = hashlib.sha256(head.encode())
    digest.update(little.data if little.size else b"")
    return digest.hexdigest()


def check_planar(
    pixels: NDArray[np.float32], *, channels: tuple[int, ...], name: str = "pixels"
) -> NDArray[np.float32]:
    """Return `pixels` as C-contiguous float32 (C, H, W), or raise ImageError saying what it is."""
    wanted = " or ".join(str(c) for c in channels)
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind != "f":
        seen = getattr(pixels, "dtype", type(pixels).__name__)
        raise ImageError(f"{name} is {seen}; expected planar float32 ({wanted}, H, W) in [0, 1]")
    if pixels.ndim != 3 or pixels.shape[0] not in channels:
        raise ImageError(
            f"{name} has shape {pixels.shape}; expected planar ({wanted}, H, W). "
            "Load (H, W, C) arrays with fastsynth.image.load"
        )
    if 0 in pixels.shape:
        raise ImageError(f"{name} has shape {pixels.shape}, no pixels; expected H, W of at least 1")
    return np.ascontiguousarray(pixels, dtype=np.float32)


def check_alpha(
    alpha: NDArray[np.float32], height_width: tuple[int, int], *, name: str = "alpha"
) -> NDArray[np.float32]:
    """Return `alpha` as C-contiguous float32 (H, W), or raise ImageError saying what it is."""
    if not isinstance(alpha, np.ndarray) or alpha.dtype.kind != "f" or alpha.shape != height_width:
        seen = f"{getattr(alpha, 'dtype', type(alpha).__name__)} {getattr(alpha, 'shape', '')}"
        raise ImageError(f"{name} is {seen.strip()}; expected float32 (H, W) = {height_width}")
    return np.ascontiguousarray(alpha, dtype=np.float32)


def _frozen(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A read-only view, so that threads can share it; the caller's own array stays writable."""
    view: NDArray[np.float32] = array.view()
    view.setflags(write=False)
    return view
