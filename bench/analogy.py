"""Times image analogies of each preset, and what a sweep of the patch search does per second.

    python bench/analogy.py [--size 512] [--threads 2] [--repeats 3]

The pictures are made here: filtered noise as A and B, a map of labels for "numbers". The presets
take turns within one run; the table shows the best and the worst time of each.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np

import fastsynth as fs
from fastsynth import _core


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="side of all pictures in pixels")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def noise(side: int, seed: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 with detail at all scales."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    slope = 1 / np.maximum(np.hypot(y, x), 1 / side) ** 1.2
    fields = [
        np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * slope).real for _ in range(3)
    ]
    image = np.stack(fields, -1)
    image = (image - image.min()) / (image.max() - image.min())
    return (image * 255).astype(np.uint8)


def main() -> None:
    """Runs the benchmark and prints the table."""
    options = arguments()
    side = options.size
    a_prime, b = noise(side, 0), noise(side, 1)
    labels = np.where(a_prime[..., :1] > 128, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    others = np.where(b[..., :1] > 128, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    calls: dict[Any, Any] = {
        "artistic": (None, a_prime, b),
        "numbers": (labels, a_prime, others),
        "superres": (None, a_prime, b[::2, ::2]),
        "texture": (None, a_prime, None),
        "transfer": (None, a_prime, b),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.repeats):
        for name, pictures in calls.items():
            start = time.perf_counter()
            fs.image_analogy(*pictures, preset=name, size=(side, side), threads=options.threads)
            times[name].append(time.perf_counter() - start)
    print(f"{side} x {side}, {options.threads} threads, kernels {_core.kernel_set()}")
    for name, seconds in times.items():
        print(f"  {name:10s}{min(seconds):6.2f} to {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
