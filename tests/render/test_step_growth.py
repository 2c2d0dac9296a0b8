"""Step graphs leave nothing behind: sessions are one per level, closed, and memory stays flat."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.network.resident import ResidentGraph


def test_a_level_has_one_graph_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of a run that fails in the middle, none is left open."""
    opened: list[ResidentGraph] = []
    plain = ResidentGraph.__init__

    def noted(self: ResidentGraph, *arguments: Any, **options: Any) -> None:
        assert all(graph.closed for graph in opened)
        plain(self, *arguments, **options)
        opened.append(self)

    monkeypatch.setattr(ResidentGraph, "__init__", noted)
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
    settings: dict[str, Any] = {"layers": "conv1_2", "scales": 2, "max_evaluations": [3, 2]}
    with fs.Synthesizer(weights="random:0", backend="step", threads=2) as synthesizer:
        synthesizer.invert(image, **settings)
        assert len(opened) == 2
        with pytest.raises(ZeroDivisionError):
            synthesizer.invert(image, callback=lambda _: 1 / 0, **settings)  # type: ignore[arg-type, return-value]
    assert len(opened) == 3
    assert all(graph.closed for graph in opened)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_jobs_of_different_sizes_leave_nothing() -> None:
    program = """
import numpy as np
import fastsynth as fs

def megabytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

rng = np.random.default_rng(0)
with fs.Synthesizer(weights="random:0", backend="step", threads=2) as synthesizer:
    for job in range(24):
        shape = (30 + 7 * (job * 5 % 8), 40 + 3 * (job * 3 % 8), 3)
        image = rng.integers(0, 255, shape, np.uint8)
        synthesizer.invert(image, layers={"conv1_2": 1}, scales=2, max_evaluations=[2, 2])
        print(megabytes())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = [float(line) for line in done.stdout.split()]
    assert len(sizes) == 24
    assert max(sizes[16:]) - max(sizes[8:16]) < 8, sizes
