"""Traces and logs: what a run tells, line by line, and that the library prints nothing."""

from __future__ import annotations

import ast
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.render import Trace, TraceWriter

from .test_batch import DEFAULTS, folder, job
from .test_verbs import picture

__all__ = ["folder"]  # the fixture

QUICK: dict[str, Any] = {"layers": "conv1_2", "weights": "random:0", "plateau": 0.0}
PACKAGE = Path(fs.__file__).parent


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=no_constant) for line in text.splitlines()]


def test_a_trace_says_what_the_callback_saw(tmp_path: Path) -> None:
    seen: list[fs.Progress] = []
    path = tmp_path / "run.jsonl"
    result = fs.invert(
        picture(0, 64, 64), **QUICK, max_evaluations=[6, 4], scales=2, trace=path,
        callback=seen.append,
    )  # fmt: skip
    begin, *steps, end = lines_of(path)
    assert (begin["event"], begin["verb"], begin["weights"]) == ("begin", "invert", "random:0")
    assert begin["process"] == os.getpid()
    assert (end["event"], end["stopped"]) == ("end", result.stopped)
    assert end["seconds"] > 0
    assert (end["evaluations"], end["loss"]) == (result.evaluations, result.loss)
    assert len(steps) == len(seen)
    for line, event in zip(steps, seen, strict=True):
        assert line["event"] == "step"
        for name in ("level", "width", "height", "evaluation", "iteration", "loss", "losses"):
            assert line[name] == getattr(event, name), name
        assert line["seconds"] == event.seconds
    # Each step is an evaluation of the histories.
    for level in (0, 1):
        history = result.levels[level].run.history
        mine = [step for step in steps if step["level"] == level]
        known = dict(enumerate(history.loss, 1))
        before = 0 if level == 0 else 6
        assert mine
        assert all(known[step["evaluation"] - before] == step["loss"] for step in mine)
        for step in mine:
            assert np.isclose(sum(step["losses"].values()), step["loss"])
    if seen[0].memory is not None:
        assert 10 * 2**20 < steps[-1]["memory"] <= steps[-1]["peak_memory"]
    assert "trace" not in result.provenance["arguments"]


def test_without_callback_too_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    plain = fs.invert(picture(0), **QUICK, max_evaluations=3, scales=1)
    for _ in range(2):
        traced = fs.invert(picture(0), **QUICK, max_evaluations=3, scales=1, trace=str(path))
    assert np.array_equal(plain.array, traced.array)
    assert [line["event"] for line in lines_of(path)].count("begin") == 2
    assert [line["event"] for line in lines_of(path)].count("end") == 2


def test_threads_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def write(number: int) -> None:
        with TraceWriter(Trace(path, {"output": f"{number}.png"})) as writer:
            for index in range(200):
                writer.note("step", index=index, text="ä" * number * 50)
            writer.end("evaluations")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = lines_of(path)
    for number in range(8):
        mine = [line for line in lines if line["output"] == f"{number}.png"]
        assert [line["event"] for line in mine] == ["begin", *["step"] * 200, "end"]
        assert [line["index"] for line in mine[1:-1]] == list(range(200))


def test_a_run_that_fails_or_is_cut_short_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def stop(_: object) -> bool:
        return False

    fs.invert(picture(0), **QUICK, max_evaluations=9, trace=path, callback=stop)
    assert lines_of(path)[-1]["stopped"] == "cancelled"

    def fail(_: object) -> None:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        fs.invert(picture(0), **QUICK, max_evaluations=9, trace=path, callback=fail)
    last = lines_of(path)[-1]
    assert (last["event"], last["error"], last["message"]) == ("end", "RuntimeError", "no more")


@pytest.mark.parametrize("wrong", [7, "", "no/such/folder/x", ".", "a\0b"])
def test_what_is_no_file_is_refused(wrong: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fs.ObjectiveError, match="trace"):
        fs.invert(picture(0), **QUICK, max_evaluations=2, trace=wrong)


def test_a_full_disk_ends_the_trace_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with caplog.at_level(logging.WARNING, "fastsynth"):
        result = fs.invert(picture(0), **QUICK, max_evaluations=3, trace="/dev/full")
    assert result.evaluations > 0
    assert sum("the trace" in record.message for record in caplog.records) == 1


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with TraceWriter(path) as writer:
        writer.note("step", loss=float("nan"), losses={"a": float("inf")})
    assert lines_of(path)[1] == {"event": "step", "loss": None, "losses": {"a": None}}


def test_other_verbs_and_batches(folder: Path) -> None:
    image = picture(1, 40, 40)
    fs.dream(image, layer="conv2_2", octaves=1, iterations=2, weights="random:0", trace="d.jsonl")
    fs.visualize("conv2_2", 3, size=32, iterations=2, weights="random:0", trace="v.jsonl")
    fs.image_analogy(image, 255 - image, image, preset="numbers", trace="a.jsonl")
    for name, verb in (("d", "dream"), ("v", "visualize"), ("a", "image_analogy")):
        lines = lines_of(folder / f"{name}.jsonl")
        assert lines[0]["verb"] == verb
        assert [lines[0]["event"], lines[-1]["event"]] == ["begin", "end"]
        assert len(lines) > 2
    fs.batch([job(0), job(1)], defaults=DEFAULTS, trace="b.jsonl", parallel=2)
    lines = lines_of(folder / "b.jsonl")
    outputs = {line["output"] for line in lines}
    assert outputs == {str(Path("out/0.png")), str(Path("out/1.png"))}
    assert sum(line["event"] == "end" for line in lines) == 2


def test_command(folder: Path) -> None:
    words = ["invert", "0.png", "-o", "x.png", "--layers", "conv1_2", "--weights", "random:0"]
    words += ["--max-evaluations", "12", "--scales", "1", "-q", "--trace", "t.jsonl"]
    assert main(words) == 0
    events = [line["event"] for line in lines_of(folder / "t.jsonl")]
    assert events == ["begin", *["step"] * (len(events) - 2), "end"]
    assert len(events) > 4


def test_the_library_does_not_print() -> None:
    """print and sys.stdout belong to the command line; progress bars write to the error stream."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ("cli", "export"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
            if called or (isinstance(node, ast.Attribute) and node.attr == "stdout"):
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not wrong


def test_runs_are_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing on either stream, from C++ neither; what is to be said goes to logging."""
    fs.invert("0.png", **QUICK, max_evaluations=3)
    fs.invert("0.png", **QUICK, max_evaluations=3, backend="onnx")
    report = fs.batch([job(0), job(7)], defaults=DEFAULTS, parallel=2)
    assert report.count("failed") == 1
    assert capfd.readouterr() == ("", "")


def test_one_logger() -> None:
    """All messages go to "fastsynth" and loggers below it, which have no handlers of their own."""
    names = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger":
                assert isinstance(node.args[0], ast.Constant), path
                names.add(node.args[0].value)
    assert "fastsynth" in names
    assert all(name.split(".")[0] == "fastsynth" for name in names)
    assert not any(logging.getLogger(name).handlers for name in names)
