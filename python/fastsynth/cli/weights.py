"""fastsynth weights: which are there, fetching them, where they are."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from fastsynth._errors import WeightsError
from fastsynth.network.weights import get_weights, list_weights, weights_path

__all__ = ["get", "path", "show"]


def show() -> int:
    """Prints a table of all published weights and whether they are present."""
    table = Table(box=None, pad_edge=False)
    for name in ("network", "weights", "present", "size", "licence", "file"):
        table.add_column(name)
    for row in list_weights():
        size = f"{row.size / 1e6:.0f} MB" if row.size else ""
        table.add_row(
            row.network, row.name, "yes" if row.present else "no", size, row.licence, str(row.path)
        )
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(
        "Built in: random[:seed]. Fetch one with: fastsynth weights get NAME --network NETWORK"
    )
    return 0


def get(name: str, network: str) -> int:
    """Downloads weights into the store and prints where they are."""
    columns = (
        TextColumn(f"{network} {name}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        found = get_weights(
            name,
            network,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(found)
    return 0


def path(name: str, network: str) -> int:
    """Prints where the weights are; an error when they are not there."""
    found = weights_path(name, network)
    if not found.is_file():
        raise WeightsError(
            f"the {name} weights of {network} are not at {found}; fetch them with: "
            f"fastsynth weights get {name} --network {network}"
        )
    print(found)
    return 0
