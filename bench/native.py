"""The native CPU network: where its time goes, how exact it is, and how it compares.

    python bench/native.py layers --size 512 [--precision fast]
    python bench/native.py passes --sizes 256 512 1024 [--rounds 10]
    python bench/native.py accuracy --size 128 [--weights FILE]
    python bench/native.py shapes

VGG16 to conv5_1 with He-normal weights, tapped where style transfer looks, forward and gradient for
constant cotangents; no losses.

    layers     milliseconds of each convolution and what direct convolution would need for that time
               ("effective"), its parts, and how much of the machine's peak of multiply-adds the
               products reach. Parts are processor time, which a busy machine disturbs little.
    passes     the whole, beside ONNX Runtime and torch eager where installed, taking turns in one
               process; the ratio is the median over rounds of native / other, with its quartiles.
               "cpu" is the least processor time divided by the threads.
    accuracy   relative error (Euclidean norms) of each convolution and of the image gradient
               against float64, beside those of torch's float32 on the same inputs; of trained
               weights with --weights, as deep as they go.
    shapes     the same for one convolution of each shape in cpp/tests/shapes.txt, the table that
               the tests read, forward and to the gradient of its input.

FASTSYNTH_KERNELS=avx2 measures another kernel set.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import TAPS, random_weights

from fastsynth import _core
from fastsynth.network.architecture import ARCHITECTURES, Architecture, ConvLayer
from fastsynth.network.native import NativeNetwork
from fastsynth.network.weights import load_weights

VGG16 = ARCHITECTURES["vgg16"]
COTANGENT = 1e-3


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("layers", "passes", "accuracy", "shapes"))
    parser.add_argument("--size", type=int, default=512, help="edge of the picture")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--precision", choices=("exact", "fast"), default="exact")
    parser.add_argument("--weights", help="accuracy: weights of a file, instead of random ones")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def picture(size: int) -> Any:
    """Uniform noise: no ReLU is idle for long."""
    return np.random.default_rng(0).random((3, size, size), dtype=np.float32)


# ---- layers ----


def layers(options: argparse.Namespace, weights: Any) -> None:
    """The table of convolutions."""
    pool = _core.ThreadPool(options.threads)
    network = NativeNetwork(VGG16, weights, precision=options.precision, pool=pool)
    bound = network.bind(options.size, options.size, TAPS)
    image = picture(options.size)
    _core.time_passes(bound.core, image, 1, COTANGENT)
    peak = _core.multiply_add_peak(1)
    print(f"{network.describe()}; {options.size} px")
    print(f"peak of multiply-adds per thread {peak / 1e9:.0f} GFLOP/s")
    print(
        f"weights {network.weights_bytes / 1e6:.0f} MB, maps {bound.core.memory_bytes / 1e6:.0f} MB"
    )

    rounds: list[list[dict[str, Any]]] = []
    for _ in range(options.rounds):
        bound.core.set_profiling(True)
        _core.time_passes(bound.core, image, 1, COTANGENT)
        rounds.append(bound.core.profile())

    parts = ("input_seconds", "product_seconds", "output_seconds")
    print(f"{'layer':10}{'':9} F(m)  wall ms  effective GFLOP/s  in/products/out %  products/peak")
    sums = np.zeros(3)
    products = wall = direct = 0.0
    for rows in zip(*rounds, strict=True):
        row = rows[0]
        best_wall = min(r["wall_seconds"] for r in rows)
        best = np.array([min(r[part] for r in rows) for part in parts])
        sums += best
        products += row["product_flops"]
        direct += row["direct_flops"]
        wall += best_wall
        share = "/".join(f"{100 * x:.0f}" for x in best / best.sum())
        print(
            f"{row['name']:10}{row['direction']:9} {row['m']:4} {1e3 * best_wall:8.2f} "
            f"{row['direct_flops'] / best_wall / 1e9:18.0f} {share:>18} "
            f"{row['product_flops'] / best[1] / peak:14.2f}"
        )
    share = "/".join(f"{100 * x:.0f}" for x in sums / sums.sum())
    print(
        f"{'all':19} {'':4} {1e3 * wall:8.2f} {direct / wall / 1e9:18.0f} {share:>18} "
        f"{products / sums[1] / peak:14.2f}"
    )
    print(f"processor time per thread: {1e3 * sums.sum() / options.threads:.1f} ms")


# ---- passes ----


def native_passes(
    weights: Any, size: int, precision: str, pool: Any
) -> Callable[[], tuple[float, float]]:
    """(forward, backward) seconds of one run."""
    core = NativeNetwork(VGG16, weights, precision=precision, pool=pool).bind(size, size, TAPS).core
    image = picture(size)
    return lambda: _core.time_passes(core, image, 1, COTANGENT)[0]


def onnx_passes(weights: Any, size: int, threads: int) -> Callable[[], tuple[float, float]]:
    """The same graph in ONNX Runtime on the CPU."""
    from fastsynth.network.onnx_network import OnnxNetwork

    bound = OnnxNetwork("vgg16", weights, pool=_core.ThreadPool(threads)).bind(size, size, TAPS)
    image = picture(size)

    def run() -> tuple[float, float]:
        return _core.time_passes(bound.core, image, 1, COTANGENT)[0]

    return run


def torch_passes(weights: Any, size: int, threads: int) -> Callable[[], tuple[float, float]]:
    """torch, eager mode, nothing tuned."""
    import torch
    from torch_reference import VGG16 as TorchNetwork  # noqa: N811

    torch.set_num_threads(threads)
    network = TorchNetwork(weights)
    image = torch.from_numpy(picture(size))[None]

    def run() -> tuple[float, float]:
        x = image.clone().requires_grad_()
        start = time.perf_counter()
        features = network(x, set(TAPS))
        middle = time.perf_counter()
        cotangents = [torch.full_like(f, COTANGENT) for f in features.values()]
        begin = time.perf_counter()
        torch.autograd.grad(list(features.values()), x, cotangents)
        return middle - start, time.perf_counter() - begin

    return run


def passes(options: argparse.Namespace, weights: Any) -> None:
    """The table of implementations."""
    pool = _core.ThreadPool(options.threads)
    print(f"{options.threads} threads, {_core.kernel_set()} kernels, {options.rounds} rounds")
    for size in options.sizes:
        runs = {
            "native": native_passes(weights, size, "exact", pool),
            "native fast": native_passes(weights, size, "fast", pool),
        }
        if importlib.util.find_spec("onnxruntime"):
            runs["onnx"] = onnx_passes(weights, size, options.threads)
        if importlib.util.find_spec("torch"):
            runs["torch eager"] = torch_passes(weights, size, options.threads)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        processor = dict.fromkeys(runs, float("inf"))
        for turn in range(options.rounds + 1):
            for name, run in runs.items():
                before = time.process_time()
                taken = run()
                if turn:
                    times[name].append(taken)
                    spent = (time.process_time() - before) / options.threads
                    processor[name] = min(processor[name], spent)
        own = [sum(turn) for turn in times["native"]]
        print(f"{size} px        forward  backward     both       cpu   native / this [quartiles]")
        for name, turns in times.items():
            forward, backward = (1e3 * min(t[i] for t in turns) for i in range(2))
            both = [sum(t) for t in turns]
            ratios = [a / b for a, b in zip(own, both, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(
                f"  {name:12} {forward:7.1f}  {backward:8.1f} {1e3 * min(both):8.1f} "
                f"{1e3 * processor[name]:9.1f}   {middle:.3f} [{low:.3f}, {high:.3f}]   "
                f"by cpu {processor['native'] / processor[name]:.3f}"
            )


# ---- accuracy ----


def relative(value: Any, expected: Any) -> float:
    """|value - expected| / |expected|."""
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


def accuracy(options: argparse.Namespace, weights: Any) -> None:
    """Errors of single layers on the network's own inputs, then of the whole gradient."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    size, image = options.size, picture(options.size)
    deepest = max(name for name in TAPS if f"{name}.weight" in weights)
    taps = [name for name in TAPS if name <= deepest]
    names = VGG16.names[: 1 + VGG16.names.index(deepest)]
    networks = {p: NativeNetwork(VGG16, weights, precision=p) for p in ("exact", "fast")}
    maps = {p: network.features(image, names) for p, network in networks.items()}
    print(f"{size} px; relative error of one layer, and of the whole gradient")
    print(f"{'':10} {'native':>9} {'fast':>9} {'torch fp32':>10}")
    for below, name in itertools.pairwise(names):
        row = []
        for features in [maps["exact"], maps["fast"], None]:
            source = maps["exact"] if features is None else features
            x = torch.from_numpy(source[below])[None]
            if below in VGG16.pool_after:
                x = F.max_pool2d(x, 2)
            w, b = (torch.from_numpy(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
            expected = torch.relu(F.conv2d(x.double(), w.double(), b.double(), padding=1))
            got = torch.relu(F.conv2d(x, w, b, padding=1)) if features is None else features[name]
            row.append(relative(np.asarray(got).reshape(expected.shape), expected.numpy()))
        print(f"{name:10} {row[0]:9.1e} {row[1]:9.1e} {row[2]:10.1e}")

    # A near tie of a ReLU or of pooling that float32 decides differently makes the gradient jump,
    # although nothing is wrong. So: the gradient of the pieces that the network itself chose, and,
    # below, the plain difference from float64's choices.
    cotangents = {name: np.full_like(maps["exact"][name], COTANGENT) for name in taps}
    ours = {p: network.bind(size, size, taps) for p, network in networks.items()}
    for bound in ours.values():
        bound.forward(image)
    single, double = (torch_maps(weights, image, names, dtype) for dtype in ("float32", "float64"))
    gradients = [bound.backward(cotangents) for bound in ours.values()]
    gradients.append(torch_gradient(weights, image, cotangents))
    for label, choices in (
        ("gradient", (maps["exact"], maps["fast"], single)),
        ("(with ties)", (double, double, double)),
    ):
        row = [
            relative(gradient, gradient_of(VGG16, weights, image, choice, cotangents))
            for gradient, choice in zip(gradients, choices, strict=True)
        ]
        print(f"{label:11}{row[0]:9.1e} {row[1]:9.1e} {row[2]:10.1e}")


def shapes(_: argparse.Namespace, __: Any) -> None:
    """Errors of one convolution of each shape of the tests' table, forward and backward."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    rng = np.random.default_rng(0)
    print(f"{_core.kernel_set()} kernels; relative error of one convolution, and of its gradient")
    print(f"{'shape':>18}  {'native':>9} {'fast':>9} {'torch fp32':>10}   the same of the gradient")
    for inputs, outputs, height, width in shape_table():
        # A network of two layers: the first hands the picture's three channels to `inputs`.
        first, second = ConvLayer("a", 3, inputs), ConvLayer("b", inputs, outputs)
        chain = Architecture("shape", (first, second), frozenset())
        arrays: dict[str, Any] = {
            "normalize.weight": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1),
            "normalize.bias": np.zeros(3, np.float32),
        }
        for layer in (first, second):
            deviation = (2 / (9 * layer.in_channels)) ** 0.5
            size = (layer.out_channels, layer.in_channels, 3, 3)
            arrays[f"{layer.name}.weight"] = (deviation * rng.normal(size=size)).astype(np.float32)
            arrays[f"{layer.name}.bias"] = np.full(layer.out_channels, 0.1, np.float32)
        image = rng.random((3, height, width), dtype=np.float32)
        w, b = (torch.from_numpy(arrays[f"b.{part}"]) for part in ("weight", "bias"))
        row: dict[str, list[float]] = {"forward": [], "gradient": []}
        for precision in ("exact", "fast"):
            network = NativeNetwork(chain, arrays, precision=precision)
            bound = network.bind(height, width, ["a", "b"])
            maps = {name: f.copy() for name, f in bound.forward(image).items()}
            x = torch.from_numpy(maps["a"])[None]
            expected = torch.relu(F.conv2d(x.double(), w.double(), b.double(), padding=1))
            row["forward"].append(relative(maps["b"], expected[0].numpy()))
            cotangent = rng.normal(size=maps["b"].shape).astype(np.float32)
            found = bound.backward({"a": np.zeros_like(maps["a"]), "b": cotangent})
            wanted = gradient_of(chain, arrays, image, maps, {"b": cotangent})
            row["gradient"].append(relative(found, wanted))
        row["forward"].append(
            relative(torch.relu(F.conv2d(x, w, b, padding=1)).numpy(), expected.numpy())
        )
        row["gradient"].append(relative(by_torch(arrays, image, maps, cotangent), wanted))
        cells = "   ".join(f"{a:9.1e} {b:9.1e} {c:10.1e}" for a, b, c in row.values())
        print(f"{f'{inputs}x{outputs}x{height}x{width}':>18}  {cells}")


def by_torch(arrays: Any, image: Any, maps: Any, cotangent: Any) -> Any:
    """The image gradient of the two layers by torch in float32, with the same open ReLUs."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    x = torch.from_numpy(image)[None].requires_grad_()
    value = x
    for name in ("a", "b"):
        w, b = (torch.from_numpy(arrays[f"{name}.{part}"]) for part in ("weight", "bias"))
        value = F.conv2d(value, w, b, padding=1) * (torch.from_numpy(maps[name]) > 0)
    return torch.autograd.grad(value, x, torch.from_numpy(cotangent)[None])[0][0].numpy()


def shape_table() -> list[tuple[int, ...]]:
    """Input channels, output channels, height and width of the tests' table."""
    path = Path(__file__).resolve().parents[1] / "cpp" / "tests" / "shapes.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [tuple(map(int, line.split())) for line in lines if not line.startswith("#")]


def torch_maps(weights: Any, image: Any, names: Any, dtype: str) -> dict[str, Any]:
    """All features by torch."""
    import torch
    from torch_reference import VGG16 as TorchNetwork  # noqa: N811

    kind = getattr(torch, dtype)
    with torch.no_grad():
        features = TorchNetwork(weights).to(kind)(
            torch.from_numpy(image).to(kind)[None], set(names)
        )
    return {name: f[0].numpy() for name, f in features.items()}


def torch_gradient(weights: Any, image: Any, cotangents: dict[str, Any]) -> Any:
    """The image gradient by torch in float32."""
    import torch
    from torch_reference import VGG16 as TorchNetwork  # noqa: N811

    x = torch.from_numpy(image)[None].requires_grad_()
    features = TorchNetwork(weights)(x, set(cotangents))
    given = [torch.from_numpy(cotangents[name])[None] for name in features]
    return torch.autograd.grad(list(features.values()), x, given)[0][0].numpy()


def gradient_of(
    network: Any, weights: Any, image: Any, choices: dict[str, Any], cotangents: dict[str, Any]
) -> Any:
    """The image gradient in float64, with the ReLUs and pooling winners of these features."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "network"))
    from native_reference import reference

    return reference(
        network, weights, image, pooling="max", decisions=choices, cotangents=cotangents
    )[1]


def main() -> None:
    """Runs what the command line asks for."""
    options = arguments()
    weights: Any = random_weights(VGG16, TAPS[-1])
    if options.weights:
        weights = {name: a.copy() for name, a in load_weights(options.weights).arrays.items()}
    parts = {"layers": layers, "passes": passes, "accuracy": accuracy, "shapes": shapes}
    parts[options.what](options, weights)


if __name__ == "__main__":
    main()
