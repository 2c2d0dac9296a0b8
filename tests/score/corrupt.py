"""Ways to spoil a texture, each with a strength; (H, W, 3) float32 in [0, 1] to the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["blurred", "noisy", "random_phase", "shuffled", "warped"]

Image = NDArray[np.float32]


def shuffled(image: Image, block: int) -> Image:
    """Blocks of `block` px in random order."""
    count = image.shape[0] // block
    blocks = image.reshape(count, block, count, block, 3).transpose(0, 2, 1, 3, 4)
    flat = blocks.reshape(-1, block, block, 3)
    mixed = flat[np.random.default_rng(0).permutation(len(flat))].reshape(blocks.shape)
    return mixed.transpose(0, 2, 1, 3, 4).reshape(image.shape)


def warped(image: Image, amount: float) -> Image:
    """Smooth random displacements with a standard deviation of `amount` px."""
    rng = np.random.default_rng(1)
    places = np.indices(image.shape[:2]).astype(np.float64)
    for axis in range(2):
        shift = ndimage.gaussian_filter(rng.normal(size=image.shape[:2]), 12)
        places[axis] += shift / shift.std() * amount
    planes = [
        ndimage.map_coordinates(image[..., c], places, order=1, mode="reflect") for c in range(3)
    ]
    return np.stack(planes, axis=-1).astype(np.float32)


def noisy(image: Image, amount: float) -> Image:
    """White noise of standard deviation `amount`."""
    noise = np.random.default_rng(2).normal(size=image.shape) * amount
    return np.clip(image + noise, 0, 1).astype(np.float32)


def blurred(image: Image, sigma: float) -> Image:
    """A Gaussian blur of `sigma` px."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)).astype(np.float32)


def random_phase(image: Image) -> Image:
    """The same spectrum, with the phases of white noise."""
    noise = np.fft.fft2(np.random.default_rng(3).normal(size=image.shape[:2]))
    phase = (noise / np.abs(noise))[..., None]
    mean = image.mean(axis=(0, 1))
    field = np.fft.ifft2(np.fft.fft2(image - mean, axes=(0, 1)) * phase, axes=(0, 1)).real
    return np.clip(field + mean, 0, 1).astype(np.float32)
