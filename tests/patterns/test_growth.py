"""Phyllotaxis, L-systems, function systems, fractals and trochoids: known facts about them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastsynth import ImageError, _core
from fastsynth.patterns import (
    FUNCTION_SYSTEMS,
    GOLDEN_ANGLE,
    LSYSTEMS,
    expand_lsystem,
    iterated_function_system,
    julia,
    lsystem,
    mandelbrot,
    phyllotaxis,
    sunflower,
    trochoid,
    trochoid_points,
)
from fastsynth.patterns.function_systems import _maps


def test_seeds_lie_at_the_golden_angle_and_evenly() -> None:
    places = phyllotaxis(500)
    angles = np.degrees(np.arctan2(places[:, 1], places[:, 0]))
    steps = np.mod(np.diff(angles), 360)
    np.testing.assert_allclose(steps, 137.50776405003785, atol=1e-9)
    np.testing.assert_allclose(math.radians(GOLDEN_ANGLE), math.pi * (3 - 5**0.5), rtol=1e-15)
    np.testing.assert_allclose(np.hypot(*places.T) ** 2 * 500, np.arange(500) + 0.5)
    # Every ring of equal area holds the same number; neighbours keep a distance.
    counts, _ = np.histogram(np.hypot(*places.T) ** 2, bins=10, range=(0, 1))
    assert set(counts) == {50}
    away = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 9 * np.eye(500)
    assert away.min() > 1.0 * math.sqrt(1 / 500)


def test_a_sunflower_has_its_parts() -> None:
    image = sunflower(size=201, dtype="float32").array
    assert image[100, 35, 0] > 0.6  # a petal is yellow
    assert image[100, 35, 2] < 0.45
    assert image[95:106, 95:106].mean() < 0.4  # the disc is dark
    np.testing.assert_allclose(image[2, 2], np.array([0.0512, 0.118, 0.1412]), atol=0.03)
    alone = sunflower(200, petals=0, size=200)
    assert alone.provenance is not None
    assert alone.provenance["arguments"]["petals"] == 0


def test_lengths_of_known_strings() -> None:
    algae = [len(expand_lsystem("A", {"A": "AB", "B": "A"}, n)) for n in range(20)]
    assert algae[:2] == [1, 2]
    assert all(c == a + b for a, b, c in zip(algae, algae[1:], algae[2:], strict=False))
    for n in range(7):
        assert expand_lsystem("F", {"F": "F+F--F+F"}, n).count("F") == 4**n
        assert (
            expand_lsystem("F", {"F": "F+G", "G": "F-G"}, n).count("-")
            + expand_lsystem("F", {"F": "F+G", "G": "F-G"}, n).count("+")
            == 2**n - 1
        )
    hilbert = LSYSTEMS["hilbert"]
    assert expand_lsystem(hilbert.axiom, hilbert.rules, 5).count("F") == 4**5 - 1


@pytest.mark.parametrize("name", ["hilbert", "moore"])
def test_space_filling_curves_visit_every_place_once(name: str) -> None:
    system = LSYSTEMS[name]
    text = expand_lsystem(system.axiom, system.rules, 4)
    strokes, _ = _core.turtle(text, math.radians(system.angle), 0.0, "F", "", "")
    places = np.rint(np.vstack([strokes[:, :2], strokes[-1:, 2:4]])).astype(int)
    side = math.isqrt(len(places))
    assert len({tuple(p) for p in places}) == len(places) == side * side
    assert np.ptp(places, axis=0).tolist() == [side - 1, side - 1]


def test_the_turtle_follows_its_commands() -> None:
    strokes, leaves = _core.turtle("F[+FL]f|F", math.pi / 2, 0.0, "F", "f", "L")
    np.testing.assert_allclose(
        strokes[:, :4], [[0, 0, 1, 0], [1, 0, 1, 1], [2, 0, 1, 0]], atol=1e-6
    )
    assert strokes[:, 6].tolist() == [1, 0, 0]  # ways to the tips
    assert strokes[:, 7].tolist() == [0, 1, 0]
    np.testing.assert_allclose(leaves, [[1, 1, math.pi / 2, 2]], atol=1e-6)


def test_chance_follows_weights_and_seed() -> None:
    rules = {"A": [["B", 3], ["C", 1]]}
    text = expand_lsystem("A" * 20000, rules, 1, seed=5)
    assert abs(text.count("B") / 20000 - 0.75) < 0.015
    assert text == expand_lsystem("A" * 20000, rules, 1, seed=5)
    assert text != expand_lsystem("A" * 20000, rules, 1, seed=6)


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"preset": "plant_z"}, "no L-system"),
        ({"preset": 3}, "no L-system"),
        ({"axiom": "F", "rules": {"F": "FF"}, "steps": 40}, "fewer steps"),
        ({"axiom": "F]"}, "without its"),
        ({"axiom": "\u00e9"}, "ASCII"),
        ({"axiom": "F", "rules": {"FF": "F"}}, "one symbol"),
        ({"axiom": "F", "rules": {"+": "F"}}, "one symbol"),
        ({"axiom": "F", "rules": {"F": []}}, "expected text"),
        ({"axiom": "F", "rules": {"F": [["F", 0]]}}, "weight"),
        ({"axiom": "F", "rules": {"F": [["F"]]}}, "weight"),
        ({"axiom": "F", "rules": "F"}, "mapping"),
        ({"steps": -1}, "steps"),
        ({"angle": math.inf}, "angle"),
        ({"thickness": 1}, "thickness"),
        ({"color_by": "x"}, "color_by"),
    ],
)
def test_wrong_lsystems_are_named(keywords: dict[str, Any], match: str) -> None:
    with pytest.raises(ImageError, match=match):
        lsystem(size=8, **keywords)


@pytest.mark.parametrize("name", sorted(LSYSTEMS))
def test_every_plant_and_curve_fits_its_frame(name: str) -> None:
    image = lsystem(name, size=(90, 70), steps=min(3, LSYSTEMS[name].steps), background="white")
    drawn = (image.array < 250).any(axis=2)
    assert drawn.any()
    assert not drawn[0].any()
    assert not drawn[-1].any()
    assert not drawn[:, 0].any()
    assert not drawn[:, -1].any()


def test_an_empty_drawing_is_the_background() -> None:
    image = lsystem(axiom="A", size=4, background="red")
    assert (image == np.array([255, 0, 0])).all()


@pytest.mark.parametrize("name", sorted(FUNCTION_SYSTEMS))
def test_fixed_points_belong_to_the_attractor(name: str) -> None:
    maps = _maps(name)
    left, bottom, right, top = _core.ifs_extent(maps, 0)
    for a, b, c, d, e, f, *_ in maps:
        x, y = np.linalg.solve(np.eye(2) - np.array([[a, b], [c, d]]), [e, f])
        slack = 0.02 * max(right - left, top - bottom)
        assert left - slack <= x <= right + slack
        assert bottom - slack <= y <= top + slack


def test_sierpinski_is_pascals_triangle_modulo_2() -> None:
    """The right-angled gasket: the pixels with points are those with i & j == 0."""
    half = [(0.5, 0, 0, 0.5, 0, 0), (0.5, 0, 0, 0.5, 0.5, 0), (0.5, 0, 0, 0.5, 0, 0.5)]
    maps = np.array([(*row, 1.0, 0.0) for row in half])
    image = np.zeros((32, 32, 3), np.uint8)
    white = np.ones((2, 3), np.float32)
    _core.draw_ifs(
        image, maps, 0.0, 1.0, 1 / 32, 200.0, 1.0, (0.0, 0.0, 0.0), 0, white, _core.ThreadPool(2)
    )
    i, j = np.meshgrid(np.arange(32), np.arange(32))
    np.testing.assert_array_equal(image[::-1, :, 0] > 0, (i & j) == 0)


def test_weights_are_the_shares_of_the_maps() -> None:
    """Two maps to points: their pixels' counts are 1 : 3, so log-density tells them apart."""
    maps = np.array([(0, 0, 0, 0, 0.25, 0.75, 1, 0), (0, 0, 0, 0, 0.75, 0.75, 3, 1)], float)
    image = np.zeros((1, 2, 3), np.float32)
    white = np.ones((2, 3), np.float32)
    _core.draw_ifs(
        image, maps, 0.0, 1.0, 0.5, 5000.0, 1.0, (0.0, 0.0, 0.0), 1, white, _core.ThreadPool(1)
    )
    linear = ((image[0, :, 0] + 0.055) / 1.055) ** 2.4
    wanted = math.log1p(2500) / math.log1p(7500)
    assert linear[0] / linear[1] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(
    "maps",
    [
        "ferns",
        [],
        [[1, 2, 3]],
        [[math.nan] * 6],
        [[0.5] * 6 + [0]],
        [[2, 0, 0, 2, 1, 1]],
        7,
        ["abc"],
    ],
)
def test_wrong_maps_are_named(maps: Any) -> None:
    with pytest.raises(ImageError, match=r"map|function system"):
        iterated_function_system(maps, size=8)


INSIDE = [
    (0, 0),
    (-1, 0),
    (-2, 0),
    (0.25, 0),
    (-0.12256, 0.74486),
    (0, 1),
    (-1.3107, 0),
    (0.1, 0.5),
]
OUTSIDE = [(0.26, 0), (-2.001, 0), (1, 0), (0.5, 0.5), (-0.75, 0.2), (0, 1.01), (0.4, -0.35)]


def test_known_members_of_the_mandelbrot_set() -> None:
    x, y = np.array(INSIDE + OUTSIDE, float).T.copy()
    found = _core.escape_iterations(x, y, 20000)
    assert (found[: len(INSIDE)] == -1).all()
    assert (found[len(INSIDE) :] >= -0.01).all()


def test_iterations_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-2, 1, 997), rng.uniform(-1.2, 1.2, 997)
    for julia_c in (None, (-0.8, 0.156)):
        found = _core.escape_iterations(x, y, 200, julia_c)
        for px, py, smooth in zip(x, y, found, strict=True):
            z = complex(px, py)
            c = z if julia_c is None else complex(*julia_c)
            count = 0
            while abs(z) ** 2 < 65536 and count < 200:
                z, count = z * z + c, count + 1
            if abs(z) ** 2 < 65536:
                assert smooth == -1
            else:
                wanted = count - math.log2(math.log(abs(z) ** 2) / math.log(65536))
                assert smooth == pytest.approx(wanted, abs=1e-9)


def test_area_of_the_mandelbrot_set() -> None:
    """1.50659 (Ewing & Schober 1992; Förstemann 2012), by the share of a grid's points."""
    n = 600
    x, y = np.meshgrid((np.arange(n) + 0.5) / n * 3 - 2.2, (np.arange(n) + 0.5) / n * 1.25)
    inside = _core.escape_iterations(x.ravel(), y.ravel(), 2000) < 0
    assert inside.mean() * 3 * 1.25 * 2 == pytest.approx(1.5066, abs=0.01)


def test_the_set_is_symmetric_and_zoom_and_angle_move_the_view() -> None:
    image = mandelbrot(size=(64, 65), max_iterations=100)
    np.testing.assert_array_equal(image, image[::-1])
    turned = mandelbrot(size=65, angle=180, center=(0.3, -0.2))
    flipped = mandelbrot(size=65, center=(0.3, -0.2))[::-1, ::-1]
    assert np.abs(turned.astype(int) - flipped.astype(int)).mean() < 0.5
    half = mandelbrot(size=(32, 32), antialias=False, zoom=2, max_iterations=99)
    whole = mandelbrot(size=(64, 64), antialias=False, zoom=1, max_iterations=99)
    np.testing.assert_array_equal(half, whole[16:48, 16:48])


def test_a_julia_set_of_0_is_the_unit_disc() -> None:
    image = julia(c=0, size=101, antialias=False, inside="black", palette=["white"])
    place = (np.arange(101) + 0.5 - 50.5) * (2 * 1.35 / 101)
    disc = np.hypot(place[None], place[:, None]) < 1
    assert ((image[..., 0] == 0) == disc).mean() > 0.999


@pytest.mark.parametrize(
    "wrong", [{"zoom": 0}, {"zoom": 1e14}, {"center": 3}, {"center": (math.nan, 0)}, {"relief": 2},
              {"max_iterations": 0}, {"inside": "nocolour"}, {"density": math.inf}]
)  # fmt: skip
def test_wrong_views_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="expected"):
        mandelbrot(size=4, **wrong)


def test_trochoids_of_known_forms() -> None:
    # R = 2r: an ellipse with half axes r + d and r - d.
    ellipse = trochoid_points(2, 1, 0.5, 100)
    np.testing.assert_allclose((ellipse[:, 0] / 1.5) ** 2 + (ellipse[:, 1] / 0.5) ** 2, 1)
    # R = 4r, d = r: an astroid x^(2/3) + y^(2/3) = R^(2/3).
    astroid = np.abs(trochoid_points(4, 1, 1, 100))
    np.testing.assert_allclose((astroid ** (2 / 3)).sum(axis=1), 4 ** (2 / 3))
    # An epicycloid with one cusp is a cardioid: closed, its speed 0 once.
    cardioid = trochoid_points(1, -1, 1, 2001)
    np.testing.assert_allclose(cardioid[0], cardioid[-1], atol=1e-12)
    speed = np.hypot(*np.diff(cardioid, axis=0).T)
    assert (speed < 0.05 * speed.max()).sum() < 80
    closed = trochoid_points(105, 45, 60, 50)
    np.testing.assert_allclose(closed[0], closed[-1], atol=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 1, 1, 5), "fixed radius is 0"),
        ((4, 0, 1, 5), "rolling radius is 0"),
        ((np.zeros((2, 2)), 1, 1, 5), "fixed radius is array"),
        ((4, 1, math.inf, 5), "pen's distance is inf"),
        ((4, 1, 1, -1), "count is -1"),
        ((4, 1, 1, 10**9), "count is 1000000000"),
    ],
)
def test_wrong_trochoid_points_are_named(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        trochoid_points(*given)


@pytest.mark.parametrize(
    "curves", [[], 3, "abc", [(1, 2)], [(0, 1, 1)], [(1, 0, 1)], [(1, math.nan, 1)], [("a", 1, 1)]]
)
def test_wrong_curves_are_named(curves: Any) -> None:
    with pytest.raises(ImageError, match="expected"):
        trochoid(curves, size=8)


def test_strings_and_drawings_that_grow_too_large_are_refused() -> None:
    with pytest.raises(ImageError, match="after 25 of 50 steps"):
        lsystem(axiom="F", rules={"F": "FF"}, steps=50, size=8)
    with pytest.raises(ImageError, match="lines and leaves; expected at most 2000000"):
        lsystem(axiom="F", rules={"F": "F+F"}, steps=21, size=8)
    with pytest.raises(ImageError, match="lines and leaves"):
        lsystem(axiom="X" * 2_000_001, leaves="X", steps=1, size=8)
    with pytest.raises(ImageError, match="20000001 symbols"):
        expand_lsystem("F" * 20_000_001, {}, 0)


def test_curves_that_are_too_long_are_refused() -> None:
    with pytest.raises(ImageError, match="steps of two pixels"):
        trochoid([(1000, 1.000001 + k * 1e-9, 1e6) for k in range(500)], size=64)
