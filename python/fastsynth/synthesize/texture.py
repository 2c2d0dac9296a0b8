"""Texture synthesis: pictures with an exemplar's statistics (Gatys et al. 2015; Eqs 6, 8, 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import fit_size
from fastsynth.objective import STYLE_LAYERS, RangePenalty, Style, TotalVariation
from fastsynth.objective.blend import weighted_pictures
from fastsynth.synthesize.record import record
from fastsynth.synthesize.transfer import MARGIN, RANGE_WEIGHT, in_colour
from fastsynth.synthesize.verbs import noise_init, run_options, start

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastsynth._types import ImageLike, Size
    from fastsynth.objective import Sum, Term
    from fastsynth.objective.content import Normalization
    from fastsynth.synthesize.options import Options
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["synthesize_texture"]


def synthesize_texture(
    self: Synthesizer,
    exemplar: ImageLike | Sequence[tuple[ImageLike, float]],
    *,
    size: Size = None,
    layers: str | Sequence[str] | Mapping[str, float] = STYLE_LAYERS,
    scale: float = 1.0,
    init: Literal["noise"] | ImageLike = "noise",
    smoothness: float = 0.0,
    normalization: Normalization = "relative",
    balance: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Makes a texture like `exemplar`, of any size.

    exemplar: a picture of the texture, or pairs (picture, weight) whose statistics are mixed.
    size: longer side in pixels, (width, height), or None (default) for the exemplar's own size. The
        texture keeps the exemplar's pixel scale: a larger size gives more of it, not larger
        features.
    layers: names, or mapping of name to weight; default conv1_1 … conv5_1.
    scale: factor on the size of the features; default 1.
    init: first picture: "noise" (default: the exemplar's mean colour plus noise), or any image.
    smoothness: weight of total variation; default 0.
    normalization, balance: see Style.
    options: see RunOptions; in the one-call form EngineOptions too.

    Returns a Result of the first exemplar's kind.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> exemplar = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.synthesize_texture(exemplar, size=(48, 40), max_evaluations=3)
    >>> result.array.shape
    (40, 48, 3)
    """
    arguments = dict(locals())
    run = run_options(options, "synthesize_texture")
    exemplars = weighted_pictures(exemplar, "exemplar")
    picture = exemplars.pairs[0][0]
    height, width = fit_size(size, picture.pixels.shape[1:])
    if not isinstance(smoothness, (int, float)) or not 0 <= smoothness < np.inf:
        raise ObjectiveError(f"smoothness must be a number ≥ 0, not {smoothness!r}")
    first, given = start(
        init,
        {"noise": noise_init(picture.pixels.mean((1, 2)), run.get("seed", 0))},
        "synthesize_texture",
    )
    job = record("synthesize_texture", arguments, exemplar=exemplars, init=given or init)
    objective: Term | Sum = Style(
        exemplars,
        layers,
        normalization=normalization,
        sizing="native",
        scale=scale,
        balance=balance,
    )
    objective = objective + RANGE_WEIGHT * RangePenalty()
    if smoothness > 0:
        objective = objective + smoothness * TotalVariation()
    return self.synthesize(
        objective,
        (height, width),
        first,
        pooling="avg",
        kind=picture.kind
        if all(p.kind.grey for p, _ in exemplars.pairs)
        else in_colour(picture.kind),
        job=job,
        margin=MARGIN,
        **run,
    )
