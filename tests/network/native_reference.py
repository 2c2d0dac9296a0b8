"""Networks for the tests of the native kernels, and the same networks in torch's float64.

Run as a program it compares both for a fixed list of cases and prints the kernel set: that is how
test_native.py tries every kernel set, each in a process of its own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from fastsynth import _core
from fastsynth.network.architecture import Architecture, ConvLayer
from fastsynth.network.native import NativeNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


POOLINGS: tuple[str, ...] = ("max", "avg")
# Relative error of the whole chain. In bfloat16 it depends on luck where a map has few values.
LIMITS: dict[str, float] = {
    "exact": 6e-6 if _core.kernel_set() == "avx512pairs" else 3e-6,
    "fast": 0.15 if _core.has_bf16() else 1.2e-5,
}
SHAPES = Path(__file__).resolve().parents[2] / "cpp/tests/shapes.txt"  # shared with the C++ tests
SIZES = [
    (int(line.split()[2]), int(line.split()[3]))
    for line in SHAPES.read_text().splitlines()
    if not line.startswith("#")
]


@dataclass(frozen=True)
class Case:
    """Output channels of a chain, where it pools, what is tapped (by place)."""

    channels: tuple[int, ...]
    pooled: tuple[int, ...]
    taps: tuple[int, ...]


CASES = [
    Case((64, 64, 96, 32), (1,), (0, 1, 2, 3)),  # VGG's beginning; a tap that is pooled, too
    Case((32, 48, 64), (1,), (0, 2)),  # pooled and not tapped
    Case((32, 16, 32, 64), (1, 2), (3,)),  # one deep tap
    Case((17, 5, 33), (0, 1), (0, 1, 2)),  # odd channels: planar taps, padded blocks
    Case((17, 5, 33), (0,), (1,)),  # the first layer pooled and not tapped
    Case((48, 80), (0,), (0, 1)),  # the first layer pooled and tapped
    Case((20,), (), (0,)),  # nothing but the first layer
]


def make_chain(case: Case, seed: int = 0) -> tuple[Architecture, dict[str, NDArray[np.float32]]]:
    """A random network (He's scale) with an arbitrary normalisation."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(3) + 0.5 * rng.normal(size=(3, 3))
    arrays = {"normalize.weight": matrix.reshape(3, 3, 1, 1), "normalize.bias": rng.normal(size=3)}
    layers = []
    inputs = 3
    for i, outputs in enumerate(case.channels):
        scale = np.sqrt(2 / (9 * inputs))
        arrays[f"layer{i}.weight"] = scale * rng.normal(size=(outputs, inputs, 3, 3))
        arrays[f"layer{i}.bias"] = 0.1 * rng.normal(size=outputs)
        layers.append(ConvLayer(f"layer{i}", inputs, outputs))
        inputs = outputs
    pooled = frozenset(f"layer{i}" for i in case.pooled)
    return (
        Architecture("test", tuple(layers), pooled),
        {name: array.astype(np.float32) for name, array in arrays.items()},
    )


def reference(
    architecture: Architecture,
    arrays: Mapping[str, NDArray[np.float32]],
    image: NDArray[np.float32],
    *,
    pooling: str,
    decisions: Mapping[str, NDArray[np.float32]],
    cotangents: Mapping[str, NDArray[np.float32]],
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Features of all layers, and the gradient of Σ cotangent · feature, by torch in float64.

    ReLUs and max pooling are piecewise linear: where a float32 network takes the other side of a
    near tie, the gradient jumps, although nothing is wrong. So the gradient is that of the pieces
    which `decisions` (the features of all layers, of the network under test) chose: a ReLU is open
    where the feature is positive, a window's winner is its first maximum. The features returned are
    those of an undisturbed float64 pass.
    """
    functional = torch.nn.functional

    def double(array: NDArray[np.float32]) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float64)

    x = double(image).requires_grad_()
    first = functional.conv2d(
        x[None], double(arrays["normalize.weight"]), double(arrays["normalize.bias"])
    )
    free, bound = first.detach(), first
    features = {}
    loss = torch.zeros((), dtype=torch.float64)
    for layer in architecture.layers[: len(decisions)]:
        weight, bias = double(arrays[f"{layer.name}.weight"]), double(arrays[f"{layer.name}.bias"])
        decided = torch.tensor(decisions[layer.name])
        free = torch.relu(functional.conv2d(free, weight, bias, padding=1))
        bound = functional.conv2d(bound, weight, bias, padding=1) * (decided > 0)
        features[layer.name] = free[0].numpy()
        if layer.name in cotangents:
            loss = loss + (bound[0] * double(cotangents[layer.name])).sum()
        if layer.name == architecture.layers[len(decisions) - 1].name:
            break
        if layer.name not in architecture.pool_after:
            continue
        if pooling == "avg":
            free, bound = functional.avg_pool2d(free, 2), functional.avg_pool2d(bound, 2)
        else:
            free = functional.max_pool2d(free, 2)
            _, winners = functional.max_pool2d(decided[None], 2, return_indices=True)
            bound = bound.flatten(2).gather(2, winners.flatten(2)).reshape(free.shape)
    (gradient,) = torch.autograd.grad(loss, x)
    return features, gradient.numpy()


def relative_error(value: NDArray[np.float32], expected: NDArray[np.float64]) -> float:
    """|value - expected| / |expected|, Euclidean norms over the whole array."""
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(value - expected)) / (size if size else 1.0)


def compare(
    architecture: Architecture,
    arrays: Mapping[str, NDArray[np.float32]],
    image: NDArray[np.float32],
    taps: Sequence[str],
    *,
    pooling: str,
    precision: str = "exact",
) -> tuple[float, float]:
    """Largest relative error of a feature at `taps`, and that of the gradient."""
    model = NativeNetwork(architecture, arrays, pooling=pooling, precision=precision)
    height, width = image.shape[1:]
    bound = model.bind(height, width, taps)
    features = bound.forward(image)
    rng = np.random.default_rng(7)
    cotangents = {
        name: (rng.normal(size=f.shape) / np.linalg.norm(f)).astype(np.float32)
        for name, f in features.items()
    }
    gradient = bound.backward(cotangents)

    names = model.layers[: 1 + model.layers.index(bound.taps[-1])]
    decisions = model.features(image, names)
    for name, feature in features.items():
        if not np.array_equal(feature, decisions[name]):
            raise AssertionError(f"{name} depends on what else is tapped")
    expected, expected_gradient = reference(
        architecture, arrays, image, pooling=pooling, decisions=decisions, cotangents=cotangents
    )
    errors = [relative_error(feature, expected[name]) for name, feature in features.items()]
    return max(errors), relative_error(gradient, expected_gradient)


def compare_case(
    case: Case, size: tuple[int, int], pooling: str, precision: str
) -> tuple[float, float]:
    """`compare` for a random network and picture."""
    architecture, arrays = make_chain(case)
    image = np.random.default_rng(size).random((3, *size), dtype=np.float32)
    taps = [f"layer{i}" for i in case.taps]
    return compare(architecture, arrays, image, taps, pooling=pooling, precision=precision)


def fits(case: Case, height: int, width: int) -> bool:
    """Whether something is left at the deepest tap."""
    factor = 2 ** sum(i < max(case.taps) for i in case.pooled)
    return bool(min(height, width) >= factor)


def precisions(size: tuple[int, int]) -> list[str]:
    """The precisions that differ: F(6×6) is for maps of at least 96 px, bfloat16 for all."""
    return ["exact", "fast"] if _core.has_bf16() or min(size) >= 96 else ["exact"]


def main() -> int:
    """Exit status 0 if every error is below the limits of either precision."""
    print(_core.kernel_set())
    status = 0
    runs: list[tuple[Case, tuple[int, int], str, str]] = [
        (CASES[0], (98, 101), "max", "fast"),
        (CASES[0], (37, 51), "avg", "exact"),
        *((case, (13, 10), "max", "exact") for case in CASES),
    ]
    for case, size, pooling, precision in runs:
        errors = compare_case(case, size, pooling, precision)
        if max(errors) > LIMITS[precision]:
            print(case, size, pooling, precision, errors)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
