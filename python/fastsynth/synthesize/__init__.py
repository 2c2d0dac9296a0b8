"""The public verbs, wired from the stages."""

from fastsynth.synthesize.analogy import image_analogy
from fastsynth.synthesize.batching import BatchItem, BatchReport, batch
from fastsynth.synthesize.estimation import Estimate, LevelEstimate, estimate
from fastsynth.synthesize.functions import (
    dream,
    dream_zoom,
    invert,
    minimize,
    mix,
    style_transfer,
    synthesize_texture,
    visualize,
)
from fastsynth.synthesize.jobs import read_job, replay, run_job
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.stylizer import Stylizer
from fastsynth.synthesize.synthesizer import Synthesizer
from fastsynth.synthesize.zoom import Frames

__all__ = [
    "BatchItem",
    "BatchReport",
    "Estimate",
    "Frames",
    "LevelEstimate",
    "Result",
    "Stylizer",
    "Synthesizer",
    "batch",
    "dream",
    "dream_zoom",
    "estimate",
    "image_analogy",
    "invert",
    "minimize",
    "mix",
    "read_job",
    "replay",
    "run_job",
    "style_transfer",
    "synthesize_texture",
    "visualize",
]
