"""Manifests: many jobs in one file, as CSV, JSON lines or TOML."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastsynth._errors import ObjectiveError
from fastsynth.synthesize.jobs import IMAGES, read_job
from fastsynth.synthesize.options import EngineOptions

__all__ = ["Row", "merged", "read_manifest", "texts_in"]

FORMS = (".csv", ".jsonl", ".toml")
TABLES = ("engine", "arguments")


@dataclass(frozen=True)
class Row:
    """One entry of a manifest: where it is, and its job or what is wrong with it."""

    place: str
    job: Mapping[str, Any]
    error: str = ""


def read_manifest(path: str | os.PathLike[str]) -> tuple[list[Row], dict[str, Any]]:
    """Rows and defaults of a manifest. A row that makes no sense carries its error.

    Raises ObjectiveError when the whole file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise ObjectiveError(
            f"the manifest {str(path)!r} has the suffix {suffix!r}; "
            f"expected one of {', '.join(FORMS)}"
        )
    if suffix == ".toml":
        return from_toml(read_job(path), str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectiveError(f"the manifest {str(path)!r} cannot be read: {error}") from error
    return from_csv(text, str(path)) if suffix == ".csv" else from_lines(text)


def from_toml(tables: Mapping[str, Any], name: str) -> tuple[list[Row], dict[str, Any]]:
    """[defaults], and a table [[jobs]] for each job."""
    jobs, defaults = tables.get("jobs"), tables.get("defaults", {})
    unknown = sorted(set(tables) - {"jobs", "defaults"})
    if unknown or not isinstance(jobs, list) or not isinstance(defaults, Mapping):
        raise ObjectiveError(
            f"the manifest {name!r} must have a [[jobs]] table for each job and may have "
            f"[defaults]{f'; it has {unknown[0]!r}' if unknown else ''}"
        )
    return [as_row(f"job {number}", job) for number, job in enumerate(jobs, 1)], dict(defaults)


def from_lines(text: str) -> tuple[list[Row], dict[str, Any]]:
    """A job in each line; the first line may be {"defaults": {...}}."""
    rows: list[Row] = []
    defaults: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            job = json.loads(line)
        except (ValueError, RecursionError) as error:
            rows.append(Row(place, {}, f"it is not JSON: {error}"))
            continue
        given = job.get("defaults") if isinstance(job, dict) and set(job) == {"defaults"} else None
        if isinstance(given, dict) and not rows:
            defaults = given
        else:
            rows.append(as_row(place, job))
    return rows, defaults


def as_row(place: str, job: Any) -> Row:
    """A row of a job that was read."""
    if isinstance(job, Mapping):
        return Row(place, job)
    return Row(place, {}, f"a job must be a table, not {job!r:.80}")


def from_csv(text: str, name: str) -> tuple[list[Row], dict[str, Any]]:
    """Columns verb, output, the engine's settings, and arguments; an empty cell is left out."""
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        if not all(columns) or len(set(columns)) != len(columns):
            raise ObjectiveError(
                f"the first line of {name!r} must name each column once, not {columns!r}"
            )
        for cells in reader:
            place = f"line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(columns):
                rows.append(Row(place, {}, f"{len(cells)} cells for {len(columns)} columns"))
            else:
                rows.append(Row(place, from_cells(dict(zip(columns, cells, strict=False)))))
    except csv.Error as error:
        raise ObjectiveError(f"{name!r}, line {reader.line_num}, is not CSV: {error}") from error
    return rows, {}


def from_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """
    >>> from_cells({"verb": "invert", "image": "1", "size": "64", "weights": "random:0"})
    {'verb': 'invert', 'arguments': {'image': '1', 'size': 64}, 'engine': {'weights': 'random:0'}}
    """
    job: dict[str, Any] = {}
    for column, cell in cells.items():
        text = cell.strip()
        if not text:
            continue
        if column in ("verb", "output"):
            job[column] = text
            continue
        table, _, key = column.rpartition(".")
        if table not in TABLES:
            engine = column in EngineOptions.__annotations__
            table, key = ("engine" if engine else "arguments"), column
        job.setdefault(table, {})[key] = value_of(text, key)
    return job


def value_of(text: str, key: str) -> Any:
    """A number, list, table, true or false where the text is one in JSON; else the text."""
    if (key in IMAGES or key == "weights") and text[0] not in "[{":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def merged(defaults: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """A job with the defaults for what it leaves out, also within its tables.

    Arguments belong to a verb: a job of another verb than the defaults' gets none of theirs.
    """
    if job.get("verb", defaults.get("verb")) != defaults.get("verb") and "verb" in defaults:
        defaults = {key: value for key, value in defaults.items() if key != "arguments"}
    whole = {**defaults, **job}
    for table in TABLES:
        inner, usual = job.get(table), defaults.get(table)
        if isinstance(inner, Mapping) and isinstance(usual, Mapping):
            whole[table] = {**usual, **inner}
    return whole


def texts_in(value: Any) -> Iterator[str]:
    """All texts in plain data, keys of tables too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*texts_in(key), *texts_in(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)
