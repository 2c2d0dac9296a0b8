"""Winograd's convolution in ONNX's own operators, for sessions on the CPU.

ONNX Runtime convolves directly: 9 multiplications per output, input channel and output channel.
F(2×2, 3×3) needs 4 (Winograd 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016). A tile of 2 × 2 outputs is

    Y = Aᵀ [Σ_c (G g Gᵀ) ⊙ (Bᵀ d B)] A

for a kernel g (3 × 3) and an input tile d (4 × 4). As operators:

    Bᵀ d B      16 convolutions of each channel alone, 4 × 4 with stride 2, one per entry (a, b)
    Σ_c … ⊙ …   16 matrix products (outputs × channels) (channels × tiles)
    Aᵀ […] A    sums and differences of the products, whose four results are interlaced

It wins where channels are many, for the transforms cost as much per channel as they cost per
output. Rounding errors are about 3.6e-7 relative, where a direct convolution has about 2e-7.

The gradient's convolution has the kernel turned by 180° and channels swapped. Turning it swaps the
first and last rows of G g Gᵀ, and its first and last columns; so both directions read the same 16
matrices, one of them transposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth.network.graph import Cut, matrix_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx
    from numpy.typing import NDArray

    from fastsynth.network.architecture import Architecture

__all__ = ["suits", "transform_weights", "use_winograd"]

_B_T = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
# Aᵀ = [[1, 1, 1, 0], [0, 1, -1, -1]] is written out below, as sums and differences.
_TURNED = (3, 1, 2, 0)
_ENTRIES = [(a, b) for a in range(4) for b in range(4)]

SMALLEST_CHANNELS = 128
SMALLEST_PRODUCT = 128 * 256
"""Below these channel counts the direct convolution is as fast (measured with AVX-512)."""


def suits(inputs: int, outputs: int) -> bool:
    """Whether a convolution with these channel counts gains."""
    return min(inputs, outputs) >= SMALLEST_CHANNELS and inputs * outputs >= SMALLEST_PRODUCT


def transform_weights(layer: str, weight: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    """The 16 matrices (outputs, inputs) of G g Gᵀ, by the names of their initializers."""
    outputs, inputs = weight.shape[:2]
    entries = np.einsum("ai,bj->abij", _G, _G).reshape(16, 9)
    matrices = np.empty((16, outputs, inputs), np.float32)
    flat = weight.reshape(outputs, inputs, 9)
    for row in range(outputs):  # a row at a time: what lies between is small
        matrices[:, row] = entries @ flat[row].T
    return {matrix_name(layer, a, b): matrices[4 * a + b] for a, b in _ENTRIES}


def use_winograd(cut: Cut, architecture: Architecture, size: tuple[int, int]) -> Cut:
    """The graph with its convolutions rewritten where that gains.

    size: (height, width) of the image. It reads the matrices of `transform_weights` as inputs:
    as constants they would be copied, once for each direction.
    """
    import onnx

    chosen = {
        layer.name for layer in architecture.layers if suits(layer.in_channels, layer.out_channels)
    }
    model = onnx.load_from_string(cut.model)
    origin: dict[str, str] = {}
    turned: set[str] = set()  # kernels of the gradient
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    matrices: dict[str, list[int]] = {}
    for node in model.graph.node:
        if node.op_type in ("Slice", "Transpose"):
            origin[node.output[0]] = origin.get(node.input[0], node.input[0])
            turned.add(node.output[0])
        kernel = node.input[1] if node.op_type == "Conv" else ""
        layer = origin.get(kernel, kernel).removesuffix(".weight")
        if layer not in chosen:
            nodes.append(node)
            continue
        place = next(entry for entry in architecture.layers if entry.name == layer)
        shape = [place.out_channels, place.in_channels]
        matrices.update({matrix_name(layer, a, b): shape for a, b in _ENTRIES})
        rewritten = _Convolution(
            layer, shape, architecture.shape(layer, *size)[1:], kernel in turned
        )
        nodes.extend(rewritten.nodes(node))
        constants.update(rewritten.constants)
    return _finish(cut, model, nodes, constants, matrices)


def _finish(
    cut: Cut,
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
    matrices: Mapping[str, list[int]],
) -> Cut:
    """The model with these nodes: what nobody reads any more falls away."""
    import onnx

    needed = {value.name for value in model.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    initializers = [t for t in model.graph.initializer if t.name in needed]
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in matrices.items()
    )
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend([*initializers, *constants.values()])
    external = onnx.TensorProto.EXTERNAL
    return Cut(
        model=model.SerializeToString(),
        inputs=cut.inputs,
        outputs=cut.outputs,
        parameters=tuple(t.name for t in initializers if t.data_location == external),
        matrices=tuple(matrices),
    )


class _Convolution:
    """The operators of one convolution, of the layer itself or of its gradient."""

    def __init__(self, layer: str, shape: list[int], sides: tuple[int, ...], turned: bool) -> None:
        self.layer = layer
        self.turned = turned
        self.outputs, self.inputs = reversed(shape) if turned else shape
        self.height, self.width = sides
        self.tiles = [-(-side // 2) for side in sides]
        self.constants: dict[str, onnx.TensorProto] = {}
        self._prefix = ""

    def nodes(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """In place of the Conv `node`: input, kernel and perhaps bias to one output."""
        self._prefix = f"{node.output[0]}/"
        yield from self._products(node.input[0], node.input[2] if len(node.input) > 2 else None)
        yield from self._output_transform()
        yield from self._interlace(node.output[0])

    def _products(self, source: str, bias: str | None) -> Iterator[onnx.NodeProto]:
        """M_ab = U_ab V_ab, with V_ab = (Bᵀ d B)_ab of all tiles.

        The bias joins M_11, which the output transform adds once to each of a tile's outputs.
        """
        odd = [self.height % 2, self.width % 2]
        flat = self._constant("flat", np.array([self.inputs, -1], np.int64))
        spread = self._constant("spread", np.array([self.inputs, 1, 4, 4], np.int64))
        column = None
        if bias is not None:
            axis = self._constant("axis", np.array([1], np.int64))
            column = self._value("bias")
            yield self._node("Unsqueeze", [bias, axis], column)
        for a, b in _ENTRIES:
            tile = self._constant(f"B{a}{b}", np.outer(_B_T[a], _B_T[b]).reshape(1, 1, 4, 4))
            kernel, entry, matrix = (self._value(f"{x}{a}{b}") for x in ("K", "D", "V"))
            yield self._node("Expand", [tile, spread], kernel)
            yield self._node(
                "Conv",
                [source, kernel],
                entry,
                group=self.inputs,
                kernel_shape=[4, 4],
                strides=[2, 2],
                pads=[1, 1, 1 + odd[0], 1 + odd[1]],
            )
            yield self._node("Reshape", [entry, flat], matrix)
            at = (_TURNED[a], _TURNED[b]) if self.turned else (a, b)
            factors = [matrix_name(self.layer, *at), matrix]
            if column is not None and (a, b) == (1, 1):
                factors.append(column)
            yield self._node("Gemm", factors, self._value(f"M{a}{b}"), transA=int(self.turned))

    def _output_transform(self) -> Iterator[onnx.NodeProto]:
        """Y = Aᵀ M A: first down the columns of M, then along the rows of the result."""
        for b in range(4):
            yield from self._halve([f"M{a}{b}" for a in range(4)], [f"R0{b}", f"R1{b}"])
        for i in range(2):
            yield from self._halve([f"R{i}{b}" for b in range(4)], [f"Y{i}0", f"Y{i}1"])

    def _halve(self, four: Iterable[str], two: list[str]) -> Iterator[onnx.NodeProto]:
        """Aᵀ times four values: their first three added; the second less third and fourth."""
        m = [self._value(name) for name in four]
        first, second = (self._value(name) for name in two)
        yield self._node("Add", [m[0], m[1]], f"{first}+")
        yield self._node("Add", [f"{first}+", m[2]], first)
        yield self._node("Sub", [m[1], m[2]], f"{second}-")
        yield self._node("Sub", [f"{second}-", m[3]], second)

    def _interlace(self, target: str) -> Iterator[onnx.NodeProto]:
        """Four maps of tiles to one map, without the row or column that odd sides do not have."""
        rows, columns = self.tiles
        place = self._constant("place", np.array([self.outputs, rows, columns, 1], np.int64))
        whole = [1, self.outputs, 2 * rows, 2 * columns]
        for i in range(2):
            for j in range(2):
                yield self._node(
                    "Reshape", [self._value(f"Y{i}{j}"), place], self._value(f"Z{i}{j}")
                )
            pair = [self._value(f"Z{i}0"), self._value(f"Z{i}1")]
            yield self._node("Concat", pair, self._value(f"Z{i}"), axis=3)
        both = self._value("Z")
        yield self._node("Concat", [self._value("Z0"), self._value("Z1")], both, axis=2)
        size = self._constant("size", np.array(whole, np.int64))
        is_whole = whole[2:] == [self.height, self.width]
        map_ = target if is_whole else self._value("whole")
        yield self._node("Reshape", [both, size], map_)
        if not is_whole:
            start = self._constant("start", np.array([0, 0], np.int64))
            end = self._constant("end", np.array([self.height, self.width], np.int64))
            axes = self._constant("axes", np.array([2, 3], np.int64))
            yield self._node("Slice", [map_, start, end, axes], target)

    def _value(self, name: str) -> str:
        return self._prefix + name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        full = self._value(name)
        self.constants[full] = numpy_helper.from_array(value, full)
        return full

    def _node(
        self, operator: str, inputs: list[str], output: str, **attributes: Any
    ) -> onnx.NodeProto:
        from onnx import helper

        return helper.make_node(operator, inputs, [output], output, **attributes)
