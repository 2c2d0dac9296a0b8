"""docs/paper.md, docs/textures.md: exemplars and figures are there, tables tell what was found."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastsynth.image import REGULAR, find_lattice, regularity

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT / "examples" / "paper"


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """The scripts of the page and of the bench."""
    paths = [PAPER / f"{name}.py" for name in ("exemplars", "methods")]
    found = {}
    for path in [*paths, ROOT / "bench" / "textures.py"]:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # the bench imports the others by these names
        spec.loader.exec_module(module)
        found[path.stem] = module
    yield found
    for name in found:
        del sys.modules[name]


def test_exemplars_are_of_their_classes(modules: dict[str, ModuleType]) -> None:
    exemplars = modules["exemplars"]
    for kind, drawings in exemplars.CLASSES.items():
        assert len(drawings) >= 3
        for drawing in drawings:
            picture = exemplars.exemplar(drawing.__name__)
            assert picture.shape == (exemplars.SIDE, exemplars.SIDE, 3)
            assert picture.dtype == np.float32
            np.testing.assert_array_equal(picture, exemplars.exemplar(drawing.__name__))
            assert (regularity(picture) > REGULAR) == (kind != "stochastic")
            if kind == "regular":
                lattice = find_lattice(np.ascontiguousarray(picture.transpose(2, 0, 1)))
                assert lattice is not None
                assert lattice.share > 0.8


def test_pictures_are_kept(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    """The second call takes what lies there: a run that was stopped goes on from it."""
    exemplar = modules["exemplars"].exemplar("weave")

    def made() -> object:
        return modules["methods"].continued(
            exemplar, "weave", "gram", tmp_path, size=(64, 64), evaluations=2
        )

    first = made()
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert made() == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert len(written) == 2


def test_tables_compare_in_pairs(modules: dict[str, ModuleType]) -> None:
    bench = modules["textures"]

    def score(method: str, seed: int, total: float) -> object:
        values = dict.fromkeys((*bench.MEASURES, "total", "structure"), total)
        values |= {"copied": 0.1, "regularity": 0.5}
        return bench.Score("regular", "weave", method, seed, 1.0, values)

    scores = [
        score(method, seed, total)
        for seed in range(2)
        for method, total in (("default", 1.0), ("gram", 2.0 * 4.0**seed))
    ]
    text = bench.tables(scores)
    assert "| weave | regular | 0.50 | 1.00 | 4.00 | 1.00 | 4.00 | 0.10 | 0.10 |" in text
    assert "| regular | 4.00 (2.00 … 8.00) |" in text
    assert "2 of 2, p = 0.25" in text
    assert bench.sign_test(5, 5) == pytest.approx(1 / 32)


def test_the_page_has_its_figures() -> None:
    template = (PAPER / "page.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    for fixed in re.split(r"\$\w+", template):
        assert fixed.strip() in page
    pictures = re.findall(r"!\[.*?\]\((pictures/paper/.*?)\)", page)
    assert len(pictures) == 4
    assert sum((ROOT / "docs" / name).stat().st_size for name in pictures) < 1_500_000
    assert "$" not in page
