"""Pixel-based image models: filters (Eq. 1), geometry, blending (Eq. 2), colour, pencil sketch."""

from __future__ import annotations

from fastsynth.compose.affine import affine
from fastsynth.compose.convolve import convolve
from fastsynth.compose.kernels import KERNELS, kernel

__all__ = ["KERNELS", "affine", "convolve", "kernel"]
