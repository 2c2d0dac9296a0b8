"""A progress bar on the terminal: level, loss and time left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from fastsynth.render import Progress as Event

__all__ = ["Bar", "BatchBar", "with_bar"]


class Bar:
    """A callback that shows each evaluation, then asks the caller's own callback."""

    def __init__(self, callback: Callable[[Event], bool | None] | None, console: Console) -> None:
        self._callback = callback
        self._bar = Progress(
            TextColumn("{task.fields[size]:>11}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("loss {task.fields[loss]:.4g}"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            transient=True,
            refresh_per_second=8,
        )
        self._task = self._bar.add_task("", total=1.0, size="", loss=float("nan"), left="–:––")
        self._bar.start()

    def __call__(self, event: Event) -> bool | None:
        self._bar.update(
            self._task,
            completed=event.evaluation,
            total=event.evaluations,
            size=f"{event.width}×{event.height}",
            loss=event.loss,
            left=clock(event.seconds_left),
        )
        return self._callback(event) if self._callback is not None else None

    def close(self) -> None:
        """Takes the bar off the terminal."""
        self._bar.stop()


class BatchBar:
    """One bar for many jobs: which one, how many are done, and how far this one is."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self._bar = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}/{task.total:.0f}"),
            TextColumn("{task.fields[failed]} failed"),
            console=console or Console(stderr=True),
            transient=True,
            refresh_per_second=8,
        )
        self._done = 0
        self._shares: dict[int, float] = {}  # of the jobs in work, by their index
        self._lock = threading.Lock()
        self._task = self._bar.add_task("", total=max(total, 1), name="", done=0, failed=0)
        self._bar.start()

    def begin(self, job: int, name: str) -> Callable[[Event], None]:
        """Shows the name of a job that begins; gives the callback of its run."""
        self._bar.update(self._task, name=name)

        def step(event: Event) -> None:
            with self._lock:
                self._shares[job] = min(event.evaluation / max(event.evaluations, 1), 1.0)
                self._bar.update(self._task, completed=self._done + sum(self._shares.values()))

        return step

    def end(self, job: int, failed: int) -> None:
        """Counts a job that is over; `failed`: of all so far."""
        with self._lock:
            self._done += 1
            self._shares.pop(job, None)
            completed = self._done + sum(self._shares.values())
            self._bar.update(self._task, completed=completed, done=self._done, failed=failed)

    def close(self) -> None:
        """Takes the bar off the terminal."""
        self._bar.stop()


def with_bar(
    callback: Callable[[Event], bool | None] | None = None, console: Console | None = None
) -> Bar:
    """A bar on the terminal's error stream around a callback."""
    return Bar(callback, console or Console(stderr=True))


def clock(seconds: float) -> str:
    """
    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
