"""What image analogies find, compared with the paper's scan order and with naive copying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import fastsynth as fs
from fastsynth import _core
from fastsynth.image import load, resize

from . import analogy_reference as reference

SHARED = Path(__file__).resolve().parents[3] / "shared" / "images"
# A filter whose effect the guide determines: no coherence, nothing evened out.
FILTER: dict[str, Any] = {
    "remap_luminance": False,
    "weight": 100.0,
    "kappa": 0.0,
    "uniformity": 0.0,
}


def filtered(name: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
    if name == "blur":
        return ndimage.gaussian_filter(image, 1.2)
    if name == "threshold":
        return (image > 0.5).astype(np.float32)
    kernel = np.array([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]], np.float32)
    return np.clip(0.5 + ndimage.convolve(image, kernel) / 2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", ["blur", "threshold", "emboss"])
def test_a_filter_is_learnt(name: str) -> None:
    rough = 3.0 if name == "threshold" else 1.5
    a, b = reference.smooth_noise(128, 128, 1, rough), reference.smooth_noise(96, 112, 2, rough)
    a_prime, expected = filtered(name, a), filtered(name, b)
    # A threshold looks at one pixel, and A' is far more contrasted than A.
    options = {**FILTER, "patch": 3, "weight": 1000.0} if name == "threshold" else FILTER
    result = fs.image_analogy(a, a_prime, b, **options)
    found = reference.psnr(result.array, expected)
    naive = reference.block_copy(a, a_prime, b)[..., 0]
    assert found > reference.psnr(naive, expected) + 1.5
    assert found > reference.psnr(b, expected) + (3 if name == "blur" else 8)


@pytest.mark.parametrize(("kappa", "name"), [(0.0, "emboss"), (1.0, "blur")])
def test_energy_beside_the_scan_order(kappa: float, name: str) -> None:
    a, b = reference.smooth_noise(40, 48, 3), reference.smooth_noise(48, 40, 4)
    a_prime = filtered(name, a)
    options: dict[str, Any] = {"remap_luminance": False, "weight": 1.0, "uniformity": 0.0}
    ours = fs.image_analogy(a, a_prime, b, kappa=kappa, levels=3, **options).array
    theirs = reference.scan_order(a, a_prime, b, levels=3, kappa=kappa)
    here = reference.energy(a, a_prime, b, ours)
    there = reference.energy(a, a_prime, b, theirs)
    assert here < 1.05 * there


@pytest.mark.parametrize("preset", ["artistic", "numbers", "superres"])
@pytest.mark.parametrize("size", [(64, 64), (37, 51), (5, 5), (3, 90)])
def test_equal_b_gives_a_prime(preset: Any, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    a = rng.integers(0, 256, (*size, 3), np.uint8)
    a_prime = 255 - a // 2
    if preset == "numbers":
        given: Any = a, a_prime
    else:  # only the luminance is taken from A': compare grey pictures
        given = a[..., 0], a_prime[..., 0]
    result = fs.image_analogy(*given, given[0], preset=preset, size=size[::-1])
    assert np.array_equal(result.array, given[1])


def test_no_change_is_learnt() -> None:
    """A' = A: B' is B, as nearly as A's patches can say it."""
    a, b = reference.smooth_noise(128, 128, 6), reference.smooth_noise(80, 90, 7)
    result = fs.image_analogy(a, a, b, **FILTER)
    assert reference.psnr(result.array, b) > 27
    crop = a[20:90, 30:100]
    assert np.array_equal(fs.image_analogy(a, a, crop, **FILTER).array, crop)


def test_luminance_is_remapped() -> None:
    """A B of other brightness and contrast: with the remapping the filter is still found."""
    a, b = reference.smooth_noise(96, 96, 8), reference.smooth_noise(80, 80, 9)
    a_dark = 0.1 + 0.25 * a
    a_prime = np.clip(ndimage.gaussian_filter(a_dark, 1.2), 0, 1)
    options = {**FILTER, "remap_luminance": True}
    with_it = fs.image_analogy(a_dark, a_prime, b, **options).array
    options["remap_luminance"] = False
    without = fs.image_analogy(a_dark, a_prime, b, **options).array
    expected = ndimage.gaussian_filter(b, 1.2)
    assert reference.psnr(with_it, expected) > 25
    assert reference.psnr(with_it, expected) > reference.psnr(without, expected) + 10


def stripes(height: int, width: int, axis: int, seed: int) -> NDArray[np.uint8]:
    """Noisy stripes across an axis, of equal mean colour whatever the axis."""
    grid = np.indices((height, width))[axis]
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    wave = 128 + 70 * np.sin(2 * np.pi * grid / 6)
    return np.clip(wave[..., None] + noise, 0, 255).astype(np.uint8)


def test_texture_by_numbers() -> None:
    """Each label of B's map is painted with the texture that has it in A's."""
    labels = np.zeros((64, 96, 3), np.uint8)
    labels[:, 48:] = (255, 0, 0)
    a_prime = np.where(labels[..., :1] == 0, stripes(64, 96, 0, 0), stripes(64, 96, 1, 1))
    y, x = np.indices((90, 100))
    disc = (y - 45) ** 2 + (x - 50) ** 2 < 28**2
    b = np.where(disc[..., None], np.array([255, 0, 0]), 0).astype(np.uint8)
    result = fs.image_analogy(labels, a_prime, b, preset="numbers").array.astype(np.float64)
    grey = result.mean(2)
    along_y = ndimage.gaussian_filter(np.abs(np.diff(grey, axis=0, append=grey[-1:])), 3)
    along_x = ndimage.gaussian_filter(np.abs(np.diff(grey, axis=1, append=grey[:, -1:])), 3)
    right = (along_x > along_y) == disc
    assert right[ndimage.distance_transform_edt(disc) > 4].mean() > 0.99
    assert right[ndimage.distance_transform_edt(~disc) > 4].mean() > 0.99


def blobs(height: int, width: int) -> NDArray[np.float32]:
    """A structured texture: a jittered lattice of dark discs on a striped ground."""
    rng = np.random.default_rng(10)
    y, x = np.indices((height, width))
    image = np.stack([0.7 + 0.1 * np.sin((x + y) / 2), 0.6 + 0 * x, 0.4 + 0.1 * np.sin(y / 3)], -1)
    for top in range(4, height, 12):
        for left in range(4, width, 12):
            cy, cx = rng.normal((top, left), 1.0)
            image[(y - cy) ** 2 + (x - cx) ** 2 < 12] = (0.15, 0.1, 0.3)
    return image.astype(np.float32)


def test_texture_beats_naive_copying() -> None:
    exemplar = blobs(96, 96)
    made = fs.image_analogy(None, exemplar, None, preset="texture", size=(128, 112)).array
    naive = [reference.random_blocks(exemplar, 112, 128, 12, seed) for seed in range(2)]
    for measure in (reference.texture_distance, reference.spectrum_distance):
        ours = measure(made, exemplar)
        theirs = float(np.mean([measure(image, exemplar) for image in naive]))
        assert ours < theirs, measure.__name__
    seam = [
        reference.energy(exemplar, exemplar, image, image, weight=0.0)
        for image in (made[:60, :60], naive[0][:60, :60])
    ]
    assert seam[0] < 0.4 * seam[1]
    # Only pixels of the exemplar.
    known = {tuple(pixel) for pixel in exemplar.reshape(-1, 3).tolist()}
    assert {tuple(pixel) for pixel in made.reshape(-1, 3).tolist()} <= known


def test_superres_adds_detail() -> None:
    whole = reference.smooth_noise(128, 256, 11, 1.0)
    sharp, wanted = whole[:, :128], whole[:, 128:]
    low = wanted.reshape(64, 2, 64, 2).mean((1, 3))
    result = fs.image_analogy(None, sharp, low, preset="superres")
    assert result.size == (128, 128)
    enlarged = resize(low, (128, 128), clip=True)
    detail = [float(np.abs(np.diff(image)).mean()) for image in (enlarged, result.array, wanted)]
    assert detail[0] < 0.8 * detail[2]
    assert 0.8 * detail[2] < detail[1] < 1.1 * detail[2]
    assert reference.psnr(result.array, wanted) > reference.psnr(enlarged, wanted) - 1


def test_uniformity_spreads_the_use() -> None:
    exemplar = reference.smooth_noise(64, 64, 12)
    pool = _core.ThreadPool(2)
    shares = []
    for uniformity in (0.0, 2.0):
        field = _core.PatchField(exemplar[None], (120, 120), 5, None, 1, pool)
        field.set_target(reference.smooth_noise(120, 120, 13, 2.5)[None], 0)
        for _ in range(6):
            field.set_uniformity(uniformity)
            field.sweep(0.0, 64)
        used = field.places().reshape(-1, 2)
        shares.append(len(np.unique(used, axis=0)) / 60**2)
    assert shares[1] > 1.15 * shares[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared test pictures are not here")
@pytest.mark.parametrize(("painting", "labels"), [("Renoir", "Landscape"), ("Monet", "Coastline")])
def test_paintings_by_numbers(painting: str, labels: str) -> None:
    folder = SHARED / "semantic"
    result = fs.image_analogy(
        folder / f"{painting}_sem.png",
        folder / f"{painting}.jpg",
        folder / f"{labels}_sem.png",
        preset="numbers",
        size=256,
    )
    after = np.asarray(result.array, np.float64)[..., :3]
    target = load(folder / f"{labels}_sem.png").pixels.transpose(1, 2, 0)
    before = load(folder / f"{painting}_sem.png").pixels.transpose(1, 2, 0)
    shown = load(folder / f"{painting}.jpg").pixels.transpose(1, 2, 0)
    naive = reference.block_copy(before[::2, ::2], shown[::2, ::2], target[::2, ::2], 8)
    ours, theirs = (
        reference.texture_distance(image, shown[::2, ::2]) for image in (after / 255, naive)
    )
    assert ours < 0.8 * theirs
