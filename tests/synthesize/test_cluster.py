"""Batches and data sets on a Ray cluster of several worker processes; opt-in: make cluster-test."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.synthesize import BatchItem

from .test_batch import DEFAULTS, ENGINE, QUICK, folder, job, statuses
from .test_verbs import picture

ray = pytest.importorskip("ray", reason="needs ray: pip install 'fastsynth[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

__all__ = ["folder"]  # the fixture

WORKERS = 3
SLOW = {"layers": "conv2_2", "max_evaluations": 60, "scales": 1, "plateau": 0.0, "size": 48}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Three processors that Ray believes in, on however many there are."""
    package = str(Path(fs.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local", num_cpus=WORKERS, include_dashboard=False, _memory=16 << 30,
            log_to_driver=False,
        )  # fmt: skip
    yield
    ray.shutdown()


def workers() -> list[int]:
    """Processes of the cluster's workers that this process started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if not (entry / "cmdline").read_bytes().startswith(b"ray::RayWorker"):
                continue
            process = int(entry.name)
            parent = process
            while parent > 1 and parent != os.getpid():
                text = Path(f"/proc/{parent}/stat").read_text()
                parent = int(text.rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if parent == os.getpid():
            found.append(process)
    return found


def pixels(folder: Path) -> dict[str, np.ndarray]:
    paths = (folder / "out").glob("*.png")
    return {path.name: np.asarray(Image.open(path)) for path in paths}


def test_a_batch_is_that_of_one_process(folder: Path) -> None:
    jobs: list[dict[str, Any]] = [
        {**job(i % 3, seed=i), "output": f"out/{i}.png"} for i in range(8)
    ]
    jobs[5]["engine"] = {"weights": "random:1"}
    jobs.append({**job(0), "output": "out/m.png", "arguments": {"image": "missing.png"}})
    jobs.append(
        {"verb": "pattern", "output": "p.png", "arguments": {"name": "mandelbrot", "size": 32}}
    )
    alone = fs.batch(jobs, defaults=DEFAULTS)
    wanted = pixels(folder)
    trace = folder / "trace.jsonl"
    told: list[BatchItem] = []
    report = fs.batch(
        jobs, defaults=DEFAULTS, ray="auto", again=True, callback=told.append, trace=trace
    )
    assert statuses(report) == statuses(alone) == ["done"] * 8 + ["failed", "done"]
    assert report.items[8].error == "ImageError"
    assert len(told) == len(jobs)
    found = pixels(folder)
    assert sorted(found) == sorted(wanted)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    lines = [line for path in folder.glob("trace*.jsonl") for line in path.read_text().split("\n")]
    assert sum('"event": "end"' in line for line in lines) == 8  # those with a network
    assert statuses(fs.batch(jobs, defaults=DEFAULTS, ray="auto")).count("skipped") == 9


def test_killed_workers_are_replaced(folder: Path) -> None:
    """Each finished job may cost a worker its life; nothing is lost, nothing is done twice."""
    jobs = [
        {"output": f"out/{i}.png", "arguments": {**SLOW, "image": f"{i % 2}.png", "seed": i}}
        for i in range(10)
    ]
    defaults = {"verb": "invert", "engine": ENGINE}
    killed, made = [], {}

    def kill(item: BatchItem) -> None:
        path = folder / item.output
        made[item.output] = path.stat().st_mtime_ns
        living = workers()
        if len(killed) < 2 and living:
            killed.append(living[0])
            os.kill(living[0], signal.SIGKILL)

    report = fs.batch(jobs, defaults=defaults, ray="auto", callback=kill)
    assert statuses(report) == ["done"] * 10, report.items
    assert len(killed) == 2
    assert len(made) == 10
    # Pictures that were reported are the ones that are there: none was made again.
    assert all((folder / name).stat().st_mtime_ns == when for name, when in made.items())
    found = pixels(folder)
    fs.batch(jobs, defaults=defaults, again=True)
    assert all(np.array_equal(found[name], there) for name, there in pixels(folder).items())


def test_cut_short(folder: Path) -> None:
    long = {**SLOW, "max_evaluations": 10**6, "optimizer": "adam", "image": "0.png"}
    jobs = [{"output": f"out/{i}.png", "arguments": {**long, "seed": i}} for i in range(3)]
    jobs[0]["arguments"] = {**QUICK, "image": "0.png"}
    flag = fs.Cancel()
    timer = threading.Timer(15, flag.set)
    timer.start()
    report = fs.batch(jobs, defaults={"verb": "invert", "engine": ENGINE}, ray="auto", cancel=flag)
    timer.cancel()
    assert report.interrupted
    assert report.exit_code == 130
    assert statuses(report) == ["done", "waiting", "waiting"]
    assert sorted(pixels(folder)) == ["0.png"]
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers()


def test_command(folder: Path) -> None:
    (folder / "jobs.csv").write_text(
        "verb,output,image,layers,max_evaluations,weights\n"
        "invert,a.png,0.png,conv1_2,3,random:0\n"
        "invert,b.png,missing.png,conv1_2,3,random:0\n"
    )
    assert main(["batch", "jobs.csv", "-q", "--ray", "auto", "--jobs", "1"]) == 1
    assert (folder / "a.png").exists()
    assert not (folder / "b.png").exists()


def test_map_batches() -> None:
    import ray.data

    pictures = np.stack([picture(index, 24, 32) for index in range(6)])
    dataset = ray.data.from_items([{"id": i, "image": pictures[i]} for i in range(6)])
    made = dataset.map_batches(
        fs.Stylizer,
        fn_constructor_args=("invert", {**QUICK}),
        fn_constructor_kwargs={"engine": {**ENGINE, "threads": 1}, "output": "made"},
        batch_size=2,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    rows = sorted(made.take_all(), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(6))
    for row in rows:
        alone = fs.invert(pictures[row["id"]], **QUICK, **ENGINE)
        assert np.array_equal(row["made"], alone.array)
