"""What filters and geometry are checked against: float64 formulas in NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TOP = {"uint8": 255, "uint16": 65535, "float32": 1}
# SciPy's names of the borders.
SCIPY = {
    "reflect": "reflect",
    "mirror": "mirror",
    "replicate": "nearest",
    "wrap": "grid-wrap",
    "constant": "constant",
}
# NumPy's.
PAD: dict[str, Any] = {
    "reflect": "symmetric",
    "mirror": "reflect",
    "replicate": "edge",
    "wrap": "wrap",
    "constant": "constant",
}


def random_image(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[Any]:
    """Uniform over the whole range of the type."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.random(shape, dtype=np.float32)
    return rng.integers(0, TOP[dtype] + 1, shape, dtype)


def convolved(
    image: NDArray[Any], kernel: Any, border: str = "reflect", constant: float = 0
) -> NDArray[np.float64]:
    """Each channel in float64, neither rounded nor cut: by SciPy where the kernel fits the image.

    Where it does not, SciPy 1.17's "reflect" is not its own definition; then by `numpy.pad`.
    """
    taps = np.atleast_2d(np.asarray(kernel, np.float64))
    planes = image.astype(np.float64).reshape(*image.shape[:2], -1)
    if taps.shape[0] <= image.shape[0] and taps.shape[1] <= image.shape[1]:
        out = [
            ndimage.convolve(planes[..., c], taps, mode=SCIPY[border], cval=constant)
            for c in range(planes.shape[2])
        ]
        return np.stack(out, axis=-1).reshape(image.shape)
    height, width = taps.shape
    before = [(height - 1) // 2, (width - 1) // 2]
    pads = [(before[0], height - 1 - before[0]), (before[1], width - 1 - before[1]), (0, 0)]
    options = {"constant_values": constant} if border == "constant" else {}
    padded = np.pad(planes, pads, PAD[border], **options)
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps.shape, (0, 1))
    return np.einsum("yxcij,ij->yxc", windows, taps[::-1, ::-1]).reshape(image.shape)


def as_type(values: NDArray[np.floating], dtype: str) -> NDArray[np.float64]:
    """Rounded to the nearest and cut, as the results of that type are."""
    top = TOP[dtype]
    return np.clip(values if top == 1 else np.rint(values), 0, top)


def kernel_weight(kind: str, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Interpolation kernels: triangle, Keys' cubic with a = -1/2, Lanczos with 3 lobes."""
    x = np.abs(x)
    if kind == "bilinear":
        return np.maximum(0, 1 - x)
    if kind == "bicubic":
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0))
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)


def warped(
    image: NDArray[Any],
    inverse: NDArray[np.float64],
    size: tuple[int, int],
    *,
    kind: str,
    border: str,
    constant: float = 0,
    antialias: bool = True,
) -> NDArray[np.float64]:
    """The map, one pixel after another, straight from its definition. `inverse` (2, 3) takes
    points of the result to points of the image, both from the upper left corner."""
    radius = {"bilinear": 1, "bicubic": 2, "lanczos": 3}[kind]
    widths = np.maximum(1, np.hypot(inverse[:, 0], inverse[:, 1])) if antialias else np.ones(2)
    pad = int(radius * widths.max()) + 60
    planes = image.astype(np.float64).reshape(*image.shape[:2], -1)
    # A constant border: edges go on, and are mixed with the constant by the covered part.
    mode = "edge" if border == "constant" else PAD[border]
    padded = np.pad(planes, ((pad, pad), (pad, pad), (0, 0)), mode)
    ends = np.array([image.shape[1], image.shape[0]])
    width, height = size
    out = np.zeros((height, width, planes.shape[2]))
    for y in range(height):
        for x in range(width):
            px, py = inverse @ (x + 0.5, y + 0.5, 1) - 0.5
            columns = np.arange(int(px - radius * widths[0]) - 2, px + radius * widths[0] + 2)
            rows = np.arange(int(py - radius * widths[1]) - 2, py + radius * widths[1] + 2)
            wx = kernel_weight(kind, (columns - px) / widths[0])
            wy = kernel_weight(kind, (rows - py) / widths[1])
            window = padded[np.ix_(rows.astype(int) + pad, columns.astype(int) + pad)]
            out[y, x] = np.einsum("r,c,rck->k", wy / wy.sum(), wx / wx.sum(), window)
            if border == "constant":
                inner = np.minimum(np.array([px, py]) + 0.5, ends - 0.5 - np.array([px, py]))
                part = np.clip(inner / widths + 0.5, 0, 1).prod()
                out[y, x] = part * out[y, x] + (1 - part) * constant
    return out.reshape(height, width, *image.shape[2:])
