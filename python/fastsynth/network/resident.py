"""A graph whose state stays on the device: what one step yields is what the next one reads.

Each state tensor has two places there, which take turns. The host starts steps, and copies out what
it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._closing import Closing
from fastsynth._errors import DeviceError
from fastsynth.network import session as sessions
from fastsynth.network.portable import portable
from fastsynth.network.providers import HALF_BY_GRAPH, explain, find_card
from fastsynth.network.session import CPU, onnxruntime, release_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.session import Provider

__all__ = ["NEXT", "ResidentGraph"]

NEXT = "next_"  # before the name of a state tensor: the output that takes its place

# Providers with memory of their own; the others read and write the host's.
_MEMORIES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}
# Where a node that writes a few rows of a tensor may do so in place, because input and output are
# one buffer: ORT's kernels copy only if they differ.
_IN_PLACE = (CPU, "CUDAExecutionProvider")


class ResidentGraph(Closing):
    """A graph opened on a provider, with its state on the device.

    model, parameters: the graph and the constants that it refers to.
    state: the first values of the inputs that steps replace: those with an output "next_NAME".
    fixed: the other inputs.
    in_place: state that the graph reads in one node alone, which changes parts of it: one place
        will do where the provider allows it.

    Raises DeviceError when the provider cannot open or run it, MemoryLimitError when the device's
    memory does not do.
    """

    def __init__(
        self,
        model: bytes,
        parameters: Mapping[str, NDArray[Any]],
        provider: Provider,
        threads: int,
        *,
        state: Mapping[str, NDArray[Any]],
        fixed: Mapping[str, NDArray[Any]],
        report: tuple[str, int],
        in_place: Sequence[str] = (),
    ) -> None:
        ort = self._ort = onnxruntime()
        sessions._share_arena()
        options = sessions._session_options(ort, threads)
        values = [ort.OrtValue.ortvalue_from_numpy(a) for a in parameters.values()]
        if values:
            options.add_external_initializers(list(parameters), values)
        self._provider = provider
        self._memory = _MEMORIES.get(provider.name, "cpu")
        self._report, self._width = report
        self._session: Any = sessions._open(
            ort, fitted(model, provider), options, provider, threads
        )
        self._read = {value.name for value in self._session.get_inputs()}
        self._fixed = {name: self._placed(array) for name, array in fixed.items()}
        alike = in_place if provider.name in _IN_PLACE else ()
        self._state = {name: self._placed(array) for name, array in state.items()}
        self._other = {
            name: value if name in alike else self._placed(state[name])
            for name, value in self._state.items()
        }

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._session is None

    def run(self, steps: int) -> NDArray[np.float32]:
        """Does some steps; returns their reports, (steps, width)."""
        if self._session is None:
            raise DeviceError("the step graph was closed and cannot run")
        reports = [self._placed(np.zeros(self._width, np.float32)) for _ in range(steps)]
        for report in reports:
            binding = self._session.io_binding()
            for name, value in {**self._fixed, **self._state}.items():
                if name in self._read:
                    binding.bind_ortvalue_input(name, value)
            for name, value in self._other.items():
                binding.bind_ortvalue_output(NEXT + name, value)
            binding.bind_ortvalue_output(self._report, report)
            try:
                self._session.run_with_iobinding(binding)
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                known = explain(error, self._provider)
                if known is not None:
                    raise known from error
                raise DeviceError(
                    f"{self._provider.name} failed in a step: {error}; use a smaller size, or "
                    'device="cpu"'
                ) from error
            self._state, self._other = self._other, self._state
        return np.stack([report.numpy() for report in reports])

    def read(self, name: str) -> NDArray[Any]:
        """A copy of a state tensor."""
        return np.array(self._state[name].numpy())

    def names(self) -> tuple[str, ...]:
        """Of the state tensors."""
        return tuple(self._state)

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Replaces a state tensor, or a fixed input."""
        where = self._fixed if name in self._fixed else self._state
        where[name].update_inplace(np.ascontiguousarray(array))

    def close(self) -> None:
        """Releases session and state; a second call does nothing."""
        if self._session is not None:
            self._session = None
            self._fixed, self._state, self._other = {}, {}, {}
            release_memory()

    def _placed(self, array: NDArray[Any]) -> Any:
        """A copy on the device."""
        copy = np.array(array, order="C")
        return self._ort.OrtValue.ortvalue_from_numpy(copy, self._memory, 0)


def fitted(model: bytes, provider: Provider) -> bytes:
    """The graph in the form that the provider runs."""
    card = find_card(provider.name)
    if card is not None and not card.portable:
        return model
    import onnx

    half = provider.precision == "fp16" and provider.name in HALF_BY_GRAPH
    whole: bytes = portable(onnx.load_from_string(model), half=half).SerializeToString()
    return whole
