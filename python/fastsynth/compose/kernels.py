"""The classic convolution kernels, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ImageError
from fastsynth.compose.checks import check_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KERNELS", "kernel"]

MAX_SIDE = 4096


def kernel(name: str, **parameters: float) -> NDArray[np.float64]:
    """A classic kernel as a float64 array (height, width), for `convolve`.

    | name | parameters and defaults | what it does |
    |---|---|---|
    | identity | | nothing |
    | blur | | binomial 3 × 3: 1 2 1 ⊗ 1 2 1 / 16 |
    | box | size=3 | mean of size × size pixels |
    | gaussian | sigma=1, size=None | exp(-r² / 2σ²), to 4σ or size × size, sum 1 |
    | disk | radius=3 | mean over a disc: a lens out of focus |
    | motion | length=9, angle=0 | mean along a line, angle in degrees against the clock |
    | sharpen | amount=1 | adds the difference from the 4 neighbours |
    | unsharp | sigma=1, amount=1 | adds the difference from the Gaussian blur |
    | emboss | | relief lit from the upper left, around the picture itself |
    | edge | | difference from the 8 neighbours |
    | sobel_x, sobel_y | | derivative 1 0 -1 ⊗ smoothing 1 2 1 |
    | scharr_x, scharr_y | | derivative ⊗ smoothing 3 10 3 |
    | prewitt_x, prewitt_y | | derivative ⊗ smoothing 1 1 1 |
    | laplacian | diagonal=0 | second derivative, 4 neighbours; diagonal=1: 8 |
    | log | sigma=1 | Laplacian of a Gaussian, sum 0 |

    Convolution flips kernels: the derivatives are written so that convolving gives positive values
    where it grows brighter to the right (x) or downwards (y). Smoothing kernels sum to 1, the
    derivatives, edge, laplacian and log to 0.

    Raises ImageError for an unknown name or parameter, or one out of range.

    >>> kernel("sobel_x").tolist()
    [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]
    >>> kernel("gaussian", sigma=2.0).shape
    (17, 17)
    """
    maker = KERNELS.get(name) if isinstance(name, str) else None
    if maker is None:
        raise ImageError(f"kernel is {name!r}; expected one of {', '.join(KERNELS)}")
    known = maker.__kwdefaults__ or {}
    for key, value in parameters.items():
        if key not in known:
            expected = ", ".join(known) or "no parameters"
            raise ImageError(f"kernel {name} has no parameter {key!r}; expected {expected}")
        if value is not None or known[key] is not None:
            check_number(f"{key} of kernel {name}", value)
    result = np.asarray(maker(**parameters), np.float64)
    result.setflags(write=True)
    return result


def _positive(value: float, what: str, limit: float = MAX_SIDE) -> float:
    """A length in pixels. Beneath a hundredth of one the kernels would be single points."""
    if not 0.01 <= value <= limit:
        raise ImageError(f"{what} is {value!r}; expected 0.01 to {limit:g} pixels")
    return float(value)


def _whole(value: float, what: str) -> int:
    if value != int(value) or not 1 <= value <= MAX_SIDE:
        raise ImageError(f"{what} is {value!r}; expected a whole number from 1 to {MAX_SIDE}")
    return int(value)


def _gaussian(*, sigma: float = 1.0, size: float | None = None) -> Any:
    sigma = _positive(sigma, "sigma", MAX_SIDE / 16)
    side = 2 * math.ceil(4 * sigma) + 1 if size is None else _whole(size, "size")
    x = np.arange(side) - (side - 1) / 2
    row = np.exp((x**2).min() / (2 * sigma**2) - x**2 / (2 * sigma**2))
    row /= row.sum()
    return np.outer(row, row)


def _box(*, size: float = 3) -> Any:
    side = _whole(size, "size")
    return np.full((side, side), 1 / side**2)


def _disk(*, radius: float = 3.0) -> Any:
    """Each pixel's share of the disc, by 16 × 16 points."""
    radius = _positive(radius, "radius", 256)
    reach = math.ceil(radius - 0.5)
    points = (np.arange((2 * reach + 1) * 16) + 0.5) / 16 - (reach + 0.5)
    inside = points[:, None] ** 2 + points**2 <= radius**2
    share = inside.reshape(2 * reach + 1, 16, 2 * reach + 1, 16).mean(axis=(1, 3))
    total = share.sum()  # none of the points is in the smallest discs
    return share / total if total else np.ones((1, 1))


def _motion(*, length: float = 9.0, angle: float = 0.0) -> Any:
    """Each pixel's share of a rectangle, length × 1, by 16 × 16 points a pixel."""
    length = _positive(length, "length", 1024)
    turn = math.radians(angle)
    count = math.ceil(length * 16)
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    across = ((np.arange(16) + 0.5) / 16 - 0.5)[:, None]
    column = np.rint(along * math.cos(turn) - across * math.sin(turn)).astype(int)
    row = np.rint(-along * math.sin(turn) - across * math.cos(turn)).astype(int)
    reach_y, reach_x = int(np.abs(row).max()), int(np.abs(column).max())
    result = np.zeros((2 * reach_y + 1, 2 * reach_x + 1))
    np.add.at(result, (row + reach_y, column + reach_x), 1)
    return result / result.sum()


def _sharpen(*, amount: float = 1.0) -> Any:
    a = float(amount)
    return [[0, -a, 0], [-a, 1 + 4 * a, -a], [0, -a, 0]]


def _unsharp(*, sigma: float = 1.0, amount: float = 1.0) -> Any:
    result = -amount * _gaussian(sigma=sigma)
    result[len(result) // 2, len(result) // 2] += 1 + amount
    return result


def _laplacian(*, diagonal: float = 0) -> Any:
    if diagonal not in (0, 1):
        raise ImageError(f"diagonal is {diagonal!r}; expected 0 or 1")
    return [[1, 1, 1], [1, -8, 1], [1, 1, 1]] if diagonal else [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def _log(*, sigma: float = 1.0) -> Any:
    """(r² - 2σ²) / σ⁴ · exp(-r² / 2σ²) / 2πσ², less its mean: the sum is 0."""
    sigma = _positive(sigma, "sigma", MAX_SIDE / 16)
    reach = math.ceil(4 * sigma)
    x = np.arange(-reach, reach + 1.0) ** 2
    r2 = x[:, None] + x
    result = (r2 - 2 * sigma**2) / sigma**4 * np.exp(-r2 / (2 * sigma**2))
    result /= 2 * math.pi * sigma**2
    return result - result.mean()


def _derivative(smoothing: tuple[int, int, int], axis: int) -> Callable[[], Any]:
    matrix = np.outer(smoothing, (1, 0, -1))
    return lambda: matrix.T if axis else matrix


KERNELS: dict[str, Callable[..., Any]] = {
    "identity": lambda: [[1]],
    "blur": lambda: np.outer((1, 2, 1), (1, 2, 1)) / 16,
    "box": _box,
    "gaussian": _gaussian,
    "disk": _disk,
    "motion": _motion,
    "sharpen": _sharpen,
    "unsharp": _unsharp,
    "emboss": lambda: [[2, 1, 0], [1, 1, -1], [0, -1, -2]],
    "edge": lambda: [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sobel_x": _derivative((1, 2, 1), 0),
    "sobel_y": _derivative((1, 2, 1), 1),
    "scharr_x": _derivative((3, 10, 3), 0),
    "scharr_y": _derivative((3, 10, 3), 1),
    "prewitt_x": _derivative((1, 1, 1), 0),
    "prewitt_y": _derivative((1, 1, 1), 1),
    "laplacian": _laplacian,
    "log": _log,
}
