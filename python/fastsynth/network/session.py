"""ONNX Runtime: the one place that imports it, chooses the provider and opens sessions.

Memory. ONNX Runtime gives every session an arena that grows in powers of two and keeps the most
that it ever held. Here all sessions of the process share one arena that grows by what is asked
for (`_share_arena`), so the pieces of one evaluation, which run one after the other, work in the
same memory; weights lie outside it and go with their session; and `release_memory` hands the
arena back when a level of a coarse-to-fine run closes.

Threads. ONNX Runtime's threads spin between the steps of a run and stop at its end
(`force_spinning_stop`), so that they do not fight the engine's own threads between two runs.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import DeviceError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from numpy.typing import NDArray

    from fastsynth.network.graph import Cut

__all__ = [
    "Provider",
    "Session",
    "available_providers",
    "choose_provider",
    "release_memory",
    "reserve_memory",
]

CPU = "CPUExecutionProvider"

_SHORT_NAMES = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}

# Everything is float32 and repeats exactly: no TF32 convolutions, no choice of algorithm by a race.
_OPTIONS: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    },
    "TensorrtExecutionProvider": {"trt_fp16_enable": "0"},
}

_CURES = {
    "CUDAExecutionProvider": "install the extra fastsynth[gpu] (in place of onnxruntime, not beside"
    " it) and an NVIDIA driver with the CUDA and cuDNN libraries that it names",
    "OpenVINOExecutionProvider": "install onnxruntime-openvino in place of onnxruntime",
    "DmlExecutionProvider": "install onnxruntime-directml in place of onnxruntime",
    "CoreMLExecutionProvider": "CoreML exists on macOS only",
}


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime, and why it was chosen."""

    name: str
    reason: str


def onnxruntime() -> ModuleType:
    """The package onnxruntime. Raises DeviceError, naming the extras, where it is not installed."""
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DeviceError(
            f"ONNX Runtime cannot be imported ({error}); install it with "
            "`pip install fastsynth[cpu]`, or `pip install fastsynth[gpu]` for NVIDIA cards"
        ) from error
    return ort


def available_providers() -> tuple[str, ...]:
    """The providers that the installed ONNX Runtime was built with, best first."""
    return tuple(onnxruntime().get_available_providers())


def choose_provider(device: str) -> Provider:
    """The provider that a device asks for.

    device: "cpu", "cuda", "auto" (CUDA where ONNX Runtime can run it, else the CPU), another
    short name (tensorrt, openvino, coreml, directml, rocm, migraphx) or a provider's full name.

    Raises DeviceError for one that is unknown or not built in; never takes another in its place.
    """
    available = available_providers()
    if device == "auto":
        cuda = _SHORT_NAMES["cuda"]
        if cuda not in available:
            return Provider(CPU, "chosen by auto: this ONNX Runtime has no CUDA")
        if problem := _probe(cuda):
            return Provider(CPU, f"chosen by auto: CUDA does not start ({problem})")
        return Provider(cuda, "chosen by auto")
    by_lower = {name.lower(): name for name in (*_SHORT_NAMES.values(), *available)}
    name = _SHORT_NAMES.get(device.lower()) or by_lower.get(device.lower())
    if name is None:
        raise DeviceError(
            f"unknown device {device!r}; expected auto, {', '.join(_SHORT_NAMES)}, or one of "
            f"ONNX Runtime's providers, here {', '.join(available)}"
        )
    if name not in available:
        raise DeviceError(
            f"device {device!r} needs {name}, which this ONNX Runtime does not have "
            f"(it has {', '.join(available)}); {_cure(name)}"
        )
    return Provider(name, "as asked")


def _cure(name: str) -> str:
    cure = _CURES.get(name, f"install a build of ONNX Runtime with {name}")
    return f'{cure}, or use device="cpu"'


class Session:
    """A cut graph with its weights, opened on one provider, reading and writing given arrays."""

    def __init__(
        self,
        cut: Cut,
        parameters: Mapping[str, NDArray[np.float32]],
        provider: Provider,
        threads: int,
        buffers: Mapping[str, NDArray[Any]],
    ) -> None:
        ort = onnxruntime()
        _share_arena()
        options = _session_options(ort, threads)
        values = [ort.OrtValue.ortvalue_from_numpy(parameters[name]) for name in cut.parameters]
        if values:
            options.add_external_initializers(list(cut.parameters), values)
        self._session = _open(ort, cut.model, options, provider)
        self._inputs = {n: _value(ort, buffers[n], v.shape) for n, v in cut.inputs.items()}
        for name in cut.matrices:
            self._inputs[name] = _value(ort, parameters[name], parameters[name].shape)
        self._outputs = {n: _value(ort, buffers[n], v.shape) for n, v in cut.outputs.items()}
        self._on_host = provider.name == CPU
        self._binding = self._session.io_binding()
        self._bind()

    def _bind(self) -> None:
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        """Reads the input arrays, writes the output arrays. Releases the GIL while it computes."""
        if not self._on_host:
            self._bind()  # binding is what copies inputs to another device's memory
        self._session.run_with_iobinding(self._binding)


def _value(ort: ModuleType, buffer: NDArray[Any], shape: tuple[int, ...]) -> Any:
    """The buffer's own memory as an OrtValue of `shape`."""
    view = buffer.reshape(shape)
    if not np.shares_memory(view, buffer):
        raise ValueError("a bound buffer must be C-contiguous")
    return ort.OrtValue.ortvalue_from_numpy(view)


def _session_options(ort: ModuleType, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors; what matters to a user is raised
    options.enable_mem_pattern = False  # one block of the peak size per run would bypass the arena
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _open(ort: ModuleType, model: bytes, options: Any, provider: Provider) -> Any:
    asked = [(provider.name, _OPTIONS.get(provider.name, {}))]
    if provider.name != CPU:
        asked.append((CPU, {}))  # for what handles shapes
    try:
        session = ort.InferenceSession(model, options, providers=asked)
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        if provider.name == CPU:
            raise NetworkError(f"ONNX Runtime cannot open the graph: {error}") from error
        raise DeviceError(
            f"{provider.name} cannot open the graph: {error}; {_cure(provider.name)}"
        ) from error
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != provider.name:
        raise DeviceError(
            f"{provider.name} was asked for, but ONNX Runtime runs the graph on {used}; "
            f"{_cure(provider.name)}"
        )
    return session


def _small_model() -> bytes:
    """y = max of n zeros: a model that takes as much working memory as it is told to."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["y"], keepdims=1),
    ]
    count = helper.make_tensor_value_info("n", TensorProto.INT64, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "zeros", [count], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


@cache
def _probe(name: str) -> str | None:
    """Why a provider cannot start here, or None if it can."""
    try:
        _open(onnxruntime(), _small_model(), _session_options(onnxruntime(), 1), Provider(name, ""))
    except DeviceError as error:
        return str(error)
    return None


_arena_lock = threading.Lock()


@cache
def _register_arena() -> None:
    ort = onnxruntime()
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    grow_as_requested = 1
    config = ort.OrtArenaCfg({"arena_extend_strategy": grow_as_requested})
    ort.create_and_register_allocator(memory, config)


def _share_arena() -> None:
    """Makes the arena that all sessions of this module share, once per process."""
    with _arena_lock:
        _register_arena()


@cache
def _janitor() -> Any:
    _share_arena()
    ort = onnxruntime()
    return _open(ort, _small_model(), _session_options(ort, 1), Provider(CPU, ""))


def _take_and_free(count: int, options: Any) -> None:
    """Allocates `count` floats in the shared arena for a moment; the result lies outside of it."""
    ort = onnxruntime()
    binding = _janitor().io_binding()
    binding.bind_cpu_input("n", np.array([count], np.int64))
    result = ort.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))
    binding.bind_ortvalue_output("y", result)
    _janitor().run_with_iobinding(binding, options)


def reserve_memory(size: int) -> None:
    """Lets the shared arena take `size` bytes in one piece, unless it has them already.

    An arena that grows step by step holds pieces of many sizes, and more of them than are in use.
    """
    _take_and_free(size // 4, None)


def release_memory() -> None:
    """Hands free memory back to the operating system: the shared arena's, and the C library's.

    Opening a session leaves as much free memory in the C library as the weights take, and glibc
    keeps what was freed in pieces of under 32 MB unless it is told not to.
    """
    options = onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    _take_and_free(1, options)
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
