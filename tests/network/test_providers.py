"""Providers: names, options, precisions, and what their failures become.

Hardware that is not here is stood in for by what ONNX Runtime says of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

from tests.network.onnx_reference import he_normal, picture

import fastsynth as fs
from fastsynth._errors import DeviceError, MemoryLimitError
from fastsynth.network import load_weights, open_network, providers, session
from fastsynth.network.onnx_network import OnnxNetwork
from fastsynth.network.providers import CARDS, CPU, Provider, explain, provider_options

NAMES = [card.device for card in CARDS]


class Fake:
    """ONNX Runtime with providers that it does not have; opening them does what `open_` does."""

    def __init__(self, names: list[str], open_: object) -> None:
        self.real = session.onnxruntime()
        self.names = names
        self.InferenceSession = open_

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def get_available_providers(self) -> list[str]:
        return self.names

    def preload_dlls(self) -> None:
        print("what it prints does not matter")


def install(monkeypatch: pytest.MonkeyPatch, open_: object, *names: str) -> None:
    fake = Fake([*names, CPU], open_)
    monkeypatch.setattr(session, "onnxruntime", lambda: fake)
    session._preload.cache_clear()


@pytest.mark.parametrize("device", NAMES)
def test_every_card_is_found_and_is_whole(device: str) -> None:
    card = providers.find_card(device)
    assert card is not None
    assert providers.find_card(card.name.upper()) is card
    assert "exact" in card.precisions
    assert card.fast in card.precisions
    for precision in card.precisions:
        asked = provider_options(Provider(card.name, "", precision), 3)
        assert asked[0][0] == card.name
        assert asked[-1][0] == CPU
        assert all(isinstance(v, str) for _, options in asked for v in options.values())
    assert 'device="cpu"' in providers.cure(card.name)


@pytest.mark.parametrize("device", [name for name in NAMES if name != "cpu"])
def test_a_provider_that_is_not_built_in_names_its_package(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, None)
    card = providers.find_card(device)
    assert card is not None
    wanted = "macOS" if device == "coreml" else card.package
    with pytest.raises(DeviceError, match=rf"(?s){card.name}.*does not have.*{wanted}"):
        session.choose_provider(device)


def test_options_of_nvidia_cards() -> None:
    cuda = Provider("CUDAExecutionProvider", "", "exact", "1", 1 << 30)
    (name, options), (last, _) = provider_options(cuda, 2)
    assert (name, last) == ("CUDAExecutionProvider", CPU)
    assert options["use_tf32"] == "0"
    assert options["device_id"] == "1"
    assert options["gpu_mem_limit"] == str(1 << 30)
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    fast = provider_options(Provider("CUDAExecutionProvider", "", "tf32"), 2)[0][1]
    assert fast["use_tf32"] == "1"
    assert "gpu_mem_limit" not in fast
    tensorrt = provider_options(Provider("TensorrtExecutionProvider", "", "fp16"), 2)
    assert [name for name, _ in tensorrt] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        CPU,
    ]
    assert tensorrt[0][1]["trt_fp16_enable"] == "1"


def test_openvino_is_always_told_its_precision() -> None:
    """Its settings go in as JSON text; the processor's threads are ours."""
    for precision, hint in (("exact", "f32"), ("bf16", "bf16")):
        (_, options), _ = provider_options(Provider("OpenVINOExecutionProvider", "", precision), 3)
        assert options["device_type"] == "CPU"
        assert json.loads(options["load_config"])["CPU"] == {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": "3",
            "NUM_STREAMS": "1",
        }
    gpu = provider_options(Provider("OpenVINOExecutionProvider", "", "fp16", "gpu.1"), 3)[0][1]
    assert gpu["device_type"] == "GPU.1"
    assert json.loads(gpu["load_config"]) == {"GPU": {"INFERENCE_PRECISION_HINT": "f16"}}


def test_precision_is_resolved_or_refused() -> None:
    resolve = providers.resolve_precision
    assert resolve(CPU, "fast") == "exact"
    assert resolve("CUDAExecutionProvider", "fast") == "tf32"
    assert resolve("OpenVINOExecutionProvider", "fast") == "bf16"
    assert resolve("OpenVINOExecutionProvider", "fast", "gpu") == "fp16"
    assert resolve("SomeNewProvider", "fast") == "exact"
    with pytest.raises(DeviceError, match=r"cpu does not compute in bf16.*exact.*openvino"):
        resolve(CPU, "bf16")
    with pytest.raises(DeviceError, match="openvino does not compute in fp16"):
        resolve("OpenVINOExecutionProvider", "fp16")
    with pytest.raises(DeviceError, match=r"unknown precision 'int8'.*exact"):
        resolve(CPU, "int8")


def test_devices_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None, "CUDAExecutionProvider")
    chosen = session.choose_provider("cuda:1", "fast", 123)
    assert (chosen.index, chosen.precision, chosen.memory_limit) == ("1", "tf32", 123)
    with pytest.raises(DeviceError, match="card's number"):
        session.choose_provider("cuda:first")
    with pytest.raises(DeviceError, match="takes no number"):
        session.choose_provider("cpu:1")


# What ONNX Runtime 1.2x says, shortened, and what must come of it.
MESSAGES = [
    (
        "Non-zero status code returned while running Conv node. Name:'Conv_6' Status Message: "
        "bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to "
        "allocate memory for requested buffer of size 939524096",
        MemoryLimitError,
        r"2048 × 1024 pixels.*does not fit the device's memory.*896 MiB.*1448 × 724 takes half",
    ),
    (
        "bfc_arena.cc:393 Available memory of 1048576 is smaller than requested bytes of 8388608",
        MemoryLimitError,
        "8 MiB",
    ),
    (
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc((void**)&p, size);",
        MemoryLimitError,
        "device",
    ),
    ("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0", MemoryLimitError, "device"),
    ("8007000E Not enough memory resources are available", MemoryLimitError, "device"),
    (
        "cuda_call.cc:121 CUDA failure 35: CUDA driver version is insufficient for CUDA runtime "
        "version ; GPU=-1 ; expr=cudaSetDevice(info_.device_id);",
        DeviceError,
        r"driver is older.*onnxruntime-gpu.*device=\"cpu\"",
    ),
    ("CUDA failure 100: no CUDA-capable device is detected ; GPU=0", DeviceError, "nvidia-smi"),
    ("CUDA failure 101: invalid device ordinal ; GPU=7", DeviceError, "first is 0"),
    (
        "CUDA failure 209: no kernel image is available for execution on the device",
        DeviceError,
        "too old or too new",
    ),
    (
        "Failed to load library libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot "
        "open shared object file: No such file or directory",
        DeviceError,
        r"libcudnn\.so\.9 is not there.*fastsynth\[gpu\]",
    ),
    (
        'Error loading "C:\\ort\\cublasLt64_12.dll" which is missing.',
        DeviceError,
        r"cublasLt64_12\.dll",
    ),
]


@pytest.mark.parametrize(("message", "kind", "words"), MESSAGES)
def test_messages_become_typed_errors(message: str, kind: type[Exception], words: str) -> None:
    provider = Provider("CUDAExecutionProvider", "as asked")
    found = explain(RuntimeError(message), provider, (1024, 2048))
    assert type(found) is kind
    with pytest.raises(kind, match=rf"(?s){words}"):
        raise found


def test_other_messages_stay_as_they_are() -> None:
    cuda = Provider("CUDAExecutionProvider", "")
    assert explain(RuntimeError("Unexpected input data type"), cuda) is None


def test_a_limit_is_named() -> None:
    provider = Provider("CUDAExecutionProvider", "", memory_limit=64 << 20)
    found = explain(MemoryError(), provider)
    assert "limit of 64 MiB" in str(found)
    assert "raise the limit" in str(found)


@pytest.mark.parametrize(("message", "kind", "words"), [MESSAGES[0], MESSAGES[5]])
def test_errors_at_opening(
    message: str, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError(message)

    install(monkeypatch, fail, "CUDAExecutionProvider")
    net = OnnxNetwork("vgg16", he_normal("vgg16", "conv1_1"), device="cuda")
    with net, pytest.raises(kind):
        net.bind(16, 16, ["conv1_1"])


def test_memory_that_ends_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real session, the engine and Python: the verb raises the typed error."""
    message = MESSAGES[0][0]

    class Failing:
        def __init__(self, real: object) -> None:
            self.real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def run_with_iobinding(self, *arguments: object) -> None:
            raise RuntimeError(message)

    real = session._open

    def open_(ort: object, model: bytes, *more: object) -> object:
        opened = real(ort, model, *more)  # type: ignore[arg-type]
        return opened if b"zeros" in model[:200] else Failing(opened)

    monkeypatch.setattr(session, "_open", open_)
    image = (picture(32, 48).transpose(1, 2, 0) * 255).astype(np.uint8)
    with pytest.raises(MemoryLimitError, match=r"48 × 32 pixels|does not fit"):
        fs.invert(
            image, layers={"conv1_1": 1}, backend="onnx", weights="random:0", scales=1,
            max_evaluations=2,
        )  # fmt: skip


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that does not start and says so only in the log."""
    library = tmp_path / "libonnxruntime_providers_cuda.so"
    library.touch()

    def load(path: str) -> None:
        assert path == str(library)
        raise OSError("libcublasLt.so.12: cannot open shared object file: No such file")

    monkeypatch.setattr(providers.ctypes, "CDLL", load)
    found = providers.missing_library("CUDAExecutionProvider", tmp_path)
    assert found == "libcublasLt.so.12"
    assert providers.missing_library("TensorrtExecutionProvider", tmp_path) is None
    monkeypatch.undo()
    assert providers.missing_library("CUDAExecutionProvider", tmp_path) is None  # it is no library


def test_a_provider_that_takes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens, but leaves every convolution to the CPU."""

    class Node:
        op_type = "Conv"

    class Part:
        def __init__(self, name: str) -> None:
            self.ep_name = name

        def get_nodes(self) -> list[Node]:
            return [Node(), Node()]

    class Opened:
        def __init__(self, *names: str) -> None:
            self.names = names

        def get_provider_graph_assignment_info(self) -> list[Part]:
            return [Part(name) for name in self.names]

    coreml = Provider("CoreMLExecutionProvider", "")
    with pytest.raises(DeviceError, match=r"none of the graph's 2 convolutions"):
        session._check_assignment(Opened(CPU), coreml)
    warned: list[object] = []
    monkeypatch.setattr(session.logger, "warning", lambda *values: warned.append(values))
    session._check_assignment(Opened(CPU, coreml.name), coreml)
    assert len(warned) == 1


def test_precision_reaches_the_network_and_the_record() -> None:
    weights = load_weights("random:0", "vgg16")
    with pytest.raises(DeviceError, match=r"native.*float32.*'bf16'.*'fast'.*openvino"):
        open_network("vgg16", weights, precision="bf16", pool=fs._core.ThreadPool(1))
    with pytest.raises(DeviceError, match="cpu does not compute in tf32"):
        open_network(
            "vgg16", weights, backend="onnx", precision="tf32", pool=fs._core.ThreadPool(1)
        )
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    short = {"layers": {"conv1_1": 1}, "weights": "random:0", "scales": 1, "max_evaluations": 2}
    result = fs.invert(image, precision="fast", **short)
    assert result.provenance["engine"]["precision"] == "fast"
    assert fs.invert(image, **short).provenance["engine"]["precision"] == "exact"
