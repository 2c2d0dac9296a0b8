"""What the public functions accept."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from .image import Picture

    ImageLike: TypeAlias = (
        str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.generic] | Picture
    )
    Size: TypeAlias = int | tuple[int, int] | str | None
