"""Feature inversion and mixes: X = Φ⁻¹(h) and X = Σ w_i Φ_i⁻¹(h_i) (Eqs 4, 5)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import Picture, fit_size, load
from fastsynth.objective import CONTENT_LAYERS, AlphaNorm, Content, RangePenalty, TotalVariation
from fastsynth.objective.content import Normalization
from fastsynth.synthesize.record import record
from fastsynth.synthesize.result import weighted_sum
from fastsynth.synthesize.transfer import RANGE_WEIGHT, in_colour
from fastsynth.synthesize.verbs import noise_init, run_options, start

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastsynth._types import ImageLike, Size
    from fastsynth.objective import Sum, Term
    from fastsynth.synthesize.options import Options
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["invert", "mix"]

ALPHA = 6.0  # exponent of the α-norm (Mahendran & Vedaldi 2016)

Layers = str | Sequence[str] | Mapping[str, float]


def natural_priors(smoothness: float, contrast: float) -> Sum | Term:
    """Total variation, α-norm and range penalty of the natural pre-image."""
    if not isinstance(smoothness, (int, float)) or not 0 <= smoothness < np.inf:
        raise ObjectiveError(f"smoothness must be a number ≥ 0, not {smoothness!r}")
    if not isinstance(contrast, (int, float)) or not 0 <= contrast < np.inf:
        raise ObjectiveError(f"contrast must be a number ≥ 0, not {contrast!r}")
    priors: Sum | Term = RANGE_WEIGHT * RangePenalty()
    if smoothness > 0:
        priors = priors + smoothness * TotalVariation()
    if contrast > 0:
        priors = priors + contrast * AlphaNorm(ALPHA)
    return priors


@plain_arguments
def invert(
    self: Synthesizer,
    image: ImageLike,
    *,
    layers: Layers = CONTENT_LAYERS,
    size: Size = None,
    init: Literal["noise"] | ImageLike = "noise",
    smoothness: float = 0.05,
    contrast: float = 0.0,
    normalization: Normalization = "relative",
    **options: Unpack[Options],
) -> Result:
    """Makes a picture from the features of `image` alone: what do these layers still know of it?

    image: the picture whose features are inverted.
    layers: names, or mapping of name to weight; default conv4_2.
    size: longer side in pixels, (width, height), or None (default) for the image's own size.
    init: first picture: "noise" (default: mid grey plus noise), or any image.
    smoothness: weight of total variation, the natural prior; default 0.05.
    contrast: weight of the α-norm (α = 6) that holds values near mid grey; default 0.
    normalization: see Content.
    options: see RunOptions; in the one-call form EngineOptions too.

    Returns a Result of the image's kind.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.invert(image, layers={"conv2_1": 1}, max_evaluations=3)
    >>> result.size
    (32, 32)
    """
    arguments = dict(locals())
    run = run_options(options, "invert")
    picture = load(image, name="image")
    height, width = fit_size(size, picture.pixels.shape[1:])
    first, given = start(init, {"noise": noise_init((0.5, 0.5, 0.5), run.get("seed", 0))}, "invert")
    job = record("invert", arguments, image=picture, init=given or init)
    objective = Content(picture, layers, normalization=normalization) + natural_priors(
        smoothness, contrast
    )
    return self.synthesize(
        objective, (height, width), first, pooling="max", kind=picture.kind, job=job, **run
    )


@plain_arguments
def mix(
    self: Synthesizer,
    images: Mapping[Any, float] | Sequence[tuple[ImageLike, float]],
    *,
    layers: Layers = CONTENT_LAYERS,
    at: Literal["features", "pixels"] = "features",
    networks: str | Sequence[str] | None = None,
    size: Size = None,
    init: Literal["noise"] | ImageLike = "noise",
    smoothness: float = 0.05,
    contrast: float = 0.0,
    normalization: Normalization = "relative",
    **options: Unpack[Options],
) -> Result:
    """Mixes pictures through their representations (Eq. 5).

    images: mapping of path to weight, or pairs (picture, weight).
    layers: names, or mapping of name to weight; default conv4_2.
    at: "features" (default) inverts the weighted sum of the features; "pixels" inverts each
        picture's features on its own and sums the pictures, X = Σ w_i Φ_i⁻¹(h_i) to the letter.
    networks: name for all pictures, or one name for each, such as ["vgg16", "vgg19"]; default the
        synthesizer's own. Features of different networks are not added: each network's pictures
        form one target.
    size: longer side in pixels, (width, height), or None (default) for the first picture's size.
    init, smoothness, contrast, normalization: see `invert`.
    options: see RunOptions; in the one-call form EngineOptions too. With at="pixels",
        max_evaluations is for each inversion.

    Returns a Result of the first picture's kind.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> a, b = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.mix([(a, 0.7), (b, 0.3)], layers="conv2_1", max_evaluations=3)
    >>> result.size
    (32, 32)
    """
    arguments = dict(locals())
    run = run_options(options, "mix")
    listed = images.items() if isinstance(images, Mapping) else images
    pairs = list(listed) if isinstance(listed, Iterable) else []
    if not pairs or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ObjectiveError(
            "images must be a mapping of picture to weight, or pairs (picture, weight)"
        )
    for _, weight in pairs:
        if not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ObjectiveError(f"the weight of an image must be a finite number, not {weight!r}")
    if all(weight == 0 for _, weight in pairs):
        raise ObjectiveError("all weights of the mix are 0; give at least one picture a weight")
    pictures = [(load(picture, name="image"), float(weight)) for picture, weight in pairs]
    if at not in ("features", "pixels"):
        raise ObjectiveError(f'at must be "features" or "pixels", not {at!r}')
    if not isinstance(networks, (str, Sequence, type(None))):
        raise ObjectiveError(f"networks must be a name, or names, not {networks!r:.80}")
    names = (
        [networks] * len(pictures)
        if isinstance(networks, str)
        else list(networks or [self.network] * len(pictures))
    )
    if len(names) != len(pictures):
        raise ObjectiveError(
            f"{len(names)} networks for {len(pictures)} images; give one name, or one for each"
        )
    kind = pictures[0][0].kind
    if not all(picture.kind.grey for picture, _ in pictures):
        kind = in_colour(kind)
    height, width = fit_size(size, pictures[0][0].pixels.shape[1:])
    first, given = start(init, {"noise": noise_init((0.5, 0.5, 0.5), run.get("seed", 0))}, "mix")
    job = record("mix", arguments, images=pictures, init=given or init)
    priors = natural_priors(smoothness, contrast)

    def content(chosen: list[tuple[Picture, float]], network: str) -> Content:
        own = None if network == self.network else network
        return Content(chosen, layers, normalization=normalization, network=own)

    def solve(objective: Sum | Term, **limits: Any) -> Result:
        options = {**run, **limits}
        return self.synthesize(
            objective, (height, width), first, pooling="max", kind=kind, job=job, **options
        )

    if at == "features":
        total = sum(abs(weight) for _, weight in pictures)
        terms: Term | Sum = priors
        for name in dict.fromkeys(names):
            mine = [pair for pair, own in zip(pictures, names, strict=True) if own == name]
            share = sum(abs(weight) for _, weight in mine) / total
            if share == 0:  # all of this network's pictures are left out
                continue
            # A network that is alone has share 1, and its weights are used as they are. Otherwise
            # they are taken relative to its share, so that each target keeps the scale of one
            # picture's features.
            scaled = [(picture, weight / share) for picture, weight in mine]
            terms = terms + share * content(scaled, name)
        return solve(terms)

    terms_of = [
        content([(picture, 1.0)], name) + priors
        for picture, name in zip((picture for picture, _ in pictures), names, strict=True)
    ]
    weights = [weight for _, weight in pictures]
    return invert_each(terms_of, weights, solve, run.get("time_limit"), run.get("checkpoint"))


def invert_each(
    objectives: Sequence[Sum],
    weights: Sequence[float],
    solve: Callable[..., Result],
    time_limit: float | None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Result:
    """X = Σ w_i X_i of separate inversions; when cut short, those that there are stand for all.

    The time limit is that of all together: each inversion gets its share of what is left. Each has
    a checkpoint of its own, with a number after the name.
    """
    started = time.monotonic()
    results: list[Result] = []
    for objective in objectives:
        limits: dict[str, Any] = {}
        if checkpoint is not None:
            limits["checkpoint"] = f"{os.fspath(checkpoint)}.{len(results) + 1}"
        if time_limit is not None and time_limit > 0:
            left = time_limit - (time.monotonic() - started)
            limits["time_limit"] = max(left, 1e-3) / (len(objectives) - len(results))
        results.append(solve(objective, **limits))
        if results[-1].stopped in ("cancelled", "interrupted"):
            break
    done = weights[: len(results)]
    short = len(done) < len(weights)
    scale = sum(weights) / sum(done) if short and sum(done) != 0 else 1.0
    return weighted_sum(results, [weight * scale for weight in done])
