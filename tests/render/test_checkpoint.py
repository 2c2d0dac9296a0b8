"""Checkpoint files: what is written comes back, and what is damaged is named."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastsynth import CheckpointError
from fastsynth.optimize import History, RunResult
from fastsynth.render import Checkpoint, Level, LevelResult, Position

RUN = {"verb": "invert", "arguments": {"seed": 3, "layers": ["conv1_1"]}, "levels": [[4, 6, 2]]}


def position() -> Position:
    rng = np.random.default_rng(0)
    history = History(
        names=("content", "range"),
        iteration=np.array([0, 1], np.int64),
        seconds=np.array([0.1, 0.2]),
        loss=np.array([np.nan, 0.1 + 0.2]),
        parts=rng.random((2, 2)),
    )
    x = rng.random((3, 6, 8), dtype=np.float32)
    run = RunResult(x, 0.1 + 0.2, "plateau", 2, 1, 0.25, history, average=x / 2)
    state = {
        "version": "1",
        "evaluated": True,
        "pairs": 1,
        "best_loss": float("inf"),
        "x": rng.random(75, dtype=np.float32),
        "none": np.zeros(0, np.float64),
    }
    return Position((LevelResult(0, Level(4, 6, 2), run, {"content": 1 / 3}),), 1, state, 1.5, 2.5)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run.checkpoint"
    Checkpoint(path, RUN).write(position())
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    return path


def test_what_is_written_comes_back(written: Path) -> None:
    found, wanted = Checkpoint(written, RUN).position, position()
    assert found is not None
    assert (found.index, found.began, found.seconds, found.stopped) == (1, 1.5, 2.5, "")
    result, expected = found.results[0], wanted.results[0]
    assert (result.index, result.level, result.weights) == (0, Level(4, 6, 2), {"content": 1 / 3})
    assert result.run.loss == expected.run.loss
    assert result.run.history.names == ("content", "range")
    for name in ("iteration", "seconds", "loss", "parts"):
        a, b = getattr(result.run.history, name), getattr(expected.run.history, name)
        np.testing.assert_array_equal(a, b, strict=True)
    np.testing.assert_array_equal(result.run.x, expected.run.x, strict=True)
    assert found.state is not None
    assert wanted.state is not None
    for key, value in wanted.state.items():
        assert type(found.state[key]) is type(value)
        np.testing.assert_array_equal(found.state[key], value)


def test_begin_anew(written: Path) -> None:
    before = written.read_bytes()
    assert Checkpoint(written, {"verb": "mix"}, resume=False).position is None
    assert written.read_bytes() == before  # until the first write


def test_every_cut_is_noticed(written: Path) -> None:
    data = written.read_bytes()
    for length in [0, 4, 8, 20, 24, 25, *range(30, len(data), 37), len(data) - 1]:
        written.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"cut short|not a checkpoint"):
            Checkpoint(written, RUN)
        assert written.read_bytes() == data[:length]  # it is left as it is
    written.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError, match="1 bytes follow"):
        Checkpoint(written, RUN)


def test_every_flipped_bit_is_noticed(written: Path) -> None:
    data = written.read_bytes()
    rng = np.random.default_rng(1)
    for place in [*range(26), *rng.integers(26, len(data), 300)]:
        wrong = bytearray(data)
        wrong[place] ^= 1 << int(rng.integers(8))
        written.write_bytes(wrong)
        with pytest.raises(CheckpointError):
            Checkpoint(written, RUN)


def forged(change: Any) -> bytes:
    """A checkpoint with good checksums whose header was changed."""
    header: dict[str, Any] = {
        "run": RUN,
        "results": [],
        "index": 0,
        "state": None,
        "began": 0.0,
        "seconds": 0.0,
        "stopped": "",
        "arrays": [],
    }
    change(header)
    text = json.dumps(header).encode()
    return b"FSYNCKP1" + struct.pack("<QQ", len(text), zlib.crc32(text)) + text


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("state"),
        lambda h: h.update(run=[]),
        lambda h: h.update(index="x"),
        lambda h: h.update(index=float("inf")),
        lambda h: h.update(arrays=[["<f4", [2**62, 2**62], 0]]),
        lambda h: h.update(arrays=[["<f4", [-1], 0]]),
        lambda h: h.update(arrays=[["O", [1], 0]]),
        lambda h: h.update(arrays=7),
        lambda h: h.update(state={"x": {"array": 9}}),
        lambda h: h.update(results=[{}]),
        lambda h: h.update(results=[7]),
        lambda h: h.update(results={"a": 1}),
        lambda h: h.update(state=3),
        lambda h: h.update(state=["x"]),
    ],
)
def test_forged_contents(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "run.checkpoint"
    path.write_bytes(forged(change))
    with pytest.raises(CheckpointError, match=r"cannot be used"):
        Checkpoint(path, RUN)
    path.write_bytes(forged(lambda _: None))
    assert Checkpoint(path, RUN).position is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda result: result["history"].update(loss=0.5),
        lambda result: result["history"].update(parts={"a": 1}),
        lambda result: result.update(names=["content"]),
        lambda result: result.update(average={"array": 2}),
        lambda result: result.update(evaluations=10**400),
        lambda result: result.update(iterations=-1),
    ],
)
def test_forged_levels(written: Path, change: Any) -> None:
    """Good checksums around a level whose history or average is none."""
    data = written.read_bytes()
    size, _ = struct.unpack_from("<QQ", data, 8)
    header = json.loads(data[24 : 24 + size])
    change(header["results"][0])
    text = json.dumps(header).encode()
    start = data[:8] + struct.pack("<QQ", len(text), zlib.crc32(text))
    written.write_bytes(start + text + data[24 + size :])
    with pytest.raises(CheckpointError, match=r"cannot be used"):
        Checkpoint(written, RUN)


def test_another_run_is_named(written: Path) -> None:
    other = {
        "verb": "invert",
        "arguments": {"seed": 4, "layers": ["conv1_1"]},
        "levels": [[8, 6, 2]],
    }
    with pytest.raises(CheckpointError, match=r"seed is 3 there, 4 here; levels.0.0 is 4 there, 8"):
        Checkpoint(written, other)


@pytest.mark.parametrize(
    ("path", "said"),
    [("no/such/run", "has no folder"), (".", "is not a file"), ("a\0b", "no path"), (3, "a int;")],
)
def test_impossible_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=said):
        Checkpoint(path, RUN)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3", True])
def test_seconds_out_of_range(tmp_path: Path, seconds: Any) -> None:
    with pytest.raises(CheckpointError, match="checkpoint_seconds"):
        Checkpoint(tmp_path / "run", RUN, seconds=seconds)


def test_failed_write_keeps_the_last_one(
    written: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = written.read_bytes()
    checkpoint = Checkpoint(written, RUN, seconds=0)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for _ in range(3):
            checkpoint.write(position())
    assert written.read_bytes() == before
    assert [item.name for item in written.parent.iterdir()] == [written.name]
    assert [record.message for record in caplog.records] == [
        f"the checkpoint {written} was not written: No space left on device; "
        "the last one is kept, the run goes on"
    ]
    checkpoint.write(position())
    assert Checkpoint(written, RUN).position is not None


def test_writes_take_their_share_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("fastsynth.render.checkpoint.time.monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "run", RUN, seconds=30)
    now[0] = 30.0
    assert checkpoint.due()

    def slow(_: int) -> None:
        now[0] += 4.0

    monkeypatch.setattr(os, "fsync", slow)
    checkpoint.write(position())
    wrote = now[0]
    for waited, due in ((31.0, False), (79.0, False), (200.0, True)):
        now[0] = wrote + waited
        assert checkpoint.due() is due
