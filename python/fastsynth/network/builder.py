"""Graphs that are put together at run time: a builder, and values that compute like arrays.

    b = GraphBuilder()
    x = b.input("x", (3, 4))
    b.output("y", 2 * x.square().sum(), (1,))
    model = b.model()

Shapes are static. Nothing but operators of ONNX's own set (opset 18) is used. float32 throughout,
whole numbers in int64; truth values live only between nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth.network.graph import OPSET

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["GraphBuilder", "Tensor"]

IR_VERSION = 9
INLINE = 1024  # bytes: constants up to here are written into the graph


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph under construction. Operators broadcast as NumPy's do."""

    builder: GraphBuilder
    name: str
    __array_ufunc__ = None  # arrays leave operators with a tensor to it

    def _with(self, kind: str, other: Any, *, turned: bool = False) -> Tensor:
        operand = self.builder.tensor(other)
        first, second = (operand, self) if turned else (self, operand)
        return self.builder.op(kind, first, second)

    def __add__(self, other: Any) -> Tensor:
        return self._with("Add", other)

    def __sub__(self, other: Any) -> Tensor:
        return self._with("Sub", other)

    def __mul__(self, other: Any) -> Tensor:
        return self._with("Mul", other)

    def __truediv__(self, other: Any) -> Tensor:
        return self._with("Div", other)

    def __radd__(self, other: Any) -> Tensor:
        return self._with("Add", other, turned=True)

    def __rsub__(self, other: Any) -> Tensor:
        return self._with("Sub", other, turned=True)

    def __rmul__(self, other: Any) -> Tensor:
        return self._with("Mul", other, turned=True)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._with("Div", other, turned=True)

    def __neg__(self) -> Tensor:
        return self.builder.op("Neg", self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return self._with("MatMul", other)

    def __lt__(self, other: Any) -> Tensor:
        return self._with("Less", other)

    def __gt__(self, other: Any) -> Tensor:
        return self._with("Greater", other)

    def __le__(self, other: Any) -> Tensor:
        return self._with("LessOrEqual", other)

    def __ge__(self, other: Any) -> Tensor:
        return self._with("GreaterOrEqual", other)

    def __and__(self, other: Tensor) -> Tensor:
        return self._with("And", other)

    def __or__(self, other: Tensor) -> Tensor:
        return self._with("Or", other)

    def __invert__(self) -> Tensor:
        return self.builder.op("Not", self)

    def abs(self) -> Tensor:
        return self.builder.op("Abs", self)

    def sqrt(self) -> Tensor:
        return self.builder.op("Sqrt", self)

    def square(self) -> Tensor:
        return self * self

    def minimum(self, other: Any) -> Tensor:
        return self._with("Min", other)

    def maximum(self, other: Any) -> Tensor:
        return self._with("Max", other)

    def reduced(self, kind: str, axes: Sequence[int]) -> Tensor:
        """ReduceSum, ReduceMean … over axes, which stay with size 1."""
        return self.builder.op(kind, self, np.array(axes, np.int64), keepdims=1)

    def sum(self) -> Tensor:
        """Sum of all values, shape (1,)."""
        flat = self.reshape((-1,))
        return flat.reduced("ReduceSum", [0])

    def reshape(self, shape: Sequence[int]) -> Tensor:
        return self.builder.op("Reshape", self, np.array(shape, np.int64))

    def transpose(self) -> Tensor:
        """The transpose of a matrix."""
        return self.builder.op("Transpose", self, perm=[1, 0])

    def slice(self, axis: int, begin: int, end: int) -> Tensor:
        """Places `begin` to before `end` along an axis."""
        bounds = [np.array([number], np.int64) for number in (begin, end, axis)]
        return self.builder.op("Slice", self, *bounds)

    def gather(self, indices: Any, axis: int = 0) -> Tensor:
        return self.builder.op("Gather", self, indices, axis=axis)

    def pad(self, begins: Sequence[int], ends: Sequence[int]) -> Tensor:
        """With zeros around: so many before and behind, axis by axis."""
        return self.builder.op("Pad", self, np.array([*begins, *ends], np.int64), np.float32(0))

    def cast(self, kind: str) -> Tensor:
        """To "float32" or "int64"."""
        import onnx

        code = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}[kind]
        return self.builder.op("Cast", self, to=code)

    def number(self) -> Tensor:
        """1 where true, 0 where false."""
        return self.cast("float32")


class GraphBuilder:
    """A graph under construction.

    parameters: large constants by name: weights and targets. The graph only refers to them.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, NDArray[Any]] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._small: dict[str, NDArray[Any]] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: dict[str, onnx.ValueInfoProto] = {}
        self._outputs: dict[str, onnx.ValueInfoProto] = {}
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{stem}.{self._count}"

    def tensor(self, value: Any) -> Tensor:
        """A tensor as it is; numbers and arrays as constants, floats in float32."""
        if isinstance(value, Tensor):
            return value
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        elif array.dtype.kind == "i" and array.dtype != np.int64:
            array = array.astype(np.int64)
        if isinstance(value, int) and not isinstance(value, bool):
            array = np.asarray(value, np.float32)
        return self._constant(np.array(array, order="C"))

    def _constant(self, array: NDArray[Any]) -> Tensor:
        if array.nbytes > INLINE:
            return self.parameter(self.fresh("constant"), array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = self._known[key] = self.fresh("constant")
            self._small[name] = array
        return Tensor(self, self._known[key])

    def parameter(self, name: str, array: NDArray[Any]) -> Tensor:
        """A large constant under a name; the same name twice is the same constant."""
        self.parameters.setdefault(name, array)
        return Tensor(self, name)

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> Tensor:
        """A node with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: Any, **attributes: Any) -> list[Tensor]:
        """A node with several outputs."""
        from onnx import helper

        names = [self.tensor(value).name for value in inputs]
        outputs = [self.fresh(kind) for _ in range(count)]
        self._nodes.append(helper.make_node(kind, names, outputs, outputs[0], **attributes))
        return [Tensor(self, name) for name in outputs]

    def where(self, condition: Tensor, yes: Any, no: Any) -> Tensor:
        return self.op("Where", condition, yes, no)

    def concat(self, values: Sequence[Any], axis: int) -> Tensor:
        return self.op("Concat", *values, axis=axis)

    def finite(self, value: Tensor) -> Tensor:
        """Whether |value| is a number below 1e30; NaN is below nothing."""
        return value.abs() < 1e30

    def node(self, node: onnx.NodeProto, names: Mapping[str, str]) -> None:
        """A copy of another graph's node, its values renamed; "" stays: an input left out."""
        import onnx

        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [names[name] if name else "" for name in node.input]
        copy.output[:] = [names[name] for name in node.output]
        copy.name = copy.output[0]
        self._nodes.append(copy)

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> Tensor:
        self._inputs[name] = _described(name, shape, dtype)
        return Tensor(self, name)

    def output(
        self, name: str, value: Tensor, shape: Sequence[int], dtype: str = "float32"
    ) -> None:
        """Makes a value an output under a name, in a shape."""
        from onnx import helper

        shaped = value.reshape(shape)
        self._nodes.append(helper.make_node("Identity", [shaped.name], [name], name))
        self._outputs[name] = _described(name, shape, dtype)

    def output_in_place(self, name: str, value: Tensor, shape: Sequence[int]) -> None:
        """Makes the very tensor that a node writes an output; nothing may refer to `value` later.

        Where the node can write over its input, the output may be bound to the input's memory.
        """
        for node in self._nodes:
            node.input[:] = [name if used == value.name else used for used in node.input]
            node.output[:] = [name if made == value.name else made for made in node.output]
        self._outputs[name] = _described(name, shape, "float32")

    def expose(self, value: Tensor, shape: Sequence[int], dtype: str = "float32") -> None:
        """Makes a value an output as it is, under its own name."""
        self._outputs[value.name] = _described(value.name, shape, dtype)

    def model(self, *, embed: bool = False, outside: Collection[str] = (), file: str = "") -> bytes:
        """The graph as an ONNX model.

        embed: write the parameters into it, but for those `outside`, which are referred to as
            external data of `file`, one after the other in order of their names.
        """
        from onnx import TensorProto, helper, numpy_helper

        used = {name for node in self._nodes for name in node.input}
        initializers = [numpy_helper.from_array(a, n) for n, a in self._small.items() if n in used]
        offset = 0
        for name in sorted(used.intersection(self.parameters)):
            array = self.parameters[name]
            if embed and name not in outside:
                initializers.append(numpy_helper.from_array(array, name))
                continue
            tensor = TensorProto(name=name, dims=array.shape)
            tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": file or "parameters", "offset": offset, "length": array.nbytes}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            offset += array.nbytes
            initializers.append(tensor)
        graph = helper.make_graph(
            self._nodes,
            "fastsynth_step",
            list(self._inputs.values()),
            list(self._outputs.values()),
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        model.producer_name = "fastsynth"
        return bytes(model.SerializeToString())

    def used_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that some node reads, in the order of `model`'s file."""
        used = {name for node in self._nodes for name in node.input}
        return tuple(sorted(used.intersection(self.parameters)))


def _described(name: str, shape: Sequence[int], dtype: str) -> onnx.ValueInfoProto:
    from onnx import helper

    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, code, list(shape))
