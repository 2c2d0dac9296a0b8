"""torch's .pth files: both forms are read as torch.save wrote them, and no pickle is ever run."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsynth._errors import WeightsError
from fastsynth.network.weights import load_weights, random_weights

BOTH_FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def values() -> dict[str, NDArray[np.float32]]:
    source = random_weights("vgg16", seed=2).arrays
    return {
        "conv1_1.weight": np.array(source["conv1_1.weight"]),
        "conv1_1.bias": np.linspace(-1, 1, 64, dtype=np.float32),
    }


# ---- what torch wrote ----


@pytest.mark.torch
@BOTH_FORMS
def test_state_dict_of_torchvision_shape(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Module()
    network.features = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3)
    )
    network.classifier = torch.nn.Linear(10, 10)
    network.counter = torch.nn.BatchNorm1d(4)  # brings an int64 scalar
    path = tmp_path / "w.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    weights = load_weights(path)
    assert weights.layers == ("conv1_1", "conv1_2")
    for ours, theirs in (("conv1_1", 0), ("conv1_2", 2)):
        module = network.features[theirs]
        np.testing.assert_array_equal(weights.arrays[f"{ours}.weight"], module.weight.detach())
        np.testing.assert_array_equal(weights.arrays[f"{ours}.bias"], module.bias.detach())


@pytest.mark.torch
@BOTH_FORMS
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_types_and_nested_dictionaries(tmp_path: Path, zipped: bool, kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(a).to(getattr(torch, kind)) for name, a in values().items()}
    path = tmp_path / "w.pth"
    content = {"epoch": 3, "loss": 0.5, "state_dict": tensors, "note": "text", "none": None}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    weights = load_weights(path)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(weights.arrays[name], tensor.float().numpy())


@pytest.mark.torch
@BOTH_FORMS
def test_views_and_parameters(tmp_path: Path, zipped: bool) -> None:
    """Tensors that share a storage, are transposed in memory, start within it, or are broadcast."""
    torch = pytest.importorskip("torch")
    given = values()
    weight = torch.from_numpy(given["conv1_1.weight"]).to(memory_format=torch.channels_last)
    shared = torch.arange(100, dtype=torch.float32)
    path = tmp_path / "w.pth"
    tensors = {
        "conv1_1.weight": torch.nn.Parameter(weight),
        "conv1_1.bias": shared[20:84],
        "conv1_2.weight": shared[:9].reshape(1, 1, 3, 3).expand(64, 64, 3, 3),
        "conv1_2.bias": shared[36:100],
    }
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    weights = load_weights(path)
    np.testing.assert_array_equal(weights.arrays["conv1_1.weight"], given["conv1_1.weight"])
    np.testing.assert_array_equal(weights.arrays["conv1_1.bias"], np.arange(20, 84))
    np.testing.assert_array_equal(weights.arrays["conv1_2.bias"], np.arange(36, 100))
    assert (weights.arrays["conv1_2.weight"][5, 7] == np.arange(9).reshape(3, 3)).all()


@pytest.mark.torch
@BOTH_FORMS
def test_whole_module_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Conv2d(3, 64, 3), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"torch.nn.modules.conv.Conv2d; .* model.state_dict\(\)"
    ):
        load_weights(tmp_path / "w.pth")


@pytest.mark.torch
@BOTH_FORMS
def test_truncated(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in values().items()}
    torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "w.pth").read_bytes()
    for keep in (20, len(data) // 2, len(data) - 40):
        (tmp_path / "w.pth").write_bytes(data[:keep])
        with pytest.raises(WeightsError):
            load_weights(tmp_path / "w.pth")


# ---- what nobody's torch wrote ----

MAGIC = 0x1950A86A20F9469CFC6C


def legacy(path: Path, content: bytes, keys: list[str], storages: list[bytes]) -> Path:
    """A file in the legacy form around the pickle `content`; storages hold float32."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(value, 2) for value in (MAGIC, 1001, system)]
    blocks = [struct.pack("<q", len(block) // 4) + block for block in storages]
    path.write_bytes(b"".join([*head, content, pickle.dumps(keys, 2), *blocks]))
    return path


def zipped_form(path: Path, content: bytes, storages: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for key, block in storages.items():
            archive.writestr(f"archive/data/{key}", block)
    return path


def described(
    shape: tuple[int, ...] = (64,),
    strides: tuple[int, ...] = (1,),
    offset: int = 0,
    count: int = 64,
    function: bytes = b"ctorch._utils\n_rebuild_tensor_v2\n",
) -> bytes:
    """A pickle of {"conv1_1.bias": tensor} written by hand, one operation after the other."""

    def integers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"

    return b"".join(
        [
            b"\x80\x02}X\x0c\x00\x00\x00conv1_1.bias",
            function,
            b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu",
            b"\x8a\x08" + struct.pack("<q", count) + b"NtQ",
            b"\x8a\x08" + struct.pack("<q", offset),
            integers(shape),
            integers(strides),
            b"\x89ccollections\nOrderedDict\n)R" + b"tRs.",
        ]
    )


def refused(path: Path, match: str) -> None:
    with pytest.raises(WeightsError, match=match):
        load_weights(path)


BLOCK = np.arange(64, dtype="<f4").tobytes()


def test_the_hand_made_file_is_understood(tmp_path: Path) -> None:
    """So that the refusals below are for the reason they name: only the weight is missing here."""
    refused(legacy(tmp_path / "a", described(), ["0"], [BLOCK]), "conv1_1.weight is missing")
    refused(zipped_form(tmp_path / "b", described(), {"0": BLOCK}), "conv1_1.weight is missing")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"strides": (1000,)}, "reaches element 63001 of a storage of 64"),
        ({"offset": 1}, "reaches element 65 of a storage of 64"),
        ({"strides": (-1,)}, "-1 where a size belongs"),
        ({"offset": -5}, "-5 where a size belongs"),
        ({"shape": (2**61,)}, "reaches element"),
        ({"shape": (64, 1)}, "1 strides for 2 dimensions"),
        ({"count": 2**40}, "damaged|is not the one described|conv1_1.weight is missing"),
    ],
)
def test_views_outside_their_storage(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    refused(legacy(tmp_path / "a", described(**change), ["0"], [BLOCK]), match)
    refused(zipped_form(tmp_path / "b", described(**change), {"0": BLOCK}), match)


class Runs:
    """What a malicious pickle does: call something while it is being loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_malicious_pickle(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "executed"
    content = pickle.dumps(OrderedDict(a=Runs(target)), protocol)
    pickle.loads(content)
    assert target.exists()  # it is malicious indeed
    target.unlink()
    refused(zipped_form(tmp_path / "w.pth", content, {}), "nothing in it is run")
    refused(legacy(tmp_path / "x.pth", content, [], []), "nothing in it is run")
    refused_head = tmp_path / "y.pth"
    refused_head.write_bytes(pickle.dumps(Runs(target), max(2, protocol)))
    refused(refused_head, "nothing in it is run|begins with")
    assert not target.exists()


@pytest.mark.parametrize(
    "function",
    [
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"ctorch\nload\n",
        b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93",
        b"ctorch\nFloatStorage\n",  # a known name, but nothing to call
        b"(ios\nsystem\n",
        b"\x82\x01",
    ],
)
def test_other_functions_are_refused(tmp_path: Path, function: bytes) -> None:
    content = described(function=function)
    refused(zipped_form(tmp_path / "w.pth", content, {"0": BLOCK}), "nothing in it is run")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02.",  # nothing on the stack
        b"\x80\x02t.",  # no mark
        b"\x80\x02}",  # no end
        b"\x80\x02}r\xff\xff\xff\xffh\x07.",  # a memory slot that was never filled
        b"\x80\x02]}K\x01s.",  # an item into a list
        b"\x80\x02X\xff\xff\xff\x7fabc.",  # a text of two gigabytes
        b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # of eight exabytes
        b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",  # a dictionary that holds itself
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02(lp0\n" + b"(lp1\ng0\nag0\na" * 1000 + b".",
    ],
)
def test_broken_pickles(tmp_path: Path, content: bytes) -> None:
    refused(zipped_form(tmp_path / "w.pth", content, {}), "w.pth")
    refused(legacy(tmp_path / "x.pth", content, [], []), "x.pth")


def test_pickle_of_unlimited_size(tmp_path: Path) -> None:
    """A compressed description that unpacks to a hundred megabytes is not unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 50_000_000)
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    refused(tmp_path / "w.pth", "data.pkl is larger than 16777216 bytes")


def test_big_endian_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", described())
        archive.writestr("archive/byteorder", "big")
    refused(path, "big-endian")


def test_python_2_state_dict(tmp_path: Path) -> None:
    """Python 2 pickled an ordered dictionary as a call with a list of pairs, and text as bytes."""
    start = len(b"\x80\x02}X\x0c\x00\x00\x00conv1_1.bias")
    tensor = described()[start : -len(b"s.")]
    pair = b"](U\x0cconv1_1.bias" + tensor + b"e"
    content = b"\x80\x02ccollections\nOrderedDict\n(]" + pair + b"atR."
    refused(zipped_form(tmp_path / "w.pth", content, {"0": BLOCK}), "conv1_1.weight is missing")
