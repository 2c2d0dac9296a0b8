"""Time and memory of one evaluation: forward, losses, and the gradient with respect to the image.

VGG16 with max pooling, five style losses (Gram matrices of conv1_1 … conv5_1, Eq. 8), one content
loss (conv4_2, Eq. 7), everything float32 and with the same random weights, beside torch in eager
mode (torch_reference.py). Each implementation lives in a process of its own, so that its peak
memory is its own; they take turns, so that a change of the clock or a noisy neighbour meets all
of them; and before anything is timed they must agree on loss and gradient. A turn is some
evaluations one after another, as in an optimisation, and counts as their median; the one before
them, which finds the caches and the other's threads as the last turn left them, does not count.

    python bench/evaluation.py --sizes 256 512 1024 --rounds 10
    python bench/evaluation.py --sizes 512 --implementations onnx native torch

The ratio is the median over rounds of one over the other within a round, with its quartiles; each
is compared with every torch in the run, and native with onnx.

    native-fast     products in bfloat16 where the processor has them: a rough gradient
    torch           eager, as one writes it
    torch-last      channels_last, and the C library keeps freed memory
    torch-compiled  the same, through torch.compile
    torch-bf16      channels_last and autocast to bfloat16, memory kept: half of the digits
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CONTENT_LAYER = "conv4_2"
TAPS = (*STYLE_LAYERS[:4], CONTENT_LAYER, STYLE_LAYERS[4])

FloatArray = NDArray[np.float32]
Evaluate = Callable[[FloatArray], tuple[float, FloatArray]]


def random_weights(architecture: Any, deepest: str, seed: int = 0) -> dict[str, FloatArray]:
    """He-normal weights down to `deepest`; normalisation to mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    scale = np.float32(12**0.5)
    weights = {
        "normalize.weight": scale * np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
        "normalize.bias": np.full(3, -scale / 2, np.float32),
    }
    for layer in architecture.layers:
        shape = (layer.out_channels, layer.in_channels, 3, 3)
        deviation = np.float32((2 / (9 * layer.in_channels)) ** 0.5)
        weights[f"{layer.name}.weight"] = deviation * rng.standard_normal(shape, dtype=np.float32)
        weights[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)
        if layer.name == deepest:
            break
    return weights


def pictures(size: int) -> dict[str, FloatArray]:
    """Three smooth random pictures: what is optimised, the style and the content."""
    rng = np.random.default_rng(1)
    small = rng.random((3, 3, size // 8, size // 8), dtype=np.float32)
    large = np.clip(
        small.repeat(8, axis=2).repeat(8, axis=3)
        + np.float32(0.05) * rng.standard_normal((3, 3, size, size), dtype=np.float32),
        0,
        1,
    )
    return dict(zip(("start", "style", "content"), large, strict=True))


def open_ours(backend: str, size: int, threads: int) -> Evaluate:
    """The evaluation of fastsynth, through `backend`."""
    sys.path.insert(0, str(ROOT / "python"))
    from fastsynth import _core
    from fastsynth.network import ARCHITECTURES, Network

    pool = _core.ThreadPool(threads)
    weights = random_weights(ARCHITECTURES["vgg16"], TAPS[-1])
    network: Network
    if backend == "onnx":
        from fastsynth.network.onnx_network import OnnxNetwork

        network = OnnxNetwork("vgg16", weights, pool=pool)
    else:
        from fastsynth.network.native import NativeNetwork

        precision = "fast" if backend == "native-fast" else "exact"
        network = NativeNetwork("vgg16", weights, pooling="max", precision=precision, pool=pool)
    images = pictures(size)
    of_style = network.features(images["style"], STYLE_LAYERS)
    grams = {name: _core.gram(of_style[name], pool) for name in STYLE_LAYERS}
    del of_style
    content = network.features(images["content"], (CONTENT_LAYER,))[CONTENT_LAYER]
    bound = network.bind(size, size, TAPS)
    objective = _core.ImageObjective([bound.core], size, size, pool)
    for index, name in enumerate(TAPS):
        if name == CONTENT_LAYER:
            term: _core.LayerTerm = _core.ContentTerm(content, "paper")
        else:
            term = _core.GramTerm(grams[name], "paper")
        objective.add_layer_term(0, index, term, 1.0, name)

    def evaluate(image: FloatArray, keep: Any = bound) -> tuple[float, FloatArray]:
        return objective.evaluate(image)

    return evaluate


# How the variants of torch are opened.
TORCH: dict[str, dict[str, bool]] = {
    "torch": {},
    "torch-last": {"channels_last": True},
    "torch-compiled": {"channels_last": True, "compiled": True},
    "torch-bf16": {"channels_last": True, "bf16": True},
}
# Those that round to bfloat16.
ROUGH = {"native-fast", "torch-bf16"}
# glibc returns large blocks to the system when they are freed, and every page of them must be
# cleared when they come again: half of eager torch's time at 1024 px.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def open_torch(name: str, size: int, threads: int) -> Evaluate:
    """The evaluation of torch."""
    import torch
    from torch_reference import Evaluation

    sys.path.insert(0, str(ROOT / "python"))
    from fastsynth.network.architecture import ARCHITECTURES

    torch.set_num_threads(threads)
    images = pictures(size)
    weights = random_weights(ARCHITECTURES["vgg16"], TAPS[-1])
    style, content = images["style"], images["content"]
    return Evaluation(weights, STYLE_LAYERS, CONTENT_LAYER, style, content, **TORCH[name])


def work(implementation: str, size: int, threads: int, result: Path) -> None:
    """A worker: writes loss and gradient to `result`, then takes a turn per line read."""
    begun = time.perf_counter()
    if implementation in TORCH:
        evaluate = open_torch(implementation, size, threads)
    else:
        evaluate = open_ours(implementation, size, threads)
    start = pictures(size)["start"]
    loss, gradient = evaluate(start)
    np.savez(result, loss=loss, gradient=gradient.reshape(start.shape))
    print(time.perf_counter() - begun, flush=True)
    for count in sys.stdin:
        evaluate(start)
        seconds = []
        for _ in range(int(count)):
            begun = time.perf_counter()
            evaluate(start)
            seconds.append(time.perf_counter() - begun)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(peak, *seconds, flush=True)


class Worker:
    """One implementation in a process of its own."""

    def __init__(self, name: str, size: int, threads: int, folder: Path) -> None:
        self.name = name
        self.result = folder / f"{name}.npz"
        self.process = subprocess.Popen(
            [
                sys.executable,
                __file__,
                *("--worker", name, "--sizes", str(size)),
                *("--threads", str(threads), "--result", str(self.result)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(KEEP_MEMORY if name.startswith("torch-") else {})},
            text=True,
        )
        self.turns: list[float] = []
        self.best = float("inf")
        self.peak = 0.0
        self.opened = float(self._line()[0])

    def _line(self) -> list[str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker {self.name} died; its message is above")
        return line.split()

    def run(self, count: int) -> None:
        """A turn of `count` timed evaluations."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self.peak, *seconds = map(float, self._line())
        self.turns.append(statistics.median(seconds))
        self.best = min(self.best, *seconds)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(size: int, rounds: int, count: int, threads: int, names: list[str]) -> None:
    """Runs all implementations in turns at one size and prints a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(name, size, threads, Path(folder)) for name in names]
        results = {worker.name: dict(np.load(worker.result)) for worker in workers}
        for _ in range(rounds):
            for worker in workers:
                worker.run(count)
        for worker in workers:
            worker.close()
    references = [worker for worker in workers if worker.name in TORCH] or workers[-1:]
    onnx = [worker for worker in workers if worker.name == "onnx" and worker not in references]
    expected = results[references[-1].name]
    for worker in workers:
        line = (
            f"{size:5d} px  {worker.name:14s}"
            f"  median {1e3 * statistics.median(worker.turns):8.1f} ms"
            f"  best {1e3 * worker.best:8.1f} ms  peak {worker.peak:6.0f} MB"
        )
        others = [] if worker in references else references + (onnx if worker not in onnx else [])
        for reference in others:
            pairs = zip(worker.turns, reference.turns, strict=True)
            ratios = np.array([ours / theirs for ours, theirs in pairs])
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            line += (
                f"\n          over {reference.name}: time {middle:.2f} ({low:.2f} … {high:.2f})"
                f"  memory {worker.peak / reference.peak:.2f}"
            )
        if worker is not references[-1]:
            found = results[worker.name]
            difference = found["gradient"] - expected["gradient"]
            error = np.linalg.norm(difference) / np.linalg.norm(expected["gradient"])
            off = abs(found["loss"] / expected["loss"] - 1)
            line += f"\n          loss off by {off:.0e}, gradient by {error:.0e}"
            digits = 50 if ROUGH & {worker.name, references[-1].name} else 1
            if off > 1e-4 * digits or error > 1e-2 * digits:
                raise SystemExit(f"{line}\nthe implementations disagree; the times mean nothing")
        print(line, flush=True)


def main() -> None:
    """Parses the command line and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], metavar="PIXELS")
    parser.add_argument("--rounds", type=int, default=10, help="turns (default: %(default)s)")
    parser.add_argument(
        "--count", type=int, default=3, help="evaluations that count, in a turn (default: 3)"
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument(
        "--implementations",
        nargs="+",
        choices=("onnx", "native", "native-fast", *TORCH),
        default=["onnx", "native", "torch"],
        help="(default: onnx native torch)",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.sizes[0], arguments.threads, arguments.result)
        return
    for size in arguments.sizes:
        compare(
            size, arguments.rounds, arguments.count, arguments.threads, arguments.implementations
        )


if __name__ == "__main__":
    main()
