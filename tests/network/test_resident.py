"""Step graphs on a device: options, recorded runs, errors. What is not here is stood in for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

from fastsynth._errors import DeviceError, MemoryLimitError
from fastsynth.network import providers, resident, session
from fastsynth.network.builder import GraphBuilder
from fastsynth.network.providers import Provider, provider_options
from fastsynth.network.resident import NEXT, ResidentGraph

CPU = session.choose_provider("cpu")
DRIVER_OLD = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
NO_MEMORY = "Failed to allocate memory for requested buffer of size 1048576"
CAPTURE = (
    "CUDA failure 900: operation not permitted when stream is capturing ; expr=cudaMemcpyAsync"
)
PARTITION = (
    "This session cannot use the graph capture feature as requested by the user as all compute "
    "graph nodes have not been partitioned to the CUDAExecutionProvider"
)


def opened(provider: Provider = CPU) -> ResidentGraph:
    """x ← 2 x + w, reports Σ x; a row of `rows` is written in place."""
    b = GraphBuilder()
    x, w, rows = b.input("x", (3,)), b.input("w", (3,)), b.input("rows", (2, 3))
    b.output(NEXT + "x", x * 2.0 + w, (3,))
    b.output(NEXT + "rows", b.op("ScatterND", rows, np.array([[0]]), x.reshape((1, 3))), (2, 3))
    b.output("report", x.sum(), (1,))
    return ResidentGraph(
        b.model(),
        b.parameters,
        provider,
        1,
        state={"x": np.ones(3, np.float32), "rows": np.zeros((2, 3), np.float32)},
        fixed={"w": np.full(3, 0.5, np.float32)},
        report=("report", 1),
        in_place=["rows"],
    )


class Recorder:
    """A session that notes what it is run with; `fail` may raise in its place."""

    def __init__(self, real: Any, fail: Any = None) -> None:
        self.real, self.fail, self.runs = real, fail, list[tuple[int, str]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        graph = "" if options is None else options.get_run_config_entry("gpu_graph_id")
        if self.fail is not None:
            self.fail(len(self.runs))
        self.runs.append((id(binding), graph))
        if graph:  # the first run of a recorded step is done twice
            self.real.run_with_iobinding(binding, options)
        self.real.run_with_iobinding(binding, options)


def recording(monkeypatch: pytest.MonkeyPatch, fail: Any = None) -> list[Recorder]:
    """Lets the CPU provider stand in for one that records runs; the sessions that are opened."""
    card = providers.find_card("cpu")
    assert card is not None
    capturing = dataclasses.replace(card, captured={"enable_cuda_graph": "1"})
    monkeypatch.setattr(resident, "find_card", lambda _: capturing)
    sessions: list[Recorder] = []
    real = session._open

    def open_(*arguments: Any) -> Any:
        if sessions and fail is not None:
            sessions.append(Recorder(real(*arguments)))
        else:
            sessions.append(Recorder(real(*arguments), fail))
        return sessions[-1]

    monkeypatch.setattr(session, "_open", open_)
    return sessions


def values(graph: ResidentGraph) -> list[Any]:
    """Of a run with a change of state and of a constant on the way."""
    found = [graph.run(5), graph.read("x"), graph.read("rows")]
    graph.write("x", np.arange(3, dtype=np.float32))
    graph.write("w", np.ones(3, np.float32))
    return [*found, graph.run(2), graph.read("x"), graph.read("rows")]


def test_recorded_steps_do_what_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two turns have a binding and a number each; what is bound stays where it is."""
    with opened() as graph:
        wanted = values(graph)
    sessions = recording(monkeypatch)
    with opened() as graph:
        found = values(graph)
        runs = sessions[-1].runs
        assert [number for _, number in runs] == ["1", "2", "1", "2", "1", "2", "1"]
        assert len({binding for binding, _ in runs}) == 2
    for a, b in zip(found, wanted, strict=True):
        assert np.array_equal(a, b)


def test_what_cannot_be_recorded_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as graph:
        wanted = values(graph)

    def fail(_: int) -> None:
        raise RuntimeError(CAPTURE)

    sessions = recording(monkeypatch, fail)
    with opened() as graph:
        found = values(graph)
        assert [number for _, number in sessions[-1].runs] == [""] * 7
    for a, b in zip(found, wanted, strict=True):
        assert np.array_equal(a, b)


def test_a_graph_in_parts_is_opened_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider says at opening that it cannot record; its options must then not ask for it."""
    asked: list[bool] = []
    sessions = recording(monkeypatch)
    plain = session._open

    def open_(ort: Any, model: bytes, options: Any, provider: Provider, threads: int = 1) -> Any:
        asked.append(provider.captured)
        if provider.captured:
            raise DeviceError(f"{provider.name} cannot open the graph: {PARTITION}")
        return plain(ort, model, options, provider, threads)

    monkeypatch.setattr(session, "_open", open_)
    with opened() as graph:
        assert graph.run(2)[:, 0] == pytest.approx([3.0, 7.5])
    assert asked == [True, False]
    assert [number for _, number in sessions[-1].runs] == ["", ""]


def test_options_of_recorded_runs() -> None:
    """CUDA and TensorRT alone have them, and only where a step graph asks."""
    for card in providers.CARDS:
        asked = Provider(card.name, "", captured=True)
        options = provider_options(asked, 1)[0][1]
        known = {"cuda": "enable_cuda_graph", "tensorrt": "trt_cuda_graph_enable"}.get(card.device)
        recorded = {name: v for name, v in options.items() if "cuda_graph" in name}
        assert recorded == ({} if known is None else {known: "1"})
        plain = provider_options(dataclasses.replace(asked, captured=False), 1)[0][1]
        assert not any("cuda_graph" in name for name in plain)


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (DRIVER_OLD, DeviceError, r"driver is older.*device=\"cpu\""),
        (NO_MEMORY, MemoryLimitError, "does not fit.*smaller size"),
        ("some kernel failed", DeviceError, r"failed in a step.*smaller size.*device=\"cpu\""),
    ],
)
def test_errors_in_a_step_name_the_cure(
    message: str, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(runs: int) -> None:
        if runs == 1:
            raise RuntimeError(message)

    recording(monkeypatch, fail)
    with opened() as graph:
        with pytest.raises(kind, match=words):
            graph.run(3)
        graph.close()
        with pytest.raises(DeviceError, match="closed"):
            graph.run(1)


@pytest.mark.parametrize(
    ("provider", "place"),
    [
        (Provider("CUDAExecutionProvider", "", index="1"), ("cuda", 1)),
        (Provider("TensorrtExecutionProvider", ""), ("cuda", 0)),
        (Provider("DmlExecutionProvider", "", index="2"), ("dml", 2)),
        (Provider("OpenVINOExecutionProvider", "", index="GPU.1"), ("cpu", 0)),
    ],
    ids=lambda value: value.name if isinstance(value, Provider) else "",
)
def test_state_lies_on_the_card_that_was_asked_for(
    provider: Provider, place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[str, int]] = []
    real = session.onnxruntime()

    class Values:
        @staticmethod
        def ortvalue_from_numpy(array: Any, memory: str = "cpu", number: int = 0) -> Any:
            places.append((memory, number))
            return real.OrtValue.ortvalue_from_numpy(array)

    class Fake:
        OrtValue = Values

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(resident, "onnxruntime", Fake)
    plain = session._open
    monkeypatch.setattr(session, "_open", lambda ort, m, o, _, t: plain(ort, m, o, CPU, t))
    with opened(provider) as graph:
        assert graph.run(2)[:, 0] == pytest.approx([3.0, 7.5])
    assert set(places) == {place}
