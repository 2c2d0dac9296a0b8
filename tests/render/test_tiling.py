"""Memory limits: what is chosen, what is refused, and that a limit holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.objective import Canvas
from fastsynth.optimize import LBFGS
from fastsynth.render import Level
from fastsynth.render.tiling import MemoryPlan, parse_bytes, plan_memory

RNG = np.random.default_rng(0)
CONTENT = RNG.integers(0, 255, (40, 48, 3), np.uint8)
STYLE = RNG.integers(0, 255, (50, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def synthesizer():
    with fs.Synthesizer(weights="random:0", threads=2) as opened:
        yield opened


def test_texts_are_bytes() -> None:
    assert parse_bytes("4GiB") == 4 << 30
    assert parse_bytes("1500 MB") == 1_500_000_000
    assert parse_bytes("2k") == 2000
    assert parse_bytes(123) == 123
    assert parse_bytes(None) is None


@pytest.mark.parametrize("value", ["", "4 apples", "-1GiB", 0, -5, True, 1.5, "0", "9" * 400])
def test_other_limits_are_refused(synthesizer, value) -> None:
    with pytest.raises(fs.FastsynthError, match="memory_limit must be"):
        synthesizer.style_transfer(CONTENT, STYLE, size=32, memory_limit=value)


def test_counted_memory_is_what_is_taken(synthesizer) -> None:
    network = synthesizer.open(None, "max")
    for size, taps in (((97, 130), ["conv1_1", "conv3_1"]), ((64, 64), ["conv2_2"])):
        with network.bind(*size, taps) as bound:
            assert network.bound_bytes(*size, taps) == bound.core.memory_bytes


@pytest.mark.usefixtures("alone")
def test_what_cannot_fit_fails_before_it_starts(synthesizer) -> None:
    calls = []
    with pytest.raises(fs.MemoryLimitError) as caught:
        synthesizer.style_transfer(
            CONTENT,
            STYLE,
            size=8192,
            optimizer="lbfgs",
            memory_limit="6GiB",
            callback=calls.append,
        )
    assert not calls
    message = str(caught.value)
    assert "8192 × 6827 pixels need" in message
    assert "size=" in message
    assert "optimizer='adam'" in message
    assert 'memory_limit="' in message


def test_terms_that_cannot_be_tiled_are_named(synthesizer) -> None:
    objective = fs.Histogram(STYLE, ["conv1_1"]) + fs.Style(STYLE, ["conv1_1"])
    with pytest.raises(fs.MemoryLimitError, match="Histogram"):
        synthesizer.minimize(objective, size=4096, memory_limit="2GiB", scales=1)


def test_plans_count_the_targets_that_must_be_seen_at_once(synthesizer) -> None:
    """A wide content beside a square style; an exemplar with a term that cannot be tiled."""
    wide = fs.image.load(np.zeros((800, 2000, 3), np.uint8))
    square = fs.image.load(np.zeros((2000, 2000, 3), np.uint8))
    canvas = Canvas(800, 2000)

    def planned(objective: fs.Sum, limit: int | None) -> MemoryPlan:
        return plan_memory(
            objective,
            Level(800, 2000, 40),
            canvas,
            lambda _: synthesizer.open(None, "max"),
            optimizer=LBFGS(),
            limit=limit,
        )

    content = fs.Content(wide, "conv4_2")
    both = content + fs.Style(square, ["conv1_1"])
    whole, alone = planned(both, None), planned(content + fs.TotalVariation(), None)
    tiled = planned(both, int(0.95 * whole.bytes))
    assert tiled.tiling is not None
    assert not tiled.tiling.canvas
    assert alone.bytes <= tiled.bytes < whole.bytes
    untileable = fs.Histogram(square, ["conv1_1"]) + fs.Style(square, ["conv1_1"])
    least = planned(untileable, None).bytes
    with pytest.raises(fs.MemoryLimitError, match="Histogram"):
        planned(untileable, int(0.6 * least))


SCRIPT = """
import json, sys
import numpy as np
import fastsynth as fs
from fastsynth._machine import peak_memory
rng = np.random.default_rng(0)
content, style = rng.integers(0, 255, (2, 60, 60, 3), np.uint8)
with fs.Synthesizer(weights="random:0", threads=2) as synthesizer:
    result = synthesizer.style_transfer(
        content, style, size=(640, 608), scales=1, max_evaluations=2, optimizer="gd",
        memory_limit=sys.argv[1] or None)
print(json.dumps({
    "peak": peak_memory(),
    "levels": result.provenance["levels"],
    "losses": [float(v) for v in result.levels[-1].run.history.loss],
}))
"""


def test_a_limit_holds_and_the_losses_stay() -> None:
    found = []
    for limit in ("", "460MiB"):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, limit],
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ),
        )
        found.append(json.loads(run.stdout))
    whole, tiled = found
    assert "tile" not in whole["levels"][0]
    assert tiled["levels"][0]["tile"] <= 512
    assert tiled["peak"] <= 460 << 20
    assert tiled["peak"] < whole["peak"]
    assert tiled["losses"] == pytest.approx(whole["losses"], rel=1e-4)
