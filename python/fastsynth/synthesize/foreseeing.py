"""What the jobs of a batch will take: each kind of job is planned once, none is run."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastsynth._errors import FastsynthError, ObjectiveError
from fastsynth.synthesize.estimation import Estimate, Rehearsal, rehearse
from fastsynth.synthesize.jobs import (
    VERBS,
    check_job,
    decode_arguments,
    recorded,
    run_verb,
)
from fastsynth.synthesize.synthesizer import Synthesizer

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from fastsynth._types import ImageLike
    from fastsynth.synthesize.batch_work import Settings, Task

__all__ = ["estimate_job", "estimate_replay", "foreseen", "joined", "tried"]

logger = logging.getLogger("fastsynth")

MISTAKES = (FastsynthError, OSError, ValueError, TypeError)  # of a job, told when its turn comes


def foreseen(
    tasks: Sequence[Task], synthesizer: Synthesizer, settings: Settings
) -> tuple[list[Task], int]:
    """The tasks with the memory that each needs of its own, where it can be counted; and the bytes
    that the process holds for all.

    Tasks are of one kind where they differ in the pictures that they name alone, and these and
    their outputs are of one size. What is wrong with a job is told when its turn comes.
    """
    known: dict[str, int] = {}
    found, shared = [], 0
    for task in tasks:
        if not task.needs_network:
            found.append(task)
            continue
        kind = kind_of(task, settings)
        if kind not in known:
            rehearsal = rehearsed(task, synthesizer, settings)
            if rehearsal.own:  # else it may be this task's own mistake: the next is planned too
                known[kind] = max(rehearsal.own)
            shared = max(shared, *rehearsal.shared, 0)
        found.append(dataclasses.replace(task, memory=known.get(kind)))
    return found, shared


def tried(
    tasks: Sequence[Task], synthesizer: Synthesizer, settings: Settings
) -> list[Estimate | Exception | None]:
    """The estimate of each task, or what it would raise; of each kind one is tried out."""
    known: dict[str, Estimate | None] = {}
    found: list[Estimate | Exception | None] = []
    for task in tasks:
        kind = kind_of(task, settings)
        if kind not in known:
            rehearsal = Rehearsal(synthesizer)
            try:
                rehearse_task(task, rehearsal, settings)
            except MISTAKES as error:
                found.append(error)
                continue
            known[kind] = joined(rehearsal.estimates)
        found.append(known[kind])
    return found


def joined(parts: Sequence[Estimate]) -> Estimate | None:
    """Of runs one after the other."""
    if not parts:
        return None
    return Estimate(
        memory=max(part.memory for part in parts),
        seconds=sum(part.seconds for part in parts),
        seconds_at_most=sum(part.seconds_at_most for part in parts),
        levels=tuple(level for part in parts for level in part.levels),
    )


def estimate_job(
    job: Mapping[str, Any], *, base: Path, inputs: Mapping[str, ImageLike] | None = None
) -> Estimate:
    """What a job would take; arguments as of `run_job`.

    Raises ObjectiveError for a verb without a network, and what the job raises.
    """
    verb, engine, given = check_job(job)
    arguments = decode_arguments(given, base, inputs or {})
    return of_verb(verb, engine, arguments)


def estimate_replay(
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, ImageLike] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> Estimate:
    """What making a picture again would take; arguments and errors as of `replay`."""
    played, arguments, _ = recorded(path, inputs)
    engine = {**played.engine, **({} if weights is None else {"weights": weights})}
    return of_verb(played.verb, engine, arguments)


def of_verb(verb: str, engine: Mapping[str, Any], arguments: Mapping[str, Any]) -> Estimate:
    """What a verb with its arguments would take."""
    if verb not in VERBS:
        raise ObjectiveError(f"there is no estimate for {verb!r}; it is for {', '.join(VERBS)}")
    with Synthesizer(**engine) as synthesizer:
        found = rehearse(synthesizer, verb, **arguments)
    assert found is not None
    return found


def rehearsed(task: Task, synthesizer: Synthesizer, settings: Settings) -> Rehearsal:
    """A task's plans; none where they cannot be foreseen."""
    rehearsal = Rehearsal(synthesizer, math.inf)
    try:
        rehearse_task(task, rehearsal, settings)
    except MISTAKES as error:
        logger.debug("%s is not foreseen: %s", task.output, error)
    return rehearsal


def rehearse_task(task: Task, rehearsal: Rehearsal, settings: Settings) -> None:
    """Does a task on a stand-in; raises what the task would, one of MISTAKES."""
    arguments = decode_arguments(task.arguments, settings.base, settings.inputs)
    if settings.memory_limit is not None:
        arguments.setdefault("memory_limit", settings.memory_limit)
    run_verb(rehearsal, task.verb, arguments, {})


def kind_of(task: Task, settings: Settings) -> str:
    """Equal for tasks that need the same memory."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return [[plain(key), plain(item)] for key, item in value.items()]
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        size = size_of(value, settings) if isinstance(value, str) else None
        return value if size is None else ["a picture", *size]

    return json.dumps([task.verb, task.pixels, plain(task.arguments)], default=str)


def size_of(text: str, settings: Settings) -> tuple[int, int] | None:
    """Width and height of the picture file that a text names; None where it names none.

    An input that is given as such stays what its name says: a kind of its own.
    """
    from PIL import Image

    if text in settings.inputs:
        return None
    try:
        with Image.open(settings.base / text) as image:
            return image.size
    except Exception:  # is no picture, or too long for a name; its own check comes with its turn
        return None
