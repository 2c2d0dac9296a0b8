"""docs/control.md: its code runs, its commands parse."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, in one namespace, with sizes cut down so that the test is quick."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path / "home"))
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 8
    namespace: dict[str, object] = {}
    for block in blocks:
        quick = re.sub(r", max_evaluations=\d+", "", block)
        quick = re.sub(r"size=(\d+|\(\d+, \d+\))", "size=64, max_evaluations=3", quick)
        exec(compile(quick, "control.md", "exec"), namespace)
    assert (tmp_path / "tile.png").is_file()


def test_commands_parse() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("fastsynth ")]
    assert lines
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])
