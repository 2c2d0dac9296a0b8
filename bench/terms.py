"""Times what each term adds to an evaluation of a plain Gram transfer.

    python bench/terms.py [--size 512] [--rounds 7] [--threads 2] [--only guided autocorrelation]

Every row is an objective of its own: the content term of conv4_2 and Gram matrices of conv1_1 to
conv5_1, as style_transfer has them with trained weights, and beside or instead of those the term.
All take turns within one run, on the same picture. The table shows the median time of an evaluation
(value and gradient), its ratio to the plain transfer's in the same round, and the quartiles of
that. The weights are random: they do not change the work. Margins of 16 px as in style_transfer.

    +        beside the plain transfer's terms
    instead  in place of its Gram matrices
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastsynth as fs
from fastsynth.objective import Canvas, plan

MARGIN = 16


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="+", help="rows whose names contain one of these")
    return parser.parse_args()


def picture(size: int, seed: int) -> Any:
    """Coloured blobs at all scales."""
    return fs.patterns.formula(
        "fbm(6*x, 6*y) + noise(40*x, 25*y)", width=size, height=size, palette="copper", seed=seed
    ).array


def quarters(size: int, tilt: float) -> list[Any]:
    """Four masks that share a picture out along two slanted lines."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    right, lower = x + tilt * y > 0, y - tilt * x > 0
    masks = [right & lower, right & ~lower, ~right & lower, ~right & ~lower]
    return [(mask * 255).astype(np.uint8) for mask in masks]


def objectives(size: int) -> dict[str, Callable[[], Any]]:
    """The rows."""
    style = picture(size, 1)
    content = fs.Content(picture(size, 2), "conv4_2")
    gram = content + 10 * fs.Style(style)
    there = quarters(size, 0.9)

    def guided(tilt: float, **settings: Any) -> Any:
        masks = zip(quarters(size, tilt), there, strict=True)
        terms = [fs.GuidedStyle(style, content_mask=c, style_mask=s, **settings) for c, s in masks]
        return content + sum(terms[1:], terms[0])

    return {
        "plain transfer": lambda: gram,
        "+ autocorrelation": lambda: gram + fs.Autocorrelation(style),
        "+ shifted Gram": lambda: gram + fs.ShiftedGram(style),
        "+ spectrum": lambda: gram + fs.Spectrum(style),
        "+ pyramid Gram": lambda: gram + fs.PyramidGram(style),
        "instead guided, 4 quarters": lambda: guided(0.0),
        "instead guided, 4 slanted": lambda: guided(0.5),
        "instead mean_covariance": lambda: content + fs.MeanCovariance(style),
        "instead guided mean_covariance": lambda: guided(0.5, statistics="mean_covariance"),
        "instead gaussian_wasserstein": lambda: content + fs.GaussianWasserstein(style),
        "instead bn_statistics": lambda: content + fs.BNStatistics(style),
        "instead mmd_gaussian": lambda: content + fs.MMD(style, kernel="gaussian"),
        "instead sliced_wasserstein": lambda: content + fs.SlicedWasserstein(style),
        "instead histogram": lambda: content + fs.Histogram(style),
    }


def main() -> None:
    """Runs the benchmark and prints the table."""
    options = arguments()
    side = options.size + 2 * MARGIN
    canvas = Canvas(side, side, 1.0, MARGIN)
    rows = objectives(options.size)
    if options.only:
        rows = {
            name: make
            for name, make in rows.items()
            if name == "plain transfer" or any(word in name for word in options.only)
        }
    image = np.random.default_rng(0).random((3, side, side), np.float32)
    with contextlib.ExitStack() as stack:
        synthesizer = stack.enter_context(
            fs.Synthesizer(weights="random:0", threads=options.threads)
        )
        engines = {}
        for name, make in rows.items():
            bound = plan(
                make(), canvas, lambda name: synthesizer.open(name, "max"), synthesizer.pool
            )
            stack.callback(bound.close)
            engines[name] = bound.objective
        times: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(options.rounds + 1):
            for name, engine in engines.items():
                start = time.perf_counter()
                engine.evaluate(image)
                if turn:  # the first warms up
                    times[name].append(time.perf_counter() - start)
    print(f"{options.size} px, {options.rounds} rounds, {synthesizer.pool.threads} threads")
    plain = times["plain transfer"]
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found, plain, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:34s}{statistics.median(found) * 1e3:8.0f} ms "
            f"{statistics.median(ratios):6.3f}  ({low:.3f}-{high:.3f})"
        )


if __name__ == "__main__":
    main()
