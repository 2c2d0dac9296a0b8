"""The chain of layers in a forward graph, as the native kernels run it.

`read_chain` follows `models/NETWORK_POOLING_forward.onnx` from its deepest feature back to the
image and checks every operator on the way. It reads the few fields it needs straight from the
file (an ONNX file is a protocol buffer; field numbers after onnx.proto, ONNX IR version 8), so
that the native backend needs no onnx package and no time to import it: some 2 ms instead of 50
to 200.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from fastsynth._errors import NetworkError
from fastsynth.network.architecture import Architecture, ConvLayer
from fastsynth.network.files import models_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["load_chain", "read_chain"]

POOLS = {"MaxPool": "max", "AveragePool": "avg"}

Attributes = dict[str, list[int | bytes]]

# What an attribute must say, where it is there, for the native kernels.
CONV: Attributes = {"strides": [1, 1], "dilations": [1, 1], "group": [1], "auto_pad": [b"NOTSET"]}
POOL: Attributes = {
    "kernel_shape": [2, 2],
    "strides": [2, 2],
    "pads": [0, 0, 0, 0],
    "dilations": [1, 1],
    "ceil_mode": [0],
    "auto_pad": [b"NOTSET"],
}


@dataclass
class _Node:
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: Attributes = field(default_factory=dict)


@cache
def load_chain(network: str, pooling: str) -> Architecture:
    """The layers of a committed graph, read once.

    Raises NetworkError where the file is missing or holds what the native kernels cannot run.

    >>> load_chain("vgg16", "max").names[:2]
    ('conv1_1', 'conv1_2')
    """
    return read_chain(models_directory() / f"{network}_{pooling}_forward.onnx", network, pooling)


def read_chain(path: Path, name: str, pooling: str) -> Architecture:  # noqa: PLR0912
    """The layers of the forward graph at `path`; `pooling` is what it is expected to pool by.

    Raises NetworkError for a file that cannot be read, and for a graph that is more than a chain of
    a normalising 1×1 convolution, 3×3 convolutions with ReLU, and 2×2 pooling: it names the
    operator.
    """
    try:
        nodes, shapes, outputs = _read_graph(path.read_bytes())
    except OSError as error:
        raise NetworkError(f"cannot read the graph {path}: {error.strerror}") from error
    except (ValueError, IndexError, StopIteration) as error:
        raise NetworkError(f"{path} is not an ONNX graph, or damaged: {error}") from error
    makers = {output: node for node in nodes for output in node.outputs}
    features = [o for node in nodes for o in node.outputs if o in outputs and "." not in o]
    if not features:
        raise NetworkError(f"the graph {path} has no feature among its outputs")

    def refuse(node: _Node, why: str) -> NetworkError:
        return NetworkError(
            f"the native backend cannot run {path.name}: operator {node.operator} "
            f"({', '.join(node.outputs)}) {why}; use backend='onnx'"
        )

    def maker(value: str, wanted: str) -> _Node:
        if value not in makers:
            raise NetworkError(
                f"the native backend cannot run {path.name}: {wanted} expected before {value!r}, "
                "which nothing computes; use backend='onnx'"
            )
        return makers[value]

    def require(node: _Node, expected: Attributes, stated: tuple[str, ...] = ()) -> None:
        for key in (*stated, *node.attributes):
            value = node.attributes.get(key, "no")
            if key in expected and value != expected[key]:
                raise refuse(node, f"has {key} {value}; expected {expected[key]}")

    layers: list[ConvLayer] = []
    pooled: set[str] = set()
    value = features[-1]
    while len(layers) < len(nodes):
        node = maker(value, "a convolution with ReLU")
        if node.operator in POOLS:
            if POOLS[node.operator] != pooling:
                raise refuse(node, f"is not the {pooling} pooling that was asked for")
            require(node, POOL, ("kernel_shape", "strides"))
            pooled.add(value := node.inputs[0])
            node = maker(value, "a convolution with ReLU")
        if node.operator == "Conv" and shapes.get("".join(node.inputs[1:2]), [])[2:] == [1, 1]:
            require(node, {**CONV, "pads": [0, 0, 0, 0]})
            if node.inputs[0] in makers:
                raise refuse(node, "is a 1×1 convolution inside the network")
            break
        if node.operator != "Relu":
            raise refuse(node, "is not the ReLU of a 3×3 convolution")
        conv = maker(node.inputs[0], "a 3×3 convolution")
        shape = shapes.get(conv.inputs[1], []) if len(conv.inputs) == 3 else []
        if conv.operator != "Conv" or len(shape) != 4 or shape[2:] != [3, 3]:
            raise refuse(conv, "is not a 3×3 convolution with bias")
        require(conv, {**CONV, "pads": [1, 1, 1, 1]}, ("pads",))
        if conv.inputs[1] != f"{value}.weight":
            raise refuse(conv, f"has weights {conv.inputs[1]!r}; expected {value}.weight")
        layers.append(ConvLayer(value, shape[1], shape[0]))
        value = conv.inputs[0]
    else:
        raise NetworkError(f"the graph {path} runs in a circle")
    if not layers:
        raise NetworkError(f"the graph {path} has no convolution with ReLU")
    return Architecture(name, tuple(reversed(layers)), frozenset(pooled))


# ---- the file ----


def _read_graph(data: bytes) -> tuple[list[_Node], dict[str, list[int]], set[str]]:
    """Nodes in order, shapes of the parameters, names of the outputs."""
    nodes: list[_Node] = []
    shapes: dict[str, list[int]] = {}
    outputs: set[str] = set()
    for number, graph in _fields(data):
        if number != 7:  # ModelProto.graph
            continue
        for part, value in _fields(_bytes(graph)):
            if part == 1:  # GraphProto.node
                nodes.append(_read_node(_bytes(value)))
            elif part == 5:  # GraphProto.initializer: TensorProto.dims, name
                tensor = list(_fields(_bytes(value)))
                name = next(_bytes(v).decode() for k, v in tensor if k == 8)
                shapes[name] = [d for k, v in tensor if k == 1 for d in _integers(v)]
            elif part == 12:  # GraphProto.output: ValueInfoProto.name
                outputs.update(_bytes(v).decode() for k, v in _fields(_bytes(value)) if k == 1)
    if not nodes:
        raise ValueError("it holds no nodes")
    if any(node.operator in ("Conv", "Relu", *POOLS) and not node.inputs for node in nodes):
        raise ValueError("a node has no inputs")
    return nodes, shapes, outputs


def _read_node(data: bytes) -> _Node:
    node = _Node()
    for number, value in _fields(data):
        if number == 1:
            node.inputs.append(_bytes(value).decode())
        elif number == 2:
            node.outputs.append(_bytes(value).decode())
        elif number == 4:
            node.operator = _bytes(value).decode()
        elif number == 5:  # AttributeProto: name, then i, s or ints
            attribute = list(_fields(_bytes(value)))
            name = next(_bytes(v).decode() for k, v in attribute if k == 1)
            values: list[int | bytes] = []
            for key, entry in attribute:
                if key in (3, 8):
                    values.extend(_integers(entry))
                elif key == 4:
                    values.append(_bytes(entry))
            node.attributes[name] = values
    return node


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: whole numbers as int, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at + size > len(data):
            raise ValueError("it ends early")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def _integers(value: int | bytes) -> Iterator[int]:
    """One number, or several in the packed form."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number
