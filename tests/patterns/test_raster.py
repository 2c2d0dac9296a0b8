"""The rasteriser: covered areas against geometry, Pillow's fine grids, and its own parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastsynth import ImageError
from fastsynth.patterns.frame import Frame
from fastsynth.patterns.shapes import Shapes

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def cover(shapes: Shapes, width: int, height: int, **options: Any) -> NDArray[np.float64]:
    """The share of each pixel that white shapes cover, from the linear light of the result."""
    frame = Frame.of("t", {"width": width, "height": height, "dtype": "float32", **options})
    shapes.draw(frame, BLACK)
    value = frame.image[..., 0].astype(np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def test_polygons_cover_their_area() -> None:
    rng = np.random.default_rng(0)
    for count in (3, 4, 7, 30):
        angles = np.sort(rng.uniform(0, math.tau, count))
        points = np.column_stack([np.cos(angles), np.sin(angles)]) * (23, 17) + (30.3, 41.7)
        shapes = Shapes()
        shapes.polygon(points, WHITE)
        x, y = points.T
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        found = cover(shapes, 64, 90)
        assert found.sum() == pytest.approx(area, rel=1e-3)
        big = Image.new("L", (64 * 16, 90 * 16))
        corners = [(16 * px, 16 * py) for px, py in points.tolist()]
        ImageDraw.Draw(big).polygon(corners, fill=255)
        fine = np.asarray(big.resize((64, 90), Image.Resampling.BOX)) / 255
        assert np.abs(found - fine).max() < 0.12


def test_polygons_are_cut_at_every_side_of_the_picture() -> None:
    shapes = Shapes()
    shapes.polygon([(-50, -50), (150, -50), (150, 150), (-50, 150)], WHITE)
    np.testing.assert_allclose(cover(shapes, 40, 70), 1, atol=1e-5)
    shapes = Shapes()
    shapes.polygon([(-50, 3.5), (20.25, 3.5), (20.25, 150), (-50, 150)], WHITE)
    wanted = np.zeros((70, 40))
    wanted[3], wanted[4:] = 0.5, 1
    wanted[:, 20] *= 0.25
    wanted[:, 21:] = 0
    np.testing.assert_allclose(cover(shapes, 40, 70), wanted, atol=1e-5)


def test_discs_and_lines_cover_their_area() -> None:
    for radius in (0.3, 0.8, 2.0, 9.7):
        shapes = Shapes()
        shapes.ellipses([(20.4, 37.2)], [(0.6, 0.8)], a=radius, b=radius, near=WHITE, far=WHITE)
        assert cover(shapes, 41, 80).sum() == pytest.approx(math.pi * radius**2, rel=0.12, abs=0.1)
    shapes = Shapes()
    shapes.ellipses([(40, 40)], [(0.6, 0.8)], a=30, b=8, near=WHITE, far=WHITE)
    assert cover(shapes, 80, 80).sum() == pytest.approx(math.pi * 240, rel=0.01)
    for thickness in (0.4, 1.0, 3.0):
        shapes = Shapes()
        shapes.lines(
            [(7, 9)], [(61, 33)], radius=thickness / 2, end_radius=thickness / 2,
            near=WHITE, far=WHITE,
        )  # fmt: skip
        length = math.hypot(54, 24)
        assert cover(shapes, 70, 64).sum() == pytest.approx(length * thickness, rel=0.1)


def test_joined_lines_are_one_shape() -> None:
    """A path drawn twice over itself at half strength stays at half strength."""
    path = np.array([(10.0, 10.0), (40.0, 40.0), (10.0, 10.0)])
    for joined, wanted in ((True, 0.5), (False, 0.75)):
        shapes = Shapes()
        shapes.lines(
            path[:-1], path[1:], radius=4, end_radius=4, near=WHITE, far=WHITE, alpha=0.5,
            joined=joined,
        )  # fmt: skip
        assert cover(shapes, 50, 50)[25, 25] == pytest.approx(wanted, abs=1e-4)


def test_shapes_do_not_depend_on_the_bands_they_cross() -> None:
    """The same drawing, moved down by 7 rows, is the same picture moved down by 7 rows."""
    rng = np.random.default_rng(3)
    start, end = rng.uniform(0, 100, (2, 60, 2))
    pictures = []
    for shift in (0, 7):
        shapes = Shapes()
        offset = np.array((0, shift))
        shapes.lines(
            start + offset, end + offset, radius=2.0, end_radius=0.4, near=WHITE, far=(0, 1, 0),
            alpha=0.6,
        )  # fmt: skip
        shapes.leaves(
            start[:5] + offset, [(0.6, 0.8)] * 5, length=40.0, half_width=7.0, near=WHITE,
            far=WHITE, veins=3.0, fold=0.3, bend=0.1,
        )  # fmt: skip
        pictures.append(cover(shapes, 110, 140))
    np.testing.assert_allclose(pictures[0][:130], pictures[1][7:137], atol=2e-4)


def test_leaves_lie_between_base_and_tip() -> None:
    shapes = Shapes()
    shapes.leaves([(10, 30)], [(1, 0)], length=60, half_width=10, near=WHITE, far=WHITE)
    found = cover(shapes, 80, 60) > 0.2
    rows, columns = np.nonzero(found)
    assert columns.min() >= 10
    assert columns.max() <= 70
    assert abs(np.ptp(rows) + 1 - 20) <= 1
    assert found[30, 12:68].all()


def test_without_antialiasing_pixels_are_covered_or_not() -> None:
    shapes = Shapes()
    shapes.lines([(3, 4)], [(30, 17)], radius=2, end_radius=2, near=WHITE, far=WHITE)
    assert set(np.unique(cover(shapes, 40, 40, antialias=False)).round(6)) == {0.0, 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e9])
def test_coordinates_that_are_none_are_refused(value: float) -> None:
    shapes = Shapes()
    shapes.lines([(value, 0)], [(1, 1)], radius=1, end_radius=1, near=WHITE, far=WHITE)
    with pytest.raises(ImageError, match="coordinate"):
        cover(shapes, 4, 4)
    shapes = Shapes()
    shapes.polygon([(0, 0), (value, 1), (1, 1)], WHITE)
    with pytest.raises(ImageError, match="vertex"):
        cover(shapes, 4, 4)
