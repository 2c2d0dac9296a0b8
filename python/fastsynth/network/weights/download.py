"""Fetches one file over HTTP: resumable, verified, whole or not at all."""

from __future__ import annotations

import http.client
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from fastsynth._errors import WeightsError
from fastsynth.network.weights.source import Source, by_hand, checksum_matches

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["fetch"]

_log = logging.getLogger("fastsynth.weights")
_BLOCK = 1 << 18  # bytes read at a time
_RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)


class _CutError(Exception):
    """The connection failed or ended early; what arrived is kept, and another attempt may go on."""


class _RestartError(Exception):
    """What is kept cannot be continued; begin at the first byte."""


def fetch(
    source: Source,
    destination: Path,
    *,
    progress: Callable[[int, int], object] | None = None,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
) -> Path:
    """Fetch `source` to `destination` unless a file that matches it is there already.

    Bytes go to `destination`.part, which a later call continues; the finished file appears under
    its name only after size and checksum were found right. Two processes that want the same file
    take turns, and the second finds it done.

    Args:
        source: the file.
        destination: where it shall lie; its folder is created.
        progress: called with (bytes so far, bytes in all).
        timeout: seconds without a byte after which a connection counts as cut.
        attempts: how often in a row an attempt may bring nothing before it is given up.
        pause: seconds before the second attempt; doubled for each further one.

    Raises:
        WeightsError: the file cannot be had, does not match, or cannot be written; says what to do.
    """
    part = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _lock(destination.with_name(destination.name + ".lock")):
            if destination.exists() and checksum_matches(destination, source):
                return destination
            _fill(source, destination, part, progress or _quiet, (timeout, attempts, pause))
            part.replace(destination)
    except OSError as error:  # those of the network never arrive here
        raise WeightsError(
            f"cannot write {error.filename or part} ({error.strerror or error}); {source.size} "
            "bytes are needed: make room there, or set FASTSYNTH_HOME to another folder"
        ) from error
    return destination


def _fill(
    source: Source,
    destination: Path,
    part: Path,
    progress: Callable[[int, int], object],
    patience: tuple[float, int, float],
) -> None:
    """Bring `part` to its full length and prove its checksum."""
    timeout, attempts, pause = patience
    fruitless = 0
    may_restart = part.exists()  # what is kept from before may be what is wrong
    restarted = False
    while True:
        before = _length(part)
        try:
            if before == source.size:
                if checksum_matches(part, source):
                    return
                algorithm, digest = source.checksum
                raise _RestartError(f"sent something without the {algorithm} checksum {digest}")
            _receive(source, part, progress, timeout)
        except _RestartError as error:
            part.unlink(missing_ok=True)
            if restarted or not may_restart:
                raise WeightsError(
                    f"{source.url} {error}; it was thrown away. Try again later, "
                    + by_hand(source, destination)
                ) from error
            restarted = True
        except _CutError as cut:
            may_restart = True
            fruitless = 0 if _length(part) > before else fruitless + 1
            if fruitless >= attempts:
                raise WeightsError(
                    f"cannot fetch {source.url} ({cut}); {_length(part)} of {source.size} bytes "
                    "are kept, and the same command continues there, "
                    + by_hand(source, destination)
                ) from cut
            _log.info("connection cut (%s); continuing at byte %d", cut, _length(part))
            time.sleep(pause * 2 ** max(0, fruitless - 1))
        except urllib.error.HTTPError as error:
            raise WeightsError(
                f"{source.url} answers {error.code} {error.reason}; try again later, "
                + by_hand(source, destination)
            ) from error


def _receive(
    source: Source, part: Path, progress: Callable[[int, int], object], timeout: float
) -> None:
    """One request for what is missing of `part`. Raises _CutError, _RestartError or HTTPError."""
    have = _length(part)
    if have > source.size:
        raise _RestartError("is shorter than what was kept")
    request = urllib.request.Request(
        source.url, headers={"User-Agent": "fastsynth", "Accept-Encoding": "identity"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _cuts(), urllib.request.urlopen(request, timeout=timeout) as response:
        continued = response.status == http.client.PARTIAL_CONTENT
        if continued and not re.match(rf"bytes {have}-", response.headers.get("Content-Range", "")):
            raise _RestartError("sends another part than the one asked for")
        position = have if continued else 0  # a server without ranges sends the whole file again
        with part.open("ab" if continued else "wb") as file:
            while block := response.read(_BLOCK):
                position += len(block)
                if position > source.size:
                    raise _RestartError(f"sends more than {source.size} bytes")
                _write(file, block)
                progress(position, source.size)
            if position < source.size:
                raise _CutError(f"it ended after {position} bytes")
            with _disk_errors():
                file.flush()
                os.fsync(file.fileno())


class _DiskError(Exception):
    """An OSError of the disk on its way past the handlers that take OSError for the network's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _write(file: IO[bytes], block: bytes) -> None:
    with _disk_errors():
        file.write(block)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _DiskError(error) from error


@contextmanager
def _cuts() -> Iterator[None]:
    """Turn what a failing connection raises into _CutError, and leave errors of the disk alone."""
    try:
        yield
    except _DiskError as wrapped:
        raise wrapped.error from None
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _RestartError("has nothing more to send") from error
        if error.code in _RETRY_STATUS:
            raise _CutError(f"{error.code} {error.reason}") from error
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _CutError(str(reason) or type(error).__name__) from error


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _quiet(_done: int, _total: int) -> None:
    """The progress callback of who wants none."""


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold `path` against other threads and processes; the system lets go when a process dies."""
    with path.open("a+b") as file:
        announced = False
        while not _try_lock(file):
            if not announced:
                _log.info(
                    "waiting: another process is fetching %s", path.name.removesuffix(".lock")
                )
                announced = True
            time.sleep(0.1)
        yield  # closing the file releases the lock


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
