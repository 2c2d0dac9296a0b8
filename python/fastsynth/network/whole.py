"""A network inside a larger graph: its forward nodes, and later its gradient's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fastsynth.network.builder import GraphBuilder, Tensor
from fastsynth.network.graph import Cut, cotangent_name, cut_whole

if TYPE_CHECKING:
    from fastsynth.network.onnx_network import OnnxNetwork

__all__ = ["WholeNetwork"]


class WholeNetwork:
    """The graphs of a network, joined into a graph under construction.

    prefix: of the names of its weights, so that several networks fit into one graph.
    size: (height, width) of the images, a tensor (count, 3, height, width).
    features: the taps' activations, (count, C, H, W); shapes: theirs, (C, H, W).
    front: the graph for the forward nodes, where it is another one, with an input "image". Its
        outputs are then inputs of `builder`: `between` has their shapes and types.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        network: OnnxNetwork,
        image: Tensor,
        *,
        prefix: str,
        size: tuple[int, int],
        taps: tuple[str, ...],
        count: int = 1,
        front: GraphBuilder | None = None,
    ) -> None:
        self._builder, self._network, self._prefix = builder, network, prefix
        self._size, self._count = size, count
        name, pooling = network.architecture.name, network.pooling
        forward, self._gradient = cut_whole(name, pooling, taps, *size)
        self._image = image
        self.between: dict[str, tuple[tuple[int, ...], str]] = {}
        if front is None:
            self._values = self._add(builder, forward, {"image": image.name}, "forward")
        else:
            self._values = self._add(front, forward, {"image": "image"}, "front")
            for output, value in forward.outputs.items():
                name = self._values[output]
                front.expose(Tensor(front, name), value.shape, value.dtype)
                builder.input(name, value.shape, value.dtype)
                self.between[name] = value.shape, value.dtype
        self.features = {tap: Tensor(builder, self._values[tap]) for tap in taps}
        self.shapes = {tap: forward.outputs[tap].shape[1:] for tap in taps}

    def gradient(self, cotangents: Mapping[str, Tensor]) -> Tensor:
        """dLoss/dImage (count, 3, H, W), given dLoss/dFeature of every tap."""
        given = {name: self._values[name] for name in self._gradient.inputs if name in self._values}
        given["image"] = self._image.name
        given |= {cotangent_name(tap): value.name for tap, value in cotangents.items()}
        names = self._add(self._builder, self._gradient, given, "gradient")
        return Tensor(self._builder, names["d_image"])

    def _add(
        self, builder: GraphBuilder, cut: Cut, given: Mapping[str, str], part: str
    ) -> dict[str, str]:
        """Copies a cut's nodes; returns the names that its values have now."""
        model = onnx.load_model_from_string(cut.model)
        names, values = dict(given), dict[str, NDArray[Any]]()
        for tensor in model.graph.initializer:
            if tensor.name in cut.parameters:
                array = self._network.parameters[tensor.name]
                names[tensor.name] = builder.parameter(self._prefix + tensor.name, array).name
            else:
                values[tensor.name] = onnx.numpy_helper.to_array(tensor)
        for node in model.graph.node:
            if node.op_type == "Shape" and node.input[0] == "image":  # its sides: start = 2
                values[node.output[0]] = np.array(self._size, np.int64)
            elif node.op_type == "Reshape":
                self._for_all(model, node.input[1], values)
        names |= {name: builder.tensor(array).name for name, array in values.items()}
        for node in model.graph.node:
            if node.output[0] in values:
                continue
            for output in node.output:
                names.setdefault(output, builder.fresh(f"{self._prefix}{part}.{output}"))
            builder.node(node, names)
        return names

    def _for_all(self, model: onnx.ModelProto, shape: str, values: dict[str, NDArray[Any]]) -> None:
        """Turns the shape (1, C, …) of a Reshape, joined of pieces, into one for all images."""
        joined = next((n for n in model.graph.node if shape in n.output), None)
        first = shape if joined is None else joined.input[0]
        values[first] = np.array([self._count, *values[first][1:]], np.int64)
