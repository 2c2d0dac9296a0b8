"""Affine maps against their definition, OpenCV, Pillow and SciPy, their laws, and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.compose.filter_reference import TOP, as_type, random_image, warped

from fastsynth import ImageError, _core
from fastsynth.compose import affine

KINDS = ["bilinear", "bicubic", "lanczos"]
BORDERS = ["constant", "replicate", "reflect", "mirror", "wrap"]


def inverse_of(matrix: Any) -> np.ndarray:
    full = np.vstack([np.asarray(matrix, np.float64), [0, 0, 1]])
    return np.linalg.inv(full)[:2]


def smooth_image(height: int, width: int) -> np.ndarray:
    """Low frequencies only: what antialiasing may not change."""
    y, x = np.mgrid[:height, :width]
    planes = [0.5 + 0.4 * np.sin(x / (9 + c) + y / (7 - c)) for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_agrees_with_the_definition(dtype: str, kind: Any) -> None:
    image = random_image((13, 17, 3), dtype)
    matrix = [[0.8, 0.5, 1.3], [-0.3, 1.1, 2.2]]  # turns, shears, and shrinks in one direction
    found = affine(image, matrix, size=(19, 15), interpolation=kind)
    exact = warped(image, inverse_of(matrix), (19, 15), kind=kind, border="constant")
    error = np.abs(np.asarray(found, np.float64) - as_type(exact, dtype))
    # The weights' table costs up to 1e-4 where the kernel has a kink.
    assert error.max() <= {"uint8": 1, "uint16": 12, "float32": 2e-4}[dtype]
    assert error.mean() <= {"uint8": 0.01, "uint16": 1, "float32": 1e-5}[dtype]


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7, 3), (6, 1, 1), (5, 9, 3)])
def test_borders(shape: tuple[int, ...], border: Any) -> None:
    image = random_image(shape, "float32")
    matrix = [[1.2, 0.4, -3], [-0.5, 0.9, 2]]
    for kind in KINDS:
        found = affine(
            image, matrix, size=(16, 12), interpolation=kind, border=border, constant=0.5,
            antialias=False, clip=False,
        )  # fmt: skip
        exact = warped(
            image, inverse_of(matrix), (16, 12), kind=kind, border=border, constant=0.5,
            antialias=False,
        )  # fmt: skip
        assert found.shape[2:] == shape[2:]
        np.testing.assert_allclose(found, exact, atol=4e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.5, 0.37, 0.11])
def test_shrinking_agrees_with_pillow(factor: float, kind: Any) -> None:
    """Pillow's resize widens the same kernels in the same way; it cuts them at the border."""
    image = random_image((120, 160), "float32")
    size = (round(160 * factor), round(120 * factor))
    scale = (size[0] / 160, size[1] / 120)
    matrix = [[scale[0], 0, 0], [0, scale[1], 0]]
    found = affine(image, matrix, size=size, interpolation=kind, clip=False)
    filters = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    theirs = np.asarray(Image.fromarray(image).resize(size, filters[kind]))
    margin = 4
    inside = (slice(margin, -margin), slice(margin, -margin))
    np.testing.assert_allclose(found[inside], theirs[inside], atol=1e-4)


def test_rotation_agrees_with_pillow() -> None:
    image = (smooth_image(60, 81) * 255).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(image).rotate(33, Image.Resampling.BILINEAR))
    ours = affine(image, rotate=33)
    inside = (slice(20, 40), slice(25, 55))
    np.testing.assert_allclose(ours[inside].astype(int), theirs[inside].astype(int), atol=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_agrees_with_opencv(dtype: str) -> None:
    """Points of OpenCV are half a pixel off; its positions are rounded to 1/32 pixel."""
    cv2 = pytest.importorskip("cv2")
    image = (smooth_image(70, 90) * TOP[dtype]).astype(dtype)
    turn = cv2.getRotationMatrix2D((44.5, 34.5), 25, 1.2)
    half = np.array([0.5, 0.5])
    matrix = turn.copy()
    matrix[:, 2] += half - turn[:, :2] @ half
    for border, flag in (("reflect", cv2.BORDER_REFLECT), ("replicate", cv2.BORDER_REPLICATE)):
        theirs = cv2.warpAffine(image, turn, (90, 70), flags=cv2.INTER_LINEAR, borderMode=flag)
        ours = affine(image, matrix, border=border)  # type: ignore[arg-type]
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) / TOP[dtype]
        assert difference.max() < 0.01
        np.testing.assert_array_equal(ours, affine(image, rotate=25, scale=1.2, border=border))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("border", "mode"), [("reflect", "reflect"), ("constant", "grid-constant")]
)
def test_agrees_with_scipy(border: Any, mode: Any) -> None:
    from scipy import ndimage

    image = random_image((30, 40), "float32")
    inverse = np.array([[0.7, 0.2], [-0.3, 0.8]])  # rows and columns, output to input
    theirs = ndimage.affine_transform(
        image.astype(np.float64), inverse, (4, 5), (30, 40), order=1, mode=mode, cval=0.25
    )
    swapped = inverse[::-1, ::-1]
    shift = np.array([5, 4]) + 0.5 - swapped @ (0.5, 0.5)
    matrix = inverse_of(np.column_stack([swapped, shift]))
    ours = affine(image, matrix, border=border, constant=0.25)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


# ---- laws ----

shapes = st.one_of(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4])),
)
dtypes = st.sampled_from(["uint8", "uint16", "float32"])
kinds = st.sampled_from(["nearest", *KINDS])


def opaque(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    image = random_image(shape, dtype, seed=sum(shape))
    if shape[2:] == (4,):
        image[..., 3] = TOP[dtype]
    return image


@settings(max_examples=60, deadline=None)
@given(shapes, dtypes, kinds, st.sampled_from(BORDERS))
def test_the_identity_changes_nothing(
    shape: tuple[int, ...], dtype: str, kind: Any, border: Any
) -> None:
    image = opaque(shape, dtype)
    found = affine(image, interpolation=kind, border=border)
    np.testing.assert_allclose(found, image, rtol=1e-6 if dtype == "float32" else 0)


@settings(max_examples=60, deadline=None)
@given(shapes, kinds, st.integers(-4, 4), st.integers(-4, 4))
def test_whole_shifts_are_exact(shape: tuple[int, ...], kind: Any, right: int, down: int) -> None:
    image = opaque(shape, "uint8")
    found = affine(image, translate=(right, down), interpolation=kind, border="wrap")
    np.testing.assert_array_equal(found, np.roll(image, (down, right), (0, 1)))


@settings(max_examples=40, deadline=None)
@given(shapes, kinds, st.integers(-3, 5))
def test_quarter_turns_and_mirrors_are_exact(shape: tuple[int, ...], kind: Any, turns: int) -> None:
    image = opaque(shape, "uint8")
    found = affine(image, rotate=90 * turns, size="fit", interpolation=kind)
    np.testing.assert_array_equal(found, np.rot90(image, turns))
    found = affine(image, scale=(-1, 1), interpolation=kind)
    np.testing.assert_array_equal(found, image[:, ::-1])


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-180, 180), st.floats(0.8, 1.3), st.floats(-0.3, 0.3), st.floats(-9, 9),
    st.floats(-180, 180),
)  # fmt: skip
def test_maps_compose(turn: float, scale: float, shear: float, shift: float, more: float) -> None:
    """One map after the other is the product of the matrices, where the picture is smooth."""
    image = smooth_image(96, 96)

    def about_centre(degrees: float, factor: float, slope: float, move: float) -> np.ndarray:
        angle = math.radians(degrees)
        c, s = math.cos(angle), math.sin(angle)
        matrix = np.array([[c, s], [-s, c]]) @ [[1, slope], [0, 1]] * factor
        centre = np.array([48, 48])
        return np.column_stack([matrix, centre - matrix @ centre + move])

    first, second = about_centre(turn, scale, shear, shift), about_centre(more, 1, 0, -shift / 2)
    options: Any = {"interpolation": "bicubic", "border": "reflect", "antialias": False}
    twice = affine(affine(image, first, **options), second, **options)
    product = np.vstack([second, [0, 0, 1]]) @ np.vstack([first, [0, 0, 1]])
    once = affine(image, product, **options)
    np.testing.assert_allclose(twice[36:60, 36:60], once[36:60, 36:60], atol=0.01)
    parts = affine(
        image, rotate=turn, scale=scale, shear=shear, translate=(shift, shift), **options
    )
    np.testing.assert_allclose(parts, affine(image, first, **options), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 3), st.floats(0.05, 3), st.floats(-180, 180), st.sampled_from(KINDS))
def test_a_constant_stays_constant(x: float, y: float, turn: float, kind: Any) -> None:
    image = np.full((40, 30), 0.3, np.float32)
    found = affine(image, rotate=turn, scale=(x, y), interpolation=kind, border="replicate")
    np.testing.assert_allclose(found, 0.3, atol=1e-6)


def test_shrinking_does_not_alias() -> None:
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = affine(board, scale=0.23, rotate=10, size=(40, 40))
    assert np.ptp(found.astype(int)) <= 4
    assert abs(float(found.mean()) - 127.5) < 2
    assert np.ptp(affine(board, scale=0.23, rotate=10, size=(40, 40), antialias=False)) > 100


@pytest.mark.parametrize("kind", KINDS)
def test_shrinking_keeps_the_edge(kind: Any) -> None:
    white = np.full((64, 96), 255, np.uint8)
    for scale in (0.5, 0.25):
        assert (affine(white, scale=scale, size="fit", interpolation=kind) == 255).all()


def test_shrinking_to_a_pixel() -> None:
    image = random_image((300, 500), "float32")
    found = affine(image, [[1 / 500, 0, 0], [0, 1 / 300, 0]], size=(1, 1), border="reflect")
    assert found.shape == (1, 1)
    assert float(found[0, 0]) == pytest.approx(0.5, abs=0.02)


# ---- sizes, alpha, linear light, records ----


def test_sizes() -> None:
    image = random_image((20, 30, 3), "uint8")
    assert affine(image, scale=2).shape == (20, 30, 3)
    assert affine(image, scale=2, size="fit").shape == (40, 60, 3)
    assert affine(image, rotate=45, size="fit").shape == (36, 36, 3)
    assert affine(image, size=(7, 5)).shape == (5, 7, 3)
    assert affine(image, size=60).shape == (40, 60, 3)
    # The centre goes to the centre.
    np.testing.assert_array_equal(affine(image, size=(10, 10)), image[5:15, 10:20])
    # A corner that stays.
    grown = affine(image, scale=2, center=(0, 0), interpolation="nearest")
    np.testing.assert_array_equal(
        grown[:20, :30], np.repeat(np.repeat(image, 2, 0), 2, 1)[:20, :30]
    )


def test_transparent_colours_do_not_bleed() -> None:
    image = np.zeros((9, 9, 4), np.uint8)
    image[..., 1] = 255
    image[2:7, 2:7] = (200, 0, 0, 255)
    found = affine(image, rotate=30, interpolation="bilinear").astype(int)
    seen = found[..., 3] > 0
    assert seen.any()
    assert (found[seen][:, 1] == 0).all()
    assert (np.abs(found[seen][:, 0] - 200) <= 1).all()
    assert (affine(image, rotate=30, scale=0.3)[0, 0] == 0).all()


def test_linear_light() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)
    found = affine(board, scale=0.25, size="fit", linear=True)
    middle = 1.055 * 0.5 ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(found[4:12, 4:12], middle, atol=2e-3)


def test_the_record_repeats_the_step() -> None:
    image = random_image((20, 30, 3), "uint8")
    first = affine(image, rotate=20, scale=(0.5, 1.2), size="fit", constant=(1, 2, 3))
    second = affine(first, [[1, 0.2, 0], [0, 1, 0.5]], interpolation="lanczos", border="wrap")
    assert second.provenance is not None
    again: Any = image
    for step in second.provenance["arguments"]["steps"]:
        assert step.pop("step") == "affine"
        step["size"] = step["size"] if step["size"] == "fit" else tuple(step["size"])
        again = affine(again, **step)
    np.testing.assert_array_equal(again, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": np.eye(2)}, "2, 3"),
        ({"matrix": "identity"}, "numbers"),
        ({"matrix": np.full((2, 3), np.nan)}, "finite"),
        ({"matrix": np.ones((3, 3))}, "last row"),
        ({"matrix": [[1, 1, 0], [1, 1, 0]]}, "determinant"),
        ({"matrix": np.eye(3), "rotate": 3}, "one or the other"),
        ({"scale": 0}, "determinant"),
        ({"scale": (1, 2, 3)}, "two numbers"),
        ({"rotate": float("inf")}, "rotate"),
        ({"shear": "much"}, "shear"),
        ({"translate": 1e12}, "away|two numbers"),
        ({"translate": (1e12, 0)}, "away"),
        ({"center": (1, None)}, "center"),
        ({"size": 0}, "size"),
        ({"size": "fit", "scale": 1e5}, "at most"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"border": "none"}, "border"),
        ({"constant": (1, 2)}, "constant"),
        ({"threads": -1}, "threads"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        affine(**{"image": np.zeros((8, 9, 3), np.uint8), **arguments})


def test_the_core_checks_again() -> None:
    image = np.zeros((3, 3, 1), np.uint8)
    rest = (True, True, "reflect", [0.0], False, "channel", _core.ThreadPool(1))
    with pytest.raises(ValueError, match="interpolation"):
        _core.affine(image, image.copy(), [1, 0, 0, 0, 1, 0], "cubic", *rest)
    other = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(ValueError, match="differ"):
        _core.affine(image, other, [1, 0, 0, 0, 1, 0], "bilinear", *rest)
