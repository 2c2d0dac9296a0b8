"""The committed graphs are what the exporter writes now, and they hold no weights."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the exporter needs the extra fastsynth[export]")
onnx = pytest.importorskip("onnx")

from fastsynth.export import export_graphs  # noqa: E402
from fastsynth.export.autograd import features, parameter_shapes  # noqa: E402
from fastsynth.network.architecture import ARCHITECTURES  # noqa: E402
from fastsynth.network.files import models_directory  # noqa: E402
from fastsynth.network.graph import POOLINGS  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    export_graphs(folder)
    return folder


def test_fresh_export_equals_the_committed_graphs(fresh: Path) -> None:
    committed = {path.name: path for path in models_directory().glob("*.onnx")}
    written = {path.name: path for path in fresh.iterdir()}
    assert set(written) == set(committed)
    assert len(written) == 2 * len(ARCHITECTURES) * len(POOLINGS)
    for name, path in written.items():
        ours = onnx.load(committed[name], load_external_data=False)
        assert onnx.load(path, load_external_data=False) == ours, f"{name} differs; export anew"


def test_graphs_are_small_and_hold_no_weights() -> None:
    for path in models_directory().glob("*.onnx"):
        assert path.stat().st_size < 25_000
        model = onnx.load(path, load_external_data=False)
        network = path.name.split("_")[0]
        external = {
            tensor.name: tuple(tensor.dims)
            for tensor in model.graph.initializer
            if tensor.data_location == onnx.TensorProto.EXTERNAL
        }
        shapes = parameter_shapes(ARCHITECTURES[network])
        if path.stem.endswith("gradient"):  # biases do not matter to a gradient
            shapes = {name: shape for name, shape in shapes.items() if name.endswith("weight")}
        assert external == shapes


def test_data_gradients_are_plain_convolutions() -> None:
    for path in models_directory().glob("*_gradient.onnx"):
        operators = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
        assert "Conv" in operators
        assert not operators & {"ConvTranspose", "Where", "Sign"}


def test_the_exported_network_is_vgg() -> None:
    """Layer by layer against the textbook formula, written without the architecture table."""
    parameters = {
        name: torch.randn(shape) / max(1, shape[-1] * len(shape))
        for name, shape in parameter_shapes(ARCHITECTURES["vgg16"]).items()
    }
    image = torch.rand(1, 3, 40, 36)
    found = features(ARCHITECTURES["vgg16"], "max", parameters, image)
    x = torch.nn.functional.conv2d(
        image, parameters["normalize.weight"], parameters["normalize.bias"]
    )
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            x = torch.nn.functional.conv2d(
                x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], padding=1
            ).clamp(min=0)
            torch.testing.assert_close(found[name], x)
        x = torch.nn.functional.max_pool2d(x, 2, 2)
    assert len(found) == 13


def test_an_interrupted_export_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export_graphs(tmp_path)
    assert not list(tmp_path.iterdir())
