"""Batch: many jobs with networks that are loaded once; what fails is told, what is done is kept."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import FastsynthError, ImageError, ObjectiveError
from fastsynth._machine import available_memory, memory_in_use, usable_cores
from fastsynth._numbers import plain_arguments
from fastsynth.image import check_writable
from fastsynth.render.meeting import Meeting
from fastsynth.render.tiling import counts_alone, parse_bytes
from fastsynth.synthesize.batch_report import BatchItem, BatchReport
from fastsynth.synthesize.batch_work import Outcome, Settings, Task, Worker, key_of
from fastsynth.synthesize.foreseeing import foreseen, joined, tried
from fastsynth.synthesize.jobs import check_job, is_pixel_verb
from fastsynth.synthesize.manifest import Row, as_row, merged, read_manifest, texts_in
from fastsynth.synthesize.scheduling import (
    MOST_TOGETHER,
    USABLE,
    Schedule,
    at_once,
    checked_parallel,
    output_pixels,
    runs_steps,
    split,
    steps_on_device,
)
from fastsynth.synthesize.synthesizer import Synthesizer

if TYPE_CHECKING:
    from fastsynth import _core
    from fastsynth._types import ImageLike
    from fastsynth.render import Progress
    from fastsynth.synthesize.estimation import Estimate
    from fastsynth.synthesize.progress import BatchBar

__all__ = ["BatchItem", "BatchReport", "batch", "estimate_batch"]

logger = logging.getLogger("fastsynth")


@plain_arguments
def batch(
    jobs: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    *,
    defaults: Mapping[str, Any] | None = None,
    inputs: Mapping[str, ImageLike] | None = None,
    base: str | os.PathLike[str] | None = None,
    again: bool = False,
    checkpoints: bool = False,
    checkpoint_seconds: float = 30.0,
    quality: int = 95,
    bit_depth: int | None = None,
    parallel: int | str | None = None,
    ray: str | None = None,
    trace: str | os.PathLike[str] | None = None,
    memory_limit: int | str | None = None,
    progress: bool = False,
    callback: Callable[[BatchItem], bool | None] | None = None,
    cancel: _core.Cancel | None = None,
) -> BatchReport:
    """Runs many jobs; each network is loaded once, jobs of one size come after one another.

    jobs: a manifest (.csv, .jsonl, .toml), or jobs as `run_job` takes them, each with an "output".
    defaults: a job's entries for all that leave them out, over those of the manifest.
    inputs, base: as of `run_job`; base is also where outputs start from.
    again: True does again what is finished. By default an output is skipped that is there whole
        with the record of the same job on the same inputs.
    checkpoints: True keeps OUTPUT.checkpoint for each run, from which a killed batch goes on.
    quality, bit_depth: of the files, see Result.save.
    parallel: jobs at a time; the threads are shared out among them, and memory bounds them. Default
        1; "auto": as many as there are threads, where memory allows. The pictures are the same.
        With step graphs (backend="step"; every device but the CPU) jobs at a time are one batch:
        those of a size are optimised together in one graph; there the default is "auto".
    ray: "auto" (the Ray cluster that runs here), its address, or "local" (one for this batch): the
        jobs are done by the cluster's workers, `parallel` of them (default "auto": as many as it
        has room for). Inputs and outputs must be in a folder that all machines see.
    memory_limit: bytes, or a text such as "4GiB", that the whole process may take: of each run that
        has none of its own, and of all that run at a time together. Default: what is free.
    trace: a file to which each run appends what it does, see RunOptions.
    progress: True shows a bar on the terminal.
    callback: called with each BatchItem that is over; return False to end the batch.
    cancel: a Cancel flag that another thread may set.

    A job that fails is told in the report, and the others go on. Missing folders of outputs are
    made. Raises ObjectiveError only for a manifest that cannot be read as a whole or a setting out
    of range, DeviceError for a cluster that cannot be had.

    >>> report = batch([{"verb": "pattern", "output": "no.such"}])
    >>> report.exit_code, report.items[0].status, report.items[0].error
    (1, 'failed', 'ImageError')
    """
    rows, defaults, base = read_rows(jobs, defaults, base)
    settings = Settings(
        base=Path(base or "."),
        inputs=inputs or {},
        again=again,
        checkpoint_seconds=checkpoint_seconds if checkpoints else None,
        quality=quality,
        bit_depth=bit_depth,
        trace=None if trace is None else Path(trace),
        memory_limit=parse_bytes(memory_limit),
    )
    if parallel is not None and parallel != "auto":
        checked_parallel(parallel)
    run = _Batch(settings, parallel, callback, cancel)
    return run.all(rows, defaults or {}, progress, ray)


def read_rows(
    jobs: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    defaults: Mapping[str, Any] | None,
    base: str | os.PathLike[str] | None,
) -> tuple[list[Row], Mapping[str, Any], str | os.PathLike[str] | None]:
    """Rows, what they have in common, and the folder that they start from."""
    if not isinstance(jobs, (str, os.PathLike)):
        rows = [as_row(f"job {number}", job) for number, job in enumerate(jobs, 1)]
        return rows, defaults or {}, base
    rows, usual = read_manifest(jobs)
    return rows, merged(usual, defaults or {}), Path(jobs).parent if base is None else base


@plain_arguments
def estimate_batch(
    jobs: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    *,
    defaults: Mapping[str, Any] | None = None,
    inputs: Mapping[str, ImageLike] | None = None,
    base: str | os.PathLike[str] | None = None,
    memory_limit: int | str | None = None,
) -> tuple[int, Estimate | None, list[BatchItem]]:
    """How many jobs of a batch would be done, what they would take one after the other (None where
    nothing is left), and the jobs that would fail.

    Arguments as of `batch`. Each kind of job is tried out once. Nothing is skipped, pixel functions
    are left out; nothing is written.
    """
    rows, defaults, base = read_rows(jobs, defaults, base)
    settings = Settings(
        Path(base or "."), inputs or {}, False, None, 95, None, None, parse_bytes(memory_limit)
    )
    run = _Batch(settings, 1, None, None)
    run.items = []
    tasks = run.plan(rows, defaults, make_folders=False)
    found: list[Estimate] = []
    for key in dict.fromkeys(key_of(task.engine) for task in tasks if task.needs_network):
        group = [task for task in tasks if key_of(task.engine) == key and task.needs_network]
        try:
            with Synthesizer(**group[0].engine) as synthesizer:
                estimates: Sequence[Estimate | Exception | None] = tried(
                    group, synthesizer, settings
                )
        except (FastsynthError, OSError, TypeError) as error:
            estimates = [error] * len(group)
        for task, estimate in zip(group, estimates, strict=True):
            if isinstance(estimate, Exception):
                run.over(task.index, Outcome.of(estimate))
            elif estimate is not None:
                found.append(estimate)
    return len(found), joined(found), [item for item in run.items if item.status == "failed"]


@dataclass(eq=False)
class _Batch:
    """A batch on its way; fields as the arguments of `batch`."""

    settings: Settings
    parallel: int | str | None
    callback: Callable[[BatchItem], bool | None] | None
    cancel: _core.Cancel | None
    bar: BatchBar | None = None
    interrupted: bool = False

    def all(
        self,
        rows: Sequence[Row],
        defaults: Mapping[str, Any],
        progress: bool,
        ray: str | None,
    ) -> BatchReport:
        """All rows, whatever becomes of each."""
        started = time.monotonic()
        self.items: list[BatchItem] = []
        self.worker = Worker(self.settings)
        if progress:
            from fastsynth.synthesize.progress import BatchBar

            self.bar = BatchBar(len(rows))
        try:
            tasks = self.plan(rows, defaults)
            if ray is not None:
                from fastsynth.synthesize.cluster import run_on_ray

                run_on_ray(
                    ray,
                    tasks,
                    self.settings,
                    parallel=self.parallel or "auto",
                    over=self.over,
                    ended=self.is_cut_short,
                )
            else:
                for engine in dict.fromkeys(key_of(task.engine) for task in tasks):
                    self.group([task for task in tasks if key_of(task.engine) == engine])
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            if self.bar is not None:
                self.bar.close()
        return BatchReport(tuple(self.items), time.monotonic() - started, self.interrupted)

    def plan(
        self, rows: Sequence[Row], defaults: Mapping[str, Any], *, make_folders: bool = True
    ) -> list[Task]:
        """The tasks of all rows that make sense, in the order in which they are to be done.

        make_folders: of outputs, where they are missing.
        """
        tasks: list[Task] = []
        likeness: dict[int, tuple[str, str, str]] = {}
        for index, row in enumerate(rows):
            output = merged(defaults, row.job).get("output")
            self.items.append(BatchItem(row.place, output if isinstance(output, str) else ""))
            try:
                tasks.append(self.task(index, row, defaults, make_folders))
            except FastsynthError as error:
                self.over(index, Outcome.of(error))
        writers: dict[str, int] = {}
        good = []
        for task in tasks:
            first = writers.setdefault(same_file(task.output), task.index)
            if first != task.index:
                said = f"{self.items[first].place} writes {task.output} too; give each its own"
                self.over(task.index, Outcome.of(ObjectiveError(said)))
            else:
                good.append(task)
        tasks = []
        for task in good:
            texts = texts_in(task.arguments)
            read = (same_file(self.settings.base / text) for text in texts)
            writer = next((writers[path] for path in read if path in writers), None)
            if writer is None:
                pixels, told = output_pixels(task.arguments, self.settings.base)
                # Tasks with equal keys are of one kind and size.
                likeness[task.index] = key_of(task.engine), task.verb, told
                tasks.append(dataclasses.replace(task, pixels=pixels))
                continue
            said = f"it reads what {self.items[writer].place} writes; put it into a later batch"
            self.over(task.index, Outcome.of(ObjectiveError(said)))
        return sorted(tasks, key=lambda task: likeness[task.index])

    def task(self, index: int, row: Row, defaults: Mapping[str, Any], make_folders: bool) -> Task:
        """A row's task; raises ObjectiveError or ImageError."""
        if row.error:
            raise ObjectiveError(row.error)
        job = merged(defaults, row.job)
        if is_pixel_verb(job.get("verb")) and "engine" not in row.job:
            job.pop("engine", None)  # the defaults' engine is for the others
        output = job.get("output")
        if not isinstance(output, str) or not output:
            raise ObjectiveError(f"the job's output must be the name of a picture, not {output!r}")
        settings = self.settings
        path = settings.base / output
        if make_folders:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except (OSError, ValueError) as error:
                raise ImageError(f"the folder of {output!r} cannot be made: {error}") from error
            check_writable(path, quality=settings.quality, bit_depth=settings.bit_depth or 8)
        return Task(index, *check_job(job), path)

    def group(self, tasks: Sequence[Task]) -> None:
        """Tasks of one engine setting, with the weights loaded once."""
        synthesizer = None
        try:
            if any(task.needs_network for task in tasks):
                synthesizer = Synthesizer(**tasks[0].engine)
        except (FastsynthError, OSError, TypeError) as error:
            for task in tasks:
                self.over(task.index, Outcome.of(error))
            return
        try:
            threads = synthesizer.pool.threads if synthesizer is not None else usable_cores()
            elsewhere = steps_on_device(tasks[0].engine)
            parallel = self.parallel or ("auto" if elsewhere else 1)
            memory = None
            if parallel != 1:
                shared = 0
                if synthesizer is not None:
                    tasks, shared = foreseen(tasks, synthesizer, self.settings)
                memory = free_memory(self.settings.memory_limit, shared)
            # A device batch does not depend on how many threads the host has.
            ways = at_once(parallel, MOST_TOGETHER if elsewhere else threads, tasks, memory)
            if ways > 1:
                self.side_by_side(tasks, synthesizer, split(threads, ways), memory)
                return
            for task in tasks:
                if self.interrupted:
                    return
                self.attempt(task, synthesizer)
        finally:
            if synthesizer is not None:
                synthesizer.close()

    def attempt(
        self,
        task: Task,
        synthesizer: Synthesizer | None,
        stopping: threading.Event | None = None,
    ) -> Outcome:
        """One task, shown on the bar; `stopping` ends it from outside."""
        shown = None if self.bar is None else self.bar.begin(task.index, task.output.name)

        def watch(event: Progress) -> bool | None:
            if shown is not None:
                shown(event)
            return False if stopping is not None and stopping.is_set() else None

        watched = watch if shown is not None or stopping is not None else None
        outcome = self.worker.attempt(task, synthesizer, watched, self.cancel)
        if stopping is None:
            self.over(task.index, outcome)
        return outcome

    def side_by_side(
        self,
        tasks: Sequence[Task],
        synthesizer: Synthesizer | None,
        threads: Sequence[int],
        memory: int | None,
    ) -> None:
        """Several tasks at a time, each lane with threads of its own.

        With step graphs the lanes meet at each level, and those that are alike share its graph.
        """
        schedule = Schedule(tasks, memory=None if memory is None else int(memory * USABLE))
        turn, stopping = threading.Condition(), threading.Event()
        meeting = None
        if synthesizer is not None and runs_steps(tasks[0].engine):
            meeting = Meeting(len(threads), synthesizer.pool.threads)

        def next_task() -> Task | None:
            with turn:
                while schedule.waiting and not (self.interrupted or stopping.is_set()):
                    if (task := schedule.take()) is not None:
                        return task
                    with meeting.away() if meeting is not None else nullcontext():
                        turn.wait()
                return None

        def work(mine: Synthesizer | None) -> None:
            counts_alone.set(True)  # the schedule knows of the others
            while (task := next_task()) is not None:
                outcome = self.attempt(task, mine, stopping)
                with turn:
                    schedule.done(task)
                    self.over(task.index, outcome)
                    if self.interrupted:
                        stopping.set()
                    turn.notify_all()

        def lane(count: int) -> None:
            try:
                with meeting.joined() if meeting is not None else nullcontext():
                    begin(count)
            except BaseException:
                stop()
                raise

        def begin(count: int) -> None:
            if synthesizer is None:
                work(None)
            else:
                with synthesizer.with_threads(count) as mine:
                    work(mine)

        def stop() -> None:
            stopping.set()
            with turn:
                turn.notify_all()

        def given_up(missing: int) -> None:
            stop()
            if meeting is not None:
                meeting.dismiss(missing)

        run_lanes(lane, threads, given_up)

    def is_cut_short(self) -> bool:
        """Whether the batch is to end."""
        self.interrupted |= self.cancel is not None and self.cancel.is_set()
        return self.interrupted

    def over(self, index: int, outcome: Outcome) -> None:
        """Notes how an item ended, and tells. Not for several threads at a time."""
        if outcome.status == "stopped":
            self.interrupted = True
            return
        item = dataclasses.replace(self.items[index], **dataclasses.asdict(outcome))
        self.items[index] = item
        if item.status == "failed":
            logger.info("%s failed: %s", item.place, item.message)
        if self.bar is not None:
            self.bar.end(index, Counter(item.status for item in self.items)["failed"])
        stop = self.callback is not None and self.callback(item) is False
        if stop or (self.cancel is not None and self.cancel.is_set()):
            self.interrupted = True


def run_lanes(
    lane: Callable[[int], None], threads: Sequence[int], given_up: Callable[[int], None]
) -> None:
    """Runs a lane for each share of the threads, and raises what one raises.

    given_up: told, on Ctrl-C or where no more threads can be had, how many will never begin.
    """
    with ThreadPoolExecutor(len(threads), "fastsynth-batch") as pool:
        lanes: list[Future[None]] = []
        try:
            lanes.extend(pool.submit(lane, count) for count in threads)
            # In short waits, so that Ctrl-C is seen on every system.
            while wait(lanes, timeout=0.5).not_done:
                pass
        except BaseException:
            given_up(len(threads) - len(lanes))
            raise
    for done in lanes:
        done.result()


def free_memory(limit: int | str | None, shared: int) -> int | None:
    """Bytes that runs at a time may take together, a fifth to spare; None where nobody knows.

    shared: bytes that the process will hold for all of them.
    """
    told = available_memory()
    if limit is None:
        return told
    assert isinstance(limit, int)
    # The limit is kept to the byte: at_once and Schedule take four fifths of what is free.
    left = int(max(0, limit - max(shared, memory_in_use() or 0)) / USABLE)
    return left if told is None else min(left, told)


def same_file(path: Path) -> str:
    """Equal for two paths of one file."""
    try:
        return os.path.normcase(os.path.realpath(path))
    except (OSError, ValueError):
        return str(path)
