"""fastsynth score: how like its exemplar a texture is, or its content and style a transfer."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import FastsynthError, ObjectiveError

if TYPE_CHECKING:
    from rich.table import Table

    from fastsynth.score import Component, TextureScore, TransferScore

__all__ = ["add", "score"]


def add(verbs: Any, make: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to a parser's verbs; `make` is the parser module's way to add one."""
    verb = make(verbs, "score", score, "measure a texture, or a style transfer, without a network")
    verb.add_argument("image", metavar="IMAGE", help="the picture to judge")
    verb.add_argument("--exemplar", metavar="FILE", help="of a texture: what it should be like")
    verb.add_argument(
        "--content", metavar="FILE", help="of a style transfer: whose shapes it should have"
    )
    verb.add_argument(
        "--style", metavar="FILE", help="of a style transfer: whose manner it should have"
    )
    verb.add_argument(
        "--style-scale",
        type=float,
        default=1.0,
        help="as the transfer was made with (default: %(default)s)",
    )
    verb.add_argument(
        "--anchors",
        action="store_true",
        help="of a style transfer: also score the content and the style themselves, to compare",
    )
    verb.add_argument(
        "--weights",
        help="also compare Gram matrices of a network with these weights: oxford, random:1, …",
    )
    verb.add_argument("--network", default="vgg16", help="vgg16 or vgg19 (default: %(default)s)")
    verb.add_argument(
        "--json", metavar="FILE", help="write all numbers to this file; - for the standard output"
    )
    verb.add_argument(
        "--map", metavar="FILE", help="write a picture of the places that fit worst: .png .jpg …"
    )


def score(options: argparse.Namespace) -> int:
    """fastsynth score"""
    from fastsynth import score as measure
    from fastsynth.image import check_writable

    pair = [options.content, options.style]
    if (options.exemplar is None) == (pair == [None, None]) or (None in pair and any(pair)):
        raise ObjectiveError(
            "score needs either --exemplar FILE (of a texture), or --content FILE and --style FILE "
            "(of a style transfer)"
        )
    if options.map:
        check_writable(options.map)
    network = {"weights": options.weights, "network": options.network}
    found: TextureScore | TransferScore
    if options.exemplar is not None:
        found = measure.texture(options.image, options.exemplar, **network)
        table = texture_table(found)
    else:
        found = measure.transfer(
            options.image,
            options.content,
            options.style,
            style_scale=options.style_scale,
            anchors=options.anchors,
            **network,
        )
        table = transfer_table(found)
    if options.map:
        found.worst_places().save(options.map)
    if options.json == "-":
        print(json.dumps(found.to_dict(), indent=2))
        return 0
    if options.json:
        write_text(Path(options.json), found.to_json() + "\n")
    if not options.quiet:
        from rich.console import Console

        # A pipe has no width of its own: no column is cut there.
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


def texture_table(found: TextureScore) -> Table:
    """A row for each measure."""
    table = _table("measure", "ratio", "distance", "base", "what it sees")
    rows: list[tuple[str, Component | None, str]] = [
        ("autocorrelation", found.autocorrelation, "long-range structure"),
        ("spectrum", found.spectrum, "sharpness, noise, direction (dB)"),
        ("patches", found.patches, "local patterns"),
        ("marginals", found.marginals, "edges and lines"),
        ("color", found.color, "colours"),
        ("gram", found.gram, "network features, not in total"),
    ]
    for name, component, text in rows:
        if component is not None:
            table.add_row(name, *_numbers(component), text)
    table.add_section()
    table.add_row("total", f"{found.total:.2f}", "", "", "1 = another crop of the exemplar")
    table.add_row("copied", f"{found.copied:.2f}", "", "", "1 = a verbatim copy")
    table.add_row(
        "regularity", f"{found.regularity:.2f}", "", "", "of the exemplar; regular above 0.20"
    )
    return table


def transfer_table(found: TransferScore) -> Table:
    """A row for the picture and for each anchor."""
    table = _table("", "content", "style", "product", "K1", "K2", "K3", "S2", "S3", "S4", "S5")
    if found.gram is not None:
        table.add_column("S7", justify="right")
    for name, item in {"image": found, **found.anchors}.items():
        ratios = [item.spectrum, item.patches, item.marginals, item.color]
        if item.gram is not None:
            ratios.append(item.gram)
        table.add_row(
            name,
            f"{item.content:.3f}",
            f"{item.style:.2f}",
            f"{item.product:.2f}",
            *(f"{value:.2f}" for value in (item.structure, item.edges, item.similarity)),
            *(f"{component.ratio:.2f}" for component in ratios),
        )
    return table


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="left" if name.startswith("what") else "right")
    return table


def _numbers(component: Component) -> tuple[str, str, str]:
    return f"{component.ratio:.2f}", f"{component.distance:.4g}", f"{component.base:.4g}"


def write_text(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all. Raises FastsynthError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise FastsynthError(
            f"cannot write {str(path)!r}: {error.strerror or error}; choose another file"
        ) from error
