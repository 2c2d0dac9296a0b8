"""The README's code runs, its commands parse, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order, in one namespace, with sizes cut down so that the test is quick."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTSYNTH_HOME", str(tmp_path / "home"))
    found = blocks("python")
    assert len(found) >= 4
    namespace: dict[str, object] = {}
    for block in found:
        # Dreams and analogies count their steps in another way.
        quick = re.sub(r"((?:dream|image_analogy)\(.*)size=\d+", r"\1size=(48, 48)", block)
        quick = re.sub(r"size=(\d+)\b", "size=64, max_evaluations=4", quick)
        quick = re.sub(r"size=\((?!48)(\d+), (\d+)\)", "size=(64, 48), max_evaluations=4", quick)
        exec(compile(quick, "README.md", "exec"), namespace)
    assert np.array_equal(namespace["again"].array, namespace["result"].array)  # type: ignore[attr-defined]


def test_commands_parse() -> None:
    commands = [
        line
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("fastsynth ")
    ]
    assert len(commands) >= 2
    for line in commands:
        build_parser().parse_args(shlex.split(line)[1:])


def test_commands_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for target in re.findall(r"^\s*make (\w+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "name",
    [
        str(page.relative_to(ROOT))
        for folder in ("", "bench", "docs", "examples")
        for page in sorted((ROOT / folder).glob("*.md"))
    ],
)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{name} links to {target}"
