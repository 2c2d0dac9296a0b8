"""One picture or several with weights, as the target of a term (Eq. 5; several styles)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastsynth._errors import ImageError, ObjectiveError
from fastsynth.image import Picture, load

__all__ = ["WeightedPictures", "weighted_pictures"]


@dataclass(frozen=True, eq=False)
class WeightedPictures:
    """Pictures with the weights of their statistics."""

    pairs: tuple[tuple[Picture, float], ...]

    def shares(self) -> WeightedPictures:
        """The same with weights that add up to 1; ObjectiveError where they add up to 0 or less."""
        total = sum(weight for _, weight in self.pairs)
        if not 0 < total < math.inf:
            weights = ", ".join(f"{weight:g}" for _, weight in self.pairs)
            raise ObjectiveError(
                f"the weights of mixed pictures must add up to more than 0; {weights} add up to "
                f"{total:g}"
            )
        return WeightedPictures(tuple((picture, weight / total) for picture, weight in self.pairs))

    def __repr__(self) -> str:
        if len(self.pairs) == 1 and self.pairs[0][1] == 1.0:
            return repr(self.pairs[0][0])
        return repr(list(self.pairs))


def weighted_pictures(value: Any, name: str) -> WeightedPictures:
    """Loads a picture, or a sequence of (picture, weight) pairs."""
    if isinstance(value, WeightedPictures):
        return value
    if isinstance(value, (list, tuple)) and not _is_pairs(value):
        raise ObjectiveError(
            f"several {name} images are given as pairs (picture, weight), at least one; not as a "
            f"{type(value).__name__} of {len(value)} other things"
        )
    pairs = value if _is_pairs(value) else [(value, 1.0)]
    loaded = []
    for picture, weight in pairs:
        if not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ObjectiveError(
                f"the weight of a {name} image must be a finite number, not {weight!r}"
            )
        loaded.append((seen(load(picture, name=name), name), float(weight)))
    if not any(weight for _, weight in loaded):
        raise ObjectiveError(f"all weights of the {name} images are 0; give one of them more")
    return WeightedPictures(tuple(loaded))


def seen(picture: Picture, name: str) -> Picture:
    """The picture. Raises ImageError where it is transparent everywhere."""
    if picture.alpha is not None and float(picture.alpha.max()) <= 0:
        raise ImageError(
            f"{name}: its alpha is 0 everywhere, so nothing of it is to be seen; expected visible "
            "parts: take the alpha channel out if it means something else"
        )
    return picture


def _is_pairs(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes, bytearray))
        and len(value) > 0
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value)
    )
