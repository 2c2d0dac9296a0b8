"""Threads, processes, interpreters, event loops: what may be shared, and what is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth._machine import memory_in_use

from .test_verbs import picture

ROOT = Path(fs.__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
QUICK: dict[str, Any] = {"layers": "conv1_2", "max_evaluations": 3, "scales": 1}
MIB = 2**20


def invert(synthesizer: fs.Synthesizer, seed: int) -> np.ndarray:
    return synthesizer.invert(picture(seed % 3, 32, 32), seed=seed, **QUICK).array


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_eight_threads_share_one_synthesizer() -> None:
    """The same pictures as one after another, and no memory that stays.

    The long form: scripts/concurrency_campaign.py.
    """
    with fs.Synthesizer(weights="random:0", threads=2) as synthesizer:
        wanted = [invert(synthesizer, seed) for seed in range(12)]
        with ThreadPoolExecutor(8) as pool:

            def everything(_: int) -> list[np.ndarray]:
                return [invert(synthesizer, seed) for seed in range(12)]

            list(pool.map(everything, range(8)))  # the allocator's arenas of all threads
            before = memory_in_use()
            found = list(pool.map(everything, range(8)))
            after = memory_in_use()
    assert all(np.array_equal(a, b) for one in found for a, b in zip(one, wanted, strict=True))
    if before is not None and after is not None:
        assert after - before < 24 * MIB


def test_many_synthesizers() -> None:
    def alone(seed: int) -> np.ndarray:
        with fs.Synthesizer(weights="random:0", threads=1 + seed % 3) as synthesizer:
            return invert(synthesizer, seed)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(alone, range(3)))
    assert all(np.array_equal(found[seed], alone(seed)) for seed in range(3))


@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_twins_share_weights_not_threads(backend: str) -> None:
    with fs.Synthesizer(weights="random:0", backend=backend, threads=2) as synthesizer:
        wanted = invert(synthesizer, 0)
        with synthesizer.with_threads(1) as twin:
            assert twin.pool.threads == 1
            assert twin.weights is synthesizer.weights
            assert np.allclose(invert(twin, 0), wanted, atol=1)  # uint8
            if backend == "native":
                assert np.array_equal(invert(twin, 0), wanted)
                theirs: Any = synthesizer.open(pooling="avg")
                mine: Any = twin.open(pooling="avg")
                assert mine._weights is theirs._weights
        assert np.array_equal(invert(synthesizer, 0), wanted)  # its network is still open
        with pytest.raises(fs.ObjectiveError, match="threads"):
            synthesizer.with_threads(0)


def test_cancelled_from_another_thread() -> None:
    flag, begun = fs.Cancel(), threading.Event()

    def cancel() -> None:
        begun.wait(30)
        flag.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    result = fs.invert(
        picture(0, 48, 48), layers="conv1_2", weights="random:0", optimizer="adam",
        max_evaluations=10**6, plateau=0.0, cancel=flag, callback=lambda _: begun.set(),
    )  # fmt: skip
    thread.join()
    assert result.stopped == "cancelled"
    assert result.array.shape == (48, 48, 3)


def test_event_loop_is_not_held_up() -> None:
    """A run in asyncio.to_thread: the loop goes on, and a cancelled task ends the run."""

    async def run(stop: threading.Event) -> fs.Result:
        call = asyncio.to_thread(
            fs.invert, picture(0, 48, 48), layers="conv1_2", weights="random:0", optimizer="adam",
            max_evaluations=10**6, plateau=0.0, callback=lambda _: not stop.is_set(),
        )  # fmt: skip
        try:
            return await asyncio.shield(task := asyncio.ensure_future(call))
        except asyncio.CancelledError:
            stop.set()
            return await task

    async def main() -> tuple[fs.Result, int]:
        stop, ticks = threading.Event(), 0
        job = asyncio.ensure_future(run(stop))
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            await asyncio.sleep(0.01)
            ticks += 1
        job.cancel()
        return await job, ticks

    result, ticks = asyncio.run(main())
    assert result.stopped == "cancelled"
    assert ticks > 5


FORKED = """
import hashlib, os, sys, warnings
import numpy as np
import fastsynth as fs
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of every fork beside threads
image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
def run(synthesizer):
    result = synthesizer.invert(image, layers="conv2_1", max_evaluations=4, scales=1)
    return hashlib.sha256(result.array.tobytes()).digest()
with fs.Synthesizer(weights="random:0", threads=3, backend="BACKEND") as synthesizer:
    wanted = run(synthesizer)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        found = run(synthesizer) + run(synthesizer)
        grandchild = os.fork()
        if grandchild == 0:
            os.write(write, found + run(synthesizer))
            os._exit(0)
        os._exit(os.waitpid(grandchild, 0)[1])
    status = os.waitpid(child, 0)[1]
    assert status == 0, status
    assert os.read(read, 1000) == wanted * 3
    assert run(synthesizer) == wanted
    threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0
print("the same", threads)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_after_a_fork(backend: str) -> None:
    """A Synthesizer that was used before works in the child too, and in the child's child."""
    done = python(FORKED.replace("BACKEND", backend))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the same")


SPAWNED = """
import multiprocessing
import numpy as np
import fastsynth as fs

image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)

def run(seed):
    result = fs.invert(image, layers="conv1_2", max_evaluations=3, weights="random:0", seed=seed)
    return result.array

if __name__ == "__main__":
    wanted = [run(seed) for seed in range(3)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(run, range(3))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted))
    print("the same")
"""


def test_spawned_processes(tmp_path: Path) -> None:
    (tmp_path / "spawned.py").write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, "spawned.py"],
        cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "the same\n", done.stderr


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = '''
try:
    import fastsynth._core
except ImportError as error:
    text = str(error)
    assert "fastsynth" in text and ("sub-interpreter" in text or "subinterpreters" in text), text
    with open(FILE, "w") as file:
        file.write("refused")
'''
import sys
found = interpreters.run_string(interpreters.create(), code.replace("FILE", repr(sys.argv[1])))
assert found is None, found
import fastsynth._core  # the main interpreter is none the worse
"""


def test_sub_interpreters_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(SUBINTERPRETER)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "told")],
        env=ENV, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "No module named '_xxsubinterpreters'" in done.stderr:
        pytest.skip("this Python offers no sub-interpreters")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "told").read_text() == "refused"
