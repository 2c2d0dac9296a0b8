"""`python -m fastsynth.export [-o DIR]`: writes the graphs in models/ anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastsynth.export import export_graphs


def main() -> None:
    """Parses the command line, writes the graphs, and says what was written."""
    parser = argparse.ArgumentParser(
        prog="python -m fastsynth.export",
        description="Write the ONNX graphs of all networks, without weights, by torch's autograd.",
    )
    default = Path(__file__).resolve().parents[3] / "models"
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, default=default, help="default: %(default)s"
    )
    for path in export_graphs(parser.parse_args().output):
        print(f"{path}  {path.stat().st_size / 1024:.1f} KB")


if __name__ == "__main__":
    main()
