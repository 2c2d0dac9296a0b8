"""Damaged weights files of every kind: either refused with a WeightsError, or read."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from fastsynth._errors import WeightsError
from fastsynth.network.weights import load_weights, random_weights

NAMES = ("conv1_1.weight", "conv1_1.bias")
KINDS = ["safetensors", "npz", "npz compressed", "h5", "h5 compressed", "pth", "pth legacy"]


def whole_file(kind: str, folder: Path) -> bytes:
    """A small weights file, of one layer."""
    source = random_weights("vgg16", seed=1).arrays
    arrays = {name: np.array(source[name]) for name in NAMES}
    buffer = io.BytesIO()
    if kind == "safetensors":
        return save(arrays)
    if kind.startswith("npz"):
        (np.savez_compressed if "compressed" in kind else np.savez)(buffer, **arrays)
    elif kind.startswith("h5"):
        options = {"compression": "gzip", "shuffle": True} if "compressed" in kind else {}
        with h5py.File(buffer, "w") as file:
            kernel = arrays[NAMES[0]].transpose(2, 3, 1, 0)
            file.create_dataset("block1_conv1/block1_conv1_W_1:0", data=kernel, **options)
            file.create_dataset("block1_conv1/block1_conv1_b_1:0", data=arrays[NAMES[1]])
    else:
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        torch.save(tensors, buffer, _use_new_zipfile_serialization=kind == "pth")
    return buffer.getvalue()


@pytest.fixture(scope="module", params=KINDS)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    return whole_file(request.param, folder), folder / "damaged"


def read_or_refuse(path: Path, data: bytes) -> bool:
    """Whether the file was read; any error but WeightsError passes through and fails the test."""
    path.write_bytes(data)
    try:
        weights = load_weights(path)
    except WeightsError:
        return False
    assert weights.layers == ("conv1_1",)
    assert all(np.isfinite(array).all() for array in weights.arrays.values())
    return True


BUDGET = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_whole_file_is_read(target: tuple[bytes, Path]) -> None:
    data, path = target
    assert read_or_refuse(path, data)


@BUDGET
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncated(target: tuple[bytes, Path], part: float) -> None:
    data, path = target
    kept = data[: int(part * len(data))]
    read = read_or_refuse(path, kept)
    assert not read or len(data) - len(kept) < 4096  # trailing padding may be missing


@BUDGET
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.integers(0, 255), st.booleans(), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_changed_bytes(
    target: tuple[bytes, Path], changes: list[tuple[int, int, bool, bool]]
) -> None:
    """Bytes set or flipped anywhere, or in the first and last kilobyte, where the structure is."""
    data, path = target
    damaged = bytearray(data)
    for place, value, flip, structure in changes:
        at = place % len(data)
        if structure:
            at = place % 2048 - 1024
        damaged[at] = damaged[at] ^ (1 << value % 8) if flip else value
    read_or_refuse(path, bytes(damaged))


@BUDGET
@given(noise=st.binary(max_size=300), head=st.integers(0, 32))
def test_noise_behind_a_true_beginning(target: tuple[bytes, Path], noise: bytes, head: int) -> None:
    data, path = target
    assert not read_or_refuse(path, data[:head] + noise)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=VALUES, protocol=st.integers(0, 5))
def test_pickles_of_other_things(
    tmp_path_factory: pytest.TempPathFactory, value: object, protocol: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "other.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol))
    with pytest.raises(WeightsError):
        load_weights(path)
