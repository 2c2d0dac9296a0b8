"""Makes the pictures of the README and docs, docs/pictures/*.jpg, from examples/ and a pattern.

    python examples/make_docs_pictures.py

Built-in weights, fixed seeds: the same pictures every time on one machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


def control_pictures(synthesizer: fs.Synthesizer) -> dict[str, list[Image.Image]]:
    """The rows of docs/control.md: a doodle, two regions, a strength map, a style of two scales."""
    cat, swirls = HERE / "cat.jpg", HERE / "swirls.jpg"
    # The painting's parts: where it is warm, and where it is blue.
    small = Image.open(swirls).convert("RGB").resize((48, 32), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32)
    warm = pixels[..., 0] > pixels[..., 2]
    labels = Image.fromarray((warm * 255).astype(np.uint8)).resize((384, 256))
    labels = labels.point(lambda value: 255 * (value > 127))
    y, x = np.mgrid[-1:1:256j, -1.5:1.5:384j]
    sun = (x + 0.6) ** 2 + (y + 0.25) ** 2 < 0.2
    shore = y > 0.55 + 0.12 * np.sin(4 * x)
    painted = Image.fromarray(((sun | shore) * 255).astype(np.uint8))
    doodle = synthesizer.synthesize_texture(
        swirls, masks={"content": np.asarray(painted), "style": np.asarray(labels)}, size=384
    )
    left = np.zeros((16, 16), np.uint8)
    left[:, :8] = 255
    halves = synthesizer.style_transfer(
        cat, swirls, masks=[(left, None), (255 - left, None, HERE / "bricks.png")], size=256
    )
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (48, 64)).copy()
    fading = synthesizer.style_transfer(cat, swirls, strength_map=ramp, size=256)
    scales = synthesizer.style_transfer(
        cat, {"coarse": swirls, "fine": HERE / "bricks.png"}, size=256
    )
    return {
        "doodle": [Image.open(swirls), labels, painted, doodle.image],
        "control": [halves.image, fading.image, scales.image],
    }


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
        control = control_pictures(synthesizer)
    for name, pictures in control.items():
        row(pictures, 190).save(TARGET / f"{name}.jpg", quality=88)
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
