"""What fastsynth costs before it computes: import, first iteration, memory, installed size.

    python bench/footprint.py [--rounds 7]

Import times are medians over fresh interpreters, interleaved with an empty one and with NumPy
alone. The first iteration is timed inside a fresh process, from its start to the first progress
callback of a 512 px style transfer with built-in weights. Peak memory is that of the same process
after the whole transfer. Sizes are sums over the files of installed distributions; torch's is shown
beside them where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRANSFER = """
import json, os, resource, sys, time
started = float(sys.argv[1])
import numpy as np
import fastsynth as fs
rng = np.random.default_rng(0)
content, style = rng.integers(0, 255, (2, 512, 512, 3), np.uint8)
first = []
def callback(progress):
    if not first:
        first.append(time.time() - started)
result = fs.style_transfer(
    content, style, weights="random:0", backend=sys.argv[2], callback=callback,
    max_evaluations=[4, 4, 4, 6], scales=4, plateau=0,
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"first": first[0], "peak": peak}))
"""

# fastsynth with the extra "cpu" and what it brings along.
NAMES = """
    fastsynth numpy pillow onnx onnxruntime protobuf ml_dtypes flatbuffers safetensors h5py rich
    pypng tifffile
"""


def import_seconds(statement: str) -> float:
    """Wall time of a fresh interpreter that runs one statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def transfer(backend: str) -> dict[str, float]:
    """Seconds to the first iteration, and peak memory in MiB, of a transfer in a fresh process."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(TRANSFER)
        script.flush()
        command = [sys.executable, script.name, str(time.time()), backend]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def installed_megabytes(name: str) -> float | None:
    """Megabytes of a distribution's files, or None where it is not installed."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def spread(values: list[float]) -> str:
    """Median with the range."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds

    statements = {"empty": "pass", "numpy": "import numpy", "fastsynth": "import fastsynth"}
    times: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            times[name].append(import_seconds(statement))
    print(f"Python {platform.python_version()}, {platform.machine()}, {rounds} rounds")
    for name, values in times.items():
        print(f"interpreter + {name:10} {spread(values)} s")
    own = [a - b for a, b in zip(times["fastsynth"], times["empty"], strict=True)]
    print(f"import fastsynth         {spread(own)} s")

    for backend in ("native", "onnx"):
        runs = [transfer(backend) for _ in range(max(1, rounds // 2))]
        print(
            f"{backend:6}: first iteration after {spread([run['first'] for run in runs])} s, "
            f"peak memory {max(run['peak'] for run in runs):.0f} MiB"
        )

    total = 0.0
    for name in NAMES.split():
        size = installed_megabytes(name)
        if size is not None:
            total += size
            print(f"installed {name:12} {size:7.1f} MB")
    print(f"installed in all       {total:7.1f} MB")
    torch = installed_megabytes("torch")
    if torch is not None:
        print(f"torch alone            {torch:7.1f} MB")


if __name__ == "__main__":
    main()
