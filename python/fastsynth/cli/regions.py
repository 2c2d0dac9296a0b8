"""Masks, label maps and strength maps on the command line; fastsynth doodle."""

from __future__ import annotations

import argparse
from typing import Any

from fastsynth._errors import ObjectiveError

__all__ = ["add_doodle", "add_regions", "masks_of", "style_of"]

EVERYWHERE = "-"


def add_regions(verb: argparse.ArgumentParser) -> None:
    """The options of a transfer whose style differs from place to place."""
    where = verb.add_argument_group("what goes where")
    where.add_argument(
        "--label-maps",
        nargs=2,
        metavar=("CONTENT_MAP", "STYLE_MAP"),
        help="two pictures in which equal colours are one region: each takes its own part's style",
    )
    where.add_argument(
        "--content-mask",
        action="append",
        default=[],
        metavar="FILE",
        help="white where a region is; once for each region",
    )
    where.add_argument(
        "--style-mask",
        action="append",
        default=[],
        metavar="FILE",
        help='the part of the style for it, "-" for all; in the order of --content-mask',
    )
    where.add_argument(
        "--region-style",
        action="append",
        default=[],
        metavar="FILE",
        help='a style image of its own for it, "-" for the common one; in the same order',
    )
    where.add_argument(
        "--strength-map",
        metavar="FILE",
        help="where the style acts: black not at all, white with all its strength",
    )
    where.add_argument(
        "--fine-style",
        metavar="FILE",
        help="take the strokes from this picture, and forms and colours from STYLE",
    )


def masks_of(options: argparse.Namespace) -> Any:
    """The `masks` of the options: label maps, a list of regions, or None."""
    content, style, own = options.content_mask, options.style_mask, options.region_style
    if options.label_maps is not None:
        if content or style or own:
            raise ObjectiveError("give either --label-maps or masks, not both")
        return dict(zip(("content", "style"), options.label_maps, strict=True))
    if not content:
        if style or own:
            raise ObjectiveError(
                "--style-mask and --region-style belong to a --content-mask, which is missing"
            )
        return None
    for name, given in (("--style-mask", style), ("--region-style", own)):
        if given and len(given) != len(content):
            raise ObjectiveError(
                f"there are {len(content)} --content-mask and {len(given)} {name}; give as many, "
                'with "-" where a region has none of its own'
            )
    style = style or [EVERYWHERE] * len(content)
    own = own or [EVERYWHERE] * len(content)
    regions = []
    for row in zip(content, style, own, strict=True):
        region = [None if item == EVERYWHERE else item for item in row]
        regions.append(tuple(region if region[2] is not None else region[:2]))
    return regions


def style_of(options: argparse.Namespace, styles: list[tuple[str, float]]) -> Any:
    """The style of a transfer: weighted pictures, or a coarse and a fine one."""
    if options.fine_style is None:
        return styles
    if len(styles) != 1:
        raise ObjectiveError(f"--fine-style goes with one STYLE, not with {len(styles)}")
    return {"coarse": styles[0][0], "fine": options.fine_style}


def add_doodle(verbs: Any) -> None:
    """Adds the verb to the parser's subcommands."""
    from fastsynth.cli.parser import _layers, _run_options, _smoothness, _style_loss, _verb

    verb = _verb(
        verbs,
        "doodle",
        doodle,
        "turn a painted map of labels into a picture in a painting's manner",
    )
    verb.add_argument("style", metavar="STYLE", help="the painting whose parts are taken")
    verb.add_argument(
        "style_map", metavar="STYLE_MAP", help="its parts: a picture with a colour for each"
    )
    verb.add_argument(
        "painted", metavar="PAINTED_MAP", help="where the parts go: painted in the same colours"
    )
    verb.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="size of the painting's features (default: %(default)s)",
    )
    verb.add_argument(
        "--init",
        default="auto",
        help="first picture: patches (= auto), noise, or a file (default: %(default)s)",
    )
    verb.add_argument("--layers", type=_layers, help="such as conv1_1,conv2_1,conv3_1")
    _style_loss(verb)
    _smoothness(verb, 0.0)
    _run_options(verb)


def doodle(options: argparse.Namespace) -> int:
    """fastsynth doodle"""
    from fastsynth.cli.commands import _given, _synthesize

    return _synthesize(
        options,
        "synthesize_texture",
        options.style,
        masks={"content": options.painted, "style": options.style_map},
        scale=options.scale,
        init=options.init,
        style_loss=options.style_loss,
        smoothness=options.smoothness,
        **_given(layers=options.layers),
    )
