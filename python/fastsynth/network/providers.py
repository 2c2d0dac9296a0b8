"""The execution providers of ONNX Runtime: names, packages, options, precisions, and their errors.

One card for each provider. docs/devices.md tells which of them were run.

Precision. "exact" is float32, the default everywhere. The other names say in what convolutions
multiply: "tf32" (10 bits of mantissa, float32's range), "bf16" (7 bits, float32's range), "fp16"
(10 bits, values up to 65504). Images, losses and the optimiser's numbers are float32 always.
"fast" is the best trade of the device, its own choice among these; where a device has nothing
faster, "fast" is exact.
"""

from __future__ import annotations

import ctypes
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fastsynth._errors import DeviceError, FastsynthError, MemoryLimitError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CARDS",
    "CPU",
    "PRECISIONS",
    "Card",
    "Provider",
    "cure",
    "explain",
    "find_card",
    "missing_library",
    "provider_options",
    "resolve_precision",
]

CPU = "CPUExecutionProvider"
PRECISIONS = ("exact", "fast", "tf32", "bf16", "fp16")

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Card:
    """What fastsynth knows of one provider.

    device: the short name, as in `device="cuda"`.
    name: ONNX Runtime's.
    package: the distribution that has it, which replaces onnxruntime.
    needs: what else must be there.
    options: always given.
    precisions: what "exact" and others add to the options; a name that is absent cannot be had.
    fast: what "fast" means here.
    index: the option that takes the N of "device:N".
    memory: the option that takes a limit in bytes; None where the provider has none.
    companions: providers that take what this one leaves.
    captured: options with which it records all launches of a run once and repeats them as one.
    portable: graphs are rewritten first (fastsynth.network.portable).
    """

    device: str
    name: str
    package: str
    needs: str
    options: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    precisions: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"exact": _EMPTY})
    fast: str = "exact"
    index: str | None = "device_id"
    memory: str | None = None
    companions: tuple[str, ...] = ()
    captured: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    portable: bool = True


@dataclass(frozen=True)
class Provider:
    """A provider that was chosen, why, and how it shall compute.

    precision: resolved, not "fast". index: the N of "device:N", or None. memory_limit: bytes.
    captured: whether runs are to be recorded and repeated (CUDA graphs).
    """

    name: str
    reason: str
    precision: str = "exact"
    index: str | None = None
    memory_limit: int | None = None
    captured: bool = False


_NVIDIA = "an NVIDIA card and driver, with the CUDA and cuDNN libraries that the extra installs"

CARDS: tuple[Card, ...] = (
    Card("cpu", CPU, "onnxruntime", "nothing else", index=None, portable=False),
    Card(
        "cuda",
        "CUDAExecutionProvider",
        "onnxruntime-gpu",
        _NVIDIA,
        # HEURISTIC: an algorithm chosen by a race would make results differ from run to run.
        options={
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "do_copy_in_default_stream": "1",
        },
        precisions={
            "exact": {"use_tf32": "0"},
            "tf32": {"use_tf32": "1", "prefer_nhwc": "1"},
            "fp16": {"use_tf32": "1", "prefer_nhwc": "1"},
        },
        fast="tf32",
        memory="gpu_mem_limit",
        captured={"enable_cuda_graph": "1"},
    ),
    Card(
        "tensorrt",
        "TensorrtExecutionProvider",
        "onnxruntime-gpu",
        f"{_NVIDIA}, and TensorRT (pip install tensorrt)",
        options={"trt_timing_cache_enable": "1"},
        precisions={
            "exact": {"trt_fp16_enable": "0"},
            "fp16": {"trt_fp16_enable": "1"},
            "bf16": {"trt_bf16_enable": "1"},
        },
        fast="fp16",
        memory="trt_max_workspace_size",
        companions=("CUDAExecutionProvider",),
        captured={"trt_cuda_graph_enable": "1"},
    ),
    Card(
        "openvino",
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino",
        "a processor or graphics unit of the x86-64 kind",
        # Left to itself, OpenVINO may choose bfloat16: always say which.
        precisions={
            "exact": {"INFERENCE_PRECISION_HINT": "f32"},
            "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
        },
        fast="bf16",
        index="device_type",
    ),
    Card(
        "coreml",
        "CoreMLExecutionProvider",
        "onnxruntime",
        "macOS 12 or later",
        options={"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"},
        precisions={
            "exact": {"MLComputeUnits": "CPUAndGPU", "AllowLowPrecisionAccumulationOnGPU": "0"},
            "fp16": {"MLComputeUnits": "ALL", "AllowLowPrecisionAccumulationOnGPU": "1"},
        },
        fast="fp16",
        index=None,
    ),
    Card(
        "directml",
        "DmlExecutionProvider",
        "onnxruntime-directml",
        "Windows with a DirectX 12 card",
        precisions={"exact": _EMPTY, "fp16": _EMPTY},
        fast="fp16",
    ),
    Card(
        "migraphx",
        "MIGraphXExecutionProvider",
        "onnxruntime-migraphx",
        "an AMD card with ROCm and MIGraphX",
        options={"migraphx_arena_extend_strategy": "kSameAsRequested"},
        precisions={
            "exact": {"migraphx_fp16_enable": "0"},
            "fp16": {"migraphx_fp16_enable": "1"},
        },
        fast="fp16",
        memory="migraphx_mem_limit",
    ),
    Card(
        "rocm",
        "ROCMExecutionProvider",
        "onnxruntime-rocm",
        "an AMD card with ROCm; ONNX Runtime 1.22 was the last with this provider: see migraphx",
        options={"arena_extend_strategy": "kSameAsRequested"},
        memory="gpu_mem_limit",
    ),
)
# OpenVINO's other devices. Asked for float16 on a processor, it computes in bfloat16 and does not
# say so: there float16 cannot be had.
_OPENVINO_GPU = {
    "exact": {"INFERENCE_PRECISION_HINT": "f32"},
    "fp16": {"INFERENCE_PRECISION_HINT": "f16"},
}
# The provider has no option for it: convolutions are written in half precision (portable.py).
HALF_BY_GRAPH = ("CUDAExecutionProvider", "DmlExecutionProvider")

_EXTRAS = {
    "onnxruntime": "fastsynth[cpu]",
    "onnxruntime-gpu": "fastsynth[gpu]",
    "onnxruntime-openvino": "fastsynth[openvino]",
    "onnxruntime-directml": "fastsynth[directml]",
    "onnxruntime-migraphx": "fastsynth[migraphx]",
}


def find_card(name: str) -> Card | None:
    """The card of a provider by its short or its full name, whatever the case; else None."""
    wanted = name.lower()
    return next((c for c in CARDS if wanted in (c.device, c.name.lower())), None)


def _precisions(card: Card, index: str | None) -> tuple[Mapping[str, Mapping[str, str]], str]:
    """The precisions of a provider's device, and which is "fast"."""
    if card.device == "openvino" and index and index.lower() != "cpu":
        return _OPENVINO_GPU, "fp16"
    return card.precisions, card.fast


def resolve_precision(name: str, precision: str, index: str | None = None) -> str:
    """What a provider computes in when asked for `precision`; index: the N of "device:N".

    Raises DeviceError for an unknown one and for one that the provider does not have.
    """
    if precision not in PRECISIONS:
        raise DeviceError(f"unknown precision {precision!r}; expected one of {list(PRECISIONS)}")
    card = find_card(name)
    known, fast = _precisions(card, index) if card else ({"exact": _EMPTY}, "exact")
    if precision == "fast":
        precision = fast
    if precision not in known:
        others = [c.device for c in CARDS if precision in c.precisions]
        raise DeviceError(
            f"{card.device if card else name} does not compute in {precision}; it has "
            f"{', '.join(known)}. {precision} can be had from {', '.join(others)}"
        )
    return precision


def provider_options(provider: Provider, threads: int) -> list[tuple[str, dict[str, str]]]:
    """What an inference session is opened with: providers, best first, each with its options."""
    card = find_card(provider.name)
    options: dict[str, str] = {}
    if card is not None:
        chosen = _precisions(card, provider.index)[0].get(provider.precision, _EMPTY)
        if provider.name == "OpenVINOExecutionProvider":
            options = _openvino(provider, dict(chosen), threads)
        else:
            options = {**card.options, **chosen}
            if card.index and provider.index is not None:
                options[card.index] = provider.index
        if card.memory and provider.memory_limit is not None:
            options[card.memory] = str(provider.memory_limit)
        if provider.captured:
            options |= card.captured
    asked = [(provider.name, options)]
    for companion in card.companions if card else ():
        beside = Provider(companion, "beside", "exact", provider.index, provider.memory_limit)
        asked += provider_options(beside, threads)[:1]
    if provider.name != CPU:
        asked.append((CPU, {}))  # for what handles shapes
    return asked


def _openvino(provider: Provider, settings: dict[str, str], threads: int) -> dict[str, str]:
    """OpenVINO's own settings go in as JSON text, by device."""
    device = (provider.index or "CPU").upper()
    if device == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    return {"device_type": device, "load_config": json.dumps({device.split(".")[0]: settings})}


def cure(name: str) -> str:
    """How to get a provider, in words."""
    card = find_card(name)
    if card is None:
        return f'install a build of ONNX Runtime with {name}, or use device="cpu"'
    if card.device == "coreml":
        return 'CoreML exists on macOS only; elsewhere use device="cpu"'
    place = "" if card.package == "onnxruntime" else " (in place of onnxruntime, not beside it)"
    extra = _EXTRAS.get(card.package)
    pip = f"`pip install {extra}`: the package {card.package}" if extra else card.package
    return f'{pip}{place}; it needs {card.needs}. Or use device="cpu"'


# How ONNX Runtime and the libraries under it say that memory is over …
_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|available memory of \d+ is smaller than requested"
    r"|std::bad_alloc|\bbad allocation|CUDA failure 2:|hip failure 2:|ALLOC_FAILED"
    r"|hipErrorOutOfMemory|E_OUTOFMEMORY|8007000E|OutOfDeviceMemory|Cannot allocate memory",
    re.IGNORECASE,
)
# … that the driver is too old or there is no card, …
_DRIVER = (
    (
        r"driver version is insufficient|failure 35:|failure 803|forward compatibility",
        "the driver is older than the libraries need: update it, or install an older "
        "{package} (its release notes name the CUDA version)",
    ),
    (
        r"no CUDA-capable device|failure 100:|no ROCm-capable|failure 38:",
        "no card was found: check that the driver sees one (nvidia-smi, rocminfo) and that "
        "CUDA_VISIBLE_DEVICES does not hide it",
    ),
    (
        r"invalid device ordinal|failure 101:",
        "there is no card of this number: the first is 0",
    ),
    (
        r"no kernel image is available|failure 209:",
        "the card is too old or too new for this build of {package}: install another version",
    ),
    (
        r"unsupported compute capability|arch mismatch",
        "the card is too old for this build of {package}: install another version",
    ),
)
# … and that a library cannot be loaded.
_LIBRARY = re.compile(
    r"([\w.+-]+\.(?:so[\d.]*|dll|dylib))[\"']?"
    r"(?:: cannot open shared object file| which is missing)"
)


def explain(
    error: Exception, provider: Provider, size: tuple[int, int] | None = None
) -> FastsynthError | None:
    """The typed error that an exception of ONNX Runtime stands for; None if it is none of these.

    size: (height, width) of the image at work.
    """
    text = " ".join(str(error).split())
    short = text if len(text) <= 300 else f"{text[:200]} … {text[-100:]}"
    card = find_card(provider.name)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return MemoryLimitError(_memory_message(text, provider, size))
    for pattern, way_out in _DRIVER:
        if re.search(pattern, text, re.IGNORECASE):
            package = card.package if card else "onnxruntime"
            advice = way_out.format(package=package)
            return DeviceError(
                f'{provider.name} cannot start: {advice}. Or use device="cpu". ({short})'
            )
    if found := _LIBRARY.search(text):
        return DeviceError(
            f"{provider.name} cannot start: the library {found[1]} is not there; "
            f"{cure(provider.name)}"
        )
    return None


def _memory_message(text: str, provider: Provider, size: tuple[int, int] | None) -> str:
    place = "the memory" if provider.name == CPU else f"the device's memory ({provider.name})"
    asked = re.search(r"requested (?:buffer of size|bytes of) (\d+)", text)
    more = f", at a piece of {int(asked[1]) / 2**20:.0f} MiB" if asked else ""
    limit = ""
    if provider.memory_limit is not None:
        limit = f" under the limit of {provider.memory_limit / 2**20:.0f} MiB"
    work = "the work"
    ways = "use a smaller size"
    if size is not None:
        height, width = size
        work = f"a picture of {width} × {height} pixels"
        ways = (
            f"memory goes with the number of pixels: {_scaled(width, 2)} × {_scaled(height, 2)} "
            f"takes half of it, {_scaled(width, 4)} × {_scaled(height, 4)} a quarter"
        )
    if provider.memory_limit is not None:
        ways += "; or raise the limit"
    elif provider.name != CPU:
        ways += '; or free the device of other programs, or use device="cpu"'
    return f"{work} does not fit {place}{limit}{more}; {ways}"


def _scaled(side: int, share: int) -> int:
    """A side of the picture with 1/share of the pixels."""
    return max(1, int(side / share**0.5))


def missing_library(name: str, capi: Path) -> str | None:
    """The library that keeps a provider's own library from loading; None if it is another reason.

    When a provider does not start, ONNX Runtime writes why to the log and goes on with the CPU.
    Loading the provider's library by hand brings the reason to light.

    capi: the folder of ONNX Runtime's libraries.
    """
    stem = name.removesuffix("ExecutionProvider").lower()
    files = sorted(capi.glob(f"*onnxruntime_providers_{stem}.*"))
    reasons = (_LIBRARY.search(_load_error(file)) for file in files)
    return next((found[1] for found in reasons if found), None)


def _load_error(library: Path) -> str:
    """What the system says when it loads a library; empty where it can."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""
