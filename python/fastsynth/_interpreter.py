"""Sub-interpreters are refused before they can do harm."""

from __future__ import annotations

import importlib
import sys

__all__ = ["refuse_sub_interpreters"]


def refuse_sub_interpreters() -> None:
    """Raises ImportError where this is not the main interpreter of its process.

    NumPy and the compiled core keep state for the whole process. From 3.12 on, Python refuses to
    import such modules itself; before, the import of a pybind11 module hangs.
    """
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    try:
        interpreters = importlib.import_module(name)
    except ImportError:  # a Python without sub-interpreters
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError(
            "fastsynth cannot be imported in a sub-interpreter; import it in the main interpreter, "
            "or use processes (multiprocessing with the start method 'spawn')"
        )
