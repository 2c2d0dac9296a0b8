"""Keywords that all verbs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

from fastsynth._errors import ObjectiveError

if TYPE_CHECKING:
    import os

    from fastsynth import _core
    from fastsynth.optimize import Optimizer
    from fastsynth.render import Progress, Trace

__all__ = ["EngineOptions", "Options", "RunOptions", "checked_time", "split_options"]


class EngineOptions(TypedDict, total=False):
    """Which network computes, and on what.

    network: "vgg16" (default) or "vgg19"
    weights: "auto" (default: the best that are present), "oxford", "torchvision", "random[:seed]",
        or a file
    download: fetch the weights when they are missing; default False
    pooling: "max", "avg" or None (default: each verb's own choice)
    backend: "auto" (default), "native", "onnx" or "step" (docs/step.md)
    device: "auto" (default), "cpu", "cuda" or the name of an ONNX Runtime provider
    precision: "exact" (default), "fast", "mixed" (fast on the way, exact in the end), or what the
        device offers: "tf32", "bf16", "fp16"
    threads: number of CPU threads; default all cores that the process may use
    """

    network: str
    weights: str | os.PathLike[str]
    download: bool
    pooling: str | None
    backend: str
    device: str
    precision: str
    threads: int | None


class RunOptions(TypedDict, total=False):
    """How long to optimise, and how.

    optimizer: "auto" (default: L-BFGS, and Adam above 16 megapixels or where L-BFGS does not fit),
        "lbfgs", "adam", "gd", or a value such as LBFGS(memory=10)
    scales: number of coarse-to-fine levels; 1 = none; or their sizes as shares of the last, such as
        (0.25, 0.5, 0.75, 1); default by size
    max_evaluations: total, or one number for each level (coarsest first)
    time_limit: seconds; when they are over, the best picture so far is returned
    plateau: a level stops when 10 evaluations gain less than this share of the loss;
        default 0.01, 0 = never
    seed: of everything random in the run; default 0
    callback: called after evaluations with a Progress; return False to stop with the best picture
        so far
    progress: True shows a progress bar on the terminal; default False
    cancel: a Cancel flag that another thread may set
    checkpoint: a file for the run's whole state, written every `checkpoint_seconds` (default 30);
        a run that was killed goes on from it, to the same pixels. Result.save removes it
    resume: True (default) goes on from the checkpoint if it is there, False begins anew
    trace: a file to which a line of JSON is appended for each report: loss by term, time, memory
    memory_limit: bytes, or a text such as "4GiB", that the process may take at its peak: large
        pictures are seen tile by tile, with the same result. What cannot fit is a MemoryLimitError
        before the run starts. Default: four fifths of the machine's memory
    """

    optimizer: str | Optimizer
    scales: int | Sequence[float] | None
    max_evaluations: int | Sequence[int] | None
    time_limit: float | None
    plateau: float
    seed: int
    callback: Callable[[Progress], bool | None] | None
    progress: bool
    cancel: _core.Cancel | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_seconds: float
    resume: bool
    trace: str | os.PathLike[str] | Trace | None
    memory_limit: int | str | None


class Options(RunOptions, EngineOptions, total=False):
    """Everything that the one-call functions accept besides the keywords of their own."""


def split_options(options: Options, verb: str) -> tuple[EngineOptions, RunOptions]:
    """Separates engine and run keywords; raises TypeError for a keyword that is neither."""
    engine: dict[str, Any] = {}
    run: dict[str, Any] = {}
    for key, value in options.items():
        if key in EngineOptions.__annotations__:
            engine[key] = value
        elif key in RunOptions.__annotations__:
            run[key] = value
        else:
            known = sorted({*EngineOptions.__annotations__, *RunOptions.__annotations__})
            raise TypeError(
                f"{verb}() got an unexpected keyword {key!r}; it also knows {', '.join(known)}"
            )
    return cast("EngineOptions", engine), cast("RunOptions", run)


def checked_time(limit: Any) -> float | None:
    """The keyword `time_limit`, in seconds."""
    if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
        raise ObjectiveError(f"time_limit must be a positive number of seconds, not {limit!r}")
    return limit
