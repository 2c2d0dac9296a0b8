"""Pictures for the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Two pictures of 48 × 40 pixels."""
    rng = np.random.default_rng(0)
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)).save(path)
    return str(paths[0]), str(paths[1])
