"""What the verbs share: loading pictures, first pictures, the one-call form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from fastsynth._errors import ImageError, ObjectiveError
from fastsynth.image import Picture, load, resize
from fastsynth.synthesize.options import EngineOptions, RunOptions, split_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth.synthesize.synthesizer import Synthesizer

    Pixels = NDArray[np.float32]
    Init = Callable[[int, int], Pixels]

# First pictures by name that a verb has only beside other keywords, or not at all.
NEEDS = {
    "patches": "puts parts together that masks name; give masks={'content': a painted label map, "
    "'style': the exemplar's}, or leave init out",
}

__all__ = ["image_init", "noise_init", "one_call", "run_options", "start"]

P = ParamSpec("P")
R = TypeVar("R")


def one_call(verb: Callable[Concatenate[Synthesizer, P], R]) -> Callable[P, R]:
    """The function form of a Synthesizer's method: it takes the engine's keywords as well."""
    signature = inspect.signature(verb)
    parameters = list(signature.parameters.values())[1:]

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from fastsynth.synthesize.synthesizer import Synthesizer  # here, since it imports the verbs

        engine: Any = {
            key: kwargs.pop(key) for key in list(kwargs) if key in EngineOptions.__annotations__
        }
        with Synthesizer(**engine) as synthesizer:
            return verb(synthesizer, *args, **kwargs)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def run_options(options: Any, verb: str) -> RunOptions:
    """The run's keywords of a method; engine keywords are refused with their right place."""
    engine, run = split_options(options, verb)
    if engine:
        key = next(iter(engine))
        raise TypeError(
            f"{verb}() of a Synthesizer does not take {key!r}; give it to Synthesizer({key}=…)"
        )
    seed = run.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        raise ObjectiveError(f"seed must be a whole number ≥ 0, not {seed!r}")
    return run


def noise_init(mean: Sequence[float] | Pixels, seed: int, deviation: float = 0.1) -> Init:
    """First pictures of a mean colour plus Gaussian noise of this deviation, clipped to [0, 1]."""
    colour = np.asarray(mean, np.float32).reshape(3, 1, 1)

    def init(height: int, width: int) -> Pixels:
        noise = np.random.default_rng(seed).standard_normal((3, height, width), np.float32)
        first: Pixels = np.clip(colour + np.float32(deviation) * noise, 0.0, 1.0)
        return first

    return init


def image_init(pixels: Pixels) -> Init:
    """First pictures that are a given image, resized."""
    return lambda height, width: resize(pixels, (height, width), clip=True)


def start(init: Any, choices: dict[str, Init], verb: str) -> tuple[Init, Picture | None]:
    """The first picture: one of the named choices, or any image."""
    if isinstance(init, str) and init in choices:
        return choices[init], None
    if isinstance(init, str) and init in NEEDS:
        raise ObjectiveError(f"{verb}: init={init!r} {NEEDS[init]}")
    try:
        picture = load(init, name="init")
    except ImageError as error:
        if isinstance(init, str):
            names = ", ".join(repr(name) for name in choices)
            raise ObjectiveError(
                f"{verb}: init={init!r} is neither one of {names} nor a picture that can be read "
                f"({error})"
            ) from error
        raise
    return image_init(picture.pixels), picture
