"""Times every pattern at one size.

    python bench/patterns.py [--size 4096] [--threads 2] [--repeats 3] [--names NAME ...]

The table shows the best and the median time in seconds, from the call to the finished uint8 array,
and megapixels per second of the best. One warm-up at 64 px is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

from fastsynth import _core, patterns

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rule 30": ("elementary_automaton", {}),
    "rule 110, by neighbourhood": (
        "elementary_automaton",
        {"rule": 110, "start": "random", "color_by": "neighborhood"},
    ),
    "Life, 200 steps, cells of 4 px": ("cellular_automaton", {}),
    "Life, 200 steps, cells of 1 px": ("cellular_automaton", {"cell": 1}),
    "formula: spiral and noise": ("formula", {}),
    "formula: 7 x y": ("formula", {"expression": "sin(7*x*y)"}),
    "sunflower": ("sunflower", {}),
    "Mandelbrot set": ("mandelbrot", {}),
    "Mandelbrot set, zoom 900": (
        "mandelbrot",
        {"center": (-0.743643887, 0.131825904), "zoom": 900},
    ),
    "Julia set": ("julia", {}),
    "fern, 268 million points": ("iterated_function_system", {"samples": 24}),
    "plant f": ("lsystem", {}),
    "dragon curve, 2^17 lines": ("lsystem", {"preset": "dragon", "steps": 17, "thickness": 5e-4}),
    "trochoid": ("trochoid", {}),
}


def main() -> None:
    """Runs the benchmark and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--names", nargs="*", default=list(CASES))
    options = parser.parse_args()
    print(
        f"{options.size} × {options.size}, kernels {_core.kernel_set()}, "
        f"{options.threads} threads, {options.repeats} repeats\n"
    )
    print("| pattern | best | median | megapixels/s |\n|---|---|---|---|")
    for name in options.names:
        pattern, arguments = CASES[name]
        patterns.draw(pattern, size=64, threads=options.threads, **arguments)
        times = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            patterns.draw(pattern, size=options.size, threads=options.threads, **arguments)
            times.append(time.perf_counter() - start)
        rate = options.size**2 / 1e6 / min(times)
        print(
            f"| {name} | {min(times):.2f} s | {statistics.median(times):.2f} s | {rate:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
