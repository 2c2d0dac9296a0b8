"""One set of sessions for each level's size, and nothing left of them after many jobs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

import fastsynth as fs
from fastsynth.network import session

SHORT = {"layers": {"conv2_1": 1}, "max_evaluations": [2, 2], "scales": 2, "seed": 1}


def test_a_level_opens_its_sessions_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many for three evaluations as for one, all closed at the end; shapes are numbers."""
    opened: list[object] = []
    real = session._open

    def counting(ort: object, model: bytes, *more: object) -> object:
        made = real(ort, model, *more)  # type: ignore[arg-type]
        opened.append([value.shape for value in made.get_inputs()])
        return made

    session._janitor()  # the one that is kept
    monkeypatch.setattr(session, "_open", counting)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    counts = []
    for evaluations in ([1, 1], [3, 3]):
        opened.clear()
        fs.invert(
            image, backend="onnx", weights="random:0", **{**SHORT, "max_evaluations": evaluations}
        )
        counts.append(len(opened))
    assert counts[0] == counts[1] > 0
    assert all(isinstance(side, int) for shapes in opened for shape in shapes for side in shape)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_twenty_jobs_of_different_sizes_leave_nothing() -> None:
    program = f"""
import numpy as np
import fastsynth as fs

def megabytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

rng = np.random.default_rng(0)
with fs.Synthesizer(weights="random:0", backend="onnx", threads=2) as synthesizer:
    for job in range(20):
        shape = (40 + 7 * (job * 5 % 11), 50 + 3 * (job * 3 % 13), 3)
        image = rng.integers(0, 255, shape, np.uint8)
        synthesizer.invert(image, **{SHORT!r})
        print(megabytes())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sizes = [float(line) for line in done.stdout.split()]
    assert len(sizes) == 20
    assert max(sizes[10:]) - max(sizes[3:10]) < 12, sizes
