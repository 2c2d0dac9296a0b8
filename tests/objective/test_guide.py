"""Guided regions: guides against their definition, full masks, label maps, order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.objective.test_statistics import features
from tests.support import relative_error

from fastsynth import GuidedStyle, ObjectiveError, Synthesizer, _core, replay
from fastsynth.image import load
from fastsynth.objective import guide, read_regions


@pytest.fixture(scope="module")
def pool() -> _core.ThreadPool:
    return _core.ThreadPool(2)


def test_a_full_guide_is_the_gram_term(pool: _core.ThreadPool) -> None:
    f, other = features((16, 8, 9), 1), features((16, 8, 9), 2)
    target = _core.gram(other, pool)
    full = np.ones((8, 9), np.float32)
    assert relative_error(guide.guided_gram(other, full), target) < 1e-6
    value, slope = _core.evaluate_layer_term(_core.GramTerm(target), f, 1.0, pool)
    term = guide.guided_term(_core.GramTerm(target), full, (8, 9), 0)
    found, guided = _core.evaluate_layer_term(term, f, 1.0, pool)
    assert found == pytest.approx(value, rel=1e-6)
    assert relative_error(guided, slope) < 1e-6


@pytest.mark.torch
def test_a_guided_gram_matches_autograd(pool: _core.ThreadPool) -> None:
    torch = pytest.importorskip("torch")
    f = features((8, 10, 12), 3)
    mask = np.zeros((6, 8), np.float32)
    mask[1:4, 2:7] = np.random.default_rng(4).random((3, 5), np.float32) + np.float32(0.1)
    target = _core.gram(features((8, 5, 5), 5), pool)
    term = guide.guided_term(_core.GramTerm(target), mask, (10, 12), 2)
    value, slope = _core.evaluate_layer_term(term, f, 1.0, pool)
    x = torch.tensor(f, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(np.pad(mask, 2), dtype=torch.float64)
    flat = (x * t).reshape(8, -1)
    a = torch.tensor(target, dtype=torch.float64)
    loss = ((flat @ flat.T / (t**2).sum() - a) ** 2).sum() / (a**2).sum()
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-6)
    assert relative_error(slope, x.grad.numpy()) < 2e-6


def test_guides_keep_to_what_sees_the_region_alone() -> None:
    picture = np.zeros((96, 96), np.uint8)
    picture[:, :48] = 255
    mask = load(picture)
    shallow = guide.layer_guide(mask, (96, 96), "conv1_1", 1, (96, 96))
    deep = guide.layer_guide(mask, (96, 96), "conv4_1", 8, (12, 12))
    assert shallow[:, :46].min() == 1
    assert shallow[:, 50:].max() == 0
    assert deep[:, 0].min() == 1
    assert deep[:, 5].max() < 0.5  # 40 to 48 px: sees the other side
    # A spot that no position sees alone is only reduced.
    picture[:] = 0
    picture[40:48, 40:48] = 255
    spot = guide.layer_guide(load(picture), (96, 96), "conv4_1", 8, (12, 12))
    assert spot.max() > 0.5
    assert spot[5, 5] == spot.max()


def test_label_maps_become_regions() -> None:
    style = np.zeros((20, 30, 3), np.uint8)
    style[:, 10:] = (255, 0, 0)
    style[:, 20:] = (0, 0, 255)
    content = np.zeros((16, 16, 3), np.uint8)
    content[:8] = (250, 5, 3)  # nearly red
    regions = read_regions({"content": content, "style": style})
    assert len(regions) == 2  # there is no blue in the content
    sums = sorted(float(r.content.pixels[0].sum()) for r in regions if r.content)
    assert sums == [128, 128]
    assert all(r.style is not None and r.style.pixels[0].sum() == 200 for r in regions)


def halves() -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(6)
    content = rng.integers(90, 160, (48, 48, 3), np.uint8)
    left = np.zeros((48, 48), np.uint8)
    left[:, :24] = 255
    red = rng.integers(0, 60, (40, 40, 3), np.uint8) + np.array([180, 0, 0], np.uint8)
    blue = rng.integers(0, 60, (40, 40, 3), np.uint8) + np.array([0, 0, 180], np.uint8)
    return content, left, red, blue


def test_each_region_takes_its_own_style_whatever_the_order() -> None:
    content, left, red, blue = halves()
    masks = [(left, None, red), (255 - left, None, blue)]
    with Synthesizer(weights="random:0") as synthesizer:
        result = synthesizer.style_transfer(
            content, red, masks=masks, strength=20.0, max_evaluations=60
        )
        starts = [
            synthesizer.style_transfer(content, red, masks=order, max_evaluations=3)
            for order in (masks, masks[::-1])
        ]
    picture = result.array.astype(float)
    assert (picture[:, :20, 0] - picture[:, :20, 2]).mean() > 40
    assert (picture[:, 28:, 2] - picture[:, 28:, 0]).mean() > 40
    # Sums in another order round differently: the picture is the same but for that.
    losses = [sum(float(part[0]) for part in start.losses.values()) for start in starts]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    np.testing.assert_allclose(starts[0].pixels, starts[1].pixels, atol=1e-3)


def test_a_doodle_puts_the_parts_where_they_are_painted() -> None:
    _, _, red, blue = halves()
    style = np.concatenate([red, blue], axis=1)
    labels = np.zeros((40, 80, 3), np.uint8)
    labels[:, :40] = 255
    painted = np.zeros((48, 40, 3), np.uint8)
    painted[:24] = 255
    with Synthesizer(weights="random:0") as synthesizer:
        result = synthesizer.synthesize_texture(
            style, masks={"content": painted, "style": labels}, max_evaluations=30
        )
    picture = result.array.astype(float)
    assert picture.shape == (48, 40, 3)
    assert (picture[:20, :, 0] - picture[:20, :, 2]).mean() > 60
    assert (picture[28:, :, 2] - picture[28:, :, 0]).mean() > 60


def test_wrong_masks_are_refused() -> None:
    content, left, red, blue = halves()
    with pytest.raises(ObjectiveError, match="black everywhere"):
        GuidedStyle(red, "conv1_1", content_mask=np.zeros((4, 4), np.uint8))
    with pytest.raises(ObjectiveError, match="has one image, not 2"):
        GuidedStyle([(red, 1.0), (blue, 1.0)], "conv1_1")
    for wrong in ([], "mask.png", 3):
        with pytest.raises(ObjectiveError, match="masks are"):
            read_regions(wrong)
    with pytest.raises(ObjectiveError, match="a region is"):
        read_regions([(left,)])
    with Synthesizer(weights="random:0") as synthesizer:
        with pytest.raises(ObjectiveError, match="each region names its own"):
            synthesizer.style_transfer(
                content, [(red, 1.0), (blue, 1.0)], masks=[(left, None)], max_evaluations=4
            )
        with pytest.raises(ObjectiveError, match="regions and strength maps know"):
            synthesizer.style_transfer(
                content, red, masks=[(left, None)], style_loss="mmd_linear", max_evaluations=4
            )


def test_masks_are_recorded_and_repeated(tmp_path: Any) -> None:
    content, left, red, blue = halves()
    with Synthesizer(weights="random:0") as synthesizer:
        result = synthesizer.style_transfer(
            content, red, masks=[(left, None), (255 - left, None, blue)], max_evaluations=4
        )
    path = result.save(tmp_path / "halves.png")
    inputs = {"content": content, "style": red, "a": left, "b": 255 - left, "c": blue}
    np.testing.assert_array_equal(replay(path, inputs=inputs).array, result.array)
