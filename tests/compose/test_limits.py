"""Arguments at and beyond the limits of the pixel functions; what files record of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth import compose
from fastsynth.image import read_metadata

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
HUGE = np.full((5, 5), 3e38, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compose.kernel("box", size=None), "size of kernel box is None"),  # type: ignore[arg-type]
        (lambda: compose.kernel("gaussian", sigma=None), "sigma of kernel gaussian is None"),  # type: ignore[arg-type]
        (lambda: compose.kernel("gaussian", sigma=1e-200), "sigma is 1e-200"),
        (lambda: compose.kernel("disk", radius=1e-3), "radius is 0.001"),
        (lambda: compose.convolve(PICTURE, "blur", alpha=np.ones(3)), "alpha is array"),  # type: ignore[arg-type]
        (lambda: compose.convolve(PICTURE, {"name": "sharpen", "amount": 1e300}), "huge values"),
        (lambda: compose.convolve(PICTURE, np.full((3, 3), 1e30)), "huge values"),
        (lambda: compose.convolve(PICTURE, [[np.nan]]), "holds NaN"),
        (
            lambda: compose.convolve(PICTURE, "sobel_x", border="constant", constant=1e300),
            "constant is 1e.300",
        ),
        (lambda: compose.convolve(PICTURE, "blur", offset=1e300), "offset is 1e.300"),
        (lambda: compose.convolve(HUGE, "sobel_x", clip=False), "NaN, infinite or"),
        (lambda: compose.affine(PICTURE, np.eye(3)[:2] * 1e300), "up to 1e15"),
        (lambda: compose.affine(PICTURE, scale=1e200, size="fit"), "scale is 1e.200"),
        (lambda: compose.affine(PICTURE, rotate=10**400), "rotate is 1000"),
        (lambda: compose.curves(PICTURE, [(0, 0), (5e-324, 1), (1, 1)]), "rising x"),
        (lambda: compose.blend(PICTURE, PICTURE, mode=["x"]), "mode is"),  # type: ignore[arg-type]
        (lambda: compose.resize(PICTURE, 3, ["x"]), "method is"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_typed_errors(call: Any, message: str) -> None:
    with pytest.raises(fs.ImageError, match=message):
        call()


@pytest.mark.parametrize("steps", [None, 3, "abc", {"step": "invert"}])
def test_a_pipeline_wants_a_list(steps: Any) -> None:
    with pytest.raises(fs.ObjectiveError, match="expected a list"):
        compose.Pipeline(steps)


def test_affine_takes_arrays_where_it_takes_pairs() -> None:
    pairs: dict[str, Any] = {
        "scale": (1.5, 0.5), "shear": (0.1, 0.2), "translate": (1.0, 2.0), "center": (3.0, 4.0)
    }  # fmt: skip
    arrays: dict[str, Any] = {name: np.array(pair) for name, pair in pairs.items()}
    by_pairs, by_arrays = compose.affine(PICTURE, **pairs), compose.affine(PICTURE, **arrays)
    assert np.array_equal(by_pairs, by_arrays)
    assert by_pairs.provenance == by_arrays.provenance


@pytest.mark.parametrize("parameters", [{"sigma": 0.01}, {"sigma": 0.01, "size": 4}])
def test_narrow_gaussians_are_points(parameters: dict[str, float]) -> None:
    taps = compose.kernel("gaussian", **parameters)
    assert taps.sum() == pytest.approx(1)
    assert np.count_nonzero(taps) == (4 if "size" in parameters else 1)


def test_products_are_found_without_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    def svd(*_: Any, **__: Any) -> None:
        raise AssertionError("SVD of a kernel that is a product")

    taps = compose.kernel("gaussian", sigma=3)
    image = PICTURE.astype(np.float32) / 255
    whole = compose.convolve(image, taps + np.pad([[1e-4]], 12))  # no product
    monkeypatch.setattr(np.linalg, "svd", svd)
    product = compose.convolve(image, taps)
    np.testing.assert_allclose(product, whole - 1e-4 * image, atol=3e-7)


@pytest.mark.parametrize("alpha", [0, 1, 0.3, 0.5, 1 / 3, 0.123456, 1e-9, 0.5 + 1e-8, 1 - 1e-7])
def test_the_mean_of_bytes_is_rounded_to_a_nearest(alpha: float) -> None:
    a, b = np.meshgrid(np.arange(256), np.arange(256))
    mean = compose.blend(a.astype(np.uint8), b.astype(np.uint8), alpha)
    exact = b + (a - b) * alpha
    assert np.abs(mean.array - exact).max() <= 0.5 + 1e-9


def test_curves_take_slopes_of_next_to_nothing() -> None:
    made = compose.curves(np.arange(256, dtype=np.uint8)[None], [(0, 0), (0.5, 5e-324), (1, 1)])
    assert not made[0, :128].any()
    assert (np.diff(made.array[0, 128:].astype(int)) >= 0).all()


def test_tones_of_floats_are_the_formula() -> None:
    image = np.random.default_rng(1).random((257, 301, 4), np.float32)
    image[0, :6, :3] = np.array([0, 1, 2e-38, 1e-30, 0.1, 0.1001], np.float32)[:, None]
    x = image[..., :3].astype(np.float64)
    power = np.clip((x - 0.1) / 0.0001, 0, 1) ** 2.5
    for tone, wanted in (
        (lambda i, t: compose.gamma(i, 2.2, threads=t), x ** (1 / 2.2)),
        (lambda i, t: compose.gamma(i, 1000, threads=t), x**0.001),
        (lambda i, t: compose.gamma(i, 0.001, threads=t), x**1000),
        (lambda i, t: compose.invert(i, threads=t), 1 - x),
        (
            lambda i, t: compose.levels(i, black=0.1, white=0.1001, gamma=0.4, high=0.7, threads=t),
            0.7 * power,
        ),
        (
            lambda i, t: compose.curves(i, [(0, 0.25), (1, 0.75)], threads=t),
            0.25 + x / 2,
        ),
    ):
        made = tone(image, 2).array
        np.testing.assert_allclose(made[..., :3], wanted, rtol=0, atol=4e-7)
        np.testing.assert_array_equal(made[..., 3], image[..., 3])
        np.testing.assert_array_equal(tone(image, 1), made)


@pytest.mark.parametrize("make", [
    compose.invert, lambda _: fs.patterns.draw("sunflower", width=32, height=32)
])  # fmt: skip
def test_files_name_what_computed(make: Any, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "in.png")
    made = make(tmp_path / "in.png").save(tmp_path / "out.png")
    record = read_metadata(made)
    assert record is not None
    assert record["engine"]["versions"]["fastsynth"] == fs.__version__
    assert set(record["engine"]["versions"]) == {"fastsynth", "python", "numpy", "PIL"}
    fs.replay(made).save(tmp_path / "again.png")
    assert made.read_bytes() == (tmp_path / "again.png").read_bytes()
