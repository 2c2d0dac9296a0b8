"""GraphWriter: puts an ONNX graph together, one node at a time, with names that never change."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fastsynth.network.graph import OPSET, is_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["GraphWriter"]

_IR_VERSION = 9


class GraphWriter:
    """Collects nodes, constants and parameters; names follow the order of the calls."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._counts: Counter[str] = Counter()

    def node(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        if name is None:
            self._counts[op] += 1
            name = f"{op}_{self._counts[op]}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """A small constant, stored in the graph; equal ones are stored once."""
        array: np.ndarray[Any, Any] = np.asarray(values, dtype)
        text = "x".join(map(str, array.shape)) + ":" + ",".join(f"{v:g}" for v in array.ravel())
        name = f"{array.dtype.name}[{text}]"
        self._initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def parameter(self, name: str, shape: Sequence[int]) -> str:
        """A float32 parameter whose values are given when a session opens.

        It is marked as external data, so that the graph stays small, but no file is behind it.
        """
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "given-when-the-session-opens"
        self._initializers.setdefault(name, tensor)
        return name

    def model(
        self,
        name: str,
        inputs: Iterable[tuple[str, Sequence[int | str]]],
        outputs: Iterable[tuple[str, Sequence[int | str]]],
        description: str,
    ) -> onnx.ModelProto:
        """The finished model; inputs and outputs are float32, masks and winner codes uint8."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [_value(n, shape) for n, shape in inputs],
            [_value(n, shape) for n, shape in outputs],
            initializer=[self._initializers[key] for key in sorted(self._initializers)],
            doc_string=description,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fastsynth.export"
        )
        model.ir_version = _IR_VERSION
        return model


def _value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    kind = TensorProto.UINT8 if is_code(name) else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)
