"""Other compilers, other processors: the C++ tests by Clang, on ARM, and on older x86 processors.

    python scripts/portability.py [clang aarch64 processors registers]

clang       builds core and tests with clang++ and runs them
aarch64     cross-compiles them (aarch64-linux-gnu-g++) and runs them under qemu-aarch64
processors  runs the GCC build under qemu-x86_64 as processors without AVX-512 (Haswell) and without
            AVX (Nehalem), where an instruction that they lack ends the program
registers   disassembles the GCC build: 512-bit and mask registers may occur only in code that was
            compiled for the avx512 set, 256-bit ones only there and in the avx2 set

Needs CMake, Ninja, objdump and what is named above; a part whose tools are missing is left out and
says so. Opt-in: `make portability`; some minutes. Exits with 1 when a part failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHAPES = "cpp/tests/shapes.txt"
# Emulation takes a hundred times as long: the smaller half of the shapes.
FEW = 5
WIDE = {"avx512": re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]"), "avx2": re.compile("%ymm")}


def main() -> int:
    """Runs the parts that are named, or all."""
    parts: dict[str, Callable[[], bool | None]] = {
        "clang": clang,
        "aarch64": aarch64,
        "processors": processors,
        "registers": registers,
    }
    failed = []
    for name in sys.argv[1:] or parts:
        outcome = parts[name]()
        print(f"{name}: {'left out' if outcome is None else 'clean' if outcome else 'FAILED'}")
        if outcome is False:
            failed.append(name)
    return 1 if failed else 0


def clang() -> bool | None:
    """Clang's build."""
    if shutil.which("clang++") is None:
        return None
    program = build("clang", "-DCMAKE_CXX_COMPILER=clang++")
    return all(
        run([str(program)], kernels) for kernels in ("portable", "avx2", "avx512", "avx512pairs")
    )


def aarch64() -> bool | None:
    """ARM's build, emulated."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        return None
    program = build(
        "aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    )
    return run([emulator, "-L", "/usr/aarch64-linux-gnu", str(program)], "", few=True)


def processors() -> bool | None:
    """Older processors, emulated: the kernels are chosen as on the real ones."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        return None
    program = str(build("plain"))
    clean = True
    for processor, expected in (("Haswell", "avx2"), ("Nehalem", "portable")):
        words = [emulator, "-cpu", processor, program]
        clean &= run(words, "", few=True, expected=expected)
        # The set that it lacks is refused, not tried.
        forced = subprocess.run(
            [*words, SHAPES],
            cwd=ROOT,
            env={**os.environ, "FASTSYNTH_KERNELS": "avx512"},
            capture_output=True,
            text=True,
            check=False,
        )
        clean &= forced.returncode != 0 and "cannot run here" in forced.stderr
    return clean


def registers() -> bool | None:
    """Where wide registers are used."""
    if shutil.which("objdump") is None or os.uname().machine != "x86_64":
        return None
    build("plain")
    folder = ROOT / "build/plain/CMakeFiles"
    clean, seen = True, {"avx512": 0, "avx2": 0}
    for path in sorted(folder.rglob("*.o")):
        text = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", str(path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = {name for name, pattern in WIDE.items() if pattern.search(text)}
        own = next((name for name in seen if f"kernels_{name}" in str(path)), "")
        allowed = {"avx512": {"avx512", "avx2"}, "avx2": {"avx2"}}.get(own, set())
        if own in found:
            seen[own] += 1
        if found - allowed:
            print(f"{path.relative_to(folder)} uses registers of {', '.join(found - allowed)}")
            clean = False
    print(f"objects with their set's registers: {seen}")
    return clean and all(seen.values())


def build(name: str, *settings: str) -> Path:
    """Core and tests in build/NAME; the program."""
    folder = ROOT / "build" / name
    configure = ["cmake", "--preset", "plain", "-B", str(folder), *settings]
    if shutil.which("ccache"):
        configure.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    subprocess.run(configure, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder), "-j2"], cwd=ROOT, check=True)
    return folder / "fastsynth_tests"


def run(words: list[str], kernels: str, *, few: bool = False, expected: str = "") -> bool:
    """Whether the tests pass with a kernel set ("" = what the program chooses)."""
    shapes = SHAPES
    if few:
        lines = (ROOT / SHAPES).read_text(encoding="utf-8").splitlines()
        chosen = [line for line in lines if not line.startswith("#")][:FEW]
        shapes = "build/few-shapes.txt"
        (ROOT / shapes).write_text("\n".join(chosen) + "\n", encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "FASTSYNTH_KERNELS"}
    if "qemu-x86_64" in words[0]:  # reads whole vectors where instructions read half of one
        environment["FASTSYNTH_GUARD_PAGES"] = "0"
    if kernels:
        environment["FASTSYNTH_KERNELS"] = kernels
    done = subprocess.run(
        [*words, shapes], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if "cannot run here" in done.stderr:
        print(f"  {kernels}: this machine lacks the instructions")
        return True
    shown = " ".join([*map(os.path.basename, words[:1]), *words[1:3]])
    said = [line for line in done.stderr.splitlines() if "TCG doesn't support" not in line]
    print(f"  {shown}: {done.stdout.strip()[-300:]} {' '.join(said)[-2000:]}", flush=True)
    return done.returncode == 0 and expected in done.stdout


if __name__ == "__main__":
    sys.exit(main())
