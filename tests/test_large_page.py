"""The code in docs/large.md runs, and its commands parse."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "large.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.usefixtures("alone")
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
        exec(compile(quick, "docs/large.md", "exec"), namespace)
    assert (tmp_path / "out.png").exists()
    assert "What would fit" in capsys.readouterr().out


def test_commands_parse() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert lines
    for line in lines:
        assert build_parser().parse_args(shlex.split(line)[1:]).memory_limit == "8GiB"
