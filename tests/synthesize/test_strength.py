"""`strength` means the same at every size: style and content pull in the same proportion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastsynth import Synthesizer
from fastsynth.image import load, resize
from fastsynth.objective.base import Canvas
from fastsynth.objective.plan import plan, with_margin

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SIDES = (48, 64, 96, 128, 192)
# The largest ratio between sizes that counts as the same; twice the strength makes it 2.
LOSSES, PULLS = 1.25, 1.5


class CapturedError(Exception):
    """Carries what style_transfer would have optimised."""


def shares(side: int, strength: float = 1.0) -> tuple[float, float]:
    """Style over content at a half-painted picture: of the losses, and of the gradients' sizes."""

    def capture(_: Synthesizer, objective: Any, size: Any, *args: Any, **options: Any) -> Any:
        raise CapturedError(objective, size, options)

    content, style = EXAMPLES / "cat.jpg", EXAMPLES / "swirls.jpg"
    with pytest.MonkeyPatch.context() as patch, Synthesizer(weights="random:0") as synthesizer:
        patch.setattr(Synthesizer, "synthesize", capture)
        with pytest.raises(CapturedError) as caught:
            synthesizer.style_transfer(content, style, size=side, strength=strength)
        objective, (height, width), options = caught.value.args
        margin = options["margin"]
        canvas = Canvas(height + 2 * margin, width + 2 * margin, 1.0, margin)
        halfway = sum(
            0.5 * resize(load(path).pixels, (height, width), "area") for path in (content, style)
        )
        picture = np.ascontiguousarray(with_margin(np.asarray(halfway, np.float32), margin))

        def open_network(name: str | None) -> Any:
            return synthesizer.open(name, options["pooling"])

        with plan(objective, canvas, open_network, synthesizer.pool) as bound:
            norms = np.array(bound.objective.weights) * bound.objective.gradient_norms(picture)
            bound.objective.evaluate(picture.ravel())
            names = bound.objective.names
            values = np.array(bound.objective.values)
    is_style = np.array([name.startswith(("style/", "mean_covariance/")) for name in names])
    is_content = np.array([name.startswith("content/") for name in names])
    assert is_style.sum() == 5
    assert is_content.sum() == 1
    return (
        float(values[is_style].sum() / values[is_content].sum()),
        float(norms[is_style].sum() / norms[is_content].sum()),
    )


def test_strength_means_the_same_at_every_size() -> None:
    found = np.array([shares(side) for side in SIDES])
    spread = found.max(axis=0) / found.min(axis=0)
    assert spread[0] < LOSSES, found
    assert spread[1] < PULLS, found


def test_strength_is_the_proportion() -> None:
    once, twice = shares(64), shares(64, strength=2.0)
    assert np.divide(twice, once) == pytest.approx([2, 2], rel=1e-4)
