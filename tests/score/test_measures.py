"""Each measure against a formula written out, or against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats
from tests.support import random_image
from tests.textures import TEXTURES

from fastsynth.image import luminance
from fastsynth.image.regularity import structure_maps
from fastsynth.score import layout
from fastsynth.score.component import Component, composite
from fastsynth.score.features import gram_distance
from fastsynth.score.patches import copied_share, misfit
from fastsynth.score.pixels import Settings, directions, patches_at, places, pyramid, quantiles
from fastsynth.score.statistics import (
    QUANTIZATION,
    Distribution,
    band_power,
    correlation_distance,
    derivative_distribution,
    describe,
    patch_directions,
    patch_distribution,
    spectrum_distance,
)


def planar(name: str, side: int, seed: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(TEXTURES[name](side, seed).transpose(2, 0, 1))


def rho(plane: NDArray[np.float64], dy: int, dx: int) -> float:
    centred = plane - plane.mean()
    height, width = plane.shape
    pairs = [
        centred[y, x] * centred[y + dy, x + dx]
        for y in range(height)
        for x in range(width)
        if 0 <= y + dy < height and 0 <= x + dx < width
    ]
    return float(np.mean(pairs) / centred.var())


def test_autocorrelation_distance_by_direct_sums() -> None:
    a, b = random_image(24, 26, seed=1), random_image(26, 24, seed=2)
    settings = Settings(levels=1, window=16)
    found = correlation_distance(describe(a, settings), describe(b, settings))
    reach = 9  # 3/8 of 24
    lags = [
        (dy, dx)
        for dy in range(reach + 1)
        for dx in range(-reach, reach + 1)
        if max(dy, abs(dx)) >= 8
    ]
    expected = []
    for x, y in zip(structure_maps(a), structure_maps(b), strict=True):
        squares = [(rho(x, *lag) - rho(y, *lag)) ** 2 for lag in lags]
        expected.append(np.sqrt(np.mean(squares)))
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_structure_maps_against_scipy() -> None:
    pixels = random_image(40, 30)
    luma, slope, chroma = structure_maps(pixels)
    weights = np.array([0.299, 0.587, 0.114])
    y = np.tensordot(weights, pixels.astype(np.float64), 1)
    assert luma == pytest.approx(y, abs=1e-6)
    dy = ndimage.gaussian_filter(y, 1.0, order=(1, 0))
    dx = ndimage.gaussian_filter(y, 1.0, order=(0, 1))
    assert slope == pytest.approx(np.hypot(dy, dx), abs=1e-4)
    assert chroma == pytest.approx(pixels[0].astype(np.float64) - pixels[2], abs=1e-6)


def test_quantiles_give_the_wasserstein_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5000)), 0.4 + 1.3 * rng.gumbel(size=(3, 8000))
    found = np.abs(quantiles(a) - quantiles(b)).mean(axis=1)
    expected = [stats.wasserstein_distance(x, y) for x, y in zip(a, b, strict=True)]
    assert found == pytest.approx(expected, rel=0.01)
    distance = Distribution.of(a).distance(Distribution.of(b))
    assert distance == pytest.approx(np.mean(np.array(expected) / b.std(axis=1)), rel=0.01)


def test_patches_are_projected_as_written_out() -> None:
    planes = random_image(20, 17)
    found = patch_distribution(planes, level=0)
    vectors = patch_directions()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(96))
    assert np.linalg.matrix_rank(vectors) > 20
    rows = [
        planes[:, y : y + 7, x : x + 7].astype(np.float64).ravel()
        for y in range(14)
        for x in range(11)
    ]
    projected = vectors @ np.array(rows).T
    assert found.quantiles == pytest.approx(quantiles(projected), abs=1e-5)
    assert found.spread == pytest.approx(projected.std(axis=1), rel=1e-4)


def test_derivatives_of_a_ramp() -> None:
    """A plane 0.01 x + 0.02 y has just these slopes, and no second derivatives."""
    y, x = np.mgrid[:40, :50]
    found = derivative_distribution((0.01 * x + 0.02 * y).astype(np.float32))
    expected = np.array([0.01, 0.02, 0, 0, 0])[:, None]
    assert np.abs(found.quantiles - expected).max() < 1e-4


def test_power_of_white_noise_is_flat() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (512, 512))
    decibels = band_power(noise, 64)
    assert decibels.mean() == pytest.approx(10 * np.log10(0.01 + QUANTIZATION), abs=0.15)
    assert decibels.std() < 0.5


def test_power_by_bands_written_out() -> None:
    """Two windows that overlap by half, transformed and banded one frequency at a time."""
    side = 16
    plane = np.random.default_rng(3).random((side, side + side // 2))
    centred = plane - plane.mean()
    hann = np.array([np.sin(np.pi * (i + 0.5) / side) ** 2 for i in range(side)])
    taper = np.outer(hann, hann)
    taper /= np.linalg.norm(taper)
    bands: dict[tuple[int, int], list[float]] = {}
    for u in range(-side // 2, side // 2):
        for v in range(side // 2 + 1):
            radius = np.hypot(u, v) / side
            if radius < 2 / side:
                continue
            waves = np.exp(
                -2j * np.pi * np.add.outer(u * np.arange(side), v * np.arange(side)) / side
            )
            power = [
                abs((centred[:, start : start + side] * taper * waves).sum()) ** 2
                for start in (0, side // 2)
            ]
            octave = int(np.floor(2 * np.log2(radius * side / 2) + 1e-9))
            degrees = np.degrees(np.arctan2(u, v)) % 180
            orientation = int(np.floor(degrees / 22.5 + 0.5)) % 8
            bands.setdefault((octave, orientation), []).append(float(np.mean(power)))
    expected = [10 * np.log10(np.mean(bands[key]) + 1 / 12 / 255**2) for key in sorted(bands)]
    assert band_power(plane, side) == pytest.approx(expected, rel=1e-9)


def test_spectrum_distance_clips() -> None:
    a = np.array([0.0, 50.0])
    assert spectrum_distance(a, np.array([4.0, 0.0])) == pytest.approx(np.sqrt((16 + 900) / 2))


def test_directions_are_even_and_fixed() -> None:
    found = directions(4000, 3, seed=1)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4000))
    assert np.abs(found.mean(axis=0)).max() < 0.04
    assert found.T @ found / 4000 == pytest.approx(np.eye(3) / 3, abs=0.02)
    assert np.array_equal(found, directions(4000, 3, seed=1))
    assert not np.array_equal(found, directions(4000, 3, seed=2))


def test_places_are_different_and_ordered() -> None:
    chosen = places(1000, 100, seed=1)
    assert len(chosen) == 100
    assert (np.diff(chosen) > 0).all()
    assert chosen.max() < 1000
    assert np.array_equal(places(5, 10, seed=1), np.arange(5))


def test_pyramid_halves() -> None:
    planes = random_image(21, 16)
    levels = pyramid(planes, 3)
    assert [level.shape for level in levels] == [(3, 21, 16), (3, 11, 8), (3, 6, 4)]
    smooth = ndimage.gaussian_filter(planes[1].astype(np.float64), 1.0, truncate=3.0)
    assert levels[1][1] == pytest.approx(smooth[::2, ::2], abs=1e-5)


def test_copies_are_found_as_by_brute_force() -> None:
    """Nearest patches by comparing all, on pictures small enough for it."""
    exemplar = planar("pebbles", 48, 0)
    image = planar("pebbles", 40, 1)
    image[:, 8:, 8:] = exemplar[:, 3:35, 10:42]

    def means(planes: NDArray[np.float32], y: int, x: int) -> NDArray[np.float64]:
        patch = planes[:, y : y + 16, x : x + 16].astype(np.float64)
        return patch.reshape(3, 4, 4, 4, 4).mean(axis=(2, 4)).ravel()

    corners = [(y, x) for y in range(33) for x in range(33)]
    table = np.array([means(exemplar, *corner) for corner in corners])

    def offset(y: int, x: int) -> tuple[int, int]:
        best = int(((table - means(image, y, x)) ** 2).sum(axis=1).argmin())
        return corners[best][0] - y, corners[best][1] - x

    anchors = [(y, x) for y in range(0, 24, 8) for x in range(0, 24, 8)]
    same = [
        offset(y, x) == offset(y + dy, x + dx) for y, x in anchors for dy, dx in ((0, 8), (8, 0))
    ]
    assert copied_share(image, exemplar) == pytest.approx(np.mean(same))
    assert 0.2 < np.mean(same) < 1


def test_patches_at_are_the_slices() -> None:
    planes = random_image(9, 8)
    found = patches_at(planes, np.array([0, 7]), 3)
    assert np.array_equal(found[0], planes[:, :3, :3].ravel())
    assert np.array_equal(found[1], planes[:, 1:4, 1:4].ravel())


def test_misfit_finds_the_odd_place() -> None:
    exemplar, image = planar("bricks", 128, 0), planar("bricks", 128, 1)
    image[:, 40:70, 60:90] = np.random.default_rng(0).random((3, 30, 30))
    heat = misfit(image, exemplar)
    assert heat.shape == (128, 128)
    odd = np.zeros((128, 128), bool)
    odd[40:70, 60:90] = True
    border = ndimage.binary_dilation(odd, iterations=16)
    assert heat[odd].mean() > 2.5 * heat[~border].mean()
    assert np.unravel_index(heat.argmax(), heat.shape) in set(zip(*np.nonzero(odd), strict=True))


def test_gram_distance_is_relative() -> None:
    gram = {"a": np.eye(2), "b": 3 * np.eye(3)}
    other = {"a": 2 * np.eye(2), "b": 3 * np.eye(3)}
    assert gram_distance(other, gram) == pytest.approx(0.5)


def test_composite_is_the_geometric_mean_of_what_exceeds_the_base() -> None:
    parts = [Component(0.2, 0.1), Component(0.8, 0.1), Component(0.01, 0.1)]
    assert composite(parts) == pytest.approx(16 ** (1 / 3))


def test_structure_loss_runs_from_0_to_2() -> None:
    """Noise against itself, its negative, other noise, and itself with less contrast."""
    a, b = random_image(64, 64, seed=1), random_image(64, 64, seed=2)
    assert layout.structure_loss(a, a) == pytest.approx(0, abs=1e-9)
    assert layout.structure_loss(1 - a, a) > 1.8
    assert layout.structure_loss(b, a) == pytest.approx(1, abs=0.1)
    # A change of contrast and brightness is none of the layout.
    assert layout.structure_loss(np.float32(0.2) + np.float32(0.5) * a, a) < 0.05


def test_edges_of_a_square() -> None:
    square = np.zeros((3, 64, 64), np.float32)
    square[:, 16:48, 16:48] = 1
    found = layout.edges(luminance(square))
    rows, columns = np.nonzero(found)
    distance = np.minimum(np.abs(rows - 15.5), np.abs(rows - 47.5))
    distance = np.minimum(distance, np.minimum(np.abs(columns - 15.5), np.abs(columns - 47.5)))
    assert len(rows) > 90
    assert distance.max() <= 1.5
    assert layout.edge_loss(square, square) == 0
    assert layout.edge_loss(np.roll(square, 2, axis=2), square) < 0.05
    assert layout.edge_loss(np.roll(square, 12, axis=2), square) > 0.3
    flat = np.full((3, 64, 64), 0.5, np.float32)
    assert layout.edge_loss(flat, flat) == 0
    assert layout.edge_loss(flat, square) == 1


def test_self_similarity_by_pairs() -> None:
    a, b = planar("dots", 64, 0), planar("pebbles", 64, 1)
    found = layout.self_similarity_loss(a, b)
    chosen = places(64 * 64, 256, seed=8)

    def rows(planes: NDArray[np.float32]) -> NDArray[np.float64]:
        features = layout._features(planes)[:, chosen]
        table = np.zeros((256, 256))
        for i in range(256):
            for j in range(256):
                if i != j:
                    x, y = features[:, i], features[:, j]
                    table[i, j] = 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        return table / table.sum(axis=1, keepdims=True)

    expected = 0.5 * np.abs(rows(a) - rows(b)).sum(axis=1).mean()
    assert found == pytest.approx(expected, rel=1e-6)
    assert layout.self_similarity_loss(a, a) == 0
