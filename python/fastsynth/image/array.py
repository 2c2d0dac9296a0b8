"""Images as arrays that know how to become pictures: what pixel-based functions return."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._machine import describe_machine
from fastsynth._numbers import plain_arguments
from fastsynth.image.io import load
from fastsynth.image.output import to_pil
from fastsynth.image.save import save

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["ImageArray"]


class ImageArray(np.ndarray):
    """An ndarray (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or float32 in [0, 1].

    It is used like any array; views and results of arithmetic are images too, without a record.

    provenance: what made the image, as plain data, written into files by `save`; or None.

    >>> image = ImageArray.of(np.zeros((2, 3, 3), np.uint8))
    >>> image.shape, image.image.size, (image + 1).provenance
    ((2, 3, 3), (3, 2), None)
    """

    provenance: dict[str, Any] | None = None

    @staticmethod
    def of(array: NDArray[Any], provenance: dict[str, Any] | None = None) -> ImageArray:
        """A view of `array` as an image, with the record of what made it."""
        image = np.asarray(array).view(ImageArray)
        image.provenance = provenance
        return image

    @property
    def array(self) -> NDArray[Any]:
        """The same samples as a plain ndarray."""
        return self.view(np.ndarray)

    @property
    def image(self) -> Image.Image:
        """The image as a PIL image, of 8 bits for colour. Raises ImageError as `load` does."""
        picture = load(self.array)
        kind = picture.kind
        mode = ("L" if kind.dtype == "uint8" else "F") if kind.channels == 1 else None
        return to_pil(picture.pixels, picture.alpha, mode=mode)

    @plain_arguments
    def save(
        self, path: str | os.PathLike[str], *, quality: int = 95, bit_depth: int | None = None
    ) -> Path:
        """Writes the image; the file appears whole or not at all.

        The provenance goes with it, and under "engine" the versions that computed.

        path: .png, .jpg, .tif or .webp
        quality: of JPEG and WebP, 1-100; default 95
        bit_depth: 8 or 16 (PNG, TIFF); default 16 for uint16 where the format has it, else 8
        Raises ImageError when the file cannot be written, or the array is no image.
        """
        picture = load(self.array)
        if bit_depth is None:
            deep = Path(path).suffix.lower() in (".png", ".tif", ".tiff")
            bit_depth = 16 if deep and self.dtype == np.uint16 else 8
        record = self.provenance
        if record is not None:
            import PIL.Image  # noqa: F401  (which writes the file: its version is a part of it)

            record = {
                **record,
                "engine": describe_machine(),
                "saved": {"quality": quality, "bit_depth": bit_depth},
            }
        return save(
            path,
            picture,
            quality=quality,
            bit_depth=bit_depth,
            metadata=record,
            grey=picture.kind.grey,
        )
