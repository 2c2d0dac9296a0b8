"""From an objective to the engine: targets computed once, all layers tapped in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._closing import Closing
from fastsynth._errors import MemoryLimitError, NetworkError, ObjectiveError
from fastsynth.image import resize
from fastsynth.objective.base import (
    Canvas,
    ContentImages,
    OctaveParts,
    Part,
    Request,
    Source,
    Sum,
    Term,
)
from fastsynth.objective.scratch import open_scratch
from fastsynth.objective.tiles import (
    TiledFeatures,
    Tiling,
    grid_of,
    halo_of,
    strides_of,
    tile_statistics,
    too_large,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth.image import Picture
    from fastsynth.network import BoundNetwork, Network

    Networks = Callable[[str | None], Network]

__all__ = ["Plan", "Sources", "balanced_weights", "find_parts", "plan", "with_margin"]

# Layer weights set by balancing stay within this factor of one another (methods of random-weight
# networks: a layer whose gradient happens to be near zero on the first image would otherwise
# dominate).
BALANCE_LIMIT = 30.0


class Sources:
    """Features and Gram matrices of target images; each source passes through its network once."""

    def __init__(
        self,
        networks: Networks,
        pool: _core.ThreadPool,
        requests: Sequence[Request],
        tiling: Tiling | None = None,
    ) -> None:
        self._tiling = tiling
        self._tiled: dict[tuple[Source, int], dict[str, TiledFeatures]] = {}
        self._networks = networks
        self._pool = pool
        self._layers: dict[Source, dict[str, None]] = {}
        for request in requests:
            self._layers.setdefault(request.source, {}).update(dict.fromkeys(request.layers))
        self._features: dict[Source, dict[str, NDArray[np.float32]]] = {}

    def features(self, request: Request) -> Mapping[str, NDArray[np.float32]]:
        """Activations (C, H, W) by layer, of the whole picture."""
        found = self._features.get(request.source)
        if found is None:
            if self.tiles_canvas and self.is_tiled(request):
                raise too_large("a term", request.height, request.width)
            network = self._networks(request.network)
            layers = tuple(self._layers[request.source])
            check_layers(network, layers)
            pixels = with_margin(self.pixels(request), request.margin)
            found = network.features(pixels, layers)
            self._features[request.source] = found
        return found

    def gram(self, request: Request, layer: str) -> NDArray[np.float64]:
        """Gram matrix F Fᵀ / M of a layer's activations."""
        from fastsynth import _core

        if self.is_tiled(request):
            return self.tiled(request, layer)[0].moments()[1]
        return _core.gram(self.features(request)[layer], self._pool).astype(np.float64)

    def pixels(self, request: Request) -> NDArray[np.float32]:
        """The picture at the request's size, without its margin."""
        inner = (request.height - 2 * request.margin, request.width - 2 * request.margin)
        pixels = opaque(request.picture)
        # A resize to the same size would be a copy; these hold values in [0, 1] already.
        return pixels if pixels.shape[1:] == inner else resize(pixels, inner, clip=True)

    @property
    def tiles_canvas(self) -> bool:
        """Whether the canvas is seen tile by tile."""
        return self._tiling is not None and self._tiling.canvas

    def is_tiled(self, request: Request) -> bool:
        """Whether the request's picture is too large to be seen at once."""
        if self._tiling is None:
            return False
        _, halo = halo_of(self._networks(request.network).architecture, request.layers)
        return request.height * request.width > (self._tiling.inner + 2 * halo) ** 2

    def tiled(self, request: Request, layer: str, border: int = 0) -> tuple[TiledFeatures, int]:
        """Features of a tiled picture without `border` pixels on each side, and their stride."""
        assert self._tiling is not None
        network = self._networks(request.network)
        key = (request.source, border)
        if key not in self._tiled:
            layers = tuple(self._layers[request.source])
            check_layers(network, layers)
            pixels = with_margin(self.pixels(request), request.margin)
            inner, architecture = self._tiling.inner, network.architecture
            known = tile_statistics(network, pixels, layers, border, inner, self._pool)
            self._tiled[key] = {}
            for name, found in known.items():
                channels, rows, columns = architecture.shape(name, request.height, request.width)
                edge = border // architecture.scale(name)
                self._tiled[key][name] = TiledFeatures(
                    (channels, rows - 2 * edge, columns - 2 * edge),
                    network,
                    pixels,
                    name,
                    border,
                    inner,
                    self._pool,
                    found,
                )
        return self._tiled[key][layer], network.architecture.scale(layer)


@dataclass(eq=False)
class Plan(Closing):
    """An objective bound to networks and to one canvas.

    It holds the buffers: close it when its level is done.
    """

    objective: _core.ImageObjective
    parts: tuple[Part, ...]
    bound: tuple[BoundNetwork, ...]

    def balance(self, image: NDArray[np.float32]) -> None:
        """Sets the weights of balanced parts so that all pull equally at `image`.

        Equally: with the same norm of their gradients, up to the factor BALANCE_LIMIT.
        """
        if not any(part.balanced for part in self.parts):
            return
        norms = dict(enumerate(self.objective.gradient_norms(image)))
        for i, weight in balanced_weights(self.parts, norms).items():
            self.objective.set_weight(self.objective.names[i], weight)

    def close(self) -> None:
        """Releases the networks' buffers."""
        for network in self.bound:
            network.close()


def balanced_weights(parts: Sequence[Part], norms: Mapping[int, float]) -> dict[int, float]:
    """Weights of the balanced parts, by index, from the norms of their gradients."""
    chosen = [i for i, part in enumerate(parts) if part.balanced and norms[i] > 0]
    if not chosen:
        return {}
    typical = float(np.exp(np.mean([np.log(norms[i]) for i in chosen])))
    factors = {
        i: float(np.clip(typical / norms[i], 1 / BALANCE_LIMIT, BALANCE_LIMIT)) for i in chosen
    }
    mean = sum(factors.values()) / len(factors)
    return {i: parts[i].weight * factor / mean for i, factor in factors.items()}


def find_parts(
    objective: Term | Sum,
    canvas: Canvas,
    networks: Networks,
    pool: _core.ThreadPool,
    tiling: Tiling | None = None,
) -> tuple[Part, ...]:
    """The parts of all terms, with their targets. Raises what `plan` raises."""
    terms = objective.terms()
    if not terms:
        raise ObjectiveError("the objective has no terms; add at least one, such as Content(image)")
    requests = [request for term in terms for request in term.requests(canvas)]
    sources = Sources(networks, pool, requests, tiling)
    return tuple(part for term in terms for part in term.parts(canvas, sources))


def plan(
    objective: Term | Sum,
    canvas: Canvas,
    networks: Networks,
    pool: _core.ThreadPool,
    tiling: Tiling | None = None,
    *,
    parts: tuple[Part, ...] | None = None,
) -> Plan:
    """Computes the targets of all terms and binds them to networks of the canvas' size.

    networks: gives the network of a name; None is the synthesizer's own.
    tiling: how large pictures are seen tile by tile; default: at once.
    parts: those of `find_parts`, where they are known.
    Raises ObjectiveError for an empty sum, MemoryLimitError for terms that cannot be tiled where
    they must be, NetworkError for layers that a network does not have.
    """

    if parts is None:
        # The targets' features are not needed any more when the buffers of the canvas come.
        parts = find_parts(objective, canvas, networks, pool, tiling)
    labels = unique_names(parts)
    if tiling is not None and tiling.canvas:
        check_tileable(parts, labels, canvas)
    bound: list[BoundNetwork] = []
    try:
        engine, taps = connect(parts, canvas, networks, pool, tiling, bound)
        for part, label in zip(parts, labels, strict=True):
            if isinstance(part.term, OctaveParts):
                octave = octave_term(part, networks, pool, bound)
                engine.add_image_term(octave, part.weight, label)
            else:
                scratch = scratch_of(part, canvas, networks, tiling)
                add_part(engine, part, label, taps, scratch, tiling)
    except BaseException:
        for network in bound:
            network.close()
        raise
    return Plan(engine, parts, tuple(bound))


def connect(  # noqa: PLR0917
    parts: Sequence[Part],
    canvas: Canvas,
    networks: Networks,
    pool: _core.ThreadPool,
    tiling: Tiling | None,
    bound: list[BoundNetwork],
) -> tuple[_core.ImageObjective, dict[str | None, list[str]]]:
    """The engine's objective without its parts, and each network's taps; `bound` is filled."""
    from fastsynth import _core

    taps: dict[str | None, list[str]] = {}
    grids: list[tuple[_core.Network, _core.TileGrid, list[int]]] = []
    for name in dict.fromkeys(part.network for part in parts if part.layer is not None):
        network = networks(name)
        wanted = {part.layer for part in parts if part.network == name and part.layer}
        check_layers(network, tuple(wanted))
        taps[name] = [layer for layer in network.layers if layer in wanted]
        if tiling is None or not tiling.canvas:
            bound.append(network.bind(canvas.height, canvas.width, taps[name]))
            continue
        chain = network.architecture
        grid = grid_of(chain, wanted, canvas.height, canvas.width, tiling.inner)
        bound.append(network.bind(grid.tile_height, grid.tile_width, taps[name]))
        grids.append((bound[-1].core, grid, strides_of(chain, taps[name])))
    wrap = canvas.margin if canvas.wrap else 0
    size = (canvas.height - 2 * wrap, canvas.width - 2 * wrap)
    if grids:
        return _core.TiledObjective(grids, *size, pool, wrap), taps
    return _core.ImageObjective([b.core for b in bound], *size, pool, wrap), taps


def octave_term(
    part: Part, networks: Networks, pool: _core.ThreadPool, bound: list[BoundNetwork]
) -> _core.ImageTerm:
    """The engine's term for parts that see an octave; its network joins `bound`."""
    from fastsynth import _core

    octave = part.term
    assert isinstance(octave, OctaveParts)
    network = networks(part.network)
    layers = [inner.layer for inner in octave.parts]
    check_layers(network, [layer for layer in layers if layer])
    taps = [layer for layer in network.layers if layer in layers]
    bound.append(network.bind(octave.height, octave.width, taps))
    size = (octave.height, octave.width)
    engine = _core.ImageObjective([bound[-1].core], *size, pool)
    for inner in octave.parts:
        add_part(engine, inner, inner.name, {part.network: taps}, None, None)
    return _core.OctaveTerm(engine, octave.octaves)


def scratch_of(
    part: Part, canvas: Canvas, networks: Networks, tiling: Tiling | None
) -> _core.ScratchFile | None:
    """A file for features of content that are not kept in memory, where there is room for it."""
    if tiling is None or tiling.keep_targets or not isinstance(part.term, ContentImages):
        return None
    assert part.layer is not None
    architecture = networks(part.network).architecture
    return open_scratch(4 * math.prod(architecture.shape(part.layer, canvas.height, canvas.width)))


def add_part(  # noqa: PLR0917
    engine: _core.ImageObjective,
    part: Part,
    label: str,
    taps: Mapping[str | None, list[str]],
    scratch: _core.ScratchFile | None,
    tiling: Tiling | None,
) -> None:
    """Adds one part to the engine's objective."""
    from fastsynth import _core

    if isinstance(part.term, _core.ImageTerm):
        engine.add_image_term(part.term, part.weight, label)
        return
    if part.layer is None:
        raise ObjectiveError(f"the part {label} looks at features, but names no layer")
    index = list(taps).index(part.network)
    tap = taps[part.network].index(part.layer)
    if isinstance(part.term, ContentImages):
        assert isinstance(engine, _core.TiledObjective)
        assert tiling is not None
        target = part.term
        keep = tiling.keep_targets
        engine.add_content(
            index, tap, target.images, target.normalization, keep, part.weight, label, scratch
        )
    else:
        assert isinstance(part.term, _core.LayerTerm)
        engine.add_layer_term(index, tap, part.term, part.weight, label)


def check_tileable(parts: Sequence[Part], labels: Sequence[str], canvas: Canvas) -> None:
    """Raises MemoryLimitError for a part that needs its whole layer at once."""
    from fastsynth import _core

    for part, label in zip(parts, labels, strict=True):
        if isinstance(part.term, _core.LayerTerm) and not part.term.is_tileable:
            raise MemoryLimitError(
                f"{label} needs the whole picture of {canvas.width} × {canvas.height} pixels at "
                "once, which does not fit the memory limit; leave it out (long_range='off'), take "
                "statistics that can be tiled (gram, mean_covariance, bn_statistics, mmd_linear, "
                "mmd_polynomial), give a smaller size, or raise memory_limit"
            )


def opaque(picture: Picture) -> NDArray[np.float32]:
    """The pixels, with transparent places filled by the mean colour of the visible ones."""
    alpha = picture.alpha
    if alpha is None or alpha.min() >= 1 or alpha.max() <= 0:
        return picture.pixels
    mean = (picture.pixels * alpha).sum((1, 2)) / alpha.sum()
    return np.asarray(
        mean[:, None, None] + alpha * (picture.pixels - mean[:, None, None]), np.float32
    )


def with_margin(pixels: NDArray[np.float32], margin: int) -> NDArray[np.float32]:
    """Planes (C, H, W), continued by reflection over `margin` pixels on each side."""
    if margin == 0:
        return pixels
    return np.pad(pixels, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")


def check_layers(network: Network, layers: Sequence[str]) -> None:
    """Raises NetworkError for a layer that the network does not have."""
    unknown = [layer for layer in layers if layer not in network.layers]
    if unknown:
        raise NetworkError(
            f"{network.describe()} has no layer {unknown[0]!r}; "
            f"its layers are {', '.join(network.layers)}"
        )


def unique_names(parts: Sequence[Part]) -> list[str]:
    """Names of the parts; the second of a name gets " #2" and so on."""
    seen: dict[str, int] = {}
    names = []
    for part in parts:
        name = f"{part.network}:{part.name}" if part.network else part.name
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names
