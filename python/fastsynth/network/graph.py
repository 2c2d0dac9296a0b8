"""Committed graphs: where they lie, and how they are cut to what a run needs.

`models/` holds, per network and pooling, two ONNX graphs without weights (written by
`fastsynth.export`):

    NETWORK_POOLING_forward.onnx    image (1, 3, H, W) → conv1_1 … features after the ReLU,
                                    conv1_1.mask … where they are positive, conv1_2.pooled …,
                                    conv1_2.winner … codes of max pooling
    NETWORK_POOLING_gradient.onnx   d_conv1_1 … cotangents, and of the forward's outputs those that
                                    the gradient needs → d_image (1, 3, H, W)

A run taps a few layers of an image of one size. So the forward graph is cut behind the deepest tap,
and in the gradient graph an absent cotangent is a zero that is known beforehand: 0 + x is x, a
convolution or product of 0 is 0, and whatever led there falls away, the values handed over
included.

On the CPU both are cut further, into pieces between which the engine pools, and adds cotangents to
the gradient where it arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from fastsynth._errors import NetworkError
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.files import models_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import onnx

    from fastsynth.network.architecture import Architecture

__all__ = [
    "OPSET",
    "POOLINGS",
    "Cut",
    "Value",
    "Way",
    "arriving_name",
    "cotangent_name",
    "cut_forward",
    "cut_gradient",
    "cut_ways_back",
    "cut_whole",
    "fit_name",
    "graph_path",
    "is_code",
    "load_graph",
    "mask_name",
    "matrix_name",
    "pooled_name",
    "sums_name",
    "winner_name",
]

OPSET = 18
POOLINGS = ("max", "avg")
_POOLED = ".pooled"


def cotangent_name(layer: str) -> str:
    """The gradient graph's input dLoss/dfeature of a layer."""
    return f"d_{layer}"


def winner_name(layer: str) -> str:
    """The code that says which pixel won each window of the max pooling behind a layer."""
    return f"{layer}.winner"


def mask_name(layer: str) -> str:
    """Where the features of a layer are positive."""
    return f"{layer}.mask"


def is_code(name: str) -> bool:
    """Whether a value is a winner code or a mask: one byte each."""
    return name.endswith((".winner", ".mask"))


def matrix_name(layer: str, a: int, b: int) -> str:
    """Entry (a, b) of a layer's kernels in Winograd's form, for all channels: a matrix."""
    return f"{layer}.winograd{a}{b}"


def fit_name(layer: str) -> str:
    """The node that adds or drops an odd last row or column at a layer that is pooled."""
    return f"{layer}.fit"


def pooled_name(layer: str) -> str:
    """The pooled activations of a layer, where the forward graph may be split."""
    return f"{layer}{_POOLED}"


def arriving_name(layer: str) -> str:
    """The gradient that comes back to a layer from those behind it: before its pooling."""
    return f"d_{layer}.arriving"


def sums_name(layer: str) -> str:
    """The gradient of a layer's sums, before its ReLU: what its own convolution passes on."""
    return f"d_{layer}.sums"


@dataclass(frozen=True)
class _Size:
    """A network at one image size."""

    architecture: Architecture
    height: int
    width: int

    def shape(self, layer: str) -> tuple[int, int, int]:
        return self.architecture.shape(layer, self.height, self.width)


@dataclass(frozen=True)
class Value:
    """Shape (1, C, H, W) and NumPy type of a graph's input or output."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Cut:
    """A graph cut to one run: its bytes, and what it still reads and writes.

    parameters: become constants when a session opens, which copies them into a layout of its own.
    matrices: parameters that are read where they lie (fastsynth.network.winograd).
    """

    model: bytes
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    parameters: tuple[str, ...]
    matrices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """A piece of the way back: from the sums of `layer` to what arrives at `to`.

    to: a layer, or None for the image.
    """

    layer: str
    to: str | None
    cut: Cut


def graph_path(network: str, pooling: str, part: str) -> Path:
    """The file of a committed graph; `part` is "forward" or "gradient"."""
    path = models_directory() / f"{network}_{pooling}_{part}.onnx"
    if path.is_file():
        return path
    raise NetworkError(
        f"the graph {path} is missing; install fastsynth again, or "
        "write the graphs anew with `python -m fastsynth.export` (extra fastsynth[export])"
    )


@cache
def load_graph(network: str, pooling: str, part: str) -> onnx.ModelProto:
    """A committed graph, read once. Callers must not change it.

    Raises NetworkError for an unknown network or pooling, and where the file is missing.
    """
    import onnx

    if network not in ARCHITECTURES:
        raise NetworkError(f"unknown network {network!r}; expected one of {sorted(ARCHITECTURES)}")
    if pooling not in POOLINGS:
        raise NetworkError(f"unknown pooling {pooling!r}; expected one of {list(POOLINGS)}")
    return onnx.load(graph_path(network, pooling, part), load_external_data=False)


def cut_forward(
    network: str,
    pooling: str,
    outputs: Collection[str],
    height: int,
    width: int,
    *,
    with_pools: bool = True,
) -> list[Cut]:
    """The forward graph up to `outputs` (layers, masks, winner codes) for one image size.

    It comes in pieces, split where the network pools and behind the first layer if that is tapped.
    The pieces run one after the other and share their working memory. In one piece ONNX Runtime
    would copy features out and compute winner codes when the whole network has run, and keep all
    of its activations until then.

    with_pools: False leaves the pooling between pieces to the caller.
    """
    architecture = ARCHITECTURES[network]
    model = load_graph(network, pooling, "forward")
    size = _Size(architecture, height, width)
    blocks: list[set[str]] = [set()]
    seams: list[str] = []
    for layer in architecture.names:
        blocks[-1].update((layer, mask_name(layer)))
        if layer in architecture.pool_after:
            blocks[-1].add(winner_name(layer))
            seams.append(pooled_name(layer))
            blocks.append(set())
        elif layer == architecture.names[0] and layer in outputs:
            seams.append(layer)  # the largest features, which go out anyway
            blocks.append(set())
    while not blocks[-1].intersection(outputs):
        blocks.pop()
    pieces = []
    for index, block in enumerate(blocks):
        wanted = {name for name in outputs if name in block}
        if index + 1 < len(blocks):
            seam = seams[index]
            wanted.add(seam if with_pools else seam.removesuffix(_POOLED))
        given = seams[index - 1 : index] if index else []
        pieces.append(_finish(model, size, wanted, given=given))
    return pieces


def cut_gradient(network: str, pooling: str, taps: Collection[str], height: int, width: int) -> Cut:
    """The gradient graph for cotangents at `taps` alone, for one image size.

    Its inputs other than `d_…` and `image` are what the forward pass must hand over.
    """
    architecture = ARCHITECTURES[network]
    model = load_graph(network, pooling, "gradient")
    absent = {cotangent_name(name) for name in architecture.names if name not in taps}
    aliases = _without_zeros(model.graph.node, absent)
    size = _Size(architecture, height, width)
    untapped = set(architecture.names).difference(taps)
    return _finish(_with_masks(model, untapped), size, ["d_image"], aliases=aliases)


def cut_whole(
    network: str, pooling: str, taps: Collection[str], height: int, width: int
) -> tuple[Cut, Cut]:
    """Forward and gradient in one piece each, to be joined: the first yields what the second reads.

    But for the image, and the cotangents of the taps.
    """
    back = cut_gradient(network, pooling, taps, height, width)
    own = {"image", *map(cotangent_name, taps)}
    wanted = {*taps, *(name for name in back.inputs if name not in own)}
    size = _Size(ARCHITECTURES[network], height, width)
    return _finish(load_graph(network, pooling, "forward"), size, wanted), back


def cut_ways_back(
    network: str, pooling: str, taps: Collection[str], height: int, width: int
) -> list[Way]:
    """The gradient graph in pieces, from the deepest tap to the image, for one image size.

    They meet at taps, where the caller adds cotangents and masks the sum, and at layers that are
    pooled, where it also takes the pooling back. Of the layers between they read the masks.
    """
    architecture = ARCHITECTURES[network]
    names = architecture.names
    absent = {cotangent_name(name) for name in names}
    model = _with_seams(load_graph(network, pooling, "gradient"), architecture)
    model = _with_masks(model, names)
    size = _Size(architecture, height, width)
    deepest = max(names.index(tap) for tap in taps)
    stops = [n for n in names[:deepest] if n in taps or n in architecture.pool_after]
    begins = {sums_name(layer) for layer in (*stops, names[deepest])}
    aliases = _without_zeros(model.graph.node, absent, begins)
    ways = []
    for layer in reversed([*stops, names[deepest]]):
        place = stops.index(layer) if layer in stops else len(stops)
        to = stops[place - 1] if place else None
        wanted = arriving_name(to) if to else "d_image"
        cut = _finish(model, size, [wanted], given=[sums_name(layer)], aliases=aliases)
        ways.append(Way(layer, to, cut))
    return ways


def _with_seams(model: onnx.ModelProto, architecture: Architecture) -> onnx.ModelProto:
    """Gives names to what each layer's backward convolution reads and writes."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    origin: dict[str, str] = {}  # of turned kernels
    renamed: dict[str, str] = {}
    below = dict(zip(architecture.names[1:], architecture.names, strict=False))
    channels = {layer.name: layer.out_channels for layer in architecture.layers}

    def declare(name: str, layer: str, scale: int) -> str:
        shape: list[str | int | None] = [1, channels[layer], f"H/{scale}", f"W/{scale}"]
        changed.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        )
        return name

    for node in changed.graph.node:
        if node.op_type in ("Slice", "Transpose"):
            origin[node.output[0]] = origin.get(node.input[0], node.input[0])
        elif node.op_type == "Conv":
            layer = origin[node.input[1]].removesuffix(".weight")
            if layer not in channels:
                continue
            scale = architecture.scale(layer)
            renamed[node.input[0]] = declare(sums_name(layer), layer, scale)
            if layer in below:
                name = arriving_name(below[layer])
                renamed[node.output[0]] = declare(name, below[layer], scale)
    for node in changed.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return changed


def _with_masks(model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """Lets the gradient read the masks of `layers`, one byte each, in place of their activations.

    Who taps a layer has its activations anyway; of the others nothing but the sign matters.
    """
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for value in changed.graph.input:
        if value.name in layers:
            value.name = mask_name(value.name)
            value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for node in changed.graph.node:
        if node.op_type == "HardSigmoid" and node.input[0] in layers:
            mask, to = mask_name(node.input[0]), onnx.TensorProto.FLOAT
            node.CopyFrom(onnx.helper.make_node("Cast", [mask], node.output, node.name, to=to))
    return changed


def _without_zeros(
    nodes: Iterable[onnx.NodeProto], zeros: set[str], given: Collection[str] = ()
) -> dict[str, str]:
    """Follows zeros through the graph; returns which outputs are just another value.

    given: values that come from elsewhere, whatever the graph says of them.
    """
    zeros = set(zeros)
    aliases: dict[str, str] = {}
    for node in nodes:
        gone = [name in zeros for name in node.input]
        if not any(gone) or set(node.output).issubset(given):
            continue
        if node.op_type == "Add" and not all(gone):
            aliases[node.output[0]] = next(name for name in node.input if name not in zeros)
        else:  # products, convolutions and what only rearranges; sums of zeros
            zeros.update(node.output)
    return aliases


def _finish(
    model: onnx.ModelProto,
    size: _Size,
    outputs: Collection[str],
    *,
    given: Collection[str] = (),
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> Cut:
    """The part of `model` that leads from its inputs and the values `given` to `outputs`.

    aliases: outputs of nodes that are just another value, and the name of that value.
    """
    import onnx

    aliases = {**aliases, **_needless_fits(model.graph.node, size)}

    def resolve(name: str) -> str:
        while name in aliases:
            name = aliases[name]
        return name

    kept: list[onnx.NodeProto] = []
    needed = {resolve(name) for name in outputs}
    for node in reversed(model.graph.node):
        if not needed.intersection(node.output) or set(given).issuperset(node.output):
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [resolve(name) for name in node.input]
        needed.update(copy.input)
        kept.append(copy)

    values = [*model.graph.input, *model.graph.output]
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    del graph.node[:], graph.input[:], graph.output[:], graph.initializer[:]
    graph.node.extend(_masks_first(reversed(kept)))
    graph.input.extend(
        _sized(value, size)
        for value in values
        if value.name in needed and (value.name in given or value in model.graph.input)
    )
    graph.output.extend(_sized(value, size) for value in values if value.name in outputs)
    graph.initializer.extend(t for t in model.graph.initializer if t.name in needed)
    return Cut(
        model=cut.SerializeToString(),
        inputs=_described(graph.input),
        outputs=_described(graph.output),
        parameters=tuple(
            t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL
        ),
    )


def _masks_first(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Masks at the head of the list: so ONNX Runtime computes them last, just before their use.

    Its order of execution walks back from the end of the graph and enters, of a node's inputs,
    the one that comes latest in the file first. A mask that is older than the gradient it is
    multiplied with is therefore not computed, and does not take memory, before that gradient is
    there.
    """
    nodes = list(nodes)
    steps = ("HardSigmoid", "Cast")
    masks = [node for node in nodes if node.op_type in steps and _is_free(node, nodes)]
    return masks + [node for node in nodes if not any(node is mask for mask in masks)]


def _is_free(node: onnx.NodeProto, nodes: Iterable[onnx.NodeProto]) -> bool:
    """Whether no other node leads to `node`."""
    return not any(set(other.output).intersection(node.input) for other in nodes)


def _needless_fits(nodes: Iterable[onnx.NodeProto], size: _Size) -> dict[str, str]:
    """The nodes that care for an odd last row or column, where both sides are even."""
    even = {
        fit_name(layer)
        for layer in size.architecture.pool_after
        if not any(side % 2 for side in size.shape(layer)[1:])
    }
    return {node.output[0]: node.input[0] for node in nodes if node.name in even}


def _sized(value: onnx.ValueInfoProto, size: _Size) -> onnx.ValueInfoProto:
    """A copy with numbers for the symbolic dimensions: H, W, H/2, W/2, …"""
    import onnx

    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    for dim in copy.type.tensor_type.shape.dim:
        if dim.dim_param:
            side, _, divisor = dim.dim_param.partition("/")
            whole = {"H": size.height, "W": size.width}[side]
            dim.dim_value = whole // int(divisor or 1)
    return copy


def _described(values: Sequence[onnx.ValueInfoProto]) -> dict[str, Value]:
    from onnx.helper import tensor_dtype_to_np_dtype

    found = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        found[value.name] = Value(shape, tensor_dtype_to_np_dtype(tensor.elem_type).name)
    return found
