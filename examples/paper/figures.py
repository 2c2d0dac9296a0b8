"""Makes the paper's Figs 1, 2, 4 and 5 anew, with pictures of the same kind: docs/paper.md.

    python examples/paper/figures.py

Pictures go to docs/pictures/paper/, and what they are cut from is kept in out/paper/, so that a run
that was stopped goes on from there. Built-in weights, fixed seeds. Some minutes on two cores.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from exemplars import exemplar
from methods import EVALUATIONS, SIZE, Made, continued, kept, painted
from PIL import Image

import fastsynth as fs

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "paper.md"
PAGE_TEXT = Path(__file__).with_name("page.md")
TARGET = ROOT / "docs" / "pictures" / "paper"
KEPT = ROOT / "out" / "paper"
CAT, SWIRLS = ROOT / "examples" / "cat.jpg", ROOT / "examples" / "swirls.jpg"
LONGER = 192  # px of the pictures in Figs 1, 2 and 5
DEPTHS = ("conv1_2", "conv2_2", "conv3_1", "conv4_2")
LOCAL = ("grain", "pebbles", "swirls")
FAR = ("bricks", "weave", "lattice")
GAP = 6  # px between pictures, white
MARBLE = (
    "fbm(1.6*x + 2.2*fbm(2*x + 3, 2*y), 1.6*y + 2.2*fbm(2*x, 2*y + 7))",
    {"value_range": (-0.65, 0.65), "palette": "copper", "seed": 3},
)


def row(images: list[Image.Image], height: int) -> Image.Image:
    """Pictures side by side, brought to one height, on white."""
    scaled = [
        image
        if image.height == height
        else image.resize(
            (round(image.width * height / image.height), height), Image.Resampling.LANCZOS
        )
        for image in (image.convert("RGB") for image in images)
    ]
    out = Image.new(
        "RGB", (sum(i.width for i in scaled) + GAP * (len(scaled) - 1), height), "white"
    )
    left = 0
    for image in scaled:
        out.paste(image, (left, 0))
        left += image.width + GAP
    return out


def rows(lines: list[list[Image.Image]], height: int) -> Image.Image:
    """Rows of pictures below each other."""
    drawn = [row(line, height) for line in lines]
    size = (max(line.width for line in drawn), len(drawn) * (height + GAP) - GAP)
    out = Image.new("RGB", size, "white")
    for index, line in enumerate(drawn):
        out.paste(line, (0, index * (height + GAP)))
    return out


def save(image: Image.Image, name: str) -> None:
    """Writes a figure."""
    image.save(TARGET / f"{name}.jpg", quality=88, optimize=True)


def opened(made: Made) -> Image.Image:
    """The picture of a file."""
    with Image.open(made.path) as image:
        return image.convert("RGB")


def small(path: Path) -> Image.Image:
    """An example, its longer side LONGER px."""
    with Image.open(path) as image:
        scale = LONGER / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def first() -> str:
    """Fig. 1: a picture from one layer's features (Eqs 4 and 7), from shallow to deep."""
    images, lines = [small(CAT)], []
    for layer in DEPTHS:
        made = inverted(layer)
        images.append(opened(made))
        lines.append([layer, f"{made.score['content']:.2f}"])
    save(row(images, images[0].height), "figure_1")
    return table(["layer", "content"], lines)


def inverted(layer: str) -> Made:
    """The cat from the features of one layer, scored against the cat."""

    def make() -> Any:
        return fs.invert(
            CAT,
            layers=layer,
            size=LONGER,
            max_evaluations=EVALUATIONS,
            plateau=0,
            weights="random:0",
        )

    return kept(
        KEPT / f"invert_{layer}",
        make,
        lambda picture: fs.score.transfer(picture, small(CAT), SWIRLS),
    )


def second() -> None:
    """Fig. 2: content alone, style alone, and both."""

    def texture() -> Any:
        return fs.synthesize_texture(
            np.asarray(small(SWIRLS)),
            size=small(CAT).size,
            max_evaluations=EVALUATIONS,
            plateau=0,
            weights="random:0",
        )

    style = kept(KEPT / "style_swirls", texture)
    mixed = transfer("cat_swirls", CAT, SWIRLS, "default")
    images = [small(CAT), small(SWIRLS), opened(inverted("conv2_2")), opened(style), opened(mixed)]
    save(row(images, images[0].height), "figure_2")


def fourth() -> str:
    """Fig. 4: local patterns, which statistics keep, and long-range ones, which they lose."""
    shown: list[list[Image.Image]] = [[], [], []]
    lines = []
    for name in (*LOCAL, *FAR):
        pixels = exemplar(name)
        made = {method: continued(pixels, name, method, KEPT) for method in ("gram", "default")}
        whole = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
        shown[0].append(whole.crop((0, 0, *SIZE)))
        shown[1].append(opened(made["gram"]))
        shown[2].append(opened(made["default"]))
        scores = [item.score for item in made.values()]
        values = [score["total"] for score in scores]
        values += [score["autocorrelation"]["ratio"] for score in scores]
        values += [score["copied"] for score in scores]
        order = "long range" if name in FAR else "local"
        lines.append([name, order, *(f"{value:.2f}" for value in values)])
    save(rows(shown, SIZE[1]), "figure_4")
    return table(["exemplar", "pattern", *both("T"), *both("S1"), *both("S6")], lines)


def transfer(name: str, content: Any, style: Any, method: str) -> Made:
    """A style transfer at the size of the page."""
    return painted(content, style, name, method, KEPT, size=LONGER, evaluations=EVALUATIONS)


def fifth() -> str:
    """Fig. 5: style transfers."""
    text, settings = MARBLE
    marble = np.asarray(fs.patterns.formula(text, size=256, **settings).image.convert("RGB"))
    flower = np.asarray(fs.patterns.sunflower(size=256).image.convert("RGB"))
    pairs = (
        ("cat_swirls", CAT, small(CAT), SWIRLS, small(SWIRLS)),
        ("cat_marble", CAT, small(CAT), marble, Image.fromarray(marble)),
        ("flower_swirls", flower, Image.fromarray(flower), SWIRLS, small(SWIRLS)),
    )
    shown: list[list[Image.Image]] = []
    lines = []
    for name, content, shown_content, style, shown_style in pairs:
        made = [transfer(name, content, style, method) for method in ("gram", "default")]
        shown.append([shown_content, shown_style, *(opened(item) for item in made)])
        values = [item.score[key] for key in ("content", "style", "product") for item in made]
        lines.append([name.replace("_", ", "), *(f"{value:.2f}" for value in values)])
    save(rows(shown, 128), "figure_5")
    return table(["pair", *both("content"), *both("style"), *both("product")], lines)


def table(titles: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *lines)
    )


def both(measure: str) -> tuple[str, str]:
    """The titles of a measure's two columns."""
    return f"{measure}: Gram", "default"


def main() -> None:
    """Writes the figures and the page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    TARGET.mkdir(parents=True, exist_ok=True)
    second()
    text = Template(PAGE_TEXT.read_text(encoding="utf-8")).substitute(
        evaluations=EVALUATIONS,
        depths=", ".join(DEPTHS),
        first=first(),
        fourth=fourth(),
        fifth=fifth(),
    )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
