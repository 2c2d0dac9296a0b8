"""Regularity: lattices far above the threshold, everything else below; formulas by direct sums."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.textures import TEXTURES

from fastsynth import ImageError
from fastsynth.image import regularity
from fastsynth.image.regularity import REGULAR, autocorrelation, long_lags


def direct(plane: NDArray[np.float64], weight: NDArray[np.float64], dy: int, dx: int) -> float:
    """ρ(τ) by the sum over all pairs of pixels."""
    mean = (plane * weight).sum() / weight.sum()
    centred = plane - mean
    variance = (centred**2 * weight).sum() / weight.sum()
    total = pairs = 0.0
    height, width = plane.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                both = weight[y, x] * weight[y + dy, x + dx]
                total += both * centred[y, x] * centred[y + dy, x + dx]
                pairs += both
    return float(total / pairs / variance)


@pytest.mark.parametrize("masked", [False, True])
def test_autocorrelation_is_the_direct_sum(masked: bool) -> None:
    rng = np.random.default_rng(1)
    plane = rng.random((9, 11))
    alpha = (rng.random((9, 11)) < 0.8).astype(np.float32) if masked else None
    weight = np.ones((9, 11)) if alpha is None else alpha.astype(np.float64)
    found = autocorrelation(plane, 4, alpha)
    assert found is not None
    assert found.shape == (5, 9)
    for dy in range(5):
        for dx in range(-4, 5):
            assert found[dy, 4 + dx] == pytest.approx(direct(plane, weight, dy, dx), abs=1e-12)


def test_a_flat_plane_has_no_autocorrelation() -> None:
    assert autocorrelation(np.full((12, 12), 0.5), 4) is None
    assert autocorrelation(np.ones((12, 12)), 4, np.zeros((12, 12), np.float32)) is None


def test_long_lags_leave_out_the_near_ones() -> None:
    chosen = long_lags(12)
    assert chosen.shape == (13, 25)
    assert not chosen[7, 12 - 7 : 12 + 8].any()
    assert chosen[8].all()
    assert chosen[0, [0, 4, 20, 24]].all()


@pytest.mark.parametrize("name", TEXTURES)
@pytest.mark.parametrize("side", [96, 256])
def test_lattices_are_regular_and_stochastic_textures_are_not(name: str, side: int) -> None:
    found = regularity(TEXTURES[name](side, 3))
    if name in ("bricks", "weave", "dots"):
        assert found > 2 * REGULAR
    else:
        assert found < 0.75 * REGULAR


def test_shading_is_not_regularity() -> None:
    stone = TEXTURES["pebbles"](256, 1) * 0.6
    ramp = np.linspace(0, 0.4, 256, dtype=np.float32)
    assert regularity(stone + ramp[:, None, None]) < 0.75 * REGULAR


def test_transparent_places_do_not_count() -> None:
    wall = TEXTURES["bricks"](256, 2)
    alpha = np.ones((256, 256, 1), np.float32)
    alpha[80:180, 60:190] = 0
    holed = np.concatenate([wall, alpha], axis=2)
    holed[80:180, 60:190, :3] = np.random.default_rng(0).random((100, 130, 3))
    assert regularity(holed) == pytest.approx(regularity(wall), abs=0.08)


def test_large_pictures_are_reduced() -> None:
    wall = np.repeat(np.repeat(TEXTURES["bricks"](512, 2), 4, 0), 4, 1)
    assert regularity(wall) > 2 * REGULAR


def test_flat_is_zero_and_small_is_refused() -> None:
    assert regularity(np.full((40, 50, 3), 77, np.uint8)) == 0
    with pytest.raises(ImageError, match=r"40 × 31 pixels.*at least 32 × 32"):
        regularity(np.zeros((31, 40, 3), np.uint8))
