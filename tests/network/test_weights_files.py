"""Weights from files: all formats and namings yield the same set; what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fastsynth._errors import NetworkError, WeightsError
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.files import models_directory
from fastsynth.network.weights import WeightSet, load_weights, model_card, random_weights

Arrays = dict[str, NDArray[np.float32]]
LAYERS = ("conv1_1", "conv1_2")
PRETRAINED = "shared/weights/vgg16_blocks12.safetensors"  # beside the repository or its folder
SHARED = next(
    (p / PRETRAINED for p in Path(__file__).resolve().parents[3:5] if (p / PRETRAINED).is_file()),
    None,
)
FEATURES = {"conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10}


@pytest.fixture
def arrays() -> Arrays:
    """The first two layers of some network under our names, with biases that are not all zero."""
    source = random_weights("vgg16", seed=11).arrays
    chosen = {f"{layer}.{kind}": source[f"{layer}.{kind}"] for layer in LAYERS for kind in KINDS}
    for index, layer in enumerate(LAYERS):
        chosen[f"{layer}.bias"] = np.linspace(-1, index + 1, 64, dtype=np.float32)
    return {name: np.array(array) for name, array in chosen.items()}


KINDS = ("weight", "bias")


def torchvision_names(arrays: Arrays) -> Arrays:
    return {
        f"features.{FEATURES[name.split('.')[0]]}.{name.split('.')[1]}": array
        for name, array in arrays.items()
    }


def write_safetensors(path: Path, arrays: Arrays) -> None:
    save_file(arrays, path)


def write_npz(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def write_fortran_npz(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **{name: np.asfortranarray(array) for name, array in arrays.items()})


def write_keras(path: Path, arrays: Arrays, pattern: str = "{0}/{0}_{1}_1:0") -> None:
    """The layout of keras-applications: kernels (3, 3, in, out), names like block1_conv1_W_1:0."""
    short = (
        {"weight": "W", "bias": "b"} if "_1:0" in pattern else {"weight": "kernel", "bias": "bias"}
    )
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, kind = name.split(".")
            block = f"block{layer[4]}_conv{layer[6]}"
            stored = array.transpose(2, 3, 1, 0) if kind == "weight" else array
            file.create_dataset(pattern.format(block, short[kind]), data=stored)


def write_keras_model(path: Path, arrays: Arrays) -> None:
    write_keras(path, arrays, "model_weights/{0}/{0}/{1}:0")


def write_torchvision_npz(path: Path, arrays: Arrays) -> None:
    write_npz(path, torchvision_names(arrays))


WRITERS = [
    write_safetensors,
    write_npz,
    write_fortran_npz,
    write_keras,
    write_keras_model,
    write_torchvision_npz,
]


@pytest.mark.parametrize("write", WRITERS)
def test_all_formats_and_names_agree(
    tmp_path: Path, arrays: Arrays, write: Callable[[Path, Arrays], None]
) -> None:
    path = tmp_path / "some weights"  # recognised by content: no suffix needed
    write(path, arrays)
    weights = load_weights(path)
    assert weights.id == "file:some weights"
    assert weights.layers == LAYERS
    for name, array in arrays.items():
        np.testing.assert_array_equal(weights.arrays[name], array)
        assert not weights.arrays[name].flags.writeable
    assert list(weights.arrays)[:3] == ["normalize.weight", "normalize.bias", "conv1_1.weight"]


@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 1e-3), ("float64", 0.0), (">f4", 0.0)])
def test_other_float_types(tmp_path: Path, arrays: Arrays, kind: str, tolerance: float) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **{name: array.astype(kind) for name, array in arrays.items()})
    weights = load_weights(path)
    for name, array in arrays.items():
        assert weights.arrays[name].dtype == np.float32
        np.testing.assert_allclose(weights.arrays[name], array, rtol=tolerance, atol=tolerance / 10)


# ---- input conventions ----


def normalized(weights: WeightSet, rgb: list[float]) -> list[float]:
    """What the network sees of one pixel."""
    weight = weights.arrays["normalize.weight"][:, :, 0, 0].astype(np.float64)
    return [float(v) for v in weight @ np.array(rgb) + weights.arrays["normalize.bias"]]


OXFORD = [0.25 * 255 - 103.939, 0.5 * 255 - 116.779, 0.75 * 255 - 123.68]  # blue, green, red
TORCHVISION = [(0.75 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225]
RGB = [0.75, 0.5, 0.25]


def test_conventions(tmp_path: Path, arrays: Arrays) -> None:
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    write_npz(ours, arrays)
    write_torchvision_npz(theirs, arrays)
    cases = [
        (load_weights(ours), OXFORD),
        (load_weights(theirs), TORCHVISION),
        (load_weights(f"{theirs}?convention=oxford"), OXFORD),
        (load_weights(ours, convention="torchvision"), TORCHVISION),
        (load_weights(f"{ours}?convention=rgb"), RGB),
    ]
    for weights, expected in cases:
        assert normalized(weights, RGB) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(WeightsError, match="unknown convention 'bgr'; known are oxford, torchv"):
        load_weights(ours, convention="bgr")
    with pytest.raises(WeightsError, match=r"cannot understand \?mean=0"):
        load_weights(f"{ours}?mean=0")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"preprocess": "caffe: BGR, 0-255"}, OXFORD),
        ({"preprocess": "torch"}, TORCHVISION),
        ({"convention": "rgb"}, RGB),
    ],
)
def test_convention_from_metadata(
    tmp_path: Path, arrays: Arrays, metadata: dict[str, str], expected: list[float]
) -> None:
    save_file(arrays, tmp_path / "w.safetensors", metadata=metadata)
    assert normalized(load_weights(tmp_path / "w.safetensors"), RGB) == pytest.approx(
        expected, rel=1e-5
    )


def test_normalization_in_the_file(tmp_path: Path, arrays: Arrays) -> None:
    arrays["normalize.weight"] = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1) * 2
    arrays["normalize.bias"] = np.array([1, 2, 3], np.float32)
    write_safetensors(tmp_path / "w.safetensors", arrays)
    assert normalized(load_weights(tmp_path / "w.safetensors"), RGB) == [2.5, 3.0, 3.5]


# ---- what does not fit ----


def refused(path: Path, match: str, network: str = "vgg16") -> None:
    with pytest.raises(WeightsError, match=match):
        load_weights(path, network)


def test_wrong_shape_is_named(tmp_path: Path, arrays: Arrays) -> None:
    arrays["conv1_2.weight"] = np.zeros((64, 64, 5, 5), np.float32)
    write_npz(tmp_path / "w.npz", arrays)
    refused(
        tmp_path / "w.npz", r"conv1_2.weight has shape \(64, 64, 5, 5\), expected \(64, 64, 3, 3\)"
    )


def test_nan_is_named(tmp_path: Path, arrays: Arrays) -> None:
    arrays["conv1_2.bias"][5] = np.nan
    write_npz(tmp_path / "w.npz", arrays)
    refused(tmp_path / "w.npz", "conv1_2.bias holds NaN")


def test_overflow_to_float32_is_named(tmp_path: Path, arrays: Arrays) -> None:
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    wide["conv1_1.bias"][0] = 1e300
    np.savez(tmp_path / "w.npz", **wide)
    refused(tmp_path / "w.npz", "conv1_1.bias holds NaN or infinity")


def test_missing_bias_is_named(tmp_path: Path, arrays: Arrays) -> None:
    del arrays["conv1_2.bias"]
    write_npz(tmp_path / "w.npz", arrays)
    refused(tmp_path / "w.npz", "conv1_2.bias is missing")


def test_missing_middle_is_named(tmp_path: Path) -> None:
    source = random_weights("vgg16").arrays
    layers = ("conv1_1", "conv2_1")
    arrays = {f"{layer}.{kind}": source[f"{layer}.{kind}"] for layer in layers for kind in KINDS}
    write_npz(tmp_path / "w.npz", arrays)
    refused(tmp_path / "w.npz", "conv1_2.weight is missing, although conv2_1.weight is there")


def test_integers_are_refused(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "w.npz", **{name: array.astype(np.int32) for name, array in arrays.items()})
    refused(tmp_path / "w.npz", "conv1_1.weight is of type int32, expected one of float16, float32")


def test_foreign_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", layer1=np.zeros(3), layer2=np.zeros(3))
    refused(
        tmp_path / "w.npz", "seen layer1, layer2; expected names like conv1_1.weight, features.0"
    )


def test_batch_normalised_vgg_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    names = torchvision_names(arrays)
    names["features.1.running_mean"] = np.zeros(64, np.float32)
    write_npz(tmp_path / "w.npz", names)
    refused(tmp_path / "w.npz", r"features.1.running_mean \(64,\) has no place in vgg16")


def test_vgg19_in_place_of_vgg16(tmp_path: Path) -> None:
    source = random_weights("vgg19").arrays
    np.savez(tmp_path / "w.npz", **{name: source[name] for name in list(source)[2:]})
    refused(tmp_path / "w.npz", "conv3_4.weight .* has no place in vgg16")
    assert load_weights(tmp_path / "w.npz", "vgg19").layers == ARCHITECTURES["vgg19"].names


def test_two_tensors_for_one_place(tmp_path: Path, arrays: Arrays) -> None:
    twice = arrays | {f"model.{name}": array for name, array in arrays.items()}
    write_npz(tmp_path / "w.npz", twice)
    refused(tmp_path / "w.npz", "would be conv1_1.weight; keep one")


def test_object_array_is_refused_unread(tmp_path: Path, arrays: Arrays) -> None:
    marker = tmp_path / "executed"
    objects = dict[str, object](arrays)
    objects["conv1_1.bias"] = np.array([_Writes(marker)] * 64, dtype=object)
    np.savez(tmp_path / "w.npz", **objects)  # type: ignore[arg-type]
    refused(tmp_path / "w.npz", "conv1_1.bias is of type object")
    assert not marker.exists()


class _Writes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_array_that_claims_a_terabyte(tmp_path: Path, arrays: Arrays) -> None:
    """A header without its data is refused before memory is asked for."""
    write_npz(tmp_path / "w.npz", arrays)
    plain = tmp_path / "stored.npz"
    np.savez(plain, **arrays)
    data = plain.read_bytes().replace(b"(64, 3, 3, 3), }", b"(99999999999,),}")
    (tmp_path / "bomb.npz").write_bytes(data)
    refused(tmp_path / "bomb.npz", "(shape|damaged|header)")


def test_hdf5_link_to_another_file(tmp_path: Path, arrays: Arrays) -> None:
    write_keras(tmp_path / "w.h5", arrays)
    secret = tmp_path / "secret"
    secret.write_bytes(arrays["conv1_2.bias"].tobytes())
    with h5py.File(tmp_path / "w.h5", "a") as file:
        name = "block1_conv2/block1_conv2_b_1:0"
        del file[name]
        file.create_dataset(name, (64,), "f4", external=[(str(secret), 0, 256)])
    refused(tmp_path / "w.h5", "refers to other files")


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "no weights file .*none.safetensors")
    (tmp_path / "empty.npz").write_bytes(b"")
    refused(tmp_path / "empty.npz", "is empty")
    (tmp_path / "text.pth").write_text("hello, this is text")
    refused(tmp_path / "text.pth", "begins with b'hello, t': not a .safetensors")
    refused(tmp_path, "unknown weights")
    with pytest.raises(WeightsError, match="unknown weights 'oxfort'; expected auto, oxford"):
        load_weights("oxfort")


@pytest.mark.parametrize("write", [write_safetensors, write_npz, write_keras])
def test_truncated_file(
    tmp_path: Path, arrays: Arrays, write: Callable[[Path, Arrays], None]
) -> None:
    write(tmp_path / "w", arrays)
    data = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(data[: len(data) * 2 // 3])
    refused(tmp_path / "w", "damaged or truncated")


# ---- depth ----


def test_file_that_ends_early(tmp_path: Path, arrays: Arrays) -> None:
    write_npz(tmp_path / "w.npz", arrays)
    weights = load_weights(tmp_path / "w.npz", needed=["conv1_2", "conv1_1"])
    assert weights.layers == LAYERS
    with pytest.raises(WeightsError, match="end at conv1_2 and cannot serve conv4_2"):
        load_weights(tmp_path / "w.npz", needed=["conv1_1", "conv4_2"])
    with pytest.raises(NetworkError, match="vgg16 has no layer 'conv3_4'"):
        weights.require(["conv3_4"])


@pytest.mark.skipif(SHARED is None, reason=f"no {PRETRAINED} beside the repository")
def test_pretrained_oxford_weights() -> None:
    assert SHARED is not None
    weights = load_weights(SHARED, needed=["conv2_2"])
    assert weights.layers == ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
    assert weights.sha256 == "6c73efaa68d7d6ac87aea393176f72ec134ed07ef43f50b87c0d3b0fd4164866"
    assert "University of Oxford" in weights.describe()
    assert normalized(weights, RGB) == pytest.approx(OXFORD, rel=1e-5)
    with pytest.raises(WeightsError, match="end at conv2_2"):
        weights.require(["conv3_1"])


# ---- identity ----


def test_models_of_an_installed_package_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "lib" / "fastsynth" / "network" / "files.py"
    monkeypatch.setattr("fastsynth.network.files.__file__", str(module))
    with pytest.raises(NetworkError, match="the model files are missing: looked in"):
        models_directory()
    (tmp_path / "models").mkdir()  # the root of a source tree
    assert models_directory() == tmp_path / "models"
    (tmp_path / "lib" / "fastsynth" / "models").mkdir(parents=True)
    assert models_directory() == tmp_path / "lib" / "fastsynth" / "models"


def test_checksum_follows_the_values(tmp_path: Path, arrays: Arrays) -> None:
    write_npz(tmp_path / "a.npz", arrays)
    write_safetensors(tmp_path / "b.safetensors", arrays)
    first = load_weights(tmp_path / "a.npz")
    assert first.sha256 == load_weights(tmp_path / "b.safetensors").sha256
    arrays["conv1_2.bias"][0] += 1e-3
    write_npz(tmp_path / "c.npz", arrays)
    assert first.sha256 != load_weights(tmp_path / "c.npz").sha256
    assert first.sha256 != load_weights(tmp_path / "a.npz", convention="rgb").sha256


@pytest.mark.parametrize("network", ARCHITECTURES)
def test_cards(network: str) -> None:
    card = model_card(network)
    assert card.network == network
    assert list(card.weights) == ["oxford", "torchvision"]  # best first
    for name, weights in card.weights.items():
        assert weights.layers == ARCHITECTURES[network].names
        assert weights.url.startswith("https://")
        assert weights.url.endswith(weights.file)
        algorithm, digest = weights.checksum
        assert len(digest) == {"md5": 32, "sha256": 64}[algorithm]
        assert (name == "torchvision") == (f"-{digest[:8]}.pth" in weights.file)
        # Four bytes for each parameter fit into the file.
        shapes = [
            (layer.in_channels * 9 + 1) * layer.out_channels
            for layer in ARCHITECTURES[network].layers
        ]
        assert weights.size > 4 * sum(shapes)
