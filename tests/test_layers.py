"""The architecture, enforced: a stage imports only stages to its left."""

from __future__ import annotations

import ast
from pathlib import Path

import fastsynth

PACKAGE = Path(fastsynth.__file__).parent if fastsynth.__file__ else Path()
STAGES = [
    "image",
    "compose",
    "patterns",
    "network",
    "objective",
    "optimize",
    "render",
    "synthesize",
    "score",
    "cli",
]
# What every stage may import.
SHARED = {"_closing", "_errors", "_machine", "_numbers", "_types", "_core", "__version__"}


def stage_imports(path: Path, stage: str) -> set[str]:
    """Names of fastsynth's stages that a module imports, inside functions too."""
    found = set()
    depth = len(path.relative_to(PACKAGE).parts)  # of dots that lead to the package itself
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level == depth:
                names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
                found.update(names)
            elif node.level == 0 and node.module and node.module.split(".")[0] == "fastsynth":
                parts = node.module.split(".")
                found.update(parts[1:2] or [a.name for a in node.names])
        elif isinstance(node, ast.Import):
            found.update(
                a.name.split(".")[1] for a in node.names if a.name.startswith("fastsynth.")
            )
    return found - {stage}


def test_stages_import_only_to_their_left() -> None:
    wrong = []
    for index, stage in enumerate(STAGES):
        for path in sorted((PACKAGE / stage).rglob("*.py")):
            outside = stage_imports(path, stage) - SHARED - set(STAGES[:index])
            wrong += [f"{path.relative_to(PACKAGE)} imports {name}" for name in sorted(outside)]
    assert not wrong, wrong


def test_the_check_sees_imports() -> None:
    """The check above would notice: render really imports objective, and cli synthesize."""
    assert "objective" in stage_imports(PACKAGE / "render" / "refine.py", "render")
    assert "synthesize" in stage_imports(PACKAGE / "cli" / "commands.py", "cli")


def test_torch_is_imported_by_the_exporter_alone() -> None:
    users = [
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.Import)
            and any(a.name.split(".")[0] == "torch" for a in node.names)
        )
        or (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").split(".")[0] == "torch"
            and node.level == 0
        )
    ]
    assert set(users) == {"export"}


def test_files_stay_short() -> None:
    root = Path(__file__).resolve().parent.parent
    long = {
        str(path.relative_to(root)): lines
        for folder in ("python", "cpp", "tests", "bench", "examples", "scripts")
        for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".cpp", ".hpp", ".pyi")
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 800
    }
    assert not long, long
