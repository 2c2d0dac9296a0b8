"""Guided regions: a style for each part of the picture (Gatys et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import Picture, load, resize
from fastsynth.objective.exemplar import ExemplarTerm
from fastsynth.objective.labels import label_masks
from fastsynth.objective.moments import as_floats, positive
from fastsynth.objective.tiles import TiledFeatures, mean_and_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.objective.base import Canvas
    from fastsynth.objective.exemplar import Features

    Mask = NDArray[np.float32]

__all__ = ["GuidedStyle", "Region", "label_regions", "read_regions"]

# Convolutions before each pooling of VGG16: what a layer sees follows from them.
CONVOLUTIONS = (2, 2, 3, 3, 3)
GROWN = 3  # px that an eroded mask is grown by again
EMPTY = 1e-3  # share of a map below which a mask counts as empty


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the picture and the part of the style that it takes over.

    content, style: masks as pictures, white where the region is; None = everywhere
    picture: the style image of this region; None = the one of the transfer
    """

    content: Picture | None
    style: Picture | None = None
    picture: Picture | None = None


@dataclass(frozen=True, eq=False, repr=False)
class GuidedStyle(ExemplarTerm):
    """Take over the style of a part of an image in a part of the picture: guided Gram matrices.

    With a guide T, the mask at a layer's positions, G = Σ T² f fᵀ / Σ T², for picture and style
    with their own guides; the loss is ‖G - A‖² / ‖A‖², the mean over layers. With masks that
    are white everywhere it is that of Gram matrices.

    statistics: "gram" (default), or "mean_covariance": mean and covariance with the weights T², as
        MeanCovariance compares them.
    strength_map: a picture of any size: how much a place of the picture takes part, black none,
        white (default) all; its brightness multiplies T².
    content_mask, style_mask: pictures, white inside, any size; default: everywhere. At each layer
        they are eroded by what its positions see, so that a region's statistics are its own; where
        nothing is left, they are only reduced.
    eroded: False only reduces the content's mask, so that no band between regions is left out;
        default True.
    image, layers, sizing, scale, balance, network: see ExemplarTerm; one image.

    Raises ObjectiveError for an empty mask or several images.
    """

    content_mask: Any = None
    style_mask: Any = None
    statistics: Literal["gram", "mean_covariance"] = "gram"
    strength_map: Any = None
    eroded: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.statistics not in ("gram", "mean_covariance"):
            raise ObjectiveError(
                f"statistics must be 'gram' or 'mean_covariance', not {self.statistics!r}"
            )
        if len(self.pictures) != 1:
            raise ObjectiveError(
                f"a guided style has one image, not {len(self.pictures)}; give each its own region"
            )
        for name in ("content_mask", "style_mask"):
            given = getattr(self, name)
            if given is None:
                continue
            mask = load_mask(given, name)
            brightest = float(plane(mask).max())
            if brightest < 0.5:
                seen = f"nowhere brighter than {brightest:.2g}" if brightest else "black everywhere"
                raise ObjectiveError(
                    f"{name} is {seen}: it names no region; expected white (1) where that is"
                )
            object.__setattr__(self, name, mask)
        if self.strength_map is not None:
            object.__setattr__(self, "strength_map", load_strengths(self.strength_map))

    @property
    def kind(self) -> str:
        return "guided_style"

    @property
    def is_tileable(self) -> bool:
        return self.statistics == "gram"

    def layer_term(
        self, layer: str, targets: Features, canvas: Canvas, stride: int
    ) -> _core.LayerTerm:
        from fastsynth import _core

        feature, _ = targets[0]
        size = self.size_of(self.pictures[0][0], canvas)
        guide = layer_guide(self.style_mask, size, layer, stride, feature.shape[1:])
        inner = (canvas.height - 2 * canvas.margin, canvas.width - 2 * canvas.margin)
        rows, columns = canvas.height // stride, canvas.width // stride
        border = canvas.margin // stride
        shape = (max(1, rows - 2 * border), max(1, columns - 2 * border))
        here = layer_guide(self.content_mask, inner, layer, stride, shape, eroded=self.eroded)
        if self.strength_map is not None:
            here = weakened(here, strengths_at(self.strength_map, shape))
        if self.statistics == "gram":
            term = _core.GramTerm(guided_gram(feature, guide))
            return guided_term(term, here, (rows, columns), border)
        moments = covariance_term(feature, guide, roots_of(here)[1])
        return gathered_term(moments, here, (rows, columns), border)

    def placed(self, term: _core.LayerTerm, canvas: Canvas, stride: int) -> _core.LayerTerm:
        return term  # its guide has its place already


def guided_gram(feature: NDArray[np.float32] | TiledFeatures, guide: Mask) -> NDArray[np.float32]:
    """Σ T² f fᵀ / Σ T² of features (C, h, w) and a guide (h, w)."""
    return np.asarray(mean_and_square(feature, guide)[1], np.float32)


def covariance_term(
    feature: NDArray[np.float32], guide: Mask, roots: NDArray[np.float32]
) -> _core.LayerTerm:
    """The distance from the guided mean and covariance of features (C, h, w), see MeanCovariance.

    roots: of the weights of the picture's own positions.
    """
    from fastsynth import _core

    flat = feature.reshape(len(feature), -1).astype(np.float64)
    weights = guide.reshape(-1).astype(np.float64) ** 2
    weights /= weights.sum()
    mean = flat @ weights
    gram = (flat * weights) @ flat.T
    covariance = gram - np.outer(mean, mean)
    return _core.CovarianceTerm(
        as_floats(mean),
        as_floats(covariance),
        1.0 / positive(float(np.trace(covariance)), float(mean @ mean)),
        1.0 / positive(float((covariance**2).sum()), float((gram**2).sum())),
        roots,
    )


def roots_of(guide: Mask) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where a guide is not zero, and its values there with mean square 1."""
    places = np.flatnonzero(guide > 0)
    found = guide.reshape(-1)[places].astype(np.float64)
    return places, as_floats(found / np.sqrt((found**2).mean()))


def guided_term(
    term: _core.LayerTerm, guide: Mask, shape: tuple[int, int], border: int
) -> _core.LayerTerm:
    """The term, shown the features times the guide, in the smallest window that holds it.

    shape: rows and columns of the features; border: positions outside the guide on each side.
    """
    from fastsynth import _core

    rows, columns = np.nonzero(guide > 0)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    window = guide[top:bottom, left:right].astype(np.float64)
    # The Gram matrix divides by the window's positions; with mean T² = 1 that is Σ T².
    window /= np.sqrt((window**2).mean())
    return _core.WindowTerm(
        term,
        *shape,
        top + border,
        left + border,
        bottom - top,
        right - left,
        np.ascontiguousarray(window, np.float32),
    )


def gathered_term(
    term: _core.LayerTerm, guide: Mask, shape: tuple[int, int], border: int
) -> _core.LayerTerm:
    """The term, shown the features times the guide at the positions where that is not zero.

    shape: rows and columns of the features; border: positions outside the guide on each side. The
    term divides by the positions that it sees; with mean T² = 1 that is Σ T².
    """
    from fastsynth import _core

    places, roots = roots_of(guide)
    y, x = np.divmod(places, guide.shape[1])
    positions = ((y + border) * shape[1] + x + border).astype(np.int32)
    return _core.GatherTerm(term, *shape, positions, roots)


def layer_guide(
    mask: Picture | None,
    size: tuple[int, int],
    layer: str,
    stride: int,
    shape: tuple[int, ...],
    *,
    eroded: bool = True,
) -> Mask:
    """The mask at a layer's positions, in [0, 1]: only those that see nothing else, if there are.

    eroded: False takes those that see other things, too.

    size: of the picture in pixels; shape: rows and columns of the layer.
    """
    rows, columns = shape
    if mask is None:
        return np.ones((rows, columns), np.float32)
    full = mask_at(mask, size)
    reach = sight(layer) // 2
    inside = (box(full, reach) > 0.999).astype(np.float32)
    if reach > 0:
        inside = (box(inside, GROWN) > 1e-6).astype(np.float32) * full
    for candidate in (inside, full) if eroded else (full,):
        guide = np.clip(resize(candidate[None], (rows, columns), "area"), 0.0, 1.0)[0]
        if float(guide.mean()) > EMPTY:
            return np.ascontiguousarray(guide, np.float32)
    # Smaller than a position: where it is strongest.
    best = np.zeros((rows, columns), np.float32)
    best[np.unravel_index(int(np.argmax(guide)), guide.shape)] = 1.0
    return best


def load_mask(mask: Any, name: str) -> Picture:
    """A mask as a picture; arrays of truth values are masks, too."""
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_:
        mask = mask.astype(np.uint8) * np.uint8(255)
    return load(mask, name=name)


def load_strengths(strength_map: Any) -> Picture:
    """A strength map. Raises ObjectiveError where it is black everywhere."""
    picture = load_mask(strength_map, "strength_map")
    if float(plane(picture).max()) < EMPTY:
        raise ObjectiveError(
            "strength_map is black everywhere: no place takes the style; give strength=0 for that"
        )
    return picture


def weakened(guide: Mask, strengths: Mask) -> Mask:
    """A guide whose squares are multiplied by strengths; one place is left where nothing is."""
    found = np.asarray(guide * np.sqrt(strengths), np.float32)
    if not (found > 0).any():
        found[np.unravel_index(int(np.argmax(guide)), guide.shape)] = 1.0
    return found


def strengths_at(strength_map: Picture, shape: tuple[int, int]) -> Mask:
    """A strength map at rows and columns of a layer; zero where it is next to nothing."""
    found = np.clip(resize(plane(strength_map)[None], shape, "area"), 0.0, 1.0)[0]
    return np.asarray(np.where(found < EMPTY, 0.0, found), np.float32)


def sight(layer: str) -> int:
    """Pixels along a side that a position of a VGG layer sees; 1 for other names.

    >>> sight("conv1_1"), sight("conv3_1"), sight("conv5_1")
    (3, 24, 132)
    """
    digits = layer.removeprefix("conv").split("_")
    if len(digits) != 2 or not all(d.isdigit() for d in digits):
        return 1
    block, index = int(digits[0]), int(digits[1])
    seen, jump = 1, 1
    for b, count in enumerate(CONVOLUTIONS[: block - 1], start=1):
        seen += 2 * jump * count + jump
        jump = 2**b
    return seen + 2 * jump * index


def box(mask: Mask, reach: int) -> NDArray[np.float64]:
    """Means over (2 reach + 1)² pixels; the border is continued."""
    wide = np.pad(mask.astype(np.float64), reach, mode="edge")
    for axis in (0, 1):
        sums = np.cumsum(wide, axis)
        first = np.zeros_like(np.take(sums, [0], axis))
        sums = np.concatenate([first, sums], axis)
        count = mask.shape[axis]
        size = 2 * reach + 1
        wide = np.take(sums, range(size, size + count), axis) - np.take(sums, range(count), axis)
    return np.asarray(wide / (2 * reach + 1) ** 2)


def mask_at(mask: Picture | None, size: tuple[int, int]) -> Mask:
    """A mask as one plane (height, width) of values in [0, 1]; None is white everywhere."""
    if mask is None:
        return np.ones(size, np.float32)
    return np.asarray(np.clip(resize(plane(mask)[None], size), 0.0, 1.0)[0], np.float32)


def plane(mask: Picture) -> Mask:
    """A mask picture as one plane: its brightness."""
    return np.asarray(mask.pixels.mean(0), np.float32)


def label_regions(content: Picture, style: Picture) -> list[Region]:
    """Regions of two label maps, one for each label of the content's; see label_masks."""

    def picture(mask: NDArray[np.bool_]) -> Picture:
        return Picture.of(np.stack([mask] * 3).astype(np.float32))

    return [Region(picture(there), picture(here)) for there, here in label_masks(content, style)]


def read_regions(masks: Any) -> list[Region]:
    """Regions from what users give.

    masks: {"content": label map, "style": label map}, or a sequence or mapping of regions, each
        (content mask, style mask) or (content mask, style mask, style picture); None for a mask
        means everywhere.
    Raises ObjectiveError where it is none of these.
    """
    if isinstance(masks, Mapping) and set(masks) == {"content", "style"}:
        return label_regions(
            load(masks["content"], name="content labels"), load(masks["style"], name="style labels")
        )
    if isinstance(masks, Mapping) and set(masks) in ({"content"}, {"style"}):
        raise ObjectiveError(
            f"two label maps belong together, content and style; only {next(iter(masks))} is given"
        )
    items = list(masks.values()) if isinstance(masks, Mapping) else masks
    if not isinstance(items, (list, tuple)) or not items:
        raise ObjectiveError(
            'masks are {"content": label map, "style": label map} or pairs '
            f"(content mask, style mask), at least one; not {type(masks).__name__}"
        )
    regions = []
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) not in (2, 3):
            raise ObjectiveError(
                "a region is (content mask, style mask) or (content mask, style mask, style "
                f"picture), not {type(item).__name__}"
            )
        names = ("content mask", "style mask", "style")
        loaded = [
            None if value is None else (load if name == "style" else load_mask)(value, name=name)
            for value, name in zip(item, names, strict=False)
        ]
        regions.append(Region(*loaded))
    return regions
