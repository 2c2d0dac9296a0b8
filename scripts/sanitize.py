"""Builds the C++ tests plain and under each sanitizer, and runs them with every kernel set.

    python scripts/sanitize.py [plain asan ubsan tsan]

Needs CMake and Ninja, no Python modules. Opt-in: `make sanitize`; a few minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRESETS = ("plain", "asan", "ubsan", "tsan")
KERNELS = ("portable", "avx2", "avx512", "avx512pairs")


def main() -> int:
    """Exit status 0 if every run that this machine can make is clean."""
    failed = []
    for preset in sys.argv[1:] or PRESETS:
        subprocess.run(["cmake", "--preset", preset], cwd=ROOT, check=True)
        subprocess.run(["cmake", "--build", f"build/{preset}", "-j2"], cwd=ROOT, check=True)
        for kernels in KERNELS:
            run = subprocess.run(
                [f"build/{preset}/fastsynth_tests", "cpp/tests/shapes.txt"],
                cwd=ROOT,
                env={**os.environ, "FASTSYNTH_KERNELS": kernels},
                capture_output=True,
                text=True,
                check=False,
            )
            if "cannot run here" in run.stderr:
                print(f"{preset:6} {kernels}: this machine lacks the instructions", flush=True)
                continue
            print(f"{preset:6} {run.stdout.strip() or kernels}", flush=True)
            if run.returncode or run.stderr:
                print(run.stderr[-4000:], flush=True)
                failed.append(f"{preset} {kernels}")
    print("failed: " + ", ".join(failed) if failed else "all clean")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
