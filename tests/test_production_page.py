"""The code in docs/production.md runs, and its commands parse."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import fastsynth as fs
from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")


QUICK = {"arguments": {"max_evaluations": 4}}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, in one namespace, with sizes cut down so that the test is quick."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path / "home"))
    namespace: dict[str, object] = {}
    for block in blocks("python"):
        quick = re.sub(r"size=\d+", "size=48, max_evaluations=4", block)
        exec(compile(quick, "docs/production.md", "exec"), namespace)
    assert (tmp_path / "out.png").exists()
    assert not (tmp_path / "run.checkpoint").exists()
    assert [item.status for item in namespace["report"].items] == ["done", "done", "failed"]  # type: ignore[attr-defined]


def test_manifests_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's manifests are of the same two jobs, but for one argument."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path / "home"))
    for form, skipped in (("csv", 0), ("toml", 1)):
        text = blocks(form)[0].replace("512", "32")
        (tmp_path / f"jobs.{form}").write_text(text, encoding="utf-8")
        report = fs.batch(tmp_path / f"jobs.{form}", defaults=QUICK)
        assert report.exit_code == 0, report.items
        assert report.count("skipped") == skipped


def test_commands_parse() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("fastsynth ")]
    assert commands
    for line in commands:
        build_parser().parse_args(shlex.split(line)[1:])
