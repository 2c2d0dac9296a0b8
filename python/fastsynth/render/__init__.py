"""Rendering: the coarse-to-fine schedule and the run through its levels."""

from fastsynth.render.checkpoint import Checkpoint, Position
from fastsynth.render.octaves import Octaves, octave_levels
from fastsynth.render.refine import LevelResult, Progress, Refined, coarse_to_fine
from fastsynth.render.schedule import Level, schedule
from fastsynth.render.trace import Trace, TraceWriter

__all__ = [
    "Checkpoint",
    "Level",
    "LevelResult",
    "Octaves",
    "Position",
    "Progress",
    "Refined",
    "Trace",
    "TraceWriter",
    "coarse_to_fine",
    "octave_levels",
    "schedule",
]
