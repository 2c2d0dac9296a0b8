"""ImageObjective: parts, weights, several networks; and every term goes down."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from tests.objective import reference
from tests.support import TinyNetwork, random_image, relative_error

from fastsynth import _core

HEIGHT, WIDTH = 9, 14


@pytest.fixture
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


def targets(network: TinyNetwork, seed: int = 50) -> dict[str, np.ndarray]:
    """Features of another image."""
    image = random_image(network.core.height, network.core.width, seed)
    found = _core.network_features(network.core, image)
    return dict(zip(network.taps, found, strict=True))


def test_network_features_are_copies_in_order() -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    image = random_image(HEIGHT, WIDTH)
    found = _core.network_features(network.core, image)
    for tap, features in zip(network.taps, found, strict=True):
        np.testing.assert_allclose(features, network.compute(image)[tap], rtol=1e-6)
    _core.network_features(network.core, random_image(HEIGHT, WIDTH, 1))
    np.testing.assert_allclose(found[1], network.compute(image)["conv1"], rtol=1e-6)


def test_value_and_gradient_of_a_sum_match_float64(pool: _core.ThreadPool) -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    goal = targets(network)
    grams = {tap: _core.gram(goal[tap], pool) for tap in network.taps}
    objective = _core.ImageObjective([network.core], HEIGHT, WIDTH, pool)
    objective.add_layer_term(0, 2, _core.ContentTerm(goal["conv2"]), 0.7, "content/conv2")
    objective.add_layer_term(0, 1, _core.GramTerm(grams["conv1"]), 2.0, "style/conv1")
    objective.add_layer_term(0, 2, _core.GramTerm(grams["conv2"]), 3.0, "style/conv2")
    objective.add_image_term(_core.TotalVariation(), 0.1, "variation")
    assert objective.size == 3 * HEIGHT * WIDTH
    image = random_image(HEIGHT, WIDTH)
    value, gradient = objective.evaluate(image)

    x = image.astype(np.float64)
    f = network.compute(x)
    c2 = reference.content(f["conv2"], goal["conv2"].astype(np.float64), "relative")
    s1 = reference.style(f["conv1"], grams["conv1"].astype(np.float64), "relative")
    s2 = reference.style(f["conv2"], grams["conv2"].astype(np.float64), "relative")
    tv = reference.total_variation(x, 2.0, "mean")
    expected = [0.7 * c2[0], 2 * s1[0], 3 * s2[0], 0.1 * tv[0]]
    assert objective.names == ["content/conv2", "style/conv1", "style/conv2", "variation"]
    assert objective.weights == [0.7, 2.0, 3.0, 0.1]
    np.testing.assert_allclose(objective.values, expected, rtol=1e-5)
    assert value == pytest.approx(sum(objective.values), rel=1e-15)
    pulled = network.pull(x, {"conv1": 2 * s1[1], "conv2": 0.7 * c2[1] + 3 * s2[1]})
    assert gradient.shape == image.shape
    assert relative_error(gradient, pulled + 0.1 * tv[1]) < 1e-5
    assert (network.forwards, network.backwards) == (2, 1)  # one forward was for the targets

    again, same = objective.evaluate(image)
    assert again == value
    np.testing.assert_array_equal(gradient, same)


def test_networks_add_up(pool: _core.ThreadPool) -> None:
    """A mix of two networks (Eq. 5) is the sum of the two objectives."""
    networks = [TinyNetwork(HEIGHT, WIDTH, seed=seed) for seed in (1, 2)]
    terms = [_core.ContentTerm(targets(network)["conv2"]) for network in networks]
    image = random_image(HEIGHT, WIDTH)

    def result(chosen: list[int]) -> tuple[float, np.ndarray]:
        cores = [networks[i].core for i in chosen]
        objective = _core.ImageObjective(cores, HEIGHT, WIDTH, pool)
        for place, i in enumerate(chosen):
            objective.add_layer_term(place, 2, terms[i], 1.0 + i, f"content {i}")
        return objective.evaluate(image)

    value, gradient = result([0, 1])
    values, gradients = zip(result([0]), result([1]), strict=True)
    assert value == pytest.approx(sum(values), rel=1e-12)
    assert relative_error(gradient, gradients[0] + gradients[1]) < 1e-6


def test_parts_of_weight_zero_are_valued_without_backward(pool: _core.ThreadPool) -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    goal = targets(network)
    objective = _core.ImageObjective([network.core], HEIGHT, WIDTH, pool)
    objective.add_layer_term(0, 1, _core.ContentTerm(goal["conv1"]), 0.0, "content")
    objective.add_layer_term(0, 2, _core.GramTerm(_core.gram(goal["conv2"], pool)), 0.0, "style")
    objective.add_image_term(_core.TotalVariation(), 0.0, "variation")
    value, gradient = objective.evaluate(random_image(HEIGHT, WIDTH))
    assert value == 0
    assert objective.values == [0, 0, 0]
    assert not gradient.any()
    assert network.backwards == 0

    objective.set_weight("style", 2.0)
    value, gradient = objective.evaluate(random_image(HEIGHT, WIDTH))
    assert value == objective.values[1] > 0
    assert np.isfinite(gradient).all()
    assert gradient.any()
    assert network.backwards == 1


def test_a_network_without_parts_does_not_run(pool: _core.ThreadPool) -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    objective = _core.ImageObjective([network.core], HEIGHT, WIDTH, pool)
    objective.add_image_term(_core.AlphaNorm(), 1.0, "norm")
    value, gradient = objective.evaluate(random_image(HEIGHT, WIDTH))
    assert value > 0
    assert gradient.any()
    assert network.forwards == 0


def test_gradient_norms_are_those_of_each_part_alone(pool: _core.ThreadPool) -> None:
    networks = [TinyNetwork(HEIGHT, WIDTH, seed=seed) for seed in (3, 4)]
    image = random_image(HEIGHT, WIDTH)
    parts = [
        (0, 1, _core.ContentTerm(targets(networks[0])["conv1"])),
        (1, 2, _core.GramTerm(_core.gram(targets(networks[1])["conv2"], pool))),
        (0, 2, _core.FunctionTerm(lambda f: (float(f.sum()), np.ones_like(f)))),
    ]
    objective = _core.ImageObjective([n.core for n in networks], HEIGHT, WIDTH, pool)
    for i, (network, tap, term) in enumerate(parts):
        objective.add_layer_term(network, tap, term, [5.0, 0.0, -1.0][i], str(i))
    objective.add_image_term(_core.TotalVariation(), 9.0, "variation")
    norms = objective.gradient_norms(image)

    expected = []
    for network, tap, term in parts:
        alone = _core.ImageObjective([networks[network].core], HEIGHT, WIDTH, pool)
        alone.add_layer_term(0, tap, term, 1.0, "alone")
        expected.append(np.abs(alone.evaluate(image)[1]).sum())
    _, slope = reference.total_variation(image.astype(np.float64), 2.0, "mean")
    expected.append(np.abs(slope).sum())
    np.testing.assert_allclose(norms, expected, rtol=1e-5)


def engine_terms(
    network: TinyNetwork, pool: _core.ThreadPool
) -> dict[str, tuple[int | None, object]]:
    goal = targets(network)
    terms: dict[str, tuple[int | None, object]] = {
        "function": (2, _core.FunctionTerm(lambda f: (float(f.sum()), np.ones_like(f)))),
        "variation 2": (None, _core.TotalVariation(2.0)),
        "variation 1": (None, _core.TotalVariation(1.0)),
        "alpha": (None, _core.AlphaNorm(6.0)),
        "range": (None, _core.RangePenalty(0.3, 0.7)),
    }
    for normalization in ("relative", "paper", "normalized"):
        for tap, name in enumerate(network.taps):
            gram = _core.gram(goal[name], pool)
            terms[f"content {name} {normalization}"] = (
                tap,
                _core.ContentTerm(goal[name], normalization),
            )
            terms[f"style {name} {normalization}"] = tap, _core.GramTerm(gram, normalization)
    return terms


def test_every_term_descends_in_five_steps(pool: _core.ThreadPool) -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    for name, (tap, term) in engine_terms(network, pool).items():
        objective = _core.ImageObjective([network.core], HEIGHT, WIDTH, pool)
        if tap is None:
            objective.add_image_term(term, 1.0, name)
        else:
            objective.add_layer_term(0, tap, term, 1.0, name)
        image = random_image(HEIGHT, WIDTH)
        losses = []
        for _ in range(5):
            value, gradient = objective.evaluate(image)
            losses.append(value)
            # A step that would lower a linear function by a twentieth of the value.
            image = (
                image
                - np.float32(0.05 * value / float((gradient.astype(np.float64) ** 2).sum()))
                * gradient
            )
        losses.append(objective.evaluate(image)[0])
        assert all(later < earlier for earlier, later in itertools.pairwise(losses)), name


def test_a_python_error_ends_the_evaluation_and_leaves_the_objective_usable(
    pool: _core.ThreadPool,
) -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    broken = [True]

    def function(f: np.ndarray) -> tuple[float, np.ndarray]:
        if broken[0]:
            raise RuntimeError("term failed")
        return float(f.sum()), np.ones_like(f)

    objective = _core.ImageObjective([network.core], HEIGHT, WIDTH, pool)
    objective.add_layer_term(0, 1, _core.FunctionTerm(function), 1.0, "function")
    with pytest.raises(RuntimeError, match="term failed"):
        objective.evaluate(random_image(HEIGHT, WIDTH))
    broken[0] = False
    assert objective.evaluate(random_image(HEIGHT, WIDTH))[0] > 0


def test_the_interpreter_runs_on_while_the_engine_works() -> None:
    """A long evaluation must not hold the interpreter lock."""
    f = np.ones((256, 64, 64), np.float32)
    pool = _core.ThreadPool(1)
    done = threading.Event()
    counted = 0

    def work() -> None:
        for _ in range(20):
            _core.gram(f, pool)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.0005):
        counted += 1
    thread.join()
    assert counted > 1


def test_objectives_check_their_parts(pool: _core.ThreadPool) -> None:
    network = TinyNetwork(HEIGHT, WIDTH)
    objective = _core.ImageObjective([network.core], HEIGHT, WIDTH, pool)
    goal = targets(network)["conv1"]
    with pytest.raises(ValueError, match="features have 10 x 4 x 7"):
        objective.add_layer_term(0, 2, _core.ContentTerm(goal), 1.0, "a")
    with pytest.raises(ValueError, match="asks for network 1; there are 1"):
        objective.add_layer_term(1, 0, _core.ContentTerm(goal), 1.0, "a")
    with pytest.raises(ValueError, match="asks for tap 3; the network has 3"):
        objective.add_layer_term(0, 3, _core.ContentTerm(goal), 1.0, "a")
    with pytest.raises(ValueError, match="weight of a must be finite"):
        objective.add_layer_term(0, 1, _core.ContentTerm(goal), np.nan, "a")
    assert objective.names == []
    objective.add_layer_term(0, 1, _core.ContentTerm(goal), 1.0, "a")
    with pytest.raises(ValueError, match="two parts are called a"):
        objective.add_image_term(_core.AlphaNorm(), 1.0, "a")
    with pytest.raises(ValueError, match="no part is called b"):
        objective.set_weight("b", 1.0)
    with pytest.raises(ValueError, match="weight of a must be finite"):
        objective.set_weight("a", np.inf)
    with pytest.raises(ValueError, match=r"shape \(3, 9, 14\)"):
        objective.gradient_norms(random_image(WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="x has 3 values"):
        objective.evaluate(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="sized for 9 x 14 images, the objective for 9 x 15"):
        _core.ImageObjective([network.core], HEIGHT, WIDTH + 1, pool)
    with pytest.raises(ValueError, match="at least one pixel"):
        _core.ImageObjective([], 0, 5, pool)


def test_function_objective() -> None:
    objective = _core.FunctionObjective(lambda x: (float(x @ x), 2 * x), 6)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    value, gradient = objective.evaluate(x)
    assert value == 55
    np.testing.assert_array_equal(gradient, 2 * x)
    assert objective.names == ["function"]
    assert objective.values == [55]
    with pytest.raises(ValueError, match=r"gradient of shape \(6,\), not \(5,\)"):
        _core.FunctionObjective(lambda x: (0.0, x[1:]), 6).evaluate(x)
    with pytest.raises(ValueError, match="at least 1"):
        _core.FunctionObjective(lambda x: (0.0, x), 0)
