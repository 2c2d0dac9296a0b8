"""Objectives: terms that compose with + and *, and the plan that binds them to the engine."""

from fastsynth.objective.activation import Activation
from fastsynth.objective.autocorrelation import LONG_RANGE_LAYERS, Autocorrelation, Spectrum
from fastsynth.objective.base import Canvas, Part, Request, Sum, Term
from fastsynth.objective.bures import GaussianWasserstein
from fastsynth.objective.content import CONTENT_LAYERS, Content
from fastsynth.objective.distribution import Histogram, SlicedWasserstein
from fastsynth.objective.function import FunctionTerm
from fastsynth.objective.guide import GuidedStyle, Region, read_regions
from fastsynth.objective.losses import StyleLoss, style_term
from fastsynth.objective.moments import MMD, BNStatistics, MeanCovariance
from fastsynth.objective.plan import Plan, Sources, find_parts, plan, with_margin
from fastsynth.objective.pyramid import PYRAMID_LAYERS, PyramidGram
from fastsynth.objective.shifted import SHIFTED_LAYERS, ShiftedGram
from fastsynth.objective.smooth import AlphaNorm, RangePenalty, TotalVariation
from fastsynth.objective.style import STYLE_LAYERS, Style
from fastsynth.objective.whole import WholeObjective

__all__ = [
    "CONTENT_LAYERS",
    "LONG_RANGE_LAYERS",
    "MMD",
    "PYRAMID_LAYERS",
    "SHIFTED_LAYERS",
    "STYLE_LAYERS",
    "Activation",
    "AlphaNorm",
    "Autocorrelation",
    "BNStatistics",
    "Canvas",
    "Content",
    "FunctionTerm",
    "GaussianWasserstein",
    "GuidedStyle",
    "Histogram",
    "MeanCovariance",
    "Part",
    "Plan",
    "PyramidGram",
    "RangePenalty",
    "Region",
    "Request",
    "ShiftedGram",
    "SlicedWasserstein",
    "Sources",
    "Spectrum",
    "Style",
    "StyleLoss",
    "Sum",
    "Term",
    "TotalVariation",
    "WholeObjective",
    "find_parts",
    "plan",
    "read_regions",
    "style_term",
    "with_margin",
]
