"""Jobs: a synthesis as plain data.

What a Result records, what `replay` repeats and what a JOB.toml holds is one form:

    {"verb": "style_transfer",
     "arguments": {"content": "a.jpg", "style": [["b.jpg", 1.0]], ...},
     "engine": {...}}

An image is a path, or {"path": ..., "sha256": ...};
a term is {"term": "Content", "image": ..., "weight": ...}.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth import objective as objective_stage
from fastsynth import optimize as optimize_stage
from fastsynth._errors import ImageError, ObjectiveError
from fastsynth._machine import describe_machine
from fastsynth.image import Picture, load
from fastsynth.objective import Sum, Term
from fastsynth.objective.blend import WeightedPictures

if TYPE_CHECKING:
    from fastsynth.render import Level
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["decode", "describe_engine", "encode", "identity", "record"]

# Keywords that do not change the picture, or that are no data.
TRANSIENT = (
    "callback",
    "cancel",
    "checkpoint",
    "checkpoint_seconds",
    "progress",
    "resume",
    "time_limit",
    "trace",
)

TERMS = {
    name: getattr(objective_stage, name)
    for name in objective_stage.__all__
    if isinstance(getattr(objective_stage, name), type)
    and issubclass(getattr(objective_stage, name), Term)
    and name not in ("Term", "FunctionTerm")
}
OPTIMIZERS = {name: getattr(optimize_stage, name) for name in ("LBFGS", "Adam", "GradientDescent")}


def record(verb: str, arguments: Mapping[str, Any], **loaded: Any) -> dict[str, Any]:
    """The job of a call: its arguments as plain data, `loaded` in place of what was given."""
    given = {key: value for key, value in arguments.items() if key not in ("self", "options")}
    given.update(arguments.get("options", {}))
    given.update(loaded)
    return {
        "verb": verb,
        "arguments": {key: encode(value) for key, value in given.items() if key not in TRANSIENT},
    }


def encode(value: Any) -> Any:
    """Plain data (as JSON and TOML know it) for an argument."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Picture, WeightedPictures, Sum, Term, *OPTIMIZERS.values())):
        return _encode_own(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [encode(item) for item in value]
    if hasattr(value, "tolist") and getattr(value, "ndim", 2) <= 1:  # NumPy scalars and vectors
        return value.tolist()
    raise ObjectiveError(
        f"a {type(value).__name__} cannot be recorded; give numbers, strings, images or terms"
    )


def _encode_own(value: Any) -> Any:
    """Plain data for a picture, weighted pictures, a sum, a term or an optimiser."""
    if isinstance(value, Picture):
        return {"path": str(value.source) if value.source else None, "sha256": value.sha256}
    if isinstance(value, WeightedPictures):
        return [[encode(picture), weight] for picture, weight in value.pairs]
    if isinstance(value, Sum):
        return [encode(term) for term in value.members]
    name = type(value).__name__
    if not isinstance(value, Term):
        return {"optimizer": name, **_fields(value)}
    if name not in TERMS:
        return {"term": name, "note": "not recorded: a term written in Python"}
    return {"term": name, **_fields(value)}


def _fields(value: Any) -> dict[str, Any]:
    return {
        field.name: encode(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) is not None
    }


def decode(value: Any, find: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Arguments from plain data; `find` gives the image for {"path": ..., "sha256": ...}."""
    if isinstance(value, Mapping):
        return _decode_table(value, find)
    if isinstance(value, list):
        return _decode_list(value, find)
    return value


def _decode_table(table: Mapping[str, Any], find: Callable[[Mapping[str, Any]], Any]) -> Any:
    """An image, a term, an optimiser, or a mapping as it is."""
    if "sha256" in table or set(table) == {"path"}:
        return find(table)
    items = {key: decode(item, find) for key, item in table.items()}
    if "term" in table:
        return _build(TERMS, items, "term")
    if "optimizer" in table:
        return _build(OPTIMIZERS, items, "optimizer")
    return items


def _decode_list(values: list[Any], find: Callable[[Mapping[str, Any]], Any]) -> Any:
    """A sum of terms, (image, weight) pairs, or a list as it is."""
    items = [decode(item, find) for item in values]
    if items and all(isinstance(item, Term) for item in items):
        return Sum(tuple(items))
    if items and all(isinstance(item, list) and len(item) == 2 for item in values):
        return [tuple(item) for item in items]
    return items


def _build(table: Mapping[str, Any], items: dict[str, Any], kind: str) -> Any:
    name = items.pop(kind)
    if name == "FunctionTerm":
        raise ObjectiveError(
            "a FunctionTerm is Python code: it is not recorded and not read from jobs"
        )
    if not isinstance(name, str) or name not in table:
        raise ObjectiveError(f"unknown {kind} {name!r}; known are {', '.join(sorted(table))}")
    cls = table[name]
    known = {field.name for field in dataclasses.fields(cls)}
    for key in items:
        if key not in known:
            raise ObjectiveError(
                f"{name} has no setting {key!r}; it has {', '.join(sorted(known))}"
            )
    for key, item in items.items():
        if isinstance(item, list) and key == "betas":
            items[key] = tuple(item)
    try:
        return cls(**items)
    except TypeError as error:
        raise ObjectiveError(f"{name} cannot be made from {items!r}: {error}") from error


def find_image(base: Path, inputs: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Picture]:
    """Gives the image of a record or job: from `inputs` by path or checksum, else from its file.

    A checksum in the record must agree with the file's. Raises ImageError where it does not, or
    where there is no such file.
    """
    known = {picture.sha256: picture for picture in (load(item) for item in inputs.values())}

    def find(item: Mapping[str, Any]) -> Picture:
        checksum, path = item.get("sha256"), item.get("path")
        if not isinstance(path, (str, type(None))):
            raise ImageError(f"the path of an image must be a string, not {path!r}")
        if not isinstance(checksum, (str, type(None))):
            raise ImageError(f"the checksum of an image must be a string, not {checksum!r:.80}")
        if path is not None and path in inputs:
            return load(inputs[path])
        if checksum in known:
            return known[checksum]
        if path is None:
            raise ImageError(
                f"the image with checksum {str(checksum)[:12]}… was given as an array, not as a "
                "file; hand it in with inputs={'name': array}"
            )
        # A job's paths start from `base` alone. A record has checksums: what it names may also lie
        # where it was, or have come along beside the picture.
        places = [base / path]
        if checksum is not None:
            places = list(dict.fromkeys([Path(path), base / path, base / Path(path).name]))
        changed: list[tuple[Path, str]] = []
        for candidate in places:
            if is_file(candidate):
                picture = load(candidate)
                if checksum is None or picture.sha256 == checksum:
                    return picture
                changed.append((candidate, picture.sha256))
        if changed:
            file, found = changed[0]
            raise ImageError(
                f"{file} has changed: its checksum is {found[:12]}…, "
                f"the record says {str(checksum)[:12]}…"
            )
        raise ImageError(f"{path} is not there; hand the image in with inputs={{{path!r}: image}}")

    return find


def is_file(path: Path) -> bool:
    """Whether it is a file; False for what is no path, such as a text that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def describe_engine(
    synthesizer: Synthesizer, objective: Term | Sum, pooling: str
) -> dict[str, Any]:
    """What computed: networks, weights with checksums, backend, threads, versions."""
    named: set[str] = {
        name for term in objective.terms() if (name := getattr(term, "network", None)) is not None
    }
    others = {name: synthesizer.weights_of(name) for name in sorted(named)}

    network = synthesizer.open(None, pooling)
    weights = synthesizer.weights
    return {
        "network": synthesizer.network,
        "weights": {"id": weights.id, "sha256": weights.sha256},
        "others": {name: {"id": w.id, "sha256": w.sha256} for name, w in others.items()},
        "weights_spec": os.fspath(synthesizer.weights_spec),
        "pooling": synthesizer.pooling,
        "backend": network.backend,
        "device": network.device,
        "precision": network.precision,
        "provider": network.provider,
        **describe_machine(
            synthesizer.pool, runtimes=("onnxruntime",) if network.backend == "onnx" else ()
        ),
    }


# Keywords that `identity` leaves out: the sizes of the levels say what they do; a run may go on
# with more or less memory, which moves the last digits at most.
SIZING = ("scales", "max_evaluations", "size", "memory_limit")
USUAL = {"optimizer": "auto", "plateau": 0.01, "seed": 0}


def identity(
    synthesizer: Synthesizer,
    job: Mapping[str, Any],
    objective: Term | Sum,
    levels: Sequence[Level],
    pooling: str,
) -> dict[str, Any]:
    """What decides a run's bits, as plain data: equal for two runs that give the same picture.

    Pictures count by their checksums, not by their paths. Threads are left out: they change no bit.
    """
    engine = describe_engine(synthesizer, objective, pooling)
    versions = {"fastsynth": engine["versions"]["fastsynth"]}
    if engine["backend"] == "onnx":
        versions["onnxruntime"] = importlib.import_module("onnxruntime").__version__
    chosen = ("network", "weights", "others", "backend", "precision", "provider", "kernels")
    return {
        "verb": job["verb"],
        "arguments": {k: v for k, v in settled(job["arguments"]).items() if k not in SIZING},
        "engine": {
            **{key: engine[key] for key in chosen},
            "pooling": engine["pooling"] or pooling,
            "versions": versions,
        },
        "levels": [level.numbers() for level in levels],
        "objective": without_paths(encode(objective)),
    }


def settled(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded arguments without paths, and without what is as it always is."""
    return {
        key: without_paths(value)
        for key, value in arguments.items()
        if value is not None and USUAL.get(key) != value
    }


def without_paths(value: Any) -> Any:
    """Plain data in which pictures are known by their checksums alone."""
    if isinstance(value, Mapping):
        known = value.get("sha256") is not None
        return {k: without_paths(v) for k, v in value.items() if not (known and k == "path")}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    return value
