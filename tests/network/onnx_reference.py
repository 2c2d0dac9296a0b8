"""What the tests of the ONNX network share: weights, pictures, and torch's float64 answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsynth.network.architecture import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def he_normal(
    network: str, deepest: str | None = None, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Random weights that keep the scale of activations, down to `deepest`, with small biases."""
    rng = np.random.default_rng(seed)
    weights = {
        # BGR, 0-255, minus a mean, in the scale of one deviation
        "normalize.weight": (4 * np.eye(3, dtype=np.float32)[::-1]).reshape(3, 3, 1, 1).copy(),
        "normalize.bias": np.array([-1.8, -2.0, -2.1], np.float32),
    }
    for layer in ARCHITECTURES[network].layers:
        shape = (layer.out_channels, layer.in_channels, 3, 3)
        deviation = (2 / (9 * layer.in_channels)) ** 0.5
        weights[f"{layer.name}.weight"] = (deviation * rng.standard_normal(shape)).astype(
            np.float32
        )
        bias = 0.1 * rng.standard_normal(layer.out_channels)
        weights[f"{layer.name}.bias"] = bias.astype(np.float32)
        if layer.name == deepest:
            break
    return weights


def picture(height: int, width: int, seed: int = 1) -> NDArray[np.float32]:
    """Noise with a constant region, where all pixels of a pooling window are equal."""
    image = np.random.default_rng(seed).random((3, height, width), dtype=np.float32)
    image[:, height // 5 : height // 2, width // 6 : width // 2] = 0.5
    return image


def cotangents_of(
    network: str, taps: Sequence[str], height: int, width: int
) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(2)
    architecture = ARCHITECTURES[network]
    return {
        tap: rng.standard_normal(architecture.shape(tap, height, width), dtype=np.float32)
        for tap in taps
    }


def torch_answer(
    network: str,
    pooling: str,
    weights: Mapping[str, NDArray[np.float32]],
    image: NDArray[np.float32],
    cotangents: Mapping[str, NDArray[np.float32]],
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Features and image gradient by torch autograd in float64."""
    import torch
    from torch.nn import functional

    architecture = ARCHITECTURES[network]
    tensors = {name: torch.from_numpy(array).double() for name, array in weights.items()}
    pixels = torch.from_numpy(image).double()[None].requires_grad_()
    x = functional.conv2d(pixels, tensors["normalize.weight"], tensors["normalize.bias"])
    found, loss = {}, torch.zeros((), dtype=torch.float64)
    pool = functional.max_pool2d if pooling == "max" else functional.avg_pool2d
    for name in architecture.names:
        if f"{name}.weight" not in tensors:
            break
        x = functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)
        x = functional.relu(x)
        if name in cotangents:
            found[name] = x.detach().numpy()[0]
            loss = loss + (x[0] * torch.from_numpy(cotangents[name]).double()).sum()
        if len(found) == len(cotangents):
            break
        if name in architecture.pool_after:
            x = pool(x, 2)
    loss.backward()
    assert pixels.grad is not None
    return found, pixels.grad.numpy()[0]
