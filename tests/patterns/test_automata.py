"""Cellular automata against plain NumPy loops and what is known about them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsynth import ImageError, _core
from fastsynth.patterns import cellular_automaton, elementary_automaton
from fastsynth.patterns.automata import parse_life_rule

BLACK_WHITE = ["black", "white"]
# Wolfram, A New Kind of Science (OEIS A051023): the middle column of rule 30.
RULE_30_CENTER = "1101110011000101100100111010111001110101"


def naive_rows(rule: int, start: NDArray[np.uint8], rows: int, boundary: str) -> NDArray[np.uint8]:
    out = [start.astype(int)]
    for _ in range(rows - 1):
        row = out[-1]
        left, right = np.roll(row, 1), np.roll(row, -1)
        if boundary == "zero":
            left[0] = right[-1] = 0
        out.append(rule >> (4 * left + 2 * row + right) & 1)
    return np.array(out, np.uint8)


def naive_life(plane: NDArray[np.uint8], rule: str, steps: int, boundary: str) -> NDArray[np.uint8]:
    birth, survival = parse_life_rule(rule)
    height, width = plane.shape
    for _ in range(steps):
        around = np.pad(plane.astype(int), 1, mode="wrap" if boundary == "wrap" else "constant")
        count = sum(
            around[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dy, dx) != (0, 0)
        )
        plane = (np.where(plane == 1, survival, birth) >> count & 1).astype(np.uint8)
    return plane


@pytest.mark.parametrize("boundary", ["wrap", "zero"])
def test_all_rules_against_a_loop(boundary: str) -> None:
    rng = np.random.default_rng(0)
    for rule in range(256):
        cells = int(rng.integers(1, 200))
        start = rng.integers(0, 2, cells, dtype=np.uint8)
        found = _core.elementary_rows(rule, start, 20, boundary)
        np.testing.assert_array_equal(found, naive_rows(rule, start, 20, boundary), str(rule))


@pytest.mark.parametrize("cells", [1, 2, 63, 64, 65, 128, 129])
def test_an_open_row_is_the_middle_of_a_wider_one(cells: int) -> None:
    start = np.random.default_rng(cells).integers(0, 2, cells, dtype=np.uint8)
    for rule in (30, 110, 1, 255):
        wide = naive_rows(rule, np.pad(start, 50), 40, "wrap")
        found = _core.elementary_rows(rule, start, 40, "open")
        np.testing.assert_array_equal(found, wide[:, 50 : 50 + cells])


def test_rule_90_is_pascals_triangle_modulo_2() -> None:
    rows = 64
    image = elementary_automaton(90, size=(2 * rows + 1, rows), palette=BLACK_WHITE)
    pascal = np.zeros((rows, 2 * rows + 1), int)
    line = [1]
    for n in range(rows):
        pascal[n, rows - n : rows + n + 1 : 2] = np.array(line, object) % 2
        line = [1, *(a + b for a, b in itertools.pairwise(line)), 1]
    np.testing.assert_array_equal(image[..., 0] // 255, pascal)


def test_rule_30_has_its_known_middle_column() -> None:
    rows = len(RULE_30_CENTER)
    for side in (rows, 2 * rows + 1):
        image = elementary_automaton(30, width=2 * (side // 2) + 1, height=rows, palette="grey")
        middle = image[:, side // 2, 0] // 255
        assert "".join(map(str, middle)) == RULE_30_CENTER


def test_cells_rows_and_starts() -> None:
    image = elementary_automaton(204, start="01#", cell=3, size=(9, 7), palette=BLACK_WHITE)
    np.testing.assert_array_equal(image[..., 1], np.tile([0] * 3 + [255] * 6, (7, 1)))
    array = elementary_automaton(
        204, start=np.array([0, 1, 1]), cell=3, size=(9, 7), palette="grey"
    )
    np.testing.assert_array_equal(array, image)
    by_row = elementary_automaton(
        204, start="1", size=(1, 3), color_by="row", palette=["black", "red", "blue"]
    )
    assert by_row[0, 0, 2] < 20  # on the way from black to red
    assert by_row[2, 0, 2] > 100  # on the way to blue
    # Rule 170 copies the right neighbour: 001 gives 1 (neighbourhood 1), 011 gives 1 (3).
    by_kind = elementary_automaton(
        170, start="0011", size=(4, 2), color_by="neighborhood", boundary="zero",
        palette=[(k, k, k) for k in range(0, 256, 36)],
    )  # fmt: skip
    assert by_kind[1, :, 0].tolist() == [0, 36, 108, 216]


def test_random_rows_follow_density_and_seed() -> None:
    def row(**options: object) -> NDArray[np.uint8]:
        image = elementary_automaton(
            204,
            start="random",
            size=(4096, 1),
            palette="grey",
            **options,  # type: ignore[arg-type]
        )
        return image.array[0, :, 0] // 255

    assert abs(row(density=0.2).mean() - 0.2) < 0.03
    assert row(density=0.0).sum() == 0
    assert row(density=1.0).sum() == 4096
    np.testing.assert_array_equal(row(seed=3), row(seed=3))
    assert (row(seed=3) != row(seed=4)).any()


@pytest.mark.parametrize("boundary", ["wrap", "zero"])
@pytest.mark.parametrize("rule", ["B3/S23", "B36/S23", "B3678/S34678", "B2/S", "B01/S8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 64), (37, 65), (20, 130)])
def test_planes_against_a_loop(boundary: str, rule: str, shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(1).integers(0, 2, shape, dtype=np.uint8)
    states, _ = _core.life(*parse_life_rule(rule), plane, 7, boundary, _core.ThreadPool(2))
    np.testing.assert_array_equal(states, naive_life(plane, rule, 7, boundary))


def test_ages_count_steps_since_the_last_change() -> None:
    plane = np.random.default_rng(2).integers(0, 2, (30, 70), dtype=np.uint8)
    age = np.where(plane == 1, 0, 255)
    now = plane
    for steps in range(1, 300):
        following = naive_life(now, "B3/S23", 1, "wrap")
        age = np.where(following != now, 0, np.minimum(age + 1, 255))
        now = following
        if steps in (1, 5, 40, 299):
            states, ages = _core.life(8, 12, plane, steps, "wrap", _core.ThreadPool(1))
            np.testing.assert_array_equal(states, now)
            np.testing.assert_array_equal(ages, age)


def test_a_glider_moves_one_cell_down_and_right_in_four_steps() -> None:
    glider = [".#.", "..#", "###"]
    options = {"cell": 1, "size": 16, "palette": "grey"}

    def living(steps: int) -> NDArray[np.bool_]:
        return np.asarray(cellular_automaton(start=glider, steps=steps, **options)[..., 0] > 100)  # type: ignore[arg-type]

    for turns in (1, 2, 20):
        moved = np.roll(living(0), (turns, turns), axis=(0, 1))
        np.testing.assert_array_equal(living(4 * turns), moved)


@pytest.mark.parametrize("rule", ["", "B3", "B9/S2", "3/23x", 30, None, "B3/S23/B3"])
def test_rules_of_planes_that_are_none(rule: object) -> None:
    with pytest.raises(ImageError, match="rule"):
        cellular_automaton(rule, size=8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": 256},
        {"rule": -1},
        {"rule": 1.5},
        {"rule": True},
        {"start": "abc"},
        {"start": ""},
        {"start": [0, 2]},
        {"start": [[0], [1]]},
        {"start": np.zeros((0,), int)},
        {"start": [0.5]},
        {"start": 3},
        {"density": float("nan")},
        {"density": 1.1},
        {"boundary": "torus"},
        {"cell": 0},
        {"color_by": "age"},
    ],
)
def test_wrong_values_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ImageError, match="expected"):
        elementary_automaton(**{"size": 4, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [1, 2, 7, 8, 100])
def test_a_single_cell_lies_at_half_the_width(width: int) -> None:
    row = elementary_automaton(90, width=width, height=1, palette=BLACK_WHITE)[0, :, 0]
    np.testing.assert_array_equal(np.flatnonzero(row), [width // 2])


def test_planes_drawn_by_state_have_two_colours() -> None:
    start = np.random.default_rng(3).integers(0, 2, (19, 24)).astype(np.uint8)
    image = cellular_automaton(
        start=start, steps=6, cell=1, size=(24, 19), color_by="state", palette=BLACK_WHITE
    )
    states, _ = _core.life(8, 12, start, 6, "wrap", _core.ThreadPool(1))
    np.testing.assert_array_equal(image[..., 0], 255 * states)
    with pytest.raises(ImageError, match="expected one of age, state"):
        cellular_automaton(color_by="neighborhood", size=4)
