"""The public calls: what they return, what they refuse, and the command line."""

from __future__ import annotations

import builtins
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.score.corrupt import blurred
from tests.textures import TEXTURES

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.image import match_histogram
from fastsynth.image.visible import largest_rectangle

BRICKS = TEXTURES["bricks"](128, 0)
PEBBLES = TEXTURES["pebbles"](128, 1)
WEAVE = TEXTURES["weave"](160, 2)


def test_a_texture_score_has_all_its_numbers() -> None:
    found = fs.score.texture(PEBBLES, BRICKS)
    data = json.loads(found.to_json())
    assert data == found.to_dict()
    for name in ("autocorrelation", "spectrum", "patches", "marginals", "color"):
        part = getattr(found, name)
        assert data[name] == {"distance": part.distance, "base": part.base, "ratio": part.ratio}
        assert part.distance > 0
    assert data["gram"] is None
    assert data["total"] == found.total > 3
    assert found.regularity > 0.4
    assert fs.score.texture(PEBBLES, BRICKS) == found  # nothing random


def test_held_out_layers_tell_textures_apart() -> None:
    near = fs.score.texture(TEXTURES["bricks"](128, 5), BRICKS, weights="random:1")
    far = fs.score.texture(PEBBLES, BRICKS, weights="random:1")
    assert near.gram is not None
    assert far.gram is not None
    assert near.gram.ratio < 1.5
    assert far.gram.ratio > 3 * near.gram.ratio
    assert near.gram.base == far.gram.base
    assert near.total == pytest.approx(fs.score.texture(TEXTURES["bricks"](128, 5), BRICKS).total)


def test_all_forms_of_a_picture_score_alike(tmp_path: Path) -> None:
    eight = (PEBBLES * 255).round().astype(np.uint8)
    path = tmp_path / "pebbles.png"
    Image.fromarray(eight).save(path)
    found = [
        fs.score.texture(form, BRICKS)
        for form in (eight, path, path.read_bytes(), Image.open(path))
    ]
    assert all(item == found[0] for item in found)


def test_transparent_places_are_cut_off() -> None:
    alpha = np.ones((128, 128, 1), np.float32)
    alpha[:, :20] = 0
    holed = np.concatenate([BRICKS, alpha], axis=2)
    found = fs.score.texture(PEBBLES, holed)
    # On a grid of 2 px here, so that exactly the visible part is left.
    assert found == fs.score.texture(PEBBLES, BRICKS[:, 20:])


@pytest.mark.parametrize("seed", range(5))
def test_largest_rectangle_against_brute_force(seed: int) -> None:
    cells = np.random.default_rng(seed).random((7, 9)) < 0.7
    best = 0
    for top in range(7):
        for bottom in range(top + 1, 8):
            for left in range(9):
                for right in range(left + 1, 10):
                    if cells[top:bottom, left:right].all():
                        best = max(best, (bottom - top) * (right - left))
    top, bottom, left, right = largest_rectangle(cells)
    assert cells[top:bottom, left:right].all()
    assert (bottom - top) * (right - left) == best


def test_transfer_pairs_content_and_style() -> None:
    kept = fs.score.transfer(BRICKS, BRICKS, PEBBLES)
    assert kept.content == kept.structure == kept.edges == kept.similarity == 0
    assert kept.style > 3
    assert kept.product == pytest.approx(1 + np.log(kept.style))
    lost = fs.score.transfer(TEXTURES["pebbles"](128, 9), BRICKS, PEBBLES)
    assert lost.content > 0.4
    assert lost.style < 0.6 * kept.style
    half = fs.score.transfer((BRICKS + PEBBLES) / 2, BRICKS, PEBBLES)
    assert kept.content < half.content < lost.content


def test_content_is_lost_step_by_step() -> None:
    losses = [
        fs.score.transfer(blurred(PEBBLES, sigma), PEBBLES, BRICKS).content
        for sigma in (0.5, 1.0, 2.0, 4.0)
    ]
    assert losses == sorted(losses)
    assert losses[0] < 0.1
    assert losses[-1] > 0.3


def test_anchors_are_the_ends_of_the_scale() -> None:
    found = fs.score.transfer((BRICKS + PEBBLES) / 2, BRICKS, WEAVE, anchors=True)
    assert set(found.anchors) == {"content", "histogram", "style crop"}
    assert found.anchors["content"].content == 0
    assert found.anchors["style crop"].style < 0.6 * found.anchors["content"].style
    assert found.anchors["style crop"].content > 0.4
    matched = match_histogram(
        np.ascontiguousarray(BRICKS.transpose(2, 0, 1)),
        np.ascontiguousarray(
            fs.image.resize(WEAVE.transpose(2, 0, 1).copy(), (128, 128), "area", clip=True)
        ),
    )
    direct = fs.score.transfer(matched.transpose(1, 2, 0), BRICKS, WEAVE)
    assert found.anchors["histogram"].color == direct.color
    assert set(found.to_dict()["anchors"]) == set(found.anchors)


def test_the_style_scale_is_that_of_the_transfer() -> None:
    small = fs.image.resize(WEAVE.transpose(2, 0, 1).copy(), (80, 80), "area", clip=True)
    painted = np.tile(small.transpose(1, 2, 0), (2, 2, 1))
    right = fs.score.transfer(painted, BRICKS, WEAVE, style_scale=0.5)
    assert right.style < 0.7 * fs.score.transfer(painted, BRICKS, WEAVE).style


def test_worst_places_show_the_damage() -> None:
    spoilt = TEXTURES["bricks"](128, 3)
    spoilt[30:60, 70:100] = np.random.default_rng(0).random((30, 30, 3))
    found = fs.score.texture(spoilt, BRICKS).worst_places()
    assert isinstance(found, fs.image.ImageArray)
    assert found.shape == (128, 128, 3)
    assert found.dtype == np.uint8
    colour = np.ptp(found.array.astype(float), axis=2)
    assert colour[35:55, 75:95].mean() > 4 * colour[80:, :50].mean()


@pytest.mark.parametrize("shape", [(63, 200, 3), (128, 40)])
def test_small_pictures_are_refused(shape: tuple[int, ...]) -> None:
    small = np.zeros(shape, np.uint8)
    with pytest.raises(fs.ImageError, match=r"the image has \d+ × \d+ pixels.*at least 64 × 64"):
        fs.score.texture(small, BRICKS)
    with pytest.raises(fs.ImageError, match=r"the exemplar has .* at least 64 × 64"):
        fs.score.texture(BRICKS, small)
    with pytest.raises(fs.ImageError, match=r"the image has .* at least 64 × 64"):
        fs.score.transfer(small, BRICKS, BRICKS)


def test_the_smallest_pictures_and_flat_ones_have_a_score() -> None:
    flat = np.full((64, 64, 3), 0.5, np.float32)
    assert fs.score.texture(flat, flat).total == 1
    assert fs.score.texture(BRICKS[:64, :64], flat).total > 2
    assert fs.score.texture(flat, BRICKS[:64, :64]).total > 2
    for found in (fs.score.transfer(flat, flat, flat), fs.score.transfer(flat, BRICKS, PEBBLES)):
        assert np.isfinite(found.product)


def test_bad_input_is_told() -> None:
    broken = np.full((80, 80, 3), np.nan, np.float32)
    with pytest.raises(fs.ImageError, match=r"image: .*NaN"):
        fs.score.texture(broken, BRICKS)
    with pytest.raises(fs.ImageError, match="exemplar"):
        fs.score.texture(BRICKS, "nowhere.png")
    with pytest.raises(fs.ImageError, match="largest opaque rectangle of the image"):
        fs.score.texture(np.zeros((90, 90, 4), np.uint8), BRICKS)
    with pytest.raises(fs.ImageError, match="style_scale is 0"):
        fs.score.transfer(BRICKS, BRICKS, PEBBLES, style_scale=0)
    with pytest.raises(fs.ImageError, match=r"style_scale 0\.1 the style has 13 × 13"):
        fs.score.transfer(BRICKS, BRICKS, PEBBLES, style_scale=0.1)
    with pytest.raises(fs.WeightsError):
        fs.score.texture(BRICKS, BRICKS, weights="nothing")


def test_missing_scipy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def refuse(name: str, package: str | None = None) -> Any:
        if name.startswith("scipy"):
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(fs.FastsynthError, match=r"pip install fastsynth\[score\]"):
        fs.score.texture(BRICKS, BRICKS)
    monkeypatch.undo()
    assert builtins.__import__("scipy")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    found = {}
    for name, image in (("bricks", BRICKS), ("pebbles", PEBBLES)):
        found[name] = str(tmp_path / f"{name}.png")
        Image.fromarray((image * 255).round().astype(np.uint8)).save(found[name])
    return found


def test_command_scores_a_texture(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, heat = tmp_path / "score.json", tmp_path / "heat.png"
    command = ["score", files["pebbles"], "--exemplar", files["bricks"]]
    assert main([*command, "--json", str(numbers), "--map", str(heat)]) == 0
    said = capsys.readouterr().out
    expected = fs.score.texture(files["pebbles"], files["bricks"])
    assert json.loads(numbers.read_text()) == expected.to_dict()
    assert f"total            {expected.total:5.2f}" in said
    with Image.open(heat) as picture:
        assert picture.size == (128, 128)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bricks.png",
        "heat.png",
        "pebbles.png",
        "score.json",
    ]
    assert main([*command, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == expected.to_dict()
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_command_scores_a_transfer(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--content", files["bricks"], "--style", files["pebbles"]]
    assert main(["score", files["bricks"], *pair, "--anchors", "--weights", "random:2"]) == 0
    said = capsys.readouterr().out
    assert "style crop" in said
    assert "S7" in said


@pytest.mark.parametrize(
    "extra", [[], ["--content", "a.png"], ["--exemplar", "a.png", "--style", "a.png"]]
)
def test_command_needs_one_kind_of_reference(
    extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "image.png", *extra]) == 1
    assert "either --exemplar" in capsys.readouterr().err


def test_command_tells_what_cannot_be_written(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", files["pebbles"], "--exemplar", files["bricks"]]
    assert main([*command, "--json", "/no/such/folder/score.json"]) == 1
    assert "cannot write" in capsys.readouterr().err
    assert main([*command, "--map", "map.txt"]) == 1
    assert "suffix" in capsys.readouterr().err
