"""Regions and scales of style: first pictures, weights, and the style of two pictures in one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture, resize
from fastsynth.objective import GuidedStyle, Sum
from fastsynth.objective.blend import WeightedPictures
from fastsynth.objective.guide import load_mask, mask_at
from fastsynth.render.refine import ENDING
from fastsynth.synthesize.analogy_levels import Problem, Search, level_count, solve
from fastsynth.synthesize.options import checked_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective import Region, StyleLoss
    from fastsynth.synthesize.options import RunOptions
    from fastsynth.synthesize.synthesizer import Synthesizer
    from fastsynth.synthesize.verbs import Init

    Pixels = NDArray[np.float32]
    Layers = str | Sequence[str] | Mapping[str, float]

__all__ = [
    "PatchStart",
    "check_guided",
    "combined_style",
    "guided_styles",
    "loaded_masks",
    "region_choices",
]

TRIAL = 96  # px, the longer side of the search that tells how long another will take
REGION_NOISE = 0.05  # deviation, about each region's mean colour
# The search that puts a first picture together from patches; see image_analogy's "numbers".
PATCH, GUIDE_WEIGHT, COHERENCE, UNIFORMITY, ROUNDS = 7, 5.0, 1.0, 0.1, 4
# Of a style made of two: what the fine one gives, and how strongly. Layers whose positions see a
# few pixels alone: their statistics are of strokes, not of forms (Gatys et al. 2017).
FINE_LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
FINE_STRENGTH = 3.0


def guided_styles(
    regions: Sequence[Region],
    styles: WeightedPictures,
    layers: Layers,
    *,
    recolour: Callable[[Picture], Picture] = lambda picture: picture,
    statistics: StyleLoss = "gram",
    strength_map: Picture | None = None,
    by_area: bool = False,
    **settings: Any,
) -> Sum:
    """A guided style for each region; `recolour` makes the colours of its own images.

    by_area: a region's weight is its share of the picture, so that a place feels the same pull of
        style in a small region as in a large one; otherwise all count the same. A strength map
        counts as less area.
    """
    if len(styles.pairs) > 1 and any(region.picture is None for region in regions):
        raise ObjectiveError(
            "of several styles, each region names its own: (content mask, style mask, style)"
        )
    if statistics not in ("gram", "mean_covariance"):
        raise ObjectiveError(f"regions do not take over {statistics!r} statistics")
    terms = []
    for region in regions:
        share = strength_share(region, strength_map) if by_area else 1.0 / len(regions)
        if share == 0.0 and strength_map is not None:
            continue  # without a map the mask is black, which GuidedStyle refuses
        terms.append(
            GuidedStyle(
                styles if region.picture is None else recolour(region.picture),
                layers,
                **settings,
                content_mask=region.content,
                style_mask=region.style,
                statistics=statistics,
                strength_map=strength_map,
                weight=share,
            )
        )
    if not terms:
        raise ObjectiveError(
            "strength_map times the content masks is black everywhere: no place takes the style; "
            "give strength=0 for that"
        )
    return Sum(tuple(terms))


def strength_share(region: Region, strength_map: Picture | None) -> float:
    """The mean over the picture of a region's mask times the strength map."""
    maps = [picture for picture in (region.content, strength_map) if picture is not None]
    if not maps:
        return 1.0
    size = maps[0].pixels.shape[1:]
    product = np.ones(size)
    for picture in maps:
        product = product * mask_at(picture, (size[0], size[1]))
    return float(product.mean())


def check_guided(regions: Sequence[Region], style_loss: str, normalization: str) -> None:
    """Raises ObjectiveError beside regions for settings that guided statistics do not have."""
    if not regions:
        return
    if style_loss not in ("auto", "gram", "mean_covariance") or normalization != "relative":
        raise ObjectiveError(
            "regions and strength maps know the style losses gram and mean_covariance, relative "
            f"alone, not {style_loss!r} with normalization={normalization!r}"
        )


def loaded_masks(masks: Any) -> Any:
    """Masks with their pictures loaded, for the record."""
    if isinstance(masks, Mapping):
        return {name: loaded_masks(item) for name, item in masks.items()}
    if isinstance(masks, (list, tuple)):
        return [loaded_masks(item) for item in masks]
    return None if masks is None else load_mask(masks, "mask")


def region_init(regions: Sequence[Region], exemplar: Picture, seed: int) -> Init:
    """First pictures of noise about each region's mean colour."""

    def init(height: int, width: int) -> Pixels:
        colours = np.zeros((3, height, width), np.float32)
        covered = np.full((height, width), 1e-3, np.float32)
        for region in regions:
            style = region.picture or exemplar
            size = style.pixels.shape[1:]
            inside = mask_at(region.style, (size[0], size[1]))
            mean = (style.pixels * inside).sum((1, 2)) / max(float(inside.sum()), 1e-6)
            here = mask_at(region.content, (height, width))
            colours += here * mean[:, None, None]
            covered += here
        colours += np.float32(1e-3) * exemplar.pixels.mean((1, 2))[:, None, None]
        noise = np.random.default_rng(seed).standard_normal(colours.shape, np.float32)
        first: Pixels = np.clip(colours / covered + np.float32(REGION_NOISE) * noise, 0.0, 1.0)
        return first

    return init


def region_choices(
    regions: Sequence[Region], exemplar: Picture, size: tuple[int, int], *, seed: int, **how: Any
) -> dict[str, Init]:
    """The first pictures of regions by name; see synthesize_texture's `init`.

    how: keywords of PatchStart.
    """
    noise = region_init(regions, exemplar, seed)
    patches = PatchStart(regions, exemplar, size, noise, seed=seed, **how)
    return {"auto": patches, "noise": noise, "patches": patches}


class PatchStart:
    """First pictures put together from patches of the exemplar, each from its own region.

    The image analogy of the masks: patches are alike in the style and in which regions they see, so
    that borders are taken from borders. Regions with images of their own: one search for each
    image.

    size: (height, width) of the picture; coarser levels get it reduced. The search waits until the
        first of them is asked for.
    rough: first pictures that cost nothing, for a trial.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        exemplar: Picture,
        size: tuple[int, int],
        rough: Init,
        *,
        scale: float,
        seed: int,
        pool: _core.ThreadPool,
        cancel: _core.Cancel | None,
    ) -> None:
        self._regions = regions
        self._exemplar = exemplar
        self._size = size
        self.rough = rough
        self._how: dict[str, Any] = {"scale": scale, "seed": seed, "pool": pool, "cancel": cancel}
        self._made: Pixels | None = None

    def __call__(self, height: int, width: int) -> Pixels:
        if self._made is None:
            self._made = self._search(self._size)
        return resize(self._made, (height, width), clip=True)

    def seconds(self) -> float:
        """What the search will take, after that for a small picture; its cost is per pixel."""
        factor = min(1.0, TRIAL / max(self._size))
        small = (max(1, round(self._size[0] * factor)), max(1, round(self._size[1] * factor)))
        began = time.monotonic()
        self._search(small)
        return (time.monotonic() - began) * math.prod(self._size) / math.prod(small)

    def _search(self, size: tuple[int, int]) -> Pixels:
        images: dict[str, Picture] = {}
        for region in self._regions:
            image = region.picture or self._exemplar
            images.setdefault(image.sha256, image)
        found = np.zeros((3, *size), np.float32)
        best = np.full(size, -1.0, np.float32)
        for image in images.values():
            own = [r for r in self._regions if (r.picture or self._exemplar).sha256 == image.sha256]
            made = patched(own, image, size, **self._how)
            here = np.max([mask_at(r.content, size) for r in own], axis=0)
            found = np.where(here > best, made, found)
            best = np.maximum(here, best)
        return found


def patched(
    regions: Sequence[Region],
    style: Picture,
    size: tuple[int, int],
    *,
    scale: float,
    seed: int,
    pool: _core.ThreadPool,
    cancel: _core.Cancel | None,
) -> Pixels:
    """A picture (3, height, width) of one image's patches, guided by the masks of its regions."""
    factor = max(size) / max(style.pixels.shape[1:]) * scale
    height, width = (max(PATCH, round(side * factor)) for side in style.pixels.shape[1:])
    own = resize(style.pixels, (height, width), clip=True)
    room = (max(PATCH, size[0]), max(PATCH, size[1]))
    here = np.stack([mask_at(region.style, (height, width)) for region in regions])
    there = np.stack([mask_at(region.content, size) for region in regions])
    grown = [(0, 0), (0, room[0] - size[0]), (0, room[1] - size[1])]
    problem = Problem(here, own, np.pad(there, grown, mode="edge"), own, lambda planes: planes)
    count = level_count((height, width), room, PATCH, None)
    search = Search(PATCH, GUIDE_WEIGHT, COHERENCE, UNIFORMITY, (ROUNDS,) * count, seed)
    solved = solve(problem, search, pool, cancel=cancel)
    if solved.stopped == "interrupted":
        raise KeyboardInterrupt
    return np.ascontiguousarray(solved.pixels[:, : size[0], : size[1]])


def weights_are_random(synthesizer: Synthesizer) -> bool:
    """Whether the synthesizer's own weights are, and with them the choice of layers and pooling."""
    return synthesizer.weights.id.startswith("random")


def combined_style(
    synthesizer: Synthesizer,
    coarse: Any,
    fine: Any,
    longest: int,
    run: RunOptions,
    *,
    schedule: Any = None,
) -> tuple[Picture, list[int]]:
    """One style of two: the coarse one's forms and colours, painted in the fine one's strokes.

    longest: its longer side in pixels. The fine style is given the coarse one's colours first.
    run: of the transfer that the style is for. The style takes up to half of its time limit, and
        leaves the rest. Where the style is cancelled, the transfer is so before it begins. Either
        way its checkpoint is taken out, which would be of a style half made.
    schedule: evaluations by level, for a style that was made before; default: as usual.
    Returns the style and its evaluations by level.
    """
    same = ("seed", "cancel", "optimizer", "plateau", "memory_limit", "callback", "progress")
    kept: dict[str, Any] = {key: value for key, value in run.items() if key in same}
    if schedule is not None:
        kept["max_evaluations"] = schedule
    elif isinstance(run.get("max_evaluations"), int):
        kept["max_evaluations"] = run["max_evaluations"]
    limit = checked_time(run.get("time_limit"))
    if limit is not None:
        kept["time_limit"] = limit / 2
    present = synthesizer.open(None, "avg" if weights_are_random(synthesizer) else "max").layers
    began = time.monotonic()
    made = synthesizer.style_transfer(
        coarse,
        fine,
        size=longest,
        strength=FINE_STRENGTH,
        style_layers=[layer for layer in FINE_LAYERS if layer in present],
        color="match",
        **kept,
    )
    if made.stopped == "interrupted":  # there is no picture yet that could be given back
        raise KeyboardInterrupt
    if made.stopped in ENDING:
        run.pop("checkpoint", None)
    if made.stopped == "cancelled":
        from fastsynth import _core

        cancel = _core.Cancel()  # the callback may have said so, and would not be asked again
        cancel.set()
        run["cancel"] = cancel
    if limit is not None:
        run["time_limit"] = max(limit - (time.monotonic() - began), 1e-3)
    return Picture.of(np.ascontiguousarray(made.pixels)), list(made.provenance.get("schedule", ()))
