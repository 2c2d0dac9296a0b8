"""Batches with step graphs: jobs of a size share the graphs of their levels, and end as alone."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth._errors import MemoryLimitError
from fastsynth.network.resident import ResidentGraph
from fastsynth.render import meeting
from fastsynth.synthesize.scheduling import steps_on_device

from .test_verbs import picture

STEP = {"weights": "random:0", "backend": "step", "threads": 2}
TRANSFER: dict[str, Any] = {
    "style": "style.png",
    "style_layers": ["conv1_1", "conv2_1"],
    "content_layers": "conv2_1",
    "scales": 2,
    "max_evaluations": [5, 4],
}
DEFAULTS: dict[str, Any] = {"verb": "style_transfer", "engine": STEP, "arguments": TRANSFER}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for index in range(4):
        Image.fromarray(picture(index, 28, 36)).save(tmp_path / f"{index}.png")
    Image.fromarray(picture(4, 20, 36)).save(tmp_path / "4.png")
    Image.fromarray(picture(9, 30, 30)).save(tmp_path / "style.png")
    return tmp_path


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many levels came together, each time."""
    sizes: list[int] = []
    run_group = meeting.run_group

    def noted(group: Any, threads: int) -> None:
        assert threads == STEP["threads"]  # whoever runs a group has all of the batch's
        sizes.append(len(group))
        run_group(group, threads)

    monkeypatch.setattr(meeting, "run_group", noted)
    return sizes


def job(number: int, **arguments: Any) -> dict[str, Any]:
    given = {"content": f"{number}.png", **arguments}
    return {"output": f"out/{number}.png", "arguments": given}


def statuses(report: Any) -> list[str]:
    return [item.status for item in report.items]


def pixels(folder: Path) -> dict[str, Any]:
    paths = sorted((folder / "out").glob("*.png"))
    return {path.name: np.asarray(Image.open(path), np.int64) for path in paths}


def test_pictures_are_those_of_one_at_a_time(folder: Path, groups: list[int]) -> None:
    """Several contents; another style, other evaluations, another size; one that fails."""
    jobs = [
        job(0),
        job(1, style="3.png"),
        job(2, max_evaluations=[3, 7], optimizer="lbfgs"),
        job(4),
        {**job(0, content="none.png"), "output": "out/failed.png"},
    ]
    first = fs.batch(jobs, defaults=DEFAULTS)
    assert statuses(first) == ["done"] * 4 + ["failed"]
    assert groups == [1] * 8
    wanted = pixels(folder)
    groups.clear()
    again = fs.batch(jobs, defaults=DEFAULTS, parallel=4, again=True)
    assert statuses(again) == statuses(first)
    assert sorted(groups) == [1, 1, 3, 3]
    found = pixels(folder)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert np.abs(found[name] - values).max() <= 1, name


def test_more_jobs_than_places(folder: Path, groups: list[int]) -> None:
    short = {"scales": 1, "max_evaluations": 3}
    jobs = [{**job(i % 4, seed=i, **short), "output": f"out/{i}.png"} for i in range(5)]
    report = fs.batch(jobs, defaults=DEFAULTS, parallel=3)
    assert statuses(report) == ["done"] * 5
    assert sum(groups) == 5
    assert max(groups) == 3


def test_a_batch_too_large_is_done_in_lots(
    folder: Path,
    groups: list[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = ResidentGraph.run

    def run(self: ResidentGraph, steps: int) -> Any:
        if "image.2" in self.names():
            raise MemoryLimitError("the device is full")
        return plain(self, steps)

    monkeypatch.setattr(ResidentGraph, "run", run)
    with caplog.at_level(logging.WARNING, "fastsynth"):
        report = fs.batch([job(i) for i in range(3)], defaults=DEFAULTS, parallel=3)
    assert statuses(report) == ["done"] * 3
    assert "3 pictures at once do not fit the memory" in caplog.text
    assert sorted(groups) == [1, 1, 2, 2, 3, 3]
    monkeypatch.setattr(ResidentGraph, "run", lambda *_: (_ for _ in ()).throw(MemoryError()))
    report = fs.batch([job(i) for i in range(2)], defaults=DEFAULTS, parallel=2, again=True)
    assert statuses(report) == ["failed"] * 2


def test_cut_short(folder: Path) -> None:
    short = {"scales": 1, "max_evaluations": 3}
    jobs = [{**job(i % 4, seed=i, **short), "output": f"out/{i}.png"} for i in range(5)]
    report = fs.batch(jobs, defaults=DEFAULTS, parallel=2, callback=lambda _: False)
    assert report.interrupted
    assert report.count("waiting") > 0
    assert threading.active_count() < 50
    assert statuses(fs.batch(jobs, defaults=DEFAULTS, parallel=2)).count("failed") == 0


def test_who_leaves_is_not_waited_for() -> None:
    """A member that ends, or waits for something else, does not hold the others up."""
    ran: list[int] = []
    place = meeting.Meeting(3, 1)

    class Level:
        outcome = None

        def goes_on(self) -> None: ...

    def run_group(group: Any, threads: int) -> None:
        ran.append(len(group))
        for level in group:
            level.outcome = "done"

    def comes() -> None:
        with place.joined():
            place.run(Level())  # type: ignore[arg-type]

    def leaves() -> None:
        with place.joined(), place.away():
            entered.set()
            assert gone.wait(20)

    entered, gone = threading.Event(), threading.Event()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meeting, "groups_of", lambda gathered: [gathered])
        patched.setattr(meeting, "run_group", run_group)
        threads = [threading.Thread(target=target) for target in (leaves, comes, comes)]
        for thread in threads:
            thread.start()
        assert entered.wait(20)
        for thread in threads[1:]:
            thread.join(20)
        assert ran == [2]
        gone.set()
        threads[0].join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_no_more_threads_to_be_had(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes that wait for one that could not be started are let go."""
    submit = ThreadPoolExecutor.submit
    started: list[Any] = []

    def scarce(self: ThreadPoolExecutor, *arguments: Any) -> Any:
        if len(started) == 2:
            time.sleep(0.5)  # the others get to their meeting
            raise RuntimeError("can't start new thread")
        started.append(submit(self, *arguments))
        return started[-1]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", scarce)
    failed: list[str] = []

    def run() -> None:
        try:
            fs.batch([job(i) for i in range(4)], defaults=DEFAULTS, parallel=3)
        except RuntimeError as error:
            failed.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert failed == ["can't start new thread"]


def test_waiting_for_others_is_not_a_runs_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose level comes after a slow one of another size still gets to its last level."""
    plain = meeting.run_group

    def slow(group: Any, threads: int) -> None:
        plain(group, threads)
        if group[0].whole.size[0] < 16:  # a first level: the others wait
            time.sleep(4)

    monkeypatch.setattr(meeting, "run_group", slow)
    limited = {"scales": 2, "max_evaluations": [2, 2], "time_limit": 4.0}
    report = fs.batch([job(0, **limited), job(4, **limited)], defaults=DEFAULTS, parallel=2)
    assert statuses(report) == ["done"] * 2
    assert pixels(folder)["0.png"].shape == (28, 36, 3)
    assert pixels(folder)["4.png"].shape == (20, 36, 3)


def test_devices_are_given_batches() -> None:
    assert steps_on_device({"device": "cuda"})
    assert steps_on_device({"device": "openvino", "backend": "step"})
    assert not steps_on_device({"device": "cuda", "backend": "onnx"})
    assert not steps_on_device({"backend": "step"})
