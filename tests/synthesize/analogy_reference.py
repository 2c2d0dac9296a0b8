"""Image analogies in the paper's own scan order, and measures of textures, in NumPy and SciPy.

Slow and plain: what the tests compare the engine with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = [
    "block_copy",
    "energy",
    "patches",
    "psnr",
    "random_blocks",
    "scan_order",
    "smooth_noise",
    "spectrum_distance",
    "texture_distance",
]

Array = NDArray[np.float64]


def smooth_noise(height: int, width: int, seed: int, deviation: float = 1.5) -> NDArray[np.float32]:
    """A grey picture (H, W) in [0, 1]: filtered noise with its whole range used."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).standard_normal((height, width))
    field = gaussian_filter(noise, deviation) + 2 * gaussian_filter(noise, 3 * deviation)
    low, high = np.percentile(field, (2, 98))
    return np.clip((field - low) / (high - low), 0, 1).astype(np.float32)


def psnr(found: object, expected: object) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1]."""
    difference = np.asarray(found, np.float64) - np.asarray(expected, np.float64)
    return float(-10 * np.log10(max(1e-12, np.mean(difference**2))))


def planes(image: object) -> Array:
    """(H, W) or (H, W, C) as float64 (H, W, C)."""
    array = np.asarray(image, np.float64)
    return array[..., None] if array.ndim == 2 else array


def patches(image: object, side: int) -> Array:
    """All patches inside an image, (positions, side · side · C), in row order."""
    array = planes(image)
    windows = np.lib.stride_tricks.sliding_window_view(array, (side, side), axis=(0, 1))
    return windows.reshape(windows.shape[0] * windows.shape[1], -1)


def nearest(source: Array, wanted: Array) -> tuple[NDArray[np.intp], Array]:
    """Index and squared distance of the nearest row of `source` to each row of `wanted`."""
    squares = np.sum(source**2, 1)
    index = np.concatenate(
        [
            np.argmin(squares - 2 * rows @ source.T, 1)
            for rows in np.array_split(wanted, 1 + len(wanted) // 1000)
        ]
    )
    return index, np.sum((source[index] - wanted) ** 2, 1)


def energy(
    a: object, a_prime: object, b: object, b_prime: object, *, weight: float = 1.0, side: int = 5
) -> float:
    """mean_q min_p [ weight · |A(p) - B(q)|² + |A'(p) - B'(q)|² ], means over patch and channels.

    The nearest neighbours are exact.
    """

    def joined(before: object, after: object) -> Array:
        one, other = patches(before, side), patches(after, side)
        return np.hstack(
            [one * np.sqrt(weight / one.shape[1]), other * np.sqrt(1 / other.shape[1])]
        )

    return float(np.mean(nearest(joined(a, a_prime), joined(b, b_prime))[1]))


def halve(image: Array) -> Array:
    """2 × 2 means; sides must be even."""
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def pixel(image: Array, y: int, x: int) -> Array:
    """A pixel; beyond the border the nearest one."""
    height, width, _ = image.shape
    value: Array = image[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
    return value


FINE = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
CAUSAL = [(y, x) for y, x in FINE if y < 0 or (y == 0 and x < 0)]
PARENT = [(y, x) for y in range(-1, 2) for x in range(-1, 2)]


def scan_order(a: object, a_prime: object, b: object, levels: int = 3, kappa: float = 1.0) -> Array:
    """B' (H, W, C) of Hertzmann et al. 2001, section 3: pixel by pixel, coarse to fine.

    A pixel's feature is the 5 × 5 window of the unfiltered image, the 12 pixels before it of the
    filtered one, and 3 × 3 of both at the coarser level; each group is weighted by a Gaussian and
    its number of pixels. The best approximate match (here the exact nearest neighbour) is refused
    for the best coherent one (Ashikhmin 2001) where d_coherent ≤ d_nearest (1 + κ 2^(level - L)).
    """
    pyramids = [[planes(image)] for image in (a, a_prime, b)]
    for pyramid in pyramids:
        for _ in range(levels - 1):
            pyramid.append(halve(pyramid[-1]))

    def weights(offsets: list[tuple[int, int]], deviation: float) -> Array:
        gauss = [np.exp(-0.5 * (y * y + x * x) / deviation**2) for y, x in offsets]
        return np.sqrt(np.array(gauss) / len(offsets))[:, None]

    groups = (weights(FINE, 2.0), weights(CAUSAL, 2.0), weights(PARENT, 1.0))
    made: Array | None = None
    for level in range(levels - 1, -1, -1):
        before, after, target = (pyramid[level] for pyramid in pyramids)
        coarse = level + 1 < levels
        parents = [pyramid[level + 1] for pyramid in pyramids] if coarse else []
        below = made
        height, width, _ = target.shape

        def feature(images: tuple[Array, Array], y: int, x: int, up: tuple[Array, ...]) -> Array:
            plain, filtered = images
            parts = [
                groups[0] * [pixel(plain, y + dy, x + dx) for dy, dx in FINE],
                groups[1] * [pixel(filtered, y + dy, x + dx) for dy, dx in CAUSAL],
            ]
            parts += [
                groups[2] * [pixel(image, y // 2 + dy, x // 2 + dx) for dy, dx in PARENT]
                for image in up
            ]
            return np.concatenate([part.ravel() for part in parts])

        source_up = (parents[0], parents[1]) if coarse else ()
        rows, columns, _ = before.shape
        source = np.array(
            [feature((before, after), y, x, source_up) for y in range(rows) for x in range(columns)]
        )
        tree = cKDTree(source)
        result = np.full((height, width, after.shape[2]), after.mean())
        if below is not None:
            result = np.repeat(np.repeat(below, 2, 0), 2, 1)
        target_up = (parents[2], below) if coarse and below is not None else ()
        place = np.full((height, width, 2), -1)
        for y in range(height):
            for x in range(width):
                wanted = feature((target, result), y, x, target_up)
                distance, nearest = tree.query(wanted)
                best = divmod(int(nearest), columns)
                coherent = (np.inf, best)
                for dy, dx in CAUSAL:
                    if not (0 <= y + dy < height and 0 <= x + dx < width):
                        continue
                    sy, sx = place[y + dy, x + dx] - (dy, dx)
                    if 0 <= sy < rows and 0 <= sx < columns:
                        d = float(np.sum((source[sy * columns + sx] - wanted) ** 2))
                        coherent = min(coherent, (d, (int(sy), int(sx))))
                if coherent[0] <= distance**2 * (1 + kappa * 2.0**-level):
                    best = coherent[1]
                place[y, x] = best
                result[y, x] = after[best]
        made = result
    assert made is not None
    return made


def block_copy(a: object, a_prime: object, b: object, side: int = 5) -> Array:
    """Naive patch copying: B in blocks; for each, the block of A' whose A is nearest to B."""
    before, after, target = planes(a), planes(a_prime), planes(b)
    source = patches(before, side)
    columns = before.shape[1] - side + 1
    out = np.zeros((*target.shape[:2], after.shape[2]))
    height, width = target.shape[:2]
    corners = [
        (top, left)
        for top in [*range(0, height - side, side), height - side]
        for left in [*range(0, width - side, side), width - side]
    ]
    wanted = np.array([target[y : y + side, x : x + side].ravel() for y, x in corners])
    # Patches are rows of (y, x, channel) here; those of `patches` are (channel, y, x).
    wanted = wanted.reshape(-1, side, side, target.shape[2]).transpose(0, 3, 1, 2)
    places, _ = nearest(source, wanted.reshape(len(corners), -1))
    for (top, left), place in zip(corners, places, strict=True):
        y, x = divmod(int(place), columns)
        out[top : top + side, left : left + side] = after[y : y + side, x : x + side]
    return out


def random_blocks(exemplar: object, height: int, width: int, side: int, seed: int) -> Array:
    """Naive texture: blocks from random places of the exemplar, side by side."""
    image = planes(exemplar)
    rng = np.random.default_rng(seed)
    out = np.zeros((height + side, width + side, image.shape[2]))
    for top in range(0, height, side):
        for left in range(0, width, side):
            y = rng.integers(0, image.shape[0] - side + 1)
            x = rng.integers(0, image.shape[1] - side + 1)
            out[top : top + side, left : left + side] = image[y : y + side, x : x + side]
    return out[:height, :width]


def texture_distance(found: object, exemplar: object, side: int = 7, seed: int = 0) -> float:
    """Sliced W1 distance of the patches, in standard deviations of the exemplar's, 64 directions.

    Patches without their mean: a difference of colour is not what is measured.
    """
    one, other = (patches(image, side) for image in (found, exemplar))
    directions = np.random.default_rng(seed).standard_normal((one.shape[1], 64))
    directions -= directions.mean(0)
    quantiles = (np.arange(256) + 0.5) / 256
    x, y = (np.quantile(values @ directions, quantiles, axis=0) for values in (one, other))
    return float(np.mean(np.abs(x - y).mean(0) / y.std(0)))


def spectrum_distance(found: object, exemplar: object, side: int = 32) -> float:
    """RMS difference in dB of the power spectra, averaged over windows and octaves × directions."""

    def power(image: object) -> Array:
        grey = planes(image).mean(2)
        window = np.outer(np.hanning(side), np.hanning(side))
        total = np.zeros((side, side))
        for top in range(0, grey.shape[0] - side + 1, side // 2):
            for left in range(0, grey.shape[1] - side + 1, side // 2):
                block = grey[top : top + side, left : left + side]
                total += np.abs(np.fft.fft2((block - block.mean()) * window)) ** 2
        y, x = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
        radius, angle = np.hypot(y, x), np.arctan2(y, x) % np.pi
        octave = np.clip(np.floor(-np.log2(np.maximum(radius, 1e-9))), 0, 4).astype(int)
        direction = np.floor(angle / np.pi * 4).astype(int) % 4
        cells = [
            total[(octave == o) & (direction == d) & (radius > 0)].mean()
            for o in range(1, 4)
            for d in range(4)
        ]
        return (
            np.array(cells)
            / total.size
            / ((grey.shape[0] // (side // 2)) * (grey.shape[1] // (side // 2)))
        )

    return float(
        np.sqrt(np.mean((10 * np.log10((power(found) + 1e-12) / (power(exemplar) + 1e-12))) ** 2))
    )
