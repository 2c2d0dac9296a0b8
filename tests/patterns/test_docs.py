"""The page about patterns runs, and the gallery is what its script makes."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fastsynth.cli.parser import build_parser

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "examples" / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["gallery"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 8
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "patterns.md", "exec"), namespace)
    assert (tmp_path / "flower.png").exists()


def test_commands_of_the_page_parse() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("fastsynth ")]
    assert len(lines) >= 4
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])


def test_links_lead_to_files() -> None:
    for name in ("patterns.md", "gallery.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r'src="([^"]+)"', text)
        assert len(links) >= 8
        for link in links:
            assert (ROOT / "docs" / link).exists(), link


def test_the_gallery_is_complete_and_small(gallery: ModuleType) -> None:
    assert (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8") == gallery.page()
    files = sorted((ROOT / "docs" / "pictures" / "gallery").iterdir())
    entries = [entry for section in gallery.SECTIONS.values() for entry in section]
    assert {file.stem for file in files} == {entry.name for entry in entries}
    assert sum(file.stat().st_size for file in files) < 4_000_000
    for file in files:
        with Image.open(file) as image:
            assert max(image.size) <= 512


@pytest.mark.parametrize("name", ["rule_90", "penrose", "phyllotaxis"])
def test_pictures_are_what_their_code_makes(gallery: ModuleType, name: str) -> None:
    entry = next(e for section in gallery.SECTIONS.values() for e in section if e.name == name)
    with Image.open(ROOT / "docs" / "pictures" / "gallery" / f"{name}.png") as image:
        shown = np.asarray(image.convert("RGB"), np.float64)
    made = np.asarray(gallery.picture_of(entry, gallery.Results()), np.float64)
    assert np.abs(shown - made).mean() < 4  # the file has 256 colours
