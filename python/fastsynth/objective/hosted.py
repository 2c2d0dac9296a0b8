"""Terms that only the host can compute, beside a graph that computes the rest.

The graph is then in two parts. The first goes from the image to what such terms look at; the host
takes that, and gives values and gradients of these terms alone to the second part, which reads all
else where the first has left it, on the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth.objective.views import unwrapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.builder import GraphBuilder, Tensor
    from fastsynth.objective.base import Part
    from fastsynth.objective.views import View

    Arrays = Mapping[str, NDArray[np.float32]]

__all__ = ["HostPart", "HostWork", "hosted_parts"]


@dataclass(frozen=True, eq=False)
class HostPart:
    """A part that the host computes.

    index, name, part: its place among the parts, and which.
    views: between the tapped layer and `term`, outermost first; none for a term of pixels.
    shape: (C, H, W) of what the host reads, and of the gradient that it gives back.
    """

    index: int
    name: str
    part: Part
    views: tuple[View, ...]
    term: _core.LayerTerm | _core.ImageTerm
    shape: tuple[int, int, int]

    @property
    def bytes(self) -> int:
        """What goes over the bus at an evaluation, there and back."""
        return 2 * 4 * int(np.prod(self.shape))

    def show(self, feature: Tensor) -> Tensor:
        """What the host reads of a layer's features."""
        for view in self.views:
            feature = view.show(feature)
        return feature

    def read(self, builder: GraphBuilder) -> tuple[Tensor, Tensor]:
        """Value (1,) and gradient of the features, from what the host gives."""
        value = builder.input(f"host_value.{self.index}", (1,))
        slope = builder.input(f"host_slope.{self.index}", (1, *self.shape))
        for view in reversed(self.views):
            slope = view.pull(slope)
        return value, slope


class HostWork:
    """The first part of a graph, and what the host does behind it.

    front: from "image" to what the host reads, and what the second part reads.
    between: shapes and types of all that the second part reads of it.
    shown: names of the outputs that the host reads, by part.
    """

    def __init__(
        self, front: GraphBuilder, parts: Iterable[HostPart], pool: _core.ThreadPool
    ) -> None:
        self.front = front
        self.between: dict[str, tuple[tuple[int, ...], str]] = {}
        self._parts, self._pool = tuple(parts), pool

    @property
    def shown(self) -> dict[str, tuple[int, ...]]:
        """Outputs that the host reads beside the image, with their shapes."""
        return {
            f"shown.{part.index}": (1, *part.shape)
            for part in self._parts
            if part.part.layer is not None
        }

    @property
    def given(self) -> dict[str, NDArray[np.float32]]:
        """Inputs of the second part that the host writes, with zeros."""
        found = {}
        for part in self._parts:
            found[f"host_value.{part.index}"] = np.zeros(1, np.float32)
            found[f"host_slope.{part.index}"] = np.zeros((1, *part.shape), np.float32)
        return found

    @property
    def sees_image(self) -> bool:
        """Whether the host reads the image."""
        return any(part.part.layer is None for part in self._parts)

    def compute(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        """Values and gradients for `given`, from arrays by the names of `shown`, and "image"."""
        found = {}
        for part in self._parts:
            if isinstance(part.term, _core.ImageTerm):
                seen = np.ascontiguousarray(arrays["image"][0])
                value, slope = _core.evaluate_image_term(part.term, seen, 1.0, self._pool)
            else:
                seen = np.ascontiguousarray(arrays[f"shown.{part.index}"][0])
                value, slope = _core.evaluate_layer_term(part.term, seen, 1.0, self._pool)
            found[f"host_value.{part.index}"] = np.array([value], np.float32)
            found[f"host_slope.{part.index}"] = slope[None]
        return found


def hosted_parts(
    parts: Iterable[Part],
    names: Iterable[str],
    shapes: Mapping[tuple[str | None, str], tuple[int, int, int]],
    size: tuple[int, int],
) -> tuple[HostPart, ...]:
    """Those of the parts that have no form as nodes.

    shapes: of the tapped features, by network and layer; size: of the image.
    """
    found = []
    for index, (part, name) in enumerate(zip(parts, names, strict=True)):
        if isinstance(part.term, _core.ImageTerm):
            if _core.describe_image_term(part.term) is None:
                found.append(HostPart(index, name, part, (), part.term, (3, *size)))
            continue
        if part.layer is None:  # octaves
            continue
        assert isinstance(part.term, _core.LayerTerm)
        shape = shapes[part.network, part.layer]
        views, term, told = unwrapped(part.term, shape)
        if told is None:
            shown = views[-1].shown if views else shape
            found.append(HostPart(index, name, part, tuple(views), term, shown))
    return tuple(found)
