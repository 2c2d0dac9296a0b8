"""What computed, for records: versions, kernels, threads."""

from __future__ import annotations

import importlib
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastsynth._core import ThreadPool

__all__ = ["describe_machine"]


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
