"""The reference: one evaluation as one writes it with torch, eager mode; and tuned rivals.

VGG16 with max pooling; style loss of Eq. 8 (Gram matrices) at five layers, content loss of Eq. 7
at one, and the gradient with respect to the image by autograd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

CONV_CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512)


class VGG16(nn.Module):
    """VGG16 to conv5_1; returns the features that were asked for and stops at the deepest."""

    def __init__(self, weights: Mapping[str, np.ndarray], *, pooling: str = "max") -> None:
        super().__init__()
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        self.normalize = nn.Conv2d(3, 3, 1)
        self.names: list[str] = []
        self.body = nn.ModuleList()
        channels, block, index = 3, 1, 1
        for entry in CONV_CHANNELS:
            if entry != "M" and f"conv{block}_{index}.weight" not in weights:
                break  # weights of the first layers only
            if entry == "M":
                self.body.append(pool(2))
                self.names.append(f"pool{block}")
                block, index = block + 1, 1
            else:
                self.body.append(nn.Conv2d(channels, int(entry), 3, padding=1))
                self.names.append(f"conv{block}_{index}")
                channels, index = int(entry), index + 1
        named = zip(self.names, self.body, strict=True)
        for name, module in [("normalize", self.normalize), *named]:
            if isinstance(module, nn.Conv2d):
                for part in ("weight", "bias"):
                    values = np.require(weights[f"{name}.{part}"], requirements="W")
                    setattr(module, part, nn.Parameter(torch.from_numpy(values)))
        self.requires_grad_(requires_grad=False)

    def forward(self, image: torch.Tensor, layers: set[str]) -> dict[str, torch.Tensor]:
        x = self.normalize(image)
        found: dict[str, torch.Tensor] = {}
        for name, module in zip(self.names, self.body, strict=True):
            x = module(x)
            if isinstance(module, nn.Conv2d):
                x = torch.relu(x)
            if name in layers:
                found[name] = x
            if len(found) == len(layers):
                break
        return found


def gram(features: torch.Tensor) -> torch.Tensor:
    """G = F Fᵀ, with F of shape (channels, positions)."""
    flat = features.flatten(2)[0]
    return flat @ flat.T


class Evaluation:
    """Loss and image gradient, against the targets of a style image and a content image."""

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        style_layers: tuple[str, ...],
        content_layer: str,
        style: np.ndarray,
        content: np.ndarray,
        *,
        channels_last: bool = False,
        compiled: bool = False,
        bf16: bool = False,
    ) -> None:
        network: Any = VGG16(weights)  # for mypy, which does not know memory_format
        self.bf16 = bf16
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.format)
        self.loss = torch.compile(self._loss) if compiled else self._loss
        self.layers = {*style_layers, content_layer}
        self.content_layer = content_layer
        with torch.no_grad():
            of_style = self.network(torch.from_numpy(style)[None], set(style_layers))
            self.grams = {name: gram(features) for name, features in of_style.items()}
            of_content = self.network(torch.from_numpy(content)[None], {content_layer})
            self.content = of_content[content_layer].clone()

    def __call__(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(image)[None].contiguous(memory_format=self.format).requires_grad_()
        loss = self.loss(x)
        loss.backward()
        assert x.grad is not None
        return float(loss.detach()), np.ascontiguousarray(x.grad[0].numpy())

    def _loss(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            features = self.network(x, self.layers)
        features = {name: value.float() for name, value in features.items()}
        loss = 0.5 * (features[self.content_layer] - self.content).square().sum()
        for name, target in self.grams.items():
            channels, height, width = features[name].shape[1:]
            scale = 1 / (4 * channels**2 * (height * width) ** 2)
            loss = loss + scale * (gram(features[name]) - target).square().sum()
        return loss
