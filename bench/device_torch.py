"""torch for bench/device.py: eager, and as fast as it can be made, on the card or the processor.

Run by itself it prints the names of the variants that this machine can run.

    torch-exact      eager, float32, no TF32
    torch-tf32       eager, TF32
    torch-last-…     channels_last
    torch-amp-…      channels_last and autocast
    torch-compiled-… the same through torch.compile
    torch-graph-…    as torch-amp-…, captured as a CUDA graph

The last part of a name is the precision: exact, tf32, fp16 or bf16.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from device import RATE, shares_of
from evaluation import CONTENT_LAYER, STYLE_LAYERS, TAPS, FloatArray, pictures, random_weights
from torch_reference import VGG16, gram

ON_CPU = ("torch-exact", "torch-last-exact", "torch-amp-bf16", "torch-compiled-bf16")
ON_CARD = (
    "torch-exact",
    "torch-tf32",
    "torch-last-tf32",
    "torch-graph-exact",
    "torch-graph-tf32",
    "torch-amp-fp16",
    "torch-amp-bf16",
    "torch-compiled-tf32",
    "torch-compiled-fp16",
    "torch-graph-fp16",
)
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# float16 does not hold small gradients: losses are multiplied before, gradients divided after.
SCALE = 2.0**10


class TorchRun:
    """Evaluations and Adam iterations on one device; nothing comes to the host in between."""

    def __init__(self, name: str, size: int, threads: int) -> None:
        from fastsynth.network.architecture import ARCHITECTURES

        torch.set_num_threads(threads)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        _, *kind, self.precision = name.split("-")
        tf32 = self.precision != "exact"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        images = {
            key: torch.from_numpy(image)[None].to(self.device)
            for key, image in pictures(size).items()
        }
        weights = random_weights(ARCHITECTURES["vgg16"], TAPS[-1])
        self.format = torch.channels_last if kind else torch.contiguous_format
        network: Any = VGG16(weights)  # for mypy, which does not know memory_format
        self.network = network.to(device=self.device, memory_format=self.format)
        self.network.requires_grad_(requires_grad=False)
        self.scale = SCALE if self.precision == "fp16" else 1.0
        with torch.no_grad():
            of_style = self.network(images["style"], set(STYLE_LAYERS))
            self.grams = {layer: gram(features) for layer, features in of_style.items()}
            of_content = self.network(images["content"], {CONTENT_LAYER})
            self.content = of_content[CONTENT_LAYER].clone()
        if self.precision in TYPES:  # once, where autocast would do it at each evaluation
            self.network.to(dtype=TYPES[self.precision])
        self.begin = images["start"]
        self.image = self._fresh()
        fused = self.device == "cuda"
        self.adam = torch.optim.Adam([self.image], RATE, fused=fused, capturable=fused)
        self.loss = torch.compile(self._loss) if kind == ["compiled"] else self._loss
        self.step: Callable[[], torch.Tensor] = self._forward_backward
        if kind == ["graph"]:
            self._capture()

    def _fresh(self) -> torch.Tensor:
        image = self.begin.detach().clone(memory_format=self.format)
        image.requires_grad_()
        return image

    def _loss(self) -> torch.Tensor:
        type_ = TYPES.get(self.precision)
        with torch.autocast(self.device, type_, enabled=type_ is not None):
            features = self.network(self.image, set(TAPS))
        features = {layer: value.float() for layer, value in features.items()}
        loss = 0.5 * (features[CONTENT_LAYER] - self.content).square().sum()
        for layer, target in self.grams.items():
            channels, height, width = features[layer].shape[1:]
            factor = 1 / (4 * channels**2 * (height * width) ** 2)
            loss = loss + factor * (gram(features[layer]) - target).square().sum()
        return loss * self.scale

    def _forward_backward(self) -> torch.Tensor:
        self.image.grad = None
        loss = self.loss()
        loss.backward()
        return loss

    def _capture(self) -> None:
        """Forward, loss and backward as one CUDA graph."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._forward_backward()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.image.grad = None
        with torch.cuda.graph(graph):
            captured = self.loss()
            captured.backward()

        def replay() -> torch.Tensor:
            assert self.image.grad is not None
            self.image.grad.zero_()  # captured backward adds to it
            graph.replay()
            return captured

        self.step = replay

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def result(self) -> tuple[float, FloatArray]:
        """Loss and gradient at the start."""
        loss = self.step()
        assert self.image.grad is not None
        gradient = (self.image.grad[0] / self.scale).cpu().numpy()
        return float(loss.detach()) / self.scale, np.ascontiguousarray(gradient)

    def evaluate(self, count: int) -> float:
        """Seconds of an evaluation."""
        self._wait()
        begun = time.perf_counter()
        for _ in range(count):
            self.step()
        self._wait()
        return (time.perf_counter() - begun) / count

    def iterate(self, count: int) -> float:
        """Seconds of an iteration. Adam takes no notice of the scale of gradients."""
        self._wait()
        begun = time.perf_counter()
        for _ in range(count):
            self.step()
            self.adam.step()
        self._wait()
        seconds = (time.perf_counter() - begun) / count
        with torch.no_grad():
            self.image.copy_(self.begin)
        return seconds

    def profile(self) -> dict[str, Any]:
        """Shares of one evaluation's time, from torch's profiler."""
        from torch.profiler import ProfilerActivity, profile

        activities = [ProfilerActivity.CPU]
        if self.device == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.evaluate(1)
        with profile(activities=activities) as watched:
            wall = self.evaluate(1)
        kinds: dict[str, float] = defaultdict(float)
        for event in watched.key_averages():
            on_card = self.device == "cuda"
            spent = event.self_device_time_total if on_card else event.self_cpu_time_total
            kinds[event.key] += spent / 1e6
        return shares_of(kinds, wall)


if __name__ == "__main__":
    print(*(ON_CARD if torch.cuda.is_available() else ON_CPU))
