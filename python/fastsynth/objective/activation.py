"""Activation: raise what hidden nodes see (Eq. 3, DeepDream; Mordvintsev, Olah and Tyka, 2015)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture, load
from fastsynth.objective.base import Canvas, Part, Request, Term, layer_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth._types import ImageLike
    from fastsynth.objective.plan import Sources

__all__ = ["Activation", "Channels", "Match", "Measure", "Neuron"]

Measure = Literal["energy", "sum", "mean"]
Match = Literal["dot", "nearest"]
Channels = int | Mapping[int, float] | Sequence[tuple[int, float]] | None
Neuron = Literal["center"] | tuple[float, float] | None

SMALLEST = 32  # px, a guide is not shrunk below
# Positions of a guide that are compared with each position of the picture: 1024 times the work of
# one, and hardly anything is gained beyond.
GUIDE_POSITIONS = 1024


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Term):
    """Raise the activations a of hidden nodes.

    A sum of terms is minimised, so the term's value is *minus* the activation: the lower, the more
    active. It has no lower bound; join it with terms that do, or limit the run.

    layers: name, names (equal weights) or mapping of layer name to weight.
    channel: number of one channel, {number: weight, ...} for a direction, or None (default) for all
        channels with weight 1. Weights may be negative.
    neuron: only one position of the layer: "center", or (down, across) as shares of the picture's
        height and width in [0, 1], so that it means the same at every size; default None: all.
    measure:
        "energy" (default)  ½ Σ w a² over channels and positions; its gradient is the activation
                            itself
        "sum"               Σ w a
        "mean"              Σ w a over the number of positions and Σ |w|: independent of the size
    guide: a picture. Each position is then drawn towards the guide's feature g that fits it best;
        `channel`, `neuron` and `measure` do not apply. The guide's longer side becomes the
        canvas' longer side, and an even grid of at most 1024 of its positions is used.
    match: how a guide's features are compared:
        "dot" (default)     Σ over positions of max a·g
        "nearest"           -½ Σ over positions of min ‖a - g‖², which has a bound: the guide itself
    network: name of the network that is tapped; default: the synthesizer's own.

    Raises ObjectiveError for unknown settings, ImageError for an unusable guide. A channel that the
    layer does not have is a ValueError when the run starts.

    >>> 2 * Activation("conv4_3", channel=7, measure="mean")
    Activation(layers={'conv4_3': 1.0}, channel=((7, 1.0),), measure='mean', weight=2.0)
    """

    layers: str | Sequence[str] | Mapping[str, float]
    channel: Channels = None
    neuron: Neuron = None
    measure: Measure = "energy"
    guide: ImageLike | None = None
    match: Match = "dot"
    network: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.measure not in ("energy", "sum", "mean"):
            raise ObjectiveError(f"measure must be 'energy', 'sum' or 'mean', not {self.measure!r}")
        if self.match not in ("dot", "nearest"):
            raise ObjectiveError(f"match must be 'dot' or 'nearest', not {self.match!r}")
        object.__setattr__(self, "layers", layer_weights(self.layers))
        object.__setattr__(self, "channel", channel_weights(self.channel))
        object.__setattr__(self, "neuron", neuron_place(self.neuron))
        if self.guide is not None:
            if self.channel is not None or self.neuron is not None or self.measure != "energy":
                raise ObjectiveError(
                    "a guide chooses the features by itself: give either a guide, or channel, "
                    "neuron and measure"
                )
            object.__setattr__(self, "guide", load(self.guide, name="guide"))

    def _request(self, canvas: Canvas) -> Request:
        assert isinstance(self.guide, Picture)
        _, height, width = self.guide.pixels.shape
        factor = (max(canvas.height, canvas.width) - 2 * canvas.margin) / max(height, width)
        return Request(
            self.guide,
            max(SMALLEST, round(height * factor)),
            max(SMALLEST, round(width * factor)),
            tuple(self.layers),
            self.network,
        )

    def requests(self, canvas: Canvas) -> Iterable[Request]:
        return [] if self.guide is None else [self._request(canvas)]

    def parts(self, canvas: Canvas, sources: Sources) -> Iterator[Part]:
        assert isinstance(self.layers, Mapping)
        for layer, weight in self.layers.items():
            term = self._term(layer, canvas, sources)
            yield Part(f"activation/{layer}", term, self.weight * weight, layer, self.network)

    def _term(self, layer: str, canvas: Canvas, sources: Sources) -> _core.LayerTerm:
        from fastsynth import _core

        if self.guide is not None:
            features = sources.features(self._request(canvas))[layer]
            return _core.GuidedTerm(guide_positions(features), self.match)
        assert self.channel is None or isinstance(self.channel, tuple)
        place = None
        if self.neuron is not None:
            assert isinstance(self.neuron, tuple)
            sides = (canvas.height, canvas.width)
            down, across = (
                (canvas.margin + share * (side - 2 * canvas.margin)) / side
                for share, side in zip(self.neuron, sides, strict=True)
            )
            place = (down, across)
        return _core.ActivationTerm(self.measure, list(self.channel or ()), place)


def channel_weights(channel: Any) -> tuple[tuple[int, float], ...] | None:
    """Channels with their weights, from a number, a mapping or pairs.

    >>> channel_weights(3), channel_weights({"3": 1, 5: -0.5})
    (((3, 1.0),), ((3, 1.0), (5, -0.5)))
    """
    if channel is None:
        return None
    if isinstance(channel, int) and not isinstance(channel, bool):
        channel = [(channel, 1.0)]
    pairs = list(channel.items()) if isinstance(channel, Mapping) else channel
    try:
        found = tuple((_whole(number), float(weight)) for number, weight in pairs)
    except (TypeError, ValueError):
        raise ObjectiveError(
            "channel must be the number of a channel, or {number: weight, ...} for several, "
            f"not {channel!r}"
        ) from None
    if not found or any(number < 0 or not math.isfinite(weight) for number, weight in found):
        raise ObjectiveError(
            f"channels are numbered from 0 and their weights are finite; not {channel!r}"
        )
    if not any(weight for _, weight in found):
        raise ObjectiveError(f"all weights of the channels are 0: {channel!r}")
    return found


def _whole(number: Any) -> int:
    """A whole number; jobs and records hold the keys of tables as text."""
    if isinstance(number, str):
        return int(number)
    if isinstance(number, bool) or number != int(number):
        raise ValueError(f"{number!r} is no whole number")
    return int(number)


def neuron_place(neuron: Any) -> tuple[float, float] | None:
    """Where a neuron lies, as shares of height and width.

    >>> neuron_place("center"), neuron_place((0, 1))
    ((0.5, 0.5), (0.0, 1.0))
    """
    if neuron is None:
        return None
    if isinstance(neuron, str) and neuron == "center":
        return (0.5, 0.5)
    try:
        down, across = (float(share) for share in neuron)
    except (TypeError, ValueError):
        down = across = math.nan
    if not (0 <= down <= 1 and 0 <= across <= 1):
        raise ObjectiveError(
            'neuron must be "center" or (down, across), shares of the height and width from 0 to '
            f"1, not {neuron!r}"
        )
    return (down, across)


def guide_positions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (C, positions) on an even grid of at most GUIDE_POSITIONS positions."""
    _, height, width = features.shape
    step = 1
    while -(-height // step) * -(-width // step) > GUIDE_POSITIONS:
        step += 1
    offset = (step - 1) // 2
    chosen = features[:, min(offset, height - 1) :: step, min(offset, width - 1) :: step]
    return np.ascontiguousarray(chosen.reshape(len(features), -1), np.float32)
