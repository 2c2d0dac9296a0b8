"""Times the Gram matrix and the Gram term beside NumPy and, if installed, torch.

    python bench/gram.py [--threads 2] [--repeats 9] [--size 512]

Shapes are those of VGG's style layers at the given image size. All contenders take turns within one
run, on the same data and threads. The table shows the best time of each in ms, the GFLOP/s of the
full product 2 C² M (the symmetric product needs only half of it), and how many times ours that
takes. One warm-up round is not counted.

    gram       G = F Fᵀ / M from planar (C, H, W) features, as the ONNX Runtime backend yields them
    blocked    the same from (C / 16, H, W, 16)
    term       G, its distance from a target, and the gradient D F, all from planar features
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

Runs = dict[str, Callable[[], object]]

SHAPES = ((64, 1), (128, 2), (256, 4), (512, 8), (512, 16))  # channels, image size over map size


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--size", type=int, default=512, help="image size in pixels")
    return parser.parse_args()


def own_runs(features: Any, target: Any, pool: Any) -> Runs:
    """The engine's products; the term within an objective whose features never change."""
    import numpy as np

    from fastsynth import _core

    channels, height, width = features.shape
    blocked = features.reshape(channels // 16, 16, height, width).transpose(0, 2, 3, 1).copy()
    image = np.zeros((3, height, width), np.float32)
    cotangent = np.zeros_like(features)
    network = _core.CallbackNetwork(
        ["features"],
        image.copy(),
        [features],
        np.zeros_like(image),
        lambda: None,
        lambda pull: pull(0, cotangent, False),
    )
    objective = _core.ImageObjective([network], height, width, pool)
    objective.add_layer_term(0, 0, _core.GramTerm(target), 1.0, "style")
    return {
        "gram": lambda: _core.gram(features, pool),
        "blocked": lambda: _core.gram(blocked, pool, 16),
        "term": lambda: objective.evaluate(image),
    }


def numpy_runs(features: Any) -> Runs:
    """NumPy's matrix product."""
    flat = features.reshape(len(features), -1)
    return {"numpy": lambda: flat @ flat.T}


def torch_runs(features: Any, target: Any, threads: int) -> Runs:
    """torch's matrix product, and the term in as few operations as eager torch allows."""
    if not importlib.util.find_spec("torch"):
        return {}
    import torch

    torch.set_num_threads(threads)
    flat = torch.from_numpy(features.reshape(len(features), -1))
    goal = torch.from_numpy(target)

    def term() -> object:
        difference = flat @ flat.T / flat.shape[1] - goal
        return (difference**2).sum(), difference @ flat

    return {"torch": lambda: torch.mm(flat, flat.T), "torch term": term}


def best_times(runs: Runs, repeats: int) -> dict[str, float]:
    """Seconds of each, the runs taking turns."""
    times = dict.fromkeys(runs, float("inf"))
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name] = min(times[name], time.perf_counter() - start)
    return times


def main() -> None:
    """Runs the benchmark and prints the table."""
    options = arguments()
    # Before NumPy is imported: afterwards its BLAS does not listen.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import numpy as np

    from fastsynth import _core

    pool = _core.ThreadPool(options.threads)
    rng = np.random.default_rng(0)
    print(f"kernels {_core.kernel_set()}, {options.threads} threads, best of {options.repeats}")
    for channels, shrink in SHAPES:
        side = options.size // shrink
        f = np.maximum(rng.standard_normal((channels, side, side), dtype=np.float32), 0)
        target = _core.gram(f, pool) * np.float32(0.9)
        runs = {
            **own_runs(f, target, pool),
            **numpy_runs(f),
            **torch_runs(f, target, options.threads),
        }
        times = best_times(runs, options.repeats)
        print(f"{channels} x {side}²")
        for name, seconds in times.items():
            products = 2 if "term" in name else 1
            speed = products * 2e-9 * channels**2 * side**2 / seconds
            ratio = seconds / times["term" if "term" in name else "gram"]
            print(f"  {name:12s}{seconds * 1e3:8.2f} ms {speed:7.0f} GFLOP/s {ratio:6.1f} x")


if __name__ == "__main__":
    main()
