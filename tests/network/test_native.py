"""The native network against torch in float64, its transforms against their definition."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support import random_image

from fastsynth import _core
from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.native import NativeNetwork
from fastsynth.network.weights import load_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.native import BoundNativeNetwork

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

sys.path.insert(0, str(Path(__file__).parent))
from native_reference import (  # noqa: E402
    CASES,
    LIMITS,
    POOLINGS,
    SIZES,
    Case,
    compare,
    compare_case,
    fits,
    make_chain,
    precisions,
    relative_error,
)

SHARED = next(
    (p / "shared" for p in Path(__file__).resolve().parents if (p / "shared/weights").is_dir()),
    Path("../shared"),
)
POINTS = {4: [0, 11 / 16, -11 / 16, 3 / 2, -3 / 2], 6: [0, 1, -1, 2, -2, 0.5, -0.5]}


# ---- transforms ----


def winograd_matrices(m: int) -> tuple[NDArray[np.float64], ...]:
    """Aᵀ, G, Bᵀ of F(m, 3) from polynomial interpolation (see winograd_points.hpp)."""
    points, n = np.array(POINTS[m], dtype=np.float64), m + 2
    A = np.zeros((n, m))
    A[:-1] = points[:, None] ** np.arange(m)
    A[-1, -1] = 1
    G, B = np.zeros((n, 3)), np.zeros((n, n))
    G[-1, -1] = 1
    for i, p in enumerate(points):
        others = np.delete(points, i)
        G[i] = p ** np.arange(3) / np.prod(p - others)
        B[i, : n - 1] = np.poly(others)[::-1]
    B[-1] = np.poly(points)[::-1]
    return A.T, G, B


@pytest.mark.parametrize("m", [4, 6])
def test_transforms_equal_their_matrices(m: int) -> None:
    AT, G, BT = winograd_matrices(m)
    rng = np.random.default_rng(m)
    for _ in range(10):
        tile = rng.normal(size=(m + 2, m + 2)).astype(np.float32)
        kernel = rng.normal(size=(3, 3)).astype(np.float32)
        assert relative_error(_core.winograd_input(tile, m), BT @ tile @ BT.T) < 3e-7
        assert relative_error(_core.winograd_output(tile, m), AT @ tile @ AT.T) < 3e-7
        assert relative_error(_core.winograd_kernel(kernel, m), G @ kernel @ G.T) < 1.5e-7
        # Together they are the correlation of tile and kernel.
        sums = (G @ kernel @ G.T) * (BT @ tile @ BT.T)
        wide = kernel.astype(np.float64)
        direct = sum(wide[i, j] * tile[i : i + m, j : j + m] for i in range(3) for j in range(3))
        np.testing.assert_allclose(AT @ sums @ AT.T, direct, rtol=0, atol=1e-12)


# ---- features and gradient ----


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.channels) + str(case.taps))
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_features_and_gradient(case: Case, size: tuple[int, int]) -> None:
    if not fits(case, *size):
        architecture, arrays = make_chain(case)
        with pytest.raises(NetworkError, match="leaves nothing at"):
            NativeNetwork(architecture, arrays).bind(*size, [f"layer{i}" for i in case.taps])
        return
    for pooling in POOLINGS:
        for precision in precisions(size):
            features, gradient = compare_case(case, size, pooling, precision)
            assert features < LIMITS[precision] / 2
            assert gradient < LIMITS[precision]


@pytest.mark.parametrize(
    ("channels", "precision", "limit"),
    [
        (16, "exact", 7e-7),
        (64, "exact", 1.0e-6),
        (256, "exact", 1.8e-6),
        (512, "exact", 2.5e-6),
        (64, "fast", 8e-3 if _core.has_bf16() else 4.5e-6),
        (256, "fast", 8.5e-3 if _core.has_bf16() else 8e-6),
        (512, "fast", 8.5e-3 if _core.has_bf16() else 1.1e-5),
    ],
)
def test_error_of_one_layer(channels: int, precision: str, limit: float) -> None:
    """One Winograd layer and nothing else: its input is the network's own feature map below it."""
    architecture, arrays = make_chain(Case((channels, 64), (), (0, 1)))
    arrays["layer1.bias"] = np.full(64, 100, np.float32)  # every ReLU is open
    size = 98 if precision == "fast" else 33
    image = np.random.default_rng(1).normal(size=(3, size, size)).astype(np.float32)
    network = NativeNetwork(architecture, arrays, precision=precision)
    below, above = network.features(image, ["layer0", "layer1"]).values()
    expected = torch.nn.functional.conv2d(
        torch.tensor(below, dtype=torch.float64)[None],
        torch.tensor(arrays["layer1.weight"], dtype=torch.float64),
        padding=1,
    )[0].numpy()
    # The bias adds rounding of its own: 100 · 2⁻²⁴ per value.
    rounding = 100 * 2.0**-24 * np.sqrt(above.size) / np.linalg.norm(expected)
    assert relative_error(above - np.float32(100), expected) < limit + rounding


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(37, 51), (98, 101)], ids=str)
def test_real_weights(pooling: str, size: tuple[int, int]) -> None:
    path = SHARED / "weights" / "vgg16_blocks12.safetensors"
    picture = SHARED / "images" / "content"
    if not path.is_file() or not picture.is_dir():
        pytest.skip(f"needs the real weights and pictures of {SHARED}")
    from PIL import Image
    from safetensors.numpy import load_file

    with Image.open(sorted(picture.glob("*.*"))[0]) as opened:
        pixels = np.asarray(opened.convert("RGB").resize(size[::-1]), np.float32) / 255
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    arrays = load_file(path)
    arrays["normalize.weight"] = 255 * np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1)
    arrays["normalize.bias"] = -np.array([103.939, 116.779, 123.68], np.float32)
    vgg = ARCHITECTURES["vgg16"]
    vgg = ARCHITECTURES["vgg16"]
    for precision in precisions(size):
        features, gradient = compare(
            vgg, arrays, image, vgg.names[:4], pooling=pooling, precision=precision
        )
        assert features < LIMITS[precision]
        assert gradient < LIMITS[precision]


@pytest.mark.parametrize("kind", ["first layer", "open windows", "closed windows"])
def test_first_of_equal_maxima_wins(kind: str) -> None:
    """Windows of equal values: torch sends the gradient to the first one, or nowhere at zero."""
    architecture, arrays = make_chain(Case((16, 8), (0,), (1,)))
    # A kernel of which only the centre counts makes equal pixels equal, whatever the border.
    centre = np.zeros((16, 3, 3, 3), np.float32)
    centre[:, :, 1, 1] = arrays["layer0.weight"][:, :, 1, 1]
    arrays["layer0.weight"] = centre
    arrays["layer0.bias"][:] = {"first layer": 0.0, "open windows": 10.0, "closed windows": -10.0}[
        kind
    ]
    image = np.full((3, 9, 12), 0.5, np.float32)
    bound = NativeNetwork(architecture, arrays).bind(9, 12, ["layer1"])
    features = bound.forward(image)
    gradient = bound.backward({name: np.ones_like(f) for name, f in features.items()})

    functional = torch.nn.functional
    x = torch.tensor(image, dtype=torch.float64).requires_grad_()
    wide = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
    h = functional.conv2d(x[None], wide["normalize.weight"], wide["normalize.bias"])
    h = torch.relu(functional.conv2d(h, wide["layer0.weight"], wide["layer0.bias"], padding=1))
    corners = h[..., :8:2, :12:2]
    assert (torch.nn.functional.max_pool2d(h, 2) == corners).all()  # ties everywhere
    h = functional.max_pool2d(h, 2)
    h = torch.relu(functional.conv2d(h, wide["layer1.weight"], wide["layer1.bias"], padding=1))
    (expected,) = torch.autograd.grad(h.sum(), x)
    assert relative_error(gradient, expected.numpy()) < 3e-6
    assert (gradient[:, 1::2] == 0).all()
    assert (gradient[:, :, 1::2] == 0).all()
    assert gradient.any() == (kind != "closed windows")


# ---- kernel sets, threads ----


@pytest.mark.parametrize("kernels", _core.available_kernel_sets())
def test_every_kernel_set(kernels: str) -> None:
    environment = {
        **os.environ,
        "FASTSYNTH_KERNELS": kernels,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    script = Path(__file__).with_name("native_reference.py")
    result = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines()[:1] == [kernels], result.stderr
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("size", [1e-16, 1e-12, 1e12, 1e17])
def test_features_of_any_size(size: float) -> None:
    """Products by pairs bring features to the weights' size: also where squares leave float32."""
    architecture, arrays = make_chain(CASES[0])
    for kind in ("weight", "bias"):
        arrays[f"layer0.{kind}"] = arrays[f"layer0.{kind}"] * np.float32(size)
    for name in ("layer1", "layer2", "layer3"):
        arrays[f"{name}.bias"] = np.zeros_like(arrays[f"{name}.bias"])
    image = random_image(37, 51)
    features, _ = compare(architecture, arrays, image, ["layer3"], pooling="max")
    assert features < LIMITS["exact"]


def test_zeros_give_zeros() -> None:
    """To the bit: what is dark stays dark, and no gradient leaks to where none comes from."""
    architecture, arrays = make_chain(CASES[0])
    for name in ("normalize", "layer0", "layer1", "layer2", "layer3"):
        arrays[f"{name}.bias"] = np.zeros_like(arrays[f"{name}.bias"])
    image = random_image(64, 64)
    image[:, :, 32:] = 0
    bound = NativeNetwork(architecture, arrays).bind(64, 64, ["layer1"])
    features = bound.forward(image)["layer1"]
    assert features[:, :, :32].any()
    assert not features[:, :, 36:].any()  # the tile before reads what is not zero
    cotangent = np.zeros_like(features)
    cotangent[:, 20, 20] = 1e-20
    gradient = bound.backward({"layer1": cotangent})
    seen = np.argwhere(gradient.any(0))
    assert seen.min() >= 15  # two tiles, and a pixel
    assert seen.max() <= 24


def test_fast_is_what_it_says() -> None:
    """bfloat16 where the processor multiplies it: the error shows which kernels ran."""
    architecture, arrays = make_chain(CASES[2])
    network = NativeNetwork(architecture, arrays, precision="fast")
    error, _ = compare_case(CASES[2], (98, 101), "max", "fast")
    assert ("bfloat16" in network.describe()) == _core.has_bf16() == (error > 1e-4)
    assert ("F(6×6" in network.describe()) != _core.has_bf16()
    assert "bfloat16" not in NativeNetwork(architecture, arrays).describe()


def run_once(bound: BoundNativeNetwork, seed: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    image = rng.random((3, bound.core.height, bound.core.width), dtype=np.float32)
    features = bound.forward(image)
    cotangents = {name: rng.normal(size=f.shape) for name, f in features.items()}
    return [*features.values(), bound.backward(cotangents)]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("size", [(5, 7), (98, 101)], ids=str)
def test_threads_do_not_change_a_bit(size: tuple[int, int], precision: str) -> None:
    architecture, arrays = make_chain(CASES[0])
    results = []
    for threads in (1, 2, 5):
        pool = _core.ThreadPool(threads)
        network = NativeNetwork(architecture, arrays, precision=precision, pool=pool)
        results.append(run_once(network.bind(*size, ["layer0", "layer3"]), 3))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a, b)


def test_passes_leave_nothing_behind() -> None:
    """The same picture gives the same bits after another picture went through."""
    architecture, arrays = make_chain(CASES[0])
    bound = NativeNetwork(architecture, arrays).bind(37, 51, ["layer1", "layer3"])
    first = run_once(bound, 1)
    run_once(bound, 2)
    for a, b in zip(first, run_once(bound, 1), strict=True):
        assert np.array_equal(a, b)


def test_threads_share_network_and_pool() -> None:
    """Two threads bind one network on one pool and run; each gets what it gets alone."""
    architecture, arrays = make_chain(CASES[0])
    network = NativeNetwork(architecture, arrays, pool=_core.ThreadPool(2))
    taps = ["layer1", "layer3"]
    alone = [run_once(network.bind(61, 40 + i, taps), i) for i in range(2)]
    differing: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            results = run_once(network.bind(61, 40 + i, taps), i)
            if not all(np.array_equal(a, b) for a, b in zip(alone[i], results, strict=True)):
                differing.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not differing


# ---- memory ----


def test_sizes_that_no_memory_holds_are_refused() -> None:
    architecture, arrays = make_chain(CASES[1])
    network = NativeNetwork(architecture, arrays)
    for size in ((1 << 35, 1 << 35), (64, (1 << 20) + 1)):
        with pytest.raises(NetworkError, match="too large; a side has at most 1048576"):
            network.bound_bytes(*size, ["layer0"])
    assert network.bound_bytes(1 << 20, 1 << 20, ["layer0"]) > 1 << 45


def padded(size: int) -> Any:
    """A size of transformed weights: lines of the cache, and of sums, come to each plane."""
    return pytest.approx(size, rel=0.04)


def test_weights_are_transformed_once_and_no_deeper_than_needed() -> None:
    architecture, arrays = make_chain(Case((64, 64, 128), (), (2,)))
    network = NativeNetwork(architecture, arrays)
    assert network.weights_bytes == 0
    network.bind(16, 16, ["layer0"])
    assert network.weights_bytes == 0  # the first layer is direct
    network.bind(16, 16, ["layer1"], gradient=False)
    one = 36 * 64 * 64 * 4
    assert network.weights_bytes == padded(one)
    network.bind(16, 16, ["layer1"])
    network.bind(33, 9, ["layer0", "layer1"])
    assert network.weights_bytes == padded(2 * one)
    network.close()
    assert network.weights_bytes == 0


def test_kernels_are_not_transformed_beforehand_for_few_tiles() -> None:
    architecture, arrays = make_chain(Case((64, 64, 128), (), (2,)))
    network = NativeNetwork(architecture, arrays)
    plain = 9 * 64 * 64 * 4
    few = network.bind(12, 16, ["layer1"])  # twelve tiles
    assert network.weights_bytes == 2 * plain
    more = network.bind(13, 16, ["layer1"])
    assert network.weights_bytes == padded(2 * 5 * plain)  # both forms are in use
    few.close()
    more.close()


def test_large_kernels_of_the_gradient_are_not_transformed_for_large_maps() -> None:
    architecture, arrays = make_chain(Case((512, 512), (), (1,)))
    network = NativeNetwork(architecture, arrays, pool=_core.ThreadPool(2))
    plain = 9 * 512 * 512 * 4
    network.bind(16, 16, ["layer1"]).close()
    assert network.weights_bytes == padded(2 * 4 * plain)
    large = network.bind(48, 48, ["layer1"])
    assert network.weights_bytes == padded(5 * plain)  # what the small one held is gone
    small = network.bind(16, 16, ["layer1"])
    assert network.weights_bytes == padded(9 * plain)  # both forms are in use
    large.close()
    small.close()


def test_both_forms_of_kernels_give_the_same() -> None:
    """The same bits by plain products, however many tiles there are and whenever U was made.

    By pairs Σ y₁ y₂ is subtracted for some channels at a time where a task makes its weights, and
    few tiles have plain products: there it is the same but for rounding. Zeros are zeros.
    """
    architecture, arrays = make_chain(Case((512, 512), (), (1,)))
    network = NativeNetwork(architecture, arrays)
    image = np.zeros((3, 48, 48), np.float32)
    image[:, :4, :4] = np.random.default_rng(0).random((3, 4, 4), dtype=np.float32)
    gradients = []
    for size in (12, 24, 48):
        bound = network.bind(size, size, ["layer1"])
        feature = bound.forward(image[:, :size, :size])["layer1"]
        cotangent = np.zeros_like(feature)
        cotangent[:, :8, :8] = feature[:, :8, :8]
        gradient = bound.backward({"layer1": cotangent})
        assert not gradient[:, 12:].any()  # two tiles, and a pixel that the second reads
        gradients.append(gradient[:, :10, :10])
    for gradient in gradients[1:]:
        if _core.kernel_set() == "avx512pairs":
            assert relative_error(gradient, gradients[0]) < 5e-6
        else:
            assert np.array_equal(gradient, gradients[0])


def test_memory_of_a_binding() -> None:
    """What is not needed at the same time shares memory."""
    architecture, arrays = make_chain(Case((64,) * 6, (), (5,)))
    network = NativeNetwork(architecture, arrays, pool=_core.ThreadPool(1))
    one = 64 * 256 * 256 * 4
    taps = ["layer1", "layer5"]
    # A layer reads one map and writes another; features are handed out at once.
    plain = network.bind(256, 256, taps, gradient=False).core.memory_bytes
    assert 2.0 <= plain / one < 2.2
    # With gradient the map of layer1 is kept meanwhile, and bits of six layers: 1/32 of a map, or
    # 1/16 where a byte has those of four channels.
    full = network.bind(256, 256, taps).core.memory_bytes
    assert 3.1 <= full / one < (3.5 if _core.kernel_set() == "portable" else 3.4)


def test_memory_of_style_transfer() -> None:
    """The features that VGG16 is tapped at, 1.1 times: their gradients take their place."""
    weights = load_weights("random:0", "vgg16").arrays
    taps = ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1"]
    bound = NativeNetwork("vgg16", weights, pool=_core.ThreadPool(1)).bind(256, 256, taps)
    features = sum(4 * f.size for f in bound.forward(random_image(256, 256, seed=0)).values())
    assert bound.core.memory_bytes < (1.5 if _core.kernel_set() == "portable" else 1.45) * features


def test_nothing_grows_in_a_long_run() -> None:
    """A thousand evaluations and steps leave the process as large as the first fifty did."""
    resource = pytest.importorskip("resource", reason="resident memory is read as on Linux")
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")

    def resident() -> int:
        return int(statm.read_text().split()[1]) * resource.getpagesize()

    architecture, arrays = make_chain(Case((16, 32, 24), (0,), (0, 2)))
    pool = _core.ThreadPool(2)
    network = NativeNetwork(architecture, arrays, pool=pool)
    rng = np.random.default_rng(0)
    image, other = rng.random((2, 3, 20, 22), dtype=np.float32)
    targets = network.features(other, ["layer0", "layer2"])
    objective = _core.ImageObjective(
        [network.bind(20, 22, ["layer0", "layer2"]).core], 20, 22, pool
    )
    gram = _core.gram(targets["layer0"], pool)
    objective.add_layer_term(0, 0, _core.GramTerm(gram), 1.0, "style")
    objective.add_layer_term(0, 1, _core.ContentTerm(targets["layer2"]), 0.5, "content")
    sizes = []
    for _ in range(20):
        for _ in range(50):
            value, gradient = objective.evaluate(image)
            image -= np.float32(0.01 / np.abs(gradient).max()) * gradient.reshape(image.shape)
        assert np.isfinite(value)
        sizes.append(resident())
    assert sizes[-1] - sizes[0] < 1 << 20


# ---- the face ----


def test_taps_come_from_shallow_to_deep() -> None:
    architecture, arrays = make_chain(CASES[0])
    bound = NativeNetwork(architecture, arrays).bind(8, 9, ["layer3", "layer0", "layer3"])
    assert bound.taps == tuple(bound.core.taps) == ("layer0", "layer3")
    features = bound.forward(np.zeros((3, 8, 9), np.float32))
    assert {name: f.shape for name, f in features.items()} == {
        "layer0": (64, 8, 9),
        "layer3": (32, 4, 4),
    }


def test_nan_stays_visible() -> None:
    architecture, arrays = make_chain(CASES[0])
    image = np.zeros((3, 16, 16), np.float32)
    image[1, 8, 8] = np.nan
    features = NativeNetwork(architecture, arrays).features(image, ["layer3"])
    assert np.isnan(features["layer3"]).any()


def test_bad_calls_are_refused() -> None:
    architecture, arrays = make_chain(CASES[0])
    network = NativeNetwork(architecture, arrays)
    with pytest.raises(NetworkError, match="no layer 'layer9'; it has layer0, layer1"):
        network.bind(8, 8, ["layer9"])
    with pytest.raises(NetworkError, match="no layer is tapped"):
        network.bind(8, 8, [])
    with pytest.raises(NetworkError, match="unknown pooling 'median'"):
        NativeNetwork(architecture, arrays, pooling="median")
    with pytest.raises(NetworkError, match="unknown precision 'bf16'"):
        NativeNetwork(architecture, arrays, precision="bf16")
    with pytest.raises(NetworkError, match="unknown network 'vgg99'"):
        NativeNetwork("vgg99", arrays)
    with pytest.raises(NetworkError, match=r"shape \(8, 8\)"):
        network.features(np.zeros((8, 8), np.float32), ["layer0"])
    bound = network.bind(8, 8, ["layer0"])
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\)"):
        bound.forward(np.zeros((3, 8, 9), np.float32))
    with pytest.raises(ValueError, match="cotangent of layer0 must have shape"):
        bound.backward({"layer0": np.zeros((64, 8, 9), np.float32)})
    bound.forward(np.zeros((3, 8, 8), np.float32))
    bound.backward({"layer0": np.zeros((64, 8, 8), np.float32)})
    with pytest.raises(ValueError, match="needs a forward before it"):
        bound.backward({"layer0": np.zeros((64, 8, 8), np.float32)})
    with pytest.raises(NetworkError, match="gradient=False"):
        network.bind(8, 8, ["layer0"], gradient=False).backward({})
    network.close()
    with pytest.raises(NetworkError, match="closed"):
        bound.forward(np.zeros((3, 8, 8), np.float32))
    with pytest.raises(NetworkError, match="closed"):
        network.bind(8, 8, ["layer0"])


def test_weights_that_do_not_fit_are_refused() -> None:
    architecture, arrays = make_chain(CASES[0])
    with pytest.raises(WeightsError, match=r"lack layer1\.bias"):
        NativeNetwork(architecture, {k: v for k, v in arrays.items() if k != "layer1.bias"})
    with pytest.raises(WeightsError, match=r"expected \(64,\)"):
        NativeNetwork(architecture, {**arrays, "layer1.bias": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match=r"lack layer0\.weight"):
        NativeNetwork(architecture, {})
    early = {k: v for k, v in arrays.items() if not k.startswith("layer2")}
    with pytest.raises(WeightsError, match="end at layer1, but layer2 is tapped"):
        NativeNetwork(architecture, early).bind(8, 8, ["layer2"])


# ---- with the engine ----


def test_objective_uses_blocked_maps() -> None:
    """A Gram and a content term give the same value and gradient as by plain features."""
    architecture, arrays = make_chain(Case((32, 64, 40), (0,), (1, 2)))
    pool = _core.ThreadPool(2)
    network = NativeNetwork(architecture, arrays, pool=pool)
    rng = np.random.default_rng(0)
    image, other = rng.random((2, 3, 22, 35), dtype=np.float32)
    taps = ["layer1", "layer2"]
    targets = network.features(other, taps)
    objective = _core.ImageObjective([network.bind(22, 35, taps).core], 22, 35, pool)
    target = _core.gram(targets["layer1"], pool)
    objective.add_layer_term(0, 0, _core.GramTerm(target), 1.0, "style")
    objective.add_layer_term(0, 1, _core.ContentTerm(targets["layer2"]), 0.5, "content")
    value, gradient = objective.evaluate(image)

    bound = network.bind(22, 35, taps)
    features = bound.forward(image)
    style, style_cotangent = _core.evaluate_layer_term(
        _core.GramTerm(target), features["layer1"], 1.0, pool
    )
    content, content_cotangent = _core.evaluate_layer_term(
        _core.ContentTerm(targets["layer2"]), features["layer2"], 0.5, pool
    )
    expected = bound.backward({"layer1": style_cotangent, "layer2": content_cotangent})
    assert value == pytest.approx(style + 0.5 * content, rel=1e-6)
    assert relative_error(gradient.reshape(3, 22, 35), expected) < 1e-5
