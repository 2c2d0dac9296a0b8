"""Label maps: pictures in which equal colours are one region."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._errors import ObjectiveError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.image import Picture

    Colours = NDArray[np.float64]

__all__ = ["label_masks"]

NEAR = 0.12  # in RGB: colours nearer than this are one label
FEW = 64  # colours of maps that may number their labels in colours next to one another
MOST = 64  # labels
SHARE = 1 / 200  # of a map: what less of it has is a label only where it is even
EVEN = 1e-4  # of a map: even pixels that make a label
STRAY = 1 / 1000  # of a map: so many pixels of colours that are neither labels nor blends are told
LOOKED_AT = 256  # commonest of the colours between labels

logger = logging.getLogger("fastsynth")


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The colours of a map, the most frequent first.

    colours: (N, 3) in [0, 1]; counts: (N,) pixels of each; even: (N,) those of them whose eight
        neighbours have the same colour
    places: (H, W), for each pixel the number of its colour
    """

    colours: Colours
    counts: NDArray[np.int64]
    even: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, picture: Picture) -> LabelMap:
        """The colours of a picture, to 8 bits."""
        levels = np.round(picture.pixels * 255).astype(np.int64)
        codes = (levels[0] << 16) | (levels[1] << 8) | levels[2]
        values, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
        places = places.reshape(codes.shape)
        even = inner(places, 1, len(values))
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        colours = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1) / 255
        return cls(colours[order], counts[order], even[order], rank[places])

    def areas(self) -> NDArray[np.bool_]:
        """Which colours fill an area, (N,); others are those of borders."""
        return np.asarray(self.even >= max(1.0, EVEN * self.places.size), np.bool_)

    def labels(self, near: float) -> Colours:
        """Colours (L, 3) that are labels: those of areas, unless they are blends of others.

        near: colours within this distance of a more frequent one belong to it.
        """
        areas, size = self.areas(), self.places.size
        group = np.full(len(self.colours), -1)
        found: list[tuple[Colours, bool]] = []
        left = np.arange(len(self.colours))  # of photographs these are hundreds of thousands
        colours = self.colours
        while len(left):
            colour = colours[0]
            near_it = distances(colours, colour[None])[:, 0] <= near
            own = left[near_it]
            even = bool(areas[own].any())
            if even or not found or int(self.counts[own].sum()) >= SHARE * size:
                group[own] = len(found)
                found.append((colour, even))
            left, colours = left[~near_it], colours[~near_it]
        # Of noisy maps (JPEG), areas are of colours that are nearly the same.
        wide = inner(group[self.places], 2, len(found)) >= max(1.0, EVEN * size)
        kept: list[Colours] = []
        for (colour, even), large in zip(found, wide, strict=True):
            others = np.array(kept)
            if even or not kept or (large and blend_distance(colour[None], others)[0] > NEAR):
                kept.append(colour)
        if len(kept) > MOST:
            raise ObjectiveError(
                f"a label map has {len(kept)} colours that fill areas; expected at most {MOST} "
                "labels, each painted in one colour"
            )
        return np.array(kept)

    def masks(self, labels: Colours) -> list[NDArray[np.bool_]]:
        """For each label the pixels (H, W) whose colours are nearest to it."""
        nearest = np.argmin(distances(self.colours, labels), axis=1)[self.places]
        return [np.asarray(nearest == index, np.bool_) for index in range(len(labels))]


def label_masks(
    content: Picture, style: Picture
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Masks (H, W) of each label of the content's map: there, and in the style's.

    A label is a colour that fills areas. Colours nearer than 0.12 in RGB are one label, unless the
    maps have few colours and some that fill areas are nearer than that to one another (numbers of
    classes, for instance): then equal ones alone are. All other colours, the blends at borders, go
    to the nearest label; labels of the style alone are not used.

    Raises ObjectiveError where the content's map has a label that the style's has not, or where
    one has more than 64. Logs a warning for other colours that are neither labels nor between two.
    """
    there, here = LabelMap.of(content), LabelMap.of(style)
    near = tolerance((there, here))
    painted, known = there.labels(near), here.labels(near)
    apart = distances(painted, known)
    missing = painted[apart.min(axis=1) > near]
    if len(missing):
        raise ObjectiveError(
            f"the content's label map has {names(missing)}, which the style's has not "
            f"({names(known)}); paint it in one of these, or give masks as pairs "
            "(content mask, style mask)"
        )
    warn_of_strays(there, known)
    used = np.unique(np.argmin(apart, axis=1))
    inside = here.masks(known)
    return [
        (mask, inside[index]) for mask, index in zip(there.masks(known[used]), used, strict=True)
    ]


def inner(places: NDArray[np.int64], reach: int, count: int) -> NDArray[np.int64]:
    """For each of `count` numbers how many pixels have it, and all pixels in `reach` about them."""
    height, width = places.shape
    wide = np.pad(places, reach, mode="edge")
    same = places >= 0
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            same &= wide[y : y + height, x : x + width] == places
    return np.asarray(np.bincount(places[same], minlength=count), np.int64)


def tolerance(maps: tuple[LabelMap, ...]) -> float:
    """How far colours of one label may be from one another, see label_masks."""
    if any(len(item.colours) > FEW for item in maps):
        return NEAR
    for item in maps:
        colours = item.colours[item.areas()]
        apart = distances(colours, colours) + 2.0 * np.eye(len(colours))
        if (apart <= NEAR).any():
            return 0.0
    return NEAR


def warn_of_strays(map_: LabelMap, labels: Colours) -> None:
    """Says which colours go to the nearest label although they are no blend of two."""
    off = np.flatnonzero(distances(map_.colours, labels).min(axis=1) > NEAR)[:LOOKED_AT]
    if not len(off):
        return
    strays = off[blend_distance(map_.colours[off], labels) > NEAR]
    count = int(map_.counts[strays].sum())
    if count > max(1.0, STRAY * map_.places.size):
        logger.warning(
            "%d pixels of the content's label map have colours that are no label of the style's, "
            "such as %s; they go to the nearest",
            count,
            names(map_.colours[strays[:1]]),
        )


def distances(colours: Colours, others: Colours) -> Colours:
    """Distances (N, M) in RGB."""
    squares = np.zeros((len(colours), len(others)))
    for channel in range(3):  # one by one: the differences of all would be three times the memory
        squares += (colours[:, None, channel] - others[None, :, channel]) ** 2
    return np.asarray(np.sqrt(squares, out=squares))


def blend_distance(colours: Colours, labels: Colours) -> Colours:
    """Distances (N,) from the nearest blend of two labels (from the label, if there is one)."""
    nearest = distances(colours, labels).min(axis=1)
    first, second = np.triu_indices(len(labels), 1)
    for a, b in zip(labels[first], labels[second], strict=True):
        way = b - a
        share = np.clip((colours - a) @ way / max(float(way @ way), 1e-12), 0.0, 1.0)
        nearest = np.minimum(nearest, np.linalg.norm(colours - a - share[:, None] * way, axis=1))
    return np.asarray(nearest)


def names(colours: Colours) -> str:
    """
    >>> names(np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    '#ff8000, #000000'
    """
    levels = np.round(colours * 255).astype(int).tolist()
    shown = ["#" + "".join(f"{level:02x}" for level in colour) for colour in levels[:8]]
    return ", ".join(shown) + (", …" if len(levels) > len(shown) else "")
