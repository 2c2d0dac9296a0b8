"""From torch's operators to ONNX: one short function per operator of the two graphs.

Three translations are not word by word, because ONNX Runtime runs these forms several times faster:

- `threshold_backward(g, x)`, g where x > 0, becomes g · HardSigmoid(BIG·x), a mask of exact zeros
and
  ones that costs a seventh of `Sign` and a thirtieth of `Where`. (An activation below 3e-39, a
  denormal number, would be scaled instead of passed.)
- The data gradient of a convolution becomes a `Conv` with flipped and transposed kernels.
- `max_pool2d` hands no 64-bit indices over but a code of one byte per window, the
  `winner` (see `_Forward.winner`), and its gradient is put together from it (see
  `_Gradient.unpool`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto

from fastsynth.export.autograd import Joint, arguments, is_output, parameter_shapes
from fastsynth.export.writer import GraphWriter
from fastsynth.network.graph import cotangent_name, fit_name, mask_name, pooled_name, winner_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from torch.fx import Node

    from fastsynth.network.architecture import Architecture

__all__ = ["forward_model", "gradient_model"]

aten = torch.ops.aten

BIG = 3e38
"""Near the largest float32: HardSigmoid(BIG·x) = max(0, min(1, BIG·x)) is 1 for x > 0, else 0."""


class _Translator:
    """What both graphs share: the values known so far, by the node of torch's graph."""

    def __init__(self, architecture: Architecture, joint: Joint) -> None:
        self.architecture = architecture
        self.joint = joint
        self.out = GraphWriter()
        self.shapes = parameter_shapes(architecture)
        self.values: dict[Node, str] = {}
        self.layers = dict(joint.features)
        self._sides: dict[int, str] = {}

    def parameter(self, node: Node) -> str:
        name = self.joint.parameters[node]
        return self.out.parameter(name, self.shapes[name])

    def step(self, value: str, alpha: float, beta: float) -> str:
        """max(0, min(1, alpha·value + beta))."""
        return self.out.node("HardSigmoid", value, alpha=alpha, beta=beta)

    def doubled(self, value: str) -> str:
        """Each value four times: (1, C, h, w) → (1, C, 2h, 2w)."""
        return self.out.node(
            "Resize",
            value,
            "",
            self.out.constant([1, 1, 2, 2]),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def sides(self, scale: int) -> str:
        """Height and width at 1/scale of the image, as an int64 vector."""
        if scale not in self._sides:
            whole = self._sides.get(1) or self.out.node("Shape", "image", start=2)
            self._sides[1] = whole
            if scale > 1:
                divisor = self.out.constant([scale, scale], np.int64)
                self._sides[scale] = self.out.node("Div", whole, divisor)
        return self._sides[scale]

    def twice(self, sides: str) -> str:
        return self.out.node("Mul", sides, self.out.constant([2, 2], np.int64))

    def layer_shape(self, layer: str) -> list[int | str]:
        channels, _, _ = self.architecture.shape(layer, 16, 16)
        scale = self.architecture.scale(layer)
        return [1, channels, *_sides(scale)]

    def pooled_shape(self, layer: str) -> list[int | str]:
        channels, _, _ = self.architecture.shape(layer, 16, 16)
        return [1, channels, *_sides(2 * self.architecture.scale(layer))]


def _sides(scale: int) -> list[str]:
    return ["H", "W"] if scale == 1 else [f"H/{scale}", f"W/{scale}"]


class _Forward(_Translator):
    def run(self) -> onnx.ModelProto:
        joint = self.joint
        self.values[joint.image] = "image"
        winners: list[str] = []
        for node in joint.graph.nodes:
            if node.op != "call_function" or node in joint.backward:
                continue
            match node.target:
                case aten.convolution.default:
                    self.values[node] = self.convolution(node)
                case aten.relu.default:
                    self.values[node] = self.relu(node)
                case aten.avg_pool2d.default:
                    self.values[node] = self.pool("AveragePool", node)
                case aten.max_pool2d_with_indices.default:
                    value = self.pool("MaxPool", node)
                    result = next(user for user in node.users if is_output(user, 0))
                    self.values[result] = value
                    winners.append(self.layers[arguments(node)[0]])
                    self.winner(winners[-1], value)
                case _ if node in self.values or is_output(node, 1) or _only_a_size(node):
                    pass
                case _:
                    raise NotImplementedError(f"no translation for {node.format_node()}")
        layers = self.architecture.names
        pooled = [name for name in layers if name in self.architecture.pool_after]
        return self.out.model(
            f"{self.architecture.name}_forward",
            inputs=[("image", [1, 3, "H", "W"])],
            outputs=[(name, self.layer_shape(name)) for name in layers]
            + [(mask_name(name), self.layer_shape(name)) for name in layers]
            + [(pooled_name(name), self.pooled_shape(name)) for name in pooled]
            + [(winner_name(name), self.pooled_shape(name)) for name in winners],
            description="Features of all layers after the ReLU, and what the gradient needs.",
        )

    def relu(self, node: Node) -> str:
        """The features, and where they are positive: 1, else 0, one byte each."""
        layer = self.layers[node]
        value = self.out.node("Relu", self.values[arguments(node)[0]], name=layer)
        mask = self.step(value, BIG, 0.0)
        self.out.node("Cast", mask, to=TensorProto.UINT8, name=mask_name(layer))
        return value

    def convolution(self, node: Node) -> str:
        x, weight, bias, stride, padding, dilation, transposed, _, groups = arguments(node)
        assert (stride, dilation, transposed, groups) == ([1, 1], [1, 1], False, 1)
        kernel = self.shapes[self.joint.parameters[weight]][2:]
        inputs = self.values[x], self.parameter(weight), self.parameter(bias)
        return self.out.node("Conv", *inputs, kernel_shape=kernel, pads=[*padding, *padding])

    def pool(self, op: str, node: Node) -> str:
        x, *how = arguments(node)
        assert how == [[2, 2]]
        name = pooled_name(self.layers[x])
        return self.out.node(op, self.values[x], name=name, kernel_shape=[2, 2], strides=[2, 2])

    def winner(self, layer: str, pooled: str) -> None:
        """Which pixel of each 2×2 window is the maximum: the code that the gradient reads.

        A pixel scores 8, 4, 2 or 1 by its place in the window (row by row) if it equals the
        maximum, and the code is the window's sum: code ≥ 8 says that the first pixel wins, 4 ≤ code
        < 8 the second, and so on: among equals the first wins, as in torch. The code is 0 where the
        maximum is 0, since the ReLU below passes no gradient there.
        """
        out = self.out
        channels, _, _ = self.architecture.shape(layer, 16, 16)
        widest = self.doubled(pooled)
        # x - maximum is 0 or negative. Written as a convolution with -1 and a sum, ONNX Runtime
        # does it in one pass and in its blocked layout, the step below included.
        minus = self.per_channel(-np.ones((1, 1, 1, 1)), channels)
        negative = out.node("Conv", widest, minus, kernel_shape=[1, 1], group=channels)
        below = out.node("Add", negative, self.even_part(layer))
        candidate = self.step(below, BIG, 1.0)
        places = self.per_channel(np.array([[[[8, 4], [2, 1]]]]), channels)
        code = out.node(
            "Conv", candidate, places, kernel_shape=[2, 2], strides=[2, 2], group=channels
        )
        positive = out.node("Mul", code, self.step(pooled, BIG, 0.0))
        out.node("Cast", positive, to=TensorProto.UINT8, name=winner_name(layer))

    def per_channel(self, kernel: np.ndarray, channels: int) -> str:
        """The same (1, 1, h, w) kernel for each channel of a depthwise convolution."""
        shape = self.out.constant([channels, 1, *kernel.shape[2:]], np.int64)
        return self.out.node("Expand", self.out.constant(kernel), shape)

    def even_part(self, layer: str) -> str:
        """The activations without the odd last row or column, which pooling drops.

        `fastsynth.network.graph` takes the node out where there is none.
        """
        out = self.out
        starts, axes = out.constant([0, 0], np.int64), out.constant([2, 3], np.int64)
        ends = self.twice(self.sides(2 * self.architecture.scale(layer)))
        return out.node("Slice", layer, starts, ends, axes, name=fit_name(layer))


class _Gradient(_Translator):
    def run(self) -> onnx.ModelProto:
        joint, names = self.joint, self.architecture.names
        for node, layer in joint.cotangents.items():
            self.values[node] = cotangent_name(layer)
        self.saved: dict[str, Sequence[int | str]] = {}
        for node in joint.graph.nodes:
            if node not in joint.backward or node in joint.cotangents or _only_a_size(node):
                continue
            match node.target:
                case aten.threshold_backward.default:
                    self.values[node] = self.relu(node)
                case aten.convolution_backward.default:
                    result = next(user for user in node.users if is_output(user, 0))
                    self.values[result] = self.convolution(node)
                case aten.add.Tensor if _is_pool_backward(arguments(node)[1]):
                    pass  # written with its ReLU, the one reader it has
                case aten.add.Tensor:
                    summands = [self.values[arg] for arg in arguments(node)]
                    self.values[node] = self.out.node("Add", *summands)
                case _ if _is_pool_backward(node):
                    pass  # the same
                case _ if node in self.values or is_output(node, 1) or is_output(node, 2):
                    pass
                case _:
                    raise NotImplementedError(f"no translation for {node.format_node()}")
        self.out.node("Identity", self.values[joint.gradient], name="d_image")
        inputs: list[tuple[str, Sequence[int | str]]] = [("image", [1, 3, "H", "W"])]
        inputs += [(cotangent_name(name), self.layer_shape(name)) for name in names]
        inputs += sorted(self.saved.items())
        return self.out.model(
            f"{self.architecture.name}_gradient",
            inputs=inputs,
            outputs=[("d_image", [1, 3, "H", "W"])],
            description="Gradient with respect to the image, from the cotangents of all layers.",
        )

    def save(self, name: str, shape: list[int | str]) -> str:
        """A value that the forward graph hands over."""
        self.saved[name] = shape
        return name

    def relu(self, node: Node) -> str:
        """g where the activation is positive. Sums with a pooling's gradient are masked by parts.

        mask · (pooling's gradient + cotangent): the winner code already holds the mask of the first
        part, and without a cotangent nothing needs the activations of this layer at all.
        """
        incoming, activation, threshold = arguments(node)
        assert threshold == 0
        layer = self.layers[activation]
        if incoming.target is not aten.add.Tensor or not _is_pool_backward(arguments(incoming)[1]):
            return self.masked(self.values[incoming], layer)
        cotangent, pool = arguments(incoming)
        assert arguments(pool)[1] is activation
        if pool.target is aten.max_pool2d_with_indices_backward.default:
            own = self.masked(self.values[cotangent], layer)
            return self.out.node("Add", own, self.unpool(self.values[arguments(pool)[0]], layer))
        total = self.out.node("Add", self.values[cotangent], self.unaverage(pool, layer))
        return self.masked(total, layer)

    def masked(self, gradient: str, layer: str) -> str:
        mask = self.step(self.save(layer, self.layer_shape(layer)), BIG, 0.0)
        return self.out.node("Mul", gradient, mask)

    def convolution(self, node: Node) -> str:
        """dx = dy * Wᵀ, kernels flipped in both directions, input and output channels exchanged."""
        gradient, _, weight, _, stride, padding, dilation, transposed, _, groups, wanted = (
            arguments(node)
        )
        assert (stride, dilation, transposed, groups) == ([1, 1], [1, 1], False, 1)
        assert wanted == [True, False, False]
        kernel = self.shapes[self.joint.parameters[weight]][2:]
        assert all(side == 2 * pad + 1 for side, pad in zip(kernel, padding, strict=True))
        out, name = self.out, self.parameter(weight)
        if kernel != (1, 1):
            first, last = out.constant([-1, -1], np.int64), out.constant([-99, -99], np.int64)
            axes, steps = out.constant([2, 3], np.int64), out.constant([-1, -1], np.int64)
            name = out.node("Slice", name, first, last, axes, steps)
        name = out.node("Transpose", name, perm=[1, 0, 2, 3])
        pads = [*padding, *padding]
        return out.node("Conv", self.values[gradient], name, kernel_shape=kernel, pads=pads)

    def unpool(self, gradient: str, layer: str) -> str:
        """Sends each gradient to the pixel of its 2×2 window that won (see `_Forward.winner`).

        With m(t) = gradient where code ≥ t, the four pixels get m(8), m(4) - m(8), m(2) - m(4) and
        m(1) - m(2): exactly the gradient or zero. Concatenations then interleave them.
        """
        out = self.out
        code = self.save(winner_name(layer), self.pooled_shape(layer))
        code = out.node("Cast", code, to=TensorProto.FLOAT)
        at_least = [
            out.node("Mul", gradient, self.step(code, 1.0, float(1 - least)))
            for least in (8, 4, 2, 1)
        ]
        parts = [at_least[0]]
        parts += [out.node("Sub", at_least[i], at_least[i - 1]) for i in (1, 2, 3)]
        last = out.constant([4], np.int64)
        columns = [out.node("Unsqueeze", part, last) for part in parts]
        rows = [out.node("Concat", *columns[i : i + 2], axis=4) for i in (0, 2)]  # (1, C, h, w, 2)
        windows = out.node("Concat", *rows, axis=3)  # (1, C, h, 2w, 2)
        scale = 2 * self.architecture.scale(layer)
        channels = out.constant([1, self.pooled_shape(layer)[1]], np.int64)
        shape = out.node("Concat", channels, self.twice(self.sides(scale)), axis=0)
        return self.fitted(out.node("Reshape", windows, shape), layer)

    def unaverage(self, pool: Node, layer: str) -> str:
        """A quarter of each gradient for each pixel of its 2×2 window."""
        gradient, _, kernel, stride, padding, ceil_mode, _, divisor = arguments(pool)
        assert (kernel, padding, ceil_mode, divisor) == ([2, 2], [0, 0], False, None)
        assert stride in ([], [2, 2])
        out = self.out
        quarter = out.node("Mul", self.values[gradient], out.constant(0.25))
        return self.fitted(self.doubled(quarter), layer)

    def fitted(self, value: str, layer: str) -> str:
        """Zeros for the odd last row or column, which pooling dropped.

        `fastsynth.network.graph` takes the node out where there is none.
        """
        out, scale = self.out, self.architecture.scale(layer)
        missing = out.node("Sub", self.sides(scale), self.twice(self.sides(2 * scale)))
        pads = out.node("Concat", out.constant([0, 0], np.int64), missing, axis=0)
        axes = out.constant([2, 3], np.int64)
        return out.node("Pad", value, pads, "", axes, name=fit_name(layer))


def _is_pool_backward(node: object) -> bool:
    return getattr(node, "target", None) in (
        aten.avg_pool2d_backward.default,
        aten.max_pool2d_with_indices_backward.default,
    )


def _only_a_size(node: Node) -> bool:
    """Sizes that torch's operators ask for and ONNX's do not."""
    return node.target is aten.sym_size.int


def forward_model(architecture: Architecture, joint: Joint) -> onnx.ModelProto:
    """image → features of all layers, and the winner codes of max pooling."""
    return _Forward(architecture, joint).run()


def gradient_model(architecture: Architecture, joint: Joint) -> onnx.ModelProto:
    """Cotangents and what the forward graph hands over → d_image."""
    return _Gradient(architecture, joint).run()
