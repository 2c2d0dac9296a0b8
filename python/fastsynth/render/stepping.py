"""A level as a step graph (`backend="step"`), where its networks and terms allow it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastsynth import _core
from fastsynth.network.step_network import StepNetwork
from fastsynth.objective import WholeObjective
from fastsynth.objective.plan import balanced_weights, check_layers, unique_names
from fastsynth.objective.whole import weights_of
from fastsynth.render.meeting import Asked, run_or_meet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastsynth.network.onnx_network import OnnxNetwork
    from fastsynth.objective import Canvas
    from fastsynth.objective.base import Part
    from fastsynth.objective.plan import Networks
    from fastsynth.optimize import Optimizer, RunResult, StopRules

__all__ = ["run_steps", "whole_objective"]

logger = logging.getLogger("fastsynth")


def whole_objective(
    parts: Sequence[Part], canvas: Canvas, networks: Networks
) -> WholeObjective | None:
    """The objective for a step graph; None where the networks are of another backend.

    Also where the picture is seamless. A warning in the log tells what the host has to do, then and
    where a part has no form as nodes.
    """
    names = list(dict.fromkeys(part.network for part in parts if part.layer is not None))
    tapped = {name: networks(name) for name in names}
    own: dict[str | None, OnnxNetwork] = {
        name: net for name, net in tapped.items() if isinstance(net, StepNetwork)
    }
    if not own or len(own) < len(tapped):
        return None
    for name, network in own.items():
        layers = {part.layer for part in parts if part.network == name and part.layer}
        check_layers(network, tuple(layers))
    if canvas.wrap:
        logger.warning(
            "no step graph: the cyclic continuation of a seamless picture can only be computed on "
            "the host; at each evaluation the features of all tapped layers, and their gradients, "
            "are copied from and to the device"
        )
        return None
    labels = tuple(unique_names(parts))
    whole = WholeObjective(tuple(parts), labels, weights_of(parts), canvas, own)
    if whole.hosted:
        copied = sum(part.bytes for part in whole.hosted) / (1 << 20)
        logger.warning(
            "%s can only be computed on the host (%d × %d px): %.3g MiB are copied from and to the "
            "device at each evaluation, and the device waits meanwhile",
            ", ".join(part.name for part in whole.hosted),
            canvas.width,
            canvas.height,
            copied,
        )
    return whole


def balanced(whole: WholeObjective, first: NDArray[np.float32]) -> WholeObjective:
    """The same with the weights of balanced parts set so that all pull equally at `first`."""
    from fastsynth.optimize.evaluator import Evaluator

    chosen = [index for index, part in enumerate(whole.parts) if part.balanced]
    if not chosen:
        return whole
    network = next(iter(whole.networks.values()))
    with Evaluator(whole, network.execution, network.threads) as evaluator:
        norms = evaluator.gradient_norms(first, chosen)
    weights = list(whole.weights)
    for index, weight in balanced_weights(whole.parts, norms).items():
        weights[index] = weight
    return replace(whole, weights=tuple(weights))


def run_steps(
    whole: WholeObjective,
    first: NDArray[np.float32],
    optimizer: Optimizer,
    rules: StopRules,
    *,
    callback: Callable[[Any], bool | None] | None,
    cancel: _core.Cancel | None,
    resume: Mapping[str, Any] | None,
    keep_state: bool,
    memory_limit: int | None = None,
    waited: Callable[[float], None] | None = None,
) -> tuple[RunResult, dict[str, float]]:
    """One level; the result, and the weights of the loss's parts.

    memory_limit: bytes that a device may give it; the CPU's memory is not limited here. In a thread
    that has joined a Meeting, the level runs together with those of others; `waited` is told of the
    seconds until they have come.
    """
    from fastsynth.optimize.step_loop import Start

    whole = balanced(whole, first)
    start = Start(first, rules, callback, cancel, resume, keep_state)
    result = run_or_meet(Asked(whole, optimizer, start, memory_limit, waited))
    return result, dict(zip(whole.names, whole.weights, strict=True))
