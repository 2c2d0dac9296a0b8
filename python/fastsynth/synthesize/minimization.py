"""Any sum of terms, minimised over the pixels of a picture (Eq. 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fastsynth._errors import ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import DEFAULT_KIND, Picture, fit_size
from fastsynth.objective import RangePenalty, Sum, Term
from fastsynth.synthesize.record import record
from fastsynth.synthesize.transfer import RANGE_WEIGHT, in_colour
from fastsynth.synthesize.verbs import noise_init, run_options, start

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastsynth._types import ImageLike, Size
    from fastsynth.synthesize.options import Options
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["minimize"]


@plain_arguments
def minimize(
    self: Synthesizer,
    objective: Term | Sum,
    *,
    init: Literal["noise"] | ImageLike = "noise",
    size: Size = None,
    keep_range: bool = True,
    **options: Unpack[Options],
) -> Result:
    """Minimises a sum of terms over the pixels of a picture.

    objective: terms joined by + and *, such as
        ``Content(a) + 10 * Style(b) + 0.1 * TotalVariation()``.
    init: first picture: "noise" (default: mid grey plus noise), or any image.
    size: longer side in pixels, (width, height), or None (default) for the size of `init` or else
        of the objective's first image.
    keep_range: True (default) adds a penalty on values outside [0, 1].
    options: see RunOptions; in the one-call form EngineOptions too.

    Returns a Result of the kind of `init`, or uint8.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Content, Synthesizer, TotalVariation
    >>> image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     objective = Content(image, "conv1_2") + 0.1 * TotalVariation()
    ...     result = synthesizer.minimize(objective, max_evaluations=3)
    >>> sorted(result.losses)
    ['content/conv1_2', 'range', 'total_variation']
    """
    arguments = dict(locals())
    run = run_options(options, "minimize")
    if not isinstance(objective, (Term, Sum)):
        raise ObjectiveError(
            "objective must be a term or a sum of terms, such as Content(image), "
            f"not {type(objective).__name__}"
        )
    first, given = start(
        init, {"noise": noise_init((0.5, 0.5, 0.5), run.get("seed", 0))}, "minimize"
    )
    reference = given or first_picture(objective)
    if reference is None and size is None:
        raise ObjectiveError(
            "minimize: give a size, since neither init nor the objective has an image"
        )
    height, width = fit_size(size, reference.pixels.shape[1:] if reference else (1, 1))
    job = record("minimize", arguments, init=given or init)
    terms = objective + RANGE_WEIGHT * RangePenalty() if keep_range else objective
    return self.synthesize(
        terms,
        (height, width),
        first,
        pooling="max",
        kind=in_colour(given.kind) if given else DEFAULT_KIND,
        job=job,
        **run,
    )


def first_picture(objective: Term | Sum) -> Picture | None:
    """The first image that a term of the objective holds."""
    for term in objective.terms():
        pictures: Sequence[tuple[Picture, float]] = getattr(term, "pictures", ())
        if pictures:
            return pictures[0][0]
    return None
