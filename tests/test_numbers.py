"""NumPy's numbers do as arguments what Python's do: same pictures, same records."""

from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth import score
from fastsynth._numbers import DEEPEST, plain
from fastsynth.objective import (
    MMD,
    Activation,
    RangePenalty,
    ShiftedGram,
    SlicedWasserstein,
    Term,
)
from fastsynth.synthesize.batching import estimate_batch
from fastsynth.synthesize.export_step import export_step

rng = np.random.default_rng(3)
CONTENT, STYLE = rng.integers(0, 256, (2, 24, 32, 3), np.uint8)
SHORT = {"size": 24, "max_evaluations": 2, "scales": 1}


def as_numpy(value: Any) -> Any:
    """The same with NumPy's numbers; the tests' fractions are multiples of 1/128."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float32(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(as_numpy, value))
    if isinstance(value, dict):
        return {key: as_numpy(item) for key, item in value.items()}
    return value


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[fs.Synthesizer]:
    with fs.Synthesizer(weights="random:0", threads=np.int64(2)) as opened:
        yield opened


VERBS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    (
        "style_transfer",
        (CONTENT, STYLE),
        {**SHORT, "strength": 3.0, "smoothness": 0.0078125, "style_scale": 0.5, "seed": 2},
    ),
    ("style_transfer", (CONTENT, [(STYLE, 0.5), (CONTENT, 0.25)]), {**SHORT, "size": (24, 16)}),
    (
        "style_transfer",
        (CONTENT, STYLE),
        {"size": 32, "scales": [0.5, 1.0], "max_evaluations": [1, 2], "plateau": 0.25},
    ),
    ("synthesize_texture", (STYLE,), {**SHORT, "scale": 0.5, "long_range": 1.0, "seamless": True}),
    ("invert", (CONTENT,), {**SHORT, "layers": {"conv1_2": 2.0}, "smoothness": 0.125}),
    ("mix", ([(CONTENT, 0.25), (STYLE, 0.75)],), {**SHORT, "smoothness": 0.125}),
    (
        "dream",
        (CONTENT, "conv2_1"),
        {
            "channel": 3,
            "octaves": 1,
            "octave_scale": 1.5,
            "step": 0.125,
            "jitter": 2,
            "margin": 1,
            "lapnorm": False,
            "iterations": 2,
        },
    ),
    (
        "visualize",
        ("conv2_1", {3: 1.0, 5: -0.5}),
        {"iterations": 2, "learning_rate": 0.0625, "size": 16, "transforms": False},
    ),
    ("minimize", (fs.Content(CONTENT, "conv1_2"),), {**SHORT, "time_limit": 60.0}),
]


@pytest.mark.parametrize(("verb", "given", "settings"), VERBS)
def test_verbs(
    synthesizer: fs.Synthesizer, verb: str, given: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    call = getattr(synthesizer, verb)
    usual = call(*given, **settings)
    found = call(*as_numpy(given), **as_numpy(settings))
    assert np.array_equal(found.array, usual.array)
    assert json.dumps(found.provenance["arguments"]) == json.dumps(usual.provenance["arguments"])


def test_image_analogy() -> None:
    settings = {"weight": 2.0, "kappa": 0.5, "levels": 2, "rounds": [2, 1], "seed": 5, "threads": 2}
    usual = fs.image_analogy(CONTENT, STYLE, CONTENT, **settings)
    found = fs.image_analogy(CONTENT, STYLE, CONTENT, **as_numpy(settings))
    assert np.array_equal(found.array, usual.array)
    assert json.dumps(found.provenance["arguments"]) == json.dumps(usual.provenance["arguments"])


@pytest.mark.parametrize(
    ("term", "settings"),
    [
        (fs.Content, {"image": CONTENT, "layers": {"conv2_1": 2.0}, "weight": 3.0}),
        (fs.Style, {"image": [(STYLE, 0.5), (CONTENT, 0.25)], "scale": 0.5}),
        (fs.TotalVariation, {"beta": 1.5}),
        (RangePenalty, {"low": 0.25, "high": 0.5}),
        (MMD, {"image": STYLE, "kernel": "polynomial", "offset": 0.5}),
        (ShiftedGram, {"image": STYLE, "shifts": [4, 8], "components": 8}),
        (SlicedWasserstein, {"image": STYLE, "directions": 8, "seed": 2}),
        (Activation, {"layers": "conv2_1", "channel": {2: 0.5}, "neuron": (0.25, 0.5)}),
    ],
)
def test_terms(term: type[Term], settings: dict[str, Any]) -> None:
    assert repr(term(**as_numpy(settings))) == repr(term(**settings))


def test_factors() -> None:
    term = fs.Content(CONTENT)
    for factor in (np.float32(2.5), np.float64(2.5), np.longdouble(2.5), np.array(2.5)):
        assert repr(factor * term) == repr(term * factor) == repr(2.5 * term)
        assert repr(factor * (term + term)) == repr((term + term) * factor)
    for operation in (lambda: np.ones(2) * term, lambda: term * np.ones(2), lambda: term - 1):
        with pytest.raises(TypeError, match="operand"):  # no array of objectives
            operation()
    with pytest.raises(TypeError):
        np.zeros(1) + term
    assert repr(np.int64(0) + term) == repr(sum([term]))


def test_jobs(tmp_path: Path) -> None:
    settings = as_numpy({**SHORT, "seed": 2, "layers": {"conv1_2": 2.0}})
    engine = {"weights": "random:0"}
    job = {
        "verb": "invert",
        "arguments": {"image": "image", **settings},
        "engine": engine,
    }
    usual = fs.invert(CONTENT, **SHORT, seed=2, layers={"conv1_2": 2.0}, **engine)
    inputs = {"image": CONTENT}
    found = fs.run_job(job, inputs=inputs, time_limit=np.float32(60))
    assert np.array_equal(found.array, usual.array)
    stylize = fs.Stylizer("invert", settings, engine=as_numpy({**engine, "threads": 2}))
    assert np.array_equal(stylize({"image": CONTENT[None]})["image"][0], usual.array)
    count, _, failed = estimate_batch(
        [{**job, "output": str(tmp_path / "a.png")}], inputs=inputs, memory_limit=np.int64(8 << 30)
    )
    assert (count, failed) == (1, [])
    picture = fs.image.save(tmp_path / "picture.png", fs.image.load(CONTENT))
    graph = {**job, "arguments": {**settings, "image": str(picture)}}
    assert len(export_step(graph, tmp_path / "step.onnx", weights=np.bool_(False))) == 3


def test_files_and_batches(tmp_path: Path) -> None:
    settings = {"size": 16, "max_evaluations": 1, "scales": 1}
    job = {
        "verb": "style_transfer",
        "arguments": {"content": "content", "style": "style", **as_numpy(settings)},
        "engine": {"weights": "random:0"},
        "output": str(tmp_path / "made.jpg"),
    }
    inputs = {"content": CONTENT, "style": STYLE}
    options = {"quality": 90, "parallel": 1, "checkpoint_seconds": 30.0, "memory_limit": 8 << 30}
    made = fs.batch([job], inputs=inputs, **as_numpy(options))
    assert [item.status for item in made.items] == ["done"]
    job["arguments"] = {**job["arguments"], **settings}  # type: ignore[dict-item]
    again = fs.batch([job], inputs=inputs, **options)  # type: ignore[arg-type]
    assert [item.status for item in again.items] == ["skipped"]  # it is the same job
    result = fs.style_transfer(CONTENT, STYLE, weights="random:0", **as_numpy(settings))
    named = result.save(tmp_path / "a.jpg", quality=np.int64(90), bit_depth=np.int64(8))
    assert fs.image.read_metadata(named)["saved"] == {"quality": 90, "bit_depth": 8}
    frames = {"frames": 2, "zoom": 0.125, "rotate": 0.5, "iterations": 1, "octaves": 1, "seed": 1}
    zoom = fs.dream_zoom(CONTENT, tmp_path / "z", weights="random:0", **as_numpy(frames))
    assert zoom.made == 2


def test_scores() -> None:
    large = np.kron(CONTENT, np.ones((8, 8, 1), np.uint8))
    assert score.transfer(large, large, large, style_scale=np.float32(0.5)) == score.transfer(
        large, large, large, style_scale=0.5
    )


def test_what_is_no_number_stays() -> None:
    array, path = np.zeros(2), Path("a.png")
    assert plain(array) is array
    assert plain(path) is path
    for given in ([1, [array]], (1.0, {"a": (path,)}), {"a": [1], 2: array}):
        assert plain(given) is given
    for odd in (np.bytes_(b"II\0\0"), np.datetime64("2026-01-01"), np.void(b"a")):
        assert plain(odd) is odd
    Pair = namedtuple("Pair", "picture weight")
    assert plain(Pair("a.png", np.float32(0.5))) == ("a.png", 0.5)
    for table in (OrderedDict(a=np.int64(1)), MappingProxyType({"a": np.int64(1)})):
        assert json.dumps(plain(table)) == '{"a": 1}'
    cyclic: list[Any] = [np.int64(1)]
    cyclic.append(cyclic)
    assert plain(cyclic)[0] == 1  # and it comes back at all
    deep: Any = np.int64(1)
    for _ in range(DEEPEST):
        deep = [deep]
    assert str(plain(deep)) == "[" * DEEPEST + "1" + "]" * DEEPEST
    assert type(plain(np.str_("a"))) is str


@pytest.mark.parametrize("value", [np.float32(np.nan), np.int64(-1), np.bool_(True), np.zeros(1)])
def test_refusals_are_as_before(synthesizer: fs.Synthesizer, value: Any) -> None:
    with pytest.raises(fs.ObjectiveError, match=r"channel|whole number|finite"):
        synthesizer.dream(CONTENT, "conv2_1", channel=value, octaves=1, iterations=1)
