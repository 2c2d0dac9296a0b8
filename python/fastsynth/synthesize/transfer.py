"""Style transfer: one picture in the manner of others (Gatys, Ecker, Bethge 2016; Eqs 6-12)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import (
    Picture,
    fit_size,
    keep_luminance,
    load,
    luminance,
    match_mean_covariance,
    resize,
)
from fastsynth.objective import (
    CONTENT_LAYERS,
    STYLE_LAYERS,
    Content,
    RangePenalty,
    Region,
    TotalVariation,
    read_regions,
    style_term,
)
from fastsynth.objective.blend import WeightedPictures, weighted_pictures
from fastsynth.objective.guide import load_strengths
from fastsynth.synthesize.record import record
from fastsynth.synthesize.regions import (
    check_guided,
    combined_style,
    guided_styles,
    loaded_masks,
)
from fastsynth.synthesize.verbs import image_init, noise_init, run_options, start

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastsynth._types import ImageLike, Size
    from fastsynth.image import Kind
    from fastsynth.objective import StyleLoss, Sum, Term
    from fastsynth.objective.content import Normalization
    from fastsynth.synthesize.options import Options, RunOptions
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["style_transfer"]

# (content mask, style mask[, style image]) for each region, or two label maps.
Masks = Mapping[str, Any] | Sequence[Any]
Layers = str | Sequence[str] | Mapping[str, float]

# The dimensionless style loss is multiplied by this at strength 1. For trained weights it is a
# first guess from the usual ratios; the value for random weights was chosen by eye.
STYLE_WEIGHT = 10.0
RANGE_WEIGHT = 10.0  # of the penalty on values outside [0, 1], in all verbs
# Random features lose the picture's layout sooner than trained ones, and need more style for the
# same look.
RANDOM_CONTENT_LAYERS = ("conv2_2",)
RANDOM_STYLE_WEIGHT = 20.0
# Of random weights the means are taken out (see MeanCovariance), and few layers looked at: what
# deeper ones add is grain, for coarse to fine reaches far already.
RANDOM_LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
MARGIN = 16  # px around the picture at every level; see Canvas


@plain_arguments
def style_transfer(
    self: Synthesizer,
    content: ImageLike,
    style: ImageLike | Sequence[tuple[ImageLike, float]] | Mapping[str, ImageLike],
    *,
    size: Size = None,
    strength: float = 1.0,
    strength_map: ImageLike | None = None,
    content_layers: Layers | None = None,
    style_layers: Layers | None = None,
    style_scale: float = 1.0,
    style_loss: StyleLoss = "auto",
    masks: Masks | None = None,
    init: Literal["content", "noise", "style"] | ImageLike = "content",
    color: Literal["none", "luminance", "match", "post"] = "none",
    smoothness: float = 0.0,
    normalization: Normalization = "relative",
    balance: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Paints `content` in the manner of `style`.

    content: the picture whose shapes are kept.
    style: a picture, or pairs (picture, weight) whose statistics are mixed, in these proportions;
        or {"coarse": picture, "fine": picture}: the forms of one in the strokes of the other, made
        first (Gatys et al. 2017), in up to half of the time limit; the callback sees both, the
        trace what comes after it.
    size: longer side in pixels, (width, height), or None (default) for the content's own size.
    strength: how much style; 1 (default) is balanced, 0 none. It means the same at every size.
    strength_map: a picture of any size: where the style acts, black not at all, white (default)
        with all its strength.
    content_layers: names, or mapping of name to weight; default conv4_2, with random weights
        conv2_2.
    style_layers: likewise; default conv1_1 … conv5_1, with mean_covariance of random weights the
        first five layers, conv1_1 … conv3_1.
    style_scale: size of the style's features in the picture; 1 (default) scales the style image to
        the picture's size.
    style_loss: the statistics that are taken over: "gram", "mean_covariance",
        "sliced_wasserstein", "mmd_gaussian", …, see style_term; "auto" (default) is "gram" for
        trained weights and "mean_covariance" for random ones; these two alone beside masks and
        strength maps.
    masks: regions with a style of their own: pairs (content mask, style mask), in a sequence or
        mapping, white inside; a third member is the region's own style image; None for a mask means
        everywhere. Or two label maps, {"content": map, "style": map}: equal colours are one region.
    init: first picture: "content" (default), "noise", "style", or any image.
    color: "none" (default) takes the style's colours, "match" gives the style the content's colours
        first, "luminance" paints brightness only and keeps the content's colours, "post" puts the
        content's colours back in the end.
    smoothness: weight of total variation; default 0.
    normalization, balance: of the losses, see Content and Style.
    options: see RunOptions; in the one-call form EngineOptions too.

    Returns a Result of the content's kind; its alpha is carried over.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> rng = np.random.default_rng(0)
    >>> content, style = rng.integers(0, 255, (2, 48, 64, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.style_transfer(content, style, size=32, max_evaluations=3)
    >>> result.array.shape, result.array.dtype
    ((24, 32, 3), dtype('uint8'))
    """
    arguments = dict(locals())
    run = run_options(options, "style_transfer")
    picture = load(content, name="content")
    height, width = fit_size(size, picture.pixels.shape[1:])
    for value, name in ((strength, "strength"), (smoothness, "smoothness")):
        if not isinstance(value, (int, float)) or not 0 <= value < np.inf:
            raise ObjectiveError(f"{name} must be a number ≥ 0, not {value!r}")
    if color not in ("none", "luminance", "match", "post"):
        raise ObjectiveError(f'color must be "none", "luminance", "match" or "post", not {color!r}')
    regions = [] if masks is None else read_regions(masks)
    strengths = None if strength_map is None else load_strengths(strength_map)
    if strengths is not None and masks is None:
        regions = [Region(None)]
    check_guided(regions, style_loss, normalization)
    longest = round(max(height, width) * positive_scale(style_scale))
    given_styles, styles = scaled_styles(self, style, longest, run)
    target = picture

    def recolour(style: Picture) -> Picture:
        """A style image in the colours that are asked for."""
        if color == "match":
            return Picture.of(match_mean_covariance(style.pixels, picture.pixels))
        if color == "luminance":
            return Picture.of(match_brightness(style.pixels, picture.pixels))
        return style

    if color == "match":
        styles = WeightedPictures(tuple((recolour(p), w) for p, w in styles.pairs))
    elif color == "luminance":
        target = Picture.of(grey(picture.pixels))
        styles = WeightedPictures(tuple((recolour(p), w) for p, w in styles.pairs))
    random = self.weights.id.startswith("random")
    if content_layers is None:
        content_layers = RANDOM_CONTENT_LAYERS if random else CONTENT_LAYERS
    objective: Term | Sum = Content(target, content_layers, normalization=normalization)
    chosen, style_layers = statistics(
        style_loss,
        style_layers,
        random=random,
        normalization=normalization,
    )
    if strength > 0:
        weight = strength * (RANDOM_STYLE_WEIGHT if random else STYLE_WEIGHT)
        if not regions:
            objective = objective + weight * style_term(
                chosen,
                styles,
                style_layers,
                normalization=normalization,
                scale=style_scale,
                balance=balance,
            )
        else:
            objective = objective + weight * guided_styles(
                regions,
                styles,
                style_layers,
                recolour=recolour,
                statistics=chosen,
                strength_map=strengths,
                by_area=True,
                eroded=False,
                scale=style_scale,
                balance=balance,
            )
    objective = objective + RANGE_WEIGHT * RangePenalty()
    if smoothness > 0:
        objective = objective + smoothness * TotalVariation()

    first, given = start(
        init,
        {
            "content": image_init(target.pixels),
            "noise": noise_init(target.pixels.mean((1, 2)), run.get("seed", 0)),
            "style": image_init(styles.pairs[0][0].pixels),
        },
        "style_transfer",
    )
    job = record(
        "style_transfer",
        arguments,
        content=picture,
        style=given_styles,
        init=given or init,
        masks=None if masks is None else loaded_masks(masks),
        strength_map=strengths,
    )
    alpha = None
    if picture.alpha is not None:
        alpha = np.clip(resize(picture.alpha[None], (height, width))[0], 0.0, 1.0)

    # A grey picture painted with a coloured style is a coloured picture.
    coloured = color == "none" and strength > 0 and not all(p.kind.grey for p, _ in styles.pairs)
    kind = in_colour(picture.kind) if coloured else picture.kind

    def finish(pixels: Any) -> Any:
        return keep_luminance(pixels, resize(picture.pixels, (height, width)))

    return self.synthesize(
        objective,
        (height, width),
        first,
        pooling="avg" if random else "max",
        kind=kind,
        job=job,
        alpha=alpha,
        margin=MARGIN,
        finish=finish if color in ("luminance", "post") else None,
        **run,
    )


def statistics(
    loss: StyleLoss, layers: Layers | None, *, random: bool, normalization: Normalization
) -> tuple[StyleLoss, Layers]:
    """The style loss that "auto" means, and the layers where none are named.

    random: whether the weights are; normalization: the literal forms belong to Gram matrices.
    """
    if loss == "auto":
        loss = "mean_covariance" if random and normalization == "relative" else "gram"
    if layers is None:
        layers = RANDOM_LAYERS if random and loss == "mean_covariance" else STYLE_LAYERS
    return loss, layers


def scaled_styles(
    synthesizer: Synthesizer, style: Any, longest: int, run: RunOptions
) -> tuple[Any, WeightedPictures]:
    """The style as it was given, loaded; and with shares, made of two where it is.

    longest: the longer side that the style has beside the picture.
    """
    if not isinstance(style, Mapping):
        given = weighted_pictures(style, "style")
        return given, given.shares()
    if set(style) - {"schedule"} != {"coarse", "fine"}:
        raise ObjectiveError(
            'a style of two scales is {"coarse": picture, "fine": picture}, not a mapping with '
            f"{sorted(map(str, style))}"
        )
    loaded = {name: load(style[name], name=f"{name} style") for name in ("coarse", "fine")}
    made, done = combined_style(
        synthesizer,
        loaded["coarse"],
        loaded["fine"],
        max(16, longest),
        run,
        schedule=style.get("schedule"),  # of a record: what was cut short is cut there again
    )
    return {**loaded, "schedule": done}, WeightedPictures(((made, 1.0),))


def positive_scale(scale: Any) -> float:
    """A scale. Raises ObjectiveError where it is not a positive number."""
    if not isinstance(scale, (int, float)) or not 0 < scale < np.inf:
        raise ObjectiveError(f"scale must be a positive number, not {scale!r}")
    return float(scale)


def in_colour(kind: Kind) -> Kind:
    """The same kind with colour channels."""
    if not kind.grey:
        return kind
    return dataclasses.replace(kind, channels=kind.channels + 2, mode=None, flat=False)


def grey(pixels: Any) -> Any:
    """The luma in all three channels."""
    return np.ascontiguousarray(np.broadcast_to(luminance(pixels), pixels.shape))


def match_brightness(style: Any, content: Any) -> Any:
    """The style's luma with the content's mean and deviation, as grey (Gatys et al. 2017)."""
    y_style, y_content = luminance(style), luminance(content)
    spread = float(y_style.std())
    factor = float(y_content.std()) / spread if spread > 1e-6 else 1.0
    matched = (y_style - y_style.mean()) * factor + y_content.mean()
    return np.ascontiguousarray(np.broadcast_to(matched.clip(0, 1), style.shape), np.float32)
