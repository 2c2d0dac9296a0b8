"""Python with a core that was built under AddressSanitizer and UndefinedBehaviorSanitizer.

`run_again` builds the core in build/hostile, lays the package beside it, and starts the same
command with that: the sanitizers' libraries must be in the process before Python is. Before, it
lets that core make errors on purpose, each of which must end a process with a report.
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
# Without `site`, so that no editable installation puts its own core first.
PYTHON = (sys.executable, "-S")
# Errors that the core makes on purpose (cpp/tests/planted.cpp), and what is to be said.
PLANTED = ("heap-buffer-overflow", "heap-buffer-overflow", "signed integer overflow")


def is_on() -> bool:
    """Whether this process, or its parent, has the sanitized core."""
    return MARK in os.environ


def listen() -> None:
    """Sends what this process says on stderr to the reports: UndefinedBehaviorSanitizer beside
    AddressSanitizer writes there, whatever its log_path is."""
    path = Path(os.environ[MARK]) / f"said.{os.getpid()}"
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)


def reports() -> list[str]:
    """What the sanitizers said: the head of each report."""
    folder = Path(os.environ[MARK])
    found = []
    for path in sorted((*folder.glob("report.*"), *folder.glob("said.*"))):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.name.startswith("said."):  # libraries complain there, too
            text = text[text.find("runtime error:") :] if "runtime error:" in text else ""
        if text:
            found.append(text[:4000])
    return found


def run_again() -> int:
    """Builds, and runs this process' command with the sanitized core; its exit status."""
    preset = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja"]
    settings = {
        "FASTSYNTH_SANITIZE": "address,undefined",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INTERPROCEDURAL_OPTIMIZATION": "OFF",  # under sanitizers it takes very long
        "CMAKE_STRIP": "true",  # leaves the names that reports tell
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
    environment = environment_of(package, folder)
    for error in range(len(PLANTED)):
        check_planted(error, folder, environment)
    clear(folder)
    return subprocess.run([*PYTHON, *sys.argv], env=environment, check=False).returncode


def environment_of(package: Path, folder: Path) -> dict[str, str]:
    """Variables of a process with the sanitized core, whose reports go to a folder."""
    log = f"log_path={folder / 'report'}"
    rules = (
        # Not detect_stack_use_after_return: GCC before 14 then misaligns vectors of 64 bytes.
        *("detect_leaks=0", "allocator_may_return_null=1", f"max_allocation_size_mb={MEGABYTES}"),
    )
    compiler = os.environ.get("CXX", "c++")
    libraries = [told([compiler, f"-print-file-name={name}"]) for name in LIBRARIES]
    return {
        **os.environ,
        MARK: str(folder),
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": ":".join((*rules, log)),
        "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
        # Without `site` (see PYTHON) this process' folders must be told; the package's comes first.
        "PYTHONPATH": os.pathsep.join([str(package.parent), *filter(None, sys.path)]),
        "PYTHONMALLOC": "malloc",  # every object of Python's is watched, too
    }


def check_planted(error: int, folder: Path, environment: dict[str, str]) -> None:
    """Raises SystemExit where the sanitizers do not see an error on purpose."""
    clear(folder)
    code = (
        "import ctypes, numpy; from fastsynth import _core; a = numpy.zeros(999, 'f4'); "
        f"ctypes.CDLL(_core.__file__).fastsynth_planted({error}, ctypes.c_void_p(a.ctypes.data), "
        "ctypes.c_size_t(a.size))"
    )
    done = subprocess.run(
        [*PYTHON, "-c", code], env=environment, check=False, capture_output=True, text=True
    )
    reported = (path.read_text(errors="replace") for path in folder.glob("report.*"))
    said = "".join((done.stderr, *reported))
    if done.returncode == 0 or PLANTED[error] not in said:
        raise SystemExit(
            f"the sanitizers did not see an error on purpose ({PLANTED[error]}): exit status "
            f"{done.returncode}; {said or 'no report'}"
        )


def clear(folder: Path) -> None:
    """Removes reports."""
    for old in (*folder.glob("report.*"), *folder.glob("said.*")):
        old.unlink()


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
