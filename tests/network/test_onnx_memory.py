"""What the ONNX network takes from the machine: no torch, and memory that comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs the extra fastsynth[cpu]")

FOLDER = Path(__file__).parent

PRELUDE = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
sys.modules["torch"] = None  # any import of it fails
import numpy as np
from onnx_reference import cotangents_of, he_normal, picture
from fastsynth.network.onnx_network import OnnxNetwork

def megabytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

def level(net, size, taps):
    with net.bind(*size, taps) as bound:
        for _ in range(2):
            bound.forward(picture(*size))
            bound.backward(cotangents_of("vgg16", taps, *size))
        return megabytes()
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forward_and_gradient_run_without_torch() -> None:
    out = run("""
net = OnnxNetwork("vgg16", he_normal("vgg16", "conv2_1"))
level(net, (24, 24), ("conv1_1", "conv2_1"))
print("torch" in [name for name, module in sys.modules.items() if module is not None])
""")
    assert out.strip() == "False"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_returns_after_each_level_and_does_not_grow() -> None:
    """Coarse to fine and back, then many sizes: what is left after close stays where it was."""
    out = run("""
taps = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
net = OnnxNetwork("vgg16", he_normal("vgg16", "conv4_1"))
level(net, (32, 32), taps)
start = megabytes()
top = 0.0
for size in (64, 128, 256, 64):
    top = max(top, level(net, (size, size), taps))
middle = megabytes()
for i in range(8):
    level(net, (70 + 11 * i, 150 - 9 * i), taps)
print(start, top, middle, megabytes())
""")
    start, top, middle, end = map(float, out.split())
    assert top - start < 320  # at 256 px; features, cotangents, working memory, weights
    assert middle - start < 25
    assert end - middle < 25
