"""How much memory a level takes, and how its pictures are tiled so that it fits a limit."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth import _core
from fastsynth._errors import FastsynthError, MemoryLimitError, ObjectiveError
from fastsynth.network.session import CPU
from fastsynth.network.winograd import suits
from fastsynth.objective import Canvas, Content, Sum, Term
from fastsynth.objective.plan import check_layers
from fastsynth.objective.scratch import has_room
from fastsynth.objective.tiles import Tiling, grid_of, halo_of
from fastsynth.optimize import LBFGS, Adam, GradientDescent, Optimizer
from fastsynth.render.schedule import Level

if TYPE_CHECKING:
    from fastsynth.network import Network
    from fastsynth.objective.plan import Networks

__all__ = ["MemoryPlan", "counts_alone", "default_limit", "parse_bytes", "plan_memory"]

# Bytes of the interpreter with NumPy, Pillow and the core; of ONNX Runtime and its graphs.
INTERPRETER = 90 << 20
ONNX_RUNTIME = 30 << 20
# Pixels along a side that tiles own, best first where all fit: larger ones share their halos out
# further, but gain little beyond these.
INNER = (1024, 768, 512, 384, 256, 192, 128, 64, 32, 16)
# What the count of a run's buffers misses: pages in part used, the allocator's leavings (1 % seen
# at 4096²).
ALLOWANCE = 0.06
# Items that a process has for all runs, or for others; the allowance is not for these.
KNOWN = ("interpreter", "weights", "others")
BAND = 2 * (8 << 20)  # copies of the positions that terms see at a time
# Work of tiles without their halos; what content features add that come from a file, or are
# computed anew.
AGAIN, FROM_FILE, ANEW = 1.17, 0.08, 0.4
FEW_TILES = 12  # of 4 × 4 positions: NativeWeights::few_tiles
ADAM_ABOVE = 16_000_000  # pixels, for optimizer="auto"
SHARE = 0.8  # of the machine's memory, where no limit is given
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


# Set by whoever answers for the memory of several runs at a time: none counts that of the others,
# so that its tiles are the same as if it were alone.
counts_alone: ContextVar[bool] = ContextVar("counts_alone", default=False)


@dataclass(frozen=True)
class MemoryPlan:
    """What a level is expected to take, and how it is done.

    tiling: how large pictures are seen; None: all at once
    optimizer: what `optimizer` stands for at this level
    bytes: the peak of the process
    passes: work of an evaluation, in those of the canvas seen at once
    items: what it is made of, in bytes by name
    """

    tiling: Tiling | None
    optimizer: Optimizer
    bytes: int
    passes: float
    items: Mapping[str, int] = field(repr=False)

    @property
    def own(self) -> int:
        """Bytes of this run alone: without what the process has for all runs, or for others."""
        return self.bytes - sum(self.items[name] for name in KNOWN)


def parse_bytes(value: int | str | None) -> int | None:
    """A number of bytes from 4294967296, "4GiB", "4 GB", "512MiB"; None stays None.

    Raises ObjectiveError for anything else.

    >>> parse_bytes("4GiB"), parse_bytes("1.5 GB")
    (4294967296, 1500000000)
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", value, re.IGNORECASE)
        if match is not None:
            unit = (match[2] or "").lower()
            found = float(match[1]) * {**UNITS, **BINARY}[unit]
            if 1 <= found < math.inf:
                return int(found)
    raise ObjectiveError(
        f'memory_limit must be a number of bytes or a text such as "4GiB", not {value!r}'
    )


@cache
def default_limit() -> int | None:
    """Four fifths of the machine's memory, or of what its container has; None if unknown.

    The same for every run on a machine, whatever else it does: the choice of tiles follows it.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        # There may be none, or it says "max".
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(name).read_text(encoding="ascii")))
    return int(SHARE * total)


def plan_memory(
    objective: Term | Sum,
    level: Level,
    canvas: Canvas,
    networks: Networks,
    *,
    optimizer: str | Optimizer,
    limit: int | None,
    held: int = 0,
) -> MemoryPlan:
    """The quickest way to do a level within `limit` bytes.

    optimizer: "auto" takes L-BFGS up to 16 megapixels where it fits, and Adam else.
    limit: of the process' peak; None: all at once.
    held: bytes that the process holds besides what is known here.
    Raises MemoryLimitError where nothing fits: it names sizes and optimisers that would.
    """
    load = _Load(objective, canvas, networks, level.evaluations, held)
    plans = [load.plan(choice, limit) for choice in choices(optimizer, canvas)]
    for plan in plans:
        if limit is None or plan.bytes <= limit:
            return plan
    assert limit is not None
    raise too_little(load, level, optimizer, limit, min(plan.bytes for plan in plans))


def choices(optimizer: str | Optimizer, canvas: Canvas) -> list[Optimizer]:
    """The optimisers that a level may use, best first."""
    if optimizer != "auto":
        assert not isinstance(optimizer, str)
        return [optimizer]
    if canvas.height * canvas.width > ADAM_ABOVE:
        return [Adam()]
    return [LBFGS(), Adam()]


def vectors(optimizer: Optimizer, evaluations: int, *, steps: bool = False) -> int:
    """How many vectors of the canvas' size a run holds: the optimiser's, the picture, the best.

    steps: of a step graph, whose state has two places; the history has one, all of it from the
        start, and there are some vectors on the way.
    """
    if steps and isinstance(optimizer, LBFGS):
        return 2 * optimizer.memory + 2 + 2 * 5 + 6
    if steps and isinstance(optimizer, Adam):
        return 2 * (4 + (optimizer.average > 0)) + 4
    if isinstance(optimizer, LBFGS):
        return 6 + 2 * min(optimizer.memory, evaluations)
    if isinstance(optimizer, Adam):
        return 5 + (optimizer.average > 0)
    if isinstance(optimizer, GradientDescent):
        return 3 + (optimizer.momentum > 0)
    return 8  # Ascent: gradient bands and their scratch


def foreign_bytes(objective: Term | Sum, networks: Networks, canvas: Canvas) -> int:
    """Memory that the process holds and `plan_memory` does not know of, in steps of 64 MiB.

    An application may hold much besides; a process that runs nothing else gets 0, so that its
    choice of tiles is the same each time. 0 also where `counts_alone`.
    """
    if counts_alone.get():
        return 0
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # only Linux tells
        return 0
    load = _Load(objective, canvas, networks, 1, 0)
    weights = sum(weights_bytes(networks(n), taps, canvas) for n, taps in load.taps.items())
    # The caller may hold the bytes that the pictures were made from, and a first picture.
    pictures = 2 * load.pictures_bytes() + load.image
    beyond = resident - (INTERPRETER + ONNX_RUNTIME + weights + pictures)
    step = 64 << 20
    return -(-beyond // step) * step if beyond > 0 else 0


class _Load:
    """What a level holds, apart from how it is tiled."""

    def __init__(
        self,
        objective: Term | Sum,
        canvas: Canvas,
        networks: Networks,
        evaluations: int,
        held: int,
    ) -> None:
        self.objective, self.canvas, self.evaluations = objective, canvas, evaluations
        self.networks, self.held = networks, held
        terms = objective.terms()
        self.taps: dict[str | None, list[str]] = {}
        for term in terms:
            for layer in layers_of(term):
                self.taps.setdefault(getattr(term, "network", None), []).append(layer)
        for name, layers in self.taps.items():
            check_layers(networks(name), layers)
        self.requests = [request for term in terms for request in term.requests(canvas)]
        self.untileable = [type(term).__name__ for term in terms if not term.is_tileable]
        # Sums over positions take the features piece by piece, other statistics all at once.
        self.is_by_sums = all(term.is_tileable for term in terms)
        self.contents = [term for term in terms if isinstance(term, Content)]
        # Targets of features themselves; statistics of all others can be gathered over tiles.
        self.content_sources = {r.source for t in self.contents for r in t.requests(canvas)}
        self.whole_sources = {
            r.source for t in terms if not t.is_tileable for r in t.requests(canvas)
        }
        self.image = 12 * canvas.height * canvas.width

    def at(self, canvas: Canvas) -> _Load:
        """The same at another size."""
        return _Load(self.objective, canvas, self.networks, self.evaluations, self.held)

    def plan(self, optimizer: Optimizer, limit: int | None) -> MemoryPlan:
        """The quickest plan that fits; where none does, the smallest."""
        whole = self.plan_for(None, optimizer)
        if limit is None or whole.bytes <= limit or not self.taps:
            return whole
        plans = []
        for tiling in self.tilings():
            plan = self.plan_for(tiling, optimizer)
            plans.append((self.cost(tiling), plan))
        fitting = [(cost, plan) for cost, plan in plans if plan.bytes <= limit]
        if fitting:
            return min(fitting, key=lambda pair: pair[0])[1]
        return min((plan for _, plan in plans), key=lambda plan: plan.bytes)

    def tilings(self) -> Iterable[Tiling]:
        for inner in INNER:
            yield Tiling(inner, canvas=False)
            if self.untileable:
                continue
            yield Tiling(inner)
            if self.contents:
                yield Tiling(inner, keep_targets=False)

    def cost(self, tiling: Tiling) -> float:
        """Work of an evaluation, in that of the canvas seen at once."""
        if not tiling.canvas:
            return 1.0
        halo = max(
            halo_of(self.networks(name).architecture, layers)[1]
            for name, layers in self.taps.items()
        )
        # Seen with VGG16: the second forward pass takes a sixth of an evaluation, for the sums are
        # gathered once; reading from a file little, a pass over the content a third. Whether there
        # is room for the file does not change the choice: it would change the last digits.
        once = AGAIN + (0.0 if tiling.keep_targets else FROM_FILE)
        return float(once * (1 + 2 * halo / tiling.inner) ** 2)

    def passes(self, tiling: Tiling) -> float:
        """The same where there may be no room for a scratch file."""
        if not tiling.canvas or tiling.keep_targets:
            return self.cost(tiling)
        size = sum(
            feature_bytes(
                self.networks(term.network), [layer], self.canvas.height, self.canvas.width
            )
            for term in self.contents
            for layer in layers_of(term)
        )
        share = 1.0 if has_room(size) else (AGAIN + ANEW) / (AGAIN + FROM_FILE)
        return share * self.cost(tiling)

    def plan_for(self, tiling: Tiling | None, optimizer: Optimizer) -> MemoryPlan:
        items = {
            "interpreter": INTERPRETER + ONNX_RUNTIME * self.runs_onnx(),
            "weights": sum(
                weights_bytes(self.networks(n), taps, self.canvas) for n, taps in self.taps.items()
            ),
            "pictures": self.pictures_bytes(),
            "others": self.held,
        }
        running = {
            "optimizer": self.image * vectors(optimizer, self.evaluations, steps=self.runs_steps()),
            "targets": self.target_bytes(tiling),
            "network": self.network_bytes(tiling),
        }
        before = {"first picture": self.image, "target features": self.source_bytes(tiling)}
        # First the targets are computed, then the level runs.
        most = max(running, before, key=lambda part: sum(part.values()))
        items.update(most)
        known = sum(items[name] for name in KNOWN)
        items["allowance"] = int(ALLOWANCE * (sum(items.values()) - known))
        passes = 1.0 if tiling is None else self.passes(tiling)
        return MemoryPlan(tiling, optimizer, sum(items.values()), passes, items)

    def runs_steps(self) -> bool:
        """Whether levels are step graphs."""
        return any(self.networks(name).backend == "step" for name in self.taps)

    def runs_onnx(self) -> bool:
        """Whether ONNX Runtime is in the process."""
        return any(self.networks(name).backend != "native" for name in self.taps)

    def pictures_bytes(self) -> int:
        """The target pictures, as they were loaded."""
        return sum({id(r.picture): r.picture.pixels.nbytes for r in self.requests}.values())

    def target_bytes(self, tiling: Tiling | None) -> int:
        """Content features, and the pictures that they are computed from."""
        total = 0
        tiled = tiling is not None and tiling.canvas
        for term in self.contents:
            network = self.networks(term.network)
            for layer in layers_of(term):
                if tiling is None or tiling.keep_targets:
                    total += feature_bytes(network, [layer], self.canvas.height, self.canvas.width)
            if tiled:
                for request in term.requests(self.canvas):
                    inner = (
                        request.height - 2 * request.margin,
                        request.width - 2 * request.margin,
                    )
                    if request.picture.pixels.shape[1:] != inner:
                        total += 12 * inner[0] * inner[1]
        return total

    def network_bytes(self, tiling: Tiling | None) -> int:
        """Bound networks, and what terms need beside them."""
        total = 0
        for name, taps in self.taps.items():
            network = self.networks(name)
            height, width = self.canvas.height, self.canvas.width
            if tiling is not None and tiling.canvas:
                grid = grid_of(network.architecture, taps, height, width, tiling.inner)
                height, width = grid.tile_height, grid.tile_width
                total += 2 * 12 * height * width + BAND
                if not tiling.keep_targets:
                    layers = [layer for term in self.contents for layer in layers_of(term)]
                    total += feature_bytes(network, layers, height, width)
            else:
                # Windows without the margin: copies of the deeper layers.
                deep = [tap for tap in taps if network.architecture.scale(tap) >= 4]
                total += 2 * feature_bytes(network, deep[:1], height, width)
            total += network.bound_bytes(height, width, taps)
        return total

    def source_bytes(self, tiling: Tiling | None) -> int:
        """The pass over the largest target picture, and the features of all that are kept."""
        kept, largest = 0, 0
        for source, requests in grouped(self.requests).items():
            network = self.networks(requests[0].network)
            layers = tuple(dict.fromkeys(layer for r in requests for layer in r.layers))
            _, height, width, _, _ = source
            pixels = 2 * 12 * height * width
            content = source in self.content_sources
            if tiling is not None and tiling.canvas and content:
                continue  # computed in place
            _, halo = halo_of(network.architecture, layers)
            at_once = content or source in self.whole_sources
            large = tiling is not None and height * width > (tiling.inner + 2 * halo) ** 2
            if tiling is not None and large and not at_once:
                grid = grid_of(network.architecture, layers, height, width, tiling.inner)
                size = (grid.tile_height, grid.tile_width)
                need = network.bound_bytes(*size, layers) + BAND
            else:
                need = network.bound_bytes(height, width, layers, gradient=False)
                kept += feature_bytes(network, layers, height, width)
                if not self.is_by_sums:  # after the pass, in float64
                    widest = max(feature_bytes(network, [x], height, width) for x in layers)
                    need = max(need, 2 * widest)
            largest = max(largest, pixels + need)
        return kept + largest


def grouped(requests: Iterable[Any]) -> dict[Any, list[Any]]:
    """Requests by source."""
    groups: dict[Any, list[Any]] = {}
    for request in requests:
        groups.setdefault(request.source, []).append(request)
    return groups


def layers_of(term: Term) -> tuple[str, ...]:
    """The layers that a term looks at; none for one that looks at pixels."""
    layers = getattr(term, "layers", None) or getattr(term, "layer", None) or ()
    return (layers,) if isinstance(layers, str) else tuple(layers)


def feature_bytes(network: Network, layers: Iterable[str], height: int, width: int) -> int:
    """Features of layers."""
    total = 0
    for layer in set(layers):
        channels, rows, columns = network.architecture.shape(layer, height, width)
        total += 4 * channels * rows * columns
    return total


def weights_bytes(network: Network, layers: Iterable[str], canvas: Canvas) -> int:
    """All weights as they were loaded, and those up to the deepest layer as they are used."""
    chain = network.architecture
    deepest = max(layers, key=chain.names.index)
    # Mixed precision holds the fast form beside the exact one: half of it in bfloat16, or F(6×6).
    forms = 1.0
    if network.precision == "mixed":
        forms += 0.5 if _core.has_bf16() else 1.8
    total = 0
    for place, layer in enumerate(chain.layers):
        plain = 36 * layer.in_channels * layer.out_channels
        total += plain if layer.name in network.layers else 0
        if 0 < place <= chain.names.index(deepest) and network.backend == "native":
            # Winograd's form takes four times the memory; kernels of small maps, and large ones of
            # the gradient, are kept as they are.
            _, height, width = chain.shape(layer.name, canvas.height, canvas.width)
            if -(-height // 4) * -(-width // 4) <= FEW_TILES:
                total += 2 * plain
            else:
                once = 4 * plain + (4 * plain if 4 * plain <= 16 << 20 else plain)
                total += int(forms * once)
        elif network.provider == CPU and layer.name in network.layers:
            # Winograd's form of 16 numbers for 9, made of every layer when the network is opened.
            total += 16 * plain // 9 if suits(layer.in_channels, layer.out_channels) else 0
    return total


def too_little(
    load: _Load, level: Level, optimizer: str | Optimizer, limit: int, least: int
) -> MemoryLimitError:
    """The error that says what would fit."""
    canvas, margin = load.canvas, load.canvas.margin
    ways = []
    if optimizer != "auto":
        for name, other in (("adam", Adam()), ("gd", GradientDescent(step=0.01))):
            if load.plan(other, limit).bytes <= limit:
                ways.append(f"optimizer={name!r}")
                break
    for choice in choices(optimizer, canvas):
        low, high = 0, max(level.height, level.width)
        while high - low > max(16, high // 32):
            middle = (low + high) // 2
            factor = middle / max(level.height, level.width)
            smaller = Canvas(
                max(1, round(level.height * factor)) + 2 * margin,
                max(1, round(level.width * factor)) + 2 * margin,
                canvas.shrink,
                margin,
                canvas.wrap,
            )
            try:
                fits = load.at(smaller).plan(choice, limit).bytes <= limit
            except FastsynthError:  # too small for the deepest layer
                fits = False
            low, high = (middle, high) if fits else (low, middle)
        if low >= 32:
            ways.append(f"size={low // 16 * 16} (longer side) with {type(choice).__name__}")
    if load.untileable and any(t.is_tileable and layers_of(t) for t in load.objective.terms()):
        names = ", ".join(dict.fromkeys(load.untileable))
        ways.append(f"a sum without {names}, which must see all of a picture at once")
    ways.append(f'memory_limit="{-(-least // (1 << 28)) / 4:g}GiB" or more')
    return MemoryLimitError(
        f"{level.width} × {level.height} pixels need about {least / (1 << 30):.2f} GiB; the limit "
        f"is {limit / (1 << 30):.2f} GiB. What would fit: " + "; ".join(ways)
    )
