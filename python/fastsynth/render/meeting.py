"""Levels of several jobs that become one step graph, where they are alike.

Each job runs in a thread of its own, as it would alone, up to a level's step graph. There the jobs
of a Meeting wait for one another; the last that comes runs what has gathered, and each goes on with
its own result. Who is alike shares a graph: equal sizes, taps, weights, optimiser.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastsynth._errors import MemoryLimitError
from fastsynth.network.providers import CPU

if TYPE_CHECKING:
    from fastsynth.network.session import Provider
    from fastsynth.objective import WholeObjective
    from fastsynth.optimize import Optimizer, RunResult
    from fastsynth.optimize.step import Start

__all__ = ["Asked", "Meeting", "run_or_meet"]

logger = logging.getLogger("fastsynth")


@dataclass(eq=False)
class Asked:
    """A level that waits for its run, and later what came of it."""

    whole: WholeObjective
    optimizer: Optimizer
    start: Start
    memory_limit: int | None = None
    outcome: RunResult | BaseException | None = None

    def is_like(self, other: Asked) -> bool:
        """Whether both may share a graph."""
        settings = (self.optimizer, self.memory_limit) == (other.optimizer, other.memory_limit)
        return settings and self.whole.is_like(other.whole)

    @property
    def execution(self) -> Provider:
        """The provider, with what the run may take where it has memory of its own."""
        execution = next(iter(self.whole.networks.values())).execution
        if execution.name == CPU or self.memory_limit is None:
            return execution
        return replace(execution, memory_limit=self.memory_limit)


class Meeting:
    """Where `members` threads meet at each level. A thread joins before it works, once.

    A member that works on nothing must be `away`: the others wait for it.
    """

    def __init__(self, members: int) -> None:
        self._turn = threading.Condition()
        self._members = members
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
                return
            gathered, self._waiting = self._waiting, []
        try:
            for group in groups_of(gathered):
                run_group(group)
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


def run_group(group: Sequence[Asked]) -> None:
    """Runs levels that are alike as one graph; as two of half the size where memory does not do."""
    from fastsynth.optimize.step import StepGraph, run_together

    first, *others = group
    # Members have shares of the threads; while one works for all, it has all of them.
    threads = sum(next(iter(a.whole.networks.values())).threads for a in group)
    try:
        graph = StepGraph(first.whole, first.optimizer, [other.whole for other in others])
        outcomes = run_together(graph, [a.start for a in group], first.execution, threads)
    except MemoryLimitError as error:
        if not others:
            first.outcome = error
            return
        half = len(group) // 2
        logger.warning(
            "%d pictures at once do not fit the memory; they are done in two lots", len(group)
        )
        run_group(group[:half])
        run_group(group[half:])
    except Exception as error:  # each thread raises it as its own
        for asked in group:
            asked.outcome = error
    else:
        for asked, outcome in zip(group, outcomes, strict=True):
            asked.outcome = outcome


def run_or_meet(asked: Asked) -> RunResult:
    """Runs a level, with others' where this thread has joined a Meeting. Raises what it raises."""
    meeting = _CURRENT.get()
    if meeting is None:
        run_group([asked])
    else:
        meeting.run(asked)
    if isinstance(asked.outcome, BaseException):
        raise asked.outcome
    assert asked.outcome is not None
    return asked.outcome
