"""Makes the pictures of the README, docs/pictures/*.jpg, from the pictures in examples/.

    python examples/make_docs_pictures.py

Built-in weights, fixed seeds: the same pictures every time on one machine.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import fastsynth as fs

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "docs" / "pictures"


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
    cat, swirls, bricks = (HERE / name for name in ("cat.jpg", "swirls.jpg", "bricks.png"))
    with fs.Synthesizer(weights="random:0") as synthesizer:
        painted = synthesizer.style_transfer(cat, swirls, size=512)
        wall = synthesizer.synthesize_texture(bricks, size=(384, 256))
        strokes = synthesizer.synthesize_texture(swirls, size=(384, 256))
        dreams = [
            synthesizer.dream(cat, size=512),
            synthesizer.dream(cat, guide=swirls, size=512),
            synthesizer.visualize("conv3_3", 3, size=320),
        ]
    row([Image.open(cat), Image.open(swirls), painted.image], 280).save(
        TARGET / "transfer.jpg", quality=90
    )
    row([Image.open(bricks), wall.image, Image.open(swirls), strokes.image], 200).save(
        TARGET / "texture.jpg", quality=90
    )
    row([Image.open(cat), *(result.image for result in dreams)], 280).save(
        TARGET / "dream.jpg", quality=90
    )


if __name__ == "__main__":
    main()
