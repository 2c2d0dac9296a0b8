"""Pixel-based image models: filters (Eq. 1), geometry, blending (Eq. 2), colour, pencil sketch."""

from __future__ import annotations

__all__: list[str] = []
