"""Graphs in a form that every execution provider runs rightly.

The graphs in `models/` are written for ONNX Runtime's own kernels. Other providers translate graphs
into operators of their own, and some of their translations are narrower than ONNX, or wrong:

- Shapes. Sides that follow from the image's are computed in the graph. A run knows the image's
  size, so they become numbers here. With them go the optional input `axes` of Pad, which OpenVINO
  does not read, and inputs that nothing reads any more, after which OpenVINO mistakes one input for
  another.
- Masks. Where a feature is positive is written as HardSigmoid, clip(α x + β, 0, 1), with α = 3e38:
  one pass over memory in ONNX Runtime. In half precision α x overflows, and where β = 0 OpenVINO
  takes the default, 0.5. clip(sign(x) + β, 0, 1) is the same number for β = 0 and 1.
- Half precision (`half=True`), for providers without a setting for it: convolutions multiply in
  float16. Their inputs are divided by their greatest magnitude before, and the sums multiplied by
  it: gradients of relative losses are as small as 1e-8, which float16 does not hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    from numpy.typing import NDArray

    from fastsynth.network.graph import Cut

    Known: TypeAlias = dict[str, NDArray[Any]]

__all__ = ["portable", "portable_cut"]

STEEP = 1e30  # the least α of a mask
TINY = 1e-30  # stands for the greatest magnitude of an input of zeros


def portable_cut(cut: Cut, *, half: bool = False) -> Cut:
    """The cut with its graph in the portable form, and without inputs that nothing reads."""
    import onnx

    model = portable(onnx.load_from_string(cut.model), half=half)
    read = {value.name for value in model.graph.input}
    inputs = {name: value for name, value in cut.inputs.items() if name in read}
    return replace(cut, model=model.SerializeToString(), inputs=inputs)


def portable(model: onnx.ModelProto, *, half: bool = False) -> onnx.ModelProto:
    """The same computation, with shapes as numbers and masks that cannot overflow.

    The inputs of `model` must have static shapes. Outputs and external parameters stay as they
    are; inputs that nothing reads fall away. half: convolutions multiply in float16.
    """
    import onnx

    given = {t.name: t for t in model.graph.initializer}
    known: Known = {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in given.items()
        if tensor.data_location != onnx.TensorProto.EXTERNAL
    }
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        value = _evaluate(node, known, shapes)
        if value is None:
            nodes.extend(_rewrite(node, known, half=half))
        else:
            known[node.output[0]] = value
    used = {name for node in nodes for name in node.input}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.extend(value for value in model.graph.input if value.name in used)
    graph.initializer.extend(t for name, t in given.items() if name in used)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name)
        for name, value in known.items()
        if name in used and name not in given
    )
    return changed


_ARITHMETIC: dict[str, Callable[..., NDArray[Any]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.floor_divide,  # of sides: whole and positive
}


def _evaluate(
    node: onnx.NodeProto, known: Known, shapes: dict[str, list[int]]
) -> NDArray[Any] | None:
    """The value of a node that computes with shapes alone; None for all others."""
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Shape" and node.input[0] in shapes:
        shape = shapes[node.input[0]]
        return np.array(shape[attributes.get("start", 0) : attributes.get("end")], np.int64)
    if not all(name in known for name in node.input):
        return None
    values = [known[name] for name in node.input]
    if any(value.dtype != np.int64 for value in values):
        return None
    if node.op_type in _ARITHMETIC:
        return _ARITHMETIC[node.op_type](*values)
    if node.op_type == "Concat":
        return np.concatenate(values, axis=attributes["axis"])
    return None


def _rewrite(node: onnx.NodeProto, known: Known, *, half: bool) -> list[onnx.NodeProto]:
    """A node, or what does the same in its place. New constants go into `known`."""
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Pad" and len(node.input) > 3 and node.input[1] in known:
        axes, pads = known[node.input[3]], known[node.input[1]]
        whole = np.zeros((2, 4), np.int64)  # maps are (1, C, H, W)
        whole[:, axes.astype(int)] = pads.reshape(2, -1)
        name = f"{node.output[0]}.pads"
        known[name] = whole.ravel()
        return [onnx.helper.make_node("Pad", [node.input[0], name], node.output, node.name)]
    if node.op_type == "HardSigmoid":
        alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
        if beta in (0.0, 1.0) and (alpha == 1.0 or alpha >= STEEP):
            return _clipped(node, known, steep=alpha >= STEEP, beta=beta)
    # Those of one channel each count and compare; they must stay exact.
    if half and node.op_type == "Conv" and attributes.get("group", 1) == 1:
        return _half(node, known)
    return [node]


def _clipped(
    node: onnx.NodeProto, known: Known, *, steep: bool, beta: float
) -> list[onnx.NodeProto]:
    """clip(x + β, 0, 1), or clip(sign(x) + β, 0, 1)."""
    from onnx.helper import make_node

    zero, one = "float32[:0]", "float32[:1]"
    known[zero], known[one] = np.array(0, np.float32), np.array(1, np.float32)
    value, name = node.input[0], node.output[0]
    nodes = []
    if steep:
        nodes.append(make_node("Sign", [value], [value := f"{name}.sign"], f"{name}.sign"))
    if beta:
        nodes.append(make_node("Add", [value, one], [value := f"{name}.sum"], f"{name}.sum"))
    return [*nodes, make_node("Clip", [value, zero, one], node.output, node.name)]


def _half(node: onnx.NodeProto, known: Known) -> list[onnx.NodeProto]:
    """m conv16(x / m, w) + bias, with m = max |x|."""
    import onnx
    from onnx.helper import make_node

    float16, float32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    x, weight, *bias = node.input
    out = node.output[0]
    tiny = "float32[:tiny]"
    known[tiny] = np.array(TINY, np.float32)
    names = ("abs", "max", "scale", "scaled", "x16", "w16", "y16", "y32", "sums")
    part = {name: f"{out}.{name}" for name in names}

    def step(op: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return make_node(op, inputs, [output], output, **attributes)

    convolution = onnx.NodeProto()
    convolution.CopyFrom(node)
    convolution.name = part["y16"]
    convolution.input[:] = [part["x16"], part["w16"]]
    convolution.output[:] = [part["y16"]]
    nodes = [
        step("Abs", [x], part["abs"]),
        step("ReduceMax", [part["abs"]], part["max"], keepdims=1),  # over all axes
        step("Max", [part["max"], tiny], part["scale"]),
        step("Div", [x, part["scale"]], part["scaled"]),
        step("Cast", [part["scaled"]], part["x16"], to=float16),
        step("Cast", [weight], part["w16"], to=float16),
        convolution,
        step("Cast", [part["y16"]], part["y32"], to=float32),
        step("Mul", [part["y32"], part["scale"]], part["sums"] if bias else out),
    ]
    if bias:
        axes, column = "int64[:0,2,3]", f"{out}.bias"
        known[axes] = np.array([0, 2, 3], np.int64)
        nodes.append(step("Unsqueeze", [bias[0], axes], column))
        nodes.append(step("Add", [part["sums"], column], out))
    return nodes
