"""Label maps: what is a label, what is a border, and what is missing is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastsynth import ObjectiveError
from fastsynth.image import load
from fastsynth.objective import labels
from fastsynth.objective.labels import LabelMap, label_masks

SEMANTIC = Path(__file__).parents[3] / "shared" / "images" / "semantic"
RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def bands(*colours: Any, height: int = 60, width: int = 90) -> Any:
    """A map of bands of equal width."""
    places = np.arange(width) * len(colours) // width
    return np.tile(np.array(colours, np.uint8)[places], (height, 1, 1))


def areas(content: Any, style: Any) -> list[tuple[int, int]]:
    return [(int(a.sum()), int(b.sum())) for a, b in label_masks(load(content), load(style))]


def test_a_label_that_the_style_has_not_is_an_error() -> None:
    with pytest.raises(
        ObjectiveError, match=r"#0000ff, which the style's has not .#00ff00, #ff0000"
    ):
        areas(bands(RED, BLUE), bands(RED, GREEN))
    small = bands(RED, GREEN)
    small[20:24, 30:34] = BLUE  # 0.3 % of the map
    with pytest.raises(ObjectiveError, match="#0000ff"):
        areas(small, bands(RED, GREEN))
    # The other way round a part of the style is left unused.
    assert areas(bands(RED, GREEN), bands(RED, GREEN, BLUE)) == [(2700, 1800)] * 2


def drawn(size: int, factor: int = 8) -> Any:
    """An ellipse and a slanted bar on black, anti-aliased."""
    image = Image.new("RGB", (size * factor, size * factor))
    draw = ImageDraw.Draw(image)
    draw.ellipse((0, 0, size * factor // 2, size * factor // 2), RED)
    draw.line((0, size * factor, size * factor, size * factor // 3), BLUE, width=12 * factor)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


@pytest.mark.parametrize("size", [48, 300])
def test_blends_at_borders_are_no_labels(size: int, caplog: pytest.LogCaptureFixture) -> None:
    content = drawn(size)
    assert len(np.unique(content.reshape(-1, 3), axis=0)) > 3
    with caplog.at_level(logging.WARNING, "fastsynth"):
        found = areas(content, bands(BLACK, RED, BLUE))
        assert len(found) == len(areas(bands(BLACK, RED, BLUE), content)) == 3
    assert sum(a for a, _ in found) == size * size
    assert not caplog.records


def test_a_wide_blend_is_no_label() -> None:
    content = Image.fromarray(drawn(40)).resize((640, 640), Image.Resampling.BILINEAR)
    assert len(areas(np.asarray(content), bands(BLACK, RED, BLUE))) == 3


def test_a_blend_nearest_to_an_unused_label_is_no_region_of_it() -> None:
    content = np.asarray(Image.fromarray(bands(RED, BLUE)).resize((45, 30), Image.Resampling.BOX))
    content = np.insert(content, 22, (128, 0, 128), axis=1)
    assert len(areas(content, bands(RED, BLUE, (128, 0, 128)))) == 2


def test_jpeg_maps_have_the_same_labels(tmp_path: Path) -> None:
    Image.fromarray(drawn(200)).save(tmp_path / "map.jpg", quality=80)
    assert len(areas(tmp_path / "map.jpg", bands(BLACK, RED, BLUE))) == 3
    assert len(areas(bands(BLACK, RED, BLUE), tmp_path / "map.jpg")) == 3


def test_numbers_of_classes_are_labels() -> None:
    ids = [np.full(3, index, np.uint8) for index in range(12)]
    found = areas(bands(*ids, width=96), bands(*ids[::-1], width=120))
    assert found == [(60 * 8, 60 * 10)] * 12
    with pytest.raises(ObjectiveError, match="#030303, which the style's has not"):
        areas(bands(*ids[:4]), bands(*ids[:3]))


def test_thin_strokes_of_no_label_are_told(caplog: pytest.LogCaptureFixture) -> None:
    content = bands(RED, BLUE)
    content[30, 10:30] = GREEN
    with caplog.at_level(logging.WARNING, "fastsynth"):
        assert len(areas(content, bands(RED, BLUE))) == 2
    assert "20 pixels" in caplog.text
    assert "#00ff00" in caplog.text


def test_a_photograph_is_no_label_map() -> None:
    steps = np.linspace(0, 255, 5)
    hues = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
    many = np.kron(hues, np.ones((5, 5, 1)))
    with pytest.raises(ObjectiveError, match="at most 64 labels"):
        areas(many.astype(np.uint8), many.astype(np.uint8))


@pytest.mark.skipif(not SEMANTIC.is_dir(), reason="../shared/images is not beside the repository")
@pytest.mark.parametrize(
    ("painting", "drawing", "count"), [("Monet", "Coastline", 5), ("Renoir", "Landscape", 4)]
)
def test_painted_maps(painting: str, drawing: str, count: int) -> None:
    found = areas(SEMANTIC / f"{drawing}_sem.png", SEMANTIC / f"{painting}_sem.png")
    assert len(found) == count
    assert min(min(pair) for pair in found) > 5000


def test_colours_that_have_a_label_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A photograph in place of a label map has very many: each is compared until it has found its
    own.
    """
    looked_at: list[int] = []
    measure = labels.distances

    def counted(colours: Any, others: Any) -> Any:
        found = measure(colours, others)
        expected = np.linalg.norm(colours[:, None] - others[None], axis=2)
        np.testing.assert_array_equal(found, expected)
        looked_at.append(len(colours))
        return found

    monkeypatch.setattr(labels, "distances", counted)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    LabelMap.of(load(noise)).labels(0.12)
    assert looked_at[0] > 3500
    assert looked_at[-1] < 50
    assert looked_at == sorted(looked_at, reverse=True)
