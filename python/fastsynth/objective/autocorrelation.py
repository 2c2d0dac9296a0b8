"""Long range: the autocorrelation of features, and the spectrum of the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import resize
from fastsynth.objective.base import Canvas, Part, Term
from fastsynth.objective.blend import WeightedPictures, weighted_pictures
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.plan import opaque

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth._types import ImageLike
    from fastsynth.image import Picture
    from fastsynth.objective.exemplar import Features
    from fastsynth.objective.plan import Sources

    Array = NDArray[np.float64]
    Function = Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]

__all__ = ["LONG_RANGE_LAYERS", "Autocorrelation", "Spectrum"]

LONG_RANGE_LAYERS = ("conv2_2", "conv3_1")


@dataclass(frozen=True, eq=False, repr=False)
class Autocorrelation(ExemplarTerm):
    """Keep what repeats at a distance: the autocorrelation of features, of any picture size.

    Gram matrices forget where things are (the paper's Fig. 4); the autocorrelation
    R(τ) = Σ_p f(p) f(p + τ) / overlap(τ) of a feature's deviation from its mean remembers at which
    distances and directions they come back (deep correlations, Sendik & Cohen-Or 2017). The loss
    Σ_c Σ_τ (R - R₀)² / Σ_c Σ_τ R₀², over the lags 0 < |τ| ≤ half the exemplar's side in each
    direction, is dimensionless and needs no common size.

    components: number of the exemplar's principal components that are compared at each layer;
        default 16. They carry most of the variance.
    resolution: positions along the exemplar's longer side, at most; default 64. Features are
        averaged over squares of positions down to it: long range needs no more.
    layers: default conv2_2 and conv3_1.
    image, sizing, scale, balance, network: see ExemplarTerm.

    Runs in NumPy's FFT at each evaluation, some milliseconds; use together with a style term, which
    has the local appearance. Raises ObjectiveError for unknown settings, ImageError for unusable
    pictures.

    >>> import numpy as np
    >>> Autocorrelation(np.zeros((8, 8, 3), np.uint8), "conv2_2", sizing="native")
    Autocorrelation(image=Picture 8x8 RGB uint8, layers={'conv2_2': 1.0}, sizing='native')
    """

    layers: str | Sequence[str] | Mapping[str, float] = field(
        default_factory=lambda: dict.fromkeys(LONG_RANGE_LAYERS, 1.0)
    )
    components: int = 16
    resolution: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("components", "resolution"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ObjectiveError(f"{name} must be a whole number ≥ 1, not {value!r}")

    @property
    def kind(self) -> str:
        return "autocorrelation"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        longest = max(max(feature.shape[1:]) for feature, _ in targets)
        # A canvas of few positions must keep some lags.
        shortest = min(canvas.height, canvas.width) // stride
        pooling = max(1, min(math.ceil(longest / self.resolution), shortest // 4))
        maps = [(centred(pooled(feature, pooling)), share) for feature, share in targets]
        mixtures = components(maps, self.components)
        inner = [(canvas.height - 2 * canvas.margin), (canvas.width - 2 * canvas.margin)]
        lags = tuple(
            max(1, min(inner[k] // (stride * pooling), *(m.shape[1 + k] for m, _ in maps)) // 2)
            for k in (0, 1)
        )
        target = np.zeros((len(mixtures), 2 * lags[0] + 1, 2 * lags[1] + 1))
        for feature, share in maps:
            target += share * correlations(np.tensordot(mixtures, feature, 1), lags)[0]
        return _core.ProjectedTerm(
            _core.FunctionTerm(autocorrelation_loss(target, lags)),
            np.ascontiguousarray(mixtures, np.float32),
            pooling,
        )


def autocorrelation_loss(target: Array, lags: tuple[int, int]) -> Function:
    """Maps (K, h, w) ↦ (value, gradient) of the relative distance to the autocorrelations."""
    # A flat exemplar has nothing to divide by.
    energy = float((target**2).sum()) or 1.0

    def loss(maps: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        z = centred(maps.astype(np.float64))
        reach = tuple(min(t, s - 1) for t, s in zip(lags, z.shape[1:], strict=True))
        found, spectrum, shape, overlap = correlations(z, (reach[0], reach[1]))
        rows, columns = (slice(t - r, t + r + 1) for t, r in zip(lags, reach, strict=True))
        difference = found - target[:, rows, columns]
        difference[:, reach[0], reach[1]] = 0.0  # lag 0 is the variance, which style terms have
        value = float((difference**2).sum()) / energy
        # R is even in τ, so dR/df = 2 (R - R₀)/overlap * f, a convolution; centring is its own
        # adjoint.
        kernel = np.zeros((len(z), *shape))
        i = np.arange(-reach[0], reach[0] + 1) % shape[0]
        j = np.arange(-reach[1], reach[1] + 1) % shape[1]
        kernel[:, i[:, None], j[None]] = difference / overlap
        moved = np.fft.irfft2(np.fft.rfft2(kernel) * spectrum, shape)
        slope = centred(moved[:, : z.shape[1], : z.shape[2]]) * (4.0 / energy)
        return value, slope.astype(np.float32)

    return loss


def correlations(
    maps: Array, lags: tuple[int, int]
) -> tuple[Array, NDArray[np.complex128], tuple[int, int], Array]:
    """Autocorrelations (K, 2 T + 1, 2 T' + 1) of maps by FFT, divided by the overlap of each lag.

    Returns them with the maps' spectrum, the padded shape and the overlaps.
    """
    height, width = maps.shape[1:]
    shape = (quick_length(height + lags[0]), quick_length(width + lags[1]))
    spectrum = np.fft.rfft2(maps, shape)
    full = np.fft.irfft2(spectrum.real**2 + spectrum.imag**2, shape)
    i, j = np.arange(-lags[0], lags[0] + 1), np.arange(-lags[1], lags[1] + 1)
    overlap = np.maximum(height - np.abs(i), 1)[:, None] * np.maximum(width - np.abs(j), 1)[None]
    found = full[:, (i % shape[0])[:, None], (j % shape[1])[None]] / overlap
    return found, spectrum, shape, overlap.astype(np.float64)


def components(maps: Sequence[tuple[Array, float]], count: int) -> Array:
    """The principal components (K, C) of centred maps (C, h, w), strongest first."""
    channels = len(maps[0][0])
    covariance = np.zeros((channels, channels))
    for feature, share in maps:
        flat = feature.reshape(channels, -1)
        covariance += share * (flat @ flat.T) / flat.shape[1]
    _, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors[:, ::-1][:, : min(count, channels)].T)


def pooled(feature: NDArray[np.float32], k: int) -> Array:
    """Means over k x k positions; what is left over at the right and lower border is dropped."""
    channels, height, width = feature.shape
    k = max(1, min(k, height, width))
    cut = feature[:, : height // k * k, : width // k * k].astype(np.float64)
    return np.asarray(cut.reshape(channels, height // k, k, width // k, k).mean((2, 4)))


def centred(maps: Array) -> Array:
    """Each map less its mean."""
    return np.asarray(maps - maps.mean((1, 2), keepdims=True))


def quick_length(n: int) -> int:
    """The smallest length ≥ n without prime factors above 5, for which the FFT is quick.

    >>> quick_length(97), quick_length(64)
    (100, 64)
    """
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Term):
    """Keep the exemplar's power spectrum: quasi-periodic and oriented patterns of any length.

    The squared distance of the picture from the nearest one whose spectrum has the exemplar's
    modulus, over that one's energy (Liu, Gousseau, Xia 2016). One phase per frequency is shared by
    the three channels, which keeps the colours' relations.

    image: a picture, or pairs (picture, weight), whose power is then averaged - one phase relation
        between the colours needs one exemplar; of several the first gives it.
    sizing: "native" (default) keeps the exemplar's own pixels, shrunk as much as the level is;
        "canvas" scales it to the canvas.
    scale: further factor on its size.

    The exemplar's transform is sampled at the picture's frequencies, so the sizes may differ; its
    borders are joined smoothly first (Moisan 2011), lest they mark the axes. Raises ObjectiveError
    for unknown settings, ImageError for unusable pictures.

    >>> import numpy as np
    >>> 0.5 * Spectrum(np.zeros((8, 8, 3), np.uint8))
    Spectrum(image=Picture 8x8 RGB uint8, weight=0.5)
    """

    image: ImageLike | Sequence[tuple[ImageLike, float]] | WeightedPictures
    sizing: Literal["canvas", "native"] = "native"
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizing not in ("canvas", "native"):
            raise ObjectiveError(f"sizing must be 'canvas' or 'native', not {self.sizing!r}")
        if not isinstance(self.scale, (int, float)) or not 0 < self.scale < math.inf:
            raise ObjectiveError(f"scale must be a positive number, not {self.scale!r}")
        object.__setattr__(self, "image", weighted_pictures(self.image, "exemplar"))
        if any(share < 0 for _, share in self.shares()):
            raise ObjectiveError("no power is negative: the weights of a spectrum must be ≥ 0")

    def shares(self) -> tuple[tuple[Picture, float], ...]:
        """The exemplars with their shares of the power, which add up to 1."""
        assert isinstance(self.image, WeightedPictures)
        return self.image.shares().pairs

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        from fastsynth import _core

        border = 2 * canvas.margin if canvas.wrap else 0
        shape = (canvas.height - border, canvas.width - border)
        longest = max(canvas.height, canvas.width) - 2 * canvas.margin
        exemplars = []
        for picture, share in self.shares():
            _, height, width = picture.pixels.shape
            factor = canvas.shrink * self.scale
            if self.sizing == "canvas":
                factor = longest / max(height, width) * self.scale
            size = (max(1, round(height * factor)), max(1, round(width * factor)))
            exemplars.append((resize(opaque(picture), size, clip=True), share))
        target = spectrum_of(exemplars, shape)
        yield Part("spectrum", _core.FunctionImageTerm(spectrum_loss(target)), self.weight)


def spectrum_of(
    exemplars: Sequence[tuple[NDArray[np.float32], float]], shape: tuple[int, int]
) -> NDArray[np.complex128]:
    """Transforms (3, h, w/2 + 1) at the frequencies of a picture of `shape`, scaled to its size."""
    first: NDArray[np.complex128] | None = None
    power = np.zeros(())
    for pixels, share in exemplars:
        wide = periodic_component(pixels.astype(np.float64))
        wide -= wide.mean((1, 2), keepdims=True)
        found = np.fft.rfft2(folded(wide, shape)) * math.sqrt(
            shape[0] * shape[1] / (wide.shape[1] * wide.shape[2])
        )
        found[:, 0, 0] = 0.0
        first = found if first is None else first
        power = power + share * (np.abs(found) ** 2)
    assert first is not None
    if len(exemplars) == 1:
        return np.asarray(first)
    modulus = np.abs(first)
    return np.asarray(
        np.where(modulus > 0, first / np.maximum(modulus, 1e-30), 1.0) * np.sqrt(power)
    )


def folded(pixels: Array, shape: tuple[int, int]) -> Array:
    """Padded by zeros, or summed modulo the shape: its FFT samples the transform of the pixels."""
    for axis, size in ((1, shape[0]), (2, shape[1])):
        count = -(-pixels.shape[axis] // size)
        padding = [(0, 0)] * 3
        padding[axis] = (0, count * size - pixels.shape[axis])
        wide = np.pad(pixels, padding)
        pieces = np.split(wide, count, axis)
        pixels = np.sum(pieces, axis=0)
    return pixels


def periodic_component(pixels: Array) -> Array:
    """The picture without the jumps between its opposite borders (Moisan 2011)."""
    _, height, width = pixels.shape
    jumps = np.zeros_like(pixels)
    rows, columns = pixels[:, -1] - pixels[:, 0], pixels[:, :, -1] - pixels[:, :, 0]
    jumps[:, 0] += rows
    jumps[:, -1] -= rows
    jumps[:, :, 0] += columns
    jumps[:, :, -1] -= columns
    y = 2 * np.cos(2 * np.pi * np.arange(height) / height)[:, None]
    x = 2 * np.cos(2 * np.pi * np.arange(width // 2 + 1) / width)[None]
    laplacian = y + x - 4
    laplacian[0, 0] = 1.0
    smooth = np.fft.rfft2(jumps) / laplacian
    smooth[:, 0, 0] = 0.0
    return np.asarray(pixels - np.fft.irfft2(smooth, (height, width)))


def spectrum_loss(target: NDArray[np.complex128]) -> Function:
    """Picture (3, H, W) ↦ (value, gradient) of its distance from the exemplar's spectrum."""

    def loss(image: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        shape = image.shape[1:]
        found = np.fft.rfft2(image.astype(np.float64))
        found[:, 0, 0] = 0.0  # the mean is left free
        phase = (found * target.conj()).sum(0)
        phase /= np.maximum(np.abs(phase), 1e-30)
        rest = np.fft.irfft2(found - target * phase, shape)
        nearest = np.fft.irfft2(target * phase, shape)
        energy = float((nearest**2).sum()) or 1.0
        # The nearest picture is an orthogonal projection: to first order it does not move.
        return float((rest**2).sum()) / energy, (2.0 / energy * rest).astype(np.float32)

    return loss
