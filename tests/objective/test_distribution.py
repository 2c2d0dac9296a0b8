"""Sliced distances and the Gaussian kernel: against SciPy, sums over pairs, and differences."""

from __future__ import annotations

import numpy as np
import pytest
from tests.objective import reference
from tests.objective.test_statistics import features, slope_by_differences
from tests.support import TinyNetwork, random_image, relative_error

from fastsynth import (
    MMD,
    BNStatistics,
    Histogram,
    MeanCovariance,
    ObjectiveError,
    SlicedWasserstein,
    _core,
)
from fastsynth.objective import Canvas, Term, distribution


@pytest.fixture(scope="module")
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


def test_one_direction_is_scipys_wasserstein_distance_squared(pool: _core.ThreadPool) -> None:
    """On the line the optimal transport sorts: W₂² of equal numbers, and W₁ ≤ W₂."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    f = rng.random((1, 8, 16), np.float32)
    target = np.sort(rng.random(128, np.float32) * 2)[None]
    term = _core.SliceTerm(np.ones((1, 1), np.float32), target)
    value, _ = _core.evaluate_layer_term(term, f, 1.0, pool)
    assert value == pytest.approx(float(((np.sort(f.ravel()) - target[0]) ** 2).mean()), rel=1e-6)
    assert stats.wasserstein_distance(f.ravel(), target[0]) <= np.sqrt(value) + 1e-9


@pytest.mark.parametrize("block", [1, 8])
@pytest.mark.parametrize("cosines", [False, True])
def test_slices_and_their_gradient(block: int, cosines: bool, pool: _core.ThreadPool) -> None:
    rng = np.random.default_rng(1)
    f = features((8, 6, 9), 2)
    w = rng.standard_normal((5, 8)).astype(np.float32)
    phases = rng.random(5).astype(np.float32) if cosines else None
    target = np.sort(rng.standard_normal((5, 1 if cosines else 20)).astype(np.float32), axis=1)

    def value(x: np.ndarray) -> float:
        z = w.astype(np.float64) @ x.reshape(8, -1)
        if phases is not None:
            return float(0.7 * ((np.cos(z + phases[:, None]).mean(1) - target[:, 0]) ** 2).sum())
        at = (np.arange(54) + 0.5) / 54 * 20 - 0.5
        wanted = [np.interp(at, np.arange(20), row) for row in target]
        return float(0.7 * ((np.sort(z, 1) - wanted) ** 2).mean(1).sum())

    shown = target[:, 0].copy() if cosines else target
    term = _core.SliceTerm(w, shown, phases, 0.7)
    found, slope = _core.evaluate_layer_term(term, reference.to_blocked(f, block), 2.0, pool, block)
    wide = f.astype(np.float64)
    assert found == pytest.approx(value(wide), rel=1e-5)
    directions, expected = slope_by_differences(value, wide, 3)
    along = (directions * reference.to_planar(slope)).sum((1, 2, 3))
    assert relative_error(along, 2 * expected) < 1e-4


def test_results_do_not_depend_on_threads() -> None:
    f = features((16, 40, 30), 4)
    w = np.random.default_rng(5).standard_normal((7, 16)).astype(np.float32)
    target = np.sort(np.random.default_rng(6).random((7, 50), np.float32), axis=1)
    seen = [
        _core.evaluate_layer_term(
            _core.SliceTerm(w, target, None, 1.0, 300), f, 1.0, _core.ThreadPool(threads)
        )
        for threads in (1, 2, 5)
    ]
    for value, slope in seen:
        assert value == seen[0][0]
        np.testing.assert_array_equal(slope, seen[0][1])
    # 300 of 1200 positions are looked at.
    assert np.count_nonzero(np.abs(seen[0][1]).sum(0)) == 300


def test_gaussian_kernel_is_its_sum_over_pairs(pool: _core.ThreadPool) -> None:
    """Random Fourier features against the definition; they are an estimate, good to some tenths."""
    x, y = features((8, 12, 10), 7), features((8, 12, 10), 8) + np.float32(0.4)
    a, b = (v.reshape(8, -1).T.astype(np.float64) for v in (x, y))
    mean_distance = 2 * float(b.var(0).sum())

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        d = ((u[:, None] - v[None]) ** 2).sum(2) / mean_distance
        return float(np.mean([np.exp(-w * d) for w in distribution.WIDTHS]))

    expected = (kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)) / kernel(b, b)
    value, _ = _core.evaluate_layer_term(distribution.gaussian_term([(y, 1.0)]), x, 1.0, pool)
    assert value == pytest.approx(expected, rel=0.35)
    same, _ = _core.evaluate_layer_term(distribution.gaussian_term([(y, 1.0)]), y, 1.0, pool)
    assert same < 1e-10


TERMS = [
    MeanCovariance, BNStatistics, Histogram, SlicedWasserstein,
    lambda *a: MMD(*a, kernel="linear"), lambda *a: MMD(*a, kernel="polynomial", offset=0.5),
    lambda *a: MMD(*a, kernel="gaussian"),
]  # fmt: skip


@pytest.mark.parametrize("make", TERMS)
def test_every_term_descends_in_five_steps(make: object, pool: _core.ThreadPool) -> None:
    tiny = TinyNetwork(24, 20)
    exemplar = (random_image(24, 20, seed=1).transpose(1, 2, 0) * 255).astype(np.uint8)
    term: Term = make(exemplar, ["conv1", "conv2"])  # type: ignore[operator]

    class Sources:
        def is_tiled(self, _: object) -> bool:
            return False

        def features(self, request: object) -> dict[str, np.ndarray]:
            return TinyNetwork(request.height, request.width).compute(  # type: ignore[attr-defined]
                random_image(request.height, request.width, seed=2)  # type: ignore[attr-defined]
            )

    objective = _core.ImageObjective([tiny.core], 24, 20, pool)
    parts = list(term.parts(Canvas(24, 20), Sources()))  # type: ignore[arg-type]
    assert len(parts) == 2
    for part in parts:
        assert part.layer is not None
        objective.add_layer_term(
            0,
            tiny.taps.index(part.layer),
            part.term,
            part.weight,
            part.name,  # type: ignore[arg-type]
        )
    image = random_image(24, 20, seed=3) * np.float32(0.3)
    before, gradient = objective.evaluate(image)
    step = 0.3 * before / float((gradient.astype(np.float64) ** 2).sum())
    for _ in range(5):
        image = image - np.float32(step) * gradient
        after, gradient = objective.evaluate(image)
    assert after < 0.9 * before


def test_settings_are_checked(pool: _core.ThreadPool) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ObjectiveError, match="kernel must be"):
        MMD(image, kernel="cubic")  # type: ignore[arg-type]
    with pytest.raises(ObjectiveError, match="offset must be a number"):
        MMD(image, offset=-1.0)
    with pytest.raises(ObjectiveError, match="directions must be a whole number"):
        SlicedWasserstein(image, directions=0)
    with pytest.raises(ValueError, match="directions are of 2 channels, the features have 3"):
        _core.evaluate_layer_term(
            _core.SliceTerm(np.ones((1, 2), np.float32), np.ones((1, 4), np.float32)),
            np.ones((3, 2, 2), np.float32), 1.0, pool,
        )  # fmt: skip
