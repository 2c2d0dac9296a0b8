"""The command line: thin wrappers that parse, call the library and save.

Exit codes: 0 done; 1 an error, told in one line; 2 wrong usage; 130 stopped by Ctrl-C, with the
best picture so far saved.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from fastsynth._errors import FastsynthError
from fastsynth.cli.parser import build_parser

__all__ = ["main"]

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    argv: the words after the program's name; default those of the process.
    Raises SystemExit with code 2 for wrong usage, with 0 after --help.
    """
    parser = build_parser()
    options = parser.parse_args(argv)
    logging.basicConfig(
        format="fastsynth: %(message)s",
        level=logging.DEBUG
        if options.verbose
        else logging.ERROR
        if options.quiet
        else logging.WARNING,
    )
    try:
        return int(options.command(options))
    except FastsynthError as error:
        if options.verbose:
            logging.getLogger("fastsynth").exception("the error in full")
        print(f"fastsynth: error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fastsynth: stopped", file=sys.stderr)
        return INTERRUPTED


def one_line(error: Exception) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
