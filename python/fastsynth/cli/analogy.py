"""fastsynth analogy: its options, and what it does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fastsynth._errors import ObjectiveError

if TYPE_CHECKING:
    from fastsynth.synthesize import Result

__all__ = ["add", "analogy"]

NONE = "-"


def add(verbs: Any) -> None:
    """Adds the verb to the parser's subcommands."""
    from fastsynth.cli.parser import _evaluations, _showing, _verb

    verb = _verb(
        verbs,
        "analogy",
        analogy,
        "learn what was done to a picture and do it to another: A is to A_PRIME as B to the result",
    )
    verb.add_argument("a", metavar="A", help='the picture before; "-" makes it from A_PRIME')
    verb.add_argument("a_prime", metavar="A_PRIME", help="the picture after")
    verb.add_argument(
        "b", metavar="B", nargs="?", default=NONE, help='what is treated likewise; "-" for textures'
    )
    verb.add_argument(
        "--preset",
        choices=("artistic", "numbers", "superres", "texture", "transfer"),
        default="artistic",
        help="what is compared (default: %(default)s)",
    )
    verb.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="the picture to write: .png .jpg .tif .webp",
    )
    verb.add_argument("--size", help="longer side in pixels, or WIDTHxHEIGHT (default: as B)")
    verb.add_argument(
        "--seed", type=int, default=0, help="of everything random (default: %(default)s)"
    )
    verb.add_argument(
        "--weight", type=float, help="of B's resemblance to A (default: by preset, 2 to 20)"
    )
    verb.add_argument(
        "--kappa", type=float, help="coherence: more takes larger pieces (default: by preset)"
    )
    verb.add_argument(
        "--uniformity", type=float, help="price of repeating parts of A_PRIME (default: by preset)"
    )
    verb.add_argument(
        "--patch", type=int, help="side in pixels (default: 5, 7 for numbers and textures)"
    )
    verb.add_argument(
        "--remap-luminance",
        action=argparse.BooleanOptionalAction,
        help="fit the luminance of A to B's (default: by preset)",
    )
    verb.add_argument(
        "--color", choices=("b", "a_prime"), help="whose colours (default: by preset)"
    )
    verb.add_argument("--source-mask", metavar="FILE", help="white: what of A_PRIME may be used")
    verb.add_argument("--target-mask", metavar="FILE", help="white: what of B is made")
    verb.add_argument("--levels", type=int, help="coarse-to-fine levels (default: by size)")
    verb.add_argument(
        "--rounds",
        type=_evaluations,
        default=4,
        help="of search and vote at each level, or one per level: 4,4,4,2 (default: %(default)s)",
    )
    verb.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="stop with the best picture so far after this time",
    )
    verb.add_argument(
        "--trace", metavar="FILE", help="append a line of JSON for each round: loss, time, memory"
    )
    verb.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    _showing(verb)


def analogy(options: argparse.Namespace) -> int:
    """fastsynth analogy"""
    from fastsynth.cli.commands import _finish
    from fastsynth.synthesize import image_analogy

    if options.a_prime == NONE:
        raise ObjectiveError('A_PRIME is missing; only A and B may be "-"')
    files = {"source": options.source_mask, "target": options.target_mask}
    masks = {key: file for key, file in files.items() if file is not None}

    def call(callback: Any) -> Result:
        return image_analogy(
            None if options.a == NONE else options.a,
            options.a_prime,
            None if options.b == NONE else options.b,
            preset=options.preset,
            size=options.size,
            levels=options.levels,
            patch=options.patch,
            weight=options.weight,
            kappa=options.kappa,
            uniformity=options.uniformity,
            remap_luminance=options.remap_luminance,
            color=options.color,
            masks=masks or None,
            rounds=options.rounds,
            seed=options.seed,
            threads=options.threads,
            time_limit=options.time_limit,
            trace=options.trace,
            callback=callback,
        )

    return _finish(options, options.output, call)
