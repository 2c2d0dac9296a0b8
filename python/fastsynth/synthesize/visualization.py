"""Feature visualisation: the picture that a channel answers to most, found from noise.

Olah, Mordvintsev and Schubert, "Feature Visualization", 2017, with the parameters of their library
Lucid.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsynth import _core
from fastsynth._errors import DivergenceError, ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import DEFAULT_KIND, fit_size
from fastsynth.objective import Activation, Canvas, plan
from fastsynth.objective.activation import Channels, Neuron
from fastsynth.optimize import Adam, StopRules, run
from fastsynth.render import Level, LevelResult, Progress, Refined
from fastsynth.render.tiling import plan_memory
from fastsynth.synthesize.dreaming import FOREIGN, check_channels, default_layer, number
from fastsynth.synthesize.record import record
from fastsynth.synthesize.spectrum import Spectrum
from fastsynth.synthesize.verbs import run_options
from fastsynth.synthesize.warp import Warp

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from fastsynth._types import Size
    from fastsynth.objective import Plan, Sum, Term
    from fastsynth.objective.plan import Networks
    from fastsynth.optimize import Progress as StepProgress
    from fastsynth.synthesize.options import Options
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

    Floats = NDArray[np.float32]

__all__ = ["visualize"]

SIDE = 224  # px
ITERATIONS = 128
LEARNING_RATE = 0.05
# Lucid's transforms: a shift of up to 8 px before and 4 px after a change of scale and a rotation
# drawn from these.
SHIFT = 12
SCALES = tuple(1 + (i - 5) / 50 for i in range(11))
DEGREES = (*range(-10, 11), 0, 0, 0, 0, 0)
DEVIATION = 0.01  # of the first coefficients
AWAKE = 0.25  # of the picture must have a gradient in the first noise
DOUBLINGS = 8  # of this deviation, where the first picture leaves the channel silent


@plain_arguments
def visualize(
    self: Synthesizer,
    layer: str | None = None,
    channel: Channels = None,
    *,
    neuron: Neuron = None,
    iterations: int = ITERATIONS,
    learning_rate: float = LEARNING_RATE,
    transforms: bool = True,
    size: Size = SIDE,
    **options: Unpack[Options],
) -> Result:
    """Finds from noise the picture that a layer, channel or neuron answers to most.

    layer: name; default as of `dream`.
    channel: number of one channel, {number: weight, ...} for a direction, or None (default) for the
        whole layer's ½‖a‖².
    neuron: one position instead of the mean over all: "center" or (down, across) as shares.
    iterations: steps of Adam; default 128, more for deep layers, fewer for softer
        pictures of shallow ones. learning_rate: default 0.05.
    transforms: True (default) shifts, scales and turns the picture a little at random before each
        step, so that only what survives this is found; it leaves out what is noise to the eye.
    size: side or longer side in pixels, or (width, height); default 224.
    options: see RunOptions, without optimizer, scales and plateau; in the one-call form
        EngineOptions too.

    The picture is the sigmoid of Fourier coefficients of decorrelated colours, which Adam moves.
    The parameters are Lucid's, with these differences: shift (12 px), scale (0.9 to 1.1) and
    rotation (10°) are one bilinear resampling at the picture's size, what comes in from outside is
    grey; and gradients of ReLUs are not overridden: a channel that is silent at first is woken by
    more contrast in the first noise.

    Returns a Result (uint8). The loss is minus the activation.
    Raises ObjectiveError for a channel that stays silent, WeightsError, NetworkError, DeviceError,
    DivergenceError.

    >>> from fastsynth import Synthesizer
    >>> with Synthesizer(weights="random:0") as synthesizer:
    ...     result = synthesizer.visualize("conv2_1", 3, size=32, iterations=3)
    >>> result.array.shape, result.losses["activation/conv2_1"].shape
    ((32, 32, 3), (3,))
    """
    arguments = dict(locals())
    settings = run_options(options, "visualize")
    foreign = [key for key in FOREIGN if settings.get(key) is not None]
    if foreign:
        raise ObjectiveError(
            f"visualize has no {foreign[0]}: it is Adam at one size, set by iterations and "
            "learning_rate"
        )
    if not isinstance(transforms, bool):
        raise ObjectiveError(f"transforms must be True or False, not {transforms!r}")
    chosen = default_layer(self.weights) if layer is None else layer
    if not isinstance(chosen, str):
        raise ObjectiveError(f'layer must be one name such as "conv4_3", not {layer!r}')
    steps = steps_of(iterations, settings.get("max_evaluations"))
    if not number(learning_rate, 0, math.inf):
        raise ObjectiveError(f"learning_rate must be a positive number, not {learning_rate!r}")
    adam = Adam(learning_rate=learning_rate, betas=(0.9, 0.999))
    measure: Any = "energy" if channel is None else "sum" if neuron is not None else "mean"
    term = Activation(chosen, channel, neuron, measure)
    check_channels(self.network, term)
    height, width = fit_size(SIDE if size is None else size, (1, 1))
    level = Level(height, width, steps)
    return self.synthesize(
        term,
        (height, width),
        lambda rows, columns: np.zeros((3, rows, columns), np.float32),
        pooling="max",
        kind=DEFAULT_KIND,
        job=record("visualize", arguments, layer=chosen),
        levels=(level,),
        refine=functools.partial(
            ascend,
            adam=adam,
            transforms=transforms,
            whole=neuron is None,
            seed=settings.get("seed", 0),
        ),
        **settings,
    )


def steps_of(iterations: Any, max_evaluations: int | Sequence[int] | None) -> int:
    """The number of steps; max_evaluations, a number or [number], goes before iterations."""
    steps: Any = iterations if max_evaluations is None else max_evaluations
    if isinstance(steps, Sequence) and not isinstance(steps, str) and len(steps) == 1:
        steps = steps[0]
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= 10**9:
        raise ObjectiveError(f"iterations must be a whole number from 1 to 10^9, not {steps!r}")
    return steps


@dataclass(eq=False)
class _Canvas:
    """The engine's objective as a function of Fourier coefficients."""

    bound: Plan
    spectrum: Spectrum
    transforms: np.random.Generator | None

    def evaluate(self, z: Floats) -> tuple[float, Floats]:
        """Value and gradient, the picture seen through the next random transform."""
        picture = self.spectrum.decode(z.reshape(self.spectrum.shape))
        warp = self._warp()
        seen = picture if warp is None else warp.apply(picture)
        value, gradient = self.bound.objective.evaluate(np.ascontiguousarray(seen))
        if warp is not None:
            gradient = warp.adjoint(gradient)
        return value, self.spectrum.pull(picture, gradient).reshape(z.shape)

    def _warp(self) -> Warp | None:
        rng = self.transforms
        if rng is None:
            return None
        return Warp(
            *self.spectrum.size,
            zoom=SCALES[rng.integers(len(SCALES))],
            degrees=DEGREES[rng.integers(len(DEGREES))],
            shift=(int(rng.integers(-SHIFT, SHIFT + 1)), int(rng.integers(-SHIFT, SHIFT + 1))),
        )


def ascend(
    objective: Term | Sum,
    levels: Sequence[Level],
    _: object,
    *,
    networks: Networks,
    pool: _core.ThreadPool,
    adam: Adam,
    transforms: bool,
    whole: bool,
    seed: int,
    time_limit: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    cancel: _core.Cancel | None = None,
    memory_limit: int | None = None,
    **__: object,
) -> Refined:
    """What `visualize` does in place of `coarse_to_fine`: one level, in Fourier space."""
    (level,) = levels
    where = Canvas(level.height, level.width)
    # Activations cannot be tiled: it fits, or it is refused.
    plan_memory(objective, level, where, networks, optimizer=adam, limit=memory_limit)
    started = time.monotonic()
    spectrum = Spectrum(level.height, level.width)

    def picture(z: Floats) -> Floats:
        return spectrum.decode(z.reshape(spectrum.shape))

    def notify(event: StepProgress) -> bool | None:
        assert callback is not None
        seconds = time.monotonic() - started
        left = level.evaluations - event.evaluation
        return callback(
            Progress(
                level=0,
                levels=1,
                height=level.height,
                width=level.width,
                evaluation=event.evaluation,
                evaluations=level.evaluations,
                loss=event.loss,
                losses={label: event.loss},
                seconds=seconds,
                seconds_left=seconds / event.evaluation * left if event.evaluation else 0.0,
                _image=lambda: picture(event.best()),
            )
        )

    with plan(objective, where, networks, pool) as bound:
        label = bound.objective.names[0]
        canvas = _Canvas(bound, spectrum, np.random.default_rng(seed + 1) if transforms else None)
        first = wake(bound, spectrum, seed, AWAKE if whole else 0.0)
        try:
            result = run(
                _core.FunctionObjective(canvas.evaluate, first.size),
                first.ravel(),
                adam,
                StopRules(max_evaluations=level.evaluations, plateau=None, time_limit=time_limit),
                callback=None if callback is None else notify,
                cancel=cancel,
                pool=pool,
            )
        except DivergenceError as error:
            error.image = None if error.image is None else picture(error.image)
            raise
    pixels = picture(result.x)
    named = replace(
        result, x=pixels, history=replace(result.history, names=tuple(bound.objective.names))
    )
    return Refined(pixels, (LevelResult(0, level, named, {label: 1.0}),), result.reason)


def wake(bound: Plan, spectrum: Spectrum, seed: int, share: float) -> Floats:
    """The first coefficients: noise with as much contrast as it takes for a gradient.

    share: of the picture's values that must have one. The zeros that networks pad with may wake a
    channel at the borders alone.
    """
    deviation = DEVIATION
    for _ in range(DOUBLINGS + 1):
        z = spectrum.noise(seed, deviation)
        _, gradient = bound.objective.evaluate(spectrum.decode(z))
        if np.count_nonzero(gradient) > share * gradient.size:
            return z
        deviation *= 2
    raise ObjectiveError(
        f"{bound.parts[0].name}: the channel is silent for noise of any contrast, so there is no "
        "gradient to follow; take another channel, or another seed"
    )
