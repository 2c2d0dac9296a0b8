"""Many threads on one Synthesizer: the pictures of one thread, and no memory that stays.

    python scripts/concurrency_campaign.py --threads 8 --jobs 100

Each thread does the same jobs in an order of its own, in several rounds. The first ones fill the
allocator's arenas, the last is watched. Prints a summary as JSON, with the memory in use after each
round; exits with 1 when a picture differs or the last round adds more than 1 %.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import fastsynth as fs
from fastsynth._machine import memory_in_use

LIMIT = 0.01


def main() -> int:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=100, help="of each thread")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--backend", choices=("native", "onnx"), default="native")
    options = parser.parse_args()
    started = time.monotonic()
    with fs.Synthesizer(weights="random:0", backend=options.backend) as synthesizer:

        def job(seed: int) -> str:
            rng = np.random.default_rng(seed % 10)
            image = rng.integers(0, 255, (options.size, options.size, 3), np.uint8)
            result = synthesizer.invert(
                image, layers="conv2_1", scales=1, max_evaluations=3, seed=seed
            )
            return hashlib.sha256(result.array.tobytes()).hexdigest()

        wanted = [job(seed) for seed in range(options.jobs)]

        def all_jobs(number: int) -> int:
            order = list(range(options.jobs))
            random.Random(number).shuffle(order)
            return sum(job(seed) != wanted[seed] for seed in order)

        memory, wrong = [], 0
        with ThreadPoolExecutor(options.threads) as pool:
            for _ in range(options.rounds):
                memory.append(memory_in_use() or 0)
                wrong += sum(pool.map(all_jobs, range(options.threads)))
            memory.append(memory_in_use() or 0)
    growth = memory[-1] - memory[-2]
    summary = {
        "threads": options.threads,
        "jobs": options.rounds * options.threads * options.jobs,
        "backend": options.backend,
        "wrong": wrong,
        "MiB": [round(value / 2**20, 1) for value in memory],
        "growth": round(growth / max(memory[-2], 1), 4),
        "seconds": round(time.monotonic() - started, 1),
        "system": platform.platform(),
    }
    print(json.dumps(summary))
    return 1 if wrong or growth > LIMIT * memory[-2] else 0


if __name__ == "__main__":
    sys.exit(main())
