"""The public verbs, wired from the stages."""

from fastsynth.synthesize.functions import invert, minimize, mix, style_transfer, synthesize_texture
from fastsynth.synthesize.jobs import read_job, replay, run_job
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = [
    "Result",
    "Synthesizer",
    "invert",
    "minimize",
    "mix",
    "read_job",
    "replay",
    "run_job",
    "style_transfer",
    "synthesize_texture",
]
