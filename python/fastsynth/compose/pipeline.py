"""Compositions as values: steps, and pipelines of them."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._errors import ObjectiveError
from fastsynth.image import ImageArray, Picture

if TYPE_CHECKING:
    from fastsynth._types import ImageLike

__all__ = ["STEPS", "Pipeline", "Step", "run", "step"]

STEPS: tuple[str, ...] = (
    "affine",
    "blend",
    "brightness_contrast",
    "composite",
    "convolve",
    "curves",
    "gamma",
    "grayscale",
    "hue_saturation",
    "invert",
    "levels",
    "match_color",
    "match_histogram",
    "pencil_sketch",
    "posterize",
    "resize",
    "threshold",
)
"""The functions of this package that a pipeline can be made of."""

IMAGES = ("backdrop", "b", "mask", "target")
"""The arguments of steps that are images themselves."""


@dataclass(frozen=True, eq=False, repr=False)
class Step:
    """One function of this package with all its arguments but the image: see `step`.

    name: one of STEPS
    arguments: by name

    Called with an image it gives an image. Steps are equal when their plain data are.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", dict(self.arguments))
        signature = inspect.signature(self.function)
        try:
            signature.bind(None, **self.arguments)
        except TypeError as error:
            takes = ", ".join(list(signature.parameters)[1:]) or "none"
            raise ObjectiveError(f"step {self.name}: {error}; its arguments: {takes}") from error

    @property
    def function(self) -> Callable[..., ImageArray]:
        """The function that the step calls."""
        return step_function(self.name)

    def __call__(self, image: ImageLike, *, threads: int | None = None) -> ImageArray:
        """The image after this step."""
        keywords = dict(self.arguments)
        if threads is not None and "threads" in inspect.signature(self.function).parameters:
            keywords.setdefault("threads", threads)
        return self.function(image, **keywords)

    def to_data(self) -> dict[str, Any]:
        """The step as plain data: {"step": name, argument: value, ...}.

        Images stay paths; arrays of numbers become lists. Raises ObjectiveError for images that
        are in no file.
        """
        return {
            "step": self.name,
            **{
                key: _plain(self.name, key, value)
                for key, value in self.arguments.items()
                if value is not None and key != "threads"
            },
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Step:
        """The step of plain data. Raises ObjectiveError for data that are none."""
        if not isinstance(data, Mapping) or not isinstance(data.get("step"), str):
            raise ObjectiveError(
                f"a step is a table such as {{step = 'gamma', value = 1.2}}, not {data!r}"
            )
        return Step(
            data["step"], {key: _given(key, item) for key, item in data.items() if key != "step"}
        )

    def __or__(self, other: Step | Pipeline) -> Pipeline:
        return Pipeline([self]) | other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self.name == other.name and _comparable(self.arguments) == _comparable(
            other.arguments
        )

    def __hash__(self) -> int:
        return hash((self.name, repr(_comparable(self.arguments))))

    def __repr__(self) -> str:
        words = [repr(self.name), *(f"{k}={_shown(v)}" for k, v in self.arguments.items())]
        return f"step({', '.join(words)})"


def step(name: str, /, **arguments: Any) -> Step:
    """A function of this package with its arguments, waiting for the image.

    name: one of STEPS, which are functions of `fastsynth.compose`
    arguments: those of the function, but for the image that it works on

    Raises ObjectiveError for other names and for arguments that the function does not take; what
    they are worth shows when the step is called.

    >>> brighter = step("gamma", value=1.4)
    >>> brighter, int(brighter(np.full((1, 1), 100, np.uint8))[0, 0])
    (step('gamma', value=1.4), 131)
    """
    return Step(name, arguments)


class Pipeline:
    """Steps that are done one after another: a value that is reused, printed, compared and saved.

    Called with an image it gives what its functions would give, called in order. `|` chains.

    >>> soft = step("gamma", value=1.2) | step("hue_saturation", saturation=0.5)
    >>> soft == Pipeline([step("gamma", value=1.2), step("hue_saturation", saturation=0.5)])
    True
    >>> soft(np.full((1, 1, 3), (200, 100, 50), np.uint8))[0, 0].tolist()
    [170, 125, 99]
    >>> Pipeline.from_job(soft.to_job()) == soft
    True
    """

    def __init__(self, steps: Iterable[Step | Mapping[str, Any]] = ()) -> None:
        if not isinstance(steps, Iterable) or isinstance(steps, (str, Mapping)):
            raise ObjectiveError(f"the steps are {steps!r}; expected a list of steps or tables")
        items = list(steps)
        self._steps = tuple(s if isinstance(s, Step) else Step.from_data(s) for s in items)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in order."""
        return self._steps

    def __call__(self, image: ImageLike, *, threads: int | None = None) -> ImageArray:
        """The image after all steps, of the type that came in; its record names them.

        threads: default all cores. Raises ImageError as the functions do.
        """
        from fastsynth.compose.images import read

        if not self._steps:
            samples = read(image)
            return samples.result(samples.values.copy())
        return functools.reduce(
            lambda so_far, next_step: next_step(so_far, threads=threads), self._steps, image
        )  # type: ignore[return-value]

    def to_job(self, image: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """The pipeline as a job, plain data that JSON and TOML know: see `fastsynth.run_job`.

        image: the path of the picture that the job works on; without it, it has yet to be added.
        Raises ObjectiveError for steps with images that are in no file.
        """
        arguments: dict[str, Any] = {"steps": [item.to_data() for item in self._steps]}
        if image is not None:
            arguments = {"image": os.fspath(image), **arguments}
        return {"verb": "compose", "arguments": arguments}

    @staticmethod
    def from_job(job: Mapping[str, Any]) -> Pipeline:
        """The pipeline of a job, or of the record of an image (`provenance`).

        Raises ObjectiveError for what is no job of compose.
        """
        arguments = job.get("arguments") if isinstance(job, Mapping) else None
        if not isinstance(arguments, Mapping) or job.get("verb") != "compose":
            raise ObjectiveError("expected a job with verb = 'compose' and [arguments]")
        return Pipeline(_steps_of(arguments.get("steps", [])))

    def __or__(self, other: Step | Pipeline) -> Pipeline:
        if isinstance(other, Step):
            return Pipeline([*self._steps, other])
        if isinstance(other, Pipeline):
            return Pipeline([*self._steps, *other.steps])
        return NotImplemented

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> Step:
        return self._steps[index]

    def __eq__(self, other: object) -> bool:
        return self._steps == other.steps if isinstance(other, Pipeline) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._steps)

    def __repr__(self) -> str:
        if not self._steps:
            return "Pipeline([])"
        return "Pipeline([\n" + "".join(f"    {item!r},\n" for item in self._steps) + "])"


def run(
    image: ImageLike, steps: Sequence[Mapping[str, Any]], *, threads: int | None = None
) -> ImageArray:
    """The verb "compose" of jobs and records: the image after steps given as plain data.

    steps: tables such as {"step": "gamma", "value": 1.2}. Raises ObjectiveError for steps that make
    no sense, ImageError as the functions do.

    >>> run(np.full((1, 1), 100, np.uint8), [{"step": "invert"}]).tolist()
    [[155]]
    """
    return Pipeline(_steps_of(steps))(image, threads=threads)


def step_function(name: str) -> Callable[..., ImageArray]:
    """The function of a step. Raises ObjectiveError for other names."""
    if not isinstance(name, str) or name not in STEPS:
        raise ObjectiveError(f"there is no step {name!r}; there are {', '.join(STEPS)}")
    function: Callable[..., ImageArray] = getattr(
        importlib.import_module("fastsynth.compose"), name
    )
    return function


def _steps_of(steps: Any) -> list[Mapping[str, Any]]:
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise ObjectiveError(f"steps must be a list of tables, not {steps!r}")
    return list(steps)


def _given(key: str, value: Any) -> Any:
    """An argument of a step from plain data."""
    if key in IMAGES and isinstance(value, Mapping) and isinstance(value.get("path"), str):
        return value["path"]
    return value


def _plain(name: str, key: str, value: Any) -> Any:
    """Plain data for an argument of a step."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if key in IMAGES and not isinstance(value, str):
        if isinstance(value, Picture) and value.source is not None:
            return os.fspath(value.source)
        raise ObjectiveError(
            f"step {name}: {key} is a {type(value).__name__}, which a job cannot hold; "
            "save it, and give the path"
        )
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(name, "", v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(name, "", item) for item in value]
    if isinstance(value, (bool, int, float, str)):
        return value
    raise ObjectiveError(f"step {name}: {key} = {value!r} is nothing that a job can hold")


def _comparable(value: Any) -> Any:
    """What equal arguments have in common, whatever their container."""
    if isinstance(value, Mapping):
        return {key: _comparable(value[key]) for key in sorted(value) if value[key] is not None}
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    if isinstance(value, np.ndarray):
        return _comparable(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size > 25:
        return f"<array {'×'.join(map(str, value.shape))} {value.dtype}>"
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    return repr(value)
