"""Traces: what a run did, one JSON object in a line for each report."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fastsynth._closing import Closing
from fastsynth._errors import ObjectiveError

if TYPE_CHECKING:
    from types import TracebackType

    from fastsynth.render.refine import LevelResult, Progress

__all__ = ["Trace", "TraceWriter"]

NUMBERS = ("level", "levels", "width", "height", "evaluation", "evaluations", "iteration", "loss")

logger = logging.getLogger("fastsynth")


@dataclass(frozen=True)
class Trace:
    """A file that lines are appended to, and labels that go into each of them.

    Runs, threads and processes may share one file on a local disk: a line is written at once.
    """

    path: str | os.PathLike[str]
    labels: Mapping[str, Any] = field(default_factory=dict)


class TraceWriter(Closing):
    """The lines of one run: "begin", a "step" for each report, "end".

    given: a file, a Trace, or None for a run without lines; about: goes into the "begin" line.
    Raises ObjectiveError for what is no file, or a file that cannot be written.
    """

    def __init__(self, given: Any, **about: Any) -> None:
        self._file, self._begun = -1, time.monotonic()
        if given is None:
            return
        if not isinstance(given, Trace):
            if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
                raise ObjectiveError(f"trace must be the name of a file, not {given!r}")
            given = Trace(given)
        self._labels = dict(given.labels)
        self._name = os.fspath(given.path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self._name, flags, 0o666)
        except (OSError, ValueError) as error:
            raise ObjectiveError(f"the trace {self._name!r} cannot be written: {error}") from error
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.note("begin", time=now, process=os.getpid(), **about)

    @property
    def active(self) -> bool:
        """Whether lines are written."""
        return self._file >= 0

    def end(self, stopped: str, levels: Sequence[LevelResult] = ()) -> None:
        """The last line of a run: what ended it, all evaluations, and the picture's loss."""
        self.note(
            "end",
            stopped=stopped,
            evaluations=sum(level.run.evaluations for level in levels),
            loss=levels[-1].loss if levels else None,
            seconds=time.monotonic() - self._begun,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            seconds = time.monotonic() - self._begun
            self.note("end", error=type(error).__name__, message=str(error), seconds=seconds)
        self.close()

    def note(self, event: str, **values: Any) -> None:
        """Appends a line. A disk that is full ends the trace with a warning, not the run."""
        if not self.active:
            return
        line = json.dumps(plain({"event": event, **self._labels, **values}), ensure_ascii=False)
        data = (line + "\n").encode("utf-8", "backslashreplace")
        try:
            written = os.write(self._file, data)  # in one piece: lines of several runs do not mix
            if written != len(data):
                raise OSError(f"{written} of {len(data)} bytes were written")
        except OSError as error:
            logger.warning("the trace %r ends here: %s", self._name, error)
            self.close()

    def watching(
        self, callback: Callable[[Progress], bool | None] | None
    ) -> Callable[[Progress], bool | None] | None:
        """A callback that notes each report, then asks the caller's own callback."""
        if not self.active:
            return callback

        def step(event: Progress) -> bool | None:
            self.note(
                "step",
                **{name: getattr(event, name) for name in NUMBERS},
                losses=event.losses,
                seconds=event.seconds,
                memory=event.memory,
                peak_memory=event.peak_memory,
            )
            return None if callback is None else callback(event)

        return step

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self.active:
            os.close(self._file)
            self._file = -1


def plain(value: Any) -> Any:
    """The same as JSON knows it: numbers that are not finite become null.

    >>> plain({"loss": float("inf"), "seconds": 1.23456789})
    {'loss': None, 'seconds': 1.23456789}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
