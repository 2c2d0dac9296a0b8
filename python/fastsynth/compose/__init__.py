"""Pixel-based image models: filters (Eq. 1), geometry, blending (Eq. 2), colour, pencil sketch."""

from __future__ import annotations

from fastsynth.compose.affine import affine
from fastsynth.compose.alpha import OPERATORS, composite
from fastsynth.compose.blend import BLEND_MODES, blend
from fastsynth.compose.color import (
    brightness_contrast,
    curves,
    gamma,
    grayscale,
    hue_saturation,
    invert,
    levels,
    match_color,
    match_histogram,
    posterize,
    threshold,
)
from fastsynth.compose.convolve import convolve
from fastsynth.compose.kernels import KERNELS, kernel
from fastsynth.compose.pipeline import STEPS, Pipeline, Step, run, step
from fastsynth.compose.resize import resize
from fastsynth.compose.sketch import pencil_sketch

__all__ = [
    "BLEND_MODES",
    "KERNELS",
    "OPERATORS",
    "STEPS",
    "Pipeline",
    "Step",
    "affine",
    "blend",
    "brightness_contrast",
    "composite",
    "convolve",
    "curves",
    "gamma",
    "grayscale",
    "hue_saturation",
    "invert",
    "kernel",
    "levels",
    "match_color",
    "match_histogram",
    "pencil_sketch",
    "posterize",
    "resize",
    "run",
    "step",
    "threshold",
]
