"""Synthesizer: a network with its weights, loaded once, for any number of pictures."""

from __future__ import annotations

import copy
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth._closing import Closing
from fastsynth._errors import ObjectiveError, WeightsError
from fastsynth._numbers import plain
from fastsynth.network import Network, load_weights, open_network
from fastsynth.optimize import Adam, StopRules, make_optimizer
from fastsynth.render import Checkpoint, Refined, TraceWriter, coarse_to_fine, schedule
from fastsynth.render.refine import ENDING
from fastsynth.render.tiling import default_limit, parse_bytes
from fastsynth.synthesize.dreaming import dream
from fastsynth.synthesize.inversion import invert, mix
from fastsynth.synthesize.minimization import minimize
from fastsynth.synthesize.options import RunOptions, checked_time
from fastsynth.synthesize.record import describe_engine, identity
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.texture import synthesize_texture
from fastsynth.synthesize.transfer import style_transfer
from fastsynth.synthesize.visualization import visualize
from fastsynth.synthesize.zoom import dream_zoom

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth import _core
    from fastsynth.image import Kind
    from fastsynth.network import WeightSet
    from fastsynth.objective import Sum, Term
    from fastsynth.render import Level, LevelResult
    from fastsynth.render.refine import LevelPlan

    Pixels = NDArray[np.float32]

__all__ = ["Synthesizer"]

MAX_THREADS = 4096
PLATEAU_WINDOW = 10  # evaluations

logger = logging.getLogger("fastsynth")


class Synthesizer(Closing):
    """A network with its weights, loaded once; its methods are the verbs. Threads may share it.

    network: "vgg16" (default) or "vgg19".
    weights: "auto" (default: the best that are present), "oxford", "torchvision", "random[:seed]",
        or a file.
    download: fetch the weights when they are missing; default False.
    pooling: "max", "avg", or None (default): each verb's own choice.
    backend: "auto" (default), "native", "onnx" or "step" (docs/step.md).
    device: "auto" (default), "cpu", "cuda" or the name of an ONNX Runtime provider.
    precision: "exact" (default), "fast", "mixed" (fast on the way, exact in the end), or what the
        device offers: "tf32", "bf16", "fp16".
    threads: number of CPU threads; default all cores that the process may use.

    Raises WeightsError, NetworkError or DeviceError when what was asked for cannot be had.

    >>> with Synthesizer(weights="random:1") as synthesizer:
    ...     synthesizer.weights.id
    'random:1'
    """

    def __init__(
        self,
        network: str = "vgg16",
        weights: str | os.PathLike[str] = "auto",
        *,
        download: bool = False,
        pooling: str | None = None,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "exact",
        threads: int | None = None,
    ) -> None:
        started = time.monotonic()
        if pooling not in (None, "max", "avg"):
            raise ObjectiveError(f'pooling must be "max", "avg" or None, not {pooling!r}')
        if not isinstance(weights, (str, os.PathLike)):
            raise WeightsError(
                f"weights is a {type(weights).__name__}; "
                "expected a name such as 'oxford', or a path"
            )
        self.network = network
        self.pooling = pooling
        self.backend = backend
        self.device = device
        self.precision = precision
        self.pool = _checked_pool(threads)
        self.weights_spec = weights
        self._download = download
        self._lock = threading.Lock()
        self._weights: dict[str, WeightSet] = {}
        self._networks: dict[tuple[str, str], Network] = {}
        self._origin: Synthesizer | None = None
        self.weights = self.weights_of(network)
        self.open_seconds = time.monotonic() - started

    def weights_of(self, network: str) -> WeightSet:
        """The weights of a network, loaded on first use."""
        if network not in self._weights:
            self._weights[network] = load_weights(
                self.weights_spec, network, download=self._download
            )
        return self._weights[network]

    def open(self, name: str | None = None, pooling: str = "max") -> Network:
        """The network of a name (default: the synthesizer's own), opened on first use."""
        name = name or self.network
        pooling = self.pooling or pooling
        with self._lock:
            key = (name, pooling)
            if key not in self._networks and self._origin is not None:
                self._networks[key] = self._origin.open(name, pooling).with_pool(self.pool)
            elif key not in self._networks:
                self._networks[key] = open_network(
                    name,
                    self.weights_of(name),
                    pooling=pooling,
                    backend=self.backend,
                    device=self.device,
                    precision=self.precision,
                    pool=self.pool,
                )
            return self._networks[key]

    def with_threads(self, threads: int) -> Synthesizer:
        """Another Synthesizer on the same weights, held in memory once, with threads of its own.

        For several runs at a time: those of one Synthesizer share its threads. Close it before
        this one.
        """
        twin = copy.copy(self)
        twin.pool = _checked_pool(threads)
        twin._lock, twin._networks, twin._origin = threading.Lock(), {}, self
        return twin

    def close(self) -> None:
        """Releases the networks with their prepared weights; a later verb opens them anew."""
        with self._lock:
            for network in self._networks.values():
                network.close()
            self._networks.clear()

    def __repr__(self) -> str:
        return (
            f"Synthesizer(network={self.network!r}, weights={self.weights.id!r}, "
            f"threads={self.pool.threads})"
        )

    style_transfer = style_transfer
    synthesize_texture = synthesize_texture
    invert = invert
    mix = mix
    minimize = minimize
    dream = dream
    dream_zoom = dream_zoom
    visualize = visualize

    def synthesize(
        self,
        objective: Term | Sum,
        size: tuple[int, int],
        init: Callable[[int, int], Pixels],
        *,
        pooling: str,
        kind: Kind,
        job: dict[str, Any],
        alpha: NDArray[np.float32] | None = None,
        finish: Callable[[Pixels], Pixels] | None = None,
        margin: int = 0,
        levels: Sequence[Level] | None = None,
        refine: Callable[..., Refined] = coarse_to_fine,
        wrap: bool = False,
        optional: Sequence[Term] = (),
        **run: Unpack[RunOptions],
    ) -> Result:
        """Runs an objective coarse to fine; what all verbs end in.

        size: (height, width) of the picture; init: gives the first picture for a height and width.
        margin: pixels around the picture that are optimised and cut off, see Canvas.
        levels: sizes with their evaluations; default: the usual schedule.
        refine: what goes through the levels; default: coarse_to_fine.
        optional: terms that are left out where they cannot be had within the memory limit.
        wrap: the margin shows the picture continued cyclically instead, so that it can be tiled.
        finish: applied to the optimised pixels, such as the joining of colours.
        """
        from fastsynth import _core

        started = time.monotonic()
        unknown = [key for key in run if key not in RunOptions.__annotations__]
        if unknown:
            raise TypeError(f"unexpected keyword {unknown[0]!r}")
        levels = levels or schedule(
            *size,
            run.get("scales"),
            run.get("max_evaluations"),
            mixed=self.precision == "mixed",
        )
        chosen = run.get("optimizer", "auto")
        optimizer = chosen if chosen == "auto" else make_optimizer(chosen)
        memory_limit = limit_of(run.get("memory_limit"), self.open(None, pooling))
        rules = StopRules(plateau=plateau_rule(run.get("plateau", 0.01)))
        time_limit = checked_time(run.get("time_limit"))
        # The seed is not used here, but by the verb's `init`.
        callback = run.get("callback")
        if callback is not None and not callable(callback):
            raise ObjectiveError(f"callback must be a function, not {callback!r}")
        cancel = run.get("cancel")
        if cancel is not None and not isinstance(cancel, _core.Cancel):
            raise ObjectiveError(f"cancel must be a fastsynth.Cancel, not {cancel!r}")
        checkpoint = None
        if run.get("checkpoint") is not None:
            if refine is not coarse_to_fine:
                raise ObjectiveError(f"{job['verb']} is quick and has no checkpoints; leave it out")
            checkpoint = Checkpoint(
                run["checkpoint"],  # type: ignore[arg-type]
                identity(self, job, objective, levels, pooling),
                seconds=run.get("checkpoint_seconds", 30.0),
                resume=run.get("resume", True),
            )
        more: dict[str, Any] = {} if checkpoint is None else {"checkpoint": checkpoint}
        if getattr(refine, "func", refine) is coarse_to_fine:
            more["optional"] = optional
        bar = None
        with TraceWriter(run.get("trace"), verb=job.get("verb"), weights=self.weights.id) as trace:
            callback = trace.watching(callback)
            if run.get("progress"):
                from fastsynth.synthesize.progress import with_bar

                bar = callback = with_bar(callback)
            try:
                refined = refine(
                    objective,
                    levels,
                    init,
                    networks=lambda name: self.open(name, pooling),
                    pool=self.pool,
                    optimizer=optimizer,
                    rules=rules,
                    time_limit=time_limit,
                    callback=callback,
                    cancel=cancel,
                    margin=margin,
                    wrap=wrap,
                    memory_limit=memory_limit,
                    **more,
                )
            finally:
                if bar is not None:
                    bar.close()
            trace.end(refined.stopped, refined.levels)
        pixels = np.clip(refined.pixels, 0.0, 1.0)
        if finish is not None:
            pixels = np.clip(finish(pixels), 0.0, 1.0)
        seconds = time.monotonic() - started
        provenance = {
            **job,
            "engine": describe_engine(self, objective, pooling),
            "levels": [
                {
                    "width": item.level.width,
                    "height": item.level.height,
                    "evaluations": item.run.evaluations,
                    # Infinite where a run was cancelled before its first evaluation.
                    "loss": item.run.loss if math.isfinite(item.run.loss) else None,
                    "stopped": item.run.reason,
                    **({"rough": True} if item.level.rough else {}),
                    **how(plan),
                }
                for item, plan in zip_longest(refined.levels, refined.plans)
            ],
            # A run that was cut short is repeated by these numbers.
            "schedule": evaluations_done(levels, refined.levels),
        }
        return Result(
            pixels=np.ascontiguousarray(pixels, np.float32),
            alpha=alpha,
            kind=kind,
            levels=refined.levels,
            stopped=refined.stopped,
            seconds={
                "open": self.open_seconds,
                "levels": seconds,
                "total": self.open_seconds + seconds,
            },
            provenance=provenance,
            checkpoints=()
            if checkpoint is None or refined.stopped in ENDING
            else (checkpoint.path,),
        )


def _checked_pool(threads: Any) -> _core.ThreadPool:
    """A pool of so many threads; None: of all cores that the process may use."""
    from fastsynth import _core

    threads = plain(threads)
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and not (whole and 1 <= threads <= MAX_THREADS):
        raise ObjectiveError(f"threads must be from 1 to {MAX_THREADS}, not {threads!r}")
    return _core.ThreadPool(threads or 0)


def limit_of(value: int | str | None, network: Network) -> int | None:
    """Bytes that a run may take. By default the machine's, where the network computes on it."""
    limit = parse_bytes(value)
    return default_limit() if limit is None and network.device in ("auto", "cpu") else limit


def how(plan: LevelPlan | None) -> dict[str, Any]:
    """What a level's record says of its tiles, if there are any, and of what was left out."""
    if plan is None:
        return {}
    told: dict[str, Any] = {}
    if isinstance(plan.optimizer, Adam):
        told["optimizer"] = "Adam"
    if plan.tiling is not None and plan.tiling.canvas:
        told["tile"] = plan.tiling.inner
    if plan.left_out:
        told["left_out"] = list(plan.left_out)
    return told


def evaluations_done(levels: Sequence[Level], results: Sequence[LevelResult]) -> list[int]:
    """Evaluations at each level of the schedule; 0 for levels that were left out or not reached."""
    done = {result.index: result.run.evaluations for result in results}
    return [done.get(index, 0) for index in range(len(levels))]


def plateau_rule(drop: Any) -> tuple[int, float] | None:
    """The stop rule for the keyword `plateau`."""
    if not isinstance(drop, (int, float)) or not 0 <= drop < 1:
        raise ObjectiveError(f"plateau must be a share from 0 (never) to below 1, not {drop!r}")
    return (PLATEAU_WINDOW, float(drop)) if drop > 0 else None
