"""Long range and tiles in texture synthesis: regular patterns stay regular, at other sizes too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from fastsynth import MeanCovariance, ObjectiveError, Synthesizer, replay
from fastsynth.image import find_lattice
from fastsynth.image.lattice import fold
from fastsynth.objective import Canvas, plan
from fastsynth.objective.lattice import distance_from


@pytest.fixture(scope="module")
def synthesizer() -> Any:
    with Synthesizer(weights="random:0") as opened:
        yield opened


def bricks(height: int, width: int) -> NDArray[np.uint8]:
    """Rows of 24 x 12 px bricks, every second row moved by half a brick, colours at random."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    row = y // 12
    moved = x + row % 2 * 12
    shade = rng.normal(1, 0.08, (32, 32))[row, moved // 24]
    wall = shade[..., None] * np.array([0.6, 0.25, 0.2])
    wall[(y % 12 < 2) | (moved % 24 < 2)] = (0.8, 0.78, 0.75)
    wall += rng.normal(0, 0.02, wall.shape)
    return (wall.clip(0, 1) * 255).astype(np.uint8)


def regular_share(picture: NDArray[np.uint8]) -> float:
    """Share of the variance that repeats with the bricks, wherever they begin."""
    pixels = picture.transpose(2, 0, 1).astype(np.float64) / 255
    return fold(pixels, np.array([[12.0, 12.0], [12.0, -12.0]]))[1]


def test_bricks_stay_bricks(synthesizer: Synthesizer) -> None:
    exemplar = bricks(84, 96)
    shares = {
        mode: regular_share(
            synthesizer.synthesize_texture(
                exemplar, size=(110, 90), long_range=mode, max_evaluations=90
            ).array
        )
        for mode in ("auto", "off")
    }
    assert regular_share(exemplar) > 0.6
    assert shares["auto"] > 0.4
    assert shares["auto"] > shares["off"] + 0.2


def test_a_seamless_picture_has_no_seam(synthesizer: Synthesizer) -> None:
    """Differences across the borders are like those inside, as if there were no border."""
    rng = np.random.default_rng(1)
    noise = rng.random((80, 80, 3))
    for _ in range(2):  # pebbles: noise blurred
        noise = sum(np.roll(noise, (i, j), (0, 1)) for i in range(3) for j in range(3)) / 9
    cloudy = (np.clip((noise - 0.5) * 5 + 0.5, 0, 1) * 255).astype(np.uint8)
    for exemplar in (cloudy, bricks(80, 80)):
        result = synthesizer.synthesize_texture(
            exemplar, size=(72, 64), seamless=True, max_evaluations=80
        )
        picture = result.array.astype(np.float64)
        assert picture.shape == (64, 72, 3)
        for axis in (0, 1):
            steps = np.abs(picture - np.roll(picture, 1, axis)).mean((1 - axis, 2))
            seam, inside = steps[0], steps[1:]
            assert seam <= np.percentile(inside, 95) * 1.1
    # Without it the borders do not fit.
    plain = synthesizer.synthesize_texture(cloudy, size=(72, 64), max_evaluations=80).array.astype(
        np.float64
    )
    steps = np.abs(plain - np.roll(plain, 1, 0)).mean((1, 2))
    assert steps[0] > 1.3 * np.percentile(steps[1:], 95)


def test_every_place_of_a_tile_counts_alike(synthesizer: Synthesizer) -> None:
    """A tile that is rolled is the same tile: its statistics are, whatever lies at its border."""
    tile = np.random.default_rng(5).random((3, 64, 80), np.float32)
    tile[:, :16] *= 0.2  # what lies near the border differs from the rest
    term = MeanCovariance(bricks(80, 80), ["conv1_1", "conv2_1", "conv3_1"], sizing="native")
    canvas = Canvas(64 + 64, 80 + 64, 1.0, 32, wrap=True)
    values = []
    with plan(term, canvas, lambda _: synthesizer.open(None, "avg"), synthesizer.pool) as bound:
        for shift in ((0, 0), (32, 0), (16, 48)):
            rolled = np.ascontiguousarray(np.roll(tile, shift, (1, 2)))
            values.append(float(bound.objective.evaluate(rolled)[0]))
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-4)


def test_terms_follow_the_keyword(synthesizer: Synthesizer) -> None:
    def names(exemplar: NDArray[np.uint8], **keywords: Any) -> set[str]:
        result = synthesizer.synthesize_texture(
            exemplar, size=48, scales=1, max_evaluations=1, **keywords
        )
        return {name.split("/")[0] for name in result.losses}

    noise = np.random.default_rng(2).integers(0, 255, (48, 48, 3), np.uint8)
    assert "autocorrelation" not in names(noise)
    assert "autocorrelation" in names(noise, long_range="strong")
    assert "autocorrelation" in names(bricks(60, 72))
    assert "autocorrelation" not in names(bricks(60, 72), long_range="off")
    assert "autocorrelation" not in names(bricks(60, 72), long_range=0)
    assert "mean_covariance" in names(noise)
    assert "style" in names(noise, style_loss="gram")
    assert "style" in names(noise, normalization="paper")
    assert "bn_statistics" in names(noise, style_loss="bn_statistics")
    assert "mmd_linear" in names(noise, style_loss="mmd_linear")


def test_long_range_weights_its_term(synthesizer: Synthesizer) -> None:
    losses = []
    for weight in (0.5, 2.0):
        result = synthesizer.synthesize_texture(
            bricks(48, 48), scales=1, max_evaluations=1, long_range=weight
        )
        losses.append(result.losses["autocorrelation/conv2_2"][0])
    assert losses[1] == pytest.approx(4 * losses[0])


def test_colours_are_those_of_the_exemplar(synthesizer: Synthesizer) -> None:
    """Grey outside the joints' and the bricks' colours goes; "none" leaves it."""
    exemplar = bricks(60, 72)

    def distance(**keywords: Any) -> float:
        picture = synthesizer.synthesize_texture(
            exemplar, size=(64, 56), max_evaluations=6, **keywords
        ).array
        return max(
            wasserstein_distance(picture[..., c].ravel(), exemplar[..., c].ravel())
            for c in range(3)
        )

    assert distance() < 2.0  # of 255
    assert distance(color="none") > 2 * distance()


@pytest.mark.parametrize("seamless", [False, True])
def test_replay_repeats_it(seamless: bool, synthesizer: Synthesizer, tmp_path: Any) -> None:
    exemplar = bricks(60, 72)
    result = synthesizer.synthesize_texture(
        exemplar, size=(64, 56), max_evaluations=8, seamless=seamless, seed=3
    )
    path = result.save(tmp_path / "wall.png")
    again = replay(path, inputs={"exemplar": exemplar})
    np.testing.assert_array_equal(again.array, result.array)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"long_range": "much"}, "long_range must be"),
        ({"long_range": -1}, "long_range must be"),
        ({"long_range": float("nan")}, "long_range must be"),
        ({"long_range": True}, "long_range must be"),
        ({"seamless": "yes"}, "seamless must be True or False"),
        ({"color": "luminance"}, 'color must be "match" or "none"'),
        ({"style_loss": "grams"}, "style_loss must be one of"),
        ({"style_loss": "mmd_linear", "normalization": "paper"}, "always relative"),
    ],
)
def test_wrong_keywords_are_refused(
    keywords: dict[str, Any], message: str, synthesizer: Synthesizer
) -> None:
    with pytest.raises(ObjectiveError, match=message):
        synthesizer.synthesize_texture(bricks(48, 48), **keywords)


def chequers(height: int, width: int, side: int) -> NDArray[np.uint8]:
    """Sharp squares of two colours with a little noise."""
    rows, columns = np.mgrid[:height, :width]
    dark = (rows // side + columns // side) % 2
    board = np.where(dark[..., None] == 1, (0.2, 0.25, 0.4), (0.85, 0.8, 0.7))
    board = board + np.random.default_rng(4).normal(0, 0.02, board.shape)
    return (board.clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["board", "stripes", "tile"])
def test_flat_tiles_keep_their_edges(kind: str, synthesizer: Synthesizer) -> None:
    """Every pixel is of the colour that its place has; the size is no whole number of periods."""
    exemplar = chequers(84, 96, 8)
    if kind == "stripes":
        exemplar = np.ascontiguousarray(np.broadcast_to(exemplar[4:5], exemplar.shape))
    # A tile holds whole periods: it is stretched to 16.2 x 15.8 px.
    size = (81, 79) if kind == "tile" else (90, 71)
    result = synthesizer.synthesize_texture(exemplar, size=size, seamless=kind == "tile")
    dark = result.array[..., 0] < 134
    # The shares of a period at which rows and columns begin are the texture's choice.
    steps = (np.arange(64) / 64)[:, None]
    rows, columns = (
        (2 * (np.arange(side) / period + steps) % 2) // 1
        for side, period in zip(
            dark.shape, (79 / 5, 81 / 5) if kind == "tile" else (16, 16), strict=True
        )
    )
    if kind == "stripes":
        rows = np.zeros((1, len(dark)))
    shares = [
        (dark == (row[:, None] + column[None] == 1)).mean() for row in rows for column in columns
    ]
    # A tile's edges lie between pixels: some of each period's 16 have half of both colours.
    assert max(shares) > (0.96 if kind == "tile" else 0.999)


def test_the_range_of_a_lattice_has_its_gradient() -> None:
    """Against central differences; no loss for the continued cell, nor in the margin."""
    lattice = find_lattice(chequers(64, 80, 8).transpose(2, 0, 1).astype(np.float32) / 255)
    assert lattice is not None
    low, high = lattice.bounds((20, 24), offset=(3.0, 5.0), margin=4, deviations=3.0)
    loss = distance_from(low, high, 0.1)
    assert loss((low + high) / 2)[0] == 0
    image = np.random.default_rng(6).random(low.shape, np.float32)
    value, gradient = loss(image)
    expected = np.where(image < low, image - low, np.where(image > high, image - high, 0.0))
    assert value == pytest.approx((expected.astype(np.float64) ** 2).mean() / 0.1, rel=1e-5)
    for index in ((0, 0, 0), (1, 9, 17), (2, 27, 31)):
        step = np.zeros_like(image)
        step[index] = 1e-2
        slope = (loss(image + step)[0] - loss(image - step)[0]) / 2e-2
        assert gradient[index] == pytest.approx(slope, rel=1e-2, abs=1e-7)
