"""Python with a core that was built under AddressSanitizer and UndefinedBehaviorSanitizer.

`run_again` builds the core in build/hostile, lays the package beside it, and starts the same
command with that: the sanitizers' libraries must be in the process before Python is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "hostile"
MARK = "FASTSYNTH_SANITIZED"  # the folder of the sanitizers' reports
LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so")
MEGABYTES = 6 << 10  # largest allocation; larger ones fail, as without memory


def is_on() -> bool:
    """Whether this process, or its parent, has the sanitized core."""
    return MARK in os.environ


def reports() -> list[str]:
    """What the sanitizers said: the head of each report."""
    found = sorted(Path(os.environ[MARK]).glob("report.*"))
    return [path.read_text(encoding="utf-8", errors="replace")[:4000] for path in found]


def run_again() -> int:
    """Builds, and runs this process' command with the sanitized core; its exit status."""
    preset = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja"]
    settings = {
        "FASTSYNTH_SANITIZE": "address,undefined",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INTERPROCEDURAL_OPTIMIZATION": "OFF",  # under sanitizers it takes very long
        "SKBUILD_PROJECT_VERSION": "0",
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": told([sys.executable, "-m", "pybind11", "--cmakedir"]),
    }
    subprocess.run(
        [*preset, *(f"-D{name}={value}" for name, value in settings.items())], check=True
    )
    subprocess.run(["cmake", "--build", str(BUILD), "-j2"], check=True)
    package = BUILD / "python" / "fastsynth"
    lay_beside(package)
    folder = BUILD / "reports"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("report.*"):
        old.unlink()
    log = f"log_path={folder / 'report'}"
    rules = ("detect_leaks=0", "allocator_may_return_null=1", f"max_allocation_size_mb={MEGABYTES}")
    compiler = os.environ.get("CXX", "c++")
    libraries = [told([compiler, f"-print-file-name={name}"]) for name in LIBRARIES]
    environment = {
        **os.environ,
        MARK: str(folder),
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": ":".join((*rules, log)),
        "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
        "PYTHONPATH": str(package.parent),
        "PYTHONMALLOC": "malloc",  # every object of Python's is watched, too
    }
    return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


def lay_beside(package: Path) -> None:
    """The package's files by links, its core the sanitized one."""
    package.mkdir(parents=True, exist_ok=True)
    for link in package.iterdir():
        link.unlink()
    (core,) = BUILD.glob("_core*")
    for path in (ROOT / "python" / "fastsynth").iterdir():
        if not path.name.startswith("_core.c") and path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    (package / core.name).symlink_to(core)


def told(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
