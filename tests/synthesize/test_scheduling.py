"""Several jobs at a time: which comes next, how many at once, the same pictures as alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.synthesize.batch_work import Settings, Task, key_of
from fastsynth.synthesize.cluster import RayWorker, layout
from fastsynth.synthesize.scheduling import Schedule, at_once, memory_of, output_pixels

from .test_batch import DEFAULTS, ENGINE, ENV, QUICK, command, folder, job, statuses
from .test_verbs import picture

__all__ = ["folder"]  # the fixture

GIB = 2**30


def task(index: int, *, pixels: int = 0, **engine: Any) -> Task:
    return Task(index, "invert", engine, {}, Path(f"{index}.png"), pixels)


def test_tasks_come_in_order_and_once() -> None:
    tasks = [task(index) for index in range(5)]
    schedule, seen = Schedule(tasks), []
    while schedule:
        taken = schedule.take()
        assert taken is not None
        seen.append(taken.index)
        schedule.done(taken)
    assert seen == list(range(5))
    assert schedule.take() is None


def test_lost_tasks_come_next_until_it_is_enough() -> None:
    schedule = Schedule([task(0), task(1)], attempts=3)
    for attempt in range(1, 4):
        taken = schedule.take()
        assert taken is not None
        assert (taken.index, schedule.tried(taken)) == (0, attempt)
        assert schedule.lost(taken) is (attempt < 3)
    last = schedule.take()
    assert last is not None
    assert last.index == 1
    schedule.done(last)
    assert not schedule


def test_nothing_is_lost_or_done_twice_however_workers_die() -> None:
    """Random deaths: each task ends once, done or given up after three."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 12))
        schedule = Schedule([task(index) for index in range(count)])
        working: list[Task] = []
        ended: list[int] = []
        while schedule:
            if len(working) < 3 and (taken := schedule.take()) is not None:
                working.append(taken)
                continue
            taken = working.pop(int(rng.integers(len(working))))
            if rng.random() < 0.5 and schedule.lost(taken):
                continue
            if taken.index in schedule.working:
                schedule.done(taken)
            ended.append(taken.index)
        assert sorted(ended) == list(range(count))


def test_loaded_networks_are_preferred() -> None:
    schedule = Schedule([task(0, weights="a"), task(1, weights="b"), task(2, weights="a")])
    taken = [schedule.take(key_of({"weights": "b"})), schedule.take(key_of({"weights": "b"}))]
    assert [t.index for t in taken if t] == [1, 0]


def test_memory_bounds_what_is_in_work() -> None:
    small, large = memory_of(0, {}), memory_of(4000 * 4000, {})
    tasks = [task(0), task(1), task(2, pixels=4000 * 4000), task(3)]
    schedule = Schedule(tasks, memory=2 * small + 1)
    first, second = schedule.take(), schedule.take()
    assert first
    assert second
    assert schedule.take() is None  # too large beside others, and none overtakes it
    schedule.done(first)
    assert schedule.take() is None
    schedule.done(second)
    third = schedule.take()  # alone, although it is larger than the limit
    assert third is not None
    assert third.index == 2
    assert large > 2 * small + 1
    assert schedule.take() is None


def test_how_many_at_once() -> None:
    tasks = [task(index, pixels=1024 * 1024) for index in range(6)]
    each = memory_of(1024 * 1024, {})
    assert at_once("auto", 4, tasks, 100 * GIB) == 4
    assert at_once("auto", 16, tasks, 100 * GIB) == 6
    assert at_once("auto", 4, tasks, 3 * each) == 2  # 0.8 of it may be used
    assert at_once("auto", 4, tasks, each // 2) == 1
    assert at_once("auto", 4, tasks, None) == 1
    assert at_once(3, 1, tasks, None) == 3
    for backend in ("onnx", "step"):
        assert memory_of(1024 * 1024, {"backend": backend}) > each
    for wrong in (0, -1, 1.5, True, "many", 10**6):
        with pytest.raises(fs.ObjectiveError, match="parallel"):
            fs.batch([], parallel=wrong)  # type: ignore[arg-type]


def test_output_sizes(folder: Path) -> None:
    def pixels(**arguments: Any) -> int:
        return output_pixels({"image": "0.png", **arguments}, folder)[0]  # 32 × 24

    assert pixels() == 32 * 24
    assert pixels(size=64) == 64 * 48
    assert pixels(size=[100, 50]) == 5000
    assert pixels(image="missing.png") == 0
    assert pixels(size="large") == 32 * 24


def test_layout_of_a_cluster() -> None:
    """What `ray.nodes()` tells, and the workers that fit."""

    def node(cores: int, memory: float, **more: float) -> dict[str, Any]:
        return {"Alive": True, "Resources": {"CPU": float(cores), "memory": memory, **more}}

    tasks = [task(index, pixels=512 * 512) for index in range(100)]
    need = layout([node(1, 100 * GIB)], tasks, "auto")[2]["memory"]
    assert need > memory_of(512 * 512, {})
    threads, count, demands = layout([node(8, 100 * GIB), node(8, 100 * GIB)], tasks, "auto")
    assert (threads, count, demands["num_cpus"]) == (1, 16, 1)
    # Memory for two: they share the processors.
    assert layout([node(8, 2.5 * need)], tasks, "auto")[:2] == (4, 2)
    assert layout([node(8, 100 * GIB)], tasks[:3], "auto")[:2] == (1, 3)
    assert layout([node(8, 100 * GIB)], tasks, 5)[1] == 5
    given = [task(index, threads=4) for index in range(9)]
    assert layout([node(8, 100 * GIB), node(6, 100 * GIB)], given, "auto")[:2] == (4, 3)
    on_gpu = [task(index, device="cuda") for index in range(9)]
    threads, count, demands = layout([node(8, 100 * GIB, GPU=2.0)], on_gpu, "auto")
    assert (count, demands["num_gpus"]) == (2, 1)
    dead = {**node(8, 100 * GIB), "Alive": False}
    for nodes, jobs in (([dead], tasks), ([node(8, 1.0)], tasks), ([node(8, 100 * GIB)], on_gpu)):
        with pytest.raises(fs.DeviceError, match="no machine of the Ray cluster has room"):
            layout(nodes, jobs, "auto")


def test_what_a_worker_does(folder: Path) -> None:
    """The class of the Ray actor, without Ray: its network changes with the task's."""
    (folder / "out").mkdir()
    settings = Settings(folder, {}, False, None, 95, None)
    worker = RayWorker(settings)
    assert worker.version() == fs.__version__
    arguments = {"image": "0.png", **QUICK}
    good = Task(0, "invert", ENGINE, arguments, folder / "out" / "0.png")
    assert worker.attempt(good, 1).status == "done"
    loaded = worker.synthesizer
    assert worker.attempt(good, 1).status == "skipped"
    assert worker.synthesizer is loaded
    wrong = Task(1, "invert", {"weights": "no.such"}, arguments, folder / "out" / "1.png")
    outcome = worker.attempt(wrong, 1)
    assert (outcome.status, outcome.error) == ("failed", "WeightsError")
    other = Task(2, "invert", {"weights": "random:1"}, arguments, folder / "out" / "2.png")
    assert worker.attempt(other, 1).status == "done"
    worker.stop()
    last = Task(3, "invert", ENGINE, arguments, folder / "out" / "3.png")
    assert worker.attempt(last, 1).status == "stopped"
    assert not last.output.exists()
    worker.close()


def test_without_ray_it_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(fs.DeviceError, match=r"pip install 'fastsynth\[ray\]'"):
        fs.batch([job(0)], defaults=DEFAULTS, ray="auto")


@pytest.mark.parametrize("parallel", [3, "auto"])
def test_pictures_are_those_of_one_by_one(folder: Path, parallel: int | str) -> None:
    pattern = {
        "verb": "pattern",
        "output": "out/p.png",
        "arguments": {"name": "mandelbrot", "size": 32},
    }
    jobs = [{**job(i % 3, seed=i), "output": f"out/{i}.png"} for i in range(7)]
    jobs += [pattern, {**job(0), "output": "out/m.png", "arguments": {"image": "missing.png"}}]
    first = fs.batch(jobs, defaults=DEFAULTS)
    assert statuses(first) == ["done"] * 8 + ["failed"]

    def pixels() -> dict[str, np.ndarray]:
        paths = (folder / "out").glob("*.png")
        return {path.name: np.asarray(Image.open(path)) for path in paths}

    wanted = pixels()
    told: list[str] = []
    again = fs.batch(
        jobs,
        defaults=DEFAULTS,
        parallel=parallel,
        again=True,
        callback=lambda item: told.append(item.place),
    )
    assert statuses(again) == statuses(first)
    assert sorted(told) == sorted(item.place for item in first.items)
    found = pixels()
    assert sorted(found) == sorted(wanted)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert statuses(fs.batch(jobs, defaults=DEFAULTS, parallel=parallel)).count("skipped") == 8


def test_parallel_batch_is_cut_short(folder: Path) -> None:
    jobs = [{**job(i % 3, seed=i), "output": f"out/{i}.png"} for i in range(12)]
    report = fs.batch(jobs, defaults=DEFAULTS, parallel=3, callback=lambda _: False)
    assert report.interrupted
    assert 1 <= report.count("done") <= 3
    assert report.count("waiting") == 12 - report.count("done")
    with pytest.raises(ZeroDivisionError):
        fs.batch(jobs, defaults=DEFAULTS, parallel=3, callback=lambda _: 1 / 0)  # type: ignore[arg-type]
    assert statuses(fs.batch(jobs, defaults=DEFAULTS, parallel=3)).count("failed") == 0


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_of_a_parallel_batch(folder: Path) -> None:
    words = [*command(folder, 200), "--jobs", "2"]
    process = subprocess.Popen(words, cwd=folder, env=ENV, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(folder.glob("out/*.png")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    report = json.loads((folder / "r.json").read_text())
    assert (report["interrupted"], report["failed"]) == (True, 0)
    assert report["done"] + report["waiting"] == 200


def test_command_takes_a_number_of_jobs(folder: Path) -> None:
    (folder / "jobs.jsonl").write_text(
        "\n".join(json.dumps(line) for line in [{"defaults": DEFAULTS}, job(0), job(1)])
    )
    assert main(["batch", "jobs.jsonl", "-q", "--jobs", "auto"]) == 0
    assert main(["batch", "jobs.jsonl", "-q", "--jobs", "2"]) == 0
    assert main(["batch", "jobs.jsonl", "-q", "--jobs", "0"]) == 1
    with pytest.raises(SystemExit):
        main(["batch", "jobs.jsonl", "-q", "--jobs", "some"])


def test_stylizer(folder: Path) -> None:
    settings: dict[str, Any] = {"layers": "conv1_2", "max_evaluations": 3, "scales": 1}
    stylize = fs.Stylizer("invert", settings, engine=ENGINE, output="made", errors="error")
    pictures = np.stack([picture(index, 24, 32) for index in range(3)])
    found = stylize({"image": pictures, "name": np.array(["a", "b", "c"])})
    assert sorted(found) == ["error", "image", "made", "name"]
    for index in range(3):
        alone = fs.invert(pictures[index], **settings, **ENGINE)
        assert np.array_equal(found["made"][index], alone.array)
    paths = np.array([str(folder / "0.png"), str(folder / "missing.png"), str(folder / "2.png")])
    found = stylize({"image": paths})
    assert [made.shape for made in found["made"]] == [(24, 32, 3), (1, 1, 3), (20, 20, 3)]
    assert [bool(text) for text in found["error"]] == [False, True, False]
    strict = fs.Stylizer("invert", settings, engine=ENGINE)
    with pytest.raises(fs.ImageError, match="missing"):
        strict({"image": paths})
    with pytest.raises(fs.ObjectiveError, match="no column 'image'"):
        strict({"picture": paths})
    for wrong in ({"verb": "mix"}, {"arguments": {"content": "a"}}, {"engine": {"speed": 1}}):
        with pytest.raises(fs.ObjectiveError):
            fs.Stylizer(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_workers_on_cards_ask_for_them(device: str) -> None:
    resources = {"CPU": 8.0, "memory": 64 * GIB, "GPU": 2.0}
    nodes = [{"Alive": True, "Resources": resources}]
    tasks = [task(index, device=device) for index in range(4)]
    _, count, demands = layout(nodes, tasks, "auto")
    assert (count, demands["num_gpus"]) == (2, 1)
    del resources["GPU"]
    with pytest.raises(fs.DeviceError, match="a GPU"):
        layout(nodes, tasks, "auto")
    assert "num_gpus" not in layout(nodes, [task(0, device="openvino")], "auto")[2]
