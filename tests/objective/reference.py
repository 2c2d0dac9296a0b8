"""The formulas of the objective stage in float64 NumPy, and the errors of the compiled terms.

`python -m tests.objective.reference` prints these errors as JSON, for the kernel set
that FASTSYNTH_KERNELS names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from tests.support import relative_error

from fastsynth import _core

Array = NDArray[np.float64]
Result = tuple[float, Array]

# Channels, height, width: whole and broken panels of 4, 8 and 16 channels, single positions, odd
# sizes, several chunks.
SHAPES = [
    (1, 1, 1), (3, 5, 7), (4, 1, 9), (5, 3, 2), (16, 1, 1), (16, 8, 8), (17, 9, 11), (31, 4, 13),
    (32, 33, 17), (48, 7, 7), (64, 40, 33), (65, 6, 5), (80, 5, 3), (128, 17, 16), (272, 3, 5),
]  # fmt: skip
IMAGE_SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (17, 23), (16, 32), (129, 70)]
BLOCKS = (1, 2, 4, 8, 16)


def to_blocked(planar: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """(C, H, W) as (C / block, H, W, block); block 1 stays planar."""
    if block == 1:
        return planar
    channels, height, width = planar.shape
    parts = planar.reshape(channels // block, block, height, width)
    return np.ascontiguousarray(parts.transpose(0, 2, 3, 1))


def to_planar(blocked: NDArray[np.float32]) -> NDArray[np.float32]:
    """The way back."""
    if blocked.ndim == 3:
        return blocked
    groups, height, width, block = blocked.shape
    return np.ascontiguousarray(blocked.transpose(0, 3, 1, 2)).reshape(
        groups * block, height, width
    )


def gram(features: NDArray[np.floating]) -> Array:
    """G = F Fᵀ / M."""
    f = features.reshape(len(features), -1).astype(np.float64)
    return f @ f.T / f.shape[1]


def content(f: Array, p: Array, normalization: str) -> Result:
    """Eqs 7 and 11, and the relative form."""
    d = f - p
    squared = (p**2).sum()
    varying = ((p - p.mean(axis=(1, 2), keepdims=True)) ** 2).sum()
    scale = {
        "relative": 1 / max(varying, 0.01 * squared) if squared > 0 else 1 / p.size,
        "paper": 1 / 2,
        "normalized": 1 / (2 * p.size),
    }[normalization]
    return float(scale * (d**2).sum()), 2 * scale * d


def style(f: Array, a: Array, normalization: str) -> Result:
    """Eqs 6 and 12, and the relative form; written with raw products F Fᵀ, as the paper has it."""
    n, m = f.shape[0], f[0].size
    flat = f.reshape(n, m)
    raw, target = flat @ flat.T, a * m
    squared = (target**2).sum()
    scale = {
        "relative": 1 / squared if squared > 0 else 1 / (n * n * m * m),
        "paper": 1 / (4 * n**2 * m**2),
        "normalized": 1 / (n**2 * m**2),
    }[normalization]
    gradient = 4 * scale * (raw - target) @ flat
    return float(scale * ((raw - target) ** 2).sum()), gradient.reshape(f.shape)


def total_variation(x: Array, beta: float, average: str) -> Result:
    """Mean or sum over positions of (dx² + dy²)^(β/2), all channels; ε = 1e-3 below β = 2."""
    _, height, width = x.shape
    epsilon = 1e-3 if beta < 2 else 0.0
    dx, dy = np.zeros_like(x), np.zeros_like(x)
    dx[:, :, :-1] = np.diff(x, axis=2)
    dy[:, :-1, :] = np.diff(x, axis=1)
    q = dx**2 + dy**2 + epsilon**2
    value = (q ** (beta / 2) - np.full_like(q, epsilon**2) ** (beta / 2)).sum()
    slope = np.zeros_like(q)
    slope[q > 0] = beta * q[q > 0] ** (beta / 2 - 1)
    gradient = np.zeros_like(x)
    for axis, d in ((2, dx), (1, dy)):
        gradient -= slope * d
        gradient += np.roll(slope * d, 1, axis=axis)  # the last difference is 0: nothing wraps
    share = 1 / (height * width) if average == "mean" else 1.0
    return float(share * value), share * gradient


def alpha_norm(x: Array, alpha: float, average: str) -> Result:
    """Mean or sum over positions of ‖x(p) - ½‖₂^α."""
    y = x - 0.5
    r = np.sqrt((y**2).sum(axis=0))
    share = 1 / r.size if average == "mean" else 1.0
    slope = np.zeros_like(r)
    slope[r > 0] = alpha * r[r > 0] ** (alpha - 2)
    return float(share * (r**alpha).sum()), share * slope * y


def range_penalty(x: Array, low: float, high: float) -> Result:
    """Mean squared distance from [low, high]."""
    d = x - np.clip(x, low, high)
    return float((d**2).mean()), 2 * d / x.size


def layer_cases(seed: int = 0) -> Iterator[tuple[str, object, NDArray[np.float32], Result]]:
    """(name, compiled term, features, expected value and gradient)"""
    rng = np.random.default_rng(seed)
    for shape in SHAPES:
        f = np.maximum(rng.standard_normal(shape, dtype=np.float32) + np.float32(0.2), 0)
        other = np.maximum(rng.standard_normal((shape[0], 5, 6), dtype=np.float32), 0)
        target = np.maximum(rng.standard_normal(shape, dtype=np.float32), 0)
        a = gram(other).astype(np.float32)
        for normalization in ("relative", "paper", "normalized"):
            expected = content(f.astype(np.float64), target.astype(np.float64), normalization)
            yield (
                f"content {normalization} {shape}",
                _core.ContentTerm(target, normalization),
                f,
                expected,
            )
            expected = style(f.astype(np.float64), a.astype(np.float64), normalization)
            yield f"gram {normalization} {shape}", _core.GramTerm(a, normalization), f, expected


def image_cases(seed: int = 0) -> Iterator[tuple[str, object, NDArray[np.float32], Result]]:
    """(name, compiled term, image, expected value and gradient)"""
    rng = np.random.default_rng(seed)
    for height, width in IMAGE_SHAPES:
        x = (rng.random((3, height, width), dtype=np.float32) - np.float32(0.3)) * np.float32(1.8)
        y = x.astype(np.float64)
        for average in ("mean", "sum"):
            for beta in (2.0, 1.0, 1.5, 2.5):
                term: object = _core.TotalVariation(beta, average)
                expected = total_variation(y, beta, average)
                yield f"variation {beta} {average} {x.shape}", term, x, expected
            for alpha in (6.0, 2.0, 3.0, 1.5):
                term = _core.AlphaNorm(alpha, average)
                yield f"alpha {alpha} {average} {x.shape}", term, x, alpha_norm(y, alpha, average)
        for low, high in ((0.0, 1.0), (0.25, 0.5)):
            term = _core.RangePenalty(low, high)
            yield f"range {low} {high} {x.shape}", term, x, range_penalty(y, low, high)


def _record(worst: dict[str, float], kind: str, error: float) -> None:
    worst[kind] = max(worst.get(kind, 0.0), error if np.isfinite(error) else np.inf)


def errors(pool: object) -> dict[str, float]:
    """The largest relative error of each kind over all cases and layouts."""
    worst: dict[str, float] = {}
    for name, term, f, (value, gradient) in layer_cases():
        kind = name.split(" ", maxsplit=1)[0]
        for block in (b for b in BLOCKS if len(f) % b == 0):
            found, slope = _core.evaluate_layer_term(term, to_blocked(f, block), 0.5, pool, block)
            _record(worst, f"{kind} value", relative_error(found, value))
            _record(worst, f"{kind} gradient", relative_error(to_planar(slope), 0.5 * gradient))
    for name, term, x, (value, gradient) in image_cases():
        kind = name.split(" ", maxsplit=1)[0]
        found, slope = _core.evaluate_image_term(term, x, 0.5, pool)
        _record(worst, f"{kind} value", relative_error(found, value))
        _record(worst, f"{kind} gradient", relative_error(slope, 0.5 * gradient))
    _vector_errors(worst, pool)
    return worst


def _vector_errors(worst: dict[str, float], pool: object) -> None:
    rng = np.random.default_rng(3)
    for n in (0, 1, 2, 15, 16, 17, 63, 64, 65, 1000, 32768, 32769, 100_003):
        x, y = rng.standard_normal((2, n), dtype=np.float32)
        u, v = x.astype(np.float64), y.astype(np.float64)
        found = _core.vector_functions(x, y, 0.75, -0.5, pool)
        # A dot product of random signs is small beside its terms: measured by what cancels.
        size = float(np.abs(u * v).sum()) or 1.0
        _record(worst, "vector sums", abs(found["dot"] - float(u @ v)) / size)
        _record(worst, "vector sums", abs(found["sum"] - u.sum()) / (float(np.abs(u).sum()) or 1.0))
        _record(worst, "vector sums", relative_error(found["norm1"], np.abs(u).sum()))
        _record(worst, "vector sums", relative_error(found["difference2"], ((u - v) ** 2).sum()))
        exact = float(np.abs(u).max()) if n else 0.0
        _record(worst, "vector max_abs", abs(found["max_abs"] - exact))
        expected: dict[str, Callable[[], Array]] = {
            "axpy": lambda: v + 0.75 * u,  # noqa: B023 - called within this turn of the loop
            "axpby": lambda: 0.75 * u - 0.5 * v,  # noqa: B023
            "scale": lambda: 0.75 * v,  # noqa: B023
        }
        for name, formula in expected.items():
            _record(worst, f"vector {name}", relative_error(found[name], formula()))


if __name__ == "__main__":
    print(json.dumps({"kernels": _core.kernel_set(), "errors": errors(_core.ThreadPool(2))}))
