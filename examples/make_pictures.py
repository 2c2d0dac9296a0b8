"""Makes examples/swirls.jpg: a painting of brush strokes that follow a field of whirls.

    python examples/make_pictures.py

Needs fastsynth's own dependencies only. Deterministic: the same picture every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (640, 480)
SCALE = 2  # painted larger and shrunk, for smooth edges
PALETTE = np.array(  # night blue, blue, teal, pale yellow, orange, white-blue
    [[18, 30, 74], [36, 74, 148], [52, 124, 160], [236, 208, 104], [226, 142, 48], [196, 216, 228]],
    float,
)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Noise in [0, 1] with features of about height / cells pixels."""
    coarse = Image.fromarray(rng.random((cells, round(cells * width / height))).astype(np.float32))
    field = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    scaled: np.ndarray = (field - field.min()) / (field.max() - field.min())
    return scaled


def flow(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Direction of the strokes (height, width, 2): whirls on a gentle drift."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    field: np.ndarray = np.stack(
        [np.full((height, width), 0.6), 0.35 * np.sin(x / width * 7)], axis=-1
    )
    for _ in range(9):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height * 0.9)
        radius = rng.uniform(0.07, 0.2) * width
        turn = rng.choice([-1.0, 1.0]) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / radius**2) * 3.2
        field += turn[..., None] * np.stack([-(y - cy), x - cx], axis=-1) / radius
    field /= np.linalg.norm(field, axis=-1, keepdims=True) + 1e-6
    return field


def paint(seed: int = 4) -> Image.Image:
    """The painting."""
    rng = np.random.default_rng(seed)
    width, height = SIZE[0] * SCALE, SIZE[1] * SCALE
    field = flow(rng, height, width)
    tone = 0.55 * smooth_noise(rng, height, width, 5) + 0.45 * smooth_noise(rng, height, width, 14)
    tone = (tone.argsort(axis=None).argsort().reshape(tone.shape)) / tone.size  # equalised
    canvas = Image.new("RGB", (width, height), (18, 30, 74))
    draw = ImageDraw.Draw(canvas)
    for thickness, count, length in ((26, 3500, 26), (15, 9000, 22), (8, 16000, 18)):
        starts = rng.random((count, 2)) * (width, height)
        for px, py in starts:
            value = tone[int(py), int(px)] * (len(PALETTE) - 1)
            index = min(int(value + rng.normal(0, 0.35)), len(PALETTE) - 1) % len(PALETTE)
            colour = np.clip(PALETTE[index] * rng.normal(1, 0.12) + rng.normal(0, 9, 3), 0, 255)
            points = [(px, py)]
            for _ in range(length):
                qx, qy = points[-1]
                dx, dy = field[int(np.clip(qy, 0, height - 1)), int(np.clip(qx, 0, width - 1))]
                points.append((qx + 4 * dx, qy + 4 * dy))
            draw.line(
                points,
                fill=tuple(int(c) for c in colour),
                width=int(thickness * rng.uniform(0.6, 1)),
                joint="curve",
            )
    canvas = canvas.filter(ImageFilter.GaussianBlur(1.2)).resize(SIZE, Image.Resampling.LANCZOS)
    # Relief of the paint: a little light from the upper left.
    grey = np.asarray(canvas.convert("L"), float)
    relief = np.roll(grey, (1, 1), (0, 1)) - np.roll(grey, (-1, -1), (0, 1))
    pixels = np.asarray(canvas, float) - 0.22 * relief[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    target = Path(__file__).parent / "swirls.jpg"
    paint().save(target, quality=92)
    print(target)
