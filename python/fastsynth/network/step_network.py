"""Networks of which a whole iteration becomes one graph (`backend="step"`)."""

from __future__ import annotations

from fastsynth.network.onnx_network import OnnxNetwork

__all__ = ["StepNetwork"]


# As onnx_network.BYTES_SHARE: of a whole iteration in one session, which frees less on its way.
# Measured on the CPU at 256² to 512²: 2.3 to 2.9 (docs/step.md).
BYTES_SHARE = 2.7


class StepNetwork(OnnxNetwork):
    """An OnnxNetwork whose levels run as step graphs, device-resident, where that is possible.

    Bound to an image and taps it is what an OnnxNetwork is.
    """

    backend = "step"
    bytes_share = BYTES_SHARE
