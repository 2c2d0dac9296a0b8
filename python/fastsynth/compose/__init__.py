"""Pixel-based image models: filters (Eq. 1), geometry, blending (Eq. 2), colour, pencil sketch."""

from __future__ import annotations

from fastsynth.compose.affine import affine
from fastsynth.compose.alpha import OPERATORS, composite
from fastsynth.compose.blend import BLEND_MODES, blend
from fastsynth.compose.color import (
    grayscale,
    hue_saturation,
    match_color,
    match_histogram,
    threshold,
)
from fastsynth.compose.convolve import convolve
from fastsynth.compose.kernels import KERNELS, kernel
from fastsynth.compose.pipeline import STEPS, Pipeline, Step, run, step
from fastsynth.compose.resize import resize
from fastsynth.compose.sketch import pencil_sketch
from fastsynth.compose.tones import (
    brightness_contrast,
    curves,
    gamma,
    invert,
    levels,
    posterize,
)

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
