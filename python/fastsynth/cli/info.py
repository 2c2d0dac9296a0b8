"""fastsynth info: what a bug report needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform

from fastsynth import __version__, _core

__all__ = ["show"]


def show() -> int:
    """Prints versions, kernels, threads and ONNX Runtime's providers."""
    print(f"fastsynth {__version__}, Python {platform.python_version()}, {platform.platform()}")
    sets = ", ".join(_core.available_kernel_sets())
    print(
        f"kernels: {_core.kernel_set()} (available: {sets}); threads: {_core.ThreadPool().threads}"
    )
    providers = ("onnxruntime-gpu", "onnxruntime-openvino")
    for name in ("numpy", "pillow", "onnx", "onnxruntime", *providers):
        print(installed(name))
    if importlib.util.find_spec("onnxruntime"):
        try:
            import onnxruntime
        except ImportError as error:  # a broken installation is what this command should show
            print(f"ONNX Runtime cannot be imported: {error}")
            return 1
        print(f"ONNX Runtime providers: {', '.join(onnxruntime.get_available_providers())}")
    return 0


def installed(name: str) -> str:
    """A package's name and version, or that it is not installed.

    >>> installed("no-such-package")
    'no-such-package: not installed'
    """
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name}: not installed"
