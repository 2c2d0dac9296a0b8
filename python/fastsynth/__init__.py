"""Image synthesis from a network's representation: style transfer, textures, feature inversion.

    import fastsynth as fs

    result = fs.style_transfer("town.jpg", "painting.jpg", size=512)
    result.save("out.png")

An image X is found from a representation h of a network's layers, X = Φ⁻¹(h), by iterating on the
pixels with the gradient of content and style losses (Phon-Amnuaisuk, "Image Synthesis and Style
Transfer", 2019). Computation is done by ONNX Runtime and a C++ core; no training framework is
needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastsynth._errors import (
    CheckpointError,
    DeviceError,
    DivergenceError,
    FastsynthError,
    ImageError,
    MemoryLimitError,
    NetworkError,
    ObjectiveError,
    WeightsError,
)
from fastsynth._interpreter import refuse_sub_interpreters

if TYPE_CHECKING:
    from fastsynth import compose, patterns, score
    from fastsynth._core import Cancel
    from fastsynth.objective import (
        MMD,
        Activation,
        AlphaNorm,
        Autocorrelation,
        BNStatistics,
        Content,
        FunctionTerm,
        GaussianWasserstein,
        GuidedStyle,
        Histogram,
        MeanCovariance,
        PyramidGram,
        RangePenalty,
        ShiftedGram,
        SlicedWasserstein,
        Spectrum,
        Style,
        TotalVariation,
    )
    from fastsynth.optimize import LBFGS, Adam, GradientDescent
    from fastsynth.render import Progress
    from fastsynth.synthesize import (
        Result,
        Stylizer,
        Synthesizer,
        batch,
        dream,
        dream_zoom,
        estimate,
        image_analogy,
        invert,
        minimize,
        mix,
        replay,
        run_job,
        style_transfer,
        synthesize_texture,
        visualize,
    )

__version__ = "0.1.0"

refuse_sub_interpreters()

# Where each public name lives (a stage of the same name is public itself): loaded on first use, so
# that `import fastsynth` stays quick.
_HOMES = {
    "compose": "compose",
    "Cancel": "_core",
    "Activation": "objective",
    "AlphaNorm": "objective",
    "Autocorrelation": "objective",
    "BNStatistics": "objective",
    "Content": "objective",
    "FunctionTerm": "objective",
    "GaussianWasserstein": "objective",
    "GuidedStyle": "objective",
    "Histogram": "objective",
    "MMD": "objective",
    "MeanCovariance": "objective",
    "PyramidGram": "objective",
    "RangePenalty": "objective",
    "ShiftedGram": "objective",
    "SlicedWasserstein": "objective",
    "Spectrum": "objective",
    "Style": "objective",
    "TotalVariation": "objective",
    "Adam": "optimize",
    "GradientDescent": "optimize",
    "LBFGS": "optimize",
    "Progress": "render",
    "Result": "synthesize",
    "Stylizer": "synthesize",
    "Synthesizer": "synthesize",
    "batch": "synthesize",
    "dream": "synthesize",
    "dream_zoom": "synthesize",
    "estimate": "synthesize",
    "image_analogy": "synthesize",
    "invert": "synthesize",
    "minimize": "synthesize",
    "mix": "synthesize",
    "patterns": "patterns",
    "replay": "synthesize",
    "run_job": "synthesize",
    "score": "score",
    "style_transfer": "synthesize",
    "synthesize_texture": "synthesize",
    "visualize": "synthesize",
}

__all__ = [
    "LBFGS",
    "MMD",
    "Activation",
    "Adam",
    "AlphaNorm",
    "Autocorrelation",
    "BNStatistics",
    "Cancel",
    "CheckpointError",
    "Content",
    "DeviceError",
    "DivergenceError",
    "FastsynthError",
    "FunctionTerm",
    "GaussianWasserstein",
    "GradientDescent",
    "GuidedStyle",
    "Histogram",
    "ImageError",
    "MeanCovariance",
    "MemoryLimitError",
    "NetworkError",
    "ObjectiveError",
    "Progress",
    "PyramidGram",
    "RangePenalty",
    "Result",
    "ShiftedGram",
    "SlicedWasserstein",
    "Spectrum",
    "Style",
    "Stylizer",
    "Synthesizer",
    "TotalVariation",
    "WeightsError",
    "batch",
    "compose",
    "dream",
    "dream_zoom",
    "estimate",
    "image_analogy",
    "invert",
    "minimize",
    "mix",
    "patterns",
    "replay",
    "run_job",
    "score",
    "style_transfer",
    "synthesize_texture",
    "visualize",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home_module = importlib.import_module(f".{home}", __name__)
    value = home_module if home == name else getattr(home_module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
