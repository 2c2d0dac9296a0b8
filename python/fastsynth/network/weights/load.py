"""`load_weights`: from what a user writes to a checked set of weights."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fastsynth._errors import WeightsError
from fastsynth.network.weights.cards import architecture_of, model_card
from fastsynth.network.weights.naming import arrays_of
from fastsynth.network.weights.random import random_weights
from fastsynth.network.weights.readers import open_tensors
from fastsynth.network.weights.store import get_command, load_published, weights_path
from fastsynth.network.weights.weight_set import WeightSet

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["load_weights"]

_log = logging.getLogger("fastsynth.weights")
_RANDOM = re.compile(r"random(?:-(?P<recipe>[a-z0-9-]*[a-z0-9]))?(?::(?P<seed>.*))?")
_SUFFIXES = (".safetensors", ".npz", ".h5", ".hdf5", ".pth", ".pt")


def load_weights(
    spec: str | os.PathLike[str] = "auto",
    network: str = "vgg16",
    *,
    download: bool = False,
    needed: Sequence[str] | None = None,
    convention: str | None = None,
) -> WeightSet:
    """Load the weights that `spec` names.

    Args:
        spec: "auto" (oxford where it was fetched, else torchvision, else random:0), "oxford",
            "torchvision", "random", "random:SEED", "random-RECIPE:SEED", or the path of a
            .safetensors, .npz, .h5 or .pth file, to which "?convention=NAME" may be added.
        network: "vgg16" or "vgg19".
        download: fetch published weights that are not there yet; with "auto", oxford.
        needed: layers that will be tapped; an error names the first that the weights do not serve.
        convention: for a file, the input that its weights expect: "oxford" (BGR, 0-255, minus a
            mean), "torchvision" (RGB, mean and standard deviation), "rgb" (RGB in [0, 1] as it is).
            Default: what the file says, else torchvision for names like features.0.weight, oxford
            for all others.

    Raises:
        WeightsError: weights that are missing, damaged, or do not fit the network.
        NetworkError: an unknown network or layer.

    >>> load_weights("random:3", needed=["conv4_2"]).layers[-1]
    'conv5_3'
    """
    architecture_of(network)
    weights = _load(os.fspath(spec), network, download=download, convention=convention)
    if needed is not None:
        weights.require(needed)
    return weights


def _load(spec: str, network: str, *, download: bool, convention: str | None) -> WeightSet:
    random = _RANDOM.fullmatch(spec)
    if random:
        return random_weights(network, _seed(random["seed"]), random["recipe"])
    if spec == "auto":
        return _auto(network, download=download)
    if spec in model_card(network).weights:
        return load_published(spec, network, download=download)
    path, stated = _split(spec)
    if not _is_file(path) and path.suffix.lower() not in _SUFFIXES:
        raise WeightsError(
            f"unknown weights {spec!r}; expected auto, oxford, torchvision, random:SEED, or "
            f"the path of a {', '.join(_SUFFIXES)} file"
        )
    return read_weights(path, network, convention=convention or stated)


def _is_file(path: Path) -> bool:
    """Whether it is a file; False for what is no path, such as a text that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _auto(network: str, *, download: bool) -> WeightSet:
    """The best weights at hand, and a word in the log about which they are."""
    published = list(model_card(network).weights)  # best first
    present = [name for name in published if weights_path(name, network).is_file()]
    if present or download:
        weights = load_published((present or published)[0], network, download=download)
        _log.info("weights %s", weights.describe())
        return weights
    weights = random_weights(network)
    _log.warning(
        "weights %s; for better pictures fetch the trained ones: %s",
        weights.describe(),
        get_command(published[0], network),
    )
    return weights


def read_weights(path: Path, network: str, *, convention: str | None = None) -> WeightSet:
    """Weights from the file `path`. Raises WeightsError; see `load_weights` for `convention`."""
    with open_tensors(path) as file:
        arrays = arrays_of(file, network, convention)
        licence = file.metadata.get("licence") or file.metadata.get("license")
        title = file.metadata.get("source")
    return WeightSet.build(
        f"file:{path.name}",
        network,
        arrays,
        licence=licence or "see its source for the licence",
        title=title or f"weights from {path}",
    )


def _seed(text: str | None) -> int:
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise WeightsError(
            f"the seed of random weights is {text!r}, expected a number, as in random:7"
        )
    return int(text)


def _split(spec: str) -> tuple[Path, str | None]:
    """ "FILE?convention=NAME" as (FILE, NAME); a file that is really called so wins."""
    path, separator, query = spec.rpartition("?")
    if not separator or _is_file(Path(spec)):
        return Path(spec), None
    key, _, value = query.partition("=")
    if key != "convention" or not value:
        raise WeightsError(f"cannot understand ?{query} after {path}; expected ?convention=NAME")
    return Path(path), value
