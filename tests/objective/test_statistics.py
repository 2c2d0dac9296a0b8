"""Moments, views and long-range terms: against float64 formulas, autograd, central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.objective import reference
from tests.support import TinyNetwork, random_image, relative_error

from fastsynth import _core
from fastsynth.objective import autocorrelation as ac

LIMIT = 2e-6
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


def features(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.maximum(np.random.default_rng(seed).standard_normal(shape, np.float32) + 0.3, 0)


def moments(f: Array, kind: str) -> tuple[Array, Array]:
    """Means and second moments by NumPy's own functions."""
    flat = f.reshape(len(f), -1)
    second = {
        "none": np.zeros(0),
        "deviation": flat.std(1),
        "gram": flat @ flat.T / flat.shape[1],
        "covariance": np.cov(flat, bias=True),
    }[kind]
    return flat.mean(1), second


def slope_by_differences(
    value: Callable[[Array], float], f: Array, seed: int
) -> tuple[Array, Array]:
    """A few random directions, and the derivative of `value` along each."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((4, *f.shape))
    step = 1e-5
    found = [(value(f + step * d) - value(f - step * d)) / (2 * step) for d in directions]
    return directions, np.array(found)


@pytest.mark.parametrize("kind", ["none", "deviation", "gram", "covariance"])
@pytest.mark.parametrize(("shape", "block"), [((16, 9, 7), 16), ((5, 1, 6), 1), ((24, 13, 70), 8)])
def test_moments(kind: str, shape: tuple[int, ...], block: int, pool: _core.ThreadPool) -> None:
    f, other = features(shape, 1), features((shape[0], 5, 8), 2)
    mean, second = (np.asarray(m, np.float32) for m in moments(other.astype(np.float64), kind))
    term = _core.MomentsTerm(mean, np.ascontiguousarray(second), kind, 0.7, 1.3)

    def value(x: Array) -> float:
        m, s = moments(x, kind)
        return float(0.7 * ((m - mean) ** 2).sum() + 1.3 * ((s - second) ** 2).sum())

    found, slope = _core.evaluate_layer_term(term, reference.to_blocked(f, block), 2.0, pool, block)
    assert found == pytest.approx(value(f.astype(np.float64)), rel=LIMIT)
    directions, expected = slope_by_differences(value, f.astype(np.float64), 3)
    gradient = reference.to_planar(slope).astype(np.float64)
    along = (directions * gradient).sum((1, 2, 3))
    assert relative_error(along, 2 * expected) < 1e-5


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["deviation", "covariance"])
def test_moments_match_autograd(kind: str, pool: _core.ThreadPool) -> None:
    torch = pytest.importorskip("torch")
    f, other = features((8, 11, 6), 4), features((8, 5, 8), 5)
    mean, second = (np.asarray(m, np.float32) for m in moments(other.astype(np.float64), kind))
    x = torch.tensor(f.reshape(8, -1), dtype=torch.float64, requires_grad=True)
    m = x.mean(1)
    centred = x - m[:, None]
    s = centred @ centred.T / x.shape[1] if kind == "covariance" else (centred**2).mean(1).sqrt()
    loss = ((m - torch.tensor(mean)) ** 2).sum() + ((s - torch.tensor(second)) ** 2).sum()
    loss.backward()
    value, slope = _core.evaluate_layer_term(
        _core.MomentsTerm(mean, np.ascontiguousarray(second), kind), f, 1.0, pool
    )
    assert value == pytest.approx(loss.item(), rel=LIMIT)
    assert relative_error(slope.reshape(8, -1), x.grad.numpy()) < LIMIT


def test_polynomial_kernel_without_offset_is_gram(pool: _core.ThreadPool) -> None:
    """MMD with k = (x·y)² is the squared distance of Gram matrices: the definition, by pairs."""
    f, other = features((16, 6, 5), 6), features((16, 4, 4), 7)
    gram = _core.gram(other, pool)
    term = _core.MomentsTerm(np.zeros(16, np.float32), gram, "gram", 0.0, 1.0)
    value, slope = _core.evaluate_layer_term(term, f, 1.0, pool)
    x, y = (v.reshape(16, -1).T.astype(np.float64) for v in (f, other))

    def kernel(a: Array, b: Array) -> float:
        return float(((a @ b.T) ** 2).mean())

    assert value == pytest.approx(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y), rel=1e-5)
    same, same_slope = _core.evaluate_layer_term(_core.GramTerm(gram, "normalized"), f, 1.0, pool)
    assert value == pytest.approx(256 * same, rel=LIMIT)
    assert relative_error(slope, 256 * same_slope) < LIMIT


def test_polynomial_kernel_with_offset_is_mmd(pool: _core.ThreadPool) -> None:
    f, other, c = features((8, 6, 5), 8), features((8, 4, 4), 9), 0.4
    mean, gram = (np.asarray(m, np.float32) for m in moments(other.astype(np.float64), "gram"))
    value, _ = _core.evaluate_layer_term(
        _core.MomentsTerm(mean, gram, "gram", 2 * c, 1.0), f, 1.0, pool
    )
    x, y = (v.reshape(8, -1).T.astype(np.float64) for v in (f, other))

    def kernel(a: Array, b: Array) -> float:
        return float(((a @ b.T + c) ** 2).mean())

    assert value == pytest.approx(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y), rel=1e-5)


@pytest.mark.parametrize("block", [1, 8])
@pytest.mark.parametrize("guided", [False, True])
def test_window(block: int, guided: bool, pool: _core.ThreadPool) -> None:
    f, target = features((16, 10, 12), 10), features((16, 5, 7), 11)
    guide = np.random.default_rng(12).random((5, 7), np.float32) if guided else None
    start = np.random.default_rng(13).standard_normal(f.shape).astype(np.float32)
    cut = f[:, 2:7, 4:11] * (1 if guide is None else guide)
    inner, slope = _core.evaluate_layer_term(
        _core.ContentTerm(target), np.ascontiguousarray(cut), 1.0, pool
    )
    expected = np.zeros_like(f)
    expected[:, 2:7, 4:11] = slope * (1 if guide is None else guide)
    window = _core.WindowTerm(_core.ContentTerm(target), 10, 12, 2, 4, 5, 7, guide)
    blocked = reference.to_blocked(f, block)
    value, alone = _core.evaluate_layer_term(window, blocked, 1.0, pool, block)
    assert value == pytest.approx(inner, rel=1e-12)
    assert relative_error(reference.to_planar(alone), expected) < LIMIT
    _, added = _core.evaluate_layer_term(
        window, blocked, -0.5, pool, block, reference.to_blocked(start, block)
    )
    assert relative_error(reference.to_planar(added), start - 0.5 * expected) < LIMIT


@pytest.mark.parametrize(("pooling", "block"), [(1, 1), (2, 8), (3, 16), (2, 1)])
def test_projection(pooling: int, block: int, pool: _core.ThreadPool) -> None:
    f = features((16, 11, 8), 14)
    mixtures = np.random.default_rng(15).standard_normal((3, 16)).astype(np.float32)
    h, w = 11 // pooling, 8 // pooling
    target = features((3, h, w), 16)
    means = f[:, : h * pooling, : w * pooling].astype(np.float64)
    means = means.reshape(16, h, pooling, w, pooling).mean((2, 4))
    z = np.tensordot(mixtures.astype(np.float64), means, 1)
    expected = 0.5 * float(((z - target) ** 2).sum())
    gradient = np.zeros(f.shape)
    pulled = np.tensordot(mixtures.T.astype(np.float64), z - target, 1) / pooling**2
    gradient[:, : h * pooling, : w * pooling] = pulled.repeat(pooling, 1).repeat(pooling, 2)
    term = _core.ProjectedTerm(_core.ContentTerm(target, "paper"), mixtures, pooling)
    blocked = reference.to_blocked(f, block)
    for start in (None, reference.to_blocked(f, block)):
        value, slope = _core.evaluate_layer_term(term, blocked, 2.0, pool, block, start)
        assert value == pytest.approx(expected, rel=1e-5)
        before = 0 if start is None else f
        assert relative_error(reference.to_planar(slope), before + 2 * gradient) < LIMIT


def test_autocorrelation_is_the_sum_that_defines_it() -> None:
    maps = np.random.default_rng(17).standard_normal((2, 7, 9))
    found = ac.correlations(maps, (3, 4))[0]
    for dy in range(-3, 4):
        for dx in range(-4, 5):
            a = maps[:, max(0, -dy) : 7 - max(0, dy), max(0, -dx) : 9 - max(0, dx)]
            b = maps[:, max(0, dy) : 7 + min(0, dy), max(0, dx) : 9 + min(0, dx)]
            expected = (a * b).mean((1, 2))
            np.testing.assert_allclose(found[:, dy + 3, dx + 4], expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 3, 13)])
def test_autocorrelation_gradient(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(18)
    target = ac.correlations(ac.centred(rng.standard_normal((2, 10, 11))), (4, 5))[0]
    loss = ac.autocorrelation_loss(target, (4, 5))
    f = rng.standard_normal(shape).astype(np.float32)
    _, slope = loss(f)
    # float64 inside: the function itself serves the differences.
    directions, expected = slope_by_differences(lambda x: loss(x)[0], f.astype(np.float64), 19)  # type: ignore[arg-type]
    along = (directions * slope).sum((1, 2, 3))
    assert relative_error(along, expected) < 1e-5


def test_autocorrelation_does_not_follow_the_size() -> None:
    """A wave continued has the same autocorrelation, up to what a finite window leaves."""
    wave = np.sin(np.arange(96) * 2 * np.pi / 6)[None, None] * np.ones((1, 96, 1))
    target = ac.correlations(wave[:, :24, :24], (12, 12))[0]
    loss = ac.autocorrelation_loss(target, (12, 12))
    assert loss(wave.astype(np.float32))[0] < 1e-3
    other = np.sin(np.arange(96) * 2 * np.pi / 8)[None, None] * np.ones((1, 96, 1))
    assert loss(other.astype(np.float32))[0] > 0.5


def test_spectrum_value_and_gradient() -> None:
    rng = np.random.default_rng(20)
    exemplar = rng.random((3, 12, 10), np.float32)
    for shape in ((12, 10), (9, 17), (24, 20)):
        target = ac.spectrum_of([(exemplar, 1.0)], shape)
        loss = ac.spectrum_loss(target)
        image = rng.random((3, *shape)).astype(np.float32)
        _, slope = loss(image)

        def value(x: Array, loss: ac.Function = loss) -> float:
            return loss(x)[0]  # type: ignore[arg-type]

        directions, expected = slope_by_differences(value, image.astype(np.float64), 21)
        assert relative_error((directions * slope).sum((1, 2, 3)), expected) < 1e-4


def test_spectrum_knows_what_has_it() -> None:
    """Nearly zero for the periodic exemplar itself, also moved cyclically."""
    y, x = np.mgrid[:16, :24]
    plane = 0.5 + 0.2 * np.sin(2 * np.pi * y / 8) * np.cos(2 * np.pi * x / 6)
    exemplar = np.stack([plane, 0.5 * plane, 1 - plane]).astype(np.float32)
    for picture in (exemplar, np.roll(exemplar, (3, 5), (1, 2))):
        target = ac.spectrum_of([(exemplar, 1.0)], picture.shape[1:])
        assert ac.spectrum_loss(target)(picture)[0] < 0.02
    noise = np.random.default_rng(0).random(exemplar.shape).astype(np.float32)
    assert ac.spectrum_loss(target)(noise)[0] > 0.5


def test_periodic_component_has_no_jump() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 32), (3, 16, 32)).astype(np.float64)
    found = ac.periodic_component(ramp)
    assert np.abs(found[:, :, 0] - found[:, :, -1]).max() < 0.2
    tile = np.tile(np.random.default_rng(22).random((3, 8, 8)), (1, 1, 1))
    np.testing.assert_allclose(ac.periodic_component(tile).mean(), tile.mean())


def test_folding_samples_the_transform() -> None:
    """The FFT of folded pixels is their transform at the frame's frequencies, by its definition."""
    pixels = np.random.default_rng(23).random((1, 7, 9))
    for shape in ((4, 5), (16, 10), (7, 9)):
        found = np.fft.fft2(ac.folded(pixels, shape))[0]
        y, x = np.mgrid[:7, :9]
        u, v = 1, shape[1] // 2
        wave = np.exp(-2j * np.pi * (u * y / shape[0] + v * x / shape[1]))
        assert found[u, v] == pytest.approx((pixels[0] * wave).sum())


@pytest.mark.parametrize(("height", "width", "wrap"), [(8, 10, 4), (5, 7, 12)])
def test_wrapped_objective_is_one_of_the_continued_picture(
    height: int, width: int, wrap: int, pool: _core.ThreadPool
) -> None:
    """Value and gradient as for np.pad(mode="wrap"), the gradient summed onto the tile."""
    tiny = TinyNetwork(height + 2 * wrap, width + 2 * wrap)
    image = random_image(height, width)
    shown = np.pad(image, ((0, 0), (wrap, wrap), (wrap, wrap)), mode="wrap")
    target = tiny.compute(random_image(*shown.shape[1:], seed=1))["conv2"]

    def build(objective: _core.ImageObjective) -> _core.ImageObjective:
        tap = tiny.taps.index("conv2")
        objective.add_layer_term(0, tap, _core.ContentTerm(target), 2.0, "content")
        return objective

    plain = build(_core.ImageObjective([tiny.core], *shown.shape[1:], pool))
    value, gradient = plain.evaluate(shown)
    y, x = np.mgrid[: height + 2 * wrap, : width + 2 * wrap]
    folded = np.zeros(image.shape)
    np.add.at(folded, (slice(None), (y - wrap) % height, (x - wrap) % width), gradient)
    wrapped = build(_core.ImageObjective([tiny.core], height, width, pool, wrap))
    wrapped.add_image_term(_core.RangePenalty(0.4, 0.6), 1.0, "range")
    prior, prior_slope = _core.evaluate_image_term(_core.RangePenalty(0.4, 0.6), image, 1.0, pool)
    found, slope = wrapped.evaluate(image)
    assert found == pytest.approx(value + prior, rel=1e-6)
    assert relative_error(slope, folded + prior_slope) < LIMIT
    norms = wrapped.gradient_norms(image)
    assert norms[0] == pytest.approx(np.abs(folded).sum() / 2, rel=1e-5)


def test_views_and_wraps_refuse_what_does_not_fit(pool: _core.ThreadPool) -> None:
    inner = _core.MomentsTerm(np.ones(4, np.float32), np.zeros(0, np.float32), "none")
    with pytest.raises(ValueError, match="does not lie inside 5 x 5"):
        _core.WindowTerm(inner, 5, 5, 3, 0, 3, 5)
    with pytest.raises(ValueError, match="window's shape, 2 x 3"):
        _core.WindowTerm(inner, 5, 5, 0, 0, 2, 3, np.ones((3, 2), np.float32))
    f = np.ones((4, 4, 5), np.float32)
    window = _core.WindowTerm(inner, 5, 5, 0, 0, 2, 3)
    with pytest.raises(ValueError, match="5 x 5 positions, the features have 4 x 5"):
        _core.evaluate_layer_term(window, f, 1.0, pool)
    projected = _core.ProjectedTerm(inner, np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match="mixtures are of 3 channels, the features have 4"):
        _core.evaluate_layer_term(projected, f, 1.0, pool)
    with pytest.raises(ValueError, match="second moments have 16 values, not 3"):
        _core.MomentsTerm(np.ones(4, np.float32), np.ones(3, np.float32), "gram")
    with pytest.raises(ValueError, match="none, deviation, gram or covariance, not all"):
        _core.MomentsTerm(np.ones(4, np.float32), np.ones(4, np.float32), "all")
    with pytest.raises(ValueError, match="wrap must be 0 or more"):
        _core.ImageObjective([], 4, 4, pool, -1)
