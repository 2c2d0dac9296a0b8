"""Colour: transfer curve, luma and chroma, and the matching of one picture's colours to another's.

Pictures are planar (3, H, W) sRGB in [0, 1]. "Luminance" means here what it means in the
style-transfer literature (Gatys et al., "Preserving Color in Neural Artistic Style Transfer", arXiv
1606.05897): luma, Y = .299 R + .587 G + .114 B on the *encoded* values (Rec. 601), not the physical
quantity, which has Rec. 709 weights on linear light and no use here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastsynth._errors import ImageError

MatchMode = Literal["monge", "cholesky", "pca"]

REC601 = np.array([0.299, 0.587, 0.114])

# Variance below which a colour direction of the source counts as noise: 0.8 of an 8-bit step
# (standard deviation .0032). Stretching such a direction to the target's spread would turn rounding
# noise into coloured grain.
_NOISE_VARIANCE = 1e-5

# Of match_distribution: turned frames, quantiles of an axis, pixels that they are taken from.
FRAMES = 8
LEVELS = np.linspace(0.0, 1.0, 1025)
SAMPLES = 1 << 16


def srgb_to_linear(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Decode sRGB (IEC 61966-2-1): values of any shape in [0, 1] to linear light, dtype kept.

    >>> round(float(srgb_to_linear(np.array([0.5]))[0]), 5)
    0.21404
    """
    values = np.asarray(values)
    low = values <= 0.04045
    power = np.power((np.maximum(values, 0.04045) + 0.055) / 1.055, 2.4)
    return np.where(low, values / 12.92, power).astype(values.dtype, copy=False)


def linear_to_srgb(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Encode linear light of any shape in [0, 1] as sRGB (IEC 61966-2-1), dtype kept.

    >>> round(float(linear_to_srgb(np.array([0.21404]))[0]), 4)
    0.5
    """
    values = np.asarray(values)
    low = values <= 0.0031308
    power = 1.055 * np.power(np.maximum(values, 0.0031308), 1 / 2.4) - 0.055
    return np.where(low, values * 12.92, power).astype(values.dtype, copy=False)


def luminance(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rec. 601 luma Y of encoded pixels: (3, H, W) to (H, W).

    >>> luminance(np.ones((3, 1, 1), np.float32))
    array([[1.]], dtype=float32)
    """
    _check("pixels", pixels)
    return np.asarray(np.tensordot(REC601, pixels.astype(np.float64, copy=False), 1), np.float32)


def split_luminance(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Luma (H, W) in [0, 1] and chroma (2, H, W) = (B - Y, R - Y), unscaled.

    `join_luminance` is the inverse.
    """
    y = luminance(pixels)
    return y, np.stack([pixels[2] - y, pixels[0] - y])


def join_luminance(luma: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels (3, H, W) with the given luma (H, W) in [0, 1] and chroma (2, H, W) = (B - Y, R - Y).

    A colour that leaves [0, 1] is drawn towards the grey of its own luma until it fits: luma and
    hue stay, where plain clipping would change both.

    >>> grey = np.full((1, 1), 0.5, np.float32)
    >>> join_luminance(grey, np.zeros((2, 1, 1), np.float32)).ravel().tolist()
    [0.5, 0.5, 0.5]
    """
    if chroma.shape != (2, *luma.shape):
        raise ImageError(
            f"chroma has shape {chroma.shape}; expected (2, H, W) = {(2, *luma.shape)}"
        )
    y = np.clip(luma.astype(np.float64), 0, 1)
    blue, red = chroma.astype(np.float64)
    offset = np.stack([red, -(REC601[0] * red + REC601[2] * blue) / REC601[1], blue])
    # Largest t in [0, 1] with 0 <= y + t * offset <= 1 in every channel.
    room = np.where(offset > 0, 1 - y, y)
    size = np.abs(offset)
    fit = np.divide(room, size, out=np.ones_like(size), where=size > room).min(axis=0)
    return np.asarray(np.clip(y + fit * offset, 0, 1), np.float32)


def keep_luminance(
    result: NDArray[np.float32], content: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The luma of `result` with the colours (chroma) of `content`; both (3, H, W) in [0, 1].

    Raises ImageError where the shapes differ.
    """
    _check("result", result)
    _check("content", content)
    if result.shape != content.shape:
        raise ImageError(
            f"result has shape {result.shape} and content {content.shape}; "
            "expected equal shapes: resize the content first"
        )
    return join_luminance(luminance(result), split_luminance(content)[1])


def match_mean_covariance(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    mode: MatchMode = "monge",
    *,
    source_alpha: NDArray[np.float32] | None = None,
    target_alpha: NDArray[np.float32] | None = None,
    clip: bool = True,
) -> NDArray[np.float32]:
    """Recolour `source` so that its mean colour and colour covariance become those of `target`.

        y = A (x - mean_s) + mean_t,   A C_s A^T = C_t

    - "monge" (default): A = C_s^-1/2 (C_s^1/2 C_t C_s^1/2)^1/2 C_s^-1/2, the map that moves colours
      least;
    - "cholesky": A = L_t L_s^-1;   "pca": A = C_t^1/2 C_s^-1/2 (both: Gatys et al., arXiv
      1606.05897).

    source (3, Hs, Ws) and target (3, Ht, Wt) in [0, 1], of any sizes; the alphas weigh the
    statistics, so that what is transparent does not count. Works in float64. Directions in which
    the source hardly varies (a grey or constant picture, one pixel) are not stretched beyond what a
    standard deviation of .003 would need, so the result is finite for every input. `clip` brings
    the result back to [0, 1]; without it, mean and covariance are met exactly. Raises ImageError
    for other shapes or an unknown mode.

    >>> grey = np.full((3, 2, 2), 0.5, np.float32)
    >>> red = np.stack([np.full((2, 2), v, np.float32) for v in (0.75, 0.25, 0.25)])
    >>> match_mean_covariance(grey, red)[:, 0, 0].tolist()
    [0.75, 0.25, 0.25]
    """
    if mode not in ("monge", "cholesky", "pca"):
        raise ImageError(f"mode is {mode!r}; expected 'monge', 'cholesky' or 'pca'")
    _check("source", source)
    _check("target", target)
    mean_s, cov_s = _moments(source, source_alpha, "source_alpha")
    mean_t, cov_t = _moments(target, target_alpha, "target_alpha")
    floored = _floored(cov_s, _NOISE_VARIANCE)
    root_s, inverse_s = _root(floored), _root(floored, inverse=True)
    if mode == "monge":
        transfer = np.asarray(inverse_s @ _root(root_s @ cov_t @ root_s) @ inverse_s)
    elif mode == "pca":
        transfer = _root(cov_t) @ inverse_s
    else:
        lower_s = np.linalg.cholesky(floored)
        lower_t = np.linalg.cholesky(_floored(cov_t, 1e-15))
        transfer = np.asarray(lower_t @ np.linalg.inv(lower_s), np.float64)
    flat = source.reshape(3, -1).astype(np.float64) - mean_s[:, None]
    matched = (transfer @ flat + mean_t[:, None]).reshape(source.shape)
    if clip:
        np.clip(matched, 0, 1, out=matched)
    return matched.astype(np.float32)


def match_histogram(
    source: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Give each channel of `source` (3, Hs, Ws) its distribution in `target` (3, Ht, Wt).

    Equal source values stay equal (they go to the mean of their quantiles), order is kept. Raises
    ImageError for other shapes.
    """
    _check("source", source)
    _check("target", target)
    out = np.empty_like(source, dtype=np.float32)
    for channel in range(3):
        _, inverse, counts = np.unique(source[channel], return_inverse=True, return_counts=True)
        rank = (np.cumsum(counts) - counts / 2) / source[channel].size
        ordered = np.sort(target[channel], axis=None).astype(np.float64)
        places = (np.arange(ordered.size) + 0.5) / ordered.size
        mapped = np.interp(rank, places, ordered).astype(np.float32)
        out[channel] = mapped[inverse].reshape(source.shape[1:])
    return out


def match_distribution(
    source: NDArray[np.float32], targets: Sequence[tuple[NDArray[np.float32], float]]
) -> NDArray[np.float32]:
    """Give the colours of `source` (3, H, W) the joint distribution of those of the targets.

    targets: pictures (3, H, W) of any sizes, with their shares, ≥ 0 and not all 0.

    In each of 8 frames of the colour space - the targets' principal axes, then turned ones - every
    axis' distribution is moved to the targets' (iterative distribution transfer: Pitié, Kokaram,
    Dahyot 2005). Pixels of one colour stay so. Quantiles come from at most 2^16 pixels of each
    picture, evenly spaced; nothing is random. Values are not clipped. Raises ImageError for other
    shapes.

    >>> grey = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 4, 12).repeat(3, 0)
    >>> match_distribution(grey, [(0.5 * grey, 1.0)]).max().round(2)
    np.float32(0.5)
    """
    _check("source", source)
    for target, _ in targets:
        _check("target", target)
    moved = source.reshape(3, -1).astype(np.float64)
    sample = _spread(moved)
    wanted = [(_spread(pixels.reshape(3, -1).astype(np.float64)), w) for pixels, w in targets if w]
    rng = np.random.default_rng(0)
    colours = np.concatenate([pixels for pixels, _ in wanted], axis=1)
    axes = np.linalg.eigh(np.cov(colours, bias=True))[1].T  # biased: of one pixel, it is 0
    for index in range(FRAMES):
        frame = np.linalg.qr(rng.normal(size=(3, 3)))[0] if index else axes
        turned, seen = frame @ moved, frame @ sample
        goals = [(frame @ pixels, share) for pixels, share in wanted]
        for axis in range(3):
            # One value for many quantiles is a flat place: it goes to their mean.
            now, runs = np.unique(_quantiles(seen[axis]), return_inverse=True)
            goal = _mixed_quantiles([(pixels[axis], share) for pixels, share in goals])
            goal = np.bincount(runs, goal) / np.bincount(runs)
            turned[axis] = np.interp(turned[axis], now, goal)
            seen[axis] = np.interp(seen[axis], now, goal)
        moved, sample = frame.T @ turned, frame.T @ seen
    return moved.reshape(source.shape).astype(np.float32)


def _spread(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most SAMPLES of the pixels (3, n), evenly spaced."""
    count = flat.shape[1]
    if count <= SAMPLES:
        return flat
    return np.asarray(flat[:, np.linspace(0, count - 1, SAMPLES).astype(np.int64)])


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles at LEVELS."""
    return np.interp(LEVELS, np.linspace(0.0, 1.0, len(values)), np.sort(values))


def _mixed_quantiles(parts: Sequence[tuple[NDArray[np.float64], float]]) -> NDArray[np.float64]:
    """Quantiles at LEVELS of a mixture of samples with these shares."""
    if len(parts) == 1:
        return _quantiles(parts[0][0])
    values = np.concatenate([part for part, _ in parts])
    weights = np.concatenate([np.full(len(part), share / len(part)) for part, share in parts])
    order = np.argsort(values, kind="stable")
    places = np.cumsum(weights[order]) - 0.5 * weights[order]
    return np.asarray(np.interp(LEVELS * weights.sum(), places, values[order]))


def _check(name: str, pixels: NDArray[np.float32]) -> None:
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.size == 0:
        raise ImageError(f"{name} has shape {pixels.shape}; expected planar (3, H, W), not empty")


def _moments(
    pixels: NDArray[np.float32], alpha: NDArray[np.float32] | None, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (3,) and covariance (3, 3) over pixels in float64, weighted by alpha."""
    flat = pixels.reshape(3, -1).astype(np.float64)
    if alpha is None:
        mean = flat.mean(axis=1)
        centred = flat - mean[:, None]
        return mean, centred @ centred.T / flat.shape[1]
    if alpha.shape != pixels.shape[1:]:
        raise ImageError(f"{name} has shape {alpha.shape}; expected (H, W) = {pixels.shape[1:]}")
    weight = alpha.reshape(-1).astype(np.float64)
    total = weight.sum()
    if total <= 0:
        raise ImageError(f"{name} is transparent everywhere; expected at least one visible pixel")
    mean = flat @ weight / total
    centred = flat - mean[:, None]
    return mean, (centred * weight) @ centred.T / total


def _floored(cov: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """The covariance with every eigenvalue raised to at least `floor`."""
    values, vectors = np.linalg.eigh(cov)
    return np.asarray((vectors * np.maximum(values, floor)) @ vectors.T)


def _root(matrix: NDArray[np.float64], *, inverse: bool = False) -> NDArray[np.float64]:
    """Symmetric square root of a symmetric matrix (its inverse: positive definite ones only)."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root = np.sqrt(np.maximum(values, 0))
    return np.asarray((vectors * (1 / root if inverse else root)) @ vectors.T)
