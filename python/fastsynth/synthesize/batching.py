"""Batch: many jobs with networks that are loaded once; what fails is told, what is done is kept."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import CheckpointError, FastsynthError, ImageError, ObjectiveError
from fastsynth.image import check_writable, load, read_metadata, write_whole
from fastsynth.synthesize.jobs import (
    IMAGES,
    PIXEL_VERBS,
    batched,
    check_job,
    decode_arguments,
    run_pixel_verb,
    run_verb,
)
from fastsynth.synthesize.manifest import Row, as_row, merged, read_manifest, texts_in
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.synthesizer import Synthesizer

if TYPE_CHECKING:
    from fastsynth import _core
    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.synthesize.progress import BatchBar

__all__ = ["BatchItem", "BatchReport", "batch"]

CHECKPOINTED = ("style_transfer", "synthesize_texture", "invert", "mix", "minimize")
NOT_DECISIVE = ("checkpoint", "checkpoint_seconds", "resume")
INTERRUPTED = 130

logger = logging.getLogger("fastsynth")


@dataclass(frozen=True)
class BatchItem:
    """One job of a batch.

    place: in the manifest, such as "line 3"
    output: the picture, "" where the job names none
    status: "done", "skipped" (it was finished before), "failed", or "waiting" (not reached)
    error, message: type and text of what went wrong
    seconds: that it took
    """

    place: str
    output: str
    status: str = "waiting"
    error: str = ""
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class BatchReport:
    """What became of a batch: its items in the manifest's order, and whether it was cut short."""

    items: tuple[BatchItem, ...]
    seconds: float
    interrupted: bool = False

    def count(self, status: str) -> int:
        """Items of a status."""
        return sum(item.status == status for item in self.items)

    @property
    def exit_code(self) -> int:
        """0 when all is done, 1 when something failed, 130 when it was cut short."""
        return INTERRUPTED if self.interrupted else int(self.count("failed") > 0)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report as JSON; raises ImageError when it cannot."""
        from fastsynth import __version__

        counts = {name: self.count(name) for name in ("done", "skipped", "failed", "waiting")}
        report = {"fastsynth": __version__, **counts, **dataclasses.asdict(self)}
        target = Path(os.path.realpath(path))
        write_whole(target, json.dumps(report, indent=1, ensure_ascii=False).encode())
        return target


@dataclass(eq=False)
class Task:
    """A job that can be tried: its index among the items, and its parts."""

    index: int
    verb: str
    engine: dict[str, Any]
    arguments: dict[str, Any]
    output: Path


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
    progress: True shows a bar on the terminal.
    callback: called with each BatchItem that is over; return False to end the batch.
    cancel: a Cancel flag that another thread may set.

    A job that fails is told in the report, and the others go on. Missing folders of outputs are
    made. Raises ObjectiveError only for a manifest that cannot be read as a whole.

    >>> report = batch([{"verb": "pattern", "output": "no.such"}])
    >>> report.exit_code, report.items[0].status, report.items[0].error
    (1, 'failed', 'ImageError')
    """
    if isinstance(jobs, (str, os.PathLike)):
        rows, usual = read_manifest(jobs)
        base = Path(jobs).parent if base is None else base
        defaults = merged(usual, defaults or {})
    else:
        rows = [as_row(f"job {number}", job) for number, job in enumerate(jobs, 1)]
    run = _Batch(
        base=Path(base or "."),
        inputs=inputs or {},
        again=again,
        checkpoint_seconds=checkpoint_seconds if checkpoints else None,
        quality=quality,
        bit_depth=bit_depth,
        callback=callback,
        cancel=cancel,
    )
    return run.all(rows, defaults or {}, progress)


@dataclass(eq=False)
class _Batch:
    """A batch on its way; fields as the arguments of `batch`."""

    base: Path
    inputs: Mapping[str, ImageLike]
    again: bool
    checkpoint_seconds: float | None
    quality: int
    bit_depth: int | None
    callback: Callable[[BatchItem], bool | None] | None
    cancel: _core.Cancel | None
    bar: BatchBar | None = None
    interrupted: bool = False

    def all(self, rows: Sequence[Row], defaults: Mapping[str, Any], progress: bool) -> BatchReport:
        """All rows, whatever becomes of each."""
        started = time.monotonic()
        self.items: list[BatchItem] = []
        self.checksums: dict[tuple[str, int, int], str] = {}
        if progress:
            from fastsynth.synthesize.progress import BatchBar

            self.bar = BatchBar(len(rows))
        try:
            tasks = self.plan(rows, defaults)
            for engine in dict.fromkeys(key_of(task.engine) for task in tasks):
                self.group([task for task in tasks if key_of(task.engine) == engine])
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            if self.bar is not None:
                self.bar.close()
        return BatchReport(tuple(self.items), time.monotonic() - started, self.interrupted)

    def plan(self, rows: Sequence[Row], defaults: Mapping[str, Any]) -> list[Task]:
        """The tasks of all rows that make sense, in the order in which they are to be done."""
        tasks: list[Task] = []
        for index, row in enumerate(rows):
            output = merged(defaults, row.job).get("output")
            self.items.append(BatchItem(row.place, output if isinstance(output, str) else ""))
            try:
                tasks.append(self.task(index, row, defaults))
            except FastsynthError as error:
                self.failed(index, error)
        writers: dict[str, int] = {}
        good = []
        for task in tasks:
            first = writers.setdefault(same_file(task.output), task.index)
            if first != task.index:
                said = f"{self.items[first].place} writes {task.output} too; give each its own"
                self.failed(task.index, ObjectiveError(said))
            else:
                good.append(task)
        tasks = []
        for task in good:
            read = (same_file(self.base / text) for text in texts_in(task.arguments))
            writer = next((writers[path] for path in read if path in writers), None)
            if writer is None:
                tasks.append(task)
                continue
            said = f"it reads what {self.items[writer].place} writes; put it into a later batch"
            self.failed(task.index, ObjectiveError(said))
        return sorted(tasks, key=self.likeness)

    def task(self, index: int, row: Row, defaults: Mapping[str, Any]) -> Task:
        """A row's task; raises ObjectiveError or ImageError."""
        if row.error:
            raise ObjectiveError(row.error)
        job = merged(defaults, row.job)
        if job.get("verb") in PIXEL_VERBS and "engine" not in row.job:
            job.pop("engine", None)  # the defaults' engine is for the others
        output = job.get("output")
        if not isinstance(output, str) or not output:
            raise ObjectiveError(f"the job's output must be the name of a picture, not {output!r}")
        path = self.base / output
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise ImageError(f"the folder of {output!r} cannot be made: {error}") from error
        check_writable(path, quality=self.quality, bit_depth=self.bit_depth or 8)
        return Task(index, *check_job(job), path)

    def likeness(self, task: Task) -> tuple[str, str, str]:
        """Tasks with equal keys are of one kind and size, as far as can be seen at a glance."""
        from PIL import Image

        subject = next((task.arguments[key] for key in IMAGES if key in task.arguments), None)
        size = ""
        if isinstance(subject, str):
            try:
                with Image.open(self.base / subject) as image:
                    size = str(image.size)
            except Exception:  # whatever is wrong with it is told when its turn comes
                logger.debug("%s has no size yet", subject)
        return key_of(task.engine), task.verb, f"{task.arguments.get('size')} {size}"

    def group(self, tasks: Sequence[Task]) -> None:
        """Tasks of one engine setting, with one Synthesizer."""
        synthesizer = None
        try:
            if any(task.verb not in PIXEL_VERBS for task in tasks):
                synthesizer = Synthesizer(**tasks[0].engine)
        except (FastsynthError, OSError, TypeError) as error:
            for task in tasks:
                self.failed(task.index, error)
            return
        try:
            for task in tasks:
                if self.interrupted:
                    return
                self.one(task, synthesizer)
        finally:
            if synthesizer is not None:
                synthesizer.close()

    def one(self, task: Task, synthesizer: Synthesizer | None) -> None:
        """One task; what it raises is its own failure."""
        started = time.monotonic()
        if self.bar is not None:
            self.bar.begin(task.output.name)
        try:
            digest = self.digest(task, synthesizer)
            if not self.again and finished(task.output, digest):
                if self.checkpoint_seconds is not None:
                    forget(task.output)
                self.over(task.index, "skipped", started)
                return
            made = self.make(task, synthesizer)
            if isinstance(made, Result) and made.stopped in ("cancelled", "interrupted"):
                self.interrupted = True
                return
            batched(made, digest).save(task.output, quality=self.quality, bit_depth=self.bit_depth)
        except Exception as error:  # a job may fail in any way; the others are not to blame
            logger.debug("%s failed", self.items[task.index].place, exc_info=True)
            self.failed(task.index, error, started)
        else:
            self.over(task.index, "done", started)

    def make(self, task: Task, synthesizer: Synthesizer | None) -> Result | ImageArray:
        """Does a task's verb."""
        arguments = decode_arguments(task.arguments, self.base, self.inputs)
        run: dict[str, Any] = {"callback": self.bar, "cancel": self.cancel}
        if synthesizer is None or task.verb in PIXEL_VERBS:
            return run_pixel_verb(task.verb, arguments, run)
        if self.checkpoint_seconds is None or task.verb not in CHECKPOINTED:
            return run_verb(synthesizer, task.verb, arguments, run)
        run["checkpoint"] = task.output.with_name(f"{task.output.name}.checkpoint")
        run["checkpoint_seconds"] = self.checkpoint_seconds
        try:
            return run_verb(synthesizer, task.verb, arguments, run)
        except CheckpointError as error:
            logger.warning("%s; the run begins anew", error)
            return run_verb(synthesizer, task.verb, arguments, {**run, "resume": False})

    def digest(self, task: Task, synthesizer: Synthesizer | None) -> str:
        """What decides the output's bytes, in one checksum: job, inputs, weights, form of file."""
        job: dict[str, Any] = {
            "verb": task.verb,
            "arguments": {
                key: self.with_checksums(value)
                for key, value in task.arguments.items()
                if key not in NOT_DECISIVE
            },
            "file": [self.quality, self.bit_depth],
        }
        if synthesizer is not None and task.verb not in PIXEL_VERBS:
            names = ("network", "pooling", "backend", "device")
            job["engine"] = {name: getattr(synthesizer, name) for name in names}
            job["weights"] = synthesizer.weights.sha256
        return hashlib.sha256(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()

    def with_checksums(self, value: Any) -> Any:
        """Plain data in which texts that name a file or input are its checksum."""
        if isinstance(value, Mapping):
            pairs = [[self.with_checksums(k), self.with_checksums(v)] for k, v in value.items()]
            return {"table": pairs}
        if isinstance(value, (list, tuple)):
            return [self.with_checksums(item) for item in value]
        if not isinstance(value, str):
            return value
        return self.checksum(value) or value

    def checksum(self, name: str) -> str | None:
        """Of the file or input of a name; None where there is none."""
        if name in self.inputs:
            return load(self.inputs[name]).sha256
        try:
            path = self.base / name
            if not path.is_file():
                return None
            state = path.stat()
            key = (str(path), state.st_mtime_ns, state.st_size)
            if key not in self.checksums:
                self.checksums[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):  # such as a text too long for a name
            return None
        return self.checksums[key]

    def failed(self, index: int, error: Exception, started: float | None = None) -> None:
        """Notes what went wrong with an item."""
        message = " ".join(str(error).split()) or type(error).__name__
        place = self.items[index].place
        logger.info("%s failed: %s", place, message)
        self.over(index, "failed", started, error=type(error).__name__, message=message)

    def over(self, index: int, status: str, started: float | None, **more: str) -> None:
        """Notes how an item ended, and tells."""
        seconds = 0.0 if started is None else time.monotonic() - started
        item = dataclasses.replace(self.items[index], status=status, seconds=seconds, **more)
        self.items[index] = item
        if self.bar is not None:
            self.bar.end(Counter(item.status for item in self.items)["failed"])
        stop = self.callback is not None and self.callback(item) is False
        if stop or (self.cancel is not None and self.cancel.is_set()):
            self.interrupted = True


def key_of(engine: Mapping[str, Any]) -> str:
    """Equal for equal engine settings."""
    return json.dumps(engine, sort_keys=True, default=str)


def same_file(path: Path) -> str:
    """Equal for two paths of one file."""
    try:
        return os.path.normcase(os.path.realpath(path))
    except (OSError, ValueError):
        return str(path)


def forget(output: Path) -> None:
    """Removes an output's checkpoints: a kill may come after the picture, before their removal."""
    for path in output.parent.glob(f"{glob.escape(output.name)}.checkpoint*"):
        path.unlink(missing_ok=True)


def finished(output: Path, digest: str) -> bool:
    """Whether an output is there, whole, with the mark of this very job."""
    if not output.is_file():
        return False
    try:
        if (read_metadata(output) or {}).get("batch") != digest:
            return False
        load(output)
    except ImageError:
        return False
    return True
