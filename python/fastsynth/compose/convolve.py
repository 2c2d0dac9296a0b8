"""Convolution filters: Eq. 1, X' = K * X."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.compose.checks import check_choice, check_number
from fastsynth.compose.images import Samples, pool, read
from fastsynth.compose.kernels import kernel as named_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray

__all__ = ["Border", "convolve"]

Border = Literal["reflect", "mirror", "replicate", "wrap", "constant"]
AlphaMode = Literal["auto", "premultiply", "keep", "channel"]

MAX_TAPS = 2**24
# Whole numbers up to here are exact in float32, and sums of them too.
EXACT = 2**24
# Of a sample outside and of Σ|K|, so that no sum leaves float32.
LARGEST = 1e15


def convolve(
    image: ImageLike,
    kernel: str | Mapping[str, Any] | ArrayLike,
    *,
    border: Border = "reflect",
    constant: float | Sequence[float] = 0,
    linear: bool = False,
    alpha: AlphaMode = "auto",
    correlate: bool = False,
    offset: float = 0.0,
    clip: bool = True,
    threads: int | None = None,
) -> ImageArray:
    """Filter an image with a kernel: Eq. 1, X' = K * X, every channel alike.

        X'[y, x] = Σ_ij K[i, j] X[y - i + h // 2, x - j + w // 2]      K of (h, w)

    This is convolution in the strict sense, which flips the kernel, as `scipy.ndimage.convolve`
    does; `correlate=True` does not flip it, as OpenCV's `filter2D`. Even sizes have SciPy's origin.

    image: whatever `fastsynth.image.load` takes; arrays (H, W), (H, W, 1 | 3 | 4) of uint8, uint16,
      float32 (finite values below 3e22) or float64 are worked on as they are.
    kernel: an array (h, w) or (n,), taken as one row; a name that `kernel` knows ("sharpen"); or a
      table, {"name": "gaussian", "sigma": 2}.
    border: what lies outside: "reflect" (c b a | a b c d | d c b; SciPy reflect, OpenCV REFLECT),
      "mirror" (d c b | a b c d | c b a; SciPy mirror, OpenCV REFLECT_101), "replicate" (a a a |
      a b c d | d d d; SciPy nearest, OpenCV REPLICATE), "wrap", "constant".
    constant: the value outside for border="constant", in samples (255 is white in uint8): one for
      all channels, or one for each.
    linear: filter in linear light, by the sRGB curve.
    alpha: what a fourth channel means. "premultiply": colours weigh as much as they are opaque, and
      alpha is filtered too; "keep": colours are filtered as if opaque, alpha stays; "channel":
      alpha is a channel like the others. "auto": premultiply where the kernel's sum is positive,
      else keep.
    offset: added to the colours afterwards, as a part of white: 0.5 shows signed responses on grey.
    clip: cut floats to [0, 1]. Integers always saturate, after rounding to the nearest (halves to
      even).
    threads: default all cores. The result does not depend on it, nor on the processor.

    Sums are float32. They are exact for integer samples where the kernel holds whole numbers, or
    multiples of its smallest entry (box and binomial kernels), while Σ|K| / |K|min · white < 2²⁴.
    Kernels that are a product of a column and a row, or a sum of few such, are found and summed in
    two passes; their products differ from K by less than float32's rounding.

    Returns an image of the same kind, with the step in its record. Raises ImageError for what is no
    image or kernel, and for settings out of range.

    >>> step = np.array([[0, 0, 100, 100]], np.uint8)
    >>> convolve(step, [[1, 1]]).tolist(), convolve(step, "sobel_x").tolist()
    ([[0, 100, 200, 200]], [[0, 255, 255, 0]])
    """
    taps = _taps(kernel)
    if not float(np.abs(np.clip(taps, -LARGEST, LARGEST)).sum()) < LARGEST:
        raise ImageError(
            "the kernel holds NaN, infinite or huge values; "
            f"expected finite numbers with Σ|K| below {LARGEST:g}"
        )
    samples = read(image, checked=False)  # the core checks floats in passing
    check_settings(border=border, alpha=alpha, threads=threads)
    check_number("offset", offset, LARGEST)
    plan = _plan(taps if correlate else taps[::-1, ::-1], samples.top)
    height, width = taps.shape
    anchor = (height // 2, width // 2) if correlate else ((height - 1) // 2, (width - 1) // 2)
    total = float(taps.sum())
    if alpha == "auto":
        alpha = "premultiply" if total > 1e-6 * float(np.abs(taps).sum()) else "keep"
    if alpha == "premultiply" and samples.alpha and total <= 0:
        raise ImageError(
            f"the kernel's sum is {total:.6g}, which weighs colours by alpha with nothing left; "
            "expected a positive sum, or alpha='keep'"
        )
    out = np.empty_like(samples.values)
    try:
        _core.convolve(
            samples.values,
            out,
            plan.taps,
            plan.terms,
            anchor,
            plan.gain,
            plan.gain / total if total else 0.0,
            float(offset) * (1 if linear else samples.top),
            bool(clip),
            border,
            fill_values(constant, samples),
            bool(linear),
            alpha,
            pool(threads),
        )
    except ValueError as error:
        raise ImageError(f"image: {error}") from error
    step: dict[str, Any] = {"step": "convolve", "kernel": _recorded(kernel), "border": border}
    if border == "constant":
        step["constant"] = recorded_fill(constant)
    options = {"linear": linear, "correlate": correlate, "offset": offset, "alpha": alpha}
    defaults = {"linear": False, "correlate": False, "offset": 0.0, "alpha": "premultiply"}
    step.update({k: v for k, v in options.items() if v != defaults[k]})
    if not clip:
        step["clip"] = False
    return samples.result(out, step)


# ---- settings that filters and geometry share ----


def check_settings(*, border: str, threads: int | None, alpha: str = "auto") -> None:
    """Raises ImageError for an unknown border or meaning of alpha, or a bad number of threads."""
    check_choice("border", border, ("reflect", "mirror", "replicate", "wrap", "constant"))
    check_choice("alpha", alpha, ("auto", "premultiply", "keep", "channel"))
    pool(threads)


def fill_values(constant: float | Sequence[float], samples: Samples) -> list[float]:
    """What lies outside, one number for each channel. Raises ImageError for anything else."""
    many = isinstance(constant, (list, tuple, np.ndarray))
    values: list[Any] = list(constant) if many else [constant] * samples.channels  # type: ignore[arg-type]
    if len(values) != samples.channels:
        raise ImageError(
            f"constant has {len(values)} values; expected one, or one for each of the "
            f"{samples.channels} channels"
        )
    return [check_number("constant", value, LARGEST) for value in values]


def recorded_fill(constant: float | Sequence[float]) -> Any:
    """The constant as plain data."""
    return np.asarray(constant, np.float64).tolist()


# ---- kernels ----


@dataclass(frozen=True)
class _Plan:
    """A kernel as the core takes it: gain · taps, or gain · Σ column ⊗ row."""

    taps: NDArray[np.float32]
    gain: float
    terms: list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def _taps(kernel: str | Mapping[str, Any] | ArrayLike) -> NDArray[np.float64]:
    if isinstance(kernel, str):
        return named_kernel(kernel)
    if isinstance(kernel, Mapping):
        parameters = {str(key): value for key, value in kernel.items()}
        return named_kernel(parameters.pop("name", None), **parameters)
    expected = "expected an array (height, width) of numbers, or the name of a kernel"
    try:
        taps = np.asarray(kernel)
        if taps.dtype.kind not in "iufb":
            raise TypeError(f"its type is {taps.dtype}")
        taps = taps.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"the kernel is no array of numbers ({error}); {expected}") from error
    if taps.ndim == 1:
        taps = taps[None]
    if taps.ndim != 2 or taps.size == 0 or taps.size > MAX_TAPS:
        raise ImageError(f"the kernel has shape {taps.shape}; {expected}, 1 to {MAX_TAPS} of them")
    return taps


def _recorded(kernel: str | Mapping[str, Any] | ArrayLike) -> Any:
    if isinstance(kernel, str):
        return kernel
    if isinstance(kernel, Mapping):
        return {str(k): v.item() if hasattr(v, "item") else v for k, v in kernel.items()}
    return np.asarray(kernel).tolist()


def _plan(taps: NDArray[np.float64], top: int) -> _Plan:
    """The cheapest way to sum: all taps, or a few separable terms."""
    whole, gain = _as_integers(taps)
    if whole is not None and float(np.abs(whole).sum()) * top < EXACT:
        factors = _integer_factors(whole)
        flat, terms = whole.astype(np.float32), [factors] if factors else []
    else:
        gain = 1.0
        flat, terms = taps.astype(np.float32), _separable_terms(taps)
    height, width = taps.shape
    # Rows read at odd places cost twice; of sparse kernels only what is not 0 is summed.
    direct = min(taps.size, 2 * np.count_nonzero(flat))
    if len(terms) * (height + 2 * width) >= direct:
        terms = []
    return _Plan(np.ascontiguousarray(flat), gain, terms)


def _as_integers(taps: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, float]:
    """(whole numbers, gain) with taps = gain · whole to rounding, or (None, 1)."""
    sizes = np.abs(taps[taps != 0])
    if sizes.size == 0:
        return taps, 1.0
    least = float(sizes.min())
    for gain in (1.0, least):
        scaled = taps / gain
        whole = np.rint(scaled)
        if np.abs(whole).max() < EXACT and (np.abs(scaled - whole) <= 1e-14 * np.abs(scaled)).all():
            return whole, gain
    return None, 1.0


def _integer_factors(
    whole: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Column and row of whole numbers whose product is exactly the kernel, where there are such."""
    pivot = int(np.abs(whole).max(axis=1).argmax())
    row = whole[pivot]
    divisor = int(np.gcd.reduce(np.abs(row).astype(np.int64)))
    if divisor == 0:
        return None
    row = row / divisor
    place = int(np.abs(row).argmax())
    column = np.rint(whole[:, place] / row[place])
    if not np.array_equal(np.outer(column, row), whole):
        return None
    return column.astype(np.float32), row.astype(np.float32)


def _separable_terms(
    taps: NDArray[np.float64],
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The fewest separable terms whose sum is the kernel to float32's rounding, by SVD."""
    limit = 1e-7 * float(np.abs(taps).max())
    # A product of a column and a row is that of the ones through its largest entry: no SVD, which
    # takes seconds for a wide Gaussian.
    i, j = np.unravel_index(int(np.abs(taps).argmax()), taps.shape)
    root = math.sqrt(abs(taps[i, j])) or 1.0
    column, row = taps[:, j] / root, taps[i] / (taps[i, j] or 1.0) * root
    if float(np.abs(taps - np.outer(column, row)).max()) <= limit:
        return [(column.astype(np.float32), row.astype(np.float32))]
    columns, sizes, rows = np.linalg.svd(taps, full_matrices=False)
    terms: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    rest = taps
    most = taps.size / (taps.shape[0] + 2 * taps.shape[1])  # beyond it, it would not pay
    for k in range(min(len(sizes), math.floor(most))):
        root = math.sqrt(sizes[k])
        column, row = columns[:, k] * root, rows[k] * root
        terms.append((column.astype(np.float32), row.astype(np.float32)))
        rest = rest - np.outer(column, row)
        if float(np.abs(rest).max()) <= limit:
            return terms
    return []
