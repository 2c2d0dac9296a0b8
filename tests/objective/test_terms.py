"""Every term's value and gradient: against float64 formulas, and these against torch autograd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.objective import reference
from tests.support import random_image, relative_error

from fastsynth import _core

# Largest relative error of anything against float64: a few float32 roundings. Sums in float64 are
# good to their last digits.
LIMIT = 1e-6
LIMITS = {"content value": 1e-12, "vector sums": 1e-13}
SETS = _core.available_kernel_sets()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


def check_errors(errors: dict[str, float]) -> None:
    assert len(errors) == 15
    wrong = {kind: error for kind, error in errors.items() if error > LIMITS.get(kind, LIMIT)}
    assert not wrong


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_terms_match_float64(threads: int) -> None:
    check_errors(reference.errors(_core.ThreadPool(threads)))


@pytest.mark.parametrize("kernels", SETS)
def test_every_kernel_set_matches_float64(kernels: str) -> None:
    path = os.pathsep.join([str(Path(_core.__file__).parents[1]), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.objective.reference"],
        env={**os.environ, "FASTSYNTH_KERNELS": kernels, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["kernels"] == kernels
    check_errors(report["errors"])


def test_an_unknown_kernel_set_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from fastsynth import _core; _core.kernel_set()"],
        env={
            **os.environ,
            "FASTSYNTH_KERNELS": "abacus",
            "PYTHONPATH": str(Path(_core.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "FASTSYNTH_KERNELS=abacus cannot run here" in done.stderr


def test_results_do_not_depend_on_threads_or_layout() -> None:
    rng = np.random.default_rng(5)
    f = np.maximum(rng.standard_normal((64, 70, 61), dtype=np.float32), 0)
    target = np.maximum(rng.standard_normal(f.shape, dtype=np.float32), 0)
    image = random_image(70, 61)
    seen = []
    for threads in (1, 2, 5):
        pool = _core.ThreadPool(threads)
        for block in (1, 8, 16):
            blocked = reference.to_blocked(f, block)
            results = [_core.gram(blocked, pool, block)]
            term = _core.GramTerm(results[0] * np.float32(1.1))
            value, slope = _core.evaluate_layer_term(term, blocked, 2.0, pool, block)
            results += [np.array(value), reference.to_planar(slope)]
            seen.append(results)
        content = _core.ContentTerm(target)
        value, slope = _core.evaluate_layer_term(content, f, 2.0, pool)
        seen[-1] += [np.array(value), slope]
        for prior in (_core.TotalVariation(), _core.AlphaNorm(), _core.RangePenalty(0.2, 0.8)):
            value, slope = _core.evaluate_image_term(prior, image, 1.0, pool)
            seen[-1] += [np.array(value), slope]
    for results in seen:
        for one, other in zip(results, seen[2], strict=False):
            np.testing.assert_array_equal(one, other)


def test_gram_of_many_positions_stays_accurate(pool: _core.ThreadPool) -> None:
    """A single float32 sum over 262144 positive products is off by some 1e-6 and more."""
    f = np.random.default_rng(1).random((20, 512, 512), dtype=np.float32)
    found, exact = _core.gram(f, pool), reference.gram(f)
    assert np.abs(found / exact - 1).max() < 1e-7 * 2
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e12])
def test_gram_of_channels_of_zeros(scale: float, pool: _core.ThreadPool) -> None:
    """Nothing in, nothing out, to the bit; the other channels as exact as without them."""
    rng = np.random.default_rng(4)
    for channels, height, width in reference.SHAPES:
        f = np.float32(scale) * rng.random((channels, height, width), dtype=np.float32)
        f[::3] = 0
        expected = reference.gram(f)
        for block in (b for b in reference.BLOCKS if channels % b == 0):
            found = _core.gram(reference.to_blocked(f, block), pool, block)
            assert not found[::3].any()
            assert not found[:, ::3].any()
            assert np.abs(found - expected).max() <= LIMIT * expected.max()


def test_gram_gradient_product(pool: _core.ThreadPool) -> None:
    rng = np.random.default_rng(2)
    for channels, height, width in reference.SHAPES:
        f = rng.standard_normal((channels, height, width), dtype=np.float32)
        d = rng.standard_normal((channels, channels), dtype=np.float32)
        d += d.T.copy()
        expected = 0.25 * d.astype(np.float64) @ f.reshape(channels, -1).astype(np.float64)
        for block in (b for b in reference.BLOCKS if channels % b == 0):
            found = _core.gram_gradient(reference.to_blocked(f, block), d, 0.25, pool, block)
            error = relative_error(reference.to_planar(found).reshape(channels, -1), expected)
            assert error < LIMIT


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e12])
def test_gram_gradient_product_by_pairs(scale: float, pool: _core.ThreadPool) -> None:
    """With the features' RMS known, some kernel sets form it otherwise. Features as of a ReLU."""
    rng = np.random.default_rng(3)
    for channels, height, width in reference.SHAPES:
        f = np.maximum(rng.standard_normal((channels, height, width), dtype=np.float32), 0)
        f[:, 0, 0] = 0
        d = rng.standard_normal((channels, channels), dtype=np.float32)
        d = np.float32(scale) * (d + d.T)
        rms = float(np.sqrt(np.square(f, dtype=np.float64).mean()))
        expected = d.astype(np.float64) @ f.reshape(channels, -1).astype(np.float64)
        for block in (b for b in reference.BLOCKS if channels % b == 0):
            blocked = reference.to_blocked(f, block)
            found = reference.to_planar(_core.gram_gradient(blocked, d, 1.0, pool, block, rms))
            assert relative_error(found.reshape(channels, -1), expected) < LIMIT
            assert not found[:, 0, 0].any()  # nothing in, nothing out, to the bit


@pytest.mark.parametrize("weight", [0.0, -1.5, 3.0])
def test_layer_terms_add_their_weighted_gradient(weight: float, pool: _core.ThreadPool) -> None:
    rng = np.random.default_rng(4)
    for block in (1, 4, 16):
        f = reference.to_blocked(rng.standard_normal((16, 5, 7), dtype=np.float32), block)
        start = rng.standard_normal(f.shape, dtype=np.float32)
        target = rng.standard_normal((16, 5, 7), dtype=np.float32)
        terms = [
            _core.ContentTerm(target),
            _core.GramTerm(reference.gram(target).astype(np.float32)),
            _core.FunctionTerm(lambda x: (float((x**2).sum()), 2 * x)),
        ]
        for term in terms:
            value, alone = _core.evaluate_layer_term(term, f, 1.0, pool, block)
            same, added = _core.evaluate_layer_term(term, f, weight, pool, block, start)
            assert same == pytest.approx(value, rel=1e-12)
            if weight == 0.0:
                np.testing.assert_array_equal(added, start)
            assert relative_error(added, start + weight * alone) < LIMIT


def test_one_content_term_serves_networks_of_other_layouts(pool: _core.ThreadPool) -> None:
    rng = np.random.default_rng(6)
    f, target = rng.standard_normal((2, 16, 3, 5), dtype=np.float32)
    term = _core.ContentTerm(target, "paper")
    expected, gradient = reference.content(f.astype(np.float64), target.astype(np.float64), "paper")
    for block in (1, 8, 16, 4, 1):
        value, slope = _core.evaluate_layer_term(
            term, reference.to_blocked(f, block), 1.0, pool, block
        )
        assert value == pytest.approx(expected, rel=1e-12)
        assert relative_error(reference.to_planar(slope), gradient) < LIMIT


def test_a_target_of_zeros_does_not_divide_by_zero(pool: _core.ThreadPool) -> None:
    f = np.full((4, 3, 5), 2, np.float32)
    content = _core.ContentTerm(np.zeros_like(f))
    style = _core.GramTerm(np.zeros((4, 4), np.float32))
    assert _core.evaluate_layer_term(content, f, 1.0, pool)[0] == pytest.approx(4)
    assert _core.evaluate_layer_term(style, f, 1.0, pool)[0] == pytest.approx(16)
    for term in (content, style):
        value, slope = _core.evaluate_layer_term(term, np.zeros_like(f), 1.0, pool)
        assert value == 0
        assert not slope.any()


def test_relative_terms_are_one_where_everything_is_lost(pool: _core.ThreadPool) -> None:
    """The share of what there was: content without structure, correlations of nothing."""
    f = np.random.default_rng(7).random((6, 4, 4), dtype=np.float32)
    flat = np.ascontiguousarray(np.broadcast_to(f.mean(axis=(1, 2), keepdims=True), f.shape))
    lost = ((_core.ContentTerm(f), flat), (_core.GramTerm(_core.gram(f, pool)), np.zeros_like(f)))
    for term, nothing in lost:
        assert _core.evaluate_layer_term(term, nothing, 1.0, pool)[0] == pytest.approx(1)
        assert _core.evaluate_layer_term(term, f, 1.0, pool)[0] == pytest.approx(0, abs=1e-12)


def test_gram_does_not_follow_the_image_size(pool: _core.ThreadPool) -> None:
    """Tiling an image repeats its statistics: the paper's form, too, is then 0."""
    small = np.random.default_rng(8).random((6, 4, 5), dtype=np.float32)
    large = np.ascontiguousarray(np.tile(small, (1, 3, 2)))
    for normalization in ("relative", "paper", "normalized"):
        term = _core.GramTerm(_core.gram(small, pool), normalization)
        assert _core.evaluate_layer_term(term, large, 1.0, pool)[0] == pytest.approx(0, abs=1e-12)


def test_image_terms_are_zero_where_there_is_nothing_to_penalise(pool: _core.ThreadPool) -> None:
    grey = np.full((3, 6, 7), 0.5, np.float32)
    for term in (
        _core.TotalVariation(2.0), _core.TotalVariation(1.0), _core.TotalVariation(1.3, "sum"),
        _core.AlphaNorm(6.0), _core.AlphaNorm(1.2), _core.RangePenalty(),
    ):  # fmt: skip
        value, slope = _core.evaluate_image_term(term, grey, 1.0, pool)
        assert value == 0
        assert not slope.any()


def test_values_that_are_not_finite_are_passed_on(pool: _core.ThreadPool) -> None:
    f = np.random.default_rng(9).random((5, 9, 9), dtype=np.float32)
    bad = f.copy()
    bad[2, 3, 4] = np.nan
    for term in (_core.ContentTerm(f), _core.GramTerm(_core.gram(f, pool))):
        assert np.isnan(_core.evaluate_layer_term(term, bad, 1.0, pool)[0])
    image = random_image(9, 9)
    image[1, 0, 8] = np.nan
    for prior in (_core.TotalVariation(), _core.AlphaNorm(), _core.RangePenalty()):
        assert np.isnan(_core.evaluate_image_term(prior, image, 1.0, pool)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_max_abs_finds_what_is_not_finite(bad: float, pool: _core.ThreadPool) -> None:
    for n in (1, 7, 33, 70_000):
        x = np.ones(n, np.float32)
        assert _core.vector_functions(x, x, 1, 1, pool)["is_finite"]
        for at in {0, n // 2, n - 1}:
            y = x.copy()
            y[at] = bad
            assert not _core.vector_functions(y, x, 1, 1, pool)["is_finite"]


def test_errors_of_a_python_term_reach_the_caller(pool: _core.ThreadPool) -> None:
    f = np.ones((2, 3, 4), np.float32)

    def fail(_: object) -> tuple[float, object]:
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        _core.evaluate_layer_term(_core.FunctionTerm(fail), f, 1.0, pool)
    with pytest.raises(ValueError, match=r"gradient of shape \(2, 3, 4\), not \(3,\)"):
        _core.evaluate_layer_term(_core.FunctionTerm(lambda _: (0.0, np.ones(3))), f, 1.0, pool)
    with pytest.raises(ValueError, match=r"must return \(value, gradient\), not a float"):
        _core.evaluate_layer_term(_core.FunctionTerm(lambda _: 0.0), f, 1.0, pool)


def test_targets_and_settings_are_checked(pool: _core.ThreadPool) -> None:
    f = np.ones((2, 3, 4), np.float32)
    with pytest.raises(
        ValueError, match="content target has shape 2 x 3 x 4, the features have 2 x 4 x 3"
    ):
        _core.evaluate_layer_term(_core.ContentTerm(f), np.ones((2, 4, 3), np.float32), 1.0, pool)
    with pytest.raises(ValueError, match="Gram target has 3 channels, the features have 2"):
        _core.evaluate_layer_term(_core.GramTerm(np.eye(3, dtype=np.float32)), f, 1.0, pool)
    with pytest.raises(ValueError, match=r"shape \(C, C\)"):
        _core.GramTerm(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"shape \(C, H, W\)"):
        _core.ContentTerm(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="infinite or not a number"):
        _core.ContentTerm(f * np.float32(np.nan))
    with pytest.raises(ValueError, match="relative, paper or normalized, not plain"):
        _core.ContentTerm(f, "plain")
    with pytest.raises(ValueError, match="beta must be a positive number, not 0"):
        _core.TotalVariation(0.0)
    with pytest.raises(ValueError, match="alpha must be a number above 1, not 1"):
        _core.AlphaNorm(1.0)
    with pytest.raises(ValueError, match="low < high"):
        _core.RangePenalty(1.0, 0.0)
    with pytest.raises(ValueError, match="mean or sum"):
        _core.TotalVariation(2.0, "median")
    with pytest.raises(TypeError):
        _core.ContentTerm(f.astype(np.float64))  # type: ignore[arg-type]


@pytest.mark.torch
def test_layer_gradients_match_autograd(pool: _core.ThreadPool) -> None:
    torch = pytest.importorskip("torch")

    for name, _, f, _ in reference.layer_cases(seed=11):
        x = torch.tensor(f, dtype=torch.float64, requires_grad=True)
        kind, normalization = name.split(" ")[:2]
        rng = np.random.default_rng(12)
        if kind == "content":
            target = rng.standard_normal(f.shape).astype(np.float32)
            term: object = _core.ContentTerm(target, normalization)
            distance = (x - torch.tensor(target, dtype=torch.float64)) ** 2
            wide = target.astype(np.float64)
            structure = float(((wide - wide.mean(axis=(1, 2), keepdims=True)) ** 2).sum())
            norm = max(structure, 0.01 * float((wide**2).sum()))
            divisor = {"relative": norm, "paper": 2, "normalized": 2 * f.size}[normalization]
        else:
            target = reference.gram(rng.random((len(f), 7))).astype(np.float32)
            term = _core.GramTerm(target, normalization)
            flat = x.reshape(len(f), -1)
            distance = (
                flat @ flat.T / flat.shape[1] - torch.tensor(target, dtype=torch.float64)
            ) ** 2
            norm = float((target.astype(np.float64) ** 2).sum())
            divisor = {"relative": norm, "paper": 4 * len(f) ** 2, "normalized": len(f) ** 2}[
                normalization
            ]
        loss = distance.sum() / divisor
        loss.backward()
        value, slope = _core.evaluate_layer_term(term, f, 1.0, pool)
        assert value == pytest.approx(loss.item(), rel=LIMIT), name
        assert relative_error(slope, x.grad.numpy()) < LIMIT, name


@pytest.mark.torch
@pytest.mark.parametrize(("beta", "alpha"), [(2.0, 6.0), (1.0, 2.0), (1.25, 4.0), (3.0, 2.5)])
def test_image_gradients_match_autograd(beta: float, alpha: float, pool: _core.ThreadPool) -> None:
    torch = pytest.importorskip("torch")
    for height, width in ((13, 17), (1, 6), (6, 1)):
        image = random_image(height, width, seed=3) * np.float32(1.5) - np.float32(0.25)
        terms = {
            "variation": _core.TotalVariation(beta),
            "alpha": _core.AlphaNorm(alpha),
            "range": _core.RangePenalty(),
        }
        for name, term in terms.items():
            x = torch.tensor(image, dtype=torch.float64, requires_grad=True)
            if name == "variation":
                dx = torch.nn.functional.pad(x[:, :, 1:] - x[:, :, :-1], (0, 1))
                dy = torch.nn.functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 0, 1))
                floor = 1e-6 if beta < 2 else 0.0
                # 1e-60 keeps torch's power of 0 differentiable; far below rounding.
                q = dx**2 + dy**2 + floor + 1e-60
                loss = (q ** (beta / 2) - floor ** (beta / 2)).sum() / (height * width)
            elif name == "alpha":
                loss = (((x - 0.5) ** 2).sum(0) ** (alpha / 2)).mean()
            else:
                loss = ((x - x.clamp(0, 1)) ** 2).mean()
            loss.backward()
            value, slope = _core.evaluate_image_term(term, image, 1.0, pool)
            assert value == pytest.approx(loss.item(), rel=5e-6), name
            assert relative_error(slope, x.grad.numpy()) < 5e-6, name
