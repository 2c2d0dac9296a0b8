"""A job's iteration as an ONNX file that other programs run, in any language."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastsynth._errors import ImageError, ObjectiveError
from fastsynth.objective import Canvas, find_parts, with_margin
from fastsynth.optimize import make_optimizer
from fastsynth.render import coarse_to_fine, schedule
from fastsynth.synthesize.jobs import VERBS, check_job, decode_arguments, read_job, run_verb
from fastsynth.synthesize.synthesizer import Synthesizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.objective import Sum, Term
    from fastsynth.optimize.step import StepGraph

__all__ = ["export_step"]


def export_step(
    job: Mapping[str, Any] | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    weights: bool = True,
) -> tuple[Path, ...]:
    """Writes one iteration of a job's last level as a step graph.

    job: a mapping, or the path of a JOB.toml. Its size, terms and optimiser become the graph's.
    path: NAME.onnx. Beside it come NAME.md, which tells how to run it, and NAME.start.npy, the
        first picture (1, 3, H, W).
    weights: False leaves the network's weights out; the graph refers to a file NAME.weights, whose
        layout NAME.md gives, or to arrays that the program hands to ONNX Runtime.

    Returns the files. Raises ObjectiveError for a job without a step graph (dreams, seamless
    textures, terms without a form), ImageError where a file cannot be written, and what the job's
    verb raises.
    """
    for value, what in ((job, "job"), (path, "path")):
        if not isinstance(value, (str, os.PathLike, *((Mapping,) if what == "job" else ()))):
            expected = "the name of a file" + (" or a mapping" if what == "job" else " NAME.onnx")
            raise ObjectiveError(f"{what} must be {expected}, not {value!r}")
    target = Path(path)
    if target.suffix != ".onnx":
        raise ObjectiveError(f"a step graph is an ONNX file: name it NAME.onnx, not {target.name}")
    base = Path()
    if not isinstance(job, Mapping):
        base, job = Path(job).parent, read_job(job)
    verb, engine, given = check_job(job)
    if verb not in VERBS:
        raise ObjectiveError(f"{verb} uses no network and has no step graph")
    engine = {**engine, "backend": "step", "device": engine.get("device", "cpu")}
    arguments = decode_arguments(given, base, {})
    if verb == "style_transfer" and isinstance(arguments.get("style"), Mapping):
        raise ObjectiveError(
            "a style of two scales is made by a run of its own, and so there is no one step graph; "
            "make it first, and give the picture as the style"
        )
    if verb == "mix" and arguments.get("at") == "pixels":
        raise ObjectiveError(
            'mix with at="pixels" inverts each picture on its own, and so has no one step graph; '
            "export an invert for each, and add the pictures"
        )
    with _Capture(**engine) as capture:
        try:
            run_verb(capture, verb, arguments, {})
        except _Captured as captured:
            return _write(captured, target, weights)
    raise ObjectiveError(f"{verb} has no single objective, and so no step graph")


class _Captured(Exception):  # noqa: N818, no error: it carries what a verb was about to run
    def __init__(
        self, graph: StepGraph, first: NDArray[np.float32], margin: int, is_finished: bool
    ) -> None:
        super().__init__()
        self.graph, self.first, self.margin = graph, first, margin
        self.is_finished = is_finished  # whether the verb does more to the optimised picture


class _Capture(Synthesizer):
    """A Synthesizer that makes a step graph of what it is to run."""

    def synthesize(
        self,
        objective: Term | Sum,
        size: tuple[int, int],
        init: Callable[[int, int], NDArray[np.float32]],
        *,
        pooling: str,
        margin: int = 0,
        wrap: bool = False,
        **run: Any,
    ) -> NoReturn:
        from fastsynth.optimize.step import StepGraph
        from fastsynth.render.stepping import balanced, whole_objective

        if run.get("refine", coarse_to_fine) is not coarse_to_fine:
            raise ObjectiveError("gradient ascent (dream, visualize) has no step graph")
        levels = run.get("levels") or schedule(*size, run.get("scales"), run.get("max_evaluations"))
        level = levels[-1]
        canvas = Canvas(level.height + 2 * margin, level.width + 2 * margin, 1.0, margin, wrap)

        def networks(name: str | None) -> Any:
            return self.open(name, pooling)

        first = with_margin(init(level.height, level.width), 0 if wrap else margin)
        parts = find_parts(objective, canvas, networks, self.pool)
        whole = whole_objective(parts, canvas, networks)
        if whole is None or whole.hosted:
            hosted = [] if whole is None else [part.name for part in whole.hosted]
            why = ", ".join(hosted) or "a seamless picture"
            raise ObjectiveError(
                f"this job has no step graph of its own: {why} is computed on the host "
                '(Autocorrelation, Spectrum: long_range="off" leaves them out)'
            )
        chosen = run.get("optimizer", "auto")
        optimizer = make_optimizer("lbfgs" if chosen == "auto" else chosen)
        graph = StepGraph(balanced(whole, first), optimizer)
        raise _Captured(graph, first, margin, run.get("finish") is not None)


def _write(captured: _Captured, target: Path, weights: bool) -> tuple[Path, ...]:
    graph, first = captured.graph, captured.first
    builder = graph.builder
    outside = []
    if not weights:
        outside = [n for n in builder.used_parameters() if n.endswith((".weight", ".bias"))]
    file = target.with_suffix(".weights").name
    model = builder.model(embed=True, outside=outside, file=file)
    if len(model) >= 2**31:
        raise ObjectiveError(
            f"the graph takes {len(model)} bytes, but an ONNX file holds 2 GiB; use a smaller size"
        )
    layout = [(name, builder.parameters[name]) for name in outside]
    text = _readme(captured, target, layout, file)
    start = target.with_suffix(".start.npy")
    try:
        for path, data in ((target, model), (target.with_suffix(".md"), text.encode())):
            part = path.with_name(path.name + ".part")
            part.write_bytes(data)
            part.replace(path)
        part = start.with_name(start.name + ".part")
        with part.open("wb") as stream:
            np.save(stream, first[None])
        part.replace(start)
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error.strerror or error}") from error
    return target, target.with_suffix(".md"), start


def _readme(
    captured: _Captured,
    target: Path,
    layout: list[tuple[str, NDArray[np.float32]]],
    file: str,
) -> str:
    graph, margin = captured.graph, captured.margin
    height, width = graph.size
    after = ""
    if captured.is_finished:
        after = (
            "\n\nNot in the graph: what the verb does to the colours of the finished picture "
            "(`color`)."
        )
    state = "\n".join(
        f"| `{name}` | `next_{name}` | {' × '.join(map(str, shape))} | "
        f"{'the first picture' if name == 'image' else 'zeros'} |"
        for name, shape in graph.state.items()
    )
    losses = ", ".join(graph.names)
    values = ", ".join(repr(float(np.float32(w))) for w in graph.weights)
    outside = ""
    if layout:
        rows, offset = [], 0
        for name, array in layout:
            rows.append(f"| `{name}` | {offset} | {' × '.join(map(str, array.shape))} |")
            offset += array.nbytes
        table = "\n".join(rows)
        outside = f"""
## Weights

The graph holds no weights. They belong into `{file}` beside it, float32, little-endian, one after
the other as below; or hand them over with `SessionOptions.add_external_initializers`.

| name | byte | shape |
|---|---|---|
{table}
"""
    return f"""# {target.name}: one iteration of an image synthesis

An image of {width} × {height} pixels, its margin of {margin} px on each side included. Feed every
`next_NAME` back as `NAME`. All tensors are float32; images are RGB planes with values in [0, 1],
which may leave that range on the way: clip the result, and cut the margin off.{after}

| input | output | shape | before the first step |
|---|---|---|---|
{state}
| `weights` | | {len(graph.names)} | [{values}] |
| | `report` | {4 + len(graph.names)} | |

`report` holds the loss at `image`, its largest |∂L/∂x|, 1 where an iteration is complete, 1 where
no lower point can be found, and the loss of each part: {losses}. `next_best` is the image with the
least loss so far. Stop when the loss hardly falls any more, or is not a number.

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{target.name}", providers=["CPUExecutionProvider"])
state = {{i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()}}
state["image"] = np.load("{target.with_suffix(".start.npy").name}")
state["weights"] = np.array([{values}], np.float32)
names = [output.name for output in session.get_outputs()]
for step in range(60):
    found = dict(zip(names, session.run(names, state)))
    report = found.pop("report")
    state.update((name.removeprefix("next_"), value) for name, value in found.items())
best = np.clip(state["best"], 0, 1)[0, :, {margin}:{height - margin}, {margin}:{width - margin}]
```

Faster: keep the state on the device with IO binding, two buffers for each tensor that take turns.
{outside}"""
