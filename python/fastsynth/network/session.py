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

import contextlib
import ctypes
import importlib
import io
import logging
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import DeviceError, NetworkError
from fastsynth.network.portable import portable_cut
from fastsynth.network.providers import (
    CARDS,
    CPU,
    HALF_BY_GRAPH,
    Provider,
    cure,
    explain,
    find_card,
    missing_library,
    provider_options,
    resolve_precision,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from numpy.typing import NDArray

    from fastsynth.network.graph import Cut

__all__ = [
    "CPU",
    "Provider",
    "Session",
    "available_providers",
    "choose_provider",
    "release_memory",
    "reserve_memory",
]

logger = logging.getLogger("fastsynth")


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


def choose_provider(
    device: str, precision: str = "exact", memory_limit: int | None = None
) -> Provider:
    """The provider that a device asks for.

    device: "cpu", "cuda", "auto" (CUDA where ONNX Runtime can run it, else the CPU), another
        short name (tensorrt, openvino, coreml, directml, migraphx, rocm) or a provider's full name;
        a number behind it chooses among several cards ("cuda:1"), a word among OpenVINO's devices
        ("openvino:gpu").
    precision: see fastsynth.network.providers.
    memory_limit: bytes that the provider may take, where it has such a setting.

    Raises DeviceError for one that is unknown or not built in, and for a precision that it does not
    have; never takes another in its place.
    """
    if not isinstance(device, str):
        raise DeviceError(
            f'device must be a name such as "auto", "cpu" or "cuda:1", not {device!r}'
        )
    available = available_providers()

    def provider(name: str, reason: str, index: str | None = None) -> Provider:
        return Provider(
            name, reason, resolve_precision(name, precision, index), index, memory_limit
        )

    if device == "auto":
        cuda = "CUDAExecutionProvider"
        if cuda not in available:
            return provider(CPU, "chosen by auto: this ONNX Runtime has no CUDA")
        if problem := _probe(cuda):
            return provider(CPU, f"chosen by auto: CUDA does not start ({problem})")
        return provider(cuda, "chosen by auto")
    asked, _, index = device.partition(":")
    by_lower = {name.lower(): name for name in available}
    card = find_card(asked)
    name = card.name if card else by_lower.get(asked.lower())
    if name is None:
        raise DeviceError(
            f"unknown device {device!r}; expected auto, {', '.join(c.device for c in CARDS)}, or "
            f"one of ONNX Runtime's providers, here {', '.join(available)}"
        )
    if index and (card is None or card.index is None):
        raise DeviceError(f"{asked!r} takes no number; write device={asked!r}")
    if index and card is not None and card.index == "device_id" and not index.isdecimal():
        raise DeviceError(f"{device!r} should end in a card's number, such as {asked + ':0'!r}")
    if name not in available:
        raise DeviceError(
            f"device {device!r} needs {name}, which this ONNX Runtime does not have "
            f"(it has {', '.join(available)}); {cure(name)}"
        )
    return provider(name, "as asked", index or None)


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
        image = cut.inputs.get("image")
        self._size = None if image is None else (image.shape[2], image.shape[3])
        card = find_card(provider.name)
        if card is None or card.portable:
            half = provider.precision == "fp16" and provider.name in HALF_BY_GRAPH
            cut = portable_cut(cut, half=half)
        options = _session_options(ort, threads)
        values = [ort.OrtValue.ortvalue_from_numpy(parameters[name]) for name in cut.parameters]
        if values:
            options.add_external_initializers(list(cut.parameters), values)
        self._provider = provider
        self._session = _open(ort, cut.model, options, provider, threads)
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
        """Reads the input arrays, writes the output arrays. Releases the GIL while it computes.

        Raises MemoryLimitError where memory is over, DeviceError where the device fails.
        """
        try:
            if not self._on_host:
                self._bind()  # binding is what copies inputs to another device's memory
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            known = explain(error, self._provider, self._size)
            if known is None:
                raise
            raise known from error


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
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _open(ort: ModuleType, model: bytes, options: Any, provider: Provider, threads: int = 1) -> Any:
    """An inference session on the provider that was asked for and no other."""
    _preload(provider.name)
    try:
        session = ort.InferenceSession(
            model, options, providers=provider_options(provider, threads)
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        known = explain(error, provider)
        if known is not None:
            raise known from error
        if provider.name == CPU:
            raise NetworkError(f"ONNX Runtime cannot open the graph: {error}") from error
        raise DeviceError(
            f"{provider.name} cannot open the graph: {error}; {cure(provider.name)}"
        ) from error
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != provider.name:
        missing = missing_library(provider.name, Path(ort.__file__ or "").parent / "capi")
        why = f" because the library {missing} cannot be loaded" if missing else ""
        raise DeviceError(
            f"{provider.name} was asked for, but ONNX Runtime runs the graph on {used}{why}; "
            f"{cure(provider.name)}"
        )
    _check_assignment(session, provider)
    return session


def _check_assignment(session: Any, provider: Provider) -> None:
    """Raises DeviceError where the provider took no convolution, and all run on the CPU.

    A provider may open and then refuse every operator. ONNX Runtime tells from version 1.24 on.
    """
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    if provider.name == CPU or tell is None:
        return
    places: dict[str, int] = {}
    for part in tell():
        nodes = sum("Conv" in node.op_type for node in part.get_nodes())
        if nodes:
            places[part.ep_name] = places.get(part.ep_name, 0) + nodes
    left = places.pop(CPU, 0)
    if left and not places:
        raise DeviceError(
            f"{provider.name} was asked for, but it takes none of the graph's {left} convolutions, "
            f"which would run on the CPU; {cure(provider.name)}"
        )
    if left:
        logger.warning("%s leaves %d convolutions to the CPU", provider.name, left)


@cache
def _preload(name: str) -> None:
    """Loads CUDA and cuDNN from NVIDIA's packages, where they were installed by pip."""
    card = find_card(name)
    preload = getattr(onnxruntime(), "preload_dlls", None)
    if card is not None and card.package == "onnxruntime-gpu" and preload is not None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            preload()


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
