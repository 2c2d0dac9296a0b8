"""fastsynth batch: its options, and what it does."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastsynth.synthesize import BatchItem, BatchReport

__all__ = ["add", "batch"]


def add(verbs: Any, verb_of: Any) -> None:
    """Adds the verb to the parser's subcommands."""
    verb = verb_of(verbs, "batch", batch, "run many jobs, with networks that are loaded once")
    verb.add_argument("manifest", metavar="MANIFEST", help="the jobs: a .csv, .jsonl or .toml file")
    verb.add_argument(
        "--defaults",
        metavar="JOB.toml",
        help="verb, [engine] and [arguments] for all jobs that leave them out",
    )
    verb.add_argument(
        "--again", action="store_true", help="do again what is finished (default: skip it)"
    )
    verb.add_argument(
        "--checkpoints",
        action="store_true",
        help="keep OUTPUT.checkpoint for each run, from which a killed batch goes on",
    )
    verb.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N|auto",
        help="jobs at a time, sharing the threads; auto = as memory allows (default: 1; with "
        "--ray: as many as the cluster has room for)",
    )
    verb.add_argument(
        "--ray",
        metavar="auto|local|ADDRESS",
        help="let a Ray cluster do the jobs: the one that runs here, one of this batch's own, or "
        "the one at an address",
    )
    verb.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="what all jobs at a time may take together, such as 4GiB (default: what is free)",
    )
    verb.add_argument(
        "--estimate",
        action="store_true",
        help="say what memory and time the jobs would take one after the other, and stop",
    )
    verb.add_argument("--trace", metavar="FILE", help="append what each run does, as lines of JSON")
    verb.add_argument("--report", metavar="FILE", help="write what became of each job, as JSON")
    verb.add_argument("--quality", type=int, default=95, help="of JPEG and WebP, 1-100")
    verb.add_argument("--bit-depth", type=int, choices=(8, 16), help="of PNG and TIFF")


def _jobs(text: str) -> int | str:
    """
    >>> _jobs("auto"), _jobs("3")
    ('auto', 3)
    """
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def batch(options: argparse.Namespace) -> int:
    """fastsynth batch MANIFEST"""
    from fastsynth.synthesize import batch as run
    from fastsynth.synthesize import read_job

    defaults = read_job(options.defaults) if options.defaults else None
    if options.estimate:
        from fastsynth.synthesize.batching import estimate_batch

        limit = options.memory_limit
        count, found, failing = estimate_batch(
            options.manifest, defaults=defaults, memory_limit=limit
        )
        tell_failures(failing)
        jobs = f"{count} job{'' if count == 1 else 's'} with a network"
        print(jobs if found is None else f"{jobs}: {found}")
        return int(bool(failing))
    report = run(
        options.manifest,
        defaults=defaults,
        again=options.again,
        checkpoints=options.checkpoints,
        quality=options.quality,
        bit_depth=options.bit_depth,
        parallel=options.jobs,
        ray=options.ray,
        memory_limit=options.memory_limit,
        trace=options.trace,
        progress=not options.quiet,
    )
    if options.report:
        report.save(options.report)
    tell(report, options.quiet)
    return report.exit_code


def tell(report: BatchReport, quiet: bool) -> None:
    """Failures, each in a line, and a summary."""
    tell_failures([item for item in report.items if item.status == "failed"])
    if not quiet:
        counts = ", ".join(
            f"{report.count(status)} {status}"
            for status in ("done", "skipped", "failed", "waiting")
            if report.count(status) or status == "done"
        )
        cut = "; stopped: the same command goes on" if report.interrupted else ""
        print(f"{counts} in {report.seconds:.1f} s{cut}", file=sys.stderr)


def tell_failures(items: Sequence[BatchItem]) -> None:
    """Each in a line."""
    for item in items:
        name = f" ({item.output})" if item.output else ""
        print(f"fastsynth: {item.place}{name}: {item.message}", file=sys.stderr)
