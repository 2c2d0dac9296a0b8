"""What the jobs of a batch take: counted before they run, kept to while they do."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.synthesize import batching, foreseeing
from fastsynth.synthesize.batch_work import Settings, Task, Worker
from fastsynth.synthesize.estimation import Estimate
from fastsynth.synthesize.scheduling import Schedule, at_once, need_of

ENGINE = {"weights": "random:0", "threads": 2}
SHORT = {"scales": 1, "max_evaluations": 2, "layers": "conv2_1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def jobs(*sizes: int) -> list[dict[str, Any]]:
    """An inversion of each size."""
    return [
        {
            "verb": "invert",
            "output": f"out{index}.png",
            "engine": ENGINE,
            "arguments": {"image": f"{'abc'[index % 3]}.png", "size": size, **SHORT},
        }
        for index, size in enumerate(sizes)
    ]


def settings(folder: Path, limit: int | None = None) -> Settings:
    return Settings(folder, {}, False, None, 95, None, None, limit)


def tasks_of(folder: Path, *sizes: int) -> list[Task]:
    run = batching._Batch(settings(folder), 1, None, None)
    run.items = []
    return run.plan([batching.as_row(str(i), job) for i, job in enumerate(jobs(*sizes))], {})


def test_each_kind_is_planned_once_and_counted_as_an_estimate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, rehearsed = [], foreseeing.rehearsed

    def watched(task: Task, *rest: Any) -> Any:
        planned.append(task.index)
        return rehearsed(task, *rest)

    monkeypatch.setattr(foreseeing, "rehearsed", watched)
    tasks = tasks_of(folder, 96, 64, 96, 64, 96)
    with fs.Synthesizer(**ENGINE) as synthesizer:
        found, shared = foreseeing.foreseen(tasks, synthesizer, settings(folder))
        whole = fs.estimate(synthesizer.invert, folder / "a.png", size=96, **SHORT)
    assert sorted(planned) == [0, 1]
    own = {task.pixels: task.memory for task in found}
    assert len(own) == 2
    large, small = own[96 * 64], own[min(own)]
    assert large is not None
    assert small is not None
    assert 0 < small < large
    assert large + shared == pytest.approx(whole.memory, rel=0.1)
    assert [need_of(task) for task in found] == [task.memory for task in found]


def test_what_is_wrong_is_left_to_its_turn(folder: Path) -> None:
    tasks = tasks_of(folder, 96)
    tasks[0].arguments["layers"] = "conv9_9"
    with fs.Synthesizer(**ENGINE) as synthesizer:
        found, _ = foreseeing.foreseen(tasks, synthesizer, settings(folder))
    assert found[0].memory is None
    assert need_of(found[0]) > 0


def test_pictures_of_other_sizes_are_another_kind(folder: Path) -> None:
    """A texture of a large exemplar takes more than one of a small, whatever the output's size."""
    pixels = np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "large.png")
    rows = [
        {
            "verb": "synthesize_texture",
            "output": f"out{index}.png",
            "engine": ENGINE,
            "arguments": {"exemplar": name, "size": [64, 64], **SHORT},
        }
        for index, name in enumerate(("a.png", "large.png", "b.png", "missing.png"))
    ]
    given = settings(folder)
    run = batching._Batch(given, 1, None, None)
    run.items = []
    tasks = run.plan([batching.as_row(str(i), row) for i, row in enumerate(rows)], {})
    with fs.Synthesizer(**ENGINE) as synthesizer:
        found, _ = foreseeing.foreseen(tasks, synthesizer, given)
    small, large, same, missing = (t.memory for t in sorted(found, key=lambda t: t.index))
    assert small is not None
    assert large is not None
    assert large > 3 * small
    assert same == small
    assert missing is None


def test_a_broken_picture_is_not_held_against_its_kind(folder: Path) -> None:
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    given = settings(folder)
    tasks = tasks_of(folder, 96, 96)
    with fs.Synthesizer(**ENGINE) as synthesizer:
        found, _ = foreseeing.foreseen(tasks, synthesizer, given)
        estimates = foreseeing.tried(tasks, synthesizer, given)
    assert found[1].memory is not None
    assert isinstance(estimates[0], fs.ImageError)
    assert isinstance(estimates[1], Estimate)


def test_lanes_that_would_only_wait_are_not_opened(folder: Path) -> None:
    tasks = [Task(i, "invert", {}, {}, folder / f"{i}.png", 64, 100 << 20) for i in range(4)]
    assert at_once(4, 2, tasks, 130 << 20) == 1  # four fifths: one at a time, with all threads
    assert at_once(4, 2, tasks, 260 << 20) == 2
    assert at_once(2, 2, tasks, 10 << 20) == 1
    assert at_once(3, 2, tasks, None) == 3


def test_the_schedule_keeps_to_what_was_foreseen(folder: Path) -> None:
    tasks = [Task(i, "invert", {}, {}, folder / f"{i}.png", 64, 100 << 20) for i in range(3)]
    schedule = Schedule(tasks, memory=210 << 20)
    assert schedule.take() is not None
    assert schedule.take() is not None
    assert schedule.take() is None
    assert at_once("auto", 8, tasks, 260 << 20) == 2


@pytest.mark.usefixtures("alone")
def test_a_limit_bounds_how_many_run_at_a_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for all, two run side by side; with room for one, none; the pictures are equal."""
    lock, most, now = threading.Lock(), [0], [0]
    make = Worker.make

    def counted(self: Worker, *arguments: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return make(self, *arguments)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(Worker, "make", counted)
    need = 0
    with fs.Synthesizer(**ENGINE) as synthesizer:
        (task, *_), shared = foreseeing.foreseen(
            tasks_of(folder, 192), synthesizer, settings(folder)
        )
        assert task.memory is not None
        need = task.memory
    monkeypatch.setattr(batching, "memory_in_use", lambda: 0)
    made = {}
    for name, limit in (("two", shared + 3 * need), ("one", shared + need + need // 2)):
        most[0] = 0
        report = fs.batch(
            jobs(192, 192, 192, 192), base=folder, parallel=2, memory_limit=limit, again=True
        )
        assert report.exit_code == 0, [item.message for item in report.items]
        made[name] = [np.asarray(Image.open(folder / f"out{i}.png")) for i in range(4)]
        assert most[0] == (2 if name == "two" else 1)
    for first, second in zip(made["one"], made["two"], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("alone")
def test_a_job_beyond_the_limit_fails_alone(folder: Path) -> None:
    given = jobs(64, 4096)
    given[1]["arguments"]["optimizer"] = "lbfgs"
    report = fs.batch(given, base=folder, memory_limit="400MiB")
    assert [item.status for item in report.items] == ["done", "failed"]
    assert report.items[1].error == "MemoryLimitError"
    with pytest.raises(fs.ObjectiveError, match="memory_limit must be"):
        fs.batch(given, base=folder, memory_limit="much")


def test_an_estimate_of_a_batch_tells_what_would_fail_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = jobs(64, 64, 64, 64)
    given[0]["output"] = "new/folder/out.png"
    given[1]["arguments"]["image"] = "missing.png"
    given[2]["engine"] = {"weights": "nowhere.npz"}
    given[3]["output"] = 7
    manifest = folder / "jobs.jsonl"
    manifest.write_text("\n".join(json.dumps(job) for job in given))
    before = sorted(folder.rglob("*"))
    assert main(["batch", str(manifest), "--estimate"]) == 1
    said = capsys.readouterr()
    assert "1 job with a network: about" in said.out
    lines = said.err.strip().splitlines()
    assert len(lines) == 3
    for line, words in zip(
        lines, ("line 2 (out1.png): missing", "line 3 (out2.png): no weights", "line 4: the job's"),
        strict=True,
    ):  # fmt: skip
        assert words in line
    assert sorted(folder.rglob("*")) == before
    manifest.write_text(json.dumps(given[0]))
    assert main(["batch", str(manifest), "--estimate", "--memory-limit", "100MiB"]) == 1
    said = capsys.readouterr()
    assert "0 jobs with a network" in said.out
    assert "need about" in said.err


def test_estimates_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = folder / "jobs.csv"
    manifest.write_text(
        "output,image,size\none.png,a.png,64\ntwo.png,b.png,64\nthree.png,missing.png,64\n"
    )
    defaults = folder / "defaults.toml"
    defaults.write_text(
        'verb = "invert"\n[engine]\nweights = "random:0"\n[arguments]\n'
        'layers = "conv2_1"\nscales = 1\nmax_evaluations = 3\n'
    )
    assert main(["batch", str(manifest), "--defaults", str(defaults), "--estimate"]) == 1
    said = capsys.readouterr()
    assert "2 jobs with a network: about" in said.out
    assert "missing.png is not there" in said.err
    job = folder / "job.toml"
    job.write_text(
        'verb = "invert"\noutput = "made.png"\n[engine]\nweights = "random:0"\n[arguments]\n'
        'image = "a.png"\nlayers = "conv2_1"\nscales = 1\nmax_evaluations = 3\n'
    )
    assert main(["run", str(job), "--estimate"]) == 0
    assert "of memory" in capsys.readouterr().out
    assert not (folder / "made.png").exists()
    assert main(["run", str(job), "-q"]) == 0
    again = ["replay", str(folder / "made.png"), "-o", str(folder / "again.png"), "--estimate"]
    assert main(again) == 0
    assert "of memory" in capsys.readouterr().out
    assert not (folder / "again.png").exists()
    job.write_text('verb = "pattern"\noutput = "made.png"\n[arguments]\nkind = "rule"\n')
    assert main(["run", str(job), "--estimate"]) != 0
    assert "no estimate for 'pattern'" in capsys.readouterr().err
