"""What all tests need of the process."""

from __future__ import annotations

import signal

import pytest

# A process that was started in the background ignores Ctrl-C, and so do its children; some tests
# press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is counted as in a process that holds nothing else.

    What other tests left in this one would count as the application's.
    """
    for module in ("render.refine", "synthesize.estimation"):
        monkeypatch.setattr(f"fastsynth.{module}.foreign_bytes", lambda *_: 0)
