"""Makes the gallery: docs/pictures/gallery/* and the page docs/gallery.md.

    python examples/make_gallery.py [NAME ...]

Each entry of SECTIONS is a title, a line of code and the name of its picture. The line is shown on
the page and run here; what it gives is saved. A line may use what another gave, by the name of its
picture. With names, only these pictures are made anew.
"""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import fastsynth as fs

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "gallery.md"
PICTURES = HERE.parent / "docs" / "pictures" / "gallery"
COLUMNS = 3
SHOWN = 400  # pixels of a picture's longer side on disk
DRAWN = 800  # it is drawn at this size and scaled down
LARGEST = 130_000  # bytes of a file with all its colours


@dataclass(frozen=True)
class Entry:
    """A picture: its title, its file's name, the code that makes it (an expression)."""

    title: str
    name: str
    code: str
    scaled: bool = True  # False: cells that scaling would blur; drawn as it is shown

    @property
    def drawing(self) -> str:
        """The code, of a pattern that is to be scaled down with the size that it is drawn at."""
        if not self.scaled or not self.code.startswith("fs.patterns.") or "size=" in self.code:
            return self.code
        return f"{self.code[:-1]}{'' if self.code.endswith('()') else ', '}size={DRAWN})"

    @property
    def file(self) -> str:
        """The picture's file: photographs as JPEG."""
        return self.name + (".png" if self.code.startswith("fs.patterns.") else ".jpg")


SECTIONS: dict[str, tuple[Entry, ...]] = {
    "Patterns": (
        Entry("Sunflower", "sunflower", "fs.patterns.sunflower()"),
        Entry(
            "Seeds at the golden angle",
            "phyllotaxis",
            'fs.patterns.sunflower(1500, petals=0, palette="sakura_r", background="#f6eeea", '
            'corner="#e9d5d3")',
        ),
        Entry(
            "A dahlia: the same function",
            "dahlia",
            "fs.patterns.sunflower(160, petals=26, layers=8, disc=0.2, "
            'petal_palette=["#5b1148", "#c23a7a", "#ffc9d2"], palette="gold", '
            'background="#dfe6dd", corner="#a9b8ad")',
        ),
        Entry(
            "Rule 30",
            "rule_30",
            'fs.patterns.elementary_automaton(30, cell=2, palette="ink")',
            scaled=False,
        ),
        Entry(
            "Rule 90: Pascal's triangle modulo 2",
            "rule_90",
            'fs.patterns.elementary_automaton(90, cell=2, color_by="row", palette="ember")',
            scaled=False,
        ),
        Entry(
            "Rule 110 from a random row",
            "rule_110",
            'fs.patterns.elementary_automaton(110, start="random", cell=2, '
            'color_by="neighborhood", palette=["#10203a", "#1d5c7a", "#58b0a7", "#f2e3bc", '
            '"#e8825c"])',
            scaled=False,
        ),
        Entry(
            "Conway's Life, coloured by age",
            "life",
            "fs.patterns.cellular_automaton(steps=240, cell=3, seed=5)",
            scaled=False,
        ),
        Entry(
            "Day & Night: B3678/S34678",
            "day_and_night",
            'fs.patterns.cellular_automaton("B3678/S34678", density=0.5, steps=400, cell=2, '
            'fade=200, palette="copper")',
            scaled=False,
        ),
        Entry(
            "Maze: B3/S12345",
            "maze",
            'fs.patterns.cellular_automaton("B3/S12345", density=0.03, steps=110, cell=3, '
            'fade=120, palette="dusk")',
            scaled=False,
        ),
        Entry("A formula: spiral and noise", "formula_spiral", "fs.patterns.formula()"),
        Entry(
            "A formula: folded noise",
            "formula_marble",
            'fs.patterns.formula("fbm(1.6*x + 2.2*fbm(2*x + 3, 2*y), 1.6*y + 2.2*fbm(2*x, 2*y + 7))'
            '", value_range=(-0.65, 0.65), palette="copper", seed=3)',
        ),
        Entry(
            "Three formulas for red, green and blue",
            "formula_rgb",
            'fs.patterns.formula("0.62 + 0.3*sin(6*r - theta); '
            '0.5 + 0.25*sin(6*r - theta + 1 + x); 0.55 + 0.3*cos(5*x*y + theta)")',
        ),
        Entry("The Mandelbrot set", "mandelbrot", "fs.patterns.mandelbrot(relief=0.5)"),
        Entry(
            "Seahorse valley",
            "seahorse",
            "fs.patterns.mandelbrot(center=(-0.743643887, 0.131825904), zoom=900, density=3, "
            'palette="gold")',
        ),
        Entry(
            "A Julia set",
            "julia",
            'fs.patterns.julia(c=(-0.7269, 0.1889), palette="ember", relief=0.4)',
        ),
        Entry("Barnsley's fern", "fern", "fs.patterns.iterated_function_system()"),
        Entry(
            "A dragon by the chaos game",
            "dragon",
            'fs.patterns.iterated_function_system("twindragon", palette="lantern", '
            'background="#171021")',
        ),
        Entry(
            "A spiral of two maps",
            "spiral",
            'fs.patterns.iterated_function_system("spiral", palette="lantern_r", gamma=1.6)',
        ),
        Entry("Plant f of fig. 1.24", "plant_f", "fs.patterns.lsystem()"),
        Entry("Plant c of fig. 1.24", "plant_c", 'fs.patterns.lsystem("plant_c")'),
        Entry("A stochastic bush", "bush", 'fs.patterns.lsystem("bush", seed=11, leaf_size=1.2)'),
        Entry("Hilbert's curve", "hilbert", 'fs.patterns.lsystem("hilbert", thickness=0.007)'),
        Entry("Penrose tiling", "penrose", 'fs.patterns.lsystem("penrose")'),
        Entry("Hypotrochoids", "trochoid", "fs.patterns.trochoid()"),
    ),
    "Pixel functions": (
        Entry("Pencil sketch", "sketch", 'fs.compose.pencil_sketch("examples/cat.jpg")'),
        Entry(
            "Coloured pencils",
            "crayon",
            'fs.compose.pencil_sketch("examples/cat.jpg", colored=True, stroke=0.8, seed=2)',
        ),
        Entry(
            "Convolution, Eq. 1: a kernel that embosses",
            "emboss",
            'fs.compose.convolve("examples/cat.jpg", "emboss")',
        ),
        Entry(
            "Blending, Eq. 2",
            "blend",
            'fs.compose.blend("examples/cat.jpg", fs.patterns.sunflower(size=(451, 300), '
            "petals=0), 0.6)",
        ),
        Entry(
            "A blend mode: soft light",
            "soft_light",
            'fs.compose.blend(fs.patterns.formula(size=(451, 300), palette="ember"), '
            '"examples/cat.jpg", 0.9, mode="soft-light")',
        ),
        Entry(
            "Compositing: an automaton as a mask",
            "composite",
            'fs.compose.composite(fs.compose.invert("examples/cat.jpg"), "examples/cat.jpg", '
            "mask=fs.patterns.elementary_automaton(90, size=(451, 300), cell=3, "
            'palette=["black", "white"]))',
        ),
        Entry(
            "An affine map",
            "affine",
            'fs.compose.affine("examples/cat.jpg", rotate=20, scale=0.6, shear=0.3, '
            'border="mirror")',
        ),
        Entry(
            "The colours of another picture",
            "match_color",
            'fs.compose.match_color("examples/cat.jpg", "examples/swirls.jpg")',
        ),
        Entry(
            "Levels, hue and posterisation",
            "posterize",
            "fs.compose.posterize(fs.compose.hue_saturation(fs.compose.levels("
            '"examples/cat.jpg", white=0.9), hue=-20), 5)',
        ),
    ),
    "Image analogies": (
        Entry(
            "Texture by numbers: labels A",
            "labels",
            'fs.patterns.formula("y > 0.3*sin(4*x)", palette=["white", "black"], '
            "value_range=(0, 1), size=256)",
        ),
        Entry(
            "A': two textures by these labels",
            "textures",
            'fs.compose.blend("examples/bricks.png", fs.compose.affine("examples/swirls.jpg", '
            "scale=0.8, size=(256, 256)), 1, mask=labels)",
        ),
        Entry(
            "B': the same textures by other labels B, a heart",
            "numbers",
            'fs.image_analogy(labels, textures, fs.patterns.formula("x^2 + (y + 0.1 - '
            '0.6*sqrt(abs(x)))^2 < 0.45", palette=["white", "black"], value_range=(0, 1), '
            'size=(384, 256)), preset="numbers")',
        ),
        Entry(
            "Artistic: the manner of a painting",
            "artistic",
            'fs.image_analogy(None, "examples/swirls.jpg", "examples/cat.jpg")',
        ),
        Entry(
            "Artistic: a filter learnt from one example",
            "learnt",
            'fs.image_analogy("examples/swirls.jpg", fs.compose.pencil_sketch('
            '"examples/swirls.jpg"), "examples/cat.jpg", color="a_prime")',
        ),
        Entry(
            "Texture transfer: brush strokes alone",
            "texture_transfer",
            'fs.image_analogy(None, "examples/swirls.jpg", "examples/cat.jpg", preset="transfer")',
        ),
    ),
    "Dreams": (
        Entry(
            "DeepDream, Eq. 3, with random weights",
            "dream",
            'fs.dream("examples/cat.jpg", weights="random", size=400)',
        ),
        Entry(
            "Guided by a second picture",
            "guided",
            'fs.dream("examples/cat.jpg", guide="examples/swirls.jpg", weights="random", size=400)',
        ),
        Entry(
            "What one channel sees",
            "channel",
            'fs.visualize("conv3_2", 40, weights="random", size=256)',
        ),
    ),
}


class Results(dict[str, Any]):
    """What the lines of the page give, by the names of their pictures; made when asked for."""

    def __missing__(self, name: str) -> Any:
        for entries in SECTIONS.values():
            for entry in entries:
                if entry.name == name:
                    self[name] = eval(entry.drawing, {"fs": fs}, self)
                    return self[name]
        raise KeyError(name)


def picture_of(entry: Entry, results: Results) -> Image.Image:
    """What the entry's code gives, at the gallery's size."""
    image: Image.Image = results[entry.name].image.convert("RGB")
    if entry.scaled and max(image.size) > SHOWN:
        factor = SHOWN / max(image.size)
        size = (round(image.width * factor), round(image.height * factor))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


def save_small(image: Image.Image, path: Path) -> int:
    """Writes a JPEG, or a PNG, of 256 dithered colours where all take too much; gives the bytes."""
    if path.suffix == ".jpg":
        image.save(path, "JPEG", quality=85, optimize=True)
        return path.stat().st_size
    if image.getcolors(256) is not None:
        image = image.quantize(256)
    data = encoded(image)
    if len(data) > LARGEST:
        data = encoded(image.quantize(palette=image.quantize(256)))
    path.write_bytes(data)
    return len(data)


def encoded(image: Image.Image) -> bytes:
    """A PNG in memory."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()


def page() -> str:
    """The gallery as Markdown."""
    lines = [
        "# Gallery",
        "",
        "Each picture is what the line below it returns; a name such as `labels` is that of a "
        "picture on the page. `make gallery` makes them all and writes this page.",
    ]
    for section, entries in SECTIONS.items():
        lines += ["", f"## {section}", "", "<table>"]
        for first in range(0, len(entries), COLUMNS):
            lines.append("<tr>")
            for entry in entries[first : first + COLUMNS]:
                code = entry.code.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
                lines.append(
                    f'<td valign="top" width="33%"><img src="pictures/gallery/{entry.file}" '
                    f'alt="{entry.title}"><br><b>{entry.title.replace("&", "&amp;")}</b>'
                    f"<br><code>{code}</code></td>"
                )
            lines.append("</tr>")
        lines.append("</table>")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes pictures and page."""
    os.chdir(HERE.parent)  # the lines name files from there
    wanted = set(sys.argv[1:])
    results = Results()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for entries in SECTIONS.values():
        for entry in entries:
            if not wanted or entry.name in wanted:
                size = save_small(picture_of(entry, results), PICTURES / entry.file)
                print(f"{entry.file}: {size // 1024} KB")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
