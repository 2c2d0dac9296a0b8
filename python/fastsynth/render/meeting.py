"""Levels of several jobs that become one step graph, where they are alike.

Each job runs in a thread of its own, as it would alone, up to a level's step graph. There the jobs
of a Meeting wait for one another; the last that comes runs what has gathered, and each goes on with
its own result. Who is alike shares a graph: equal sizes, taps, weights, optimiser.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fastsynth._errors import MemoryLimitError
from fastsynth.network.providers import CPU

if TYPE_CHECKING:
    from fastsynth.network.session import Provider
    from fastsynth.objective import WholeObjective
    from fastsynth.optimize import Optimizer, RunResult
    from fastsynth.optimize.step_loop import Start

__all__ = ["Asked", "Meeting", "run_or_meet"]

logger = logging.getLogger("fastsynth")


@dataclass(eq=False)
class Asked:
    """A level that waits for its run, and later what came of it.

    waited: is told of seconds that were spent on waiting for others; they are not the run's.
    """

    whole: WholeObjective
    optimizer: Optimizer
    start: Start
    memory_limit: int | None = None
    waited: Callable[[float], None] | None = None
    outcome: RunResult | BaseException | None = None
    _since: float = field(default_factory=time.monotonic)

    def is_like(self, other: Asked) -> bool:
        """Whether both may share a graph."""
        settings = (self.optimizer, self.memory_limit) == (other.optimizer, other.memory_limit)
        return settings and self.whole.is_like(other.whole)

    def waits(self) -> None:
        """From now on its time is others'."""
        self._since = time.monotonic()

    def goes_on(self) -> None:
        """From now on its time is its own."""
        if self.waited is not None:
            self.waited(time.monotonic() - self._since)

    @property
    def execution(self) -> Provider:
        """The provider, with what the run may take where it has memory of its own."""
        execution = next(iter(self.whole.networks.values())).execution
        if execution.name == CPU or self.memory_limit is None:
            return execution
        return replace(execution, memory_limit=self.memory_limit)


class Meeting:
    """Where `members` threads meet at each level. A thread joins before it works, once.

    A member that works on nothing must be `away`: the others wait for it. One that will never join
    is `dismissed`. threads: of whoever runs what has gathered; the others wait meanwhile.
    """

    def __init__(self, members: int, threads: int) -> None:
        self._turn = threading.Condition()
        self._members, self._threads = members, threads
        self._waiting: list[Asked] = []

    @contextmanager
    def joined(self) -> Iterator[None]:
        """While a thread is one of the members; when it leaves, they are one less."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)
            self._change(-1)

    @contextmanager
    def away(self) -> Iterator[None]:
        """While a member waits for something else."""
        self._change(-1)
        try:
            yield
        finally:
            self._change(1)

    def dismiss(self, members: int) -> None:
        """Counts no longer on members that have not joined."""
        self._change(-members)

    def _change(self, count: int) -> None:
        with self._turn:
            self._members += count
            self._turn.notify_all()

    def run(self, asked: Asked) -> None:
        """Waits until all members are here, or until another has run this; then it has come out."""
        with self._turn:
            self._waiting.append(asked)
            self._turn.notify_all()
            while asked.outcome is None and not self._all_here():
                self._turn.wait()
            if asked.outcome is not None:
                asked.goes_on()
                return
            gathered, self._waiting = self._waiting, []
        try:
            for group in groups_of(gathered):
                run_group(group, self._threads)
                with self._turn:  # who has a result need not wait for the other groups
                    self._turn.notify_all()
            asked.goes_on()
        finally:
            with self._turn:
                for other in gathered:
                    if other.outcome is None:
                        other.outcome = RuntimeError("the thread that ran this level was stopped")
                self._turn.notify_all()

    def _all_here(self) -> bool:
        return bool(self._waiting) and len(self._waiting) >= self._members


_CURRENT: ContextVar[Meeting | None] = ContextVar("meeting", default=None)


def groups_of(gathered: Sequence[Asked]) -> list[list[Asked]]:
    """Those that are alike, in the order in which they came."""
    groups: list[list[Asked]] = []
    for asked in gathered:
        group = next((g for g in groups if g[0].is_like(asked)), None)
        if group is None:
            groups.append([asked])
        else:
            group.append(asked)
    return groups


def run_group(group: Sequence[Asked], threads: int) -> None:
    """Runs levels that are alike as one graph; as two of half the size where memory does not do."""
    from fastsynth.optimize.step import StepGraph
    from fastsynth.optimize.step_loop import run_together

    first, *others = group
    outcomes: Sequence[RunResult | BaseException | None]
    for asked in group:
        asked.goes_on()
    try:
        outcomes = run_together(
            StepGraph(first.whole, first.optimizer, [other.whole for other in others]),
            [asked.start for asked in group],
            first.execution,
            threads,
        )
    except MemoryLimitError as error:
        outcomes = [None] * len(group) if others else [error]
    except Exception as error:  # each thread raises it as its own
        outcomes = [error] * len(group)
    for asked, outcome in zip(group, outcomes, strict=True):
        asked.waits()
        asked.outcome = outcome
    if None in outcomes:
        logger.warning(
            "%d pictures at once do not fit the memory; they are done in two lots", len(group)
        )
        half = len(group) // 2
        run_group(group[:half], threads)
        run_group(group[half:], threads)


def run_or_meet(asked: Asked) -> RunResult:
    """Runs a level, with others' where this thread has joined a Meeting. Raises what it raises."""
    meeting = _CURRENT.get()
    if meeting is None:
        run_group([asked], next(iter(asked.whole.networks.values())).threads)
    else:
        meeting.run(asked)
    if isinstance(asked.outcome, BaseException):
        raise asked.outcome
    assert asked.outcome is not None
    return asked.outcome
