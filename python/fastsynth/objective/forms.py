"""The terms as ONNX nodes: each yields its value and its gradient, as its C++ form does.

A form is written from what `_core.describe_layer_term` and `_core.describe_image_term` tell of the
C++ term: target and constants exist once, in the term. The equations stand beside the C++ classes
(cpp/include/fastsynth/objective). F: features as a matrix (C, M), M positions; w: the part's
weight, a tensor (1,), with which gradients are multiplied, but not values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ObjectiveError
from fastsynth.objective.views import spread, unwrapped

if TYPE_CHECKING:
    from fastsynth.network.builder import Tensor

    Shape = tuple[int, int, int]
    # Value (1,) and gradient, of the features' shape (1, C, H, W).
    Form = tuple[Tensor, Tensor]
    Described = Mapping[str, Any]

__all__ = ["image_form", "layer_form"]

SMALLEST_VARIANCE = 1e-10  # share of the mean square beneath which a variance is rounding
EDGE = 1e-3  # ε of total variation with β < 2


def layer_form(
    term: _core.LayerTerm, name: str, feature: Tensor, shape: Shape, weight: Tensor
) -> Form:
    """Nodes for a layer term on features (1, *shape). `name` is what an error calls it."""
    views, behind, told = unwrapped(term, shape)
    if told is None:
        raise without_form(name, behind)
    for view in views:
        feature, shape = view.show(feature), view.shown
    value, slope = described_form(told, feature, shape, weight)
    for view in reversed(views):
        slope = view.pull(slope)
    return value, slope


def without_form(name: str, term: object) -> ObjectiveError:
    """What is raised for a term that only the host can compute."""
    return ObjectiveError(
        f"the part {name} ({type(term).__name__}) has no form as ONNX nodes, so that it cannot "
        "be part of a step graph; leave it out, or use backend='onnx' (any device) or "
        "backend='native' (CPU)"
    )


def described_form(told: Described, feature: Tensor, shape: Shape, weight: Tensor) -> Form:
    """The same from the description of a term that is no view."""
    if told["kind"] == "shifted":
        return _shifted(told, feature, shape, weight)
    if told["kind"] == "activation" and told["neuron"] is not None:
        return _neuron(told, feature, shape, weight)
    channels, positions = shape[0], shape[1] * shape[2]
    flat = feature.reshape((channels, positions))
    value, slope = _FORMS[told["kind"]](told, flat, (channels, positions), weight)
    return value, slope.reshape((1, *shape))


def _content(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    difference = f - told["target"].reshape(shape)
    return difference.square().sum() * told["scale"], difference * (w * (2 * told["scale"]))


def _gram(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    positions = shape[1]
    difference = (f @ f.transpose()) * (1 / positions) - told["target"]
    value = difference.square().sum() * told["scale"]
    return value, (difference * (w * (4 * told["scale"] / positions))) @ f


def _moments(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    channels, positions = shape
    a, b, kind = told["mean_weight"], told["second_weight"], told["second_kind"]
    mean = f.reduced("ReduceMean", [1])
    shift = mean - told["mean"].reshape(channels, 1)
    value = shift.square().sum() * a
    slope = shift * (w * (2 * a / positions))  # (C, 1): the same at all positions
    if kind == "none":
        return value, slope + np.zeros((1, positions), np.float32)
    if kind == "gram":
        difference = (f @ f.transpose()) * (1 / positions) - told["second"]
        value = value + difference.square().sum() * b
        return value, (difference * (w * (4 * b / positions))) @ f + slope
    centred = f - mean
    if kind == "covariance":
        difference = (centred @ centred.transpose()) * (1 / positions) - told["second"]
        value = value + difference.square().sum() * b
        return value, (difference * (w * (4 * b / positions))) @ centred + slope
    builder = f.builder
    variance = centred.square().reduced("ReduceMean", [1])
    floor = (mean.square() + 1e-12) * SMALLEST_VARIANCE
    deviation = variance.maximum(floor).sqrt()
    difference = deviation - told["second"].reshape(channels, 1)
    value = value + difference.square().sum() * b
    factor = builder.where(variance > floor, difference / deviation, 0.0)
    return value, centred * (factor * (w * (2 * b / positions))) + slope


def _slices(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    builder, (channels, positions) = f.builder, shape
    directions, places, scale = told["directions"], told["places"], told["scale"]
    count = len(places)
    seen = f if count == positions else f.gather(places, axis=1)
    z = builder.tensor(directions) @ seen
    if told["phases"].size:
        angles = z + told["phases"].reshape(-1, 1)
        mean = builder.op("Cos", angles).reduced("ReduceMean", [1])
        difference = mean - told["targets"].reshape(-1, 1)
        value = difference.square().sum() * scale
        slope = builder.op("Sin", angles) * (difference * (w * (-2 * scale / count)))
    else:
        ascending, order = builder.ops(
            "TopK", 2, z, np.array([count], np.int64), axis=1, largest=0, sorted=1
        )
        difference = ascending - _quantiles(told["targets"], count)
        value = difference.square().sum() * (scale / count)
        sorted_slope = difference * (w * (2 * scale / count))
        slope = builder.op("ScatterElements", z, order, sorted_slope, axis=1)
    back = builder.tensor(np.ascontiguousarray(directions.T)) @ slope
    if count == positions:
        return value, back
    back = spread(back.reshape((1, 1, channels, count)), places, positions, axis=3)
    return value, back.reshape((channels, positions))


def _quantiles(targets: Any, count: int) -> Any:
    """The targets' quantiles at `count` ranks; they stand for the ranks (i + ½) / known."""
    known = targets.shape[1]
    at = np.clip((np.arange(count) + 0.5) / count * known - 0.5, 0.0, known - 1.0)
    first = at.astype(np.int64)
    share = at - first
    upper = targets[:, np.minimum(first + 1, known - 1)]
    return np.asarray(targets[:, first] * (1 - share) + upper * share, np.float32)


def _covariance(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    """Over positions whose features are shown times roots r, with mean r² = 1."""
    channels, positions = shape
    roots = told["roots"]
    row = np.ones((1, positions), np.float32) if roots is None else roots.reshape(1, positions)
    mean = (f * row).reduced("ReduceMean", [1])
    centred = f - mean * row
    shift = mean - told["mean"].reshape(channels, 1)
    distance = (centred @ centred.transpose()) * (1 / positions) - told["covariance"]
    a, b = told["mean_weight"], told["covariance_weight"]
    value = shift.square().sum() * a + distance.square().sum() * b
    slope = (distance * (w * (4 * b / positions))) @ centred
    return value, slope + shift * (w * (2 * a / positions)) * row


def _shifted(told: Described, feature: Tensor, shape: Shape, w: Tensor) -> Form:
    channels, shifts, scale = shape[0], told["shifts"], told["scale"]
    centred = feature - told["centre"].reshape(1, channels, 1, 1)
    value = gradient = None
    for number, target in enumerate(told["targets"]):
        step, axis = shifts[number % len(shifts)], 3 if number < len(shifts) else 2
        side = shape[axis - 1]
        if step >= side:
            continue
        inside = (1, *shape[: axis - 1], side - step, *shape[axis:])
        first = centred.slice(axis, 0, side - step).reshape((channels, -1))
        moved = centred.slice(axis, step, side).reshape((channels, -1))
        positions = inside[2] * inside[3]
        distance = (moved @ first.transpose()) * (1 / positions) - target
        pull = distance * (w * (2 * scale / positions))
        before, behind = [0, 0, 0, 0], [0, 0, 0, 0]
        before[axis] = behind[axis] = step
        slope = (pull @ first).reshape(inside).pad(before, [0] * 4)
        slope = slope + (pull.transpose() @ moved).reshape(inside).pad([0] * 4, behind)
        squared = distance.square().sum()
        value = squared if value is None else value + squared
        gradient = slope if gradient is None else gradient + slope
    if value is None or gradient is None:  # the map is too small for all of them
        return centred.sum() * 0.0, centred * 0.0
    return value * scale, gradient


def _activation(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    channels, positions = shape
    weights = np.ones((channels, 1))
    if told["channels"]:
        weights = np.zeros((channels, 1))
        for channel, weight in told["channels"]:
            weights[channel] += weight
    if told["measure"] == "energy":
        pull = f * weights.astype(np.float32)
        return (pull * f).sum() * -0.5, pull * -w
    norm = sum(abs(weight) for _, weight in told["channels"]) or channels
    share = 1 / (norm * positions) if told["measure"] == "mean" else 1.0
    slopes = (-share * weights).astype(np.float32)
    return (f * slopes).sum(), w * slopes + np.zeros((1, positions), np.float32)


def _neuron(told: Described, feature: Tensor, shape: Shape, w: Tensor) -> Form:
    channels, *sides = shape
    row, column = (
        min(int(share * side), side - 1) for share, side in zip(told["neuron"], sides, strict=True)
    )
    alone = feature.slice(2, row, row + 1).slice(3, column, column + 1).reshape((channels, 1))
    value, slope = _activation(told, alone, (channels, 1), w)
    around = [0, 0, sides[0] - row - 1, sides[1] - column - 1]
    return value, slope.reshape((1, channels, 1, 1)).pad([0, 0, row, column], around)


def _guided(told: Described, f: Tensor, shape: tuple[int, int], w: Tensor) -> Form:
    builder, guide = f.builder, told["guide"]
    scores = builder.tensor(guide) @ f
    if told["nearest"]:
        scores = scores - 0.5 * (guide.astype(np.float64) ** 2).sum(1, keepdims=True)
    best = builder.op("ArgMax", scores, axis=0, keepdims=0)
    chosen = builder.tensor(guide).gather(best).transpose()
    if told["nearest"]:
        difference = f - chosen
        return difference.square().sum() * 0.5, difference * w
    return -(f * chosen).sum(), chosen * -w


_FORMS: Mapping[str, Callable[[Described, Tensor, tuple[int, int], Tensor], Form]] = {
    "content": _content,
    "gram": _gram,
    "moments": _moments,
    "slices": _slices,
    "activation": _activation,
    "guided": _guided,
    "covariance": _covariance,
}


def image_form(
    term: _core.ImageTerm, name: str, image: Tensor, size: tuple[int, int], weight: Tensor
) -> Form:
    """Nodes for an image term on an image (1, 3, *size)."""
    told = _core.describe_image_term(term)
    if told is None:
        raise without_form(name, term)
    return _IMAGE_FORMS[told["kind"]](told, image, size, weight)


def _total_variation(told: Described, x: Tensor, size: tuple[int, int], w: Tensor) -> Form:
    height, width = size
    beta = told["beta"]
    share = 1 / (height * width) if told["mean"] else 1.0
    steps = {}
    for axis, side in ((2, height), (3, width)):
        ends = [0, 0, 0, 0]
        ends[axis] = 1
        inside = x.slice(axis, 1, side) - x.slice(axis, 0, side - 1) if side > 1 else None
        # The last row and column have no neighbour: 0.
        steps[axis] = x * 0.0 if inside is None else inside.pad([0, 0, 0, 0], ends)
    square = steps[2].square() + steps[3].square()
    builder = x.builder
    slope: Any = 2.0
    value = square
    if beta != 2:
        floor = EDGE**2 if beta < 2 else 0.0
        square = square + floor
        power = builder.op("Pow", square, np.float32(beta / 2 - 1))
        value = power * square - floor ** (beta / 2)
        slope = power * beta
    gradient = None
    for axis, side in ((2, height), (3, width)):
        pull = steps[axis] * slope
        begins = [0, 0, 0, 0]
        begins[axis] = 1
        moved = -pull
        if side > 1:
            moved = pull.slice(axis, 0, side - 1).pad(begins, [0, 0, 0, 0]) - pull
        gradient = moved if gradient is None else gradient + moved
    assert gradient is not None
    return value.sum() * share, gradient * (w * share)


def _alpha_norm(told: Described, x: Tensor, size: tuple[int, int], w: Tensor) -> Form:
    alpha = told["alpha"]
    share = 1 / (size[0] * size[1]) if told["mean"] else 1.0
    centred = x - 0.5
    square = centred.square().reduced("ReduceSum", [1]).maximum(1e-30)
    power = x.builder.op("Pow", square, np.float32(alpha / 2 - 1))
    return (power * square).sum() * share, centred * (power * (w * (alpha * share)))


def _range(told: Described, x: Tensor, size: tuple[int, int], w: Tensor) -> Form:
    share = 1 / (3 * size[0] * size[1])
    outside = x - x.maximum(told["low"]).minimum(told["high"])
    return outside.square().sum() * share, outside * (w * (2 * share))


_IMAGE_FORMS: Mapping[str, Callable[[Described, Tensor, tuple[int, int], Tensor], Form]] = {
    "total_variation": _total_variation,
    "alpha_norm": _alpha_norm,
    "range": _range,
}
