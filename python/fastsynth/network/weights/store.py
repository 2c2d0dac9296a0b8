"""The store: where fetched weights lie, and how one knows that they are still what was fetched.

    $FASTSYNTH_HOME/weights/NETWORK/FILE            the file as published
    $FASTSYNTH_HOME/weights/NETWORK/FILE.verified   that it was verified, and the checksum of its
    arrays

A file is compared with the checksum of its model card when it is fetched, and again before it is
first read. Reading it yields a checksum of the arrays, which is remembered beside it; later loads
compare that one, which every result needs anyway, and so a damaged file is noticed at no cost.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastsynth._errors import WeightsError
from fastsynth.network.architecture import ARCHITECTURES
from fastsynth.network.weights.cards import WeightsCard, model_card, weights_card
from fastsynth.network.weights.naming import arrays_of
from fastsynth.network.weights.readers import open_tensors
from fastsynth.network.weights.source import Source, by_hand, checksum_matches
from fastsynth.network.weights.weight_set import WeightSet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WeightsEntry", "get_weights", "home", "list_weights", "weights_path"]

_log = logging.getLogger("fastsynth.weights")


@dataclass(frozen=True)
class WeightsEntry:
    """One line of `list_weights`: published weights, and whether they are in the store."""

    network: str
    name: str
    present: bool
    path: Path
    size: int  # bytes
    licence: str
    title: str


def home() -> Path:
    """The folder of all that fastsynth keeps: FASTSYNTH_HOME, else the user's cache folder."""
    chosen = os.environ.get("FASTSYNTH_HOME")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "fastsynth"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastsynth"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "fastsynth"


def weights_path(name: str, network: str = "vgg16") -> Path:
    """Where the published weights `name` lie, or would lie once fetched.

    Raises:
        WeightsError: no such weights are published for `network`.
        NetworkError: an unknown network.

    >>> weights_path("torchvision", "vgg19").name
    'vgg19-dcbb9e9d.pth'
    """
    return home() / "weights" / network / weights_card(name, network).file


def list_weights() -> list[WeightsEntry]:
    """All published weights of all networks.

    >>> [entry.name for entry in list_weights() if entry.network == "vgg16"]
    ['oxford', 'torchvision']
    """
    return [
        WeightsEntry(
            network=card.network,
            name=card.name,
            present=weights_path(card.name, network).is_file(),
            path=weights_path(card.name, network),
            size=card.size,
            licence=card.licence,
            title=card.title,
        )
        for network in ARCHITECTURES
        for card in model_card(network).weights.values()
    ]


def get_weights(
    name: str,
    network: str = "vgg16",
    progress: Callable[[int, int], object] | None = None,
    *,
    url: str | None = None,
) -> Path:
    """Put the published weights `name` into the store, unless they are there; return their path.

    Args:
        name: "oxford" or "torchvision".
        network: "vgg16" or "vgg19".
        progress: called with (bytes so far, bytes in all).
        url: a mirror to take the file from; size and checksum stay those of the model card.

    Raises:
        WeightsError: unknown name, FASTSYNTH_OFFLINE is set, the file cannot be had, does not match
            its checksum, or cannot be written.
        NetworkError: an unknown network.
    """
    card = weights_card(name, network)
    path = weights_path(name, network)
    source = _source(card, url)
    if path.is_file() and checksum_matches(path, source):
        return path
    if _offline():
        raise WeightsError(
            f"FASTSYNTH_OFFLINE is set, so the weights {name} of {network} are not fetched; unset "
            "it, " + by_hand(source, path)
        )
    from fastsynth.network.weights.download import fetch  # urllib is slow to import

    return fetch(source, path, progress=progress)


def load_published(name: str, network: str, *, download: bool = False) -> WeightSet:
    """The published weights `name` from the store, fetched before if `download` says so.

    Raises:
        WeightsError: they are absent, or damaged.
    """
    card = weights_card(name, network)
    path = weights_path(name, network)
    source = _source(card, None)
    if not path.is_file():
        if not download:
            raise WeightsError(
                f"the weights {name} of {network} are not there; fetch {card.size / 1e6:.0f} MB "
                f"with `{get_command(name, network)}`, pass download=True, " + by_hand(source, path)
            )
        get_weights(name, network)
    damaged = WeightsError(
        f"{path} is damaged: it differs from the {card.checksum[0]} checksum {card.checksum[1]}; "
        f"`{get_command(name, network)}` fetches it again"
    )
    record = _Record.of(card, path)
    remembered = record.remembered()
    if remembered is None and not checksum_matches(path, source):
        raise damaged
    try:
        with open_tensors(path) as file:
            arrays = arrays_of(file, network, card.convention.name)
    except WeightsError as error:
        raise damaged from error
    weights = WeightSet.build(name, network, arrays, licence=card.licence, title=card.title)
    if weights.layers != card.layers or remembered not in (None, weights.sha256):
        raise damaged
    if remembered is None:
        record.remember(weights.sha256)
    return weights


def get_command(name: str, network: str) -> str:
    """What to type to fetch the weights."""
    command = f"fastsynth weights get {name}"
    return command if network == "vgg16" else f"{command} --network {network}"


def _source(card: WeightsCard, url: str | None) -> Source:
    return Source(url or card.url, card.size, card.checksum)


def _offline() -> bool:
    return os.environ.get("FASTSYNTH_OFFLINE", "").lower() not in ("", "0", "false", "no")


@dataclass(frozen=True)
class _Record:
    """The note beside a verified file; good until size or time of the file change."""

    path: Path
    facts: dict[str, object]

    @classmethod
    def of(cls, card: WeightsCard, path: Path) -> _Record:
        status = path.stat()
        facts: dict[str, object] = {
            "checksum": ":".join(card.checksum),
            "size": status.st_size,
            "modified_ns": status.st_mtime_ns,
        }
        return cls(path.with_name(path.name + ".verified"), facts)

    def remembered(self) -> str | None:
        """The checksum of the arrays, or None where nothing valid is noted."""
        try:
            noted = json.loads(self.path.read_text(encoding="utf-8"))
            arrays = noted.pop("arrays_sha256")
        except (OSError, ValueError, KeyError, AttributeError):
            return None  # no note, or no usable one: the file is verified in full
        return arrays if noted == self.facts and isinstance(arrays, str) else None

    def remember(self, arrays_sha256: str) -> None:
        """Write the note; a store that cannot be written is verified in full at each load."""
        text = json.dumps({**self.facts, "arrays_sha256": arrays_sha256}, indent=1)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            _log.debug("cannot note that %s was verified: %s", self.path, error)
