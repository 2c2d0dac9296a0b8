"""The default texture synthesis beside Gram matrices at one scale, by what their pictures score.

    python bench/textures.py --out out/textures

Every exemplar of examples/paper/exemplars.py, and water where ../shared holds its photograph, is
continued to a picture of another size by both methods, from the same seeds and weights, with the
same number of evaluations. All of those of the one scale are at full size, so that it has several
times the work. Pictures and scores are kept in the folder: a run that was stopped goes on from
there. Ends with the tables of docs/textures.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "paper"))

import exemplars  # noqa: E402
import methods  # noqa: E402
from methods import METHODS  # noqa: E402

SHARED = ROOT.parent / "shared" / "images"  # pictures for tests, which are not the project's own
WATER = "texture/embark_1.jpg"
MEASURES = ("autocorrelation", "spectrum", "patches", "marginals", "color")


@dataclass(frozen=True)
class Score:
    """What one picture got, and the seconds that it took.

    values: ratios by name of the measure, `total`, `structure` (S1 to S4: without the colours,
        which the default matches), `copied`, and the exemplar's `regularity`.
    """

    kind: str
    name: str
    method: str
    seed: int
    seconds: float
    values: dict[str, float]


def pictures(
    names: Sequence[str] | None, shared: Path
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Class, name and pixels of the exemplars."""
    for kind, drawings in exemplars.CLASSES.items():
        for drawing in drawings:
            if names is None or drawing.__name__ in names:
                yield kind, drawing.__name__, exemplars.exemplar(drawing.__name__)
    if names is None or "water" in names:
        path = shared / WATER
        if not path.is_file():
            print(f"water is left out: {path} is not there", file=sys.stderr)
            return
        with Image.open(path) as image:
            side = exemplars.SIDE
            square = image.convert("RGB").crop((0, 0, side, side))
        yield "stochastic", "water", np.asarray(square, np.float32) / np.float32(255)


def scored(
    arguments: argparse.Namespace, kind: str, name: str, exemplar: NDArray[np.float32], seed: int
) -> Iterator[Score]:
    """The scores of both methods for one exemplar and seed: those kept, or new ones."""
    for method in arguments.methods:
        made = methods.continued(
            exemplar,
            name,
            method,
            arguments.out,
            seed=seed,
            size=tuple(arguments.size),
            evaluations=arguments.evaluations,
            threads=arguments.threads,
        )
        values = {measure: made.score[measure]["ratio"] for measure in MEASURES}
        values |= {key: made.score[key] for key in ("total", "copied", "regularity")}
        values["structure"] = mean_log([values[measure] for measure in MEASURES[:4]])
        yield Score(kind, name, method, seed, made.seconds, values)


def mean_log(values: ArrayLike) -> float:
    """The geometric mean."""
    return math.exp(float(np.mean(np.log(values))))


def sign_test(better: int, trials: int) -> float:
    """The probability of at least so many successes in fair trials.

    >>> sign_test(5, 5)
    0.03125
    """
    return sum(math.comb(trials, k) for k in range(better, trials + 1)) / 2**trials


def tables(scores: Sequence[Score]) -> str:
    """Markdown: a row for each exemplar, then one for each class."""
    names = list(dict.fromkeys((score.kind, score.name) for score in scores))

    def of(measure: str, method: str, kind: str, name: str | None = None) -> list[float]:
        return [
            score.values[measure]
            for score in scores
            if score.method == method and score.kind == kind and name in (None, score.name)
        ]

    lines = [
        "| exemplar | class | regularity | T default | T Gram | S1 default | S1 Gram "
        "| S6 default | S6 Gram |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, name in names:
        regularity = of("regularity", "default", kind, name)[0]
        cells = [
            f"{average(of(measure, method, kind, name)):.2f}"
            for measure, average in (("total", mean_log), ("autocorrelation", mean_log))
            for method in METHODS
        ]
        cells += [f"{np.mean(of('copied', method, kind, name)):.2f}" for method in METHODS]
        lines.append(f"| {name} | {kind} | {regularity:.2f} | {' | '.join(cells)} |")
    lines += [
        "",
        "| class | T: Gram / default | S1 to S4 | S1 | S2 | S3 | S4 | S5 | S6: default - Gram "
        "| wins in T |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(kind for kind, _ in names):
        ratios = [
            np.divide(of(measure, "gram", kind), of(measure, "default", kind))
            for measure in ("total", "structure", *MEASURES)
        ]
        spread = f"{mean_log(ratios[0]):.2f} ({ratios[0].min():.2f} … {ratios[0].max():.2f})"
        parts = " | ".join(f"{mean_log(values):.2f}" for values in ratios[1:])
        copied = np.subtract(of("copied", "default", kind), of("copied", "gram", kind))
        better, trials = int((ratios[0] > 1).sum()), len(ratios[0])
        lines.append(
            f"| {kind} | {spread} | {parts} | {copied.mean():+.2f} (at most {copied.max():+.2f}) "
            f"| {better} of {trials}, p = {sign_test(better, trials):.2g} |"
        )
    seconds = {
        method: np.median([score.seconds for score in scores if score.method == method])
        for method in METHODS
    }
    taken = ", ".join(f"{method} {value:.1f} s" for method, value in seconds.items())
    return "\n".join([*lines, "", f"Median time of a picture: {taken}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/textures"))
    parser.add_argument("--exemplars", nargs="+", help="only these; default all")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", nargs=2, type=int, default=list(methods.SIZE), metavar=("W", "H"))
    parser.add_argument("--evaluations", type=int, default=methods.EVALUATIONS)
    parser.add_argument("--threads", type=int, help="default: one for each core")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder of texture/*.jpg")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scores = []
    for seed in range(arguments.seeds):
        for kind, name, exemplar in pictures(arguments.exemplars, arguments.shared):
            for score in scored(arguments, kind, name, exemplar, seed):
                row = "  ".join(f"{key} {value:.2f}" for key, value in score.values.items())
                print(
                    f"{name:10} {score.method:8} {seed} {score.seconds:6.1f} s  {row}", flush=True
                )
                scores.append(score)
    scores.sort(key=lambda score: list(exemplars.CLASSES).index(score.kind))
    if set(arguments.methods) == set(METHODS):
        print("\n" + tables(scores))


if __name__ == "__main__":
    main()
