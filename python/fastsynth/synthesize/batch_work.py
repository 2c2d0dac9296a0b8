"""One job of a batch: whether it is done already, and doing it. Whoever calls it, wherever."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import CheckpointError, ImageError
from fastsynth.image import load, read_metadata
from fastsynth.render import Trace
from fastsynth.synthesize.jobs import (
    PIXEL_VERBS,
    batched,
    decode_arguments,
    run_pixel_verb,
    run_verb,
)
from fastsynth.synthesize.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastsynth import _core
    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray
    from fastsynth.render import Progress
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["Outcome", "Settings", "Task", "Worker", "key_of"]

CHECKPOINTED = ("style_transfer", "synthesize_texture", "invert", "mix", "minimize")
NOT_DECISIVE = ("checkpoint", "checkpoint_seconds", "resume", "trace")

logger = logging.getLogger("fastsynth")


@dataclass(frozen=True)
class Settings:
    """What all jobs of a batch have in common; fields as the arguments of `batch`."""

    base: Path
    inputs: Mapping[str, ImageLike]
    again: bool
    checkpoint_seconds: float | None
    quality: int
    bit_depth: int | None
    trace: Path | None = None
    memory_limit: int | str | None = None


@dataclass(frozen=True)
class Task:
    """A job that can be tried: its index among the items, and its parts.

    pixels: of the output, as far as can be seen before it is done.
    memory: bytes that its run takes beside the weights; None: not foreseen.
    """

    index: int
    verb: str
    engine: dict[str, Any]
    arguments: dict[str, Any]
    output: Path
    pixels: int = 0
    memory: int | None = None

    @property
    def needs_network(self) -> bool:
        """Whether it is done by a Synthesizer."""
        return self.verb not in PIXEL_VERBS


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    status: "done", "skipped" (it was finished before), "failed" or "stopped" (from outside)
    error, message: type and text of what went wrong
    seconds: that it took
    """

    status: str
    error: str = ""
    message: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, error: BaseException, seconds: float = 0.0) -> Outcome:
        """The outcome of what an attempt raised."""
        message = " ".join(str(error).split()) or type(error).__name__
        return cls("failed", type(error).__name__, message, seconds)


@dataclass(eq=False)
class Worker:
    """Does the tasks of a batch; threads may share it."""

    settings: Settings
    checksums: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def attempt(
        self,
        task: Task,
        synthesizer: Synthesizer | None,
        callback: Callable[[Progress], bool | None] | None = None,
        cancel: _core.Cancel | None = None,
    ) -> Outcome:
        """One task; what it raises is its own failure."""
        started, settings = time.monotonic(), self.settings
        try:
            digest = self.digest(task, synthesizer)
            if not settings.again and finished(task.output, digest):
                if settings.checkpoint_seconds is not None:
                    forget(task.output)
                return Outcome("skipped", seconds=time.monotonic() - started)
            made = self.make(task, synthesizer, {"callback": callback, "cancel": cancel})
            if isinstance(made, Result) and made.stopped in ("cancelled", "interrupted"):
                return Outcome("stopped")
            batched(made, digest).save(
                task.output, quality=settings.quality, bit_depth=settings.bit_depth
            )
        except Exception as error:  # a job may fail in any way; the others are not to blame
            logger.debug("%s failed", task.output, exc_info=True)
            return Outcome.of(error, time.monotonic() - started)
        return Outcome("done", seconds=time.monotonic() - started)

    def make(
        self, task: Task, synthesizer: Synthesizer | None, run: dict[str, Any]
    ) -> Result | ImageArray:
        """Does a task's verb."""
        settings = self.settings
        arguments = decode_arguments(task.arguments, settings.base, settings.inputs)
        if settings.trace is not None:
            run["trace"] = Trace(settings.trace, {"output": str(task.output)})
        if synthesizer is None or task.verb in PIXEL_VERBS:
            return run_pixel_verb(task.verb, arguments, run)
        if settings.memory_limit is not None:
            run.setdefault("memory_limit", arguments.pop("memory_limit", settings.memory_limit))
        if settings.checkpoint_seconds is None or task.verb not in CHECKPOINTED:
            return run_verb(synthesizer, task.verb, arguments, run)
        run["checkpoint"] = task.output.with_name(f"{task.output.name}.checkpoint")
        run["checkpoint_seconds"] = settings.checkpoint_seconds
        try:
            return run_verb(synthesizer, task.verb, arguments, run)
        except CheckpointError as error:
            logger.warning("%s; the run begins anew", error)
            return run_verb(synthesizer, task.verb, arguments, {**run, "resume": False})

    def digest(self, task: Task, synthesizer: Synthesizer | None) -> str:
        """What decides the output's bytes, in one checksum: job, inputs, weights, form of file.

        Neither fastsynth's version nor the batch's memory limit is in it: a newer one does not make
        finished pictures anew (`again` does), and a limit moves the last digits at most.
        """
        job: dict[str, Any] = {
            "verb": task.verb,
            "arguments": {
                key: self.with_checksums(value)
                for key, value in task.arguments.items()
                if key not in NOT_DECISIVE
            },
            "file": [self.settings.quality, self.settings.bit_depth],
        }
        if synthesizer is not None and task.verb not in PIXEL_VERBS:
            names = ("network", "pooling", "backend", "device", "precision")
            job["engine"] = {name: getattr(synthesizer, name) for name in names}
            job["weights"] = synthesizer.weights.sha256
            others = {n: synthesizer.weights_of(n).sha256 for n in networks_in(task.arguments)}
            if others:
                job["others"] = others
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
        if name in self.settings.inputs:
            return load(self.settings.inputs[name]).sha256
        try:
            path = self.settings.base / name
            if not path.is_file():
                return None
            state = path.stat()
            key = (str(path), state.st_mtime_ns, state.st_size)
            if key not in self.checksums:
                self.checksums[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):  # such as a text too long for a name
            return None
        return self.checksums[key]


def networks_in(value: Any) -> set[str]:
    """Networks that arguments name, beside the Synthesizer's own: a mix's, and those of terms.

    >>> sorted(networks_in({"networks": ["vgg16", "vgg19"], "objective": [{"network": "vgg13"}]}))
    ['vgg13', 'vgg16', 'vgg19']
    """
    if isinstance(value, (list, tuple)):
        return {name for item in value for name in networks_in(item)}
    if not isinstance(value, Mapping):
        return set()
    found = set()
    for key, item in value.items():
        if key in ("network", "networks"):
            names = item if isinstance(item, (list, tuple)) else [item]
            found |= {name for name in names if isinstance(name, str)}
        else:
            found |= networks_in(item)
    return found


def key_of(engine: Mapping[str, Any]) -> str:
    """Equal for equal engine settings."""
    return json.dumps(engine, sort_keys=True, default=str)


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
