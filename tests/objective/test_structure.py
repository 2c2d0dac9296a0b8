"""Regions, shifts, octaves and Gaussians: against float64 formulas, autograd, SciPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.objective import reference
from tests.objective.test_statistics import features, slope_by_differences
from tests.support import TinyNetwork, random_image, relative_error

from fastsynth import (
    GaussianWasserstein,
    GuidedStyle,
    MeanCovariance,
    ObjectiveError,
    PyramidGram,
    ShiftedGram,
    Style,
    Synthesizer,
    _core,
)
from fastsynth.objective import bures, guide, shifted

LIMIT = 3e-6
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[Synthesizer]:
    with Synthesizer(weights="random:0") as made:
        yield made


def squares(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 6 + 1, width // 6 + 1, 3))
    fine = 0.7 * np.kron(coarse, np.ones((6, 6, 1)))[:height, :width]
    return np.asarray((fine + 0.3 * rng.random(fine.shape)) * 255, np.uint8)


def first_losses(synthesizer: Synthesizer, objective: Any, init: Any) -> dict[str, float]:
    result = synthesizer.minimize(objective, init=init, scales=1, max_evaluations=1)
    return {name: float(v[0]) for name, v in result.losses.items() if name != "range"}


@pytest.mark.parametrize("block", [1, 8])
def test_a_gathered_term_sees_its_positions_alone(block: int, pool: _core.ThreadPool) -> None:
    f, target = features((16, 30, 40), 1), _core.gram(features((16, 5, 5), 2), pool)
    positions = np.sort(np.random.default_rng(3).choice(1200, 700, replace=False)).astype(np.int32)
    roots = np.random.default_rng(4).random(700, np.float32) + np.float32(0.2)
    shown = f.reshape(16, -1)[:, positions] * roots
    value, slope = _core.evaluate_layer_term(
        _core.GramTerm(target), np.ascontiguousarray(shown[:, None]), 2.0, pool
    )
    expected = np.zeros((16, 1200), np.float32)
    expected[:, positions] = slope[:, 0] * roots
    expected = expected.reshape(f.shape)
    term = _core.GatherTerm(_core.GramTerm(target), 30, 40, positions, roots)
    blocked = reference.to_blocked(f, block)
    found, gradient = _core.evaluate_layer_term(term, blocked, 2.0, pool, block)
    assert found == pytest.approx(value, rel=1e-6)
    assert relative_error(reference.to_planar(gradient), expected) < LIMIT
    _, added = _core.evaluate_layer_term(term, blocked, 2.0, pool, block, np.ones_like(blocked))
    np.testing.assert_allclose(added, gradient + 1, atol=1e-6)
    _, alone = _core.evaluate_layer_term(term, blocked, 2.0, _core.ThreadPool(1), block)
    np.testing.assert_array_equal(alone, gradient)


@pytest.mark.torch
@pytest.mark.parametrize(("shape", "block"), [((16, 9, 7), 16), ((5, 1, 6), 1), ((24, 3, 70), 8)])
def test_weighted_covariance_matches_autograd(
    shape: tuple[int, ...], block: int, pool: _core.ThreadPool
) -> None:
    torch = pytest.importorskip("torch")
    f, other = features(shape, 1), features((shape[0], 5, 8), 2)
    count = shape[1] * shape[2]
    roots = np.random.default_rng(3).random(count, np.float32) + np.float32(0.1)
    roots /= np.sqrt((roots.astype(np.float64) ** 2).mean()).astype(np.float32)
    flat = other.reshape(shape[0], -1)
    mean, covariance = flat.mean(1), np.atleast_2d(np.cov(flat, bias=True)).astype(np.float32)
    term = _core.CovarianceTerm(mean, covariance, 0.7, 1.3, roots)
    shown = np.ascontiguousarray(f * roots.reshape(1, *shape[1:]))
    value, slope = _core.evaluate_layer_term(
        term, reference.to_blocked(shown, block), 2.0, pool, block
    )
    g = torch.tensor(shown.reshape(shape[0], -1), dtype=torch.float64, requires_grad=True)
    r = torch.tensor(roots, dtype=torch.float64)
    m = (g * r).mean(1)
    c = g @ g.T / count - m[:, None] * m[None]
    loss = 0.7 * ((m - torch.tensor(mean)) ** 2).sum()
    loss = loss + 1.3 * ((c - torch.tensor(covariance)) ** 2).sum()
    (2 * loss).backward()
    assert value == pytest.approx(loss.item(), rel=LIMIT)
    found = reference.to_planar(slope).reshape(shape[0], -1)
    assert relative_error(found, g.grad.numpy()) < LIMIT


def test_without_roots_it_is_the_moments_term(pool: _core.ThreadPool) -> None:
    f, other = features((16, 12, 11), 5), features((16, 6, 6), 6)
    flat = other.reshape(16, -1)
    mean, covariance = flat.mean(1), np.cov(flat, bias=True).astype(np.float32)
    same = _core.MomentsTerm(mean, covariance, "covariance", 0.7, 1.3)
    value, slope = _core.evaluate_layer_term(same, f, 1.0, pool)
    found, gradient = _core.evaluate_layer_term(
        _core.CovarianceTerm(mean, covariance, 0.7, 1.3), f, 1.0, pool
    )
    assert found == pytest.approx(value, rel=1e-6)
    assert relative_error(gradient, slope) < LIMIT


@pytest.mark.parametrize(("shape", "block"), [((8, 9, 12), 8), ((5, 7, 6), 1), ((16, 4, 30), 16)])
def test_shifted_gram(shape: tuple[int, ...], block: int, pool: _core.ThreadPool) -> None:
    f, steps, scale = features(shape, 7), [1, 3, 5], 0.4
    rng = np.random.default_rng(8)
    n = shape[0]
    targets = rng.standard_normal((2, 3, n, n)).astype(np.float32)
    centre = rng.random(n, np.float32)

    def value(x: Array) -> float:
        """By the definition: every pair of positions that a shift connects."""
        z, total = x - centre[:, None, None].astype(np.float64), 0.0
        for axis in range(2):
            for k, d in enumerate(steps):
                extent = shape[2] if axis == 0 else shape[1]
                if d >= extent:
                    continue
                a = z[:, :, : extent - d] if axis == 0 else z[:, : extent - d]
                b = z[:, :, d:] if axis == 0 else z[:, d:]
                found = np.einsum("ihw,jhw->ij", b, a) / a[0].size
                total += ((found - targets[axis, k]) ** 2).sum()
        return float(scale * total)

    term = _core.ShiftedGramTerm(targets.reshape(-1, n, n), steps, centre, scale)
    blocked = reference.to_blocked(f, block)
    found, slope = _core.evaluate_layer_term(term, blocked, 2.0, pool, block)
    assert found == pytest.approx(value(f.astype(np.float64)), rel=LIMIT)
    directions, expected = slope_by_differences(value, f.astype(np.float64), 9)
    along = (directions * reference.to_planar(slope)).sum((1, 2, 3))
    assert relative_error(along, 2 * expected) < 1e-5
    _, added = _core.evaluate_layer_term(term, blocked, 2.0, pool, block, np.ones_like(blocked))
    np.testing.assert_allclose(added, slope + 1, rtol=1e-5, atol=1e-5)


def test_shifted_grams_of_an_exemplar_are_met_by_itself(
    synthesizer: Synthesizer, pool: _core.ThreadPool
) -> None:
    picture, other = squares(96, 96, 10), squares(96, 96, 11)
    term = ShiftedGram(picture, ["conv1_2", "conv2_1"], sizing="native")
    own = sum(first_losses(synthesizer, term, picture).values())
    assert own < 0.03  # but for the borders, where the network sees zeros
    assert sum(first_losses(synthesizer, term, other).values()) > 10 * own
    maps = np.random.default_rng(12).standard_normal((3, 5, 6))
    turned = shifted.shifted_grams(maps.transpose(0, 2, 1), [2])
    np.testing.assert_allclose(turned[1], shifted.shifted_grams(maps, [2])[0])


def test_gaussian_wasserstein_matches_scipy(pool: _core.ThreadPool) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    f, other = features((8, 9, 7), 13), features((8, 6, 6), 14)
    flat = other.reshape(8, -1).astype(np.float64)
    mean, target = flat.mean(1), np.cov(flat, bias=True)

    def value(x: Array) -> float:
        y = x.reshape(8, -1)
        m, c = y.mean(1), np.cov(y, bias=True)
        root = linalg.sqrtm(target)
        cross = linalg.sqrtm(root @ c @ root).real
        squared = ((m - mean) ** 2).sum() + np.trace(c + target - 2 * cross)
        return float(squared / np.trace(target))

    term = _core.MomentFunctionTerm(bures.wasserstein(mean, target, np.eye(8)), 8)
    found, slope = _core.evaluate_layer_term(term, f, 2.0, pool)
    assert found == pytest.approx(value(f.astype(np.float64)), rel=1e-5)
    directions, expected = slope_by_differences(value, f.astype(np.float64), 15)
    assert relative_error((directions * slope).sum((1, 2, 3)), 2 * expected) < 1e-4
    # Of Gaussians that differ by their means alone it is the distance of these.
    judge = bures.wasserstein(mean, target, np.eye(8))
    moved, by_mean, by_spread = judge(mean + 1.0, target)
    assert moved == pytest.approx(8 / np.trace(target))
    np.testing.assert_allclose(by_mean, 2 / np.trace(target))
    assert np.abs(by_spread).max() < 1e-6


def test_gaussians_of_components_are_those_of_mixed_features(pool: _core.ThreadPool) -> None:
    f, other = features((12, 9, 7), 27), features((12, 6, 6), 28)
    flat = other.reshape(12, -1).astype(np.float64)
    mixtures = np.linalg.qr(np.random.default_rng(29).standard_normal((12, 5)))[0].T
    judge = bures.wasserstein(flat.mean(1), np.cov(flat, bias=True), mixtures)
    value, slope = _core.evaluate_layer_term(_core.MomentFunctionTerm(judge, 12), f, 1.0, pool)
    mixed = mixtures @ flat
    inner = bures.wasserstein(mixed.mean(1), np.cov(mixed, bias=True), np.eye(5))
    shown = _core.ProjectedTerm(
        _core.MomentFunctionTerm(inner, 5), np.ascontiguousarray(mixtures, np.float32)
    )
    expected, gradient = _core.evaluate_layer_term(shown, f, 1.0, pool)
    assert value == pytest.approx(expected, rel=1e-5)
    assert relative_error(slope, gradient) < 1e-4


def test_flat_pictures_have_gaussians() -> None:
    judge = bures.wasserstein(np.ones(4), np.zeros((4, 4)), np.eye(4))
    value, by_mean, by_spread = judge(np.zeros(4), np.zeros((4, 4)))
    assert np.isfinite([value, *by_mean, *by_spread.ravel()]).all()


@pytest.mark.parametrize("size", [(9, 12), (2, 5), (1, 1), (17, 3)])
def test_octaves(size: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    planes = np.random.default_rng(16).random((3, *size), np.float32)
    taps = np.array([1, 5, 8, 5, 1]) / 20
    expected = planes.astype(np.float64)
    for axis in (1, 2):
        expected = ndimage.correlate1d(expected, taps, axis, mode="mirror")
    found = _core.reduce_octave(planes)
    np.testing.assert_allclose(found, expected[:, ::2, ::2], atol=1e-6)


@pytest.mark.parametrize(("height", "width", "octaves"), [(9, 13, 1), (17, 10, 2), (8, 8, 3)])
def test_an_octave_shows_the_reduced_picture(
    height: int, width: int, octaves: int, pool: _core.ThreadPool
) -> None:
    """Value that of the reduced picture; gradient ⟨d, J ᵀ g⟩ = ⟨J d, g⟩, J linear."""
    small = random_image(height, width)
    for _ in range(octaves):
        small = _core.reduce_octave(small)
    tiny = TinyNetwork(*small.shape[1:])
    target = tiny.compute(random_image(*small.shape[1:], seed=1))["conv1"]
    inner = _core.ImageObjective([tiny.core], *small.shape[1:], pool)
    inner.add_layer_term(0, tiny.taps.index("conv1"), _core.ContentTerm(target), 1.5, "content")
    value, slope = inner.evaluate(small)
    term = _core.OctaveTerm(inner, octaves)
    found, gradient = _core.evaluate_image_term(term, random_image(height, width), 2.0, pool)
    assert found == pytest.approx(value, rel=1e-6)
    moved = step = random_image(height, width, seed=2)
    for _ in range(octaves):
        moved = _core.reduce_octave(moved)
    assert (step * gradient).sum() == pytest.approx(2 * (moved * slope).sum(), rel=1e-4)


def test_a_pyramid_is_met_by_its_exemplar(synthesizer: Synthesizer) -> None:
    picture, other = squares(128, 140, 17), squares(128, 140, 18)
    own = first_losses(synthesizer, PyramidGram(picture, sizing="native"), picture)
    names = ["conv2_1", "conv3_2", "octave1", "octave2"]  # an octave of 16 px is left out
    assert list(own) == [f"pyramid_gram/{name}" for name in names]
    far = first_losses(synthesizer, PyramidGram(picture, sizing="native"), other // 4)
    assert sum(far.values()) > 3 * sum(own.values())
    single = first_losses(synthesizer, PyramidGram(picture, "conv2_1", octaves=1), other)
    assert list(single) == ["pyramid_gram/conv2_1"]
    with pytest.raises(ObjectiveError, match="octaves must be a whole number from 1 to 16"):
        PyramidGram(picture, octaves=0)


@pytest.mark.parametrize("statistics", ["gram", "mean_covariance"])
def test_full_masks_are_no_masks(statistics: Any, synthesizer: Synthesizer) -> None:
    picture, init = squares(48, 64, 19), squares(48, 64, 20)
    layers, white = ["conv1_2", "conv3_1"], np.full((20, 30), 255, np.uint8)
    plain = Style if statistics == "gram" else MeanCovariance
    expected = first_losses(synthesizer, plain(picture, layers), init)
    for keywords in (
        {"content_mask": white, "style_mask": white},
        {"strength_map": white},
    ):
        term = GuidedStyle(picture, layers, statistics=statistics, **keywords)
        found = first_losses(synthesizer, term, init)
        if statistics == "gram":  # Style continues its exemplar by the canvas' margin instead
            assert found == pytest.approx(
                first_losses(synthesizer, GuidedStyle(picture, layers), init), rel=1e-4
            )
            continue
        assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-4)


@pytest.mark.parametrize("statistics", ["gram", "mean_covariance"])
def test_a_strength_map_says_where(statistics: Any, synthesizer: Synthesizer) -> None:
    """Nothing moves where it is black; where it is grey, less than where it is white."""
    content, style = squares(64, 96, 21), 255 - squares(64, 96, 22)
    ramp = np.zeros((64, 96), np.uint8)
    ramp[:, 32:64], ramp[:, 64:] = 90, 255
    pictures = [
        synthesizer.style_transfer(
            content, style, strength_map=given, style_loss=statistics, max_evaluations=16, scales=1
        ).pixels
        for given in (ramp, None)
    ]
    start = content.transpose(2, 0, 1) / 255
    change = np.abs(pictures[0] - start).mean((0, 1))
    assert change[:20].mean() < 0.02
    assert change[76:].mean() > 2 * change[:20].mean()
    assert change[76:].mean() > change[36:56].mean()
    full = np.abs(pictures[1] - start).mean((0, 1))
    assert 0.5 < change[76:].mean() / full[76:].mean() < 2
    with pytest.raises(ObjectiveError, match="black everywhere"):
        synthesizer.style_transfer(content, style, strength_map=0 * ramp)


def test_the_order_of_regions_does_not_count(synthesizer: Synthesizer) -> None:
    content, left = squares(48, 48, 23), np.zeros((48, 48), np.uint8)
    left[:, :20] = 255
    masks = [(left, None, squares(40, 40, 24)), (255 - left, None, squares(40, 40, 25))]
    pictures = [
        synthesizer.style_transfer(content, content, masks=order, max_evaluations=4).pixels
        for order in (masks, masks[::-1])
    ]
    np.testing.assert_allclose(*pictures, atol=1e-3)


def test_guides_without_a_place() -> None:
    found = guide.weakened(np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32))
    assert (found > 0).sum() == 1


def test_wrong_settings(pool: _core.ThreadPool) -> None:
    picture = squares(24, 24, 26)
    for make, words in (
        (lambda: ShiftedGram(picture, shifts=[0]), "shifts are whole numbers"),
        (lambda: ShiftedGram(picture, shifts="4"), "shifts are whole numbers"),  # type: ignore[arg-type]
        (lambda: ShiftedGram(picture, components=0), "components must be"),
        (lambda: GaussianWasserstein(picture, components=0), "components must be"),
        (lambda: GuidedStyle(picture, statistics="mmd"), "statistics must be"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ObjectiveError, match=words):
            make()
    gram = _core.GramTerm(np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match="in ascending order"):
        _core.GatherTerm(gram, 2, 2, np.array([1, 1], np.int32))
    with pytest.raises(ValueError, match="at least one position"):
        _core.GatherTerm(gram, 2, 2, np.zeros(0, np.int32))
    with pytest.raises(ValueError, match="1 positions and 2 roots"):
        _core.GatherTerm(gram, 2, 2, np.zeros(1, np.int32), np.ones(2, np.float32))
    term = _core.MomentFunctionTerm(lambda mean, spread: 1.0, 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"must return .value, slope of the mean"):
        _core.evaluate_layer_term(term, np.ones((3, 2, 2), np.float32), 1.0, pool)
