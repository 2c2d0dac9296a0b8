"""Networks of which a whole iteration becomes one graph (`backend="step"`)."""

from __future__ import annotations

from fastsynth.network.onnx_network import OnnxNetwork

__all__ = ["StepNetwork"]


class StepNetwork(OnnxNetwork):
    """An OnnxNetwork whose levels run as step graphs, device-resident, where that is possible.

    Bound to an image and taps it is what an OnnxNetwork is.
    """

    backend = "step"
