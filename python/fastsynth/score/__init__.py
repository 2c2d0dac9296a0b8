"""How good is it? Measures of textures and style transfers that need no trained model.

fs.score.texture("out.png", "exemplar.png").total             # 1 = another crop of the exemplar
fs.score.transfer("out.png", "photo.jpg", "painting.jpg").product
"""

from __future__ import annotations

from fastsynth.score.component import Component
from fastsynth.score.texture import TextureScore, texture
from fastsynth.score.transfer import TransferScore, transfer

__all__ = ["Component", "TextureScore", "TransferScore", "texture", "transfer"]
