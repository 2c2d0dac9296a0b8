"""Kernels between guard pages: cpp/tests/kernels.cpp over every shape of cpp/tests/shapes.txt.

Each array that a kernel reads or writes begins right behind a page that nobody may touch, or ends
right before one; a step outside ends the program. `make test` builds it beside the module.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fastsynth import _core

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / "cpp/tests/shapes.txt"


def program() -> Path:
    """The newest build of the C++ tests without a sanitizer."""
    built = [
        path
        for path in (ROOT / "build").glob("*/fastsynth_tests")
        if path.parent.name not in ("asan", "ubsan", "tsan", "clang", "aarch64")
    ]
    if not built:
        pytest.skip("the C++ tests are not built: cmake -DFASTSYNTH_TESTS=ON, as `make test` does")
    return max(built, key=lambda path: path.stat().st_mtime)


@pytest.mark.parametrize("kernels", _core.available_kernel_sets())
def test_every_kernel_stays_within_its_arrays(kernels: str) -> None:
    done = subprocess.run(
        [str(program()), str(SHAPES)],
        env={**os.environ, "FASTSYNTH_KERNELS": kernels},
        capture_output=True,
        text=True,
        check=False,
    )
    shapes = [line for line in SHAPES.read_text().splitlines() if not line.startswith("#")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{kernels}: {len(shapes)} shapes, 0 failures\n"
