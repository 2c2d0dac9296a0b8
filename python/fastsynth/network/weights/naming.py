"""From the names that weights files use to ours, and from their layouts to (out, in, 3, 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import WeightsError
from fastsynth.network.weights.cards import architecture_of, model_card
from fastsynth.network.weights.weight_set import expected_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fastsynth.network.weights.tensor_file import Tensor, TensorFile

__all__ = ["arrays_of"]


@dataclass(frozen=True)
class _Scheme:
    """A way to name tensors, with the layout and the input convention that it usually means."""

    title: str
    pattern: re.Pattern[str]
    kernel_first: bool  # (3, 3, in, out) as in Keras, instead of (out, in, 3, 3)
    convention: str


_SCHEMES = (
    _Scheme(
        "conv1_1.weight",
        re.compile(r"(?:.*\.)?(?P<layer>conv\d+_\d+)\.(?P<kind>weight|bias)"),
        kernel_first=False,
        convention="oxford",
    ),
    _Scheme(
        "features.0.weight",
        re.compile(r"(?:.*\.)?features\.(?P<index>\d+)\.(?P<kind>\w+)"),
        kernel_first=False,
        convention="torchvision",
    ),
    _Scheme(
        "block1_conv1/kernel",
        re.compile(
            r"(?:.*/)?block(?P<block>\d+)_conv(?P<step>\d+)/"
            r"(?:block\d+_conv\d+_)?(?P<kind>kernel|bias|W|b)(?:_\d+)?(?::0)?"
        ),
        kernel_first=True,
        convention="oxford",
    ),
)
_KINDS = {"weight": "weight", "kernel": "weight", "W": "weight", "bias": "bias", "b": "bias"}
_FLOATS = ("float16", "float32", "float64")


def arrays_of(
    file: TensorFile, network: str, convention: str | None = None
) -> dict[str, NDArray[np.float32]]:
    """The arrays of `file` under our names and in our layout, its input convention resolved.

    The convention is, in this order: the argument; tensors `normalize.weight` and `normalize.bias`
    in the file; its metadata `convention` (a name) or `preprocess` (beginning with Keras's words
    for the two: caffe, torch); what the naming usually means: torchvision for `features.0.weight`,
    oxford for the others. Shapes are compared before any data is read, so that a file cannot ask
    for more memory than the network has.

    Raises:
        WeightsError: names, shapes or types that do not fit, or an unknown convention.
    """
    scheme, tensors = _recognise(file, network)
    shapes = expected_shapes(network)
    arrays: dict[str, NDArray[np.float32]] = {}
    normal = ("normalize.weight", "normalize.bias")
    if convention is None and all(name in file.tensors for name in normal):
        for name in normal:
            arrays[name] = _read(file, file.tensors[name], shapes[name], kernel_first=False)
    else:
        known = model_card(network).conventions()
        name = convention or _stated_convention(file) or scheme.convention
        if name not in known:
            raise WeightsError(
                f"{file.path}: unknown convention {name!r}; known are {', '.join(known)}"
            )
        arrays.update(zip(normal, known[name].normalization(), strict=True))
    for name, shape in shapes.items():
        if name in tensors:
            arrays[name] = _read(file, tensors[name], shape, kernel_first=scheme.kernel_first)
    return arrays


def _recognise(file: TensorFile, network: str) -> tuple[_Scheme, dict[str, Tensor]]:
    """The scheme that `file` follows, and its tensors under our names."""
    for scheme in _SCHEMES:
        found: dict[str, Tensor] = {}
        for original, tensor in file.tensors.items():
            match = scheme.pattern.fullmatch(original)
            if match is None:
                continue
            name = _our_name(match, network)
            if name is None:
                raise WeightsError(
                    f"{file.path}: {original} {tensor.shape} has no place in {network}; are these "
                    "weights of another network (with batch normalisation, or of another depth)?"
                )
            if name in found:
                raise WeightsError(
                    f"{file.path}: both {found[name].name} and {original} would be {name}; keep one"
                )
            found[name] = tensor
        if found:
            return scheme, found
    seen = ", ".join(list(file.tensors)[:4]) or "nothing"
    titles = ", ".join(scheme.title for scheme in _SCHEMES)
    raise WeightsError(
        f"{file.path}: no tensor names that belong to {network}; seen {seen}; "
        f"expected names like {titles}"
    )


def _our_name(match: re.Match[str], network: str) -> str | None:
    """Our name for the tensor, or None where the network has no such layer."""
    parts = match.groupdict()
    kind = _KINDS.get(parts["kind"])
    if "index" in parts:
        layer = _features(network).get(int(parts["index"]))
    elif "block" in parts:
        layer = f"conv{parts['block']}_{parts['step']}"
    else:
        layer = parts["layer"]
    if kind is None or layer not in architecture_of(network).names:
        return None
    return f"{layer}.{kind}"


def _features(network: str) -> Mapping[int, str]:
    """Place of each convolution in torchvision's `features`, where ReLU and pooling count too."""
    architecture = architecture_of(network)
    places: dict[int, str] = {}
    place = 0
    for layer in architecture.layers:
        places[place] = layer.name
        place += 3 if layer.name in architecture.pool_after else 2
    return places


def _stated_convention(file: TensorFile) -> str | None:
    stated = file.metadata.get("convention")
    if stated is None:
        mode = re.match(r"\w*", file.metadata.get("preprocess", ""))
        stated = {"caffe": "oxford", "torch": "torchvision"}.get(mode.group() if mode else "")
    return stated


def _read(
    file: TensorFile, tensor: Tensor, shape: tuple[int, ...], *, kernel_first: bool
) -> NDArray[np.float32]:
    """The tensor as float32 of `shape`, refused unread when its own shape or type is another."""
    stored = shape
    if kernel_first and len(shape) == 4:
        stored = (shape[2], shape[3], shape[1], shape[0])
    if tensor.shape != stored:
        raise WeightsError(
            f"{file.path}: {tensor.name} has shape {tensor.shape}, expected {stored}"
        )
    if tensor.dtype not in _FLOATS:
        raise WeightsError(
            f"{file.path}: {tensor.name} is of type {tensor.dtype}, "
            f"expected one of {', '.join(_FLOATS)}"
        )
    array = tensor.load()
    if kernel_first and array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as not finite
        return np.ascontiguousarray(array, np.float32)
