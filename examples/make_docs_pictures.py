"""Makes the pictures of the README and docs, docs/pictures/*.jpg, from examples/ and a pattern.

    python examples/make_docs_pictures.py

Built-in weights, fixed seeds: the same pictures every time on one machine.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import fastsynth as fs

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "docs" / "pictures"
# A tiling of which no tile is like another.
TILES = "abs(sin(16*x + 0.25*noise(4*x, 4*y)))*abs(sin(16*y)) + 0.35*fbm(5*x, 5*y)"


def row(images: list[Image.Image], height: int, gap: int = 8) -> Image.Image:
    """Pictures side by side at one height, on white."""
    scaled = [
        image.convert("RGB").resize(
            (round(image.width * height / image.height), height), Image.Resampling.LANCZOS
        )
        for image in images
    ]
    width = sum(image.width for image in scaled) + gap * (len(scaled) - 1)
    out = Image.new("RGB", (width, height), "white")
    left = 0
    for image in scaled:
        out.paste(image, (left, 0))
        left += image.width + gap
    return out


def main() -> None:
    """Writes all pictures."""
    TARGET.mkdir(parents=True, exist_ok=True)
    cat, swirls = HERE / "cat.jpg", HERE / "swirls.jpg"
    tiles = fs.patterns.formula(TILES, width=192, height=192, palette="copper", seed=4)
    with fs.Synthesizer(weights="random:0") as synthesizer:
        painted = synthesizer.style_transfer(cat, swirls, size=512)
        tiling = synthesizer.synthesize_texture(tiles.array, size=(288, 192))
        strokes = synthesizer.synthesize_texture(swirls, size=(384, 256))
        dreams = [
            synthesizer.dream(cat, size=512),
            synthesizer.dream(cat, guide=swirls, size=512),
            synthesizer.visualize("conv3_3", 3, size=320),
        ]
    row([Image.open(cat), Image.open(swirls), painted.image], 280).save(
        TARGET / "transfer.jpg", quality=90
    )
    row([tiles.image, tiling.image, Image.open(swirls), strokes.image], 200).save(
        TARGET / "texture.jpg", quality=90
    )
    row([Image.open(cat), *(result.image for result in dreams)], 280).save(
        TARGET / "dream.jpg", quality=90
    )


if __name__ == "__main__":
    main()
