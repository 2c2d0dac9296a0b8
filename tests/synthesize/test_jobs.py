"""Provenance, replay and job files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.image import read_metadata

from .test_verbs import picture

QUICK: dict[str, Any] = {"weights": "random:3", "max_evaluations": 8, "scales": 2}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    content, style = tmp_path / "content.png", tmp_path / "style.png"
    Image.fromarray(picture(0)).save(content)
    Image.fromarray(picture(1)).save(style)
    return content, style


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.tif"])
def test_replay_gives_the_same_file(files: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    content, style = files
    saved = fs.style_transfer(
        content,
        [(style, 0.6), (content, 0.4)],
        color="match",
        size=40,
        optimizer=fs.Adam(0.03),
        **QUICK,
    ).save(tmp_path / name)
    again = fs.replay(saved).save(tmp_path / f"again-{name}")
    assert again.read_bytes() == saved.read_bytes()


def test_replay_of_every_verb(files: tuple[Path, Path], tmp_path: Path) -> None:
    content, style = files
    objective = fs.Content(content, "conv2_1") + 3 * fs.Style(style, ["conv1_1", "conv2_1"])
    results = {
        "texture": fs.synthesize_texture(style, size=(30, 40), **QUICK),
        "invert": fs.invert(content, layers={"conv2_1": 1, "conv3_1": 0.5}, **QUICK),
        "mix": fs.mix({str(content): 0.7, str(style): 0.3}, at="pixels", layers="conv2_1", **QUICK),
        "minimize": fs.minimize(objective, init=content, **QUICK),
    }
    for name, result in results.items():
        saved = result.save(tmp_path / f"{name}.png")
        assert np.array_equal(fs.replay(saved).array, result.array), name


def test_replay_of_a_run_that_was_cut_short(files: tuple[Path, Path], tmp_path: Path) -> None:
    count = 0

    def stop(_: fs.Progress) -> bool:
        nonlocal count
        count += 1
        return count < 7

    result = fs.style_transfer(
        *files, callback=stop, weights="random:3", max_evaluations=[4, 50], scales=2, plateau=0
    )
    assert result.stopped == "cancelled"
    saved = result.save(tmp_path / "out.png")
    assert np.array_equal(fs.replay(saved).array, result.array)


def test_record_names_inputs_weights_and_versions(files: tuple[Path, Path], tmp_path: Path) -> None:
    saved = fs.style_transfer(*files, **QUICK).save(tmp_path / "out.png")
    record = read_metadata(saved)
    assert record is not None
    assert record["verb"] == "style_transfer"
    assert record["arguments"]["content"]["path"] == str(files[0])
    assert record["engine"]["weights"]["id"] == "random:3"
    assert len(record["engine"]["weights"]["sha256"]) == 64
    assert record["engine"]["versions"]["fastsynth"] == fs.__version__
    # What else the process has loaded must not show: equal runs give equal files.
    assert set(record["engine"]["versions"]) == {"fastsynth", "python", "numpy", "PIL"}
    assert [level["evaluations"] for level in record["levels"]] == [5, 3]


def test_replay_notices_a_changed_input(files: tuple[Path, Path], tmp_path: Path) -> None:
    saved = fs.style_transfer(*files, **QUICK).save(tmp_path / "out.png")
    Image.fromarray(picture(7)).save(files[1])
    with pytest.raises(fs.ImageError, match=r"style.png has changed"):
        fs.replay(saved)


def test_replay_finds_inputs_beside_the_picture(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = fs.style_transfer(*files, **QUICK)
    album = tmp_path / "album"
    album.mkdir()
    saved = result.save(album / "out.png")
    for file in files:
        file.rename(album / file.name)
    Image.fromarray(picture(7)).save(files[0])  # another picture where the first input was
    assert np.array_equal(fs.replay(saved).array, result.array)


def test_paths_of_a_job_start_from_its_file(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.fromarray(picture(7)).save(elsewhere / "content.png")
    job = tmp_path / "job.toml"
    job.write_text(
        'verb = "invert"\n[engine]\nweights = "random:3"\n[arguments]\n'
        'image = "content.png"\nlayers = "conv1_2"\nmax_evaluations = 8\nscales = 2\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(elsewhere)
    by_call = fs.invert(files[0], layers="conv1_2", **QUICK)
    assert np.array_equal(fs.run_job(job).array, by_call.array)


def test_replay_of_arrays_needs_them_back(tmp_path: Path) -> None:
    result = fs.invert(picture(0), layers="conv1_2", **QUICK)
    saved = result.save(tmp_path / "out.png")
    with pytest.raises(fs.ImageError, match="inputs="):
        fs.replay(saved)
    assert np.array_equal(fs.replay(saved, inputs={"image": picture(0)}).array, result.array)


def test_replay_of_a_foreign_picture(files: tuple[Path, Path]) -> None:
    with pytest.raises(fs.ImageError, match="no record"):
        fs.replay(files[0])


def test_job_file_equals_the_call(files: tuple[Path, Path], tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(
        """
verb = "minimize"
output = "out.png"

[engine]
weights = "random:3"

[arguments]
init = "content.png"
size = [64, 48]
max_evaluations = 8
scales = 2

[[arguments.objective]]
term = "Content"
image = "content.png"
layers = { conv3_1 = 1.0 }

[[arguments.objective]]
term = "Style"
image = [["style.png", 0.5], ["content.png", 0.5]]
weight = 10.0

[[arguments.objective]]
term = "TotalVariation"
weight = 0.1
""",
        encoding="utf-8",
    )
    content, style = files
    objective = (
        fs.Content(content, {"conv3_1": 1.0})
        + 10 * fs.Style([(style, 0.5), (content, 0.5)])
        + 0.1 * fs.TotalVariation()
    )
    by_call = fs.minimize(objective, init=content, size=(64, 48), **QUICK)
    assert np.array_equal(fs.run_job(job).array, by_call.array)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verb = 'paint'", "must be one of style_transfer"),
        ("verb = ", "not valid TOML"),
        (
            "verb = 'minimize'\n[[arguments.objective]]\nterm = 'Content'",
            "Content cannot be made",
        ),
        (
            "verb = 'style_transfer'\n[arguments]\ncontent = 'content.png'\nstyle = 'style.png'\n"
            "optimizer = { optimizer = 'Adam', learning_rate = -1.0 }",
            "learning_rate",
        ),
        ("verb = 'invert'\nextra = 1", "unknown entry 'extra'"),
        ("verb = 'invert'\n[engine]\nwieghts = 'x'", "unknown engine setting 'wieghts'"),
        (
            "verb = 'invert'\n[arguments]\nimage = 'content.png'\nlayer = 'conv1_1'",
            "does not fit invert",
        ),
        (
            "verb = 'minimize'\n[[arguments.objective]]\nterm = 'FunctionTerm'\nlayer = 'conv1_1'",
            "Python code",
        ),
        (
            "verb = 'minimize'\n[[arguments.objective]]\nterm = 'Contents'",
            "unknown term 'Contents'",
        ),
        (
            "verb = 'minimize'\n[[arguments.objective]]\nterm = 'TotalVariation'\nbeat = 2.0",
            "TotalVariation has no setting 'beat'",
        ),
    ],
)
def test_senseless_jobs(files: tuple[Path, Path], tmp_path: Path, text: str, message: str) -> None:
    job = tmp_path / "job.toml"
    job.write_text(text, encoding="utf-8")
    with pytest.raises(fs.ObjectiveError, match=message):
        fs.run_job(job)


def test_images_in_every_form_are_beside_the_job(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    head = "[engine]\nweights = 'random:3'\n[arguments]\nmax_evaluations = 4\nscales = 1\n"
    forms = {
        "table": "verb = 'minimize'\n"
        + head
        + "[arguments.objective]\nterm = 'Content'\nimage = 'content.png'\n",
        "mapping": "verb = 'mix'\n"
        + head
        + "layers = 'conv2_1'\n[arguments.images]\n'content.png' = 0.5\n'style.png' = 0.5\n",
    }
    for name, text in forms.items():
        job = tmp_path / f"{name}.toml"
        job.write_text(text, encoding="utf-8")
        assert fs.run_job(job).size == (64, 48)


def test_equal_levels_are_told_apart(tmp_path: Path) -> None:
    """A tiny picture has several levels of 1 × 1 pixel; each has its own evaluations."""
    image = tmp_path / "tiny.png"
    Image.fromarray(picture(0, 3, 4)).save(image)
    result = fs.minimize(
        fs.Content(image, "conv1_1"),
        weights="random:3",
        size=4,
        scales=5,
        max_evaluations=[5] * 5,
        plateau=0,
        callback=lambda progress: progress.level < 2,
    )
    schedule = result.provenance["schedule"]
    assert schedule[:2] == [5, 5]
    assert 0 < schedule[2] <= 5
    assert schedule[3:] == [0, 0]
    saved = result.save(tmp_path / "out.png")
    assert np.array_equal(fs.replay(saved).array, result.array)


def test_replay_with_weights_that_moved(files: tuple[Path, Path], tmp_path: Path) -> None:
    from fastsynth.network import load_weights

    place, moved = tmp_path / "own.npz", tmp_path / "moved.npz"
    np.savez(place, **load_weights("random:8").arrays)
    options: dict[str, Any] = {"layers": "conv1_2", "max_evaluations": 4, "scales": 1}
    result = fs.invert(files[0], weights=place, **options)
    saved = result.save(tmp_path / "out.png")
    place.rename(moved)
    with pytest.raises(fs.WeightsError, match=r"own\.npz"):
        fs.replay(saved)
    assert np.array_equal(fs.replay(saved, weights=moved).array, result.array)
    with pytest.raises(fs.WeightsError, match="checksum"):
        fs.replay(saved, weights="random:9")


def test_record_of_two_networks(files: tuple[Path, Path]) -> None:
    result = fs.mix(
        [(files[0], 0.5), (files[1], 0.5)], networks=["vgg16", "vgg19"], layers="conv1_2", **QUICK
    )
    assert result.provenance["engine"]["others"]["vgg19"]["id"] == "random:3"
