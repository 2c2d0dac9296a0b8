"""fastsynth dream and visualize: what is written, which words are understood."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fastsynth.cli import main

ENGINE = ["--weights", "random:1", "--threads", "2"]
QUICK = ["--layer", "conv1_2", "--octaves", "2", "--iterations", "2,1", *ENGINE]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(
    "extra",
    [
        ["--layer", "conv2_1:7", "--jitter", "4", "--lapnorm", "0", "--seed", "3"],
        ["--neuron", "0.5,0.2", "--octave-scale", "1.2", "--zoom", "0.1", "--rotate", "4"],
        ["--no-normalize", "--step", "0.001"],
    ],
)
def test_dream_writes_its_picture(
    files: tuple[str, str], tmp_path: Path, extra: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    assert main(["dream", files[0], "-o", str(output), "--size", "32", *QUICK, *extra]) == 0
    assert size_of(output) == (32, 27)
    assert "random:1 weights" in capfd.readouterr().err


def test_guide_preview_and_replay(files: tuple[str, str], tmp_path: Path) -> None:
    output, preview, again = (tmp_path / name for name in ("out.png", "preview.png", "again.png"))
    words = ["--guide", files[1], "--match", "dot", "--preview", str(preview), "-q"]
    assert main(["dream", files[0], "-o", str(output), *words, *QUICK]) == 0
    assert size_of(preview) in ((34, 29), (48, 40))
    assert main(["replay", str(output), "-o", str(again), "-q"]) == 0
    assert again.read_bytes() == output.read_bytes()


def test_frames(files: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["dream", files[0], "-o", str(tmp_path / "zoom.png"), "--size", "32", *QUICK]
    assert main([*words, "--frames", "2", "--zoom", "0.1"]) == 0
    assert sorted(path.name for path in tmp_path.glob("zoom*")) == [
        "zoom-0000.png",
        "zoom-0001.png",
    ]
    assert "2 of 2 frames, 2 made now" in capfd.readouterr().err
    assert main([*words, "--frames", "3", "--zoom", "0.1"]) == 0
    assert "zoom-0002.png: 3 of 3 frames, 1 made now, 2 kept" in capfd.readouterr().err
    assert main([*words, "--frames", "3", "--zoom", "0.2", "-q"]) == 1
    assert "not a frame of this sequence" in capfd.readouterr().err
    assert main([*words, "--frames", "3", "--zoom", "0.2", "-q", "--overwrite"]) == 0


def test_visualize(tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    words = ["-o", str(output), "--iterations", "3", *ENGINE]
    assert main(["visualize", "conv2_1:5", "--size", "24", *words]) == 0
    assert size_of(output) == (24, 24)
    assert main(["visualize", "conv1_2", "--no-transforms", "-q", "--size", "20x30", *words]) == 0
    assert size_of(output) == (20, 30)
    neuron = ["--neuron", "0.5,0.5", "--learning-rate", "0.1", "--time-limit", "20", "-q"]
    assert main(["visualize", "conv1_2:1", *neuron, *words]) == 0
    assert size_of(output) == (224, 224)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "conv2_1:x"], "write LAYER:CHANNEL"),
        (["--layer", "conv9_1"], "has no layer 'conv9_1'"),
        (["--overwrite"], "give --frames N too"),
        (["--frames", "2", "--quality", "80"], "do not apply to the frames"),
        (["--octaves", "0"], "octaves must be"),
    ],
)
def test_errors_are_one_line(
    files: tuple[str, str], tmp_path: Path, words: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    output = tmp_path / "out.png"
    quick = ["dream", files[0], "-o", str(output), "-q", "--iterations", "1", *ENGINE]
    assert main([*quick, *words]) == 1
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize("words", [["--neuron", "3"], ["--iterations", "many"], ["--match", "x"]])
def test_wrong_usage(files: tuple[str, str], words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dream", files[0], "-o", "x.png", *words])


def test_memory_is_limited_and_estimated(
    files: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    for words in (["dream", files[0], *QUICK], ["visualize", "conv1_2:3", "--size", "32", *ENGINE]):
        shown = [*words, "-o", str(output)]
        assert main([*shown, "--estimate"]) == 0
        assert "of memory" in capfd.readouterr().out
        assert main([*shown, "--memory-limit", "20MB"]) == 1
        assert 'memory_limit="' in capfd.readouterr().err
        assert not output.exists()
