"""Which job of a batch comes next, how many are in work at a time, and what each needs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import ObjectiveError
from fastsynth.synthesize.batch_work import Task, key_of
from fastsynth.synthesize.jobs import IMAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Schedule",
    "at_once",
    "memory_of",
    "output_pixels",
    "runs_steps",
    "split",
    "steps_on_device",
]

ATTEMPTS = 5  # of a job whose workers are lost
MOST = 1024  # jobs at a time
USABLE = 0.8  # of the memory that is there
MOST_TOGETHER = 8  # pictures in one step graph, where nobody says how many

logger = logging.getLogger("fastsynth")


class Schedule:
    """Tasks that wait, and those in work. Not for several threads without a lock.

    memory: bytes that the tasks in work may need together; None: any number.
    attempts: of a task whose worker is lost, before it is given up.

    >>> tasks = [Task(index, "invert", {}, {}, Path(f"{index}.png")) for index in range(2)]
    >>> schedule = Schedule(tasks, attempts=2)
    >>> first = schedule.take()
    >>> schedule.lost(first), schedule.take() is first, schedule.lost(first), schedule.take().index
    (True, True, False, 1)
    """

    def __init__(
        self, tasks: Iterable[Task], *, memory: int | None = None, attempts: int = ATTEMPTS
    ) -> None:
        self.waiting = deque(tasks)
        self.working: dict[int, Task] = {}
        self._memory = memory
        self._attempts = attempts
        self._tried: dict[int, int] = {}

    def __bool__(self) -> bool:
        """Whether anything is left to wait for."""
        return bool(self.waiting or self.working)

    def take(self, engine: str | None = None) -> Task | None:
        """The next task; None where none waits, or none fits beside those in work.

        engine: the settings (`key_of`) that are loaded where it will be done: such a task is
            preferred. A task that fits nowhere beside others is done alone; none overtakes it.
        """
        if not self.waiting:
            return None
        task = next((t for t in self.waiting if key_of(t.engine) == engine), self.waiting[0])
        if self._memory is not None and self.working:
            taken = sum(need_of(other) for other in self.working.values())
            if taken + need_of(task) > self._memory:
                return None
        self.waiting.remove(task)
        self.working[task.index] = task
        self._tried[task.index] = self.tried(task) + 1
        return task

    def tried(self, task: Task) -> int:
        """How often a task was taken."""
        return self._tried.get(task.index, 0)

    def done(self, task: Task) -> None:
        """Notes that a task is over, well or not."""
        del self.working[task.index]

    def lost(self, task: Task) -> bool:
        """Notes that a task's worker is gone: it comes next again; False when that is enough."""
        self.done(task)
        if self.tried(task) >= self._attempts:
            return False
        self.waiting.appendleft(task)
        return True


def need_of(task: Task) -> int:
    """Bytes that a task needs beside the weights: as foreseen, or by the rule of thumb."""
    return memory_of(task.pixels, task.engine) if task.memory is None else task.memory


def memory_of(pixels: int, engine: Mapping[str, Any]) -> int:
    """Bytes that one run of an output of so many pixels needs at most, the network's aside: where
    nobody has counted (see foreseeing.py), such as for a cluster's workers before they are there.

    Measured for transfers and textures by L-BFGS at 256 to 1024 px, and rounded up: buffers of the
    last level, 43 vectors of the optimiser, pictures.
    """
    native = engine.get("backend", "auto") in ("auto", "native") and engine.get("device") in (
        None, "auto", "cpu",
    )  # fmt: skip
    return (64 << 20) + pixels * (2048 if native else 4096)


def steps_on_device(engine: Mapping[str, Any]) -> bool:
    """Whether an engine's runs are step graphs on a device of their own, not on the CPU."""
    return runs_steps(engine) and engine.get("device") not in (None, "auto", "cpu")


def runs_steps(engine: Mapping[str, Any]) -> bool:
    """Whether an engine's runs are step graphs.

    >>> runs_steps({"backend": "step"}), runs_steps({"device": "cuda"}), runs_steps({})
    (True, True, False)
    """
    backend = engine.get("backend", "auto")
    return backend == "step" or (
        backend == "auto" and engine.get("device") not in (None, "auto", "cpu")
    )


def output_pixels(arguments: Mapping[str, Any], base: Path) -> tuple[int, str]:
    """Pixels of a job's output, and what tells its size, as far as can be seen at a glance."""
    from PIL import Image

    subject = next((arguments[key] for key in IMAGES if key in arguments), None)
    width = height = 0
    if isinstance(subject, str):
        try:
            with Image.open(base / subject) as image:
                width, height = image.size
        except Exception:  # whatever is wrong with it is told when its turn comes
            logger.debug("%s has no size yet", subject)
    size = arguments.get("size")
    told = f"{size} {(width, height)}"
    if isinstance(size, (int, float)) and size > 0:
        longest = max(width, height)
        share = min(width, height) / longest if longest else 1.0
        return int(side_of(size) ** 2 * share), told
    if isinstance(size, (list, tuple)) and all(isinstance(side, (int, float)) for side in size):
        product = 1.0
        for side in size:
            product *= side_of(side)
        return int(product), told
    return width * height, told


def side_of(value: float) -> float:
    """A side from 0 to 10^9 px, whatever a job says: its own check comes with its turn."""
    return float(min(max(value, 0), 10**9)) if value == value else 0.0  # noqa: PLR0124 (NaN)


def at_once(parallel: int | str, threads: int, tasks: Sequence[Task], memory: int | None) -> int:
    """How many tasks are to be in work at a time.

    parallel: a number, or "auto": as many as there are threads and as the memory holds.
    memory: bytes that could be taken; None where nobody knows, then "auto" is 1. Of a number no
        more than the smallest tasks that fit together: lanes that always wait would keep threads.
    """
    if parallel == "auto":
        largest = max(need_of(task) for task in tasks)
        fits = 1 if memory is None else int(memory * USABLE) // largest
        wanted = min(threads, fits)
    else:
        wanted = checked_parallel(parallel)
        if memory is not None:
            taken = accumulate(sorted(need_of(task) for task in tasks))
            wanted = min(wanted, sum(bytes_ <= int(memory * USABLE) for bytes_ in taken))
    return max(1, min(wanted, len(tasks)))


def checked_parallel(parallel: Any) -> int:
    """A number of jobs at a time that makes sense; raises ObjectiveError for another."""
    whole = isinstance(parallel, int) and not isinstance(parallel, bool)
    if not whole or not 1 <= parallel <= MOST:
        raise ObjectiveError(
            f"parallel must be 'auto' or a number of jobs from 1 to {MOST}, not {parallel!r}"
        )
    return int(parallel)


def split(threads: int, ways: int) -> list[int]:
    """
    >>> split(5, 2), split(2, 3)
    ([3, 2], [1, 1, 1])
    """
    share, rest = divmod(threads, ways)
    return [max(1, share + (index < rest)) for index in range(ways)]
