"""The code in docs/devices.md runs, its commands parse, its table is the code's."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

from fastsynth.cli.parser import build_parser
from fastsynth.network.providers import CARDS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_python_blocks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks in order, in one namespace, with sizes cut down so that the test is quick."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path / "home"))
    namespace: dict[str, object] = {}
    for block in blocks("python"):
        quick = re.sub(r"size=\d+", "size=48, max_evaluations=4", block)
        exec(compile(quick, "docs/devices.md", "exec"), namespace)
    said = capsys.readouterr().out
    for promised in re.findall(r"print\(.*\)  # (.*)", PAGE):
        assert promised in said


def test_commands_parse() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("fastsynth ")]
    assert commands
    for line in commands:
        build_parser().parse_args(shlex.split(line)[1:])


def test_the_table_is_the_code() -> None:
    for card in CARDS:
        row = re.search(rf"^\| `{card.device}`(?:, `backend.*?)? \|.*$", PAGE, re.MULTILINE)
        assert row, card.device
        offered = row[0].split("|")[4]
        assert {name.strip(" *") for name in offered.split(",")} == set(card.precisions)
        assert f"**{card.fast}**" in offered
