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


def chequers(height: int, width: int, side: float) -> Float:
    """A chequerboard of two colours, the mean of 3 x 3 points in each pixel."""
    rows, columns = ((np.arange(3 * n) + 0.5) / 3 // side for n in (height, width))
    points = ((rows[:, None] + columns[None]) % 2).reshape(height, 3, width, 3).mean((1, 3))
    return np.stack([0.2 + 0.6 * points, 0.3 + 0.5 * points, 0.4 + 0.3 * points]).astype(np.float32)


@pytest.mark.parametrize("side", [8, 13])
def test_a_lattice_of_whole_pixels_keeps_its_edges(side: int) -> None:
    lattice = find_lattice(chequers(100, 118, side))
    assert lattice is not None
    assert np.abs(lattice.a) == pytest.approx([side, side], abs=0)
    assert np.abs(lattice.b) == pytest.approx([side, side], abs=0)
    assert lattice.share == pytest.approx(1.0)
    larger = lattice.continued(150, 171, offset=(1.0, 5.0))
    np.testing.assert_allclose(larger, chequers(151, 176, side)[:, 1:, 5:], atol=1e-6)


def test_deviations_are_those_of_the_places() -> None:
    """Tiles of a sure grey and of any grey, in turn, with little noise in all."""
    rng = np.random.default_rng(3)
    grey = np.where(
        (np.arange(20)[:, None] + np.arange(20)) % 2, 0.8, rng.normal(0.4, 0.1, (20,) * 2)
    )
    plane = np.kron(grey, np.ones((8, 8)))
    noise = rng.normal(0, 0.02, (3, 160, 160))
    lattice = find_lattice((plane + noise).astype(np.float32))
    assert lattice is not None
    inside = np.sort(lattice.deviation[0].ravel())
    sure, free = inside[: inside.size // 8].mean(), inside[-inside.size // 8 :].mean()
    assert sure == pytest.approx(0.02, rel=0.6)
    assert free == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("wrap", [False, True])
def test_bounds_lie_about_the_continued_cell(wrap: bool) -> None:
    lattice = find_lattice(dots(96, 96, np.array([[9.3, 4.1], [-5.2, 13.7]])))
    assert lattice is not None
    place = {"offset": (3.0, 40.0), "wrap": wrap}
    low, high = lattice.bounds((70, 83), deviations=2.0, **place)
    middle = lattice.continued(70, 83, **place)
    np.testing.assert_allclose((low + high) / 2, middle, atol=1e-6)
    assert (high - low).mean() == pytest.approx(4 * lattice.deviation.mean(), rel=0.02)
    # With a margin the lattice goes on; the inside is the same.
    wide = lattice.bounds((70, 83), deviations=2.0, margin=5, **place)[0]
    np.testing.assert_allclose(wide[:, 5:-5, 5:-5], low, atol=1e-6)
    # Reduced to half, a pixel is the mean of four.
    whole = lattice.bounds((70, 84), deviations=2.0, **place)[0]
    half = lattice.bounds((70, 84), deviations=2.0, reduced=(35, 42), **place)[0]
    np.testing.assert_allclose(half, whole.reshape(3, 35, 2, 42, 2).mean((2, 4)), atol=1e-6)
