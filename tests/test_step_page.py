"""docs/step.md: its code runs, its command parses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "step.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "step.md", "exec"), namespace)
    assert (tmp_path / "step.md").is_file()


def test_commands_parse() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("fastsynth ")]
    assert lines
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])
