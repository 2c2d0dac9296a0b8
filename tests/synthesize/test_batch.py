"""Batches: every form of manifest, what fails alone, what is skipped, what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.image import read_metadata
from fastsynth.synthesize import BatchReport
from fastsynth.synthesize.batch_work import Settings, Task, Worker
from fastsynth.synthesize.manifest import from_cells, merged, read_manifest

from .test_verbs import picture

QUICK: dict[str, Any] = {"layers": "conv1_2", "max_evaluations": 3, "scales": 1}
ENGINE = {"weights": "random:0"}
DEFAULTS: dict[str, Any] = {"verb": "invert", "engine": ENGINE, "arguments": QUICK}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        size = (24, 32) if index < 2 else (20, 20)
        Image.fromarray(picture(index, *size)).save(tmp_path / f"{index}.png")
    return tmp_path


def job(number: int, **arguments: Any) -> dict[str, Any]:
    return {"output": f"out/{number}.png", "arguments": {"image": f"{number}.png", **arguments}}


def statuses(report: BatchReport) -> list[str]:
    return [item.status for item in report.items]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}


def test_outputs_are_those_of_single_runs(folder: Path) -> None:
    pattern = {
        "verb": "pattern",
        "output": "out/p.png",
        "arguments": {"name": "mandelbrot", "size": 32},
    }
    report = fs.batch([job(0), job(1), pattern, job(2)], defaults=DEFAULTS)
    assert statuses(report) == ["done"] * 4, report.items
    assert report.exit_code == 0
    for number in range(3):
        alone = fs.invert(folder / f"{number}.png", **QUICK, **ENGINE)
        found = np.asarray(Image.open(folder / "out" / f"{number}.png"))
        assert np.array_equal(found, alone.array)
    assert sorted(files(folder)) == ["0.png", "1.png", "2.png", "p.png"]
    # Pictures of a batch are made again bit for bit, the batch's mark included.
    for name in ("1.png", "p.png"):
        fs.replay(folder / "out" / name).save(folder / "again.png")
        assert (folder / "again.png").read_bytes() == (folder / "out" / name).read_bytes()


def test_forms_of_manifests_say_the_same(folder: Path) -> None:
    (folder / "a.csv").write_text(
        "verb,output,image,layers,max_evaluations,arguments.scales,engine.weights\n"
        "invert,out/0.png,0.png,conv1_2,3,1,random:0\n\n"
        "invert,out/2.png,2.png,conv1_2,3,1,random:0\n",
        encoding="utf-8-sig",
    )
    lines = [{"defaults": DEFAULTS}, job(0), job(2)]
    (folder / "b.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (folder / "c.toml").write_text(
        '[defaults]\nverb = "invert"\nengine.weights = "random:0"\n'
        'arguments = {layers = "conv1_2", max_evaluations = 3, scales = 1}\n'
        '[[jobs]]\noutput = "out/0.png"\narguments.image = "0.png"\n'
        '[[jobs]]\noutput = "out/2.png"\narguments.image = "2.png"\n'
    )
    assert statuses(fs.batch("a.csv")) == ["done", "done"]
    made = files(folder)
    for name in ("a.csv", "b.jsonl", "c.toml"):
        assert statuses(fs.batch(name)) == ["skipped", "skipped"], name
    assert statuses(fs.batch("c.toml", again=True)) == ["done", "done"]
    assert files(folder) == made


def test_cells() -> None:
    job = from_cells(
        {
            "verb": "mix",
            "output": "7.png",
            "images": '{"a.png": 0.5, "b.png": 0.5}',
            "init": "noise",
            "layers": "conv1_1",
            "size": "[32, 24]",
            "smoothness": "",
            "threads": "2",
            "arguments.seed": "7",
        }
    )
    assert job == {
        "verb": "mix",
        "output": "7.png",
        "arguments": {
            "images": {"a.png": 0.5, "b.png": 0.5},
            "init": "noise",
            "layers": "conv1_1",
            "size": [32, 24],
            "seed": 7,
        },
        "engine": {"threads": 2},
    }
    assert merged({"verb": "mix", "engine": {"threads": 1, "device": "cpu"}}, job)["engine"] == {
        "threads": 2,
        "device": "cpu",
    }


def test_what_is_wrong_fails_alone(folder: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    lines = [
        json.dumps({"defaults": DEFAULTS}),
        json.dumps(job(0)),
        "{no json",
        "[1, 2]",
        json.dumps({**job(1), "verb": "dance"}),
        json.dumps({**job(1), "output": "out/./0.png"}),
        json.dumps({"arguments": {"image": "0.png"}}),
        json.dumps({**job(1), "output": "out/1.gif"}),
        json.dumps({"output": "out/m.png", "arguments": {"image": "missing.png"}}),
        json.dumps({"output": "out/b.png", "arguments": {"image": "broken.png"}}),
        json.dumps({"output": "out/r.png", "arguments": {"image": "out/0.png"}}),
        json.dumps({**job(1), "output": "out/u.png", "arguments": {"image": "1.png", "colour": 3}}),
        json.dumps({**job(1), "output": "out/w.png", "engine": {"weights": "no.such"}}),
        json.dumps({**job(1), "output": "out/e.png", "engine": {"speed": 3}}),
        json.dumps({**job(1, layers="conv9_9"), "output": "out/l.png"}),
        json.dumps({**job(1), "output": "0.png/x.png"}),
        json.dumps(job(2)),
    ]
    (folder / "jobs.jsonl").write_text("\n".join(lines))
    report = fs.batch("jobs.jsonl")
    assert statuses(report) == ["done", *["failed"] * 14, "done"]
    assert report.exit_code == 1
    said = [(item.place, item.error, item.message) for item in report.items[1:-1]]
    expected = [
        ("line 3", "ObjectiveError", "not JSON"),
        ("line 4", "ObjectiveError", "must be a table"),
        ("line 5", "ObjectiveError", "not 'dance'"),
        ("line 6", "ObjectiveError", "line 2 writes"),
        ("line 7", "ObjectiveError", "output must be"),
        ("line 8", "ImageError", "suffix"),
        ("line 9", "ImageError", "missing.png is not there"),
        ("line 10", "ImageError", "broken.png"),
        ("line 11", "ObjectiveError", "reads what line 2 writes"),
        ("line 12", "ObjectiveError", "colour"),
        ("line 13", "WeightsError", "no.such"),
        ("line 14", "ObjectiveError", "'speed'"),
        ("line 15", "NetworkError", "conv9_9"),
        ("line 16", "ImageError", "cannot be made"),
    ]
    for (place, kind, message), wanted in zip(said, expected, strict=True):
        assert (place, kind) == wanted[:2], message
        assert wanted[2] in message
    assert sorted(files(folder)) == ["0.png", "2.png"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.csv", None, "cannot be read"),
        ("a.txt", b"", "suffix"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.csv", b"verb,verb\nx,y", "each column once"),
        ("a.csv", b'verb,output\n"x', "not CSV"),
        ("a.toml", b"jobs = 3", "jobs"),
        ("a.toml", b"[[", "not valid TOML"),
        ("a.toml", b"[[jobs]]\n[other]", "'other'"),
    ],
)
def test_no_manifest(folder: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(fs.ObjectiveError, match=said):
        fs.batch(name)
    assert main(["batch", name, "-q"]) == 1


def test_too_many_cells(folder: Path) -> None:
    (folder / "a.csv").write_text("verb,output\ninvert,a.png,7\n")
    rows, _ = read_manifest("a.csv")
    assert [(row.place, row.error) for row in rows] == [("line 2", "3 cells for 2 columns")]


def test_other_weights_of_another_network_are_another_job(folder: Path) -> None:
    settings = Settings(folder, {}, False, None, 95, None)
    pairs = [["0.png", 1.0], ["1.png", 1.0]]

    def digest(checksum: str, networks: list[str]) -> str:
        engine = dict.fromkeys(("network", "pooling", "backend", "device", "precision"), "")
        sets = {"vgg16": SimpleNamespace(sha256="a"), "vgg19": SimpleNamespace(sha256=checksum)}
        stand_in: Any = SimpleNamespace(
            weights=sets["vgg16"], weights_of=sets.__getitem__, **engine
        )
        arguments = {"images": pairs, "networks": networks}
        return Worker(settings).digest(Task(0, "mix", {}, arguments, folder / "m.png"), stand_in)

    both = ["vgg16", "vgg19"]
    assert digest("b", both) == digest("b", both) != digest("c", both)
    assert digest("b", ["vgg16"]) == digest("c", ["vgg16"])


def test_skipped_only_when_whole_and_the_same(folder: Path) -> None:
    jobs = [job(0), job(1)]

    def again(**more: Any) -> list[str]:
        return statuses(fs.batch(jobs, defaults=DEFAULTS, **more))

    assert again() == ["done", "done"]
    wanted = files(folder)
    out = folder / "out" / "1.png"
    for spoil in (
        lambda: out.write_bytes(wanted["1.png"][:-30]),
        lambda: out.write_bytes(b""),
        out.unlink,
        lambda: Image.fromarray(picture(1, 24, 32)).save(out),  # without a record
        lambda: fs.invert(folder / "1.png", **QUICK, **ENGINE).save(out),  # not of a batch
        lambda: out.write_bytes(wanted["0.png"]),
    ):
        spoil()
        assert again() == ["skipped", "done"]
        assert files(folder) == wanted
    # An input that changed, another argument, other weights, another form of file.
    Image.fromarray(picture(5, 24, 32)).save(folder / "1.png")
    assert again() == ["skipped", "done"]
    jobs[0] = job(0, seed=3)
    assert again() == ["done", "skipped"]
    assert again(bit_depth=16) == ["done", "done"]
    other = {**DEFAULTS, "engine": {"weights": "random:1"}}
    assert statuses(fs.batch(jobs, defaults=other)) == ["done", "done"]
    assert (read_metadata(out) or {})["engine"]["weights"]["id"] == "random:1"


def test_checkpoint_of_a_finished_output_goes(folder: Path) -> None:
    """A kill may come when the picture is written and its checkpoint not yet removed."""
    assert statuses(fs.batch([job(0)], defaults=DEFAULTS, checkpoints=True)) == ["done"]
    left = [folder / "out" / f"0.png.checkpoint{end}" for end in ("", ".part", ".1")]
    for path in left:
        path.write_bytes(b"")
    assert statuses(fs.batch([job(0)], defaults=DEFAULTS, checkpoints=True)) == ["skipped"]
    assert list(files(folder)) == ["0.png"]


def test_one_network_for_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, order = [], []
    begin = fs.Synthesizer.__init__

    def counted(self: fs.Synthesizer, *args: Any, **engine: Any) -> None:
        opened.append(engine)
        begin(self, *args, **engine)

    monkeypatch.setattr(fs.Synthesizer, "__init__", counted)
    jobs = [{**job(i % 3), "output": f"{i}x.png"} for i in range(6)]
    jobs[4]["engine"] = {"weights": "random:1"}
    report = fs.batch(jobs, defaults=DEFAULTS, callback=lambda item: order.append(item.output))
    assert statuses(report) == ["done"] * 6
    assert sorted(engine["weights"] for engine in opened) == ["random:0", "random:1"]
    # Same sizes one after another: 0.png and 1.png have one, 2.png another.
    sizes = [order[i][0] in "25" for i in range(5)]
    assert order[5] == "4x.png"
    assert sizes == sorted(sizes) or sizes == sorted(sizes, reverse=True)


def test_cut_short_by_callback_and_flag(folder: Path) -> None:
    jobs = [job(0), job(1), job(2)]
    report = fs.batch(jobs, defaults=DEFAULTS, callback=lambda _: False)
    assert sorted(statuses(report)) == ["done", "waiting", "waiting"]
    assert (report.exit_code, report.interrupted) == (130, True)
    flag = fs.Cancel()
    flag.set()
    assert "done" not in statuses(fs.batch(jobs, defaults=DEFAULTS, cancel=flag))
    assert statuses(fs.batch(jobs, defaults=DEFAULTS)).count("skipped") == 1


def test_array_inputs(folder: Path) -> None:
    jobs = [{"output": "a.png", "arguments": {"image": "given"}}]
    for seed, status in ((0, "done"), (0, "skipped"), (1, "done")):
        inputs = {"given": picture(seed, 24, 32)}
        assert statuses(fs.batch(jobs, defaults=DEFAULTS, inputs=inputs)) == [status]


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "defaults.toml").write_text(
        'verb = "invert"\nengine.weights = "random:0"\n'
        'arguments = {layers = "conv1_2", max_evaluations = 3, scales = 1}\n'
    )
    (folder / "jobs.csv").write_text("output,image\na.png,0.png\nb.jpg,missing.png\n")
    words = ["batch", "jobs.csv", "--defaults", "defaults.toml", "--report", "r.json"]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "line 3 (b.jpg): missing.png is not there" in told
    assert "1 done, 1 failed" in told
    report = json.loads((folder / "r.json").read_text())
    assert (report["done"], report["failed"], report["waiting"]) == (1, 1, 0)
    assert [item["status"] for item in report["items"]] == ["done", "failed"]
    assert report["items"][1]["error"] == "ImageError"
    Image.fromarray(picture(0)).save(folder / "missing.png")
    assert main([*words, "-q"]) == 0


def command(folder: Path, count: int) -> list[str]:
    lines = [{"defaults": {**DEFAULTS, "arguments": {**QUICK, "max_evaluations": 12}}}]
    lines += [{**job(i % 3, seed=i), "output": f"out/{i}.png"} for i in range(count)]
    (folder / "jobs.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return [sys.executable, "-m", "fastsynth", "batch", "jobs.jsonl", "-q", "--report", "r.json"]


ENV = {**os.environ, "PYTHONPATH": str(Path(fs.__file__).parents[1])}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_batch_goes_on(folder: Path) -> None:
    count = 30
    words = [*command(folder, count), "--checkpoints"]
    rng, done = np.random.default_rng(3), 0
    (folder / "out").mkdir()
    for _ in range(3):
        process = subprocess.Popen(words, cwd=folder, env=ENV)
        deadline = time.monotonic() + 60
        while len(list((folder / "out").glob("[0-9]*.png"))) <= done:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(float(rng.random()) * 0.1)
        process.kill()
        process.wait()
        before = files(folder)
        done = sum(name.endswith(".png") for name in before)
    kept = {name: data for name, data in before.items() if name[0] != "."}
    subprocess.run(words, cwd=folder, env=ENV, check=True)
    report = json.loads((folder / "r.json").read_text())
    assert (report["done"] + report["skipped"], report["skipped"]) == (count, done)
    after = {name: data for name, data in files(folder).items() if name[0] != "."}
    assert sorted(after) == sorted(f"{i}.png" for i in range(count))
    assert all(after[name] == kept[name] for name in kept if name.endswith(".png"))
    last = fs.batch("jobs.jsonl", again=True)
    assert statuses(last) == ["done"] * count
    assert {name: data for name, data in files(folder).items() if name[0] != "."} == after


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c(folder: Path) -> None:
    words = command(folder, 200)
    process = subprocess.Popen(words, cwd=folder, env=ENV, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(folder.glob("out/*.png")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    report = json.loads((folder / "r.json").read_text())
    assert report["interrupted"] is True
    assert report["failed"] == 0
    assert report["done"] + report["waiting"] == 200
    # The signal may come between the writing of a picture and its note.
    assert 0 <= len(list(folder.glob("out/*.png"))) - report["done"] <= 1
