"""Cellular automata: Wolfram's elementary ones, and planes such as Conway's Life."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.image import ImageArray
from fastsynth.patterns.frame import Frame, FrameOptions, choice, in_core, number, whole
from fastsynth.patterns.palette import plain_palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import PaletteLike

__all__ = ["cellular_automaton", "elementary_automaton", "parse_life_rule"]

_ALIVE = "1#OoX*"
_DEAD = "0.-_ "


def elementary_automaton(
    rule: int = 30,
    *,
    start: str | Sequence[int] | NDArray[np.generic] = "cell",
    density: float = 0.5,
    boundary: str = "open",
    cell: int = 1,
    color_by: str = "state",
    palette: PaletteLike = "ink",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """An elementary cellular automaton (Wolfram 1983), one row of the picture per step.

    The next state of a cell is bit 4l + 2c + r of `rule`, with l, c, r the states of its left
    neighbour, itself and its right neighbour.

    rule: 0-255; default 30
    start: the first row: "cell" (default: one living cell in the middle), "random", a string such
        as "0110" or "..#.", or an array of 0 and 1; a given row lies in the middle of dead cells
    density: share of living cells in a random row, 0-1; default 0.5
    boundary: "open" (default: the row goes on for ever), "wrap" (a ring) or "zero" (dead outside)
    cell: pixels per side of a cell; default 1
    color_by: "state" (default: the palette's first and last colour), "neighborhood" (the eight
        neighbourhoods that cells come from over the palette) or "row" (dead cells take
        the palette's first colour, living ones those from 0.3 at the top to 1 at the bottom)
    palette: a name, a list of colours or a gradient; default "ink"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> elementary_automaton(90, size=(7, 3), palette=["black", "white"])[..., 0].tolist()
    [[0, 0, 0, 255, 0, 0, 0], [0, 0, 255, 0, 255, 0, 0], [0, 255, 0, 0, 0, 255, 0]]
    """
    rule = whole("rule", rule, 0, 255)
    density = number("density", density, 0, 1)
    choice("boundary", boundary, ("open", "wrap", "zero"))
    choice("color_by", color_by, ("state", "neighborhood", "row"))
    cell = whole("cell", cell, 1, 65536)
    row = start if isinstance(start, str) and start in ("cell", "random") else _row(start)
    frame = Frame.of(
        "elementary_automaton",
        options,
        rule=rule,
        start=row if isinstance(row, str) else (row + ord("0")).tobytes().decode("ascii"),
        density=density,
        boundary=boundary,
        cell=cell,
        color_by=color_by,
        palette=plain_palette(palette),
    )
    cells = -(-frame.width // cell)
    if isinstance(row, str):
        states = _start(row, density, frame.seed, (1, cells))[0]
    else:
        states = _centered(row[None], (1, cells))[0]
    with in_core():
        _core.draw_elementary(
            frame.image, rule, states, boundary, cell, color_by, frame.table(palette), frame.pool
        )
    return frame.finish()


def cellular_automaton(
    rule: str = "B3/S23",
    *,
    start: str | Sequence[str] | NDArray[np.generic] = "random",
    density: float = 0.35,
    steps: int = 200,
    boundary: str = "wrap",
    cell: int = 4,
    fade: float = 64,
    color_by: str = "age",
    palette: PaletteLike = "ocean",
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """A plane of cells after some steps of a life-like rule, coloured by age or state.

    A dead cell with n living ones among its eight neighbours comes alive if n is in B, a living one
    stays if n is in S: "B3/S23" is Conway's Life, "B36/S23" HighLife, "B3678/S34678" Day & Night.

    rule: "B…/S…", any order; default "B3/S23"
    start: "random" (default), "cell" (one living cell in the middle), rows of text such as
        ".#.\\n..#\\n###" (one string or several), or an array (h, w) of 0 and 1; a given pattern
        lies in the middle of dead cells
    density: share of living cells in a random start, 0-1; default 0.35
    steps: 0-100000; default 200
    boundary: "wrap" (default: a torus) or "zero" (dead outside)
    cell: pixels per side of a cell; default 4
    fade: steps, 1-254, over which ages are told apart (on a logarithmic scale); default 64
    color_by: "age" (default: the palette's first half is for dead cells, from never alive to just
        died; its second for living ones, from just born to old) or "state" (the palette's first and
        last colour)
    palette: a name, a list of colours or a gradient; default "ocean"
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> blinker = cellular_automaton(start="###", steps=1, cell=1, size=5, color_by="state")
    >>> (blinker[..., 0] > 100).astype(int).tolist()[1:4]
    [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]
    """
    birth, survival = parse_life_rule(rule)
    density = number("density", density, 0, 1)
    steps = whole("steps", steps, 0, 100_000)
    choice("boundary", boundary, ("wrap", "zero"))
    cell = whole("cell", cell, 1, 65536)
    fade = number("fade", fade, 1, 254)
    choice("color_by", color_by, ("age", "state"))
    given = start if isinstance(start, str) and start in ("cell", "random") else _plane(start)
    frame = Frame.of(
        "cellular_automaton",
        options,
        rule=rule,
        start=given
        if isinstance(given, str)
        else ["".join("#" if on else "." for on in row) for row in given.tolist()],
        density=density,
        steps=steps,
        boundary=boundary,
        cell=cell,
        fade=fade,
        color_by=color_by,
        palette=plain_palette(palette),
    )
    shape = -(-frame.height // cell), -(-frame.width // cell)
    if isinstance(given, str):
        states = _start(given, density, frame.seed, shape)
    else:
        states = _centered(given, shape)
    table = frame.table(palette)
    if color_by == "state":  # the core takes the first half for dead cells, the second for living
        table = np.repeat(table[[0, -1]], 2, axis=0)
    with in_core():
        _core.draw_life(
            frame.image,
            birth,
            survival,
            states,
            steps,
            boundary,
            cell,
            fade,
            table,
            frame.pool,
        )
    return frame.finish()


def parse_life_rule(rule: Any) -> tuple[int, int]:
    """The numbers of neighbours of a rule "B…/S…" as two sets of bits; ImageError for others.

    >>> parse_life_rule("B3/S23"), parse_life_rule("S23/B3")
    ((8, 12), (8, 12))
    """
    match = (
        re.fullmatch(r"B(?P<b>[0-8]{0,9})/S(?P<s>[0-8]{0,9})", rule.upper().replace(" ", ""))
        or re.fullmatch(r"S(?P<s>[0-8]{0,9})/B(?P<b>[0-8]{0,9})", rule.upper().replace(" ", ""))
        if isinstance(rule, str)
        else None
    )
    if match is None:
        raise ImageError(
            f'the rule is {rule!r}; expected "B…/S…" with digits 0-8, such as "B3/S23"'
        )
    birth, survival = (sum(1 << int(digit) for digit in set(match[key])) for key in "bs")
    return birth, survival


def _start(kind: str, density: float, seed: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A random plane, or one with a single living cell in the middle."""
    if kind == "random":
        levels = np.random.Generator(np.random.PCG64(seed)).integers(
            0, 65536, shape, dtype=np.uint16
        )
        return (levels < density * 65536).astype(np.uint8)
    return _centered(np.ones((1, 1), np.uint8), shape)


def _centered(pattern: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The pattern in the middle of dead cells, a single cell at index size // 2.

    What does not fit is cut off on both sides.
    """
    out = np.zeros(shape, np.uint8)
    source, target = [], []
    for have, want in zip(pattern.shape, shape, strict=True):
        length = min(have, want)
        source.append(slice((have - length) // 2, (have - length) // 2 + length))
        target.append(slice((want - length + 1) // 2, (want - length + 1) // 2 + length))
    out[tuple(target)] = pattern[tuple(source)]
    return out


def _row(start: Any) -> NDArray[np.uint8]:
    """States from a string or a sequence."""
    plane = _plane([start] if isinstance(start, str) else start)
    if plane.shape[0] != 1:
        raise ImageError(f"the start has {plane.shape[0]} rows; expected one")
    return np.asarray(plane[0], np.uint8)


def _plane(start: Any) -> NDArray[np.uint8]:
    """States (rows, cells) from text or an array."""
    if isinstance(start, str):
        start = start.strip("\n").split("\n")
    if isinstance(start, (list, tuple)) and start and all(isinstance(row, str) for row in start):
        width = max(map(len, start))
        rows = [row.ljust(width, ".") for row in start]
        wrong = set("".join(rows)) - set(_ALIVE + _DEAD)
        if wrong or not width:
            what = f"holds {sorted(wrong)[0]!r}" if wrong else "is empty"
            raise ImageError(
                f"the start {what}; expected cell, random, or rows of {_ALIVE} and {_DEAD.strip()}"
            )
        return np.array([[symbol in _ALIVE for symbol in row] for row in rows], np.uint8)
    try:
        array = np.asarray(start)
    except ValueError:
        array = np.zeros(0)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biu":
        raise ImageError(
            f"the start is an array of shape {array.shape} and {array.dtype}; "
            "expected whole numbers 0 and 1"
        )
    if array.min() < 0 or array.max() > 1:
        raise ImageError(f"the start holds {int(array.max())}; expected 0 and 1")
    return array.astype(np.uint8)
