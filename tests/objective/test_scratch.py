"""Scratch files: features of content that do not fit the memory, and what goes wrong with disks."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fastsynth import Content, MemoryLimitError, Style, _core
from fastsynth.network.native import NativeNetwork
from fastsynth.objective import Canvas, plan, scratch
from fastsynth.objective import plan as plan_function
from fastsynth.objective.tiles import Tiling

POOL = _core.ThreadPool(2)
CANVAS = Canvas(150, 170, 1.0, 0, False)
RNG = np.random.default_rng(4)
CONTENT, OTHER, STYLE = (RNG.random((90, 110, 3), np.float32) for _ in range(3))
X = RNG.random((3, 150, 170), np.float32)
IN_FILE = Tiling(48, keep_targets=False)
plan_module = sys.modules[plan_function.__module__]


class Networks:
    """One small network."""

    def __init__(self) -> None:
        weights = {
            "normalize.weight": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
            "normalize.bias": np.zeros(3, np.float32),
        }
        rng = np.random.default_rng(1)
        for name, inner, outer in (("conv1_1", 3, 64), ("conv1_2", 64, 64), ("conv2_1", 64, 128)):
            weights[f"{name}.weight"] = rng.normal(0, 0.1, (outer, inner, 3, 3)).astype(np.float32)
            weights[f"{name}.bias"] = np.zeros(outer, np.float32)
        self.network = NativeNetwork("vgg16", weights, pooling="avg", pool=POOL)

    def __call__(self, name: str | None) -> NativeNetwork:
        return self.network


NETWORKS = Networks()


def objective(normalization: str = "relative"):
    """Two content layers of a sum of pictures, and a style."""
    pictures = [(CONTENT, 0.75), (OTHER, 0.25)]
    return Content(pictures, ["conv1_2", "conv2_1"], normalization=normalization) + Style(
        STYLE, ["conv1_1", "conv2_1"]
    )


def evaluated(tiling: Tiling, term=None):
    """Value and gradient, twice: a file is read again."""
    with plan(term or objective(), CANVAS, NETWORKS, POOL, tiling) as bound:
        first = bound.objective.evaluate(X)
        value, gradient = bound.objective.evaluate(X)
        assert value == first[0]
        np.testing.assert_array_equal(gradient, first[1])
        return value, gradient


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of scratch files."""
    monkeypatch.setenv("FASTSYNTH_SCRATCH", str(tmp_path))
    return tmp_path


@pytest.fixture
def opened(monkeypatch) -> list[int]:
    """Sizes of the files that were opened."""
    sizes = []

    def watched(size: int):
        found = scratch.open_scratch(size)
        sizes.extend([size] if found is not None else [])
        return found

    monkeypatch.setattr(plan_module, "open_scratch", watched)
    return sizes


@pytest.mark.parametrize("normalization", ["relative", "paper", "normalized"])
def test_memory_file_and_computing_anew_are_the_same_to_the_bit(
    folder, opened, monkeypatch, normalization
):
    term = objective(normalization)
    kept = evaluated(Tiling(48), term)
    assert opened == []
    in_file = evaluated(IN_FILE, term)
    assert opened == [4 * 64 * 150 * 170, 4 * 128 * 75 * 85]
    monkeypatch.setenv("FASTSYNTH_SCRATCH", "off")
    anew = evaluated(IN_FILE, term)
    assert len(opened) == 2
    for found in (in_file, anew):
        assert found[0] == kept[0]
        np.testing.assert_array_equal(found[1], kept[1])


def test_the_file_has_no_name_and_its_room_comes_back(folder):
    def blocks() -> int:
        """Bytes of files without a name that this process holds in the folder."""
        found = 0
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # the one that lists the folder is gone
                if str(folder) in str(link.readlink()):
                    found += link.stat().st_size
        return found

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux shows the files of a process")
    with plan(objective(), CANVAS, NETWORKS, POOL, IN_FILE) as bound:
        assert list(folder.iterdir()) == []
        assert blocks() == 4 * 64 * 150 * 170 + 4 * 128 * 75 * 85
        del bound
    assert blocks() == 0


def test_no_room_computes_anew(folder, opened, monkeypatch):
    expected = evaluated(IN_FILE)
    usage = type(scratch.shutil.disk_usage(folder))
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    assert not scratch.has_room(600_000)
    assert scratch.has_room(400_000)
    del opened[:]
    found = evaluated(IN_FILE)
    assert opened == []
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_disk_that_fills_meanwhile_computes_anew(folder, monkeypatch, caplog):
    expected = evaluated(IN_FILE)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with caplog.at_level("WARNING", "fastsynth"):
        found = evaluated(IN_FILE)
    assert "No space left" in caplog.text
    assert str(folder) in caplog.text
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_is_none_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTSYNTH_SCRATCH", str(tmp_path / name))
    with pytest.raises(MemoryLimitError, match=f"FASTSYNTH_SCRATCH names .*{name}"):
        plan(objective(), CANVAS, NETWORKS, POOL, IN_FILE)


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path, monkeypatch):
    path = tmp_path / "features"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        monkeypatch.setattr(plan_module, "open_scratch", lambda _: _core.ScratchFile(file))
        with plan(objective(), CANVAS, NETWORKS, POOL, IN_FILE) as bound:
            os.ftruncate(file, 1000)
            with pytest.raises(MemoryLimitError, match=r"cannot be read: it ends too early.*off"):
                bound.objective.evaluate(X)
    finally:
        os.close(file)
    file = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(MemoryLimitError, match=r"cannot be written: .*FASTSYNTH_SCRATCH"):
            plan(objective(), CANVAS, NETWORKS, POOL, IN_FILE)
    finally:
        os.close(file)
    with pytest.raises(MemoryLimitError, match="cannot be opened"):
        _core.ScratchFile(-1)


def test_folders_in_memory_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTSYNTH_SCRATCH", raising=False)
    kinds = {}
    monkeypatch.setattr(scratch, "kind_of", lambda folder: kinds.get(folder, "ext4"))
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(tmp_path))
    assert scratch.scratch_folder(1000) == tmp_path
    kinds[tmp_path] = "tmpfs"
    kinds[Path("/var/tmp")] = "tmpfs"
    assert scratch.scratch_folder(1000) is None


def test_kind_of_a_folder():
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("there is no folder in memory here")
    assert scratch.kind_of(shared) == "tmpfs"


def test_kind_of_a_folder_whose_name_has_a_space():
    mounts = "disk / ext4 rw 0 0\nnone /mnt/in\\040memory tmpfs rw 0 0\nx /mnt/a\\134b nfs rw 0 0\n"
    assert scratch.kind_among(mounts, "/mnt/in memory/run") == "tmpfs"
    assert scratch.kind_among(mounts, "/mnt/in") == "ext4"
    assert scratch.kind_among(mounts, "/mnt/a\\b") == "nfs"
