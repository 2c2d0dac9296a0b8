"""What terms show to the terms behind them, as ONNX nodes: windows, chosen positions, mixtures.

A view's `show` takes features (1, C, H, W) to what the term behind it sees, and `pull` takes the
gradient of that back: its adjoint. The equations stand beside the C++ classes (view_terms.hpp,
guided_terms.hpp).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core

if TYPE_CHECKING:
    from fastsynth.network.builder import Tensor

    Shape = tuple[int, int, int]

__all__ = ["View", "unwrapped"]


class View(ABC):
    """shape: (C, H, W) of the features; shown: that of what the term behind sees."""

    def __init__(self, shape: Shape, shown: Shape) -> None:
        self.shape, self.shown = shape, shown

    @abstractmethod
    def show(self, feature: Tensor) -> Tensor:
        """(1, *shape) to (1, *shown)."""

    @abstractmethod
    def pull(self, slope: Tensor) -> Tensor:
        """(1, *shown) to (1, *shape)."""


class WindowView(View):
    """A window, times a guide (height, width) if there is one."""

    def __init__(self, told: Mapping[str, Any], shape: Shape) -> None:
        super().__init__(shape, (shape[0], told["height"], told["width"]))
        self._top, self._left, self._guide = told["top"], told["left"], told["guide"]

    def show(self, feature: Tensor) -> Tensor:
        _, height, width = self.shown
        inside = feature.slice(2, self._top, self._top + height)
        inside = inside.slice(3, self._left, self._left + width)
        return inside if self._guide is None else inside * self._guide

    def pull(self, slope: Tensor) -> Tensor:
        if self._guide is not None:
            slope = slope * self._guide
        below = self.shape[1] - self._top - self.shown[1]
        right = self.shape[2] - self._left - self.shown[2]
        return slope.pad([0, 0, self._top, self._left], [0, 0, below, right])


class GatherView(View):
    """Chosen positions as one row, times their roots if there are any."""

    def __init__(self, told: Mapping[str, Any], shape: Shape) -> None:
        self._positions, self._roots = told["positions"], told["roots"]
        super().__init__(shape, (shape[0], 1, len(self._positions)))

    def show(self, feature: Tensor) -> Tensor:
        channels, height, width = self.shape
        row = feature.reshape((1, channels, 1, height * width)).gather(self._positions, axis=3)
        return row if self._roots is None else row * self._roots

    def pull(self, slope: Tensor) -> Tensor:
        if self._roots is not None:
            slope = slope * self._roots
        count = self.shape[1] * self.shape[2]
        return spread(slope, self._positions, count, axis=3).reshape((1, *self.shape))


def spread(values: Tensor, places: Any, count: int, *, axis: int) -> Tensor:
    """Values of (4-d) tensors at places of an axis of length `count`; zeros elsewhere.

    A gather from the values with one zero behind them, which all backends do in a fixed order.
    """
    origin = np.full(count, len(places), np.int64)
    origin[places] = np.arange(len(places))
    behind = [0, 0, 0, 0]
    behind[axis] = 1
    return values.pad([0, 0, 0, 0], behind).gather(origin, axis=axis)


class ProjectedView(View):
    """Mixtures (K, C) of channels, of means over k x k positions."""

    def __init__(self, told: Mapping[str, Any], shape: Shape) -> None:
        self._mixtures, self._k = told["mixtures"], told["pooling"]
        super().__init__(shape, (len(self._mixtures), shape[1] // self._k, shape[2] // self._k))

    def show(self, feature: Tensor) -> Tensor:
        k, (count, rows, columns) = self._k, self.shown
        if k > 1:
            feature = feature.builder.op(
                "AveragePool", feature, kernel_shape=[k, k], strides=[k, k]
            )
        flat = feature.reshape((self.shape[0], rows * columns))
        mixed = feature.builder.tensor(self._mixtures) @ flat
        return mixed.reshape((1, count, rows, columns))

    def pull(self, slope: Tensor) -> Tensor:
        k, (count, rows, columns), builder = self._k, self.shown, slope.builder
        channels, height, width = self.shape
        turned = np.ascontiguousarray(self._mixtures.T) / np.float32(k * k)
        back = builder.tensor(turned) @ slope.reshape((count, rows * columns))
        if k == 1:
            return back.reshape((1, *self.shape))
        squares = builder.op(
            "Expand",
            back.reshape((channels, rows, 1, columns, 1)),
            np.array([channels, rows, k, columns, k], np.int64),
        )
        whole = squares.reshape((1, channels, rows * k, columns * k))
        if (rows * k, columns * k) == (height, width):
            return whole
        return whole.pad([0, 0, 0, 0], [0, 0, height - rows * k, width - columns * k])


_VIEWS: Mapping[str, Callable[[Mapping[str, Any], Shape], View]] = {
    "window": WindowView,
    "gather": GatherView,
    "projected": ProjectedView,
}


def unwrapped(
    term: _core.LayerTerm, shape: Shape
) -> tuple[list[View], _core.LayerTerm, Mapping[str, Any] | None]:
    """The views that a term consists of, outermost first; what is behind them, and its description.

    The description is None where it has no form as nodes.
    """
    views: list[View] = []
    while True:
        told = _core.describe_layer_term(term, shape[1] * shape[2])
        if told is None or told["kind"] not in _VIEWS:
            return views, term, told
        view = _VIEWS[told["kind"]](told, shape)
        views.append(view)
        term, shape = told["inner"], view.shown
