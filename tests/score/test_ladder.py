"""The corruption ladder: another crop of the texture wins, and more damage scores worse."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.score.corrupt import Image, blurred, noisy, random_phase, shuffled, warped
from tests.textures import TEXTURES

from fastsynth import score
from fastsynth.score import Component
from fastsynth.score.component import components, composite
from fastsynth.score.patches import copied_share

SIDE = 192  # four periods of the bricks
NAMES = ("bricks", "weave", "dots", "pebbles")
LADDERS = {
    "shuffled": (shuffled, (64, 32, 16, 8)),
    "warped": (warped, (1.5, 3.0, 8.0)),
    "noisy": (noisy, (0.03, 0.06, 0.12)),
    "blurred": (blurred, (0.7, 1.5, 3.0)),
}
Found = dict[str, dict[str, Component]]


def planar(image: Image) -> NDArray[np.float32]:
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)


@cache
def ladder(name: str) -> Found:
    """Components of the fresh texture and of all that spoils it, by what was done."""
    exemplar = TEXTURES[name](SIDE, 0)
    fresh = TEXTURES[name](SIDE, 1)  # another seed: what no synthesis can do better
    images = {
        "fresh": fresh,
        "exemplar": exemplar,
        "phase": random_phase(exemplar),
        "flat": np.broadcast_to(exemplar.mean(axis=(0, 1)), exemplar.shape),
        "white": np.random.default_rng(4).random(exemplar.shape, np.float32),
    }
    for way, (spoil, amounts) in LADDERS.items():
        images.update({f"{way} {amount}": spoil(fresh, amount) for amount in amounts})
    return components(
        {key: planar(image) for key, image in images.items()},
        planar(exemplar),
        weights=None,
        network="vgg16",
    )


@cache
def total(name: str, key: str) -> float:
    return composite(ladder(name)[key].values())


@pytest.mark.parametrize("name", NAMES)
def test_another_crop_wins(name: str) -> None:
    others = [key for key in ladder(name) if key not in ("fresh", "exemplar")]
    assert total(name, "fresh") < 1.05
    assert total(name, "fresh") <= min(total(name, key) for key in others)
    for key in ("shuffled 8", "noisy 0.12", "blurred 1.5"):
        assert total(name, key) > 1.5 * total(name, "fresh")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", LADDERS)
def test_more_damage_scores_worse(name: str, way: str) -> None:
    if (name, way) == ("pebbles", "warped"):
        pytest.skip("warped pebbles are pebbles")
    keys = ["fresh", *(f"{way} {amount}" for amount in LADDERS[way][1])]
    for better, worse in pairwise(keys):
        assert total(name, worse) >= total(name, better), worse
    assert total(name, keys[-1]) > 1.5 * total(name, "fresh")


@pytest.mark.parametrize("name", ["bricks", "weave", "dots"])
def test_shuffled_blocks_are_seen_by_the_autocorrelation(name: str) -> None:
    assert ladder(name)["shuffled 32"]["autocorrelation"].ratio > 4


@pytest.mark.parametrize("name", ["bricks", "dots"])
def test_random_phase_fools_the_spectrum_alone(name: str) -> None:
    found = ladder(name)["phase"]
    assert found["spectrum"].ratio < 1.6
    assert found["marginals"].ratio > 3
    assert total(name, "phase") > 2


@pytest.mark.parametrize("name", NAMES)
def test_flat_and_white_noise_are_far_off(name: str) -> None:
    assert total(name, "flat") > 4
    assert total(name, "white") > 4


@pytest.mark.parametrize("name", NAMES)
def test_the_exemplar_itself_is_one_everywhere(name: str) -> None:
    for component in ladder(name)["exemplar"].values():
        assert component.ratio == 1
        assert component.distance == 0
    assert total(name, "exemplar") == 1


@pytest.mark.parametrize("name", NAMES)
def test_copies_are_told_from_fresh_textures(name: str) -> None:
    exemplar, fresh = TEXTURES[name](SIDE, 0), TEXTURES[name](SIDE, 1)
    assert copied_share(planar(fresh), planar(exemplar)) < 0.12
    assert copied_share(planar(exemplar), planar(exemplar)) == 1
    assert copied_share(planar(exemplar[40:, 24:]), planar(exemplar)) > 0.95
    fresh[:, : SIDE // 2] = exemplar[:, 40 : 40 + SIDE // 2]
    assert 0.35 < copied_share(planar(fresh), planar(exemplar)) < 0.65


def test_the_size_may_differ() -> None:
    larger = score.texture(TEXTURES["bricks"](320, 5)[:272], TEXTURES["bricks"](SIDE, 0))
    assert larger.total < 1.2
    assert larger.total == pytest.approx(
        composite(
            (
                larger.autocorrelation,
                larger.spectrum,
                larger.patches,
                larger.marginals,
                larger.color,
            )
        )
    )
