"""Writes the graphs in models/ from torch; needs fastsynth[export]. Nothing else imports torch.

Run `python -m fastsynth.export` to write them anew.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.graph import POOLINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["export_graphs", "graphs"]


def graphs(
    networks: tuple[str, ...] = tuple(ARCHITECTURES),
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yields file name and model of all graphs: per network and pooling, forward and gradient."""
    from fastsynth.export.autograd import trace
    from fastsynth.export.translate import forward_model, gradient_model

    for network in networks:
        for pooling in POOLINGS:
            joint = trace(ARCHITECTURES[network], pooling)
            stem = f"{network}_{pooling}"
            yield f"{stem}_forward.onnx", forward_model(ARCHITECTURES[network], joint)
            yield f"{stem}_gradient.onnx", gradient_model(ARCHITECTURES[network], joint)


def export_graphs(folder: str | os.PathLike[str]) -> list[Path]:
    """Writes all graphs into `folder`, each file whole or not at all, and returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, model in graphs():
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(model.SerializeToString(deterministic=True))
            Path(temporary).replace(folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        written.append(folder / name)
    return written
