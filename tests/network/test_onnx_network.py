"""The network in ONNX Runtime: values, gradients, contracts."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

from onnx_reference import cotangents_of, he_normal, picture, torch_answer

from fastsynth import _core
from fastsynth._errors import DeviceError, NetworkError, WeightsError
from fastsynth.network import session
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.onnx_network import OnnxNetwork

STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")
REAL = Path(__file__).resolve().parents[3] / "shared" / "weights" / "vgg16_blocks12.safetensors"


@pytest.fixture(scope="module")
def weights() -> dict[str, dict[str, np.ndarray]]:
    return {name: he_normal(name) for name in ARCHITECTURES}


def off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.torch
@pytest.mark.parametrize("network", list(ARCHITECTURES))
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize(
    ("size", "taps"),
    [
        ((64, 48), STYLE),
        ((37, 51), STYLE),
        ((37, 51), "all"),
        ((33, 64), ("conv1_1",)),
        ((50, 23), ("conv1_2", "conv2_2")),
        ((23, 42), ("conv3_1",)),
        ((16, 17), ("conv5_2",)),
    ],
)
def test_features_and_gradient_equal_torch(
    network: str,
    pooling: str,
    size: tuple[int, int],
    taps: tuple[str, ...] | str,
    weights: dict[str, dict[str, np.ndarray]],
) -> None:
    pytest.importorskip("torch")
    chosen = ARCHITECTURES[network].names if isinstance(taps, str) else taps
    image, cotangents = picture(*size), cotangents_of(network, chosen, *size)
    features, gradient = torch_answer(network, pooling, weights[network], image, cotangents)
    net = OnnxNetwork(network, weights[network], pooling=pooling)
    with net, net.bind(*size, chosen) as bound:
        found = bound.forward(image)
        for tap in chosen:
            assert off(found[tap], features[tap]) < 3e-6
        assert off(bound.backward(cotangents), gradient) < 1e-5


@pytest.mark.torch
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_gradient_at_equal_maxima_equals_torch(pooling: str) -> None:
    """A picture of equal stripes ties every window; the first of equals must win."""
    pytest.importorskip("torch")
    weights = he_normal("vgg16", "conv2_1")
    for name in ("conv1_1", "conv1_2"):  # pass on small integers exactly, so that ties are exact
        kernel = np.zeros_like(weights[f"{name}.weight"])
        kernel[np.arange(64), np.arange(64) % kernel.shape[1], 1, 1] = 1
        weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel, np.zeros(64, np.float32)
    weights["normalize.weight"] = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    weights["normalize.bias"] = np.zeros(3, np.float32)
    image = np.random.default_rng(3).integers(0, 2, (3, 21, 18)).astype(np.float32)
    cotangents = cotangents_of("vgg16", ("conv1_2", "conv2_1"), 21, 18)
    _, gradient = torch_answer("vgg16", pooling, weights, image, cotangents)
    net = OnnxNetwork("vgg16", weights, pooling=pooling)
    with net, net.bind(21, 18, ("conv1_2", "conv2_1")) as bound:
        bound.forward(image)
        assert off(bound.backward(cotangents), gradient) < 1e-6


@pytest.mark.torch
def test_real_weights_that_end_early() -> None:
    """VGG16's first four layers as published: BGR, 0-255, minus the mean."""
    pytest.importorskip("torch")
    if not REAL.is_file():
        pytest.skip(f"no real weights at {REAL}")
    from safetensors.numpy import load_file

    weights = dict(load_file(REAL))
    mean = np.array([103.939, 116.779, 123.68], np.float32)
    weights["normalize.weight"] = np.zeros((3, 3, 1, 1), np.float32)
    weights["normalize.weight"][[0, 1, 2], [2, 1, 0]] = 255
    weights["normalize.bias"] = -mean
    taps = ("conv1_1", "conv2_1", "conv2_2")
    image, cotangents = picture(37, 52), cotangents_of("vgg16", taps, 37, 52)
    features, gradient = torch_answer("vgg16", "max", weights, image, cotangents)
    with OnnxNetwork("vgg16", weights) as net:
        assert net.layers == ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
        with net.bind(37, 52, taps) as bound:
            found = bound.forward(image)
            assert all(off(found[tap], features[tap]) < 3e-6 for tap in taps)
            assert off(bound.backward(cotangents), gradient) < 1e-5
        with pytest.raises(WeightsError, match=r"end at conv2_2.*conv3_1"):
            net.bind(64, 64, ("conv3_1",))


def test_the_engine_descends_through_the_network() -> None:
    """core and the C++ terms together: the gradient predicts the change of the loss."""
    weights, taps = he_normal("vgg16", "conv3_1"), ("conv1_1", "conv3_1")
    image, other = picture(32, 40), picture(32, 40, seed=5)
    pool = _core.ThreadPool(2)
    with OnnxNetwork("vgg16", weights) as net:
        target = net.features(other, taps)
        with net.bind(32, 40, taps) as bound:
            objective = _core.ImageObjective([bound.core], 32, 40, pool)
            for index, tap in enumerate(taps):
                objective.add_layer_term(0, index, _core.ContentTerm(target[tap]), 1.0, tap)
            loss, gradient = objective.evaluate(image)
            assert loss > 0
            gradient = gradient.reshape(image.shape)
            step = np.float32(1e-3 * loss / np.vdot(gradient, gradient))
            lower, _ = objective.evaluate(image - step * gradient)
            assert lower - loss == pytest.approx(-1e-3 * loss, rel=0.05)
            assert objective.evaluate(other)[0] == pytest.approx(0, abs=1e-10)


def test_runs_repeat_bit_for_bit() -> None:
    weights, taps = he_normal("vgg16", "conv4_1"), ("conv2_1", "conv4_1")
    cotangents = cotangents_of("vgg16", taps, 45, 70)
    results = []
    with OnnxNetwork("vgg16", weights, pool=_core.ThreadPool(2)) as net:
        for _ in range(2):
            with net.bind(45, 70, taps) as bound:
                for _ in range(2):
                    features = bound.forward(picture(45, 70))
                    results.append((features["conv4_1"], bound.backward(cotangents)))
    for features, gradient in results[1:]:
        np.testing.assert_array_equal(features, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])


def test_threads_share_a_network() -> None:
    weights = he_normal("vgg16", "conv2_1")
    images = [picture(30 + 7 * i, 41, seed=i) for i in range(4)]
    with OnnxNetwork("vgg16", weights, pool=_core.ThreadPool(1)) as net:
        alone = [net.features(image, ("conv2_1",))["conv2_1"] for image in images]
        together: dict[int, np.ndarray] = {}

        def work(i: int) -> None:
            for _ in range(3):
                together[i] = net.features(images[i], ("conv2_1",))["conv2_1"]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i, expected in enumerate(alone):
        np.testing.assert_array_equal(together[i], expected)


def test_taps_come_back_shallow_to_deep_and_aligned() -> None:
    with OnnxNetwork("vgg16", he_normal("vgg16", "conv2_1")) as net:
        with net.bind(20, 30, ["conv2_1", "conv1_1", "conv2_1"]) as bound:
            assert bound.taps == ("conv1_1", "conv2_1")
            assert bound.core.taps == ["conv1_1", "conv2_1"]
            assert (bound.core.height, bound.core.width) == (20, 30)
        assert net.describe().startswith("vgg16 with max pooling to conv2_1, ONNX Runtime")
        assert (net.backend, net.device, net.provider) == ("onnx", "cpu", "CPUExecutionProvider")


def test_mistakes_are_named() -> None:
    weights = he_normal("vgg16", "conv2_1")
    with pytest.raises(NetworkError, match=r"vgg11.*vgg16"):
        OnnxNetwork("vgg11", weights)
    with pytest.raises(NetworkError, match=r"median.*max"):
        OnnxNetwork("vgg16", weights, pooling="median")
    with pytest.raises(WeightsError, match=r"hold conv9.*at least normalize.weight"):
        OnnxNetwork("vgg16", {"conv9": np.zeros(1, np.float32)})
    turned = weights | {"conv1_2.weight": weights["conv2_1.weight"]}
    with pytest.raises(WeightsError, match=r"conv1_2.weight has shape.*OIHW"):
        OnnxNetwork("vgg16", turned)
    with OnnxNetwork("vgg16", weights) as net:
        with pytest.raises(NetworkError, match=r"no layer 'relu3'.*conv1_1"):
            net.bind(32, 32, ["relu3"])
        with pytest.raises(NetworkError, match="name at least one"):
            net.bind(32, 32, [])
        with pytest.raises(NetworkError, match="at least 2 × 2"):
            net.bind(1, 32, ["conv2_1"])
        with pytest.raises(NetworkError, match=r"\(32, 32, 3\)"):
            net.features(np.zeros((32, 32, 3), np.float32), ["conv1_1"])
        with pytest.raises(NetworkError, match="gradient=False"):
            net.bind(32, 32, ["conv1_1"], gradient=False).core  # noqa: B018


def test_closed_networks_say_so() -> None:
    net = OnnxNetwork("vgg16", he_normal("vgg16", "conv1_2"))
    bound = net.bind(16, 16, ["conv1_1"])
    core = bound.core
    objective = _core.ImageObjective([core], 16, 16, _core.ThreadPool(1))
    target = np.zeros((64, 16, 16), np.float32)
    objective.add_layer_term(0, 0, _core.ContentTerm(target, "paper"), 1.0, "content")
    net.close()
    net.close()
    assert bound.closed
    with pytest.raises(NetworkError, match="closed"):
        bound.forward(picture(16, 16))
    with pytest.raises(NetworkError, match="closed"):
        objective.evaluate(picture(16, 16))
    with pytest.raises(NetworkError, match="closed"):
        net.bind(16, 16, ["conv1_1"])


def test_an_unavailable_provider_is_an_error() -> None:
    weights = he_normal("vgg16", "conv1_1")
    if "CUDAExecutionProvider" not in session.available_providers():
        with pytest.raises(DeviceError, match=r"CUDAExecutionProvider.*fastsynth\[gpu\]"):
            OnnxNetwork("vgg16", weights, device="cuda")
        net = OnnxNetwork("vgg16", weights, device="auto")
        assert net.provider == "CPUExecutionProvider"
        assert "chosen by auto" in net.describe()
    with pytest.raises(DeviceError, match="unknown device 'gpu9'"):
        OnnxNetwork("vgg16", weights, device="gpu9")


def test_a_silent_fall_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is built in but does not start: ONNX Runtime would go on with the CPU."""
    cuda = "CUDAExecutionProvider"
    real = session.onnxruntime()

    class FallingBack:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        @staticmethod
        def get_available_providers() -> list[str]:
            return [cuda, "CPUExecutionProvider"]

        @staticmethod
        def InferenceSession(model: bytes, options: object, providers: object) -> object:  # noqa: N802
            return real.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(session, "onnxruntime", FallingBack)
    weights = he_normal("vgg16", "conv1_1")
    net = OnnxNetwork("vgg16", weights, device="cuda")
    with net, pytest.raises(DeviceError, match=rf"{cuda} was asked.*runs the graph on CPU"):
        net.bind(16, 16, ["conv1_1"])
    session._probe.cache_clear()
    assert session.choose_provider("auto").name == "CPUExecutionProvider"
    assert "does not start" in session.choose_provider("auto").reason
    session._probe.cache_clear()


def test_missing_onnxruntime_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"fastsynth\[cpu\].*fastsynth\[gpu\]"):
        OnnxNetwork("vgg16", he_normal("vgg16", "conv1_1"))
