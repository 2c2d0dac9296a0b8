"""What computed, for records: versions, kernels, threads."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastsynth._core import ThreadPool

__all__ = ["describe_machine"]


def describe_machine(pool: ThreadPool | None = None) -> dict[str, Any]:
    """What computed where there is no network: kernels, threads, versions.

    Without a pool it is what a pixel function needs, whose results do not depend on threads.
    """
    from fastsynth import __version__, _core

    versions = {"fastsynth": __version__, "python": platform.python_version()}
    for module in ("numpy", "PIL") if pool is None else ("numpy", "onnxruntime", "PIL"):
        if module in sys.modules:
            versions[module] = sys.modules[module].__version__
    threads = {} if pool is None else {"threads": pool.threads}
    return {"kernels": _core.kernel_set(), **threads, "versions": versions}
