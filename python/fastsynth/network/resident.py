"""A graph whose state stays on the device: what one step yields is what the next one reads.

Each state tensor has two places there, which take turns. The host starts steps, and copies out what
it asks for.

CUDA graphs. A provider that can records all launches of a step and repeats them as one. What is
recorded are addresses: so each of the two turns is recorded on its own (`gpu_graph_id`), with the
same tensors bound each time, and its report has one place, which the host reads after the step.
The first run of a turn is done twice, once before it is recorded: no step writes what it reads, but
for rows of `in_place` state, which it writes anew with the same. Recording asks that every node
runs on the device; a provider that refuses is asked again without.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastsynth._closing import Closing
from fastsynth._errors import DeviceError, MemoryLimitError
from fastsynth.network import session as sessions
from fastsynth.network.portable import portable
from fastsynth.network.providers import HALF_BY_GRAPH, explain, find_card
from fastsynth.network.session import CPU, onnxruntime, release_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.network.builder import GraphBuilder
    from fastsynth.network.session import Provider

__all__ = ["NEXT", "Front", "ResidentGraph"]

logger = logging.getLogger("fastsynth")

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


class Front(Protocol):
    """A graph that runs before each step, and what the host does between the two.

    front: its builder; it reads "image". between: its outputs that the step reads, which stay on
    the device. shown: those that the host reads; sees_image: whether it reads the image, too.
    given: the step's inputs that the host writes, with their first values.
    """

    @property
    def front(self) -> GraphBuilder: ...
    @property
    def between(self) -> Mapping[str, tuple[tuple[int, ...], str]]: ...
    @property
    def shown(self) -> Mapping[str, tuple[int, ...]]: ...
    @property
    def given(self) -> Mapping[str, NDArray[np.float32]]: ...
    @property
    def sees_image(self) -> bool: ...

    def compute(self, arrays: Mapping[str, Any]) -> Mapping[str, NDArray[np.float32]]: ...


class ResidentGraph(Closing):
    """A graph opened on a provider, with its state on the device.

    model, parameters: the graph and the constants that it refers to.
    state: the first values of the inputs that steps replace: those with an output "next_NAME".
    fixed: the other inputs.
    in_place: state that the graph reads in one node alone, which changes parts of it: one place
        will do where the provider allows it.
    front: what comes before each step, if anything does.

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
        front: Front | None = None,
    ) -> None:
        self._ort = onnxruntime()
        sessions._share_arena()
        card = find_card(provider.name)
        captures = card is not None and bool(card.captured) and front is None
        self._provider, self._threads = replace(provider, captured=captures), threads
        self._memory = _MEMORIES.get(provider.name, "cpu")
        self._report, self._width = report
        self._reopen = partial(self._opened, model, parameters)
        self._session: Any = self._opened_captured()
        self._read = {value.name for value in self._session.get_inputs()}
        self._fixed = {name: self._placed(array) for name, array in fixed.items()}
        self._host = front
        self._front: Any = None
        self._between, self._shown = dict[str, Any](), dict[str, Any]()
        if front is not None:
            self._open_front(front)
        alike = in_place if provider.name in _IN_PLACE else ()
        self._state = {name: self._placed(array) for name, array in state.items()}
        self._other = {
            name: value if name in alike else self._placed(state[name])
            for name, value in self._state.items()
        }
        # Two turns, each with its state, what it writes, its report, and once it has run its
        # binding.
        self._turns: list[Any] = [None, None]
        self._turn = 0
        self._done: list[Any] = []  # reports of the last `run`

    def _open_front(self, front: Front) -> None:
        self._fixed |= {name: self._placed(array) for name, array in front.given.items()}
        if not front.shown:  # the host reads the image alone
            return
        builder = front.front
        parameters = {name: builder.parameters[name] for name in builder.used_parameters()}
        self._front = self._opened(builder.model(), parameters)
        self._front_read = {value.name for value in self._front.get_inputs()}
        for name, (shape, kind) in front.between.items():
            self._between[name] = self._placed(np.zeros(shape, kind))
        self._shown = {n: self._placed(np.zeros(s, "f4")) for n, s in front.shown.items()}

    def _opened_captured(self) -> Any:
        """A session whose runs are recorded, where the provider does that with this graph."""
        if not self._provider.captured:
            return self._reopen()
        try:
            return self._reopen()
        except MemoryLimitError:
            raise
        except DeviceError as error:
            plain = replace(self._provider, captured=False)
            if "graph" not in str(error).lower():
                raise
            logger.info("%s does not record this graph: %s", plain.name, error)
            self._provider = plain
            return self._reopen()

    def _opened(self, model: bytes, parameters: Mapping[str, NDArray[Any]]) -> Any:
        """A session."""
        ort = self._ort
        options = sessions._session_options(ort, self._threads)
        values = [ort.OrtValue.ortvalue_from_numpy(a) for a in parameters.values()]
        if values:
            options.add_external_initializers(list(parameters), values)
        provider = self._provider
        return sessions._open(ort, fitted(model, provider), options, provider, self._threads)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._session is None

    def run(self, steps: int) -> NDArray[np.float32]:
        """Does some steps; returns their reports, (steps, width).

        Where Ctrl-C ends it, `done` has the reports of the steps that the state has taken.
        """
        if self._session is None:
            raise DeviceError("the step graph was closed and cannot run")
        self._done.clear()
        places = [] if self._provider.captured else [self._place() for _ in range(steps)]
        for number in range(steps):
            if self._provider.captured:
                self._done.append(self._repeated())
            else:
                self._done.append(self._plain(places[number] if places else self._place()))
        return self.done()

    def done(self) -> NDArray[np.float32]:
        """Reports of the steps of the last `run`, (steps, width)."""
        found = [r if isinstance(r, np.ndarray) else r.numpy() for r in self._done]
        return np.array(found, np.float32).reshape(-1, self._width)

    def _place(self) -> Any:
        """Of a report, on the device."""
        return self._placed(np.zeros(self._width, np.float32))

    def _plain(self, report: Any) -> Any:
        """One step; its report, which stays on the device."""
        inputs = {**self._fixed, **self._state}
        if self._host is not None:
            self._before(self._host, inputs["image"])
            inputs |= self._between
        outputs = {NEXT + name: value for name, value in self._other.items()}
        outputs[self._report] = report
        self._step(self._session, {n: inputs[n] for n in self._read}, outputs)
        self._state, self._other = self._other, self._state
        return report

    def _repeated(self) -> Any:
        """One step's report; where it cannot be recorded, the session is opened without that."""
        try:
            return self._repeat()
        except DeviceError as error:
            if "captur" not in str(error).lower():
                raise
            logger.info("%s cannot record this graph: %s", self._provider.name, error)
        self._turns = [None, None]
        self._provider = replace(self._provider, captured=False)
        self._session = self._reopen()
        return self._plain(self._place())

    def _repeat(self) -> NDArray[np.float32]:
        """One step that is recorded the first time; its report."""
        turn = self._turn
        if self._turns[turn] is None:
            report = self._place()
            inputs = {**self._fixed, **self._state}
            outputs = {NEXT + name: value for name, value in self._other.items()}
            outputs[self._report] = report
            binding = self._bound(self._session, {n: inputs[n] for n in self._read}, outputs)
            options = self._ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", str(turn + 1))
            self._turns[turn] = (binding, options, report)
        binding, options, report = self._turns[turn]
        self._started(self._session, binding, options)
        self._turn = 1 - turn
        self._state, self._other = self._other, self._state
        return np.array(report.numpy(), np.float32)

    def _before(self, front: Front, image: Any) -> None:
        """The first graph, and the host's share."""
        if self._front is not None:
            inputs = dict.fromkeys(self._front_read, image)
            self._step(self._front, inputs, {**self._between, **self._shown})
        seen = {name: value.numpy() for name, value in self._shown.items()}
        if front.sees_image:
            seen["image"] = image.numpy()
        for name, array in front.compute(seen).items():
            self._fixed[name].update_inplace(np.ascontiguousarray(array))

    def _step(self, session: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Runs a session from device tensors to device tensors."""
        self._started(session, self._bound(session, inputs, outputs))

    def _bound(self, session: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        """A session's tensors."""
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return binding

    def _started(self, session: Any, binding: Any, options: Any = None) -> None:
        """Runs a session; its errors become ours."""
        try:
            session.run_with_iobinding(binding, options)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            known = explain(error, self._provider)
            if known is not None:
                raise known from error
            raise DeviceError(
                f"{self._provider.name} failed in a step: {error}; use a smaller size, or "
                'device="cpu"'
            ) from error

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
            self._session = self._front = None
            self._fixed, self._state, self._other = {}, {}, {}
            self._between, self._shown = {}, {}
            self._turns = [None, None]
            self._done.clear()
            release_memory()

    def _placed(self, array: NDArray[Any]) -> Any:
        """A copy on the device."""
        copy = np.array(array, order="C")
        number = 0 if self._memory == "cpu" else int(self._provider.index or 0)
        return self._ort.OrtValue.ortvalue_from_numpy(copy, self._memory, number)


def fitted(model: bytes, provider: Provider) -> bytes:
    """The graph in the form that the provider runs."""
    card = find_card(provider.name)
    if card is not None and not card.portable:
        return model
    import onnx

    half = provider.precision == "fp16" and provider.name in HALF_BY_GRAPH
    whole: bytes = portable(onnx.load_from_string(model), half=half).SerializeToString()
    return whole
