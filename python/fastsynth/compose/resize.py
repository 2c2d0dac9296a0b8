"""Another size, as a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth.compose.blend import as_type
from fastsynth.compose.checks import check_choice
from fastsynth.compose.images import read
from fastsynth.image import fit_size
from fastsynth.image import resize as resize_planes

if TYPE_CHECKING:
    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.image.resample import ResizeMethod, Size

__all__ = ["resize"]


def resize(image: ImageLike, size: Size, method: ResizeMethod = "lanczos") -> ImageArray:
    """The image in another size, antialiased; colours are weighed by their alpha.

    size: the longest side, or (width, height), or "WIDTHxHEIGHT"
    method: "lanczos" (default), "bicubic", "bilinear" or "area"
    Raises ImageError for sizes that are none, and for other methods.

    >>> resize(np.zeros((40, 80, 3), np.uint8), 20).shape
    (10, 20, 3)
    """
    check_choice("method", method, ("lanczos", "bicubic", "bilinear", "area"))
    samples = read(image)
    height, width = fit_size(size, (samples.height, samples.width))
    planes = as_type(samples.values, np.dtype(np.float32)).transpose(2, 0, 1)
    if samples.alpha:
        alpha = resize_planes(planes[3], (height, width), method, clip=True)
        weighed = resize_planes(planes[:3] * planes[3], (height, width), method)
        color = np.divide(weighed, alpha, out=np.zeros_like(weighed), where=alpha > 0)
        resized = np.concatenate([color, alpha[None]])
    else:
        resized = resize_planes(planes, (height, width), method)
    values = np.ascontiguousarray(resized.transpose(1, 2, 0).clip(0, 1))
    step = {"step": "resize", "size": [width, height], "method": method}
    return samples.result(as_type(values, samples.values.dtype), step)
