"""What became of a batch, job by job."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from fastsynth.image import write_whole

__all__ = ["BatchItem", "BatchReport"]

INTERRUPTED = 130


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
