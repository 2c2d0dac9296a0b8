"""Alpha compositing: the Porter-Duff operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastsynth import _core
from fastsynth.compose.blend import (
    BLEND_MODES,
    Composition,
    compose_layers,
    origin,
    read_mask,
)
from fastsynth.compose.checks import check_choice, check_fraction, check_sizes
from fastsynth.compose.images import read

if TYPE_CHECKING:
    from fastsynth._types import ImageLike
    from fastsynth.image import ImageArray

__all__ = ["OPERATORS", "composite"]

OPERATORS: tuple[str, ...] = tuple(_core.porter_duff_operators())
"""The Porter-Duff operators by the names of the W3C's specification."""

# Two opaque layers give an opaque picture, except here.
_CUTTING = ("clear", "source-out", "destination-out", "xor")


def composite(
    source: ImageLike,
    backdrop: ImageLike,
    operator: str = "source-over",
    *,
    alpha: float = 1.0,
    mask: ImageLike | None = None,
    mode: str = "normal",
    linear: bool = False,
    threads: int | None = None,
) -> ImageArray:
    """The layer `source` composed with `backdrop` by a Porter-Duff operator, alpha and all.

        Cs' = (1 - αb) Cs + αb B(Cb, Cs)
        αo = αs Fs + αb Fb,   αo Co = αs Fs Cs' + αb Fb Cb

    after the W3C, "Compositing and Blending Level 1" (sections 9 and 10). αs is the source's own
    alpha times `alpha` times the mask. Fs and Fb are the operator's: clear, copy, destination,
    source-over, destination-over, source-in, destination-in, source-out, destination-out,
    source-atop, destination-atop, xor, lighter (the sum). B is the blend mode (see `blend`).

    source, backdrop: images of one size, without alpha taken as opaque. The result has the type of
        the source.
    operator: default "source-over"
    alpha: opacity of the source, 0 to 1; default 1
    mask: an image of the same size that makes the opacity a matter of the place
    mode, linear, threads: as for `blend`

    The result has an alpha channel where a layer has one, where alpha or mask make the source
    transparent and the operator shows it, and for operators that cut holes (clear, source-out,
    destination-out, xor). Colours are not multiplied by alpha, neither in nor out; what is fully
    transparent is black. Raises ImageError for sizes that differ, unknown operators or modes, and
    an alpha that is out of range.

    >>> import numpy as np
    >>> red = np.array([[[255, 0, 0, 128]]], np.uint8)
    >>> blue = np.array([[[0, 0, 255, 255]]], np.uint8)
    >>> composite(red, blue)[0, 0].tolist(), composite(red, blue, "xor")[0, 0].tolist()
    ([128, 0, 127, 255], [0, 0, 255, 127])
    """
    check_choice("operator", operator, OPERATORS)
    check_choice("mode", mode, BLEND_MODES)
    top = read(source, name="source", checked=False)
    bottom = read(backdrop, name="backdrop", checked=False)
    weights = None if mask is None else read_mask(mask, threads)
    check_sizes(
        source=top.values,
        backdrop=bottom.values,
        mask=None if weights is None else weights[0],
    )
    weight = check_fraction("alpha", alpha)
    translucent = top.alpha or weight < 1 or weights is not None
    opaque = not bottom.alpha and (
        operator in ("destination", "source-over", "destination-over", "source-atop", "lighter")
        or (not translucent and operator not in _CUTTING)
    )
    channels = min(3, max(top.channels, bottom.channels)) if opaque else 4
    values = compose_layers(
        {"source": top, "backdrop": bottom},
        channels,
        Composition(weight, mode, operator, bool(linear)),
        None if weights is None else weights[0],
        threads,
    )
    step: dict[str, Any] = {"step": "composite", "backdrop": origin(bottom), "operator": operator}
    step |= {"alpha": weight, "mode": mode}
    if weights is not None:
        step["mask"] = weights[1]
    if linear:
        step["linear"] = True
    return top.result(values, step)
