"""docs/score.md: its code runs and its commands parse."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "score.md").read_text(encoding="utf-8")


def test_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "score.md", "exec"), namespace)
    assert namespace["score"].total == 1  # type: ignore[attr-defined]
    assert (tmp_path / "worst.png").is_file()


def test_commands_parse() -> None:
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(lines) >= 2
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])
