"""fastsynth export-step: a job's iteration as an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["add"]


def add(verbs: Any, verb_of: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    verb = verb_of(
        verbs, "export-step", export, "write one iteration of a job as an ONNX file for any program"
    )
    verb.add_argument(
        "job", metavar="JOB.toml", help="the job: verb, [engine] and [arguments]; docs/step.md"
    )
    verb.add_argument(
        "-o", "--output", metavar="NAME.onnx", required=True, help="the graph to write"
    )
    verb.add_argument(
        "--no-weights",
        action="store_true",
        help="leave the network's weights out; the page beside the graph says where they go",
    )


def export(options: argparse.Namespace) -> int:
    """fastsynth export-step"""
    from fastsynth.synthesize.export_step import export_step

    for path in export_step(options.job, options.output, weights=not options.no_weights):
        if not options.quiet:
            print(path)
    return 0
