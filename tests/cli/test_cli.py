"""The command line: what is written, what is said, which exit code."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from fastsynth.cli import main

QUICK = ["--weights", "random:1", "--max-evaluations", "6", "--scales", "2"]


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(
    ("verb", "extra"),
    [
        ("transfer", ["--size", "32", "--strength", "2", "--color", "match"]),
        ("transfer", ["--size", "32", "--style-loss", "histogram"]),
        ("texture", ["--size", "32x27"]),
        ("invert", ["--size", "32", "--layers", "conv2_1"]),
        ("mix", ["--size", "32", "--layers", "conv2_1=1,conv1_1=0.5"]),
    ],
)
def test_verbs_write_their_picture(
    files: tuple[str, str],
    tmp_path: Path,
    verb: str,
    extra: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    inputs = {
        "transfer": files,
        "texture": files[:1],
        "invert": files[:1],
        "mix": (files[0] + "=0.7", files[1] + "=0.3"),
    }
    output = tmp_path / "out.png"
    assert main([verb, *inputs[verb], "-o", str(output), *extra, *QUICK]) == 0
    assert size_of(output) == (32, 27)
    assert "random:1 weights" in capfd.readouterr().err


@pytest.mark.usefixtures("alone")
def test_an_estimate_is_told_and_nothing_made(
    files: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    assert main(["transfer", *files, "-o", str(output), "--estimate", *QUICK]) == 0
    assert re.search(r"about \d+ MiB of memory, [\d.]+ s", capfd.readouterr().out)
    assert not output.exists()


def test_long_runs_say_what_they_will_take(
    files: tuple[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out.png"
    command = ["transfer", *files, "-o", str(output), "--size", "32", *QUICK]
    assert main(command) == 0
    assert "this will take" not in capfd.readouterr().err
    monkeypatch.setattr("fastsynth.cli.commands.LONG", 100.0)
    assert main(command) == 0
    assert "this will take about" in capfd.readouterr().err


def test_preview_and_replay(files: tuple[str, str], tmp_path: Path) -> None:
    output, preview, again = (tmp_path / name for name in ("out.png", "preview.png", "again.png"))
    assert (
        main(["transfer", *files, "-o", str(output), "--preview", str(preview), "-q", *QUICK]) == 0
    )
    assert size_of(preview) in ((24, 20), (48, 40))
    assert main(["replay", str(output), "-o", str(again), "-q"]) == 0
    assert again.read_bytes() == output.read_bytes()


def test_job_file(files: tuple[str, str], tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(
        'verb = "invert"\noutput = "made.png"\n[engine]\nweights = "random:1"\n'
        '[arguments]\nimage = "a.png"\nlayers = "conv1_2"\nmax_evaluations = 4\n',
        encoding="utf-8",
    )
    assert main(["run", str(job), "-q"]) == 0
    assert size_of(tmp_path / "made.png") == (48, 40)


def test_errors_are_one_line(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.png"
    assert main(["transfer", "missing.jpg", files[1], "-o", str(output), "-q", *QUICK]) == 1
    text = capsys.readouterr().err
    assert text.startswith("fastsynth: error: ")
    assert "missing.jpg" in text
    assert text.count("\n") == 1
    assert not output.exists()


def test_unwritable_target_is_told_before_the_run(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert main(["transfer", *files, "-o", str(tmp_path / "no" / "out.png"), "-q"]) == 1
    assert time.monotonic() - started < 5
    assert "out.png" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--quality", "0"], ["--bit-depth", "16"]])
def test_settings_of_the_file_are_checked_before_the_run(
    files: tuple[str, str], tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    preview = tmp_path / "preview.png"
    output = ["-o", str(tmp_path / "out.jpg"), "--preview", str(preview)]
    assert main(["transfer", *files, *output, "-q", *QUICK, *wrong]) == 1
    assert "out.jpg" in capsys.readouterr().err
    assert not preview.exists(), "nothing was computed"


def test_replay_to_another_format(files: tuple[str, str], tmp_path: Path) -> None:
    deep, other = tmp_path / "deep.png", tmp_path / "other.jpg"
    assert main(["invert", files[0], "-o", str(deep), "--bit-depth", "16", "-q", *QUICK]) == 0
    assert main(["replay", str(deep), "-o", str(other), "-q"]) == 0
    assert size_of(other) == (48, 40)


@pytest.mark.parametrize("arguments", [[], ["paint"], ["transfer"], ["invert", "a.png"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: fastsynth" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", ["transfer", "texture", "invert", "mix", "run", "replay", "weights", "info"]
)
def test_help_says_what_a_verb_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "kernels: " in text
    assert "numpy " in text


def test_weights_list_and_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path))
    monkeypatch.setenv("FASTSYNTH_OFFLINE", "1")
    assert main(["weights"]) == 0
    assert "oxford" in capsys.readouterr().out
    assert main(["weights", "path", "oxford"]) == 1
    assert main(["weights", "get", "oxford"]) == 1
    assert "FASTSYNTH_OFFLINE" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_ctrl_c_saves_the_best_picture_so_far(files: tuple[str, str], tmp_path: Path) -> None:
    output, preview = tmp_path / "out.png", tmp_path / "preview.png"
    command = [
        sys.executable,
        "-m",
        "fastsynth",
        "transfer",
        *files,
        "-o",
        str(output),
        "--preview",
        str(preview),
    ]
    command += [
        "--weights",
        "random:1",
        "--size",
        "128",
        "--max-evaluations",
        "100000",
        "--plateau",
        "0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not preview.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, text
    assert size_of(output) == (128, 107)
