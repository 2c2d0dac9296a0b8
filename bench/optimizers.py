"""Which optimiser reaches which loss after how many evaluations, and what it costs besides.

    python bench/optimizers.py [--size 128] [--evaluations 300] [--content FILE --style FILE]

Two problems, both on VGG16 (torch, so that every rival sees the same function): the texture of the
style picture from noise, and style transfer from the content picture. Weights are random, each
layer scaled to unit mean activation; `--weights FILE.safetensors` fills the layers that it has.
Rivals: torch's L-BFGS with and without line search, torch's Adam, SciPy's L-BFGS-B.

Printed: the best loss after a number of evaluations, as a share of the first loss; then the time
that the optimiser itself takes per iteration for images of several sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray
from PIL import Image

from fastsynth import _core
from fastsynth.optimize import LBFGS, Adam, GradientDescent, Optimizer, StopRules, run

Evaluate = Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512,))
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CONTENT = "conv4_2"
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
MARKS = (10, 25, 50, 100, 200, 300, 500)


class VGG16:
    """Features of VGG16 to conv5_1; random weights, calibrated on a picture."""

    def __init__(self, calibration: torch.Tensor, weights: Path | None, average: bool) -> None:
        self.average = average
        self.kernels: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        generator = torch.Generator().manual_seed(0)
        known = {}
        if weights is not None:
            from safetensors.torch import load_file

            known = load_file(weights)
        x = (calibration - MEAN) / 0.225
        for block, widths in enumerate(BLOCKS, 1):
            for index, width in enumerate(widths, 1):
                name = f"conv{block}_{index}"
                kernel = torch.randn(width, x.shape[1], 3, 3, generator=generator)
                bias = torch.zeros(width)
                if f"{name}.weight" in known:
                    kernel, bias = known[f"{name}.weight"], known[f"{name}.bias"]
                    if block == index == 1:  # BGR, 0-255 → RGB, units of 0.225
                        kernel = kernel.flip(1) * (255 * 0.225)
                raw = torch.nn.functional.conv2d(x, kernel, bias, padding=1)
                scale = 1 / raw.clamp(min=0).mean()
                self.kernels[name] = (kernel * scale, bias * scale)
                x = (raw * scale).clamp(min=0)
            x = self.pool(x)

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        shrink = torch.nn.functional.avg_pool2d if self.average else torch.nn.functional.max_pool2d
        return shrink(x, 2)

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = (x - MEAN) / 0.225
        taps = {}
        for block, widths in enumerate(BLOCKS, 1):
            for index in range(1, len(widths) + 1):
                name = f"conv{block}_{index}"
                x = torch.nn.functional.conv2d(x, *self.kernels[name], padding=1).clamp(min=0)
                taps[name] = x
            if block < len(BLOCKS):
                x = self.pool(x)
        return taps


def gram(feature: torch.Tensor) -> torch.Tensor:
    flat = feature.flatten(2)[0]
    return flat @ flat.T / flat.shape[1]


class Problem:
    """Mean over layers of relative squared distances (Eqs. 11, 12 without units)."""

    def __init__(
        self,
        name: str,
        network: VGG16,
        style: torch.Tensor,
        start: torch.Tensor,
        *,
        content: torch.Tensor | None = None,
        strength: float = 10.0,
    ) -> None:
        self.name, self.network = name, network
        self.start = start.numpy().copy()
        with torch.no_grad():
            self.grams = {
                layer: gram(feature)
                for layer, feature in network.features(style).items()
                if layer in STYLE
            }
            self.content = None if content is None else network.features(content)[CONTENT]
        self.strength = strength

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        features = self.network.features(x)
        total = torch.zeros(())
        for layer, target in self.grams.items():
            distance = (gram(features[layer]) - target).square().sum() / target.square().sum()
            total = total + distance / len(self.grams)
        if self.content is not None:
            apart = (features[CONTENT] - self.content).square().sum() / self.content.square().sum()
            total = self.strength * total + apart
        return total

    def evaluate(self, x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        variable = torch.tensor(x.reshape(self.start.shape), requires_grad=True)
        loss = self.loss(variable)
        loss.backward()
        assert variable.grad is not None
        return float(loss.detach()), variable.grad.numpy().ravel()


class Enough(Exception):  # noqa: N818
    """The rival has used up its evaluations."""


def ours(problem: Problem, optimizer: Optimizer, evaluations: int) -> list[float]:
    objective = _core.FunctionObjective(problem.evaluate, problem.start.size)
    rules = StopRules(max_evaluations=evaluations, plateau=None)
    return list(run(objective, problem.start, optimizer, rules).history.loss)


def by_torch(
    problem: Problem, make: Callable[..., torch.optim.Optimizer], evaluations: int
) -> list[float]:
    x = torch.tensor(problem.start, requires_grad=True)
    optimizer = make([x])
    losses: list[float] = []

    def closure() -> torch.Tensor:
        if len(losses) == evaluations:
            raise Enough
        optimizer.zero_grad()
        loss = problem.loss(x)
        loss.backward()
        losses.append(float(loss.detach()))
        return loss

    with contextlib.suppress(Enough):
        for _ in range(evaluations):
            optimizer.step(closure)  # type: ignore[arg-type]
    return losses


def by_scipy(problem: Problem, evaluations: int) -> list[float]:
    losses: list[float] = []

    def recorded(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if len(losses) == evaluations:
            raise Enough
        value, gradient = problem.evaluate(x.astype(np.float32))
        losses.append(value)
        return value, gradient.astype(np.float64)

    options: Any = {
        "maxcor": 20,
        "ftol": 0.0,
        "gtol": 0.0,
        "maxfun": evaluations + 1,
        "maxiter": 10000,
    }
    start = problem.start.ravel().astype(np.float64)
    with contextlib.suppress(Enough):
        scipy.optimize.minimize(recorded, start, jac=True, method="L-BFGS-B", options=options)
    return losses


def contenders() -> dict[str, Callable[[Problem, int], list[float]]]:
    def torch_lbfgs(search: str | None) -> Callable[[Problem, int], list[float]]:
        def make(variables: list[torch.Tensor]) -> torch.optim.Optimizer:
            return torch.optim.LBFGS(variables, history_size=20, max_iter=20, line_search_fn=search)

        return lambda problem, n: by_torch(problem, make, n)

    return {
        "LBFGS()": lambda problem, n: ours(problem, LBFGS(), n),
        "LBFGS(memory=5)": lambda problem, n: ours(problem, LBFGS(memory=5), n),
        "Adam()": lambda problem, n: ours(problem, Adam(), n),
        "Adam(0.05)": lambda problem, n: ours(problem, Adam(0.05), n),
        "GradientDescent": lambda p, n: ours(p, GradientDescent(0.01, normalize=True), n),
        "torch LBFGS": torch_lbfgs(None),
        "torch LBFGS strong_wolfe": torch_lbfgs("strong_wolfe"),
        "torch Adam(0.02)": lambda problem, n: by_torch(
            problem, lambda v: torch.optim.Adam(v, lr=0.02, betas=(0.9, 0.99)), n
        ),
        "scipy L-BFGS-B": by_scipy,
    }


def picture(path: Path | None, size: int, seed: int) -> torch.Tensor:
    """A square picture (1, 3, size, size); a synthetic one where no file is given."""
    if path is not None:
        with Image.open(path) as file:
            side = min(file.size)
            left, top = (file.width - side) // 2, (file.height - side) // 2
            square = file.convert("RGB").crop((left, top, left + side, top + side))
            pixels = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
        return torch.tensor(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()
    waves = np.random.default_rng(seed).normal(size=(3, size, size))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(waves) / np.maximum(frequency, 1 / size)
    smooth = np.fft.ifft2(spectrum).real
    smooth = 0.5 + 0.2 * smooth / smooth.std(axis=(1, 2), keepdims=True)
    return torch.tensor(smooth.clip(0, 1).astype(np.float32))[None]


def convergence(arguments: argparse.Namespace) -> None:
    style = picture(arguments.style, arguments.size, 1)
    content = picture(arguments.content, arguments.size, 2)
    generator = torch.Generator().manual_seed(3)
    noise = style.mean((2, 3), keepdim=True) + 0.1 * torch.randn(style.shape, generator=generator)
    texture = VGG16(style, arguments.weights, average=True)
    transfer = VGG16(style, arguments.weights, average=False)
    problems = [
        Problem("texture from noise, average pooling", texture, style, noise),
        Problem("transfer from content, max pooling", transfer, style, content, content=content),
    ]
    marks = [mark for mark in MARKS if mark <= arguments.evaluations]
    for problem in problems:
        print(f"\n{problem.name}, {arguments.size} px: best loss / first loss after evaluations")
        print(f"{'':26}" + "".join(f"{mark:>10}" for mark in marks))
        for name, contender in contenders().items():
            if arguments.only and arguments.only not in name:
                continue
            best = np.fmin.accumulate(contender(problem, arguments.evaluations))
            share = [best[min(mark, len(best)) - 1] / best[0] for mark in marks]
            print(f"{name:26}" + "".join(f"{value:10.2e}" for value in share), flush=True)


def overhead() -> None:
    """Time of an iteration with an objective that costs nothing but its own arithmetic."""
    print("\noptimiser's own time per iteration, ms (the objective's is subtracted)")
    sizes = (256, 512, 1024, 2048)
    print(f"{'':26}" + "".join(f"{size:>8}²" for size in sizes))
    for optimizer in (LBFGS(), LBFGS(memory=5), Adam(), GradientDescent(0.01)):
        cells = []
        for side in sizes:
            size = 3 * side * side
            if size * 4 * 2 * getattr(optimizer, "memory", 2) > 2.5e9:
                cells.append(f"{'-':>9}")
                continue
            rng = np.random.default_rng(0)
            gradient = rng.normal(size=size).astype(np.float32)
            weight = np.exp(rng.uniform(-5, 0, size)).astype(np.float32)
            spent = 0.0

            def cheap(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
                nonlocal spent
                begun = time.perf_counter()
                bend = weight * x  # noqa: B023
                slope = gradient + bend  # noqa: B023
                value = float(np.vdot(x, gradient) + 0.5 * np.vdot(x, bend))  # noqa: B023
                spent += time.perf_counter() - begun
                return value, slope

            times: list[float] = []

            def mark(progress: object) -> None:
                times.append(time.perf_counter() - spent)  # noqa: B023

            rules = StopRules(max_iterations=40, plateau=None)
            objective = _core.FunctionObjective(cheap, size)
            run(objective, np.zeros(size, np.float32), optimizer, rules, mark)
            # The history is full after 20 iterations.
            steps = np.diff(times)[-20:]
            cells.append(f"{1e3 * np.median(steps):9.2f}")
        print(f"{optimizer!r:.24}  " + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--style", type=Path)
    parser.add_argument("--content", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", default="", help="contenders whose name contains this")
    parser.add_argument("--overhead", action="store_true", help="only the time per iteration")
    arguments = parser.parse_args()
    if not arguments.overhead:
        convergence(arguments)
    overhead()


if __name__ == "__main__":
    main()
