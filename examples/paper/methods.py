"""The two methods that the page and the bench compare, and pictures made by them, kept in a folder.

The default goes from coarse to fine, compares means and covariances, keeps the lattice and the
autocorrelation of regular exemplars and matches colours. The other is what is usual elsewhere: Gram
matrices, at one scale. Both get the same weights, seeds and number of evaluations; those of the one
scale are all at full size.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastsynth as fs

__all__ = ["EVALUATIONS", "METHODS", "SIZE", "TRANSFERS", "Made", "continued", "kept", "painted"]

METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "gram": {"style_loss": "gram", "scales": 1, "long_range": "off", "color": "none"},
}
TRANSFERS: dict[str, dict[str, Any]] = {
    "default": {},
    "gram": {"style_loss": "gram", "scales": 1},
}
SIZE = (160, 144)  # of the textures, px: not the exemplars' 192 x 192
EVALUATIONS = 150


@dataclass(frozen=True)
class Made:
    """A picture in a file, what it scored, and the seconds it took."""

    path: Path
    score: dict[str, Any]
    seconds: float


def continued(
    exemplar: NDArray[np.float32],
    name: str,
    method: str,
    folder: Path,
    *,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    evaluations: int = EVALUATIONS,
    threads: int | None = None,
) -> Made:
    """A texture like the exemplar, scored against it; `name` is the exemplar's."""

    def make() -> Any:
        with fs.Synthesizer(weights=f"random:{seed}", threads=threads) as synthesizer:
            return synthesizer.synthesize_texture(
                exemplar,
                size=size,
                seed=seed,
                max_evaluations=evaluations,
                plateau=0,
                **METHODS[method],
            )

    stem = f"{name}_{method}_{seed}_{size[0]}x{size[1]}_{evaluations}"
    return kept(folder / stem, make, lambda picture: fs.score.texture(picture, exemplar))


def painted(
    content: Any, style: Any, name: str, method: str, folder: Path, *, size: int, evaluations: int
) -> Made:
    """A style transfer, scored against its content and its style."""

    def make() -> Any:
        with fs.Synthesizer(weights="random:0") as synthesizer:
            return synthesizer.style_transfer(
                content,
                style,
                size=size,
                max_evaluations=evaluations,
                plateau=0,
                **TRANSFERS[method],
            )

    stem = f"{name}_{method}_{size}_{evaluations}"
    return kept(folder / stem, make, lambda picture: fs.score.transfer(picture, content, style))


def kept(path: Path, make: Callable[[], Any], judge: Callable[[Any], Any] | None = None) -> Made:
    """What lies at path.png and path.json, or else what `make` gives, judged and written there."""
    picture, numbers = path.with_suffix(".png"), path.with_suffix(".json")
    if not numbers.is_file():
        start = time.perf_counter()
        result = make()
        seconds = time.perf_counter() - start
        result.save(picture)
        score = judge(result.array).to_dict() if judge else {}
        numbers.write_text(json.dumps({"seconds": seconds, "score": score}), encoding="utf-8")
    found = json.loads(numbers.read_text(encoding="utf-8"))
    return Made(picture, found["score"], found["seconds"])
