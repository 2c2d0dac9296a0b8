"""Compares the recipes for random weights by the scores of what they make, at equal settings.

    python bench/recipes.py --textures bricks.png pebbles.png --pairs photo.jpg,painting.jpg

Each recipe makes the same pictures with the same seeds, coarse to fine, with the same number of
evaluations. A table shows each picture's score, and each recipe's geometric mean over textures.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np

import fastsynth as fs
from fastsynth.network.weights.random import RECIPES
from fastsynth.score.pixels import load_visible

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PARTS = ("autocorrelation", "spectrum", "patches", "marginals", "color")
EVALUATIONS = [100, 100, 60, 60]  # S/8, S/4, S/2, S: what `schedule` takes by itself at 256 px


def mean_log(values: list[float]) -> float:
    """The geometric mean.

    >>> round(mean_log([1.0, 4.0]), 6)
    2.0
    """
    return math.exp(float(np.mean(np.log(values))))


def textures(arguments: argparse.Namespace, recipe: str) -> list[float]:
    """Prints a row for each exemplar; returns all totals."""
    totals = []
    for path in arguments.textures:
        # Transparent places are cut off, so that all recipes see the same whole exemplar.
        exemplar = np.ascontiguousarray(load_visible(path, "exemplar").transpose(1, 2, 0))
        found = []
        for seed in range(arguments.seeds):
            with fs.Synthesizer(weights=f"random-{recipe}:{seed}") as synthesizer:
                result = synthesizer.synthesize_texture(
                    exemplar,
                    size=(arguments.size, arguments.size),
                    seed=seed,
                    max_evaluations=EVALUATIONS,
                    plateau=0,
                )
            if arguments.save:
                result.save(arguments.save / f"{path.stem}_{recipe}_{seed}.png")
            found.append(fs.score.texture(result.array, exemplar))
        totals += [score.total for score in found]
        cells = [mean_log([score.total for score in found])]
        cells += [mean_log([getattr(score, name).ratio for score in found]) for name in PARTS]
        copied = float(np.mean([score.copied for score in found]))
        row = "".join(f"{value:8.2f}" for value in cells)
        print(f"{recipe:12}{path.stem:14}{row}{copied:8.2f}", flush=True)
    return totals


def transfers(arguments: argparse.Namespace, recipe: str) -> None:
    """Prints a row for each pair and strength: content and style, lower is better."""
    for pair in arguments.pairs:
        content, style = pair.split(",")
        for strength in arguments.strengths:
            found = []
            for seed in range(arguments.seeds):
                with fs.Synthesizer(weights=f"random-{recipe}:{seed}") as synthesizer:
                    result = synthesizer.style_transfer(
                        content,
                        style,
                        size=arguments.size,
                        strength=strength,
                        seed=seed,
                        max_evaluations=EVALUATIONS,
                        plateau=0,
                    )
                if arguments.save:
                    name = f"{Path(content).stem}_{recipe}_{seed}_{strength:g}.png"
                    result.save(arguments.save / name)
                found.append(fs.score.transfer(result.array, content, style))
            kept = float(np.mean([score.content for score in found]))
            painted = mean_log([score.style for score in found])
            product = mean_log([score.product for score in found])
            print(
                f"{recipe:12}{Path(content).stem:14}{strength:8g}{kept:8.3f}{painted:8.2f}"
                f"{product:8.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--textures", nargs="*", type=Path, default=[EXAMPLES / "bricks.png"])
    parser.add_argument(
        "--pairs",
        nargs="*",
        default=[f"{EXAMPLES / 'cat.jpg'},{EXAMPLES / 'swirls.jpg'}"],
        metavar="CONTENT,STYLE",
    )
    parser.add_argument("--strengths", nargs="+", type=float, default=[1.0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--save", type=Path, help="folder to write the pictures to")
    arguments = parser.parse_args()
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
    if arguments.textures:
        print(
            f"{'recipe':12}{'texture':14}   total      S1      S2      S3      S4      S5  copied"
        )
        means = {recipe: mean_log(textures(arguments, recipe)) for recipe in arguments.recipes}
        for recipe, mean in sorted(means.items(), key=lambda item: item[1]):
            print(f"{recipe:12}{'mean':14}{mean:8.2f}")
    print(f"\n{'recipe':12}{'content':14}strength content   style product")
    for recipe in arguments.recipes:
        transfers(arguments, recipe)


if __name__ == "__main__":
    main()
