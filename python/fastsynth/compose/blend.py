"""Layers over one another: the weighted mean (Eq. 2) and the blend modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastsynth import _core
from fastsynth.compose.checks import check_choice, check_fraction, check_sizes
from fastsynth.compose.images import Samples, pool, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray

__all__ = ["BLEND_MODES", "blend"]

BLEND_MODES: tuple[str, ...] = tuple(_core.blend_modes())
"""The blend modes of the W3C's specification by their names there, and "add" and "subtract"."""


def blend(
    a: ImageLike,
    b: ImageLike,
    alpha: float = 0.5,
    *,
    mask: ImageLike | None = None,
    mode: str = "normal",
    linear: bool = False,
    threads: int | None = None,
) -> ImageArray:
    """The layer `a` over the layer `b`: X' = α Xa + (1-α) Xb (Eq. 2), or through a blend mode.

        X' = (1 - w) Xb + w B(Xb, Xa),   w = alpha · mask

    With mode "normal", B(Xb, Xa) = Xa: this is Eq. 2 of Phon-Amnuaisuk, "Image Synthesis and Style
    Transfer", where the mask makes α a matter of the place. The other modes are those of the W3C,
    "Compositing and Blending Level 1" (section 10), with b as the backdrop: multiply, screen,
    overlay, darken, lighten, color-dodge, color-burn, hard-light, soft-light, difference,
    exclusion, hue, saturation, color, luminosity; and "add" = min(1, Xa + Xb), the sum, and
    "subtract" = max(0, Xa - Xb), the difference.

    a, b: images of one size. The result has the type of `a`, and is in colour where one of them is.
    alpha: weight of `a`, 0 to 1; default 0.5
    mask: an image of the same size, usually grey (H, W): white takes all of alpha, black nothing;
        of a colour image the luma. Truth values are taken too.
    linear: mix amounts of light instead of sRGB values: what a sum or difference means in physics.
        Slower. Default False
    threads: default all cores

    Where `a` has an alpha channel, that is one more mask. Where `b` has one, so has the result, and
    both meet as the W3C says (see `composite`). Integers are rounded to the nearest, exactly for
    the plain mean. Raises ImageError for sizes that differ, unknown modes, and an alpha that is out
    of range.

    >>> dark, light = np.full((1, 1), 10, np.uint8), np.full((1, 1), 200, np.uint8)
    >>> int(blend(dark, light, 0.25)[0, 0]), int(blend(dark, light, 1, mode="add")[0, 0])
    (153, 210)
    """
    check_choice("mode", mode, BLEND_MODES)
    top, bottom = read(a, name="a", checked=False), read(b, name="b", checked=False)
    weights = None if mask is None else read_mask(mask, threads)
    check_sizes(a=top.values, b=bottom.values, mask=None if weights is None else weights[0])
    weight = check_fraction("alpha", alpha)
    channels = 4 if bottom.alpha else min(3, max(top.channels, bottom.channels))
    values = compose_layers(
        {"a": top, "b": bottom},
        channels,
        Composition(weight, mode, "source-over", bool(linear)),
        None if weights is None else weights[0],
        threads,
    )
    step: dict[str, Any] = {"step": "blend", "b": origin(bottom), "alpha": weight, "mode": mode}
    if weights is not None:
        step["mask"] = weights[1]
    if linear:
        step["linear"] = True
    return top.result(values, step)


class Composition(NamedTuple):
    """How layers meet."""

    alpha: float
    mode: str
    operator: str
    linear: bool


def compose_layers(
    layers: Mapping[str, Samples],
    channels: int,
    how: Composition,
    weights: NDArray[np.float32] | None,
    threads: int | None,
) -> NDArray[Any]:
    """Source and backdrop, by what messages call them, as (H, W, channels) of the source's type.

    They may be read without a check: the core makes it while they are in its cache.
    """
    source, backdrop = layers.values()
    kind = source.values.dtype
    if backdrop.values.dtype != kind:
        for name, samples in layers.items():
            read(samples.values, name=name, threads=threads)
    try:
        return _core.compose(
            in_channels(source.values, channels),
            in_channels(as_type(backdrop.values, kind), channels),
            how.alpha,
            how.mode,
            how.operator,
            how.linear,
            channels,
            weights,
            pool(threads),
        )
    except ValueError:
        for name, samples in layers.items():
            read(samples.values, name=name, threads=threads)  # says which, and what is wrong
        raise


def origin(samples: Samples) -> Any:
    """Plain data that says what a further image of a step is, the steps that made it included."""
    if not samples.steps:
        return samples.origin
    arguments = {"image": samples.origin, "steps": [dict(step) for step in samples.steps]}
    return {"verb": "compose", "arguments": arguments}


def read_mask(mask: ImageLike, threads: int | None = None) -> tuple[NDArray[np.float32], Any]:
    """The weights of a mask, float32 (H, W) in [0, 1], and the record of what it is."""
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = mask.view(np.ndarray).astype(np.uint8) * np.uint8(255)
    samples = read(mask, name="mask", threads=threads)
    unit = as_type(samples.values, np.dtype(np.float32))
    if samples.channels == 1:
        weights = unit[..., 0]
    else:
        weights = unit[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        if samples.alpha:
            weights = weights * unit[..., 3]
    return np.ascontiguousarray(weights, np.float32), origin(samples)


def as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Samples as uint8, uint16 or float32: white stays white, integers are rounded."""
    if values.dtype == dtype:
        return values
    tops = {1: 255, 2: 65535, 4: 1}
    scale = tops[dtype.itemsize] / tops[values.dtype.itemsize]
    if dtype.kind == "f":
        unit: NDArray[Any] = np.multiply(values, np.float32(scale), dtype=np.float32)
        return unit
    scaled = np.multiply(values, scale, dtype=np.float64)
    whole: NDArray[Any] = np.rint(scaled.clip(0, tops[dtype.itemsize])).astype(dtype)
    return whole


def in_channels(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """Grey samples as three equal channels where the others are in colour."""
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 and channels == 3 else values
