"""Running recorded jobs: JOB.toml files, and `replay` of a saved picture."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import ImageError, ObjectiveError, WeightsError
from fastsynth._numbers import plain
from fastsynth.image import ImageArray, read_metadata
from fastsynth.render.refine import ENDING
from fastsynth.synthesize.options import EngineOptions
from fastsynth.synthesize.record import TRANSIENT, decode, find_image
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.synthesizer import Synthesizer
from fastsynth.synthesize.verbs import run_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from fastsynth._types import ImageLike

__all__ = ["PIXEL_VERBS", "VERBS", "read_job", "replay", "run_job"]

VERBS = ("style_transfer", "synthesize_texture", "invert", "mix", "minimize", "dream", "visualize")
# Verbs without a network, each with the function that does it: it takes the recorded arguments as
# keywords and returns an ImageArray or a Result, in whose provenance these arguments are.
PIXEL_VERBS = {
    "compose": "fastsynth.compose:run",
    "image_analogy": "fastsynth.synthesize.analogy:image_analogy",
    "pattern": "fastsynth.patterns:draw",
}
# Pictures that a verb may do without, which are None then: TOML knows no null.
OPTIONAL_IMAGES = {"image_analogy": ("a", "b")}
# Arguments that are images, or lists of [image, weight]: there a string is a path, and for "init"
# it may also be the name of a choice.
IMAGES = (
    "content",
    "style",
    "exemplar",
    "image",
    "images",
    "init",
    "guide",
    "a",
    "a_prime",
    "b",
    "strength_map",
)
# The same within the steps of a composition.
STEP_IMAGES = ("backdrop", "b", "mask", "target")
INIT_CHOICES = ("auto", "content", "noise", "patches", "style")
# A style of two scales, and the mask that is everywhere: TOML knows no null.
SCALES = {"coarse", "fine"}
EVERYWHERE = "-"
MOST_NESTED = 40  # tables and lists inside one another
LARGEST = 1 << 64  # whole numbers: seeds are the largest that make sense


def read_job(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The job in a TOML file. Raises ObjectiveError with the place where it is wrong."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectiveError(f"the job {os.fspath(path)} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # no TOML, too many digits, nested too deeply
        raise ObjectiveError(f"the job {os.fspath(path)} is not valid TOML: {error}") from error


def run_job(
    job: Mapping[str, Any] | str | os.PathLike[str],
    *,
    inputs: Mapping[str, ImageLike] | None = None,
    base: str | os.PathLike[str] | None = None,
    **run: Any,
) -> Result | ImageArray:
    """Runs a job: a mapping, or the path of a JOB.toml, whose image paths are relative to the file.

    inputs: images by the path or name that the job calls them.
    base: folder that relative paths start from; default: the file's own, or the working folder.
    run: keywords such as callback, progress, time_limit that come on top.

    Gives the Result of a synthesis, or the ImageArray of a verb that needs no network ("compose").
    Raises ObjectiveError for a job that makes no sense, and whatever its verb raises.

    >>> import numpy as np
    >>> image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    >>> job = {"verb": "invert", "engine": {"weights": "random:0"},
    ...        "arguments": {"image": "picture", "layers": {"conv1_2": 1.0}, "max_evaluations": 3}}
    >>> run_job(job, inputs={"picture": image}).size
    (32, 32)
    """
    if not isinstance(job, Mapping):
        base = Path(job).parent if base is None else base
        job = read_job(job)
    verb, engine, given = check_job(job)
    arguments = decode_arguments(given, Path(base or "."), inputs or {})
    if verb in PIXEL_VERBS:
        return run_pixel_verb(verb, arguments, run)
    with Synthesizer(**engine) as synthesizer:
        return run_verb(synthesizer, verb, arguments, run)


def check_job(job: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Verb, engine settings and arguments of a job; raises ObjectiveError for a wrong one."""
    check_plain(job, "the job")
    verb = job.get("verb")
    if verb not in VERBS and not is_pixel_verb(verb):
        known = ", ".join((*VERBS, *PIXEL_VERBS))
        raise ObjectiveError(f"the job's verb must be one of {known}, not {verb!r}")
    unknown = set(job) - {"verb", "arguments", "engine", "output"}
    if unknown:
        raise ObjectiveError(
            f"unknown entry {sorted(unknown)[0]!r} in the job; "
            "it has verb, output, [engine] and [arguments]"
        )
    engine = _table(job, "engine")
    wrong = set(engine) - set(EngineOptions.__annotations__)
    if wrong:
        raise ObjectiveError(
            f"unknown engine setting {sorted(wrong)[0]!r}; "
            f"known are {', '.join(EngineOptions.__annotations__)}"
        )
    if verb in PIXEL_VERBS and engine:
        raise ObjectiveError(f"{verb} uses no network: leave [engine] out of the job")
    return str(verb), engine, _table(job, "arguments")


def run_verb(
    synthesizer: Synthesizer, verb: str, arguments: Mapping[str, Any], run: Mapping[str, Any]
) -> Result:
    """Does one of VERBS. Raises ObjectiveError when the arguments do not fit."""
    method = getattr(synthesizer, verb)
    keywords = plain({**arguments, **run})
    try:
        bound = inspect.signature(method).bind(**keywords)
        run_options(bound.arguments.get("options", {}), verb)
    except TypeError as error:
        raise ObjectiveError(f"the job does not fit {verb}: {error}") from error
    result: Result = method(**keywords)
    return result


def run_pixel_verb(
    verb: str, arguments: Mapping[str, Any], run: Mapping[str, Any]
) -> Result | ImageArray:
    """Does one of PIXEL_VERBS. Of `run` it takes what it knows: most have no loop to watch.

    Raises ObjectiveError when the arguments do not fit.
    """
    module, name = PIXEL_VERBS[verb].split(":")
    function: Callable[..., Result | ImageArray] = getattr(importlib.import_module(module), name)
    signature = inspect.signature(function)
    keywords = {
        **dict.fromkeys(OPTIONAL_IMAGES.get(verb, ())),
        **arguments,
        **{key: value for key, value in run.items() if key not in TRANSIENT},
        **{key: run[key] for key in TRANSIENT if key in run and key in signature.parameters},
    }
    try:
        signature.bind(**keywords)
    except TypeError as error:
        raise ObjectiveError(f"the job does not fit {verb}: {error}") from error
    return function(**keywords)


def is_pixel_verb(verb: Any) -> bool:
    """Whether it is one of PIXEL_VERBS; False for what is no verb at all."""
    return isinstance(verb, str) and verb in PIXEL_VERBS


def shows_progress(verb: Any) -> bool:
    """Whether a verb calls back while it runs: all but the quick ones do."""
    return not is_pixel_verb(verb) or verb == "image_analogy"


def _table(job: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = job.get(name, {})
    if not isinstance(value, Mapping):
        raise ObjectiveError(f"[{name}] must be a table, not {value!r}")
    return dict(value)


def decode_arguments(
    arguments: Mapping[str, Any],
    base: Path,
    inputs: Mapping[str, ImageLike],
    place: str = "",
) -> dict[str, Any]:
    """Keyword arguments of a verb from plain data; `place` is where in a record they are."""
    find = find_image(base, inputs)

    def as_image(value: Any, where: str) -> Any:
        if isinstance(value, str):
            return {"path": value}
        if isinstance(value, list):
            return [
                [as_image(pair[0], where), pair[1]]
                if isinstance(pair, list) and len(pair) == 2
                else pair
                for pair in value
            ]
        if isinstance(value, Mapping) and is_pixel_verb(value.get("verb")):
            inner = decode_arguments(_table(value, "arguments"), base, inputs, f"{where}.")
            return run_pixel_verb(value["verb"], inner, {})
        if isinstance(value, Mapping) and {"array", "dtype"} <= set(value):
            return given_array(value, where, inputs)
        if isinstance(value, Mapping) and not {"path", "sha256"} & set(value):
            return as_images(value, where)
        return value

    def as_images(value: Mapping[str, Any], where: str) -> Any:
        if set(value) - {"schedule"} == SCALES:
            return {
                name: item if name == "schedule" else as_image(item, f"{where}.{name}")
                for name, item in value.items()
            }
        return [[as_image(picture, where), weight] for picture, weight in value.items()]

    def prepare(key: str, value: Any) -> Any:
        if key == "init" and value in INIT_CHOICES:
            return value
        if key in IMAGES:
            return as_image(value, place + key)
        if key == "objective" and isinstance(value, list):
            return [prepare(key, term) for term in value]
        if key == "objective" and isinstance(value, Mapping):
            return {k: prepare(k, v) for k, v in value.items()}
        if key == "steps" and isinstance(value, list):
            return [prepare_step(step, f"{place}steps.{i}.") for i, step in enumerate(value)]
        return prepare_masks(value) if key == "masks" else value

    def prepare_masks(masks: Any, where: str = "masks") -> Any:
        if isinstance(masks, list):
            return [prepare_masks(item, f"{where}.{i}") for i, item in enumerate(masks)]
        if masks == EVERYWHERE:
            return None
        image = {"path", "sha256", "array", "verb"}
        if isinstance(masks, Mapping) and not image & set(masks):
            return {key: prepare_masks(item, f"{where}.{key}") for key, item in masks.items()}
        return as_image(masks, place + where)

    def prepare_step(step: Any, where: str) -> Any:
        if not isinstance(step, Mapping):
            return step
        return {k: as_image(v, where + k) if k in STEP_IMAGES else v for k, v in step.items()}

    decoded = {key: decode(prepare(key, value), find) for key, value in arguments.items()}
    if isinstance(decoded.get("size"), list):
        decoded["size"] = tuple(decoded["size"])
    return decoded


def given_array(
    described: Mapping[str, Any], where: str, inputs: Mapping[str, ImageLike]
) -> ImageLike:
    """The array that a record describes by shape and type, from `inputs` by its place there."""
    shape, dtype = described["array"], described["dtype"]
    if not isinstance(shape, (list, tuple)):
        raise ImageError(f"the image {where!r} is an array of shape {shape!r:.60}; expected a list")
    shape = tuple(shape)
    if where not in inputs:
        raise ImageError(
            f"the image {where!r} of the record was an array {shape} of {dtype}; "
            f"hand it in with inputs={{{where!r}: array}}"
        )
    given: Any = inputs[where]
    found = (tuple(getattr(given, "shape", ())), str(getattr(given, "dtype", "")))
    if found != (shape, dtype):
        raise ImageError(
            f"the input {where!r} is {found[0]} of {found[1] or type(given).__name__}, "
            f"the record says {shape} of {dtype}"
        )
    array: ImageLike = given
    return array


def replay(
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, ImageLike] | None = None,
    weights: str | os.PathLike[str] | None = None,
    **run: Any,
) -> Result | ImageArray:
    """Makes a saved picture again from the record inside it: the same bits on the same machine.

    path: a file that `Result.save` or `ImageArray.save` wrote.
    inputs: images by the path or name in the record, for those that are elsewhere or were arrays.
        The others are looked for where they were, then beside the file.
    weights: a file of weights that is elsewhere now; its checksum must agree.
    run: callback or progress.

    `Result.save` to a new file with the same settings gives the same file. A run that was cut short
    (time, Ctrl-C) is cut at the same evaluation again: then the pixels are the same. Raises
    ImageError when the record or an input is missing or has changed, WeightsError when the weights
    are other ones.
    """
    played, arguments, mark = recorded(path, inputs)
    if is_pixel_verb(played.verb):
        return batched(run_pixel_verb(played.verb, arguments, run), mark)
    options = {**played.engine, **({} if weights is None else {"weights": weights})}
    with Synthesizer(**options) as synthesizer:
        for network, (name, checksum) in played.weights.items():
            found = synthesizer.weights_of(network)
            if found.sha256 != checksum:
                raise WeightsError(
                    f"the {name} weights of {network} are not there: {found.id} has the "
                    f"checksum {found.sha256[:12]}…, the record says {checksum[:12]}…"
                )
        result = run_verb(synthesizer, played.verb, arguments, run)
    return batched(result, mark)


def recorded(
    path: str | os.PathLike[str], inputs: Mapping[str, ImageLike] | None = None
) -> tuple[Played, dict[str, Any], str | None]:
    """What a picture's record says, the arguments of its verb, and a batch's mark.

    Raises ImageError where that does not make a run.
    """
    record = read_metadata(path)
    if record is None or "verb" not in record:
        raise ImageError(f"{os.fspath(path)} carries no record of a synthesis by fastsynth")
    try:
        played = Played.of(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImageError(
            f"the record in {os.fspath(path)} is not complete, or makes no sense "
            f"({type(error).__name__}: {error})"
        ) from error
    arguments = decode_arguments(played.arguments, Path(path).parent, inputs or {})
    if played.is_cut_short and not is_pixel_verb(played.verb):
        if not sum(played.schedule):
            raise ImageError(f"the run of {os.fspath(path)} was cancelled before it began")
        if arguments.get("at") == "pixels":
            raise ImageError(
                f"{os.fspath(path)} is a mix that was cut short between its inversions; "
                "it cannot be repeated"
            )
        arguments["max_evaluations"] = played.schedule
    return played, arguments, record.get("batch")


@dataclasses.dataclass(frozen=True)
class Played:
    """What a record says of its run.

    engine: keywords of the Synthesizer
    weights: id and checksum by network
    schedule: evaluations by level, for a run that is_cut_short
    """

    verb: str
    arguments: Mapping[str, Any]
    engine: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    is_cut_short: bool = False
    schedule: Sequence[int] = ()

    @staticmethod
    def of(record: Mapping[str, Any]) -> Played:
        """Of a record that may be anybody's. Raises KeyError, TypeError, ... where it is wrong."""
        check_plain(record, "the record")
        verb, arguments = record["verb"], _table(record, "arguments")
        if "arguments" not in record:
            raise KeyError("arguments")
        if is_pixel_verb(verb):
            return Played(verb, arguments)
        if verb not in VERBS:
            raise ValueError(f"unknown verb {verb!r:.40}")
        engine = record["engine"]
        used = {engine["network"]: engine["weights"], **engine.get("others", {})}
        weights = {_text(n): (_text(w["id"]), _text(w["sha256"])) for n, w in used.items()}
        is_file = engine["weights"]["id"].startswith("file:")
        options = {
            "weights": engine["weights_spec"] if is_file else engine["weights"]["id"],
            **{k: engine[k] for k in ("network", "pooling", "backend", "device", "threads")},
            "precision": engine.get("precision", "exact"),
        }
        stopped = [_text(level["stopped"]) for level in record.get("levels", [])]
        is_cut_short = any(reason in ENDING for reason in stopped)
        schedule = list(record["schedule"]) if is_cut_short else []
        if not all(type(count) is int and count >= 0 for count in schedule):
            raise TypeError(f"a schedule of {schedule!r:.60}")
        return Played(verb, arguments, options, weights, is_cut_short, schedule)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} where a text belongs")
    return value


def check_plain(value: Any, what: str, depth: int = 0) -> None:
    """Raises ObjectiveError for data nested too deeply, and for whole numbers beyond LARGEST."""
    if depth > MOST_NESTED:
        raise ObjectiveError(f"{what} is nested more than {MOST_NESTED} levels deep")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ObjectiveError(f"{what} holds a number of {len(str(abs(value)))} digits")
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for item in value:
        check_plain(item, what, depth + 1)


def batched(made: Result | ImageArray, digest: Any) -> Result | ImageArray:
    """The same with a batch's mark in its record: by it the batch knows what it has done."""
    if digest is None:
        return made
    provenance = {**(made.provenance or {}), "batch": digest}
    if isinstance(made, Result):
        return dataclasses.replace(made, provenance=provenance)
    return ImageArray.of(made, provenance)
