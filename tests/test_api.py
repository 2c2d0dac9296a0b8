"""The public face: names, lazy import, docstrings."""

from __future__ import annotations

import inspect
import subprocess
import sys

import fastsynth as fs
from fastsynth import _core


def test_all_names_exist_and_are_sorted() -> None:
    assert sorted(fs.__all__) == sorted(set(fs.__all__))
    for name in fs.__all__:
        assert getattr(fs, name) is not None


def test_version_is_the_same_everywhere() -> None:
    assert fs.__version__ == _core.__version__


def test_every_public_name_is_documented() -> None:
    for name in fs.__all__:
        text = inspect.getdoc(getattr(fs, name))
        assert text, f"{name} has no docstring"
        assert len(text.splitlines()[0]) <= 120, f"{name}: the first line is a summary"


def test_import_is_light() -> None:
    """Nothing heavy is imported before it is needed; torch never."""
    heavy = ["torch", "onnx", "onnxruntime", "h5py", "scipy", "rich", "PIL"]
    code = f"import sys, fastsynth; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_synthesis_works_without_torch() -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnxscript"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refuse())
import numpy as np, fastsynth as fs
picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
result = fs.style_transfer(picture, picture[::-1], weights="random:0", max_evaluations=4)
print(result.array.shape, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(40, 40, 3) False", done.stderr


def test_unknown_attribute_is_an_attribute_error() -> None:
    assert not hasattr(fs, "style_transfre")
