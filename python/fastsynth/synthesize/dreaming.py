"""DeepDream: X ← X + δ G_h, the activations h of hidden nodes raised (Eq. 3).

Mordvintsev, Olah and Tyka, "Inceptionism: Going deeper into neural networks", 2015.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import fit_size, load, match_mean_covariance, resize
from fastsynth.network import ARCHITECTURES
from fastsynth.objective import Activation
from fastsynth.objective.activation import Channels, Match, Neuron
from fastsynth.objective.plan import opaque
from fastsynth.render import Octaves, coarse_to_fine, octave_levels
from fastsynth.synthesize.record import record
from fastsynth.synthesize.transfer import in_colour
from fastsynth.synthesize.verbs import run_options
from fastsynth.synthesize.warp import Warp

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth._types import ImageLike, Size
    from fastsynth.network import WeightSet
    from fastsynth.synthesize.options import Options
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

    Pixels = NDArray[np.float32]

__all__ = ["default_layer", "dream"]

Layers = str | Sequence[str] | Mapping[str, float]

LAYER = "conv4_3"  # of trained weights: parts of things
# Of random weights, alone and with a guide: chosen by eye. Deeper ones show their own noise.
RANDOM_LAYER = "conv3_3"
RANDOM_GUIDED_LAYER = "conv3_1"
# In units of [0, 1]. The original's is 1.5/255; normalised bands reach everywhere, and more change
# of everything soon saturates the colours.
STEP = 1 / 255
JITTER = 32  # px
BANDS = 4
MARGIN = 16  # px around the picture at every octave; see Canvas
# Options of other verbs that mean nothing here.
FOREIGN = ("optimizer", "scales", "plateau")

logger = logging.getLogger("fastsynth")


@plain_arguments
def dream(
    self: Synthesizer,
    image: ImageLike,
    layer: Layers | None = None,
    *,
    channel: Channels = None,
    neuron: Neuron = None,
    guide: ImageLike | None = None,
    match: Match | None = None,
    octaves: int = 4,
    octave_scale: float = 1.4,
    iterations: int | Sequence[int] = 10,
    step: float = STEP,
    jitter: int | None = None,
    lapnorm: bool | int = True,
    normalize: bool = True,
    margin: int = MARGIN,
    color: Literal["none", "match"] | None = None,
    zoom: float = 0.0,
    rotate: float = 0.0,
    size: Size = None,
    **options: Unpack[Options],
) -> Result:
    """Raises what a layer sees in a picture: X ← X + δ G_h (Eq. 3), the DeepDream.

    image: the picture that is dreamt over.
    layer: name, names, or mapping of name to weight; default conv4_3, or the deepest that the
        weights have if that is shallower; with random weights conv3_3, guided conv3_1.
    channel: number of one channel, or {number: weight, ...}; default: all, with ½‖a‖² raised.
    neuron: one position of the layer: "center" or (down, across) as shares from 0 to 1.
    guide: a second picture, whose features at the layer are sought in the first.
    match: how the guide's best feature is chosen, "dot" (default) or "nearest" (default with random
        weights), see Activation.
    octaves, octave_scale: number of sizes, and the factor between them; default 4 and 1.4. The
        detail found at one is carried over to the next. Octaves that would be too small for the
        layer are left out, with a note in the log.
    iterations: steps at each octave, or one number per octave; default 10.
    step: δ. With `normalize` the mean change of a value in one step, in units of [0, 1]; default
        1/255.
    jitter: random shift before each step, pixels; default 32, with a neuron 0, for it would move
        away.
    lapnorm: normalise the gradient in the bands of a Laplacian pyramid, so that coarse structures
        grow as fast as fine ones: True (default) for 4 levels, a number of levels, or False.
    normalize: divide the gradient by its mean magnitude; default True.
    margin: pixels around the picture that are dreamt too and cut off; default 16.
    color: "none" leaves the colours as they become, "match" gives them the mean and covariance of
        the image's own in the end; default "none", with random weights and no guide "match", for
        there the colours run to the extremes.
    zoom, rotate: first enlarge the picture by this share and turn it by these degrees
        counter-clockwise, about its centre; default 0. What `dream_zoom` does between two frames.
    size: longer side in pixels, (width, height), or None (default) for the image's own size.
    options: see RunOptions, without optimizer, scales and plateau; in the one-call form
        EngineOptions too.

    Eq. 3 to the letter, with a constant step: ``octaves=1, jitter=0, lapnorm=False,
    normalize=False, margin=0, color="none"``; values are held in [0, 1]. The losses are minus the
    activation. With random weights patterns and colours appear, but no objects: these need trained
    weights.

    Returns a Result of the image's kind, in colour if the guide is; its alpha is carried over.
    Raises ImageError, ObjectiveError, WeightsError, NetworkError, DeviceError, DivergenceError.

    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.dream(image, "conv2_2", octaves=2, iterations=2)
    >>> result.size, [level.level.width for level in result.levels]
    ((64, 48), [46, 64])
    """
    arguments = dict(locals())
    run = run_options(options, "dream")
    foreign = [key for key in FOREIGN if run.get(key) is not None]
    if foreign:
        raise ObjectiveError(
            f"dream has no {foreign[0]}: it is gradient ascent, set by octaves, iterations and step"
        )
    check_settings(
        octaves=octaves,
        octave_scale=octave_scale,
        step=step,
        jitter=jitter,
        lapnorm=lapnorm,
        margin=margin,
    )
    check_motion(zoom, rotate)
    random = self.weights.id.startswith("random")
    if color is None:
        color = "match" if random and guide is None else "none"
    if color not in ("none", "match"):
        raise ObjectiveError(f'color must be "none" or "match", not {color!r}')
    picture = load(image, name="image")
    guide_picture = None if guide is None else load(guide, name="guide")
    chosen: Layers = default_layer(self.weights, guide is not None) if layer is None else layer
    term = Activation(
        chosen,
        channel,
        neuron,
        guide=guide_picture,
        match=match or ("nearest" if random else "dot"),
    )
    check_channels(self.network, term)
    height, width = fit_size(size, picture.pixels.shape[1:])
    pixels = resize(opaque(picture), (height, width), clip=True)
    alpha = None
    if picture.alpha is not None:
        alpha = np.clip(resize(picture.alpha[None], (height, width))[0], 0.0, 1.0)
    if zoom or rotate:
        warp = Warp(height, width, zoom=1 + zoom, degrees=rotate, border="reflect")
        pixels = warp.apply(pixels)
        alpha = None if alpha is None else warp.apply(alpha[None])[0]

    deepest = max(span(self.network, name) for name in term.layers)
    levels = octave_levels(
        height,
        width,
        octaves,
        float(octave_scale),
        iterations,
        smallest=2 * deepest,
        max_evaluations=run.get("max_evaluations"),
    )
    if len(levels) < octaves:
        logger.warning(
            "dream: %d of %d octaves at %d × %d pixels; smaller ones would leave nothing to see",
            len(levels),
            octaves,
            width,
            height,
        )
    if jitter is None:
        jitter = 0 if neuron is not None else JITTER
    way = Octaves(
        pixels,
        step=float(step),
        normalize=bool(normalize),
        bands=BANDS if lapnorm is True else int(lapnorm),
        jitter=jitter,
        seed=run.get("seed", 0),
        pool=self.pool,
    )

    def own_colors(dreamt: Pixels) -> Pixels:
        return match_mean_covariance(dreamt, pixels)

    coloured = guide_picture is not None and not guide_picture.kind.grey
    return self.synthesize(
        term,
        (height, width),
        way.first(),
        pooling="avg" if random and guide is not None else "max",
        kind=in_colour(picture.kind) if coloured else picture.kind,
        job=record(
            "dream", arguments, image=picture, guide=guide_picture, layer=chosen, color=color
        ),
        alpha=alpha,
        margin=margin,
        finish=own_colors if color == "match" else None,
        levels=levels,
        refine=functools.partial(coarse_to_fine, carry=way.carry, engage=way.engage),
        **run,
    )


def default_layer(weights: WeightSet, guided: bool = False) -> str:
    """The layer that is dreamt at when none is named: as deep as makes sense for these weights."""
    if weights.id.startswith("random"):
        return RANDOM_GUIDED_LAYER if guided else RANDOM_LAYER
    return LAYER if LAYER in weights.layers else weights.layers[-1]


def check_channels(network: str, term: Activation) -> None:
    """Raises ObjectiveError for a channel that a layer does not have."""
    architecture = ARCHITECTURES[network]
    assert term.channel is None or isinstance(term.channel, tuple)
    for layer in set(term.layers) & set(architecture.names):
        count = architecture.shape(layer, 16, 16)[0]
        for channel, _ in term.channel or ():
            if channel >= count:
                raise ObjectiveError(
                    f"there is no channel {channel}; the layer {layer} has channels 0 to "
                    f"{count - 1}"
                )


def span(network: str, layer: str) -> int:
    """Pixels that one step of a layer spans; 1 for layers that the run will refuse by itself."""
    architecture = ARCHITECTURES[network]
    return architecture.scale(layer) if layer in architecture.names else 1


def check_settings(
    *,
    octaves: Any,
    octave_scale: Any,
    step: Any,
    jitter: Any,
    lapnorm: Any,
    margin: Any,
) -> None:
    """Raises ObjectiveError for a setting out of range."""
    rules = (
        ("octaves", octaves, whole(octaves, 1, 32), "a whole number from 1 to 32"),
        ("octave_scale", octave_scale, number(octave_scale, 1, 16), "a number above 1, below 16"),
        ("step", step, number(step, 0, math.inf), "a positive number"),
        ("jitter", jitter, jitter is None or whole(jitter, 0, 1 << 16), "pixels from 0 to 65536"),
        (
            "lapnorm",
            lapnorm,
            isinstance(lapnorm, bool) or whole(lapnorm, 0, 30),
            "True, False, or a number of levels up to 30",
        ),
        ("margin", margin, whole(margin, 0, 1024), "pixels from 0 to 1024"),
    )
    for name, value, good, expected in rules:
        if not good:
            raise ObjectiveError(f"{name} must be {expected}, not {value!r}")


def check_motion(zoom: Any, rotate: Any) -> None:
    """Raises ObjectiveError for what the picture cannot be enlarged or turned by."""
    if not number(zoom, -0.9, 100):
        raise ObjectiveError(f"zoom must be a share above -0.9, such as 0.05, not {zoom!r}")
    if not number(rotate, -1e6, 1e6):
        raise ObjectiveError(f"rotate must be a number of degrees, not {rotate!r}")


def whole(value: Any, low: int, high: int) -> bool:
    """Whether it is a whole number from low to high."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def number(value: Any, low: float, high: float) -> bool:
    """Whether it is a number between low and high."""
    return isinstance(value, (int, float)) and low < value < high
