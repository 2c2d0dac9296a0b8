"""From an objective to the engine: targets computed once, all layers tapped in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastsynth._closing import Closing
from fastsynth._errors import NetworkError, ObjectiveError
from fastsynth.image import resize
from fastsynth.objective.base import Canvas, Part, Request, Source, Sum, Term

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
        self, networks: Networks, pool: _core.ThreadPool, requests: Sequence[Request]
    ) -> None:
        self._networks = networks
        self._pool = pool
        self._layers: dict[Source, dict[str, None]] = {}
        for request in requests:
            self._layers.setdefault(request.source, {}).update(dict.fromkeys(request.layers))
        self._features: dict[Source, dict[str, NDArray[np.float32]]] = {}

    def features(self, request: Request) -> Mapping[str, NDArray[np.float32]]:
        """Activations (C, H, W) by layer."""
        found = self._features.get(request.source)
        if found is None:
            network = self._networks(request.network)
            layers = tuple(self._layers[request.source])
            check_layers(network, layers)
            inner = (request.height - 2 * request.margin, request.width - 2 * request.margin)
            pixels = with_margin(resize(opaque(request.picture), inner, clip=True), request.margin)
            found = network.features(pixels, layers)
            self._features[request.source] = found
        return found

    def bind(
        self, name: str | None, height: int, width: int, layers: Sequence[str]
    ) -> BoundNetwork:
        """A network of a term's own, for pictures of another size than the canvas."""
        network = self._networks(name)
        check_layers(network, layers)
        wanted = [layer for layer in network.layers if layer in layers]
        return network.bind(height, width, wanted)

    @property
    def pool(self) -> _core.ThreadPool:
        """The threads of the engine."""
        return self._pool

    def gram(self, request: Request, layer: str) -> NDArray[np.float64]:
        """Gram matrix F Fᵀ / M of a layer's activations."""
        from fastsynth import _core

        return _core.gram(self.features(request)[layer], self._pool).astype(np.float64)


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
    objective: Term | Sum, canvas: Canvas, networks: Networks, pool: _core.ThreadPool
) -> tuple[Part, ...]:
    """The parts of all terms, with their targets. Raises what `plan` raises."""
    terms = objective.terms()
    if not terms:
        raise ObjectiveError("the objective has no terms; add at least one, such as Content(image)")
    requests = [request for term in terms for request in term.requests(canvas)]
    sources = Sources(networks, pool, requests)
    return tuple(part for term in terms for part in term.parts(canvas, sources))


def plan(
    objective: Term | Sum,
    canvas: Canvas,
    networks: Networks,
    pool: _core.ThreadPool,
    parts: tuple[Part, ...] | None = None,
) -> Plan:
    """Computes the targets of all terms and binds them to networks of the canvas' size.

    networks: gives the network of a name; None is the synthesizer's own.
    parts: those of `find_parts`, where they are known.
    Raises ObjectiveError for an empty sum, NetworkError for layers that a network does not have.
    """
    from fastsynth import _core

    if parts is None:
        # The targets' features are not needed any more when the buffers of the canvas come.
        parts = find_parts(objective, canvas, networks, pool)
    held = tuple(network for part in parts for network in part.holds)
    names = list(dict.fromkeys(part.network for part in parts if part.layer is not None))
    bound: list[BoundNetwork] = []
    try:
        taps: list[list[str]] = []
        for name in names:
            network = networks(name)
            wanted = {part.layer for part in parts if part.network == name and part.layer}
            check_layers(network, tuple(wanted))
            taps.append([layer for layer in network.layers if layer in wanted])
            bound.append(network.bind(canvas.height, canvas.width, taps[-1]))
        wrap = canvas.margin if canvas.wrap else 0
        engine = _core.ImageObjective(
            [b.core for b in bound], canvas.height - 2 * wrap, canvas.width - 2 * wrap, pool, wrap
        )
        for part, label in zip(parts, unique_names(parts), strict=True):
            if isinstance(part.term, _core.ImageTerm):
                engine.add_image_term(part.term, part.weight, label)
            elif part.layer is None:
                raise ObjectiveError(f"the part {label} looks at features, but names no layer")
            else:
                index = names.index(part.network)
                tap = taps[index].index(part.layer)
                engine.add_layer_term(index, tap, part.term, part.weight, label)
    except BaseException:
        for network_bound in (*bound, *held):
            network_bound.close()
        raise
    return Plan(engine, parts, (*bound, *held))


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
