"""What a synthesis returns: the picture, how it came about, and what makes it again."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._numbers import plain_arguments
from fastsynth.image import save, to_array, to_output
from fastsynth.render.refine import ENDING

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from fastsynth.image import Kind
    from fastsynth.render import LevelResult

__all__ = ["Result", "weighted_sum"]


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a verb.

    pixels: planar float32 RGB (3, H, W) in [0, 1]
    alpha: float32 (H, W) in [0, 1], or None
    levels: what happened at each level: size, evaluations, losses by part
    stopped: why the run ended: "evaluations", "plateau", "time", "cancelled", ...
    seconds: wall time by stage: "open" (network and weights), "levels", "total"
    provenance: everything needed to make the picture again; written into the file by `save`
    checkpoints: files of the finished run's state, which `save` removes
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None
    kind: Kind
    levels: tuple[LevelResult, ...]
    stopped: str
    seconds: dict[str, float]
    provenance: dict[str, Any] = field(repr=False)
    checkpoints: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def array(self) -> NDArray[Any]:
        """The picture as an array like the input's: its precision, (H, W, 1-4) or flat (H, W)."""
        kind = self.kind
        channels = (1 if kind.grey else 3) + (kind.alpha or self.alpha is not None)
        array = to_array(self.pixels, self.alpha, dtype=kind.dtype, channels=channels)
        return array[..., 0] if channels == 1 and kind.flat else array

    @property
    def image(self) -> Image.Image:
        """The picture as a PIL image."""
        kind = dataclasses.replace(self.kind, container="PIL")
        image: Image.Image = to_output(self.pixels, self.alpha, kind)
        return image

    @property
    def output(self) -> Any:
        """The picture as what came in: array, PIL image (also for a path) or bytes of a file."""
        return to_output(self.pixels, self.alpha, self.kind)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return (self.pixels.shape[2], self.pixels.shape[1])

    @property
    def loss(self) -> float:
        """Total loss of the picture at the last level."""
        return self.levels[-1].loss if self.levels else math.inf

    @property
    def losses(self) -> dict[str, NDArray[np.float64]]:
        """History of each part of the loss at the last level, one value per evaluation."""
        return self.levels[-1].losses if self.levels else {}

    @property
    def evaluations(self) -> int:
        """Evaluations (forward, losses, gradient) over all levels."""
        return sum(level.run.evaluations for level in self.levels)

    @plain_arguments
    def save(
        self, path: str | os.PathLike[str], *, quality: int = 95, bit_depth: int | None = None
    ) -> Path:
        """Writes the picture with its provenance; the file appears whole or not at all.

        The checkpoints of a run that is finished are removed then.

        path: .png, .jpg, .tif or .webp
        quality: of JPEG and WebP, 1-100; default 95
        bit_depth: 8 or 16 (PNG, TIFF); default: as the input's
        Raises ImageError when the file cannot be written.
        """
        if bit_depth is None:
            deep = Path(path).suffix.lower() in (".png", ".tif", ".tiff")
            bit_depth = 16 if deep and self.kind.dtype != "uint8" else 8
        provenance = {**self.provenance, "saved": {"quality": quality, "bit_depth": bit_depth}}
        written = save(
            path,
            self.pixels,
            alpha=self.alpha,
            quality=quality,
            bit_depth=bit_depth,
            metadata=provenance,
            grey=self.kind.grey,
        )
        for checkpoint in self.checkpoints:
            with contextlib.suppress(OSError):  # the picture is safe, which is what counts
                checkpoint.unlink()
        return written

    def __repr__(self) -> str:
        width, height = self.size
        weights = self.provenance["engine"].get("weights")
        return (
            f"<Result {width}x{height}, loss {self.loss:.4g} after {self.evaluations} evaluations "
            f"in {self.seconds['total']:.1f} s"
            f"{'' if weights is None else ', ' + weights['id'] + ' weights'}>"
        )


def weighted_sum(results: Sequence[Result], weights: Sequence[float]) -> Result:
    """X = Σ w_i X_i of separate results (Eq. 5 at the pixels), with the levels and times of all."""
    total = np.zeros_like(results[0].pixels)
    for result, weight in zip(results, weights, strict=True):
        total += np.float32(weight) * result.pixels
    first = results[0]
    return dataclasses.replace(
        first,
        pixels=np.clip(total, 0.0, 1.0),
        levels=tuple(level for result in results for level in result.levels),
        stopped=results[-1].stopped,
        checkpoints=()
        if any(result.stopped in ENDING for result in results)
        else tuple(path for result in results for path in result.checkpoints),
        seconds={
            "open": first.seconds["open"],
            "levels": sum(result.seconds["levels"] for result in results),
            "total": first.seconds["open"] + sum(result.seconds["levels"] for result in results),
        },
        provenance={
            **first.provenance,
            "levels": [level for result in results for level in result.provenance["levels"]],
        },
    )
