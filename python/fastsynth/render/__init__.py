"""Rendering: the coarse-to-fine schedule and the run through its levels."""

from fastsynth.render.octaves import Octaves, octave_levels
from fastsynth.render.refine import LevelResult, Progress, Refined, coarse_to_fine
from fastsynth.render.schedule import Level, schedule

__all__ = [
    "Level",
    "LevelResult",
    "Octaves",
    "Progress",
    "Refined",
    "coarse_to_fine",
    "octave_levels",
    "schedule",
]
