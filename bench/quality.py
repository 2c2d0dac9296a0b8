"""Time to quality: how soon the loss is reached that torch's L-BFGS reaches in 500 evaluations.

Six problems on VGG16 with the built-in random weights: style transfer of three pairs at 512 px
(Gram matrices of conv1_1 … conv5_1, content at conv4_2, max pooling, from the content picture) and
textures of three exemplars at 256 px (the same Gram matrices, average pooling, from noise). The
loss is one function of the picture at its full size, with a penalty on values outside [0, 1], and
both sides are judged by it.

The reference does what is usual: torch.optim.LBFGS (100 pairs, no line search) at full size. Its
time is 500 times that of one of its evaluations in eager mode; fastsynth's is everything from
loading the weights to the first picture whose loss is within 1 % of the best of those 500.

    python bench/quality.py reference      # slow, once: the losses that torch reaches
    python bench/quality.py losses         # evaluations that fastsynth needs; times do not count
    python bench/quality.py times          # on an idle machine, five minutes: the ratios

All transfers use one setting and all textures another (SETTINGS), of options that every verb has.

The losses of the reference do not depend on the machine's load, so they were computed once
(REACHED); the times of both sides are taken in turns. `reference --engine native` runs
torch's optimiser on fastsynth's gradients, which agree with torch's to 1e-3 and take a fifth of the
time. `--problems` chooses some of the six.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(Path(__file__).parent)]

import fastsynth as fs  # noqa: E402
from fastsynth.image import fit_size, load, resize  # noqa: E402
from fastsynth.network import load_weights  # noqa: E402
from fastsynth.objective import Canvas, RangePenalty, Style, Sum, plan  # noqa: E402
from fastsynth.synthesize.verbs import image_init, noise_init  # noqa: E402

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CONTENT_LAYER = "conv4_2"
STYLE_WEIGHT, RANGE_WEIGHT = 20.0, 10.0  # as in fs.style_transfer with random weights
EVALUATIONS = 500
WITHIN = 1.01
PROBLEMS = {
    "cat": ("examples/cat.jpg", "examples/swirls.jpg"),
    "town": ("content/tubingen.jpg", "style/starry_night.jpg"),
    "bridge": ("content/golden_gate.jpg", "style/the_scream.jpg"),
    "bricks": ("examples/bricks.png",),
    "water": ("texture/embark_1.jpg",),
    "ink": ("texture/embark_2.jpg",),
}


@dataclass(frozen=True)
class Setting:
    """Keywords of fastsynth; of `memory`, optimizer=LBFGS(memory)."""

    precision: str
    scales: Sequence[float]
    evaluations: Sequence[int]
    memory: int

    def levels(self, task: Problem) -> Sequence[fs.render.Level]:
        """The levels of a problem."""
        return fs.render.schedule(
            task.height,
            task.width,
            self.scales,
            self.evaluations,
            mixed=self.precision == "mixed",
        )


SETTINGS = {
    "transfer": Setting("mixed", (3 / 4, 1), (40, 50, 150), 20),
    "texture": Setting("exact", (1 / 8, 1 / 4, 1 / 2, 1), (100, 100, 100, 300), 100),
}

# The least loss of the reference's evaluations, by torch's own gradients.
REACHED = {
    "cat": 1.563402,
    "town": 0.372722,
    "bridge": 1.175991,
    "bricks": 6.636014e-5,
    "water": 4.650937e-6,
    "ink": 5.703152e-5,
}


@dataclass(frozen=True)
class Problem:
    """A loss and a first picture. content is None for a texture."""

    name: str
    height: int
    width: int
    style: Any
    content: Any = None

    @property
    def pooling(self) -> str:
        return "avg" if self.content is None else "max"

    def objective(self) -> Sum:
        """The loss as fastsynth's terms."""
        if self.content is None:
            return 1.0 * Style(self.style, sizing="native") + RANGE_WEIGHT * RangePenalty()
        style = STYLE_WEIGHT * Style(self.style)
        return fs.Content(self.content) + style + RANGE_WEIGHT * RangePenalty()

    def first(self, height: int, width: int) -> Pixels:
        """The first picture of a size."""
        if self.content is not None:
            return image_init(self.content.pixels)(height, width)
        return noise_init(self.style.pixels.mean((1, 2)), 0)(height, width)


def problem(name: str, images: Path) -> Problem:
    """A problem with its pictures loaded; those that are not among the examples from `images`."""
    pictures = [
        load((ROOT if path.startswith("examples") else images) / path) for path in PROBLEMS[name]
    ]
    if len(pictures) == 2:
        height, width = fit_size(512, pictures[0].pixels.shape[1:])
        return Problem(name, height, width, pictures[1], pictures[0])
    pixels = pictures[0].pixels
    side = min(256, *pixels.shape[1:])
    return Problem(name, 256, 256, fs.image.Picture.of(pixels[:, :side, :side].copy()))


# ---- the reference ----


class Reference:
    """The same loss in torch; called with a picture (1, 3, H, W) it gives the loss's graph."""

    def __init__(self, task: Problem) -> None:
        import torch
        from torch_reference import VGG16

        self.task = task
        self.network = VGG16(load_weights("random", "vgg16").arrays, pooling=task.pooling)
        with torch.no_grad():
            factor = max(task.height, task.width) / max(task.style.pixels.shape[1:])
            if task.content is None:
                factor = 1.0
            size = [max(16, round(n * factor)) for n in task.style.pixels.shape[1:]]
            style = torch.from_numpy(resize(task.style.pixels, (size[0], size[1]), clip=True))
            found = self.network(style[None], set(STYLE_LAYERS))
            self.grams = {name: gram(found[name]) for name in STYLE_LAYERS}
            if task.content is not None:
                pixels = resize(task.content.pixels, (task.height, task.width), clip=True)
                found = self.network(torch.from_numpy(pixels)[None], {CONTENT_LAYER})
                self.content = found[CONTENT_LAYER]
                spread = self.content - self.content.mean((2, 3), keepdim=True)
                self.content_scale = float(spread.square().sum())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        has_content = self.task.content is not None
        taps = {*STYLE_LAYERS, CONTENT_LAYER} if has_content else set(STYLE_LAYERS)
        found = self.network(x, taps)
        weight = (STYLE_WEIGHT if has_content else 1.0) / len(STYLE_LAYERS)
        loss = RANGE_WEIGHT * (x - x.clamp(0, 1)).square().mean()
        for name, target in self.grams.items():
            loss = (
                loss + weight * (gram(found[name]) - target).square().sum() / target.square().sum()
            )
        if has_content:
            loss = loss + (found[CONTENT_LAYER] - self.content).square().sum() / self.content_scale
        return loss


def gram(features: torch.Tensor) -> torch.Tensor:
    """F Fᵀ / M."""
    flat = features.flatten(2)[0]
    return flat @ flat.T / flat.shape[1]


def trajectory(task: Problem, engine: str, threads: int) -> list[float]:
    """Losses of torch.optim.LBFGS, one for each evaluation.

    engine: "torch", or "native": the same optimiser on fastsynth's gradients, which agree to
    1e-5; several times faster.
    """
    import torch

    torch.set_num_threads(threads)
    x = torch.from_numpy(task.first(task.height, task.width).copy())[None].requires_grad_()
    losses: list[float] = []
    loss_of = Reference(task) if engine == "torch" else None
    evaluate = None if loss_of else evaluator(task, threads)
    optimizer = torch.optim.LBFGS(
        [x],
        history_size=100,
        max_iter=EVALUATIONS,
        max_eval=EVALUATIONS,
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        if loss_of is not None:
            loss = loss_of(x)
            loss.backward()
        else:
            assert evaluate is not None
            value, gradient = evaluate(x.detach().numpy()[0])
            x.grad = torch.from_numpy(gradient.reshape(x.shape))
            loss = torch.tensor(value)
        losses.append(float(loss.detach()))
        return loss

    optimizer.step(closure)
    return losses


def evaluator(task: Problem, threads: int) -> Any:
    """Loss and gradient by fastsynth, at full size."""
    synthesizer = fs.Synthesizer(weights="random", threads=threads, pooling=task.pooling)
    bound = plan(
        task.objective(),
        Canvas(task.height, task.width),
        synthesizer.open,
        synthesizer.pool,
    )

    def evaluate(image: Pixels, keep: Any = (synthesizer, bound)) -> tuple[float, Pixels]:
        return keep[1].objective.evaluate(np.ascontiguousarray(image))

    return evaluate


# ---- fastsynth ----


@dataclass(frozen=True)
class Reached:
    """When a loss was reached: seconds from the start, evaluations of each level, the loss.

    cost: the evaluations in exact ones at full size, by their pixels, a rough one counted as 0.57.
    parts: seconds of optimising each level; what is left of `seconds` is preparation.
    """

    seconds: float
    evaluations: tuple[int, ...]
    loss: float
    cost: float
    parts: tuple[float, ...]


def reach(task: Problem, target: float, threads: int, setting: Setting) -> Reached:
    """Runs fastsynth from loading its weights until its loss at full size is at most `target`."""
    begun = time.perf_counter()
    seconds = float("inf")
    last = len(setting.levels(task)) - 1

    def watch(event: Any) -> bool | None:
        nonlocal seconds
        if event.level < last or event.loss > target:
            return None
        seconds = time.perf_counter() - begun
        return False

    with fs.Synthesizer(
        weights="random", threads=threads, pooling=task.pooling, precision=setting.precision
    ) as synthesizer:
        result = synthesizer.synthesize(
            task.objective(),
            (task.height, task.width),
            task.first,
            pooling=task.pooling,
            kind=task.style.kind,
            job={"verb": "minimize"},
            callback=watch,
            scales=setting.scales,
            max_evaluations=setting.evaluations,
            plateau=0.0,  # the target ends the run
            optimizer=fs.optimize.LBFGS(memory=setting.memory),
        )
    return Reached(
        seconds,
        tuple(level.run.evaluations for level in result.levels),
        result.levels[-1].run.loss,
        sum(
            level.run.evaluations
            * (0.57 if level.level.rough else 1.0)
            * (level.level.height / task.height) ** 2
            for level in result.levels
        ),
        tuple(level.run.seconds for level in result.levels),
    )


# ---- the command ----


def serve(task: Problem, threads: int) -> None:
    """A worker: times one evaluation of the reference for each line that it reads."""
    import torch

    torch.set_num_threads(threads)
    loss_of = Reference(task)
    x = torch.from_numpy(task.first(task.height, task.width).copy())[None].requires_grad_()
    loss_of(x).backward()
    print("ready", flush=True)
    for _ in sys.stdin:
        x.grad = None
        begun = time.perf_counter()
        loss_of(x).backward()
        print(time.perf_counter() - begun, flush=True)


class Worker:
    """The reference in a process of its own."""

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        command = [sys.executable, __file__, "serve", "--problems", name]
        command += ["--threads", str(options.threads), "--images", str(options.images)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the reference died; its message is above")
        return line

    def seconds(self, count: int) -> list[float]:
        """Of `count` evaluations."""
        assert self.process.stdin is not None
        found = []
        for _ in range(count):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            found.append(float(self.line()))
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def times(options: argparse.Namespace, task: Problem) -> None:
    """Both sides in turns: some evaluations of torch, a whole run of fastsynth, torch again."""
    worker = Worker(options, task.name)
    seconds = worker.seconds(options.rounds)
    reached = reach(task, WITHIN * REACHED[task.name], options.threads, setting_of(options, task))
    seconds += worker.seconds(options.rounds)
    worker.close()
    whole = EVALUATIONS * statistics.median(seconds)
    low, high = (reached.seconds / (EVALUATIONS * t) for t in (max(seconds), min(seconds)))
    print(
        f"{task.name:8} {task.width} × {task.height}  torch {1e3 * whole / EVALUATIONS:.0f} ms an "
        f"evaluation, {whole:.0f} s for {EVALUATIONS}  fastsynth {reached.seconds:.1f} s, "
        f"evaluations {list(reached.evaluations)} in "
        f"{' + '.join(f'{t:.1f}' for t in reached.parts)} s"
        f"  ratio {reached.seconds / whole:.4f} "
        f"({low:.4f} … {high:.4f}), 1/{whole / reached.seconds:.0f}",
        flush=True,
    )


def losses(options: argparse.Namespace, task: Problem) -> None:
    """What fastsynth needs, in evaluations; and what that makes in exact ones at full size."""
    target = WITHIN * REACHED[task.name]
    reached = reach(task, target, options.threads, setting_of(options, task))
    verdict = "reached" if reached.loss <= target else "not reached"
    print(
        f"{task.name:8} {verdict} {target:.5g} with {reached.loss:.5g} after evaluations "
        f"{list(reached.evaluations)}, worth {reached.cost:.0f} at full size",
        flush=True,
    )


def setting_of(options: argparse.Namespace, task: Problem) -> Setting:
    """The usual setting of a problem, changed by what the command line says."""
    usual = SETTINGS["texture" if task.content is None else "transfer"]
    given = {
        key: getattr(options, key)
        for key in ("precision", "scales", "evaluations", "memory")
        if getattr(options, key) is not None
    }
    return replace(usual, **given)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=("reference", "losses", "times", "serve"))
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="of torch, before and after")
    parser.add_argument("--engine", choices=("torch", "native"), default="torch")
    trial = parser.add_argument_group("another setting than the usual one")
    trial.add_argument("--precision", choices=("exact", "fast", "mixed"))
    trial.add_argument("--scales", type=float, nargs="+", help="sizes as shares of the last")
    trial.add_argument("--evaluations", type=int, nargs="+", help="by level")
    trial.add_argument("--memory", type=int, help="pairs of L-BFGS")
    options = parser.parse_args()
    for name in options.problems:
        task = problem(name, options.images)
        if options.what == "reference":
            found = trajectory(task, options.engine, options.threads)
            print(json.dumps({"problem": name, "best": min(found), "losses": found}), flush=True)
        elif options.what == "serve":
            serve(task, options.threads)
        else:
            {"losses": losses, "times": times}[options.what](options, task)


if __name__ == "__main__":
    main()
