"""The code in docs/compose.md runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, in one namespace."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(found) >= 3
    namespace: dict[str, object] = {}
    for block in found:
        exec(compile(block, "docs/compose.md", "exec"), namespace)
    assert (tmp_path / "relief.png").exists()
