"""The forward pass and its gradient as two operator graphs, taken from torch's own autograd.

The network is written once, forward only. `torch.func.vjp` differentiates it while `make_fx`
records every operator that runs; what depends on no cotangent is the forward graph, the rest is
the gradient graph, and what the second reads of the first is handed over between them.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.fx import Graph, Node

    from fastsynth.network.architecture import Architecture

__all__ = ["Joint", "features", "parameter_shapes", "trace"]

aten = torch.ops.aten


def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters, `normalize` first, convolutions as (out, in, 3, 3)."""
    shapes: dict[str, tuple[int, ...]] = {"normalize.weight": (3, 3, 1, 1), "normalize.bias": (3,)}
    for layer in architecture.layers:
        shapes[f"{layer.name}.weight"] = (layer.out_channels, layer.in_channels, 3, 3)
        shapes[f"{layer.name}.bias"] = (layer.out_channels,)
    return shapes


def features(
    architecture: Architecture,
    pooling: str,
    parameters: Mapping[str, torch.Tensor],
    image: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """The network: activations after the ReLU of every layer, for an image (1, 3, H, W) in [0, 1].

    `normalize` turns RGB in [0, 1] into what the weights were trained on (channel order, scale,
    mean). It stands before the zero padding of the first convolution, as in the trained network.
    """
    pool = functional.max_pool2d if pooling == "max" else functional.avg_pool2d
    x = functional.conv2d(image, parameters["normalize.weight"], parameters["normalize.bias"])
    found = {}
    for layer in architecture.layers:
        weight, bias = parameters[f"{layer.name}.weight"], parameters[f"{layer.name}.bias"]
        x = torch.relu(functional.conv2d(x, weight, bias, padding=1))
        found[layer.name] = x
        if layer.name in architecture.pool_after:
            x = pool(x, kernel_size=2)
    return found


@dataclass(frozen=True)
class Joint:
    """Forward and gradient in one torch.fx graph, with the meaning of its ends."""

    graph: Graph
    parameters: dict[Node, str]
    image: Node
    cotangents: dict[Node, str]
    features: dict[Node, str]
    gradient: Node
    backward: frozenset[Node]
    """The nodes that depend on a cotangent: the gradient graph."""


def trace(architecture: Architecture, pooling: str) -> Joint:
    """Records features and image gradient of `architecture` with free height and width."""
    names = list(parameter_shapes(architecture))
    layers = list(architecture.names)

    def joint(
        parameters: Sequence[torch.Tensor],
        image: torch.Tensor,
        cotangents: Sequence[torch.Tensor],
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        def forward(image: torch.Tensor) -> list[torch.Tensor]:
            by_name = dict(zip(names, parameters, strict=True))
            return list(features(architecture, pooling, by_name, image).values())

        found, pull_back, *_ = torch.func.vjp(forward, image)
        return found, pull_back(list(cotangents))[0]

    # Only shapes matter; odd ones that differ keep the tracer from assuming H = W or a multiple
    # of 16.
    height, width = 83, 101
    parameters = [torch.empty(shape) for shape in parameter_shapes(architecture).values()]
    image = torch.empty(1, 3, height, width)
    cotangents = [torch.empty(1, *architecture.shape(name, height, width)) for name in layers]
    graph = make_fx(joint, tracing_mode="symbolic")(parameters, image, cotangents).graph

    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    outputs = next(node for node in graph.nodes if node.op == "output").args[0]
    heads = inputs[len(names) + 1 :]
    backward: set[Node] = set(heads)
    for node in graph.nodes:
        if node.op == "call_function" and any(arg in backward for arg in node.all_input_nodes):
            backward.add(node)
    return Joint(
        graph=graph,
        parameters=dict(zip(inputs, names, strict=False)),
        image=inputs[len(names)],
        cotangents=dict(zip(heads, layers, strict=True)),
        features=dict(zip(outputs[:-1], layers, strict=True)),
        gradient=outputs[-1],
        backward=frozenset(backward),
    )


def arguments(node: Node) -> tuple[Any, ...]:
    """The arguments of a node: other nodes and constants."""
    return tuple(node.args)


def is_output(node: Node, index: int) -> bool:
    """Whether `node` picks output `index` of an operator that has several."""
    return node.target is operator.getitem and arguments(node)[1] == index
