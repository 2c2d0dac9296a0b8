"""Lattices: found where a picture repeats, continued, bent to tiles; none where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsynth.image import bent, find_lattice
from fastsynth.image.lattice import correlation, fold, wrapped

Float = NDArray[np.float32]


def dots(height: int, width: int, basis: NDArray[np.float64], noise: float = 0.05) -> Float:
    """Soft dots on a lattice whose periods are the columns of `basis`, with noise."""
    rows, columns = np.mgrid[:height, :width]
    u, v = np.tensordot(np.linalg.inv(basis), np.stack([rows, columns]), 1)
    wave = np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) + 0.5 * np.sin(2 * np.pi * (u + v))
    plane = 0.5 + 0.12 * wave
    grain = np.random.default_rng(0).normal(0, noise, (3, height, width))
    return np.clip(np.stack([plane, 1 - plane, 0.5 * plane]) + grain, 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    "basis",
    [
        np.array([[12.0, 0.0], [0.0, 17.0]]),
        np.array([[9.3, 4.1], [-5.2, 13.7]]),
        np.array([[14.0, 14.0], [-8.5, 8.5]]),
    ],
)
def test_a_lattice_is_found_to_a_fraction_of_a_pixel(basis: NDArray[np.float64]) -> None:
    lattice = find_lattice(dots(90, 110, basis))
    assert lattice is not None
    found = np.array([lattice.a, lattice.b]).T
    # In terms of the true periods the found ones are whole numbers: the same lattice, or a part.
    counts = np.linalg.solve(basis, found)
    assert np.abs(counts - np.round(counts)).max() < 0.03
    assert 1 <= abs(round(float(np.linalg.det(np.round(counts))))) <= 2
    assert lattice.share > 0.7


def test_the_continued_cell_is_the_pattern() -> None:
    basis = np.array([[9.3, 4.1], [-5.2, 13.7]])
    lattice = find_lattice(dots(96, 96, basis, 0.02))
    assert lattice is not None
    larger = lattice.continued(150, 170)
    clean = dots(150, 170, basis, 0.0)
    assert np.corrcoef(larger.ravel(), clean.ravel())[0, 1] > 0.95


def test_a_wrapped_lattice_fits_together() -> None:
    lattice = find_lattice(dots(96, 96, np.array([[9.3, 4.1], [-5.2, 13.7]])))
    assert lattice is not None
    tile = lattice.continued(70, 83, wrap=True)
    inside = max(float(np.abs(np.diff(tile, axis=k)).max()) for k in (1, 2))
    assert np.abs(tile[:, 0] - tile[:, -1]).max() < 1.5 * inside
    assert np.abs(tile[:, :, 0] - tile[:, :, -1]).max() < 1.5 * inside
    basis = wrapped(np.array([lattice.a, lattice.b]).T, 70, 83)
    counts = np.linalg.solve(basis, np.diag([70.0, 83.0]))
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)


def test_bending_moves_the_lattice_onto_the_tile() -> None:
    lattice = find_lattice(dots(96, 96, np.array([[9.3, 4.1], [-5.2, 13.7]])))
    assert lattice is not None
    picture = bent(dots(96, 96, np.array([[9.3, 4.1], [-5.2, 13.7]])), lattice, 70, 83)
    assert picture.shape == (3, 96, 96)
    basis = np.array([lattice.a, lattice.b]).T
    target = wrapped(basis, 70, 83)
    share = fold(picture.astype(np.float64), target)[1]
    assert share > 0.6
    assert share > fold(picture.astype(np.float64), basis)[1]


def test_a_fifth_of_the_cell_is_found() -> None:
    """Whole lags hit a turned square lattice at (2a + b, 2b - a) best: five times its cell."""
    basis = 19.0 * np.array([[np.cos(0.35), -np.sin(0.35)], [np.sin(0.35), np.cos(0.35)]])
    rows, columns = np.mgrid[:192, :192]
    u, v = np.tensordot(np.linalg.inv(basis), np.stack([rows, columns]), 1)
    off = np.hypot(*np.tensordot(basis, np.stack([u - np.round(u), v - np.round(v)]), 1))
    shade = np.random.default_rng(0).normal(1.0, 0.15, (40, 40))
    shades = shade[np.round(u).astype(int) % 40, np.round(v).astype(int) % 40]
    plane = 0.9 - 0.7 * shades * np.clip(6.5 - off, 0, 1)
    lattice = find_lattice(np.stack([plane] * 3).clip(0, 1).astype(np.float32))
    assert lattice is not None
    assert np.hypot(*lattice.a) == pytest.approx(19, abs=0.1)
    assert np.hypot(*lattice.b) == pytest.approx(19, abs=0.1)


def test_stripes_have_a_lattice() -> None:
    plane = np.where(np.arange(80) // 6 % 2, 0.8, 0.2)[:, None] * np.ones((1, 90))
    lattice = find_lattice(np.stack([plane] * 3).astype(np.float32))
    assert lattice is not None
    assert lattice.period == pytest.approx(12, abs=0.1)


def test_noisy_stripes_of_broken_period_have_a_lattice() -> None:
    """Along the stripes the noise has peaks that are higher than those of the period."""
    noise = np.random.default_rng(2).normal(0, 0.03, (128, 128))
    plane = np.where(np.arange(128) / 13.7 % 1 < 0.4, 0.2, 0.9) + noise
    lattice = find_lattice(np.stack([plane] * 3).astype(np.float32))
    assert lattice is not None
    assert lattice.share > 0.9
    periods = lattice.period / 13.7
    assert abs(periods - round(periods)) < 0.02


@pytest.mark.parametrize("kind", ["noise", "flat", "ramp", "tiny"])
def test_no_lattice_where_nothing_repeats(kind: str) -> None:
    rng = np.random.default_rng(1)
    picture = {
        "noise": rng.random((3, 80, 80), np.float32),
        "flat": np.full((3, 80, 80), 0.5, np.float32),
        "ramp": np.broadcast_to(np.linspace(0, 1, 80, dtype=np.float32), (3, 80, 80)),
        "tiny": rng.random((3, 8, 8), np.float32),
    }[kind]
    assert find_lattice(np.ascontiguousarray(picture)) is None


def test_correlation_is_the_coefficient_of_what_overlaps() -> None:
    pixels = np.random.default_rng(2).random((1, 14, 12))
    rho = correlation(pixels)
    middle = rho.shape[1] // 2
    for dy, dx in ((0, 0), (3, 2), (5, -4)):
        a = pixels[0, dy:, max(0, dx) : 12 + min(0, dx)]
        b = pixels[0, : 14 - dy, max(0, -dx) : 12 - max(0, dx)]
        assert rho[dy, middle + dx] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
