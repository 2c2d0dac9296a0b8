"""L-systems: plants and curves from strings that are rewritten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError
from fastsynth.image import ImageArray
from fastsynth.patterns.frame import (
    Frame,
    FrameOptions,
    choice,
    in_core,
    linear,
    number,
    whole,
)
from fastsynth.patterns.lsystem_presets import LSYSTEMS, LSystem
from fastsynth.patterns.palette import color_of, plain_palette
from fastsynth.patterns.shapes import Shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth.patterns.palette import Color, PaletteLike

__all__ = ["expand_lsystem", "lsystem"]

MAX_SYMBOLS = 20_000_000
MAX_DRAWN = 2_000_000  # lines and leaves of one picture; about 400 bytes each while it is drawn


def expand_lsystem(axiom: str, rules: Mapping[str, Any], steps: int, *, seed: int = 0) -> str:
    """The string of an L-system after some steps of rewriting all symbols at once.

    axiom: the string at the start, of printable ASCII
    rules: a successor for each symbol, or a list of [successor, weight], chosen by chance by
        `seed`; symbols without a rule stay
    steps: 0-1000
    Raises ImageError for other values, and where the string grows beyond 20 million symbols.

    >>> [expand_lsystem("A", {"A": "AB", "B": "A"}, n) for n in range(5)]
    ['A', 'AB', 'ABA', 'ABAAB', 'ABAABABA']
    """
    pairs = _rules(rules)
    steps = whole("steps", steps, 0, 1000)
    seed = whole("seed", seed, 0, 2**64 - 1)
    with in_core():
        return _core.rewrite(_text("axiom", axiom), pairs, steps, seed, MAX_SYMBOLS)


def lsystem(
    preset: str | None = None,
    *,
    axiom: str | None = None,
    rules: Mapping[str, Any] | None = None,
    angle: float | None = None,
    steps: int | None = None,
    heading: float | None = None,
    draw: str | None = None,
    move: str | None = None,
    leaves: str | None = None,
    thickness: float | None = None,
    taper: float | None = None,
    leaf_size: float = 1.0,
    color_by: str | None = None,
    margin: float = 0.06,
    background: Color | None = None,
    palette: PaletteLike | None = None,
    leaf_palette: PaletteLike = ("#4f7a34", "#7ea34c", "#b9c66a"),
    **options: Unpack[FrameOptions],
) -> ImageArray:
    """A plant or a curve drawn by a turtle that follows the string of an L-system.

    The turtle (Prusinkiewicz & Lindenmayer 1990): + and - turn it left and right, | turns it round,
    [ and ] remember a place and go back to it. The drawing is fitted into the frame.

    preset: plant_a … plant_f (The Algorithmic Beauty of Plants, fig. 1.24), weed (fig. 1.27,
        stochastic), bush (stochastic, with leaves), koch, snowflake, island, lake, dragon,
        arrowhead, gosper, hilbert, moore, levy, crystal, penrose; default "plant_f", or none
        with an axiom. The keywords below come in place of the preset's own.
    axiom, rules, steps: see `expand_lsystem`
    angle: of a turn, degrees
    heading: of the turtle at the start, degrees; 90 is up
    draw, move, leaves: the symbols that go forward with a line, without one, and that set a leaf;
        default "FG", "f" and none
    thickness: of the thickest line, as a share of the frame's shorter side, 0-0.2
    taper: the thickness of a line goes with (way to the tip) ^ taper, 0-3; 0 = all the same
    leaf_size: of the leaves, 0-20; 0 = none; default 1
    color_by: "distance" (from the root), "tip" (from the tips) or "order" (of drawing)
    margin: free space around, as a share of the frame, 0-0.45; default 0.06
    background: a colour; default a light paper for plants, a dark blue for curves
    palette: of the lines: a name, a list of colours or a gradient
    leaf_palette: of the leaves, chosen by chance
    options: width, height, size, seed, dtype, antialias, threads (see `FrameOptions`)

    Returns an image (H, W, 3). Raises ImageError for values outside of these.

    >>> lsystem("koch", steps=2, size=(32, 16)).shape
    (16, 32, 3)
    """
    system = _system(preset, axiom, rules)
    plant = system.tapered
    own: dict[str, Any] = {
        "axiom": system.axiom if axiom is None else axiom,
        "rules": system.rules if rules is None else rules,
        "angle": number("angle", system.angle if angle is None else angle),
        "steps": whole("steps", system.steps if steps is None else steps, 0, 1000),
        "heading": number("heading", system.heading if heading is None else heading),
        "draw": _text("draw", system.draw if draw is None else draw),
        "move": _text("move", system.move if move is None else move),
        "leaves": _text("leaves", system.leaves if leaves is None else leaves),
        "thickness": number(
            "thickness", (0.016 if plant else 0.004) if thickness is None else thickness, 0, 0.2
        ),
        "taper": number("taper", (0.62 if plant else 0.0) if taper is None else taper, 0, 3),
        "leaf_size": number("leaf_size", leaf_size, 0, 20),
        "color_by": choice(
            "color_by",
            ("tip" if plant else "order") if color_by is None else color_by,
            ("distance", "tip", "order"),
        ),
        "margin": number("margin", margin, 0, 0.45),
    }
    if palette is None:
        palette = "meadow" if plant else "lantern"
    if background is None:
        background = "#f5efe0" if plant else "#12172b"
    frame = Frame.of(
        "lsystem",
        options,
        **{**own, "rules": _plain_rules(own["rules"])},
        background=list(color_of(background, "background")),
        palette=plain_palette(palette),
        leaf_palette=plain_palette(leaf_palette),
    )
    text = expand_lsystem(own["axiom"], own["rules"], own["steps"], seed=frame.seed)
    drawn = sum(text.count(symbol) for symbol in set(own["draw"] + own["leaves"]))
    if drawn > MAX_DRAWN:
        raise ImageError(
            f"the string of {own['steps']} steps has {drawn} lines and leaves; expected at most "
            f"{MAX_DRAWN}: take fewer steps"
        )
    with in_core():
        strokes, places = _core.turtle(
            text,
            math.radians(own["angle"]),
            math.radians(own["heading"]),
            own["draw"],
            own["move"],
            own["leaves"] if leaf_size > 0 else "",
        )
    shapes = Shapes()
    fit = _Fit(frame, strokes, places, own["margin"])
    _add_lines(shapes, frame, fit, strokes, own=own, palette=palette)
    if len(places):
        _add_leaves(shapes, frame, fit, places, size=own["leaf_size"], palette=leaf_palette)
    shapes.draw(frame, linear(background, "background"))
    return frame.finish()


class _Fit:
    """From the turtle's coordinates (y up) to pixels (y down), the drawing in the middle."""

    def __init__(
        self,
        frame: Frame,
        strokes: NDArray[np.float32],
        places: NDArray[np.float32],
        margin: float,
    ) -> None:
        points = np.concatenate([strokes[:, :2], strokes[:, 2:4], places[:, :2]]).astype(np.float64)
        if not len(points):
            points = np.zeros((1, 2))
        low, high = points.min(axis=0), points.max(axis=0)
        room = np.array([frame.width, frame.height]) * (1 - 2 * margin)
        self.scale = float((room / np.maximum(high - low, 1e-6)).min()) if high.any() else 1.0
        self.scale = min(self.scale, min(frame.width, frame.height) / 2)
        self._middle = (low + high) / 2
        self._center = np.array([frame.width, frame.height]) / 2

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        flipped = (points.astype(np.float64) - self._middle) * (self.scale, -self.scale)
        return np.asarray(flipped + self._center)


def _add_lines(
    shapes: Shapes,
    frame: Frame,
    fit: _Fit,
    strokes: NDArray[np.float32],
    *,
    own: Mapping[str, Any],
    palette: PaletteLike,
) -> None:
    if not len(strokes):
        return
    start, end, tip = (strokes[:, k].astype(np.float64) for k in (4, 5, 6))
    most = own["thickness"] * min(frame.width, frame.height) / 2
    scale = (tip.max() + 1) ** -own["taper"] * most
    # A line narrows to the thickness of what follows it; twigs end in points.
    radius, end_radius = (
        (tip + 1) ** own["taper"] * scale,
        np.maximum(tip, 0.3) ** own["taper"] * scale,
    )
    table = frame.table(palette).astype(np.float64)
    if own["color_by"] == "distance":
        near, far = start / end.max(), end / end.max()
    elif own["color_by"] == "tip":
        reach = math.log2(tip.max() + 2)
        near, far = 1 - np.log2(tip + 2) / reach, 1 - np.log2(tip + 1) / reach
    else:
        near = np.arange(len(strokes)) / len(strokes)
        far = near + 1 / len(strokes)
    last = len(table) - 1
    shapes.lines(
        fit(strokes[:, :2]),
        fit(strokes[:, 2:4]),
        radius=radius,
        end_radius=end_radius,
        near=table[np.rint(near * last).astype(int)],
        far=table[np.rint(far * last).astype(int)],
    )


def _add_leaves(
    shapes: Shapes,
    frame: Frame,
    fit: _Fit,
    places: NDArray[np.float32],
    *,
    size: float,
    palette: PaletteLike,
) -> None:
    """One leaf per place, with chance in its size, direction and colour."""
    rng = np.random.Generator(np.random.PCG64([frame.seed, 1]))
    count = len(places)
    angle = places[:, 2] + rng.normal(0, 0.35, count)
    # Many leaves are smaller ones; the length of a step says little, for it falls as a plant grows.
    share = min(0.035, 0.9 / math.sqrt(count))
    length = size * min(frame.width, frame.height) * share * rng.uniform(0.7, 1.25, count)
    table = frame.table(palette, 256)
    colors = table[rng.integers(0, len(table), count)]
    shapes.leaves(
        fit(places[:, :2]),
        np.column_stack([np.cos(angle), -np.sin(angle)]),
        length=length,
        half_width=length * 0.2,
        near=colors * 0.8,
        far=colors,
        alpha=0.95,
        shade=0.2,
        belly=0.42,
        sharpness=0.85,
        bend=rng.uniform(-0.08, 0.08, count),
        fold=0.35,
    )


def _system(preset: Any, axiom: Any, rules: Any) -> LSystem:
    if preset is None and axiom is not None:
        return LSystem(axiom, {} if rules is None else rules, 90.0, 4)
    name = "plant_f" if preset is None else preset
    if not isinstance(name, str) or name not in LSYSTEMS:
        raise ImageError(
            f"there is no L-system {name!r:.60}; known are {', '.join(LSYSTEMS)}, "
            "or give axiom and rules"
        )
    return LSYSTEMS[name]


def _text(name: str, text: Any) -> str:
    if isinstance(text, str) and len(text) > MAX_SYMBOLS:
        raise ImageError(
            f"{name} has {len(text)} symbols; expected at most {MAX_SYMBOLS}, as for strings"
        )
    if not isinstance(text, str) or not text.isascii() or not (text.isprintable() or not text):
        raise ImageError(f"{name} is {text!r:.60}; expected text of printable ASCII")
    return text


def _rules(rules: Any) -> list[tuple[str, list[tuple[str, float]]]]:
    """Symbols with their successors and weights."""
    if not isinstance(rules, Mapping):
        raise ImageError(f"rules is {rules!r:.60}; expected a mapping such as {{'F': 'F[+F]F'}}")
    out = []
    for symbol, given in rules.items():
        if len(_text("a rule's symbol", symbol)) != 1 or symbol in "+-|[]":
            raise ImageError(
                f"a rule is for {symbol!r:.30}; expected one symbol other than + - | [ ]"
            )
        if isinstance(given, str):
            successors: list[Any] = [(given, 1.0)]
        elif isinstance(given, Sequence) and given:
            successors = [(item, 1.0) if isinstance(item, str) else item for item in given]
        else:
            raise ImageError(
                f"the successor of {symbol!r} is {given!r:.60}; expected text or a list"
            )
        checked = []
        for item in successors:
            if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2:
                raise ImageError(
                    f"a successor of {symbol!r} is {item!r:.60}; expected [text, weight]"
                )
            weight = number(f"the weight of a successor of {symbol!r}", item[1], 0, 1e9, above=0)
            checked.append((_text(f"a successor of {symbol!r}", item[0]), weight))
        out.append((symbol, checked))
    return out


def _plain_rules(rules: Any) -> dict[str, Any]:
    return {
        symbol: successors[0][0]
        if len(successors) == 1
        else [[text, weight] for text, weight in successors]
        for symbol, successors in _rules(rules)
    }
