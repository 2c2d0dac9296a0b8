"""The images of an analogy, as its search compares them: guides, colours, masks, small sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from fastsynth._errors import ImageError, ObjectiveError
from fastsynth.image import join_luminance, luminance, resize, split_luminance
from fastsynth.synthesize.analogy_levels import Problem, pyramid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.image import Picture

    Planes = NDArray[np.float32]
    Mask = NDArray[np.bool_]

T = TypeVar("T", bound=np.generic)

__all__ = ["PRESETS", "Preset", "pose", "usable_levels"]

# Where A is not given and an artistic filter is to be learnt, A is A' without its strokes: smoothed
# by a Gaussian of this standard deviation, a share of the longer side (2 px of 512). B is smoothed
# in the same way before it is compared.
SMOOTHING = 2 / 512


@dataclass(frozen=True)
class Preset:
    """What a kind of analogy compares, and how.

    guide: channels of A and B that are compared: "luminance", "rgb" or None
    remap: fit mean and deviation of A's luminance to B's
    color: whose colours B' has, "b" or "a_prime"; with "b" only the luminance of A' is used
    weight, kappa, uniformity, patch: see `image_analogy`
    """

    guide: Literal["luminance", "rgb"] | None
    remap: bool
    color: Literal["b", "a_prime"]
    weight: float
    kappa: float
    uniformity: float
    patch: int = 5


PRESETS = {
    "artistic": Preset("luminance", True, "b", 5.0, 1.0, 0.3),
    "numbers": Preset("rgb", False, "a_prime", 5.0, 1.0, 0.1, patch=7),
    "superres": Preset("luminance", False, "b", 20.0, 0.2, 0.0),
    "texture": Preset(None, False, "a_prime", 0.0, 1.0, 0.1, patch=7),
    "transfer": Preset("luminance", True, "a_prime", 2.0, 1.0, 0.1),
}


def pose(
    chosen: Preset,
    pictures: tuple[Picture | None, Picture, Picture | None],
    size: tuple[int, int],
    masks: tuple[Mask | None, Planes | None],
    patch: int,
    *,
    preset: str,
) -> Problem:
    """The problem that the pictures A, A', B pose, for B' of a size (height, width).

    masks: allowed pixels of A', and region of B as 0 or 1. Images smaller than a patch are
    continued by their last rows and columns.
    Raises ObjectiveError where A cannot be made from A'.
    """
    first, prime, target = pictures
    after = padded(prime.pixels, patch)
    b = None if target is None else padded(resize(target.pixels, size, clip=True), patch)
    if first is not None:
        before = padded(first.pixels, patch)
    elif preset == "superres" and target is not None:
        before = padded(at_resolution(prime.pixels, (target.height, target.width), size), patch)
    else:
        before = after
    deviation = SMOOTHING if first is None and preset == "artistic" else 0.0
    gain, offset = (1.0, 0.0)
    if b is None or chosen.guide is None:
        shape = b.shape[1:] if b is not None else tuple(max(side, patch) for side in size)
        guides = (np.zeros((0, *after.shape[1:]), np.float32), np.zeros((0, *shape), np.float32))
    elif chosen.guide == "rgb":
        guides = (before, b)
    else:
        source = smooth(luminance(before), deviation)
        aim = smooth(luminance(b), deviation)
        if chosen.remap:
            gain, offset = remapping(source, aim)
        guides = (affine(source, gain, offset)[None], aim[None])

    allowed, region = masks
    inside = None
    if region is not None:
        inside = padded(resize(region, size, "area")[None], patch)[0] >= 0.5
    chroma = base = None
    if chosen.color == "b" and b is not None:
        payload = affine(luminance(after), gain, offset)[None]
        known: Planes | None = luminance(b)[None]
        chroma = split_luminance(b)[1]
        if preset == "superres":
            # What is taken from A' is the detail that A has lost; the rest of it is in B already.
            payload = affine(luminance(after) - luminance(before), gain, 0.0)[None]
            base, known = known, np.zeros_like(known)
    else:
        payload, known = after, b
    return Problem(
        source_guide=guides[0],
        source_prime=payload,
        target_guide=guides[1],
        payload=payload,
        show=shower(chroma, base, b, inside),
        allowed=None if allowed is None else padded(allowed[None], patch)[0],
        region=inside,
        known=None if inside is None else known,
    )


def shower(
    chroma: Planes | None, base: Planes | None, b: Planes | None, inside: Mask | None
) -> Callable[[Planes], Planes]:
    """Makes a picture of voted planes at any level: on a base, with B's colours, with B outside."""

    def show(planes: Planes) -> Planes:
        size = (planes.shape[1], planes.shape[2])
        shown = planes
        if chroma is not None:
            luma = planes[0] if base is None else planes[0] + resize(base[0], size, "area")
            shown = join_luminance(luma, resize(chroma, size, "area"))
        if inside is not None and b is not None:
            made = resize(inside.astype(np.float32), size, "area") >= 0.5
            shown = np.where(made, shown, resize(b, size, "area"))
        return shown

    return show


def padded(planes: NDArray[T], patch: int) -> NDArray[T]:
    """Planes of at least patch × patch pixels: the last row and column are repeated.

    >>> padded(np.zeros((3, 1, 9)), 5).shape
    (3, 5, 9)
    """
    missing = [(0, 0)] + [(0, max(0, patch - side)) for side in planes.shape[1:]]
    return np.pad(planes, missing, mode="edge") if any(m[1] for m in missing) else planes


def at_resolution(planes: Planes, low: tuple[int, int], high: tuple[int, int]) -> Planes:
    """A' as blurred as B is once it is enlarged from `low` to `high`, both (height, width)."""
    factor = min(high[0] / low[0], high[1] / low[1])
    if factor <= 1:
        raise ObjectiveError(
            f"superres to {high[1]} × {high[0]} pixels does not enlarge b, which has "
            f"{low[1]} × {low[0]}; give a larger size, or a"
        )
    height, width = planes.shape[1:]
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    return resize(resize(planes, small), (height, width), clip=True)


def remapping(source: Planes, target: Planes) -> tuple[float, float]:
    """Gain and offset that give `source` the mean and deviation of `target` (paper, section 3.4).

    A flat source, which has no deviation to scale, is only shifted.
    """
    deviation = float(source.std(dtype=np.float64))
    gain = float(target.std(dtype=np.float64)) / deviation if deviation > 1e-4 else 1.0
    return gain, float(target.mean(dtype=np.float64) - gain * source.mean(dtype=np.float64))


def affine(plane: Planes, gain: float, offset: float) -> Planes:
    """gain · plane + offset in float32."""
    return np.asarray(np.float32(gain) * plane + np.float32(offset), np.float32)


def smooth(plane: Planes, share: float) -> Planes:
    """A plane (H, W) under a Gaussian whose deviation is a share of the longer side; reflected.

    >>> smooth(np.ones((4, 3), np.float32), 0.5).round(5).tolist()[0]
    [1.0, 1.0, 1.0]
    """
    deviation = share * max(plane.shape)
    if deviation < 0.2:
        return plane
    reach = math.ceil(3 * deviation)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (reach, reach)
        wide = np.pad(plane.astype(np.float64), width, mode="symmetric")
        side = plane.shape[axis]
        total = np.zeros(plane.shape)
        for start, tap in enumerate(taps):
            total += tap * (
                wide[start : start + side] if axis == 0 else wide[:, start : start + side]
            )
        plane = total.astype(np.float32)
    return plane


def usable_levels(allowed: Mask | None, count: int, patch: int) -> int:
    """Number of levels, from the finest on, at which a patch finds room in the allowed region.

    Raises ImageError where none does at the finest.
    """
    if allowed is None:
        return count
    for level, plane in enumerate(pyramid(allowed[None].astype(np.float32), count)):
        sums = np.pad((plane[0] < 1 - 1e-6).astype(np.int64), ((1, 0), (1, 0)))
        sums = sums.cumsum(0).cumsum(1)
        closed = sums[patch:, patch:] - sums[:-patch, patch:]
        closed -= sums[patch:, :-patch] - sums[:-patch, :-patch]
        if not (closed == 0).any():
            if level == 0:
                raise ImageError(
                    f"the white part of the source mask holds no patch of {patch} × {patch} "
                    "pixels; widen it, or give a smaller patch"
                )
            return level
    return count
