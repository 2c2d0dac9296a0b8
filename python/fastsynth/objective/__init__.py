"""Objectives: terms that compose with + and *, and the plan that binds them to the engine."""

from fastsynth.objective.activation import Activation
from fastsynth.objective.base import Canvas, Part, Request, Sum, Term
from fastsynth.objective.content import CONTENT_LAYERS, Content
from fastsynth.objective.function import FunctionTerm
from fastsynth.objective.plan import Plan, Sources, plan, with_margin
from fastsynth.objective.smooth import AlphaNorm, RangePenalty, TotalVariation
from fastsynth.objective.style import STYLE_LAYERS, Style

__all__ = [
    "CONTENT_LAYERS",
    "STYLE_LAYERS",
    "Activation",
    "AlphaNorm",
    "Canvas",
    "Content",
    "FunctionTerm",
    "Part",
    "Plan",
    "RangePenalty",
    "Request",
    "Sources",
    "Style",
    "Sum",
    "Term",
    "TotalVariation",
    "plan",
    "with_margin",
]
