"""Formatting, lint and types: every check that needs no test run. Exits with 1 when one fails."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))


def main() -> int:
    """Runs all checks, even after one failed, so that one run shows everything."""
    sources = sorted(
        str(path) for path in (ROOT / "cpp").rglob("*") if path.suffix in (".cpp", ".hpp")
    )
    checks = [
        ["ruff", "format", "--check", "."],
        ["ruff", "check", "."],
        ["mypy"],
        # Much of torch, with which benchmarks compare, has no types.
        ["mypy", "bench", "scripts", "--allow-untyped-calls", "--no-warn-return-any"],
        ["clang-format", "--dry-run", "--Werror", *sources],
    ]
    failed = 0
    for command in checks:
        print("$", " ".join(command[:4]), flush=True)
        failed += (
            subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, check=False).returncode
            != 0
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
