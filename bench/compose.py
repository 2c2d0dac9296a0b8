"""Pixel functions beside OpenCV and Pillow, where installed.

    python bench/compose.py [--size 2048] [--rounds 15] [--threads 2] [--cases convolve affine]

A 2048 x 2048 picture with 3 channels, all on the same number of threads (Pillow has one), taking
turns in one process. A ratio is the median over rounds of fastsynth / other within a round, with
its quartiles.

Beside OpenCV's functions that compute the same: filter2D, sepFilter2D and warpAffine. OpenCV's
warpAffine rounds positions to 1/32 pixel, its 8-bit sepFilter2D weights to 1/256. Blending beside
addWeighted, blendLinear, multiply, min, absdiff, add, LUT, pow, and what Pillow has.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastsynth import _core, compose

Run = Callable[[], object]
HAVE_OPENCV = importlib.util.find_spec("cv2") is not None


@dataclass(frozen=True)
class Case:
    """One row of the table: the same work by each implementation."""

    name: str
    runs: dict[str, Run]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="edge of the picture")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cases", nargs="+", default=[""], help="parts of names of cases")
    return parser.parse_args()


def picture(size: int, dtype: str) -> Any:
    """Smooth noise, which no implementation can skip."""
    values = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return values if dtype == "uint8" else (values / np.float32(255)).astype(np.float32)


# ---- cases: each yields rows for one picture ----


def convolve_cases(image: Any, threads: int) -> Iterator[Case]:
    """Sharpen 3 x 3; a Gaussian 15 x 15; a random, full-rank 31 x 31."""
    sharpen = compose.kernel("sharpen")
    gaussian = compose.kernel("gaussian", sigma=3, size=15)
    random = np.random.default_rng(1).random((31, 31))
    random /= random.sum()
    for name, kernel in (
        ("3 x 3", sharpen),
        ("15 x 15 separable", gaussian),
        ("31 x 31", random),
    ):
        runs: dict[str, Run] = {
            "fastsynth": partial(compose.convolve, image, kernel, threads=threads)
        }
        if HAVE_OPENCV:
            runs["opencv"] = opencv_filter(image, kernel)
        if image.dtype == np.uint8 and name == "3 x 3":
            runs["pillow"] = pillow_filter(image, kernel)
        yield Case(f"convolve {name}", runs)


def affine_cases(image: Any, threads: int) -> Iterator[Case]:
    """Rotated by 17 degrees, enlarged by 1.1."""
    height, width = image.shape[:2]
    for interpolation in ("bilinear", "bicubic"):

        def own(interpolation: Any = interpolation) -> object:
            return compose.affine(
                image, rotate=17, scale=1.1, interpolation=interpolation, threads=threads
            )

        runs: dict[str, Run] = {"fastsynth": own}
        if HAVE_OPENCV:
            import cv2

            matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 17, 1.1)
            flag = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[interpolation]
            runs["opencv"] = partial(cv2.warpAffine, image, matrix, (width, height), flags=flag)
        if image.dtype == np.uint8:
            runs["pillow"] = pillow_affine(image, interpolation)
        yield Case(f"affine {interpolation}", runs)


def blend_cases(image: Any, threads: int) -> Iterator[Case]:
    """The plain mean, a mask, the sum and other modes, alpha compositing, a curve by table."""
    other = np.ascontiguousarray(image[::-1, ::-1])
    weights = np.random.default_rng(2).random(image.shape[:2], np.float32)
    rest = 1 - weights
    top = 255 if image.dtype == np.uint8 else 1
    modes = ("multiply", "screen", "darken", "difference", "add", "overlay", "soft-light", "color")
    layers: list[Any] = [np.dstack([x, x[..., :1]]) for x in (image, other)]
    curve = np.rint(255 * (np.arange(256) / 255) ** (1 / 1.2)).astype(np.uint8)
    runs: dict[str, dict[str, Run]] = {
        "mean": {"fastsynth": lambda: compose.blend(image, other, 0.3, threads=threads)},
        "mask": {
            "fastsynth": lambda: compose.blend(image, other, 1, mask=weights, threads=threads)
        },
        "linear": {
            "fastsynth": lambda: compose.blend(image, other, linear=True, threads=threads),
        },
        "composite": {"fastsynth": lambda: compose.composite(*layers, threads=threads)},
        "gamma": {"fastsynth": lambda: compose.gamma(image, 1.2, threads=threads)},
    }
    for mode in modes:
        runs[mode] = {
            "fastsynth": partial(compose.blend, image, other, 1, mode=mode, threads=threads)
        }
    if HAVE_OPENCV:
        import cv2

        runs["mean"]["opencv"] = lambda: cv2.addWeighted(image, 0.3, other, 0.7, 0)
        runs["mask"]["opencv"] = lambda: cv2.blendLinear(image, other, weights, rest)
        runs["multiply"]["opencv"] = lambda: cv2.multiply(image, other, scale=1 / top)
        runs["darken"]["opencv"] = lambda: cv2.min(image, other)
        runs["difference"]["opencv"] = lambda: cv2.absdiff(image, other)
        runs["add"]["opencv"] = lambda: cv2.add(image, other)
        if image.dtype == np.uint8:
            runs["gamma"]["opencv"] = lambda: cv2.LUT(image, curve)
        else:
            runs["gamma"]["opencv"] = lambda: cv2.pow(image, 1 / 1.2)
    if image.dtype == np.uint8:
        for name, run in pillow_blends(image, other, layers, curve).items():
            runs[name]["pillow"] = run
    for name, contenders in runs.items():
        yield Case(f"blend {name}", contenders)


CASES: tuple[Callable[[Any, int], Iterator[Case]], ...] = (
    convolve_cases,
    affine_cases,
    blend_cases,
)


# ---- the others ----


def opencv_filter(image: Any, kernel: Any) -> Run:
    """OpenCV's fastest way to the same sum."""
    import cv2

    columns, sizes, rows = np.linalg.svd(kernel)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1], np.float32)
    if sizes[1] > 1e-6 * sizes[0] or kernel.size <= 9:
        return lambda: cv2.filter2D(image, -1, flipped, borderType=cv2.BORDER_REFLECT)
    # Sums of 1: what OpenCV's 8-bit arithmetic wants.
    column, row = ((v / v.sum()).astype(np.float32) for v in (columns[:, 0], rows[0]))
    return lambda: cv2.sepFilter2D(image, -1, row, column, borderType=cv2.BORDER_REFLECT)


def pillow_filter(image: Any, kernel: Any) -> Run:
    """Pillow's kernels are 3 x 3 or 5 x 5."""
    from PIL import Image, ImageFilter

    source = Image.fromarray(image)
    taps = ImageFilter.Kernel(kernel.shape, kernel.ravel().tolist(), scale=1)
    return lambda: source.filter(taps)


def pillow_affine(image: Any, interpolation: str) -> Run:
    """Rotation alone: Pillow's rotate does not scale."""
    from PIL import Image

    source = Image.fromarray(image)
    kind = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return lambda: source.rotate(17, kind[interpolation])


def pillow_blends(image: Any, other: Any, layers: Any, curve: Any) -> dict[str, Run]:
    """Pillow's blend, chops, alpha compositing and tables."""
    from PIL import Image, ImageChops

    a, b = Image.fromarray(image), Image.fromarray(other)
    source, backdrop = (Image.fromarray(layer) for layer in layers)
    table = curve.tolist() * 3
    return {
        "mean": lambda: Image.blend(b, a, 0.3),
        "multiply": lambda: ImageChops.multiply(a, b),
        "screen": lambda: ImageChops.screen(a, b),
        "darken": lambda: ImageChops.darker(a, b),
        "difference": lambda: ImageChops.difference(a, b),
        "add": lambda: ImageChops.add(a, b),
        "overlay": lambda: ImageChops.overlay(b, a),
        "soft-light": lambda: ImageChops.soft_light(b, a),
        "composite": lambda: Image.alpha_composite(backdrop, source),
        "gamma": lambda: a.point(table),
    }


# ---- timing ----


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Seconds by implementation and round, taking turns; one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in case.runs}
    for index in range(rounds + 1):
        for name, run in case.runs.items():
            start = time.perf_counter()
            run()
            if index:
                times[name].append(time.perf_counter() - start)
    return times


def report(case: Case, dtype: str, times: dict[str, list[float]]) -> None:
    """One row: own time, and each other's with the ratio own / other."""
    own = times["fastsynth"]
    cells = [f"{statistics.median(own) * 1e3:7.1f} ms"]
    for name, other in times.items():
        if name == "fastsynth":
            continue
        ratios = [a / b for a, b in zip(own, other, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cells.append(
            f"{name} {statistics.median(other) * 1e3:7.1f} ms "
            f"{middle:5.2f} ({low:.2f} … {high:.2f})"
        )
    print(f"{case.name:28s}{dtype:9s}" + "   ".join(cells), flush=True)


def main() -> None:
    """Runs the benchmark and prints the table."""
    options = arguments()
    if HAVE_OPENCV:
        import cv2

        cv2.setNumThreads(options.threads)
        print(f"OpenCV {cv2.__version__}")
    print(
        f"kernels {_core.kernel_set()}, {options.threads} threads, {options.size} x {options.size} "
        f"x 3, {options.rounds} rounds; time and ratio fastsynth / other with quartiles"
    )
    for dtype in ("uint8", "float32"):
        image = picture(options.size, dtype)
        for cases in CASES:
            for case in cases(image, options.threads):
                if any(part in case.name for part in options.cases):
                    report(case, dtype, measure(case, options.rounds))


if __name__ == "__main__":
    main()
