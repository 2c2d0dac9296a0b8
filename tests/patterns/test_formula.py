"""Formulas: the parser against hostile text, the machine against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastsynth import ImageError, _core
from fastsynth.patterns import formula
from fastsynth.patterns.expression import (
    CONSTANTS,
    VARIABLES,
    Call,
    Node,
    Number,
    compile_expression,
    functions,
    parse,
)

Array = NDArray[np.float64]
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(-3, 3, 1001), RNG.uniform(-3, 3, 1001)


def evaluate(text: str, x: Array = X, y: Array = Y, t: float = 0.75, seed: int = 0) -> Array:
    return _core.evaluate_formula(compile_expression(text), x, y, t, seed)


def smoothstep(low: Array, high: Array, v: Array) -> Array:
    s = np.clip((v - low) / (high - low), 0, 1)
    return np.asarray(s * s * (3 - 2 * s))


R, THETA, T = np.hypot(X, Y), np.arctan2(Y, X), 0.75
CASES: list[tuple[str, Array]] = [
    ("x", X),
    ("r + theta", R + THETA),
    ("t * pi + tau - e / phi", np.full_like(X, T * np.pi + math.tau - np.e / ((1 + 5**0.5) / 2))),
    ("-x^2", -(X**2)),
    ("2^-x", 2.0**-X),
    ("2^3^0.5*x", 2 ** (3**0.5) * X),
    ("x - y - 1", X - Y - 1),
    ("x / y / 2", X / Y / 2),
    ("x * y % 0.7", (X * Y) % 0.7),
    ("x % -0.7", X % -0.7),
    ("!(x > y) + 1", np.where(X > Y, 1.0, 2.0)),
    ("x < y && y <= 1 || x >= 2", ((X < Y) & (Y <= 1) | (X >= 2)).astype(float)),
    ("(x == x) + (x != y) * 2", np.full_like(X, 3.0)),
    ("x > 0 ? y > 0 ? 1 : 2 : 3", np.where(X > 0, np.where(Y > 0, 1.0, 2.0), 3.0)),
    ("where(x, 1, 2)", np.ones_like(X)),
    ("abs(x) + sign(y)", np.abs(X) + np.sign(Y)),
    ("floor(x) + ceil(y) * 10", np.floor(X) + np.ceil(Y) * 10),
    ("round(7*x) + fract(y)", np.round(7 * X) + Y - np.floor(Y)),
    ("sqrt(r) + exp(x)", np.sqrt(R) + np.exp(X)),
    ("exp(40*x)", np.exp(40 * X)),
    ("log(r) + log2(r)", np.log(R) + np.log2(R)),
    ("sin(x) + 2*cos(y)", np.sin(X) + 2 * np.cos(Y)),
    ("sin(3000*x)", np.sin(3000 * X)),
    ("tan(x)", np.tan(X)),
    ("asin(x/3) + acos(y/3)", np.arcsin(X / 3) + np.arccos(Y / 3)),
    ("atan(9*x)", np.arctan(9 * X)),
    ("sinh(x) + cosh(y)", np.sinh(X) + np.cosh(Y)),
    ("sinh(x/50)", np.sinh(X / 50)),
    ("tanh(x) + tanh(y/100)", np.tanh(X) + np.tanh(Y / 100)),
    ("min(x, y, 0.5)", np.minimum(np.minimum(X, Y), 0.5)),
    ("max(x, y, -0.5)", np.maximum(np.maximum(X, Y), -0.5)),
    ("pow(r, 1.7)", R**1.7),
    ("x^3 + y^-2", X**3 + Y**-2.0),
    ("round(x)^round(3*abs(y)+1)", np.round(X) ** np.round(3 * np.abs(Y) + 1)),
    ("atan2(x, y)", np.arctan2(X, Y)),
    ("hypot(x, 2)", np.hypot(X, 2)),
    ("step(0.5, x)", (X >= 0.5).astype(float)),
    ("clamp(x, -1, 1) + mix(x, y, 0.25)", np.clip(X, -1, 1) + 0.75 * X + 0.25 * Y),
    ("smoothstep(-1, 2, x)", smoothstep(np.array(-1.0), np.array(2.0), X)),
    ("1.5e1 + .5 + 2.", np.full_like(X, 17.5)),
    ("+x--y", X + Y),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CASES, ids=[text for text, _ in CASES])
def test_values_agree_with_numpy(text: str, wanted: Array) -> None:
    np.testing.assert_allclose(evaluate(text), wanted, rtol=2e-13, atol=2e-13)


def test_special_values_agree_with_numpy() -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-310, 1e300, -2.5])
    with np.errstate(all="ignore"):
        wanted: dict[str, Array] = {
            "exp(x)": np.exp(x),
            "log(x)": np.log(x),
            "sqrt(x)": np.sqrt(x),
            "1/x": 1 / x,
            "atan(x)": np.arctan(x),
            "tanh(x)": np.tanh(x),
            "floor(x)": np.floor(x),
        }
    for text, values in wanted.items():
        np.testing.assert_allclose(evaluate(text, x, x), values, rtol=1e-13, err_msg=text)


def test_noise_is_smooth_bounded_and_zero_at_whole_points() -> None:
    n = 400
    x = np.linspace(-5, 5, n)
    values = evaluate("noise(x, y)", x, np.full(n, 0.37))
    assert np.abs(values).max() <= 1
    assert values.std() > 0.1
    assert np.abs(np.diff(values)).max() < 0.2
    whole = np.arange(-20.0, 20)
    assert not evaluate("noise(x, y)", whole, whole[::-1].copy()).any()
    assert (evaluate("noise(x, y)", x, x + 0.5, seed=1) != values).any()
    octaves = [
        0.5 ** (k + 1) * evaluate(f"noise({2**k}*x, {2**k}*y)", seed=101 * k) for k in range(5)
    ]
    np.testing.assert_allclose(evaluate("fbm(x, y)"), sum(octaves) * 32 / 31, atol=1e-14)


def trees() -> st.SearchStrategy[Node]:
    leaves = st.one_of(
        st.floats(0, 1e300).map(Number),
        st.sampled_from(VARIABLES).map(Call),
        st.sampled_from(sorted(CONSTANTS.values())).map(Number),
    )
    counts = {name: 2 if name in ("min", "max") else n for name, n in functions().items()}
    infix = {"add": 2, "subtract": 2, "multiply": 2, "divide": 2, "less": 2, "less_equal": 2}
    infix |= {"equal": 2, "not_equal": 2, "and_": 2, "or_": 2, "negate": 1, "not_": 1}
    every = {**counts, **infix}
    return st.recursive(
        leaves,
        lambda inner: st.sampled_from(sorted(every)).flatmap(
            lambda name: st.tuples(*[inner] * every[name]).map(lambda ops: Call(name, ops))
        ),
        max_leaves=12,
    )


@given(trees())
@settings(max_examples=150, deadline=None)
def test_printed_trees_are_parsed_to_themselves(tree: Node) -> None:
    assert parse(str(tree)) == tree
    values = evaluate(str(tree), np.array([0.3, -2.0]), np.array([0.0, 1.0]))
    assert values.shape == (2,)


@given(
    st.one_of(st.text(max_size=80), st.text("()+-*/^%<>=!&|?:,.0123456789exyrtsin ", max_size=60))
)
@settings(max_examples=400, deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        program = compile_expression(text)
    except ImageError:
        return  # the only error that text may raise
    assert _core.evaluate_formula(program, X[:3], Y[:3], 0.0, 0).shape == (3,)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 1),
        ("   ", 1),
        ("1 +", 4),
        ("sin(x", 6),
        ("sin x", 1),
        ("x y", 3),
        ("1e999", 1),
        ("2 * 1e999", 5),
        ("x.__class__", 2),
        ("__import__('os')", 12),
        ("x; y", 2),
        ("x\u00d72", 2),
        ("\u0661 + 1", 1),
        ("lambda: 0", 1),
        ("clamp(x, 1)", 1),
        ("min(x)", 1),
        ("x ? y", 6),
        (")", 1),
        ("x = 1", 3),
        ("f(x)", 1),
        ("x(1)", 1),
        ("\x00", 1),
    ],
)
def test_the_place_of_an_error_is_shown(text: str, place: int) -> None:
    with pytest.raises(ImageError, match=rf"at character {place} "):
        compile_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "(" * 70 + "x" + ")" * 70,
        "-" * 9999 + "x",
        "x" + "^x" * 4000,
        "x" + "+x" * 4000,
        ("(" * 50 + "x" + "+x" * 150) + (")" + "+x" * 60) * 50,
        "x?" * 3000,
        "sin(" * 2000,
        "1" * 20_000,
        "min(" + "x," * 4000 + "x)",
        "9" * 400,
    ],
)
def test_large_and_deep_text_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="expression"):
        compile_expression(text)


def test_text_is_measured_before_it_is_cut() -> None:
    with pytest.raises(ImageError, match="40000000 characters"):
        formula(";" * 40_000_000, size=4)


def test_the_core_checks_programs_itself() -> None:
    one = np.array([1.0])
    for codes, constants in (
        ([[99, 0]], []),
        ([[-1, 0]], []),
        ([[0, 0]], []),
        ([[0, -1]], [1.0]),
        ([[8, 0]], []),
        ([], []),
        ([[1, 0], [1, 0]], []),
        ([[1, 0]] * 300 + [[8, 0]] * 299, []),
        ([[1, 0], [18, 1000]], []),
    ):
        program = np.array(codes, np.int32).reshape(-1, 2), np.array(constants, np.float64)
        with pytest.raises(ValueError, match=r"operation|constant|operand|value|power"):
            _core.evaluate_formula(program, one, one, 0.0, 0)


def test_the_plane_keeps_its_aspect() -> None:
    """x spans ± 2 in a picture twice as wide as high; y is up."""
    image = formula("x; y; 0", size=(8, 4), dtype="float32", antialias=False)
    from fastsynth.image import linear_to_srgb, srgb_to_linear  # the table's rounding is allowed

    x = np.clip((np.arange(8) + 0.5 - 4) / 2, 0, 1).astype(np.float32)
    y = np.clip((1.5 - np.arange(4)) / 2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(image[0, :, 0], linear_to_srgb(srgb_to_linear(x)), atol=2e-4)
    np.testing.assert_allclose(image[:, 0, 1], linear_to_srgb(srgb_to_linear(y)), atol=2e-4)
    assert not image[..., 2].any()


def test_antialiasing_averages_linear_light() -> None:
    """An edge at x = 0, in the middle of the middle pixel: 3 of its 9 samples are to the right."""
    image = formula("x > 0", size=(3, 1), value_range=(0, 1), palette="grey", dtype="float32")
    share = 3 / 9
    assert image[0, 1, 0] == pytest.approx(1.055 * share ** (1 / 2.4) - 0.055, abs=1e-5)
    hard = formula("x > 0", size=(3, 1), value_range=(0, 1), palette="grey", antialias=False)
    assert hard[0, :, 0].tolist() == [0, 0, 255]


def test_what_is_not_a_number_is_drawn_as_0() -> None:
    image = formula("log(-1); sqrt(-x*x-1); 1", size=4)
    assert image[0, 0].tolist() == [0, 0, 255]
    assert formula("0/0", size=2, palette=["red", "blue"])[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"expression": "x; y"},
        {"expression": b"x"},
        {"expression": 3},
        {"expression": ["x", 2, "y"]},
        {"value_range": (1, 1)},
        {"value_range": 3},
        {"value_range": (0, float("nan"))},
        {"zoom": 0},
        {"center": (1,)},
        {"t": "0"},
    ],
)
def test_wrong_values_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ImageError, match="expected"):
        formula(**{"size": 4, **wrong})  # type: ignore[arg-type]
