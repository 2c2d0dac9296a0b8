"""What tests of several stages share: a small NumPy network behind the engine's interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastsynth import _core

__all__ = ["TinyNetwork", "random_image", "relative_error"]

FloatArray = NDArray[np.float32]


def random_image(height: int, width: int, seed: int = 0) -> FloatArray:
    """A planar image (3, H, W), uniform in [0, 1]."""
    return np.random.default_rng(seed).random((3, height, width), dtype=np.float32)


def relative_error(found: object, expected: object) -> float:
    """‖found - expected‖ / ‖expected‖; the plain distance where the expected is 0."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    norm = np.linalg.norm(b.ravel())
    return float(np.linalg.norm((a - b).ravel()) / (norm or 1.0))


class TinyNetwork:
    """image → relu(A x + a) at each pixel → 2 x 2 mean → relu(B y + b), with an exact backward.

    Taps: "image" (3, H, W), "conv1" (channels, H, W), "conv2" (2 channels, H // 2, W // 2); the
    last only where H and W are at least 2. `core` is the engine's network; `forwards` and
    `backwards` count its passes.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 5,
        seed: int = 0,
        taps: tuple[str, ...] = ("image", "conv1", "conv2"),
    ) -> None:
        rng = np.random.default_rng(seed)
        self.a = rng.standard_normal((channels, 3)).astype(np.float32)
        self.a_bias = rng.standard_normal(channels).astype(np.float32) * np.float32(0.3)
        self.b = rng.standard_normal((2 * channels, channels)).astype(np.float32) / np.float32(2)
        self.b_bias = rng.standard_normal(2 * channels).astype(np.float32) * np.float32(0.3)
        self.taps = tuple(tap for tap in taps if tap != "conv2" or min(height, width) >= 2)
        self.forwards = self.backwards = 0
        shapes = {
            "image": (3, height, width),
            "conv1": (channels, height, width),
            "conv2": (2 * channels, height // 2, width // 2),
        }
        self.image = np.zeros((3, height, width), np.float32)
        self.gradient = np.zeros_like(self.image)
        self.features = {tap: np.zeros(shapes[tap], np.float32) for tap in self.taps}
        self.core = _core.CallbackNetwork(
            list(self.taps),
            self.image,
            [self.features[tap] for tap in self.taps],
            self.gradient,
            self._forward,
            self._backward,
        )

    def compute(self, image: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """The features of an image, in the precision of the image."""
        x = image
        conv1 = np.maximum(np.einsum("cd,dhw->chw", self.a, x) + self.a_bias[:, None, None], 0)
        conv2 = np.einsum("cd,dhw->chw", self.b, _pool(conv1)) + self.b_bias[:, None, None]
        features = {"image": x, "conv1": conv1, "conv2": np.maximum(conv2, 0)}
        return {tap: features[tap] for tap in self.taps}

    def pull(
        self, image: NDArray[np.floating], cotangents: dict[str, NDArray[np.floating]]
    ) -> NDArray[np.floating]:
        """The gradient with respect to the image, from cotangents by tap."""
        conv1 = np.maximum(np.einsum("cd,dhw->chw", self.a, image) + self.a_bias[:, None, None], 0)
        slope1 = np.zeros_like(conv1)
        if "conv2" in cotangents:
            below = np.einsum("cd,dhw->chw", self.b, _pool(conv1)) + self.b_bias[:, None, None]
            pooled = np.einsum("cd,chw->dhw", self.b, cotangents["conv2"] * (below > 0))
            spread = np.repeat(np.repeat(pooled, 2, axis=1), 2, axis=2) / 4
            slope1[:, : spread.shape[1], : spread.shape[2]] += spread
        if "conv1" in cotangents:
            slope1 += cotangents["conv1"]
        gradient = np.einsum("cd,chw->dhw", self.a, slope1 * (conv1 > 0))
        return gradient + cotangents["image"] if "image" in cotangents else gradient

    def _forward(self) -> None:
        self.forwards += 1
        for tap, features in self.compute(self.image).items():
            self.features[tap][...] = features

    def _backward(self, pull: Callable[[int, NDArray[np.float32], bool], bool]) -> None:
        self.backwards += 1
        cotangents: dict[str, NDArray[np.floating]] = {}
        for index, tap in reversed(list(enumerate(self.taps))):
            # The deepest two replace what lies there, where leftovers would show; the others add.
            add = index < len(self.taps) - 2
            map_ = np.full_like(self.features[tap], 0.5 if add else np.nan)
            if pull(index, map_, add):
                cotangents[tap] = map_ - 0.5 if add else map_
        self.gradient[...] = self.pull(self.image, cotangents)


def _pool(x: NDArray[np.floating]) -> NDArray[np.floating]:
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    y = x[:, :height, :width]
    return (y[:, ::2, ::2] + y[:, 1::2, ::2] + y[:, ::2, 1::2] + y[:, 1::2, 1::2]) / 4
