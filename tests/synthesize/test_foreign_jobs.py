"""Jobs and records that others wrote, wrong in ways that a campaign found: typed errors, always."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.image import save
from fastsynth.synthesize import read_job, run_job

from .test_verbs import picture

INVERT = {"image": "a.png", "layers": "conv1_1", "max_evaluations": 2, "scales": 1}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize("verb", [{}, [], ["invert"], None, 3, {"verb": "invert"}])
def test_verbs_that_are_none(folder: Path, verb: Any) -> None:
    with pytest.raises(fs.ObjectiveError, match="the job's verb must be one of"):
        run_job({"verb": verb, "arguments": INVERT}, base=folder)
    output = {"verb": verb, "output": "out.png", "arguments": INVERT}
    report = fs.batch([output], base=folder)
    assert [item.error for item in report.items] == ["ObjectiveError"]


@pytest.mark.parametrize(
    ("verb", "change", "said"),
    [
        ("invert", {"layers": [{}]}, "a layer is named by a string"),
        ("invert", {"layers": [["conv1_1"]]}, "a layer is named by a string"),
        ("invert", {"layers": {"conv1_1": 10**400}}, "a number of 401 digits"),
        ("invert", {"layers": nested(60)}, "nested more than 40 levels deep"),
        ("invert", {"image": {"sha256": {}}}, "the checksum of an image must be a string"),
        ("invert", {"image": "x" * 5000}, "is not there"),
        ("invert", {"image": {"array": 3, "dtype": "uint8"}}, "an array of shape 3"),
        ("mix", {"images": 0.5}, "images must be a mapping"),
        (
            "mix",
            {"images": [["a.png", 0.5]], "networks": {"path": "a.png"}},
            "networks must be a name, or names",
        ),
        ("invert", {"weights": "random:1"}, "does not take 'weights'"),
        ("synthesize_texture", {"scale": 1e308}, "makes the exemplar larger than"),
        ("minimize", {"objective": {"term": {}}}, "unknown term"),
        ("minimize", {"objective": {"term": []}}, "unknown term"),
        ("invert", {"optimizer": {"optimizer": ["Adam"]}}, "unknown optimizer"),
        ("dream", {"channel": {"3": 10**400}}, "a number of 401 digits"),
    ],
)
def test_arguments_that_make_no_sense(
    folder: Path, verb: str, change: dict[str, Any], said: str
) -> None:
    usual = {"mix": {"layers": "conv1_1"}, "minimize": {}, "dream": {"image": "a.png"}}
    usual["synthesize_texture"] = {"exemplar": "a.png", "layers": "conv1_1", "size": 16}
    job = {"verb": verb, "arguments": {**usual.get(verb, INVERT), **change}}
    with pytest.raises((fs.ObjectiveError, fs.ImageError), match=said):
        run_job({**job, "engine": {"weights": "random:0"}}, base=folder)


@pytest.mark.parametrize(
    "size",
    [math.inf, math.nan, 1e308, 10**290, [math.nan, 3], [math.inf, 0], [10**290, 10**290]],
)
def test_batches_with_sizes_beyond_all(folder: Path, size: Any) -> None:
    arguments = {**INVERT, "size": size}
    job = {"verb": "invert", "output": "out.png", "arguments": arguments}
    report = fs.batch([{**job, "engine": {"weights": "random:0"}}], base=folder)
    assert [item.status for item in report.items] == ["failed"]
    assert issubclass(getattr(fs, report.items[0].error), fs.FastsynthError)


@pytest.mark.parametrize("weights", ["x" * 5000, "a\0b", "x" * 5000 + "?convention=rgb"])
def test_weights_that_are_no_path(weights: str) -> None:
    with pytest.raises(fs.WeightsError, match="unknown weights"):
        fs.Synthesizer(weights=weights)


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "a = " + "9" * 5000, "a = [" * 9])
def test_texts_that_are_no_toml(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(fs.ObjectiveError, match="is not valid TOML"):
        read_job(tmp_path / "job.toml")


ENGINE = {
    "network": "vgg16",
    "weights": {"id": "random:0", "sha256": "0" * 64},
    "pooling": None,
    "backend": "auto",
    "device": "auto",
    "threads": 1,
}
RECORD = {"verb": "invert", "arguments": INVERT, "engine": ENGINE, "levels": []}


@pytest.mark.parametrize(
    "change",
    [
        {"verb": ["invert"]},
        {"verb": "open_weights"},
        {"arguments": 3},
        {"arguments": None},
        {"levels": 3},
        {"levels": [{}]},
        {"levels": ["stopped"]},
        {"levels": [{"stopped": "cancelled"}]},
        {"levels": [{"stopped": "cancelled"}], "schedule": [{}]},
        {"levels": [{"stopped": "cancelled"}], "schedule": {"a": 1}},
        {"engine": 3},
        {"engine": {**ENGINE, "weights": "random:0"}},
        {"engine": {**ENGINE, "weights": {"id": 3, "sha256": ""}}},
        {"engine": {k: v for k, v in ENGINE.items() if k != "device"}},
        {"engine": {**ENGINE, "others": {"vgg19": {}}}},
        {"engine": {**ENGINE, "network": ["vgg16"]}},
    ],
)
def test_records_that_make_no_sense(folder: Path, change: dict[str, Any]) -> None:
    pixels = np.zeros((3, 4, 4), np.float32)
    save(folder / "out.png", pixels, metadata={**RECORD, **change})
    with pytest.raises(fs.FastsynthError, match=r"makes no sense|must be a table"):
        fs.replay(folder / "out.png")


def test_record_with_an_argument_too_many(folder: Path) -> None:
    engine = {**ENGINE, "weights": {"id": "random:0", "sha256": fs.Synthesizer().weights.sha256}}
    record = {**RECORD, "engine": engine, "arguments": {**INVERT, "x": 1}}
    save(folder / "out.png", np.zeros((3, 4, 4), np.float32), metadata=record)
    with pytest.raises(fs.ObjectiveError, match="the job does not fit invert"):
        fs.replay(folder / "out.png")
