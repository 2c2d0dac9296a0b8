"""Masks, label maps, strength maps and doodles: commands, jobs, replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.cli import main

QUICK = ["--weights", "random:1", "--max-evaluations", "3", "--size", "32", "-q"]


@pytest.fixture
def masks(tmp_path: Path) -> tuple[str, str]:
    """A mask of the left and one of the right; together a label map each way round."""
    left = np.zeros((40, 48), np.uint8)
    left[:, :20] = 255
    paths = tmp_path / "left.png", tmp_path / "right.png"
    for path, mask in zip(paths, (left, 255 - left), strict=True):
        Image.fromarray(mask).save(path)
    return str(paths[0]), str(paths[1])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_regions_are_those_of_the_call(
    files: tuple[str, str], masks: tuple[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "out.png"
    left, right = masks
    words = ["--content-mask", left, "--content-mask", right, "--style-mask", "-", "--style-mask"]
    words += [left, "--region-style", files[0], "--region-style", "-", "--strength-map", right]
    assert main(["transfer", *files, "-o", str(output), *words, *QUICK]) == 0
    result = fs.style_transfer(
        *files,
        masks=[(left, None, files[0]), (right, left)],
        strength_map=right,
        size=32,
        max_evaluations=3,
        weights="random:1",
    )
    np.testing.assert_array_equal(pixels(output), result.array)
    again = tmp_path / "again.png"
    assert main(["replay", str(output), "-o", str(again), "-q"]) == 0
    assert again.read_bytes() == output.read_bytes()


def test_label_maps(files: tuple[str, str], masks: tuple[str, str], tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    assert main(["transfer", *files, "-o", str(output), "--label-maps", *masks, *QUICK]) == 0
    labels = {"content": masks[0], "style": masks[1]}
    result = fs.style_transfer(*files, masks=labels, size=32, max_evaluations=3, weights="random:1")
    np.testing.assert_array_equal(pixels(output), result.array)


def test_a_fine_style(files: tuple[str, str], tmp_path: Path) -> None:
    output, again = tmp_path / "out.png", tmp_path / "again.png"
    words = ["--fine-style", files[0]]
    assert main(["transfer", files[0], files[1], "-o", str(output), *words, *QUICK]) == 0
    assert main(["replay", str(output), "-o", str(again), "-q"]) == 0
    assert again.read_bytes() == output.read_bytes()
    plain = tmp_path / "plain.png"
    assert main(["transfer", *files, "-o", str(plain), *QUICK]) == 0
    assert (pixels(plain) != pixels(output)).any()


def test_a_texture_as_optimised(files: tuple[str, str], tmp_path: Path) -> None:
    made = {}
    for color in ("match", "none"):
        output = tmp_path / f"{color}.png"
        assert main(["texture", files[0], "-o", str(output), "--color", color, *QUICK]) == 0
        made[color] = pixels(output)
    result = fs.synthesize_texture(
        files[0], color="none", size=32, max_evaluations=3, weights="random:1"
    )
    np.testing.assert_array_equal(made["none"], result.array)
    assert (made["match"] != made["none"]).any()


def test_a_doodle_and_its_job(
    files: tuple[str, str], masks: tuple[str, str], tmp_path: Path
) -> None:
    output, again, ran = (tmp_path / name for name in ("out.png", "again.png", "ran.png"))
    assert main(["doodle", files[0], *masks, "-o", str(output), *QUICK]) == 0
    assert main(["replay", str(output), "-o", str(again), "-q"]) == 0
    assert again.read_bytes() == output.read_bytes()
    job = tmp_path / "job.toml"
    job.write_text(
        'verb = "synthesize_texture"\noutput = "ran.png"\n[engine]\nweights = "random:1"\n'
        '[arguments]\nexemplar = "a.png"\nsize = 32\nmax_evaluations = 3\n'
        'masks = { content = "right.png", style = "left.png" }\n',
        encoding="utf-8",
    )
    assert main(["run", str(job), "-o", str(ran), "-q"]) == 0
    np.testing.assert_array_equal(pixels(ran), pixels(output))


def test_a_job_with_regions(files: tuple[str, str], masks: tuple[str, str], tmp_path: Path) -> None:
    job = {
        "verb": "style_transfer",
        "engine": {"weights": "random:1"},
        "arguments": {
            "content": "a.png",
            "style": {"coarse": "a.png", "fine": "b.png"},
            "masks": [["left.png", "-"], ["right.png", "left.png", "b.png"]],
            "strength_map": "left.png",
            "size": 32,
            "max_evaluations": 3,
        },
    }
    found = fs.run_job(job, base=tmp_path)
    result = fs.style_transfer(
        files[0],
        {"coarse": files[0], "fine": files[1]},
        masks=[(masks[0], None), (masks[1], masks[0], files[1])],
        strength_map=masks[0],
        size=32,
        max_evaluations=3,
        weights="random:1",
    )
    np.testing.assert_array_equal(found.array, result.array)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--style-mask", "m.png"], "belong to a --content-mask"),
        (["--content-mask", "m.png", "--label-maps", "m.png", "m.png"], "either --label-maps"),
        (["--content-mask", "m.png", "--region-style", "-", "--region-style", "-"], "1 --content-"),
        (["m.png", "--fine-style", "m.png"], "goes with one STYLE"),
    ],
)
def test_what_does_not_fit_is_told(
    files: tuple[str, str],
    tmp_path: Path,
    words: list[str],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.png"
    assert main(["transfer", *files, *words, "-o", str(output), *QUICK]) == 1
    assert said in capfd.readouterr().err
    assert not output.exists()
