"""Checkpoints: the whole state of a coarse-to-fine run in one file, from which it goes on.

The file, little-endian: 8 bytes of magic; the length and CRC-32 of a header, 8 bytes each; the
header, JSON in UTF-8; then the arrays that the header lists, each with its CRC-32, one after the
other. Nothing in it is code. It is written beside its target as NAME.part, flushed to the disk and
renamed: whatever happens, the checkpoint is the last whole one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastsynth._errors import CheckpointError
from fastsynth.image import flush_directory
from fastsynth.optimize import History, Progress, RunResult
from fastsynth.render.schedule import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.render.refine import LevelResult

__all__ = ["Checkpoint", "Position"]

MAGIC = b"FSYNCKP1"
MOST_HEADER = 1 << 28  # bytes
DTYPES = ("<f4", "<f8", "<i8")
BUSY = 20  # a write is followed by at least this many times its duration: 5 % of the time at most
SHOWN = 3  # differences named in an error

logger = logging.getLogger("fastsynth")


@dataclass(frozen=True, eq=False)
class Position:
    """Where a run stands.

    results: levels that are done
    index: the level in progress; the number of levels when all are done
    state: the optimiser's at this level, None at its start
    began, seconds: of the run, at the start of this level and now
    stopped: why the run ended; "" while it goes on
    """

    results: tuple[LevelResult, ...]
    index: int
    state: Mapping[str, Any] | None
    began: float
    seconds: float
    stopped: str = ""


class Checkpoint:
    """The file in which a run leaves its state every some seconds.

    path: of the file; its folder must be there and writable.
    seconds: between two writes; 0 writes after every iteration. Where a write takes long the next
        one waits, so that writing takes 5 % of the time at most.
    run: plain data that says which run this is; a file is continued only where its own is equal.
    resume: go on from the file where there is one; False begins anew and replaces it.

    `position` is where the run goes on, None for a run that begins. Raises CheckpointError when the
    file is damaged, belongs to another run, or cannot be written; it stays as it is then.
    A write that fails later is logged as a warning, and the run goes on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        run: Mapping[str, Any],
        *,
        seconds: float = 30.0,
        resume: bool = True,
    ) -> None:
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not number or not 0 <= seconds < math.inf:
            raise CheckpointError(f"checkpoint_seconds must be a number ≥ 0, not {seconds!r}")
        if not isinstance(resume, bool):
            raise CheckpointError(f"resume must be True or False, not {resume!r}")
        self.path = real_path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.run: dict[str, Any] = json.loads(json.dumps(run))
        self._seconds = float(seconds)
        self._next = time.monotonic() + self._seconds
        self._failed = ""
        try:
            self.part.write_bytes(b"")
            self.part.unlink()
        except OSError as error:
            raise CheckpointError(
                f"no checkpoint can be written to {str(self.path)!r}: {error.strerror or error}; "
                "choose another folder"
            ) from error
        self.position: Position | None = None
        if resume and self.path.exists():
            self.position = self._read()

    def due(self) -> bool:
        """Whether it is time for the next write."""
        return time.monotonic() >= self._next

    def write(self, position: Position) -> None:
        """Replaces the file; where that fails, the last one stays, and a warning is logged."""
        started = time.monotonic()
        try:
            with self.part.open("wb") as file:
                write_position(file, position, self.run)
                file.flush()
                os.fsync(file.fileno())
            self.part.replace(self.path)
            flush_directory(self.path.parent)
            self._failed = ""
        except OSError as error:
            cause = error.strerror or str(error)
            if cause != self._failed:  # once, not every time
                kept = "the last one is kept" if self.path.exists() else "there is none yet"
                logger.warning(
                    "the checkpoint %s was not written: %s; %s, the run goes on",
                    self.path,
                    cause,
                    kept,
                )
            self._failed = cause
        finally:
            self.part.unlink(missing_ok=True)
        now = time.monotonic()
        self._next = now + (max(self._seconds, BUSY * (now - started)) if self._seconds else 0.0)

    def watching(
        self,
        callback: Callable[[Progress], bool | None] | None,
        position: Callable[[Mapping[str, Any]], Position],
    ) -> Callable[[Progress], bool | None]:
        """A callback of the update loop that writes `position` of its state when it is time."""

        def notify(event: Progress) -> bool | None:
            answer = None if callback is None else callback(event)
            if answer is not False and self.due():
                try:
                    self.write(position(event.state()))
                except MemoryError:
                    logger.warning("no memory for a checkpoint of the run, which goes on")
                    self._next = time.monotonic() + self._seconds
            return answer

        return notify

    def _read(self) -> Position:
        way_out = "choose another checkpoint file, or resume=False (--no-resume) to begin anew"
        name = repr(str(self.path))
        try:
            with self.path.open("rb") as file:
                header = read_header(file)
                run = header.get("run")
                if not isinstance(run, dict):
                    raise DamagedError("its header names no run")
                other = differences(run, self.run)
                if other:
                    told = "; ".join(other[:SHOWN])
                    more = f"; and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
                    raise CheckpointError(
                        f"the checkpoint {name} is of another run: {told}{more}. Give the same, "
                        f"or {way_out}"
                    )
                return read_position(file, header)
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint {name} cannot be read: {error.strerror or error}; {way_out}"
            ) from error
        except DamagedError as error:
            raise CheckpointError(
                f"the checkpoint {name} cannot be used: {error}; {way_out}"
            ) from error


class DamagedError(Exception):
    """What is wrong with a file."""


def real_path(path: Any) -> Path:
    """The file behind a path, in a folder that exists."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise CheckpointError(f"checkpoint is a {type(path).__name__}; expected a path")
    try:
        real = Path(os.path.realpath(path))
        odd = real.exists() and not real.is_file()
        lost = not real.parent.is_dir()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the checkpoint {str(path)!r} is no path: {error}") from error
    if odd:
        raise CheckpointError(f"the checkpoint {str(path)!r} is not a file; give a file name")
    if lost:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} has no folder {str(real.parent)!r}; create it first"
        )
    return real


def differences(found: Any, wanted: Any, place: str = "") -> list[str]:
    """Where two pieces of plain data differ, in words; `found` is the checkpoint's."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        places = [
            (key, found.get(key), wanted.get(key))
            for key in [*wanted, *sorted(found.keys() - wanted.keys())]
        ]
        dot = f"{place}." if place else ""
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        places = [(str(i), a, b) for i, (a, b) in enumerate(zip(found, wanted, strict=True))]
        dot = f"{place}."
    else:
        return [] if found == wanted else [f"{place} is {brief(found)} there, {brief(wanted)} here"]
    return [text for key, a, b in places for text in differences(a, b, f"{dot}{key}")]


def brief(value: Any) -> str:
    """
    >>> brief("0123456789abcdef" * 4)
    "'0123456789abcdef0123456789abcde…"
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:32]}…"


def write_position(file: BinaryIO, position: Position, run: Mapping[str, Any]) -> None:
    """Writes a checkpoint's bytes; raises OSError."""
    arrays: list[NDArray[Any]] = []
    listed: list[list[Any]] = []

    def put(value: NDArray[Any]) -> dict[str, int]:
        kind = value.dtype.newbyteorder("<").str
        array = np.ascontiguousarray(value, kind)
        arrays.append(array)
        listed.append([kind, list(array.shape), zlib.crc32(array.data)])
        return {"array": len(arrays) - 1}

    def pack(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return put(value)
        return {k: pack(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    results = [
        {
            "index": result.index,
            "level": result.level.numbers(),
            "weights": result.weights,
            "names": list(result.run.history.names),
            "loss": result.run.loss,
            "reason": result.run.reason,
            "evaluations": result.run.evaluations,
            "iterations": result.run.iterations,
            "seconds": result.run.seconds,
            "x": put(result.run.x),
            "average": pack(result.run.average),
            "history": {
                key: put(getattr(result.run.history, key))
                for key in ("iteration", "seconds", "loss", "parts")
            },
        }
        for result in position.results
    ]
    header = {
        "run": run,
        "results": results,
        "index": position.index,
        "state": pack(position.state),
        "began": position.began,
        "seconds": position.seconds,
        "stopped": position.stopped,
        "arrays": listed,
    }
    text = json.dumps(header).encode()
    file.write(MAGIC + struct.pack("<QQ", len(text), zlib.crc32(text)) + text)
    for array in arrays:
        file.write(array.data)


def read_header(file: BinaryIO) -> dict[str, Any]:
    """The header of a checkpoint; raises DamagedError."""
    start = file.read(len(MAGIC) + 16)
    if start[: len(MAGIC)] != MAGIC:
        raise DamagedError("it is not a checkpoint of this version of the format")
    if len(start) < len(MAGIC) + 16:
        raise DamagedError("it is cut short")
    length, checksum = struct.unpack("<QQ", start[len(MAGIC) :])
    text = file.read(length) if length <= MOST_HEADER else b""
    if len(text) != length:
        raise DamagedError("it is cut short within its header, or damaged")
    if zlib.crc32(text) != checksum:
        raise DamagedError("its header is damaged: the checksum differs")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError("its header is not JSON") from error
    if not isinstance(header, dict):
        raise DamagedError("its header is not an object")
    return header


def read_position(file: BinaryIO, header: Mapping[str, Any]) -> Position:
    """Where the run of a checkpoint stands; raises DamagedError."""
    from fastsynth.render.refine import LevelResult  # here, since it imports this module

    try:
        arrays = read_arrays(file, header["arrays"])

        def unpack(value: Any) -> Any:
            if isinstance(value, dict):
                if set(value) == {"array"}:
                    return arrays[value["array"]]
                return {key: unpack(item) for key, item in value.items()}
            return value

        results = []
        for item in header["results"]:
            level = Level(*item["level"])
            history = History(tuple(item["names"]), **unpack(item["history"]))
            run = RunResult(
                x=unpack(item["x"]),
                loss=float(item["loss"]),
                reason=str(item["reason"]),
                evaluations=int(item["evaluations"]),
                iterations=int(item["iterations"]),
                seconds=float(item["seconds"]),
                history=history,
                average=unpack(item["average"]),
            )
            check_result(run, level)
            check_history(history)
            results.append(LevelResult(int(item["index"]), level, run, dict(item["weights"])))
        order = [result.index for result in results]
        index = int(header["index"])
        if order != sorted(set(order)) or any(not 0 <= place < index for place in order):
            raise DamagedError("its levels are out of order")
        state = unpack(header["state"])
        if not isinstance(state, (dict, type(None))):
            raise DamagedError("the state of its optimiser is no table")
        return Position(
            results=tuple(results),
            index=index,
            state=state,
            began=float(header["began"]),
            seconds=float(header["seconds"]),
            stopped=str(header["stopped"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DamagedError(
            f"its contents make no sense ({type(error).__name__}: {error})"
        ) from error


LARGEST_COUNT = 1 << 53  # exact in float64, which estimates are made in


def check_result(run: RunResult, level: Level) -> None:
    """A level's picture must be one, of a size that can be that of the level."""
    x = run.x
    if x.ndim != 3 or x.dtype != np.float32 or x.shape[0] != 3:
        raise DamagedError("the picture of a level is not planar RGB")
    around = (x.shape[1] - level.height, x.shape[2] - level.width)
    if around[0] != around[1] or around[0] < 0 or not np.isfinite(x).all():
        raise DamagedError("the picture of a level does not fit the level, or is not finite")
    average = run.average
    if average is not None and (average.shape, average.dtype) != (x.shape, x.dtype):
        raise DamagedError("the average picture of a level is not like its picture")
    if not (0 <= run.evaluations <= LARGEST_COUNT and 0 <= run.iterations <= LARGEST_COUNT):
        raise DamagedError("the evaluations of a level are no count")


def check_history(history: History) -> None:
    """Vectors of one value for each evaluation, and a matrix of one column for each name."""
    count = len(history.loss)
    shapes: dict[str, tuple[int, ...]] = {"parts": (count, len(history.names))}
    shapes.update(dict.fromkeys(("iteration", "seconds", "loss"), (count,)))
    for name, shape in shapes.items():
        array = getattr(history, name)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise DamagedError(f"the history of a level has no {name} of shape {shape}")


def read_arrays(file: BinaryIO, listed: Sequence[Any]) -> list[NDArray[Any]]:
    """The arrays that a header lists, never larger than the file. Raises DamagedError."""
    here = file.tell()
    left = file.seek(0, os.SEEK_END) - here
    file.seek(here)
    arrays = []
    for dtype, shape, checksum in listed:
        if dtype not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise DamagedError("an array's type or shape makes no sense")
        size = np.dtype(dtype).itemsize * math.prod(shape)
        if size > left:
            raise DamagedError("it is cut short: arrays are missing")
        left -= size
        array = np.empty(shape, dtype)
        if size and file.readinto(array.data) != size:  # type: ignore[attr-defined]
            raise DamagedError("it is cut short: arrays are missing")
        if zlib.crc32(array.data) != checksum:
            raise DamagedError("an array is damaged: the checksum differs")
        arrays.append(array.astype(array.dtype.newbyteorder("="), copy=False))
    if left:
        raise DamagedError(f"{left} bytes follow its end")
    return arrays
