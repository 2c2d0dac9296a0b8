"""Runs that were cut anywhere go on to the same picture, bit for bit."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.render import Checkpoint, Position, refine

from .test_verbs import picture

ENV = {**os.environ, "PYTHONPATH": str(Path(fs.__file__).parents[1])}
SHORT: dict[str, Any] = {"max_evaluations": [5, 6], "scales": 2, "plateau": 0.0}


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[fs.Synthesizer]:
    with fs.Synthesizer(weights="random:0", threads=2) as made:
        yield made


A, B = picture(0), picture(1, 40, 40)
VERBS: dict[str, Callable[..., fs.Result]] = {
    "style_transfer": lambda s, **run: s.style_transfer(A, B, color="match", **run),
    "texture": lambda s, **run: s.synthesize_texture(B, size=(50, 36), seamless=True, **run),
    "invert": lambda s, **run: s.invert(A, layers="conv2_1", optimizer="gd", **run),
    "mix": lambda s, **run: s.mix(
        [(A, 0.7), (B, 0.3)], layers="conv2_1", optimizer=fs.Adam(0.03, average=0.5), **run
    ),
    "mix pixels": lambda s, **run: s.mix(
        [(A, 0.7), (B, 0.3)], layers="conv2_1", at="pixels", **run
    ),
    "minimize": lambda s, **run: s.minimize(
        fs.Content(A, "conv1_2") + fs.Style(B, ["conv1_1"], balance=True), **run
    ),
}


# The verbs, and one of them in mixed precision: its last two levels share L-BFGS's pairs.
ENGINES = [*((verb, "exact") for verb in VERBS), ("style_transfer", "mixed")]


class KilledError(Exception):
    """In place of a kill: leaves the run without its usual ways out."""


def test_onnx_runs_go_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference backend, in a new Synthesizer after each death, as in a new process."""
    pytest.importorskip("onnxruntime")
    path, write, deaths = tmp_path / "run", Checkpoint.write, 0
    engine: dict[str, Any] = {"weights": "random:0", "backend": "onnx", "threads": 2}

    def run(**options: Any) -> fs.Result:
        with fs.Synthesizer(**engine) as made:
            return made.invert(A, layers="conv1_2", **SHORT, **options)

    def dies(self: Checkpoint, position: Position) -> None:
        nonlocal deaths
        write(self, position)
        if position.state is not None and len(position.results) == deaths:
            deaths += 1
            raise KilledError

    whole = run()
    monkeypatch.setattr(Checkpoint, "write", dies)
    for _ in range(2):
        with pytest.raises(KilledError):
            run(checkpoint=path, checkpoint_seconds=0)
    result = run(checkpoint=path, checkpoint_seconds=0)
    assert deaths == 2
    assert result.provenance["engine"]["backend"] == "onnx"
    assert np.array_equal(result.pixels, whole.pixels)
    assert result.evaluations == whole.evaluations
    # A state of one backend is not continued by the other: their bits differ.
    with (
        fs.Synthesizer(**{**engine, "backend": "native"}) as other,
        pytest.raises(fs.CheckpointError, match=r"engine.backend is 'onnx' there, 'native'"),
    ):
        other.invert(A, layers="conv1_2", checkpoint=path, **SHORT)


@pytest.mark.parametrize(("verb", "precision"), ENGINES)
def test_cut_anywhere_and_continued(
    synthesizer: fs.Synthesizer,
    verb: str,
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process "dies" right after its n-th write, again and again until the run is through."""
    if precision != "exact":
        synthesizer = fs.Synthesizer(weights="random:0", threads=2, precision=precision)
    whole = VERBS[verb](synthesizer, **SHORT)
    write, path = Checkpoint.write, tmp_path / "run"
    count = 0

    def dies(self: Checkpoint, position: Position) -> None:
        nonlocal count
        write(self, position)
        count += 1
        if count % 3 == 0:
            raise KilledError

    deaths = 0
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", dies)
        while True:
            with contextlib.suppress(KilledError):
                result = VERBS[verb](synthesizer, checkpoint=path, checkpoint_seconds=0, **SHORT)
                break
            deaths += 1
    assert deaths >= 1
    assert np.array_equal(result.pixels, whole.pixels)
    assert result.provenance == whole.provenance
    assert result.evaluations == whole.evaluations
    for mine, other in zip(result.levels, whole.levels, strict=True):
        assert np.array_equal(mine.run.x, other.run.x)
        assert mine.weights == other.weights
        assert np.array_equal(mine.run.history.loss, other.run.history.loss)
    # The finished run waits in its checkpoint until the picture is safe.
    again = VERBS[verb](synthesizer, checkpoint=path, **SHORT)
    assert np.array_equal(again.pixels, whole.pixels)
    assert list(tmp_path.iterdir())
    again.save(tmp_path / "out.png")
    assert [item.name for item in tmp_path.iterdir()] == ["out.png"]


def test_stopped_run_keeps_its_checkpoint(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    whole = synthesizer.style_transfer(A, B, **SHORT)
    path, seen = tmp_path / "run", []

    def stop(progress: fs.Progress) -> bool:
        seen.append(progress.evaluation)
        return progress.evaluation not in (3, 9)

    runs = [
        synthesizer.style_transfer(A, B, checkpoint=path, callback=stop, **SHORT) for _ in range(3)
    ]
    assert [run.stopped for run in runs] == ["cancelled", "cancelled", "evaluations"]
    runs[0].save(tmp_path / "out.png")
    assert path.exists() is (runs[0].checkpoints == ())
    assert np.array_equal(runs[2].pixels, whole.pixels)
    assert seen == sorted(seen), "the count of evaluations goes on"


@pytest.mark.parametrize("backend", ["native", "step"])
def test_errors_of_a_callback_are_its_own(backend: str, tmp_path: Path) -> None:
    """A run that goes on does not take them for those of a state that does not fit."""
    if backend == "step":
        pytest.importorskip("onnxruntime")
    run: dict[str, Any] = {**SHORT, "checkpoint": tmp_path / "run", "layers": "conv1_2"}

    def fail(_: fs.Progress) -> None:
        raise ValueError("the caller's")

    with fs.Synthesizer(weights="random:0", threads=2, backend=backend) as opened:
        stopped = opened.invert(A, callback=lambda p: p.evaluation < 8, **run)
        assert stopped.stopped == "cancelled"
        with pytest.raises(ValueError, match="the caller's"):
            opened.invert(A, callback=fail, **run)


def test_time_counts_the_whole_run(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    path = tmp_path / "run"
    options = {
        "checkpoint": path,
        "scales": 1,
        "max_evaluations": 5000,
        "plateau": 0.0,
        "optimizer": "adam",
    }
    first = synthesizer.invert(A, layers="conv1_2", time_limit=0.5, **options)
    assert first.stopped == "time"
    begun = time.monotonic()
    second = synthesizer.invert(A, layers="conv1_2", time_limit=0.5, **options)
    assert time.monotonic() - begun < 0.45
    assert second.evaluations == first.evaluations or second.evaluations == first.evaluations - 1
    third = synthesizer.invert(A, layers="conv1_2", time_limit=0.8, **options)
    assert third.evaluations > first.evaluations


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strength": 2.0}, r"arguments.strength is 1.0 there, 2.0 here"),
        ({"size": 40}, r"levels.0.0 is 24 there, 15 here"),
        ({"optimizer": "adam"}, r"arguments.optimizer is None there, 'adam' here"),
        ({"content": B}, r"arguments.content.sha256 is"),
        ({"max_evaluations": [5, 7]}, r"levels.1.2 is 6 there, 7 here"),
    ],
)
def test_another_job_is_refused(
    synthesizer: fs.Synthesizer, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "run"
    usual: dict[str, Any] = {"content": A, "style": B, **SHORT}
    synthesizer.style_transfer(**usual, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(fs.CheckpointError, match=said):
        synthesizer.style_transfer(**{**usual, **change}, checkpoint=path)
    assert path.read_bytes() == before


def test_other_weights_verb_and_version_are_refused(
    synthesizer: fs.Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    options: dict[str, Any] = {"layers": "conv1_2", "checkpoint": path, **SHORT}
    synthesizer.invert(A, **options)
    with (
        fs.Synthesizer(weights="random:1") as other,
        pytest.raises(fs.CheckpointError, match=r"engine.weights.id is 'random:0' there"),
    ):
        other.invert(A, **options)
    with pytest.raises(fs.CheckpointError, match=r"verb is 'invert' there, 'mix' here"):
        synthesizer.mix([(A, 1.0)], **options)
    monkeypatch.setattr(fs, "__version__", "9.9")
    with pytest.raises(fs.CheckpointError, match=r"versions.fastsynth is '0.1.0' there, '9.9'"):
        synthesizer.invert(A, **options)


def test_same_picture_elsewhere_and_other_threads_are_the_same_run(
    synthesizer: fs.Synthesizer, tmp_path: Path
) -> None:
    """A checkpoint moves with its inputs to another folder."""
    path = tmp_path / "run"
    for name in ("a.png", "b.png"):
        Image.fromarray(A).save(tmp_path / name)

    options: dict[str, Any] = {"layers": "conv2_1", "checkpoint": path, **SHORT}
    first = synthesizer.invert(tmp_path / "a.png", **options)
    with fs.Synthesizer(weights="random:0", threads=1) as other:
        second = other.invert(tmp_path / "b.png", seed=0, **options)
    assert np.array_equal(first.pixels, second.pixels)


def test_dreams_have_none(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(fs.ObjectiveError, match="dream is quick and has no checkpoints"):
        synthesizer.dream(A, checkpoint=tmp_path / "run")


def test_state_of_another_kind(
    synthesizer: fs.Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good checksums around a state that this run cannot have."""
    path = tmp_path / "run"
    options: dict[str, Any] = {"layers": "conv1_2", "checkpoint": path, **SHORT}
    write = Checkpoint.write

    def spoiled(self: Checkpoint, position: Position) -> None:
        state = {**(position.state or {}), "x": np.zeros(3, np.float32)}
        write(self, Position(position.results, position.index, state, 0.0, 0.0))
        raise KilledError

    monkeypatch.setattr(Checkpoint, "write", spoiled)
    with pytest.raises(KilledError):
        synthesizer.invert(A, checkpoint_seconds=0, **options)
    monkeypatch.undo()
    with pytest.raises(fs.CheckpointError, match="state does not fit this run"):
        synthesizer.invert(A, **options)


def test_full_disk_on_the_way(
    synthesizer: fs.Synthesizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    whole = synthesizer.invert(A, layers="conv1_2", **SHORT)
    monkeypatch.setattr("fastsynth.render.checkpoint.write_position", full)
    with caplog.at_level(logging.WARNING):
        result = synthesizer.invert(
            A, layers="conv1_2", checkpoint=tmp_path / "run", checkpoint_seconds=0, **SHORT
        )
    assert np.array_equal(result.pixels, whole.pixels)
    assert len(caplog.records) == 1
    assert "there is none yet, the run goes on" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_command_goes_on(tmp_path: Path) -> None:
    """kill -9 at moments as they come; the command is given again until it is through."""
    for name, seed in (("a.png", 0), ("b.png", 1)):
        Image.fromarray(picture(seed)).save(tmp_path / name)
    command = [sys.executable, "-m", "fastsynth", "transfer", "a.png", "b.png"]
    command += ["--weights", "random:0", "--max-evaluations", "20,20", "--scales", "2"]
    command += ["--plateau", "0", "-q", "-o"]
    subprocess.run([*command, "whole.png"], cwd=tmp_path, check=True, env=ENV)
    rng, kills = np.random.default_rng(5), 0
    command += ["out.png", "--checkpoint", "run", "--checkpoint-seconds", "0"]
    while kills < 3:
        process = subprocess.Popen(command, cwd=tmp_path, env=ENV)
        deadline = time.monotonic() + 60
        before = (tmp_path / "run").stat().st_mtime_ns if (tmp_path / "run").exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if (tmp_path / "run").exists() and (tmp_path / "run").stat().st_mtime_ns > before:
                break
            time.sleep(0.001)
        time.sleep(float(rng.random()) * 0.1)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    assert kills >= 2
    subprocess.run(command, cwd=tmp_path, check=True, env=ENV)
    found, wanted = Image.open(tmp_path / "out.png"), Image.open(tmp_path / "whole.png")
    assert np.array_equal(np.asarray(found), np.asarray(wanted))
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "a.png",
        "b.png",
        "out.png",
        "whole.png",
    ]


def test_goes_on_with_more_or_less_memory(
    synthesizer: fs.Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L-BFGS where it began, though under the other limit Adam would be chosen; tiles or none."""
    sizes: dict[str, Any] = {"size": (400, 390), "scales": 1, "max_evaluations": 4, "plateau": 0.0}
    path, movers = tmp_path / "run", []
    plan_memory = refine.plan_memory

    def plans(objective: Any, level: Any, *rest: Any, **settings: Any) -> Any:
        """A limit that L-BFGS' vectors and the whole picture do not fit."""
        least = plan_memory(
            objective, level, *rest, **{**settings, "optimizer": fs.LBFGS(), "limit": 1 << 60}
        ).bytes
        if settings["limit"] == 123 << 20 and settings["optimizer"] == "auto":
            settings["optimizer"] = fs.Adam()
        settings["limit"] = least - 1 if settings["limit"] == 123 << 20 else None
        found = plan_memory(objective, level, *rest, **settings)
        movers.append((type(found.optimizer).__name__, found.tiling is not None))
        return found

    whole = synthesizer.style_transfer(A, B, **sizes)
    monkeypatch.setattr(refine, "plan_memory", plans)

    def run(limit: str, **options: Any) -> fs.Result:
        return synthesizer.style_transfer(A, B, memory_limit=limit, **sizes, **options)

    cut = run("8GiB", checkpoint=path, callback=lambda p: p.evaluation < 2)
    assert cut.stopped == "cancelled"
    result = run("123MiB", checkpoint=path)
    assert run("123MiB").provenance["levels"][0]["optimizer"] == "Adam"
    assert movers == [("LBFGS", False), ("LBFGS", True), ("Adam", True)]
    assert result.levels[0].loss == pytest.approx(whole.levels[0].loss, rel=1e-3)
