"""What all patterns have in common: sizes, types, records, palettes, the same bits everywhere."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsynth import ImageError, _core, patterns, replay
from fastsynth.cli import main
from fastsynth.cli.pattern import OWN
from fastsynth.image import ImageArray, read_metadata
from fastsynth.patterns import PALETTES, PATTERNS, draw
from fastsynth.patterns.frame import FrameOptions
from fastsynth.patterns.palette import color_of, palette_table

NAMES = sorted(PATTERNS)
# Quick, and with everything random in use.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "elementary_automaton": {"start": "random"},
    "cellular_automaton": {"steps": 20, "cell": 1},
    "sunflower": {"seeds": 100},
    "iterated_function_system": {"samples": 4},
    "lsystem": {"preset": "bush", "steps": 5},
    "mandelbrot": {"relief": 0.7, "max_iterations": 200},
    "julia": {"relief": 0.5, "max_iterations": 200},
}


def make(name: str, **options: Any) -> ImageArray:
    return draw(name, **{**ARGUMENTS.get(name, {}), **options})


@pytest.mark.parametrize("name", NAMES)
@given(width=st.integers(1, 90), height=st.integers(1, 90), antialias=st.booleans())
@settings(max_examples=12, deadline=None)
def test_any_size(name: str, width: int, height: int, antialias: bool) -> None:
    image = make(name, width=width, height=height, antialias=antialias)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_types_agree(name: str) -> None:
    found = {
        dtype: make(name, size=(33, 21), dtype=dtype) for dtype in ("uint8", "uint16", "float32")
    }
    exact = found["float32"].array.astype(np.float64)
    assert exact.min() >= 0
    assert exact.max() <= 1
    np.testing.assert_allclose(found["uint8"].array / 255, exact, atol=0.5 / 255 + 1e-5)
    np.testing.assert_allclose(found["uint16"].array / 65535, exact, atol=0.5 / 65535 + 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_record_repeats_the_picture(name: str, tmp_path: Path) -> None:
    image = make(name, size=(41, 30), seed=7)
    record = image.provenance
    assert record is not None
    assert record["verb"] == "pattern"
    again = draw(**json.loads(json.dumps(record["arguments"])))
    np.testing.assert_array_equal(again, image)
    assert again.provenance == record
    saved = read_metadata(image.save(tmp_path / "a.png"))
    assert saved is not None
    np.testing.assert_array_equal(draw(**saved["arguments"]), image)
    np.testing.assert_array_equal(replay(tmp_path / "a.png"), image)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_threads(name: str) -> None:
    one = make(name, size=(150, 131), seed=1, threads=1)
    np.testing.assert_array_equal(make(name, size=(150, 131), seed=1, threads=3), one)
    if name not in ("mandelbrot", "julia", "trochoid"):
        assert (make(name, size=(150, 131), seed=2) != one).any()


@pytest.mark.skipif(len(_core.available_kernel_sets()) < 2, reason="one kernel set only")
def test_kernel_sets_give_the_same_bits() -> None:
    code = f"""
import hashlib
from fastsynth.patterns import draw
for name in {NAMES!r}:
    image = draw(name, **{ARGUMENTS!r}.get(name, {{}}), size=(131, 70))
    print(hashlib.sha256(image.tobytes()).hexdigest())
functions = "sin(3*x)+cos(y)*tan(x/2)+exp(x)-log(r)+sinh(x)*tanh(y)+asin(x/3)+atan2(y,x)+fbm(x,y)"
functions += "+sqrt(r)^1.7+round(9*x)%0.3"
image = draw("formula", expression=functions, dtype="float32", size=99)
print(hashlib.sha256(image.tobytes()).hexdigest())
"""
    seen = {}
    for kernels in _core.available_kernel_sets():
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "FASTSYNTH_KERNELS": kernels},
        )
        assert done.returncode == 0, done.stderr
        seen[kernels] = done.stdout.split()
    assert len(next(iter(seen.values()))) == len(NAMES) + 1
    for kernels, hashes in seen.items():
        assert hashes == seen["portable"], kernels


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": (3, -1)},
        {"size": "axb"},
        {"size": 10**6},
        {"size": 8, "width": 9},
        {"width": 1.5},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": None},
        {"dtype": "float64"},
        {"antialias": "yes"},
        {"threads": 0},
        {"palette": "nothing"},
        {"palette": []},
        {"palette": ["#12"]},
        {"palette": [(2.0, 0.0, 0.0)]},
        {"palette": [(0.5, "red"), (1.5, "blue")]},
        {"palette": 5},
        {"colour": 1},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_keywords_are_named(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match=r"expected|no palette|unexpected keyword"):
        draw(name, **{"size": 4} | wrong if "width" not in wrong or "size" in wrong else wrong)


def test_size_by_any_keyword() -> None:
    for keywords in ({"size": (20, 10)}, {"size": "20x10"}, {"width": 20, "height": 10}):
        assert patterns.trochoid(**keywords).shape == (10, 20, 3)  # type: ignore[arg-type]
    assert patterns.trochoid(width=9).shape == (9, 9, 3)
    assert patterns.trochoid(height=9).shape == (9, 9, 3)


def test_draw_knows_its_names() -> None:
    with pytest.raises(ImageError, match="no pattern"):
        draw("spiral")
    with pytest.raises(ImageError, match=r"unexpected keyword 'step'.* steps, .* width"):
        draw("lsystem", step=3)
    assert {patterns.__dict__[name] for name in PATTERNS} == set(PATTERNS.values())


@pytest.mark.parametrize("name", sorted(PALETTES))
def test_palettes_hold_their_colours(name: str) -> None:
    count = len(PALETTES[name])
    table = palette_table(name, 1 + 100 * (count - 1)).astype(np.float64)
    encoded = np.where(table <= 0.0031308, table * 12.92, 1.055 * table ** (1 / 2.4) - 0.055)
    wanted = [color_of(color) for color in PALETTES[name]]
    np.testing.assert_allclose(encoded[::100], wanted, atol=1e-6)
    np.testing.assert_allclose(palette_table(name + "_r"), palette_table(name)[::-1], atol=1e-6)


def test_exact_colours_reach_the_picture() -> None:
    colors = [(r, g, b) for r in (0, 1, 17, 128, 254, 255) for g in (3, 200) for b in (90, 255)]
    for color in colors:
        image = patterns.elementary_automaton(0, size=1, start="0", palette=[color, "white"])
        assert image[0, 0].tolist() == list(color)


def test_gradients_by_position() -> None:
    table = palette_table([(0, "red"), (0.25, "blue"), (1, "white")], 5)
    assert table[0].tolist() == [1, 0, 0]
    assert table[1].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(palette_table({0: "red", 0.25: "blue", 1: "white"}, 5), table)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_knows_every_parameter(name: str) -> None:
    parameters = set(inspect.signature(PATTERNS[name]).parameters) - {"options", "palette"}
    assert {option for option, _, _ in OWN[name]} == parameters
    assert set(FrameOptions.__annotations__) & parameters == set()


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["elementary_automaton", "--rule=90"], {"rule": 90}),
        (["elementary_automaton", "--palette", "grey"], {"palette": "grey"}),
        (["elementary_automaton", "--start=0110"], {"start": "0110"}),
        (["julia", "--c=[-0.7,0.3]", "--no-antialias"], {"c": (-0.7, 0.3), "antialias": False}),
        (["formula", "--expression=x;y;0"], {"expression": "x;y;0"}),
        (["lsystem", "--preset=koch", "--steps=2"], {"preset": "koch", "steps": 2}),
        (["lsystem", "--axiom=F", '--rules={"F":"F+F"}'], {"axiom": "F", "rules": {"F": "F+F"}}),
        (["formula", "--seed", "3"], {"seed": 3}),
        (["trochoid", "--palette", "#000,#fff"], {"palette": ["#000", "#fff"]}),
        (["cellular_automaton", '--start=["###"]', "--steps=1"], {"start": ["###"], "steps": 1}),
    ],
)  # fmt: skip
def test_commands_draw_what_functions_do(
    words: list[str], arguments: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    assert main(["pattern", *words, "--size", "40x30", "-o", str(path)]) == 0
    wanted = draw(words[0], size=(40, 30), **arguments).save(tmp_path / "b.png")
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, wanted)}
    assert len(digests) == 1


def test_commands_list_and_fail_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pattern", "--list"]) == 0
    assert "mandelbrot" in capsys.readouterr().out
    assert main(["pattern"]) == 1
    target = tmp_path / "a.png"
    for words in (
        ["formula", "--expression=sin("],
        ["mandelbrot", "--zoom=abc"],
        ["julia", "--size=0"],
    ):
        assert main(["pattern", *words, "-o", str(target)]) == 1
        captured = capsys.readouterr().err
        assert captured.startswith("fastsynth: error: ")
        assert captured.count("\n") == 1 or "which pattern" in captured
    assert main(["pattern", "mandelbrot", "-o", str(tmp_path / "a.xyz")]) == 1
    assert not list(tmp_path.iterdir())
