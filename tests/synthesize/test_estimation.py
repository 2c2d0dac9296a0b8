"""Estimates against runs in fresh processes: memory within its tolerance, time in its order."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.synthesize import regions
from fastsynth.synthesize.estimation import readable

RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 255, (64, 80, 3), np.uint8)

# Peak memory is the process' own: each case has one. Pictures are smooth, as pictures are.
RUN = """
import json, sys
import numpy as np
import fastsynth as fs
from fastsynth._machine import peak_memory

verb, keywords = json.loads(sys.argv[1])
y, x = np.mgrid[:384, :512].astype(np.float32) / 64
a = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1) / 2 + 0.5
b = np.stack([np.cos(3 * x), np.sin(2 * y), np.sin(x * y)], -1) / 2 + 0.5
pictures = [a, b] if verb == "style_transfer" else [a]
if sys.argv[2] == "estimate":
    found = fs.estimate(verb, *pictures, **keywords)
    print(found.memory, found.seconds_at_most)
else:
    result = getattr(fs, verb)(*pictures, **keywords)
    print(peak_memory(), result.seconds["total"])
"""


def process(what: str, verb: str, keywords: dict[str, Any]) -> tuple[float, float]:
    command = [sys.executable, "-c", textwrap.dedent(RUN), json.dumps([verb, keywords]), what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    memory, seconds = map(float, done.stdout.split())
    return memory, seconds


BASE = {"weights": "random:0", "plateau": 0, "max_evaluations": 4, "scales": 1}


@pytest.mark.parametrize(
    ("verb", "keywords"),
    [
        ("style_transfer", {"size": 512}),
        ("style_transfer", {"size": 512, "optimizer": "adam", "style_loss": "gram"}),
        ("synthesize_texture", {"size": [384, 384], "max_evaluations": 30}),
        ("invert", {"size": 448, "network": "vgg19"}),
        ("style_transfer", {"size": 384, "backend": "onnx"}),
        ("style_transfer", {"size": 320, "backend": "step", "max_evaluations": 8}),
    ],
)
def test_memory_is_foreseen_within_a_fifth(verb: str, keywords: dict[str, Any]) -> None:
    keywords = {**BASE, **keywords}
    if isinstance(keywords["size"], list):
        keywords["size"] = tuple(keywords["size"])
    foreseen, _ = process("estimate", verb, keywords)
    seen, _ = process("run", verb, keywords)
    assert abs(foreseen / seen - 1) <= 0.2


def test_time_grows_with_pixels_and_evaluations() -> None:
    def at_most(**keywords: Any) -> float:
        return fs.estimate(
            "style_transfer", SMALL, SMALL, weights="random:0", plateau=0, **keywords
        ).seconds_at_most

    short = at_most(size=512, max_evaluations=20, scales=1)
    longer = at_most(size=1024, max_evaluations=200, scales=1)
    # 40 times the work; the machine is not alone, so this is a wide net.
    assert 8 < longer / short < 200


def test_levels_that_may_stop_early_are_expected_to() -> None:
    keywords: Any = {"weights": "random:0", "size": 256}
    found = fs.estimate("style_transfer", SMALL, SMALL, **keywords)
    assert found.seconds < found.seconds_at_most
    whole = fs.estimate("style_transfer", SMALL, SMALL, plateau=0, **keywords)
    assert whole.seconds == pytest.approx(whole.seconds_at_most)
    assert "at most" in str(found)
    assert "at most" not in str(whole)


def test_every_verb_with_a_network_has_an_estimate() -> None:
    more: Any = {"weights": "random:0", "size": 64}
    cases: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (fs.synthesize_texture, (SMALL,), {}),
        (fs.invert, (SMALL,), {"layers": "conv2_1"}),
        (fs.mix, ([(SMALL, 0.5), (SMALL[::-1], 0.5)],), {"layers": "conv2_1", "at": "pixels"}),
        (fs.minimize, (fs.Content(SMALL, "conv2_1"),), {}),
        (fs.dream, (SMALL, "conv2_2"), {"octaves": 2, "iterations": 2}),
        (fs.visualize, ("conv2_2", 3), {"max_evaluations": 5}),
    ]
    for verb, arguments, keywords in cases:
        found = fs.estimate(verb, *arguments, **more, **keywords)
        assert found.memory > 50e6
        assert found.seconds > 0
    two = fs.estimate(fs.mix, *cases[2][1], **more, **cases[2][2])
    assert len(two.levels) == 2 * len({(level.width, level.height) for level in two.levels})


def test_an_estimate_does_not_run(tmp_path: Any) -> None:
    def callback(_: Any) -> bool:
        raise AssertionError("it runs")

    path = tmp_path / "state"
    fs.estimate(
        "invert", SMALL, layers="conv2_1", weights="random:0", callback=callback, checkpoint=path
    )
    assert not path.exists()


def test_the_estimate_of_a_doodle_searches_a_small_picture_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[tuple[int, int]] = []
    patched = regions.patched

    def watched(*arguments: Any, **keywords: Any) -> Any:
        searched.append(arguments[2])
        return patched(*arguments, **keywords)

    monkeypatch.setattr(regions, "patched", watched)
    labels = np.zeros((64, 80), np.uint8)
    labels[:, 40:] = 255
    found = fs.estimate(
        "synthesize_texture",
        SMALL,
        masks={"content": labels, "style": labels},
        size=640,
        weights="random:0",
    )
    assert searched == [(77, 96)]
    assert found.seconds_at_most > sum(level.seconds for level in found.levels)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(fs.ObjectiveError, match="no estimate for 'paint'"):
        fs.estimate("paint", SMALL)
    with pytest.raises(fs.ObjectiveError, match="strength"):
        fs.estimate("style_transfer", SMALL, SMALL, strength=-1, weights="random:0")
    for name in ("plateau", "time_limit"):
        keyword: Any = {name: "long"}
        with pytest.raises(fs.ObjectiveError, match=name):
            fs.estimate("style_transfer", SMALL, SMALL, weights="random:0", **keyword)
    with pytest.raises(fs.MemoryLimitError, match="What would fit"):
        fs.estimate(
            "style_transfer", SMALL, SMALL, size=2048, weights="random:0", memory_limit="200MiB"
        )


def test_methods_are_of_their_synthesizer() -> None:
    """The size in the error is the one that was asked for."""
    with fs.Synthesizer(weights="random:0", network="vgg19") as synthesizer:
        found = fs.estimate(synthesizer.invert, SMALL, layers="conv3_4")
        assert found.memory > 50e6
        with pytest.raises(fs.MemoryLimitError, match=r"^16384 × "):
            fs.estimate(
                synthesizer.invert, SMALL, layers="conv3_4", size=16384, memory_limit="2GiB"
            )


def test_a_time_limit_is_known() -> None:
    found = fs.estimate("invert", SMALL, layers="conv2_1", weights="random:0", time_limit=0.01)
    assert found.seconds == pytest.approx(found.seconds_at_most)
    assert found.seconds < 5


def test_dreams_hold_no_history() -> None:
    """Of Ascent and of Adam, not of L-BFGS."""
    picture = np.zeros((900, 900, 3), np.uint8)
    more: Any = {"weights": "random:0"}
    dreamt = fs.estimate("dream", picture, "conv1_1", octaves=1, iterations=10, **more)
    same = fs.minimize.__name__, fs.Content(picture, "conv1_1")
    inverted = fs.estimate(*same, optimizer="adam", scales=1, max_evaluations=10, **more)
    assert dreamt.memory < 1.1 * inverted.memory


def test_times_are_readable() -> None:
    assert readable(0.06) == "0.1 s"
    assert readable(600) == "10 min"
    assert readable(90000) == "25 h 0 min"
