"""Regular textures: the lattice on which a picture repeats, its mean cell, and both continued.

A regular texture is a cell that repeats at n a + m b for whole n, m, plus what differs from cell to
cell. The vectors a and b come from peaks of the autocorrelation and are refined to a fraction of a
pixel so that folding the picture onto one cell explains most of its variance (near-regular
textures: Liu, Lin, Hays 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Lattice", "bent", "find_lattice"]

LARGEST = 160  # px, the longer side of the picture in which peaks are looked for
REACH = 0.6  # of each side: lags beyond leave too little overlap to be trusted
PEAKS = 20  # candidates for a and b
SECTORS = 6  # directions, of each of which the highest peak is a candidate, too
SHORTEST = 3.0  # px, of a period
LEAST_ANGLE = 0.3  # sine of the angle between a and b
LEAST_SHARE = 0.1  # of the variance, below which a picture does not repeat
SIMPLER = 0.95  # a cell of less area wins where it explains this share of what the best one does

AS_MUCH = 0.998  # of the share, for which periods are rounded to whole pixels
MOST_SAMPLES = 3.0  # of a cell along a period, over its pixels


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where a texture repeats, and its mean cell.

    a, b: the periods as (row, column), in pixels
    cell: mean colours (3, n, m) over one period: cell[:, i, j] lies at i/n a + j/m b
    deviation: standard deviations (3, n, m) of the picture from the cell, place by place
    mean: mean colour (3, 1, 1)
    share: share of the picture's variance that the mean of the other repeats explains, in [0, 1]
    """

    a: tuple[float, float]
    b: tuple[float, float]
    cell: NDArray[np.float64]
    deviation: NDArray[np.float64]
    mean: NDArray[np.float64]
    share: float

    @property
    def period(self) -> float:
        """The shorter of the two periods that are more than the width of stripes, pixels."""
        lengths = [float(np.hypot(*vector)) for vector in (self.a, self.b)]
        return min((length for length in lengths if length >= SHORTEST), default=max(lengths))

    def continued(
        self,
        height: int,
        width: int,
        *,
        offset: tuple[float, float] = (0.0, 0.0),
        wrap: bool = False,
    ) -> NDArray[np.float32]:
        """The mean cell repeated over a picture (3, height, width).

        offset: (row, column) of the picture's corner on the lattice, pixels.
        wrap: bends the lattice by less than half a cell so that the picture's opposite borders fit
            together.
        """
        rows, columns = np.mgrid[:height, :width].astype(np.float64)
        basis = self.basis((height, width) if wrap else None)
        picture = sampled(self.cell, basis, rows + offset[0], columns + offset[1])
        return np.asarray(picture, np.float32)

    def bounds(
        self,
        size: tuple[int, int],
        *,
        offset: tuple[float, float] = (0.0, 0.0),
        wrap: bool = False,
        margin: int = 0,
        reduced: tuple[int, int] | None = None,
        deviations: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The lowest and highest values (3, h, w) that `deviations` allow around `continued`.

        size, offset, wrap: of the picture, as for `continued`.
        reduced: its size where it is shown smaller; default `size`.
        margin: pixels of the reduced picture on each side, over which the lattice goes on.
        """
        h, w = reduced or size
        factor = (size[0] / h, size[1] / w)
        # A reduced pixel is the mean of so many samples on each side.
        parts = max(1, *(math.ceil(step - 1e-9) for step in factor))
        counts = [(side + 2 * margin) * parts for side in (h, w)]
        rows, columns = (
            ((np.arange(count) + 0.5) / parts - margin) * step - 0.5
            for count, step in zip(counts, factor, strict=True)
        )
        places = np.meshgrid(rows + offset[0], columns + offset[1], indexing="ij")
        basis = self.basis(size if wrap else None)
        middle, spread = (
            sampled(values, basis, *places)
            .reshape(3, h + 2 * margin, parts, w + 2 * margin, parts)
            .mean((2, 4))
            for values in (self.cell, deviations * self.deviation)
        )
        return (middle - spread).astype(np.float32), (middle + spread).astype(np.float32)

    def basis(self, tile: tuple[int, int] | None = None) -> NDArray[np.float64]:
        """The periods as columns, bent to a tile (height, width) if there is one."""
        found = np.array([self.a, self.b]).T
        return found if tile is None else wrapped(found, *tile)


def sampled(
    cell: NDArray[np.float64],
    basis: NDArray[np.float64],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
) -> NDArray[np.float64]:
    """A cell (3, n, m), repeated with the periods that are the columns of `basis`, at places."""
    inverse = np.linalg.inv(basis)
    u = inverse[0, 0] * rows + inverse[0, 1] * columns
    v = inverse[1, 0] * rows + inverse[1, 1] * columns
    _, n, m = cell.shape
    i, j, weights = corners(u, v, n, m)
    picture = np.zeros((3, *rows.shape))
    for di in (0, 1):
        for dj in (0, 1):
            picture += weights[di][dj] * cell[:, (i + di) % n, (j + dj) % m]
    return picture


def bent(
    pixels: NDArray[np.float32], lattice: Lattice, height: int, width: int
) -> NDArray[np.float32]:
    """The picture (3, H, W), bent about its middle as a tile of height x width bends the lattice.

    Each of its cells then is one of those that `Lattice.continued` repeats with wrap=True.
    """
    from PIL import Image

    # From (row, column) in the bent picture to those in the given one.
    back = lattice.basis() @ np.linalg.inv(lattice.basis((height, width)))
    border = max(pixels.shape[1:]) // 4
    _, rows, columns = pixels.shape
    padded = np.pad(pixels, ((0, 0), (border, border), (border, border)), mode="symmetric")
    middle = np.array([rows / 2, columns / 2])
    start = middle + border - back @ middle
    # Pillow's order is (column, row).
    affine = (back[1, 1], back[1, 0], start[1], back[0, 1], back[0, 0], start[0])
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).transform(
            (columns, rows),
            Image.Transform.AFFINE,
            tuple(map(float, affine)),
            resample=Image.Resampling.BICUBIC,
        )
        for plane in padded
    ]
    found = np.stack([np.asarray(plane, np.float32) for plane in planes])
    return np.asarray(np.clip(found, 0.0, 1.0), np.float32)


def find_lattice(pixels: NDArray[np.float32]) -> Lattice | None:
    """The lattice of a picture (3, H, W); None where it does not repeat.

    >>> rows, columns = np.mgrid[:48, :60]
    >>> dots = np.cos(rows * 2 * np.pi / 8) * np.cos(columns * 2 * np.pi / 10)
    >>> lattice = find_lattice(np.float32(0.5 + 0.2 * np.stack([dots] * 3)))
    >>> lattice.share > 0.9
    True
    """
    _, height, width = pixels.shape
    factor = max(1, -(-max(height, width) // LARGEST))
    small = shrunk(pixels, factor)
    if min(small.shape[1:]) < 12 or float(small.std()) < 1e-4:
        return None
    candidates = peaks(correlation(small))
    best: tuple[float, float, NDArray[np.float64]] | None = None
    found = []
    short = min(small.shape[1:])
    for index, one in enumerate(candidates):
        for other in candidates[index + 1 :]:
            basis = np.array([one, other], np.float64).T
            area = abs(float(np.linalg.det(basis)))
            lengths = float(np.hypot(*one) * np.hypot(*other))
            if area < LEAST_ANGLE * lengths or area * 2.5 > small[0].size:
                continue
            if min(np.hypot(*one), np.hypot(*other)) < SHORTEST and lengths > short / 4:
                continue  # stripes: neighbours along them are no repeats, only their period counts
            found.append((fold(small, basis)[1], area, basis))
    if not found:
        return None
    most = max(share for share, _, _ in found)
    if most < LEAST_SHARE:
        return None
    best = min((item for item in found if item[0] >= SIMPLER * most), key=lambda item: item[1])
    basis = simplify(small, refine(small, reduce(best[2]))) * factor
    basis = refine(pixels.astype(np.float64), basis, 0.25 * factor)
    basis = whole(pixels.astype(np.float64), basis)
    cell, share = fold(pixels.astype(np.float64), basis)
    deviation = deviations(pixels.astype(np.float64), basis, cell)
    mean = pixels.mean((1, 2), dtype=np.float64)[:, None, None]
    return Lattice(
        (float(basis[0, 0]), float(basis[1, 0])),
        (float(basis[0, 1]), float(basis[1, 1])),
        cell,
        deviation,
        mean,
        float(np.clip(share, 0.0, 1.0)),
    )


def shrunk(pixels: NDArray[np.float32], factor: int) -> NDArray[np.float64]:
    """Means of factor x factor pixels."""
    _, height, width = pixels.shape
    h, w = height // factor, width // factor
    cut = pixels[:, : h * factor, : w * factor].astype(np.float64)
    return np.asarray(cut.reshape(3, h, factor, w, factor).mean((2, 4)))


def correlation(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation coefficient of the picture with itself at lags (0 … REACH h, ± REACH w).

    Each lag is judged by the pixels that overlap there, with their own means and variances.
    Returns an array whose [i, j] is the lag (i, j - its middle column).
    """
    _, height, width = pixels.shape
    shape = (2 * height, 2 * width)
    reach_y, reach_x = int(REACH * height), int(REACH * width)
    rows = np.arange(reach_y + 1)
    columns = np.arange(-reach_x, reach_x + 1) % shape[1]

    def lags(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
        return np.asarray(np.fft.irfft2(spectrum, shape)[np.ix_(rows, columns)])

    ones = np.fft.rfft2(np.ones((height, width)), shape)
    count = lags(ones * ones.conj())
    centred = pixels - pixels.mean((1, 2), keepdims=True)
    total, energy = np.zeros_like(count), np.zeros_like(count)
    for plane in centred:
        f = np.fft.rfft2(plane, shape)
        square = np.fft.rfft2(plane * plane, shape)
        # The sums over the overlap of the first and of the moved copy.
        first, moved = lags(ones * f.conj()), lags(f * ones.conj())
        total += lags(f * f.conj()) - first * moved / count
        v1 = lags(ones * square.conj()) - first**2 / count
        v2 = lags(square * ones.conj()) - moved**2 / count
        energy += np.sqrt(np.maximum(v1, 0) * np.maximum(v2, 0))
    return np.asarray(total / np.maximum(energy, 1e-9 * energy.max()))


def peaks(rho: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Lags of the highest local maxima, and the shortest lags along the axes.

    The shortest lags stand for pictures that do not change along an axis, such as stripes.
    """
    middle = rho.shape[1] // 2
    padded = np.pad(rho, ((1, 1), (1, 1)), constant_values=-1.0)
    padded[0, 1:-1] = rho[1, ::-1] if rho.shape[0] > 1 else -1.0  # rho(-τ) = rho(τ)
    around = np.max(
        [
            padded[1 + dy : 1 + dy + rho.shape[0], 1 + dx : 1 + dx + rho.shape[1]]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dy, dx) != (0, 0)
        ],
        axis=0,
    )
    rows, columns = np.nonzero((rho >= around) & (rho > 0.05))
    columns = columns - middle
    far = (np.hypot(rows, columns) >= SHORTEST) & ((rows > 0) | (columns > 0))
    lags = list(zip(rows[far].tolist(), columns[far].tolist(), strict=True))
    lags.sort(key=lambda lag: -float(rho[lag[0], lag[1] + middle]))
    best, others = lags[:PEAKS], lags[PEAKS:]
    # Of stripes, whose noise has peaks anywhere along them, those across are lower.
    sectors = {sector(lag) for lag in best}
    for lag in others:
        if sector(lag) not in sectors:
            sectors.add(sector(lag))
            best.append(lag)
    return [*best, (1, 0), (0, 1)]


def sector(lag: tuple[int, int]) -> int:
    """Which of SECTORS directions is a lag's; opposite ones are the same.

    >>> sector((0, 5)), sector((0, -5)), sector((5, 0))
    (0, 0, 3)
    """
    angle = np.arctan2(lag[0], lag[1]) / np.pi * SECTORS
    return round(float(angle)) % SECTORS


def reduce(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shortest basis of the same lattice (Gauss)."""
    a, b = basis[:, 0].copy(), basis[:, 1].copy()
    for _ in range(64):
        if a @ a > b @ b:
            a, b = b, a
        steps = np.round((a @ b) / (a @ a))
        if steps == 0:
            break
        b = b - steps * a
    return np.stack([a, b], axis=1)


def corners(
    u: NDArray[np.float64], v: NDArray[np.float64], n: int, m: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[list[NDArray[np.float64]]]]:
    """Where (u, v), in periods, lies between the samples of an n x m cell: bilinear weights."""
    y, x = (u - np.floor(u)) * n, (v - np.floor(v)) * m
    i, j = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    fy, fx = y - i, x - j
    return i, j, [[(1 - fy) * (1 - fx), (1 - fy) * fx], [fy * (1 - fx), fy * fx]]


def fold(
    pixels: NDArray[np.float64], basis: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """The mean cell (3, n, m) of a picture, and the share of the variance that it explains."""
    _, height, width = pixels.shape
    inverse = np.linalg.inv(basis)
    n, m = samples(basis)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    u = inverse[0, 0] * rows + inverse[0, 1] * columns
    v = inverse[1, 0] * rows + inverse[1, 1] * columns
    i, j, weights = corners(u, v, n, m)
    sums, counts = np.zeros((3, n * m)), np.zeros(n * m)
    places = []
    for di in (0, 1):
        for dj in (0, 1):
            place = (((i + di) % n) * m + (j + dj) % m).ravel()
            weight = weights[di][dj].ravel()
            places.append((place, weight))
            counts += np.bincount(place, weight, n * m)
            for c in range(3):
                sums[c] += np.bincount(place, weight * pixels[c].ravel(), n * m)
    mean = pixels.mean((1, 2))
    cell = np.where(counts > 1e-9, sums / np.maximum(counts, 1e-9), mean[:, None])
    cell = filled(cell.reshape(3, n, m), (counts > 1e-9).reshape(n, m)).reshape(3, n * m)
    total = float(((pixels - mean[:, None, None]) ** 2).sum())
    # A pixel's own repeat is one of those in its mean: without it the residual would be larger by
    # 1 / (1 - 1/repeats). Neighbours are correlated, so it is repeats that count, not pixels.
    repeats = height * width / max(1.0, abs(float(np.linalg.det(basis))))
    alone = 1.0 - min(1.0 / repeats, 0.99)
    rest = 0.0
    for c in range(3):
        fitted = sum(weight * cell[c][place] for place, weight in places)
        rest += float(((pixels[c].ravel() - fitted) ** 2).sum())
    share = 1.0 - rest / alone**2 / max(total, 1e-30)
    return cell.reshape(3, n, m), share


def deviations(
    pixels: NDArray[np.float64], basis: NDArray[np.float64], cell: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standard deviations (3, n, m) of a picture from its continued cell, at places of the cell.

    What is seen of a place is a handful of repeats, so neighbours share theirs, and the whole's
    counts as one more.
    """
    rows, columns = np.mgrid[: pixels.shape[1], : pixels.shape[2]].astype(np.float64)
    square = (pixels - sampled(cell, basis, rows, columns)) ** 2
    repeats = pixels[0].size / max(1.0, abs(float(np.linalg.det(basis))))
    local = fold(square, basis)[0]
    near = [np.roll(local, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    local = np.mean(near, axis=0)
    found = (repeats * local + square.mean((1, 2))[:, None, None]) / (repeats + 1)
    # A pixel's own repeat is one of those in its mean.
    found /= 1.0 - min(1.0 / repeats, 0.5)
    return np.asarray(np.sqrt(found))


def samples(basis: NDArray[np.float64]) -> tuple[int, int]:
    """How many samples a cell has along both periods: about one for each pixel of their lengths.

    Where the periods are whole numbers of pixels, as many as make every pixel fall on a sample, if
    these are not too many: nothing is blurred then.
    """
    lengths = np.hypot(*basis)
    if bool((basis == np.round(basis)).all()):
        (p, q), (r, s) = basis.round().astype(int).tolist()
        area = abs(p * s - q * r)
        # Of the inverse's rows (s, -q) / area and (-r, p) / area.
        n, m = area // math.gcd(area, s, q), area // math.gcd(area, r, p)
        if n <= MOST_SAMPLES * lengths[0] and m <= MOST_SAMPLES * lengths[1]:
            return n, m
    return max(1, round(float(lengths[0]))), max(1, round(float(lengths[1])))


def filled(cell: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A cell (3, n, m) whose places that no pixel fell on have the mean of their neighbours."""
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    while not seen.all() and seen.any():
        near = sum(np.roll(cell * seen, step, (1, 2)) for step in steps)
        count = sum(np.roll(seen.astype(np.float64), step, (0, 1)) for step in steps)
        cell = np.where(seen, cell, near / np.maximum(count, 1.0))
        seen = seen | (np.asarray(count) > 0)
    return cell


def whole(pixels: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lattice of whole pixels next to a found one, where it explains as much.

    Drawn patterns have such ones, and edges that are sharp in every place.
    """
    trial = np.round(basis)
    if abs(float(np.linalg.det(trial))) < 0.5:
        return basis
    trial = reduce(trial)
    return trial if fold(pixels, trial)[1] >= AS_MUCH * fold(pixels, basis)[1] else basis


def simplify(pixels: NDArray[np.float64], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lattice with a half, third or fifth of the cell, as long as that explains nearly as much.

    Whole lags miss short periods of broken length, and find their multiples.
    """
    share = fold(pixels, basis)[1]
    for _ in range(4):
        a, b = basis[:, 0], basis[:, 1]
        trials = []
        for part in (2, 3, 5):
            for steps in range(part):
                trials += [((a + steps * b) / part, b), (a, (b + steps * a) / part)]
        found = []
        for pair in trials:
            trial = reduce(np.stack(pair, axis=1))
            if float(np.hypot(trial[0], trial[1]).min()) >= SHORTEST:
                found.append((fold(pixels, trial)[1], trial))
        most, trial = max(found, key=lambda item: item[0], default=(-1.0, basis))
        if most < SIMPLER * share:
            break
        basis = refine(pixels, trial)
        share = fold(pixels, basis)[1]
    return basis


def refine(
    pixels: NDArray[np.float64], basis: NDArray[np.float64], step: float = 0.5
) -> NDArray[np.float64]:
    """Moves the periods by fractions of a pixel while the folded cell explains more."""
    best = fold(pixels, basis)[1]
    while step > 0.01:
        improved = False
        for index in np.ndindex(2, 2):
            for sign in (1, -1):
                trial = basis.copy()
                trial[index] += sign * step
                if float(np.hypot(trial[0], trial[1]).min()) < 1.0:
                    continue
                share = fold(pixels, trial)[1]
                if share > best:
                    best, basis, improved = share, trial, True
        if not improved:
            step /= 2
    return basis


def wrapped(basis: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The nearest lattice on which (height, 0) and (0, width) are whole numbers of periods."""
    sides = np.diag([float(height), float(width)])
    counts = np.round(np.linalg.solve(basis, sides))
    if abs(float(np.linalg.det(counts))) < 0.5:
        return sides  # the picture is smaller than a cell
    return np.asarray(sides @ np.linalg.inv(counts))
