"""Graphs in the portable form say the same; OpenVINO, where it is installed, computes the same."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

import onnx
import onnxruntime as ort
from tests.network.onnx_reference import cotangents_of, he_normal, picture
from tests.support import relative_error

from fastsynth import _core
from fastsynth.network import session
from fastsynth.network.graph import Cut, cotangent_name, cut_forward, cut_gradient
from fastsynth.network.onnx_network import OnnxNetwork
from fastsynth.network.portable import portable_cut

TAPS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
OPENVINO = "OpenVINOExecutionProvider" in session.available_providers()
needs_openvino = pytest.mark.skipif(not OPENVINO, reason="needs onnxruntime-openvino")

Arrays = dict[str, np.ndarray]


def run(cut: Cut, weights: Arrays, given: Arrays) -> Arrays:
    """A cut on the CPU provider, plainly."""
    model = onnx.load_from_string(cut.model)
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.name in cut.parameters:
            model.graph.initializer[index].CopyFrom(
                onnx.numpy_helper.from_array(weights[tensor.name], tensor.name)
            )
    opened = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {name: given[name].reshape(value.shape) for name, value in cut.inputs.items()}
    return dict(zip(cut.outputs, opened.run(list(cut.outputs), feed), strict=True))


def passes(
    pooling: str, size: tuple[int, int], *, portable: bool, half: bool = False, scale: float = 1.0
) -> Arrays:
    """All that forward and gradient graphs put out, for cotangents of magnitude `scale`."""
    weights = he_normal("vgg16", TAPS[-1])
    back = cut_gradient("vgg16", pooling, TAPS, *size)
    own = {"image", *map(cotangent_name, TAPS)}
    forth = cut_forward("vgg16", pooling, {*TAPS, *set(back.inputs).difference(own)}, *size)
    values: Arrays = {"image": picture(*size)}
    for tap, cotangent in cotangents_of("vgg16", TAPS, *size).items():
        values[cotangent_name(tap)] = cotangent * np.float32(scale)
    for cut in (*forth, back):
        changed = portable_cut(cut, half=half) if portable else cut
        values |= run(changed, weights, values)
    return values


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(32, 48), (37, 51)])
def test_the_portable_form_says_the_same(pooling: str, size: tuple[int, int]) -> None:
    plain, changed = (passes(pooling, size, portable=flag) for flag in (False, True))
    for name, value in plain.items():
        np.testing.assert_array_equal(changed[name], value, err_msg=name)


def test_nothing_is_left_of_shapes_and_steep_masks() -> None:
    cut = portable_cut(cut_gradient("vgg16", "max", TAPS, 37, 51))
    model = onnx.load_from_string(cut.model)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds.intersection({"Shape", "Div"})
    assert all(len(node.input) == 2 for node in model.graph.node if node.op_type == "Pad")
    used = {name for node in model.graph.node for name in node.input}
    assert used.issuperset(value.name for value in model.graph.input)
    assert set(cut.inputs) == {value.name for value in model.graph.input}
    onnx.shape_inference.infer_shapes(model, strict_mode=True)  # raises what does not fit


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_half_precision_by_the_graph(scale: float) -> None:
    """Averages, so that no rounding moves a gradient elsewhere; 1e-9 is nothing in float16."""
    exact = passes("avg", (32, 48), portable=True, scale=scale)
    half = passes("avg", (32, 48), portable=True, half=True, scale=scale)
    for tap in TAPS:
        assert 1e-5 < relative_error(half[tap], exact[tap]) < 2e-3
    assert relative_error(half["d_image"], exact["d_image"]) < 2e-2


@needs_openvino
@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(32, 48), (37, 51)])
def test_openvino_equals_the_cpu_provider(pooling: str, size: tuple[int, int]) -> None:
    weights = he_normal("vgg16", TAPS[-1])
    pool = _core.ThreadPool(2)
    found = {}
    for device, precision in (("cpu", "exact"), ("openvino", "exact"), ("openvino", "bf16")):
        net = OnnxNetwork(
            "vgg16", weights, pooling=pooling, device=device, precision=precision, pool=pool
        )
        with net, net.bind(*size, TAPS) as bound:
            features = bound.forward(picture(*size))
            gradient = bound.backward(cotangents_of("vgg16", TAPS, *size))
        found[device, precision] = (*features.values(), gradient)
    cpu = found["cpu", "exact"]
    for mine, theirs in zip(found["openvino", "exact"], cpu, strict=True):
        assert relative_error(mine, theirs) < 1e-5
    errors = [relative_error(a, b) for a, b in zip(found["openvino", "bf16"], cpu, strict=True)]
    # A processor without bfloat16 computes in float32. In the gradient of random cotangents, masks
    # that fall the other way count most.
    assert max(errors[:-1]) < 2e-2
    assert errors[-1] < 0.3
