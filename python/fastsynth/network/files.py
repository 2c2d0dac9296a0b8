"""Where the files of `models/` lie: model cards and graphs."""

from __future__ import annotations

from pathlib import Path

from fastsynth._errors import NetworkError

__all__ = ["models_directory"]


def models_directory() -> Path:
    """The folder with the model cards (`*.toml`) and graphs (`*.onnx`).

    An installed package carries it as `fastsynth/models`; a source tree has it at its root.

    Raises:
        NetworkError: neither exists, which means a damaged installation.

    >>> (models_directory() / "vgg16.toml").is_file()
    True
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "models", package.parents[1] / "models")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise NetworkError(
        f"the model files are missing: looked in {' and '.join(map(str, candidates))}; "
        "install fastsynth again (pip install --force-reinstall fastsynth)"
    )
