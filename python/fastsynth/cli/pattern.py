"""fastsynth pattern: automata, formulas, fractals, plants and curves."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fastsynth._errors import ImageError

__all__ = ["add_pattern", "pattern"]

# The patterns' own options: name, metavar, help. Values are JSON, or text where that is none; a
# test compares the names with the functions.
OWN: dict[str, tuple[tuple[str, str, str], ...]] = {
    "elementary_automaton": (
        ("rule", "N", "0-255 (default: 30)"),
        ("start", "ROW", "cell, random, or a row such as 0110 (default: cell)"),
        ("density", "X", "share of living cells in a random row (default: 0.5)"),
        ("boundary", "NAME", "open, wrap or zero (default: open)"),
        ("cell", "N", "pixels per side of a cell (default: 1)"),
        ("color_by", "NAME", "state, neighborhood or row (default: state)"),
    ),
    "cellular_automaton": (
        ("rule", "RULE", "such as B3/S23 (default)"),
        ("start", "ROWS", 'random, cell, or rows such as \'[".#.", "..#", "###"]\''),
        ("density", "X", "share of living cells in a random start (default: 0.35)"),
        ("steps", "N", "default: 200"),
        ("boundary", "NAME", "wrap or zero (default: wrap)"),
        ("cell", "N", "pixels per side of a cell (default: 4)"),
        ("fade", "N", "steps over which ages are told apart (default: 64)"),
        ("color_by", "NAME", "age or state (default: age)"),
    ),
    "formula": (
        ("expression", "TEXT", 'one expression, or three for "red; green; blue"'),
        ("t", "X", "a number for animations (default: 0)"),
        ("value_range", "[A,B]", "values at the palette's ends (default: [-1,1])"),
        ("repeat", "BOOL", "begin the palette anew beyond its ends (default: false)"),
        ("zoom", "X", "default: 1"),
        ("center", "[X,Y]", "default: [0,0]"),
    ),
    "sunflower": (
        ("seeds", "N", "default: 900"),
        ("petals", "N", "in each layer; 0 = seeds alone (default: 34)"),
        ("layers", "N", "of petals (default: 3)"),
        ("angle", "DEGREES", "between seeds (default: the golden angle)"),
        ("disc", "X", "radius of the seeds' disc, as a share (default: 0.44)"),
        ("jitter", "X", "how much petals differ (default: 1)"),
        ("background", "COLOUR", "behind the flower"),
        ("corner", "COLOUR", "in the frame's corners"),
        ("petal_palette", "PALETTE", "of the petals (default: petals)"),
    ),
    "mandelbrot": (),
    "julia": (("c", "[X,Y]", "of z² + c (default: [-0.8,0.156])"),),
    "iterated_function_system": (
        ("maps", "MAPS", "a preset (default: fern), or rows [[a,b,c,d,e,f], …]"),
        ("samples", "X", "points per pixel (default: 12)"),
        ("gamma", "X", "above 1 brings out what is faint (default: 1)"),
        ("margin", "X", "free space around, as a share (default: 0.06)"),
        ("background", "COLOUR", "default: nearly black"),
    ),
    "lsystem": (
        ("preset", "NAME", "plant_a … plant_f, bush, hilbert, penrose … (default: plant_f)"),
        ("axiom", "TEXT", "the string at the start"),
        ("rules", "RULES", 'such as \'{"F": "F[+F]F[-F]F"}\''),
        ("angle", "DEGREES", "of a turn"),
        ("steps", "N", "of rewriting"),
        ("heading", "DEGREES", "at the start; 90 is up"),
        ("draw", "SYMBOLS", "forward with a line (default: FG)"),
        ("move", "SYMBOLS", "forward without (default: f)"),
        ("leaves", "SYMBOLS", "that set a leaf"),
        ("thickness", "X", "of the thickest line, as a share"),
        ("taper", "X", "how fast lines grow thin; 0 = not at all"),
        ("leaf_size", "X", "0 = no leaves (default: 1)"),
        ("color_by", "NAME", "distance, tip or order"),
        ("margin", "X", "free space around, as a share (default: 0.06)"),
        ("background", "COLOUR", "default: by preset"),
        ("leaf_palette", "PALETTE", "of the leaves"),
    ),
    "trochoid": (
        ("curves", "CURVES", "triples [[fixed,rolling,pen], …]"),
        ("thickness", "X", "of the lines, as a share (default: 0.0035)"),
        ("opacity", "X", "default: 0.9"),
        ("color_by", "NAME", "curve or path (default: curve)"),
        ("margin", "X", "free space around, as a share (default: 0.06)"),
        ("background", "COLOUR", "default: a dark blue"),
    ),
}
_ESCAPE = (
    ("center", "[X,Y]", "the middle of the picture"),
    ("zoom", "X", "default: 1"),
    ("angle", "DEGREES", "turns the picture (default: 0)"),
    ("max_iterations", "N", "default: 500, more with the zoom"),
    ("density", "X", "how often the palette is run through (default: 1)"),
    ("offset", "X", "where in the palette it begins (default: 0)"),
    ("relief", "X", "light and shadow on the slopes, 0-1 (default: 0)"),
    ("inside", "COLOUR", "of the set (default: nearly black)"),
)
OWN["mandelbrot"] += _ESCAPE
OWN["julia"] += _ESCAPE
_TEXT = {"rule", "expression", "axiom", "draw", "move", "leaves", "boundary", "color_by"}


def add_pattern(verbs: Any) -> None:
    """Adds `fastsynth pattern NAME` with the options of each pattern."""
    verb = verbs.add_parser(
        "pattern",
        help="draw a cellular automaton, formula, fractal, plant or curve",
        description="Draw a picture from a rule, a formula or a growth process.",
        epilog="fastsynth pattern NAME --help shows the options of a pattern. Start with:  "
        "fastsynth pattern sunflower -o flower.png --size 1024",
    )
    verb.add_argument(
        "--list", action="store_true", help="list patterns, presets and palettes, and end"
    )
    verb.set_defaults(command=pattern, name=None)
    names = verb.add_subparsers(metavar="NAME", dest="name")
    for name, own in OWN.items():
        one = names.add_parser(name, help=f"see fastsynth pattern {name} --help")
        one.add_argument("-o", "--output", metavar="FILE", required=True, help="the picture")
        one.add_argument("--size", help="side of a square, or WIDTHxHEIGHT (default: 512)")
        one.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
        one.add_argument(
            "--palette", metavar="NAME|COLOURS", help='a name, or such as "#102030,#ffeecc"'
        )
        one.add_argument("--no-antialias", action="store_true", help="hard edges")
        one.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
        one.add_argument("--quality", type=int, default=95, help="of JPEG and WebP, 1-100")
        one.add_argument("--bit-depth", type=int, choices=(8, 16), default=8, help="default: 8")
        one.add_argument("-v", "--verbose", action="store_true", help="show errors in full")
        one.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
        group = one.add_argument_group("of the pattern itself (--option=VALUE)")
        for option, metavar, text in own:
            group.add_argument(
                "--" + option.replace("_", "-"), dest="own_" + option, metavar=metavar, help=text
            )


def pattern(options: argparse.Namespace) -> int:
    """fastsynth pattern NAME"""
    from fastsynth import patterns
    from fastsynth.image import check_writable

    if options.list:
        print("patterns:", *patterns.PATTERNS)
        print("lsystem presets:", *patterns.LSYSTEMS)
        print("iterated_function_system presets:", *patterns.FUNCTION_SYSTEMS)
        print("palettes:", *patterns.palette_names())
        return 0
    if options.name is None:
        raise ImageError(
            f"which pattern? Known are {', '.join(OWN)}; fastsynth pattern --list shows presets"
        )
    check_writable(options.output, quality=options.quality, bit_depth=options.bit_depth)
    arguments = {
        option: _value(option, options.name, text)
        for option, _, _ in OWN[options.name]
        if (text := getattr(options, "own_" + option)) is not None
    }
    if options.palette is not None:
        arguments["palette"] = _palette(options.palette)
    if options.size is not None:
        arguments["size"] = options.size
    image = patterns.draw(
        options.name,
        **arguments,
        seed=options.seed,
        antialias=not options.no_antialias,
        threads=options.threads,
        dtype="uint16" if options.bit_depth == 16 else "uint8",
    )
    path = image.save(options.output, quality=options.quality, bit_depth=options.bit_depth)
    if not options.quiet:
        print(f"{path}: {image.shape[1]}×{image.shape[0]}", file=sys.stderr)
    return 0


def _value(option: str, name: str, text: str) -> Any:
    """
    >>> _value("center", "julia", "[0.5, 1]"), _value("expression", "formula", "1")
    ([0.5, 1], '1')
    """
    if option in _TEXT and not (option == "rule" and name == "elementary_automaton"):
        return text
    if option == "start" and name == "elementary_automaton" and not text.startswith("["):
        return text
    if option.endswith("palette"):
        return _palette(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _palette(text: str) -> Any:
    """
    >>> _palette("ember"), _palette("#000, white")
    ('ember', ['#000', 'white'])
    """
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ImageError(f"the palette {text!r:.60} is no JSON: {error}") from error
    return [color.strip() for color in text.split(",")] if "," in text else text
