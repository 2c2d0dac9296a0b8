"""Colour profiles: anything with an ICC profile becomes sRGB.

RGB and grey profiles that are a curve and a matrix (ICC.1:2022, 8.3.2 and 8.4.2 "three-component
matrix-based" and "monochrome": Adobe RGB, Display P3, ProPhoto, scanner and camera profiles) are
evaluated here in floating point, so that 16 bits stay 16 bits:

    linear = curve(device),   XYZ_D50 = M linear,   sRGB = encode(M_sRGB^-1 XYZ_D50), clipped to [0,
    1]

which is LittleCMS's relative colorimetric intent. Profiles with look-up tables, and CMYK, go
through LittleCMS (Pillow's ImageCms) at its 8 bits.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth.image.color import linear_to_srgb

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

Curve = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]

# Columns: the sRGB primaries adapted to D50 (Bradford), as published in the ICC's own sRGB profile.
SRGB_TO_XYZ_D50 = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
_RUNAWAY = 1e6  # curves lead from [0, 1] to [0, 1]
_SAME_AS_SRGB = 0.5 / 255  # a profile this near to sRGB everywhere leaves the samples untouched


class ProfileError(ValueError):
    """A profile that is damaged or that does not belong to this picture; the caller notes it."""


@dataclass(frozen=True)
class MatrixProfile:
    """Curves and matrix. `matrix` (3, 3) maps linear device RGB to XYZ D50; None for grey."""

    curves: tuple[Curve, ...]
    matrix: NDArray[np.float64] | None
    name: str

    def to_srgb(self, samples: NDArray[np.generic]) -> NDArray[np.float32]:
        """Planar (C, H, W) uint8, uint16 or float samples to planar sRGB float32 in [0, 1]."""
        linear = np.stack([_apply(c, p) for c, p in zip(self.curves, samples, strict=True)])
        if self.matrix is not None:
            to_linear = (np.linalg.inv(SRGB_TO_XYZ_D50) @ self.matrix).astype(np.float32)
            linear = (to_linear @ linear.reshape(3, -1)).reshape(linear.shape)
        np.clip(linear, 0, 1, out=linear)
        return np.asarray(linear_to_srgb(linear), np.float32)

    def is_srgb(self) -> bool:
        """Whether the conversion would move no colour by half an 8-bit step."""
        axis = np.linspace(0, 1, 9, dtype=np.float32)
        if self.matrix is None:
            grid = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16)
        else:
            grid = np.stack(np.meshgrid(axis, axis, axis)).reshape(3, 9, 81)
        return bool(np.abs(self.to_srgb(grid) - grid).max() < _SAME_AS_SRGB)


def space(profile: bytes) -> str:
    """The device colour space that the profile declares: "RGB", "GRAY", "CMYK", "Lab", ..."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ProfileError("it is not an ICC profile")
    return profile[16:20].decode("ascii", "replace").strip()


def parse_matrix(profile: bytes) -> MatrixProfile | None:
    """Curves and matrix of an RGB or grey profile; None where it has look-up tables instead.

    Raises ProfileError where the bytes make no sense.
    """
    device = space(profile)
    tags = _tags(profile)
    if "A2B0" in tags or profile[20:24] != b"XYZ " or device not in ("RGB", "GRAY"):
        return None
    name = device
    if device == "GRAY":
        return MatrixProfile((_curve(tags, "kTRC"),), None, name) if "kTRC" in tags else None
    if not {"rTRC", "gTRC", "bTRC", "rXYZ", "gXYZ", "bXYZ"} <= tags.keys():
        return None
    matrix = np.stack([_xyz(tags, f"{c}XYZ") for c in "rgb"], axis=1)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise ProfileError("its primaries are not three different colours")
    return MatrixProfile(tuple(_curve(tags, f"{c}TRC") for c in "rgb"), matrix, name)


def description(profile: bytes) -> str:
    """The profile's own name, for messages."""
    from PIL import ImageCms

    try:
        return ImageCms.getProfileName(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ImageCms.PyCMSError):
        return "unnamed"


def convert_by_lcms(image: Image.Image, profile: bytes) -> Image.Image:
    """An 8-bit PIL image with a profile to "RGB" in sRGB, by LittleCMS.

    Relative colorimetric with black point compensation.

    Raises ProfileError where LittleCMS refuses the pair.
    """
    from PIL import ImageCms

    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError, ValueError) as error:
        raise ProfileError(str(error)) from error
    if converted is None:  # cannot be: only inPlace=True returns None
        raise ProfileError("LittleCMS returned no image")
    return converted


def convert_lab(image: Image.Image) -> Image.Image:
    """A PIL image of mode LAB (D50) to "RGB" in sRGB."""
    from PIL import ImageCms

    try:
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(
            image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (OSError, ImageCms.PyCMSError, ValueError) as error:
        raise ProfileError(str(error)) from error
    if converted is None:
        raise ProfileError("LittleCMS returned no image")
    return converted


@functools.lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The sRGB profile that is embedded in what is written; the same bytes every time.

    LittleCMS stamps the time of creation into the header (ICC.1:2022, 7.2.1, bytes 24-35): it is
    fixed here.
    """
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    made[84:100] = bytes(16)  # the profile ID is a digest of the rest: 0 = not computed
    return bytes(made)


def _tags(profile: bytes) -> dict[str, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200 or len(profile) < 132 + 12 * count:
        raise ProfileError(f"its table declares {count} tags in {len(profile)} bytes")
    tags = {}
    for index in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if offset + size > len(profile):
            raise ProfileError(f"its tag {name!r} ends after the end of the profile")
        tags[name.decode("ascii", "replace")] = profile[offset : offset + size]
    return tags


def _xyz(tags: dict[str, bytes], name: str) -> NDArray[np.float64]:
    tag = tags[name]
    if tag[:4] != b"XYZ " or len(tag) < 20:
        raise ProfileError(f"its tag {name} is not a colour")
    return np.array(struct.unpack_from(">3i", tag, 8), np.float64) / 65536  # s15Fixed16


def _curve(tags: dict[str, bytes], name: str) -> Curve:
    tag = tags[name]
    try:
        if tag[:4] == b"curv":
            return _sampled_curve(tag)
        if tag[:4] == b"para":
            return _parametric_curve(tag)
    except struct.error as error:
        raise ProfileError(f"its curve {name} ends early") from error
    raise ProfileError(f"its curve {name} is of unknown type {tag[:4]!r}")


def _sampled_curve(tag: bytes) -> Curve:
    """curveType (ICC.1:2022, 10.6): identity, a gamma, or samples over [0, 1]."""
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return lambda x: x
    if count == 1:
        gamma = struct.unpack_from(">H", tag, 12)[0] / 256
        return lambda x: x**gamma
    if len(tag) < 12 + 2 * count:
        raise ProfileError(f"its curve declares {count} samples in {len(tag)} bytes")
    values = np.frombuffer(tag, ">u2", count, 12).astype(np.float64) / 65535
    places = np.linspace(0, 1, count)
    return lambda x: np.interp(x, places, values)


def _parametric_curve(tag: bytes) -> Curve:
    """parametricCurveType (ICC.1:2022, 10.18): Y = (aX + b)^g + e from X = d on, cX + f below.

    The five function types give 1, 3, 4, 5 and 7 of the parameters g a b c d e f; in types 1 and 2
    the border is at X = -b/a, and in type 2 the constant c is added on both sides.
    """
    (function,) = struct.unpack_from(">H", tag, 8)
    if function > 4:
        raise ProfileError(f"its curve has unknown function type {function}")
    count = (1, 3, 4, 5, 7)[function]
    given = [v / 65536 for v in struct.unpack_from(f">{count}i", tag, 12)]
    g, a, b, c, d, e, f = given + [0.0] * (7 - count)
    if function == 0:
        a, d = 1.0, 0.0
    elif function in (1, 2):
        if a == 0:
            raise ProfileError("its curve has a = 0")
        d, e, f, c = -b / a, c, c, 0.0

    def curve(x: NDArray[np.float64]) -> NDArray[np.float64]:
        power = np.maximum(a * x + b, 0.0) ** g + e
        return np.asarray(np.where(x >= d, power, c * x + f))

    return curve


def _apply(curve: Curve, plane: NDArray[Any]) -> NDArray[np.float32]:
    """A curve of every sample: by a table for integers (exact, fast), directly for floats.

    Raises ProfileError for a curve that runs away, as damaged parameters make it.
    """
    integers = plane.dtype.kind == "u"
    if integers:
        levels = 256 if plane.dtype.itemsize == 1 else 65536
        places = np.arange(levels) / (levels - 1)
    else:
        places = np.clip(plane.astype(np.float64), 0, 1)
    with np.errstate(all="ignore"):
        values = curve(places)
        if not (np.abs(values) <= _RUNAWAY).all():  # NaN is not, either
            raise ProfileError("its curves lead to infinite values")
    found = values.astype(np.float32)
    return np.asarray(found[plane] if integers else found)
