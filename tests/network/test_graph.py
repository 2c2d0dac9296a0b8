"""Cutting graphs: only what a run needs is left."""

from __future__ import annotations

import pytest

onnx = pytest.importorskip("onnx")

from fastsynth._errors import NetworkError  # noqa: E402
from fastsynth.network.architecture import ARCHITECTURES  # noqa: E402
from fastsynth.network.graph import (  # noqa: E402
    Cut,
    cut_forward,
    cut_gradient,
    graph_path,
    load_graph,
)


def operators(cut: Cut) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(cut.model).graph.node]


def names(cut: Cut) -> list[str]:
    return [node.name for node in onnx.load_from_string(cut.model).graph.node]


def test_forward_stops_at_the_deepest_output() -> None:
    pieces = cut_forward("vgg16", "max", ["conv1_1", "conv2_1"], 64, 48)
    assert [set(p.outputs) for p in pieces] == [{"conv1_1"}, {"conv1_2.pooled"}, {"conv2_1"}]
    assert [set(p.inputs) for p in pieces] == [{"image"}, {"conv1_1"}, {"conv1_2.pooled"}]
    assert pieces[2].parameters == ("conv2_1.bias", "conv2_1.weight")
    assert pieces[2].outputs["conv2_1"].shape == (1, 128, 32, 24)


def test_forward_computes_no_winner_that_nobody_reads() -> None:
    (piece,) = cut_forward("vgg16", "max", ["conv1_2"], 64, 48)
    assert operators(piece).count("Conv") == 3  # normalize and two layers
    assert set(piece.outputs) == {"conv1_2"}


def test_gradient_of_a_shallow_tap_is_short() -> None:
    cut = cut_gradient("vgg19", "max", ["conv1_1"], 64, 48)
    assert set(cut.inputs) == {"conv1_1", "d_conv1_1"}
    assert cut.parameters == ("conv1_1.weight", "normalize.weight")
    assert operators(cut).count("Conv") == 2


def test_untapped_pooled_layer_is_not_handed_over() -> None:
    """Without a cotangent at conv1_2 the gradient needs one byte per window of it."""
    cut = cut_gradient("vgg16", "max", ["conv2_1"], 64, 48)
    assert set(cut.inputs) == {"image", "conv1_1.mask", "conv1_2.winner", "conv2_1", "d_conv2_1"}
    assert cut.inputs["conv1_2.winner"].dtype == "uint8"
    both = cut_gradient("vgg16", "max", ["conv1_2", "conv2_1"], 64, 48)
    assert set(both.inputs) == {*cut.inputs, "conv1_2", "d_conv1_2"}


def test_average_pooling_hands_over_masks() -> None:
    cut = cut_gradient("vgg16", "avg", ["conv2_1"], 64, 48)
    assert set(cut.inputs) == {"conv1_1.mask", "conv1_2.mask", "conv2_1", "d_conv2_1"}
    assert cut.inputs["conv1_2.mask"].dtype == "uint8"


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_care_for_odd_sizes_only_where_sizes_are_odd(pooling: str) -> None:
    even = cut_gradient("vgg16", pooling, ["conv5_1"], 64, 48)
    assert not [name for name in names(even) if name.endswith(".fit")]
    odd = cut_gradient("vgg16", pooling, ["conv5_1"], 66, 48)  # 33 rows after the first pooling
    assert [name for name in names(odd) if name.endswith(".fit")] == ["conv2_2.fit"]


def test_all_cotangents_keep_the_whole_graph() -> None:
    taps = ARCHITECTURES["vgg19"].names
    cut = cut_gradient("vgg19", "max", taps, 37, 51)
    assert {f"d_{name}" for name in taps} <= set(cut.inputs)
    assert operators(cut).count("Conv") == 17


@pytest.mark.parametrize("part", ["forward", "gradient"])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_graphs_are_valid(pooling: str, part: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(load_graph("vgg19", pooling, part))
    constants = [t for t in model.graph.initializer if t.data_location != t.EXTERNAL]
    for tensor in model.graph.initializer:  # the checker would look for their file
        if tensor.data_location == tensor.EXTERNAL:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(value)
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    onnx.checker.check_model(model, full_check=True)


def test_unknown_names_are_errors() -> None:
    with pytest.raises(NetworkError, match=r"vgg11.*vgg16"):
        load_graph("vgg11", "max", "forward")
    with pytest.raises(NetworkError, match=r"median.*max"):
        load_graph("vgg16", "median", "forward")
    with pytest.raises(NetworkError, match=r"fastsynth\.export"):
        graph_path("vgg16", "max", "sideways")
