"""The machine: what computed, for records, and its memory."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastsynth._core import ThreadPool

__all__ = ["available_memory", "describe_machine", "memory_in_use", "peak_memory", "usable_cores"]


def describe_machine(
    pool: ThreadPool | None = None, *, runtimes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What computed: kernels, threads, versions; the same whatever else the process has loaded.

    pool: of the run; without one it is what a pixel function needs, whose results do not depend on
        threads.
    runtimes: packages that took part beside NumPy and Pillow.
    """
    from fastsynth import __version__, _core

    versions = {"fastsynth": __version__, "python": platform.python_version()}
    for module in ("numpy", *runtimes, "PIL"):
        versions[module] = importlib.import_module(module).__version__
    threads = {} if pool is None else {"threads": pool.threads}
    return {"kernels": _core.kernel_set(), **threads, "versions": versions}


def memory_in_use() -> int | None:
    """Bytes of memory that this process holds now (resident); None where that cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int | None:
    """The most bytes that this process has held (resident); None where that cannot be told."""
    if sys.platform == "win32":
        return None
    # Linux' ru_maxrss begins with what the parent held when it started this process.
    told = _number(Path("/proc/self/status"), r"VmHWM:\s*(\d+) kB")
    if told is not None:
        return told * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory() -> int | None:
    """Bytes that could still be taken: of the machine, or of the control group if that is less.

    None where that cannot be told.
    """
    told = _number(Path("/proc/meminfo"), r"MemAvailable:\s*(\d+) kB")
    if told is None:
        return None
    left = [told * 1024]
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, taken = _number(group / limit, r"(\d+)"), _number(group / used, r"(\d+)")
        if most is not None and taken is not None:
            left.append(most - taken)
    return max(0, min(left))


def _number(path: Path, pattern: str) -> int | None:
    """The number that a pattern finds in a file of the system; None without one."""
    try:
        found = re.search(pattern, path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return int(found[1]) if found else None


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
