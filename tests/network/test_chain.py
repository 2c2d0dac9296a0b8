"""The native backend reads its layers from models/, and refuses graphs that it cannot run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from fastsynth._errors import NetworkError
from fastsynth.network import ARCHITECTURES
from fastsynth.network.chain import load_chain, read_chain
from fastsynth.network.graph import graph_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_committed_graphs_hold_the_published_networks(network: str, pooling: str) -> None:
    assert load_chain(network, pooling) == ARCHITECTURES[network]


def changed(tmp_path: Path, change: Callable[[Any], None]) -> Path:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(graph_path("vgg16", "max", "forward"), load_external_data=False)
    change({node.output[0]: node for node in model.graph.node})
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def set_ints(node: Any, name: str, values: list[int]) -> None:
    """Sets an attribute, or adds it."""
    onnx = pytest.importorskip("onnx")
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, values)])


def conv_of(nodes: Any, layer: str) -> Any:
    """The convolution before a layer's ReLU."""
    return nodes[nodes[layer].input[0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: setattr(n["conv3_2"], "op_type", "LeakyRelu"), r"LeakyRelu \(conv3_2\)"),
        (lambda n: setattr(n["conv5_3"], "op_type", "Sigmoid"), r"Sigmoid \(conv5_3\)"),
        (lambda n: setattr(n["conv1_2.pooled"], "op_type", "LpPool"), r"LpPool \(conv1_2.pooled\)"),
        (lambda n: setattr(n["conv1_2.pooled"], "op_type", "AveragePool"), "not the max pooling"),
        (lambda n: set_ints(n["conv2_2.pooled"], "strides", [1, 1]), r"MaxPool .* has strides"),
        (lambda n: set_ints(conv_of(n, "conv4_1"), "strides", [2, 2]), r"Conv .* has strides"),
        (lambda n: set_ints(conv_of(n, "conv4_1"), "pads", [0] * 4), r"Conv .* has pads"),
        (lambda n: set_ints(conv_of(n, "conv4_1"), "dilations", [2, 2]), "has dilations"),
        (lambda n: setattr(conv_of(n, "conv4_1"), "op_type", "ConvTranspose"), "ConvTranspose"),
        (lambda n: conv_of(n, "conv2_1").input.pop(), "3×3 convolution with bias"),
        (lambda n: n["conv2_1"].input.__setitem__(0, "nowhere"), "'nowhere', which nothing"),
        (lambda n: conv_of(n, "conv2_1").input.__setitem__(0, "conv2_2"), "runs in a circle"),
    ],
)
def test_other_graphs_are_refused(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    with pytest.raises(NetworkError, match=message):
        read_chain(changed(tmp_path, change), "vgg16", "max")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A file that ends early anywhere, or with bytes turned, is a NetworkError or another chain."""
    data = graph_path("vgg16", "avg", "forward").read_bytes()
    path = tmp_path / "damaged.onnx"
    for end in range(0, len(data), 97):
        path.write_bytes(data[:end])
        with pytest.raises(NetworkError):
            read_chain(path, "vgg16", "avg")
    for place in range(0, len(data), 61):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        with contextlib.suppress(NetworkError):  # nothing else may come
            assert read_chain(path, "vgg16", "avg").layers
    with pytest.raises(NetworkError, match="cannot read the graph"):
        read_chain(tmp_path / "absent.onnx", "vgg16", "max")
