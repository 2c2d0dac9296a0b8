"""Image analogies, A : A' :: B : B' (Hertzmann et al., SIGGRAPH 2001)."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastsynth._errors import ImageError, MemoryLimitError, ObjectiveError
from fastsynth._machine import describe_machine
from fastsynth._numbers import plain_arguments
from fastsynth.image import Picture, fit_size, load, luminance, resize
from fastsynth.render import TraceWriter
from fastsynth.synthesize.analogy_levels import Search, level_count, solve
from fastsynth.synthesize.analogy_pose import PRESETS, Preset, pose, usable_levels
from fastsynth.synthesize.record import record
from fastsynth.synthesize.result import Result
from fastsynth.synthesize.transfer import in_colour

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fastsynth import _core
    from fastsynth._types import ImageLike, Size
    from fastsynth.render import Progress, Trace

    Planes = NDArray[np.float32]

__all__ = ["image_analogy"]

MAX_THREADS = 4096
MAX_ROUNDS = 10**6
MAX_PRICE = 1e6  # of weight, kappa and uniformity: float32 sums stay far from their end


@plain_arguments
def image_analogy(
    a: ImageLike | None,
    a_prime: ImageLike,
    b: ImageLike | None,
    *,
    preset: Literal["artistic", "numbers", "superres", "texture", "transfer"] = "artistic",
    size: Size = None,
    levels: int | None = None,
    patch: int | None = None,
    weight: float | None = None,
    kappa: float | None = None,
    uniformity: float | None = None,
    remap_luminance: bool | None = None,
    color: Literal["b", "a_prime"] | None = None,
    masks: Mapping[str, ImageLike] | None = None,
    rounds: int | Sequence[int] = 4,
    seed: int = 0,
    threads: int | None = None,
    time_limit: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    progress: bool = False,
    cancel: _core.Cancel | None = None,
    trace: str | os.PathLike[str] | Trace | None = None,
) -> Result:
    """Makes B' such that A relates to A' as B to B': A : A' :: B : B'.

    B' is put together from pixels of A': each patch of (B, B') is to resemble a patch of (A, A').
    The search is PatchMatch with voting, coarse to fine, instead of the paper's scan order.

    a, a_prime: a picture before and after, of equal sizes. a=None makes A from A': smoothed for
        "artistic", at B's resolution for "superres", the same for "transfer".
    b: the picture that is to be treated likewise. None for a plain texture.
    preset: what is compared:
        "artistic" (default) learns a filter or a manner of painting from the luminance;
        "numbers" paints by numbers: A and B are maps of labels, in any colours;
        "superres" adds detail: A is blurred, A' sharp;
        "texture" makes more of A', without A and B; or with b and masks["target"] fills a hole;
        "transfer" paints B with the texture A'.
    size: of B': longer side in pixels, or (width, height); B is resized to it. Default: as B;
        as A' without B; twice B for "superres".
    levels: coarse-to-fine levels; default: until the longer side is about 32 pixels, 5 at 512.
    patch: side of the patches compared, 3 to 31 pixels; default 5, 7 for "numbers" and "texture".
    weight: of the resemblance of A and B against that of A' and B', 0 to 1e6; default by preset
        2 to 20. More keeps closer to B, less to the manner of A'.
    kappa: coherence, 0 to 1e6; default by preset .2 or 1. More takes larger pieces of A'.
    uniformity: price of using parts of A' more than others, 0 to 1e6; default by preset 0 to .3.
        More varies more, and keeps flat parts of A' from spreading.
    remap_luminance: fit A's and A' luminance to the mean and deviation of B's; default True for
        "artistic" and "transfer".
    color: "b" keeps B's colours and takes luminance alone from A', "a_prime" takes the colours of
        A'. Default "b" for "artistic" and "superres".
    masks: {"source": the part of A' that may be used, "target": the part of B that is made}, white
        = yes (luminance of .5 or more), of the size of A' and of B. Outside the target, B stays.
    rounds: of search and vote, for each level; or a number for each level, coarsest first.
        Default 4.
    seed: of the random samples; default 0. The result depends on it, not on the threads.
    threads: number of CPU threads; default all cores that the process may use.
    time_limit: seconds; when they are over, the best picture so far is returned.
    callback: called after each round with a Progress (one evaluation is one round); return False to
        stop with the best picture so far.
    progress: True shows a progress bar on the terminal; default False.
    cancel: a Cancel flag that another thread may set.
    trace: a file to which a line of JSON is appended for each round: loss, time, memory.

    Returns a Result of B's kind (of the kind of A' without B), in colour where the colours are
    those of A'. Its losses are mean squared distances of patches, in units of luminance².
    Raises ImageError for pictures that cannot be used and for sizes that do not fit,
    ObjectiveError for other arguments that make no sense.

    >>> import numpy as np
    >>> a = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    >>> result = image_analogy(a, 255 - a, a, preset="numbers")
    >>> bool((result.array == 255 - a).all())
    True
    """
    from fastsynth import _core

    started = time.monotonic()
    arguments = dict(locals())
    del arguments["_core"], arguments["started"]
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ObjectiveError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    chosen = choose(
        preset,
        {"weight": weight, "kappa": kappa, "uniformity": uniformity},
        remap_luminance,
        color,
    )
    check_numbers(levels=levels, patch=patch, seed=seed, threads=threads)
    check_run(time_limit, callback, cancel)
    seed = int(seed)
    pictures = load_all(a, a_prime, b, preset)
    first, prime, target = pictures
    if target is None and chosen.color == "b":
        raise ObjectiveError('color="b" needs b; give it, or color="a_prime"')
    side = chosen.patch if patch is None else patch
    found_masks = load_masks(masks, prime, target, preset)
    height, width = output_size(size, prime, target, preset)
    with memory_named(height, width):
        problem = pose(chosen, pictures, (height, width), found_masks, side, preset=preset)
    count = level_count(
        (problem.source_prime.shape[1], problem.source_prime.shape[2]),
        (problem.target_guide.shape[1], problem.target_guide.shape[2]),
        side,
        levels,
    )
    count = min(count, usable_levels(problem.allowed, count, side))
    search = Search(
        side, chosen.weight, chosen.kappa, chosen.uniformity, round_counts(rounds, count), seed
    )
    job = record(
        "image_analogy",
        arguments,
        a=first,
        a_prime=prime,
        b=target,
        masks=None if masks is None else {key: load(value) for key, value in masks.items()},
    )
    bar = None
    if progress:
        from fastsynth.synthesize.progress import with_bar

        bar = callback = with_bar(callback)
    pool = _core.ThreadPool(threads or 0)
    try:
        with memory_named(height, width), TraceWriter(trace, verb="image_analogy") as writer:
            callback = writer.watching(callback)
            solved = solve(
                problem, search, pool, callback=callback, cancel=cancel, time_limit=time_limit
            )
            writer.end(solved.stopped, solved.levels)
    finally:
        if bar is not None:
            bar.close()
    pixels = solved.pixels[:, :height, :width]
    if solved.stopped != "evaluations":  # the record of a run cut short says how far it came
        job["arguments"]["rounds"] = list(solved.rounds)
        job["arguments"]["levels"] = count
    seconds = time.monotonic() - started
    model = target or prime
    alpha = None
    if target is not None and target.alpha is not None:
        alpha = resize(target.alpha, (height, width), "area")
    return Result(
        pixels=np.ascontiguousarray(pixels),
        alpha=alpha,
        kind=model.kind if chosen.color == "b" else in_colour(model.kind),
        levels=solved.levels,
        stopped=solved.stopped,
        seconds={"open": 0.0, "levels": seconds, "total": seconds},
        provenance={
            **job,
            "engine": describe_machine(pool),
            "levels": [
                {
                    "width": item.level.width,
                    "height": item.level.height,
                    "evaluations": item.run.evaluations,
                    "loss": item.run.loss,
                    "stopped": item.run.reason,
                }
                for item in solved.levels
            ],
            "schedule": list(solved.rounds),
        },
    )


@contextlib.contextmanager
def memory_named(height: int, width: int) -> Iterator[None]:
    """A MemoryError becomes a MemoryLimitError that says what is too large."""
    try:
        yield
    except MemoryError as error:
        raise MemoryLimitError(
            f"there is not enough memory for B' of {width} × {height} pixels; give a smaller size"
        ) from error


def choose(preset: str, numbers: Mapping[str, Any], remap: Any, color: Any) -> Preset:
    """The preset with what the caller sets. Raises ObjectiveError for values out of range."""
    given: dict[str, Any] = {}
    for name, value in numbers.items():
        if value is None:
            continue
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not known or not 0 <= value <= MAX_PRICE:
            raise ObjectiveError(f"{name} must be a number from 0 to {MAX_PRICE:g}, not {value!r}")
        given[name] = float(value)
    if remap is not None:
        if not isinstance(remap, bool):
            raise ObjectiveError(f"remap_luminance must be True, False or None, not {remap!r}")
        given["remap"] = remap
    if color is not None:
        if not isinstance(color, str) or color not in ("b", "a_prime"):
            raise ObjectiveError(f'color must be "b" or "a_prime", not {color!r}')
        given["color"] = color
    return dataclasses.replace(PRESETS[preset], **given)


def check_numbers(**numbers: Any) -> None:
    """Raises ObjectiveError for whole numbers out of range; None stands for a default."""
    ranges = {
        "levels": (1, 16),
        "patch": (3, 31),
        "seed": (0, 2**55 - 1),
        "threads": (1, MAX_THREADS),
    }
    for name, value in numbers.items():
        if value is None and name != "seed":
            continue
        low, high = ranges[name]
        if not _is_whole(value) or not low <= value <= high:
            raise ObjectiveError(
                f"{name} must be a whole number from {low} to {high}, not {value!r}"
            )


def check_run(time_limit: Any, callback: Any, cancel: Any) -> None:
    """Raises ObjectiveError for what does not fit a run."""
    from fastsynth import _core

    if time_limit is not None and not (isinstance(time_limit, (int, float)) and time_limit > 0):
        raise ObjectiveError(f"time_limit must be a positive number of seconds, not {time_limit!r}")
    if callback is not None and not callable(callback):
        raise ObjectiveError(f"callback must be a function, not {callback!r}")
    if cancel is not None and not isinstance(cancel, _core.Cancel):
        raise ObjectiveError(f"cancel must be a fastsynth.Cancel, not {cancel!r}")


def round_counts(rounds: Any, count: int) -> tuple[int, ...]:
    """Rounds for each of `count` levels, coarsest first."""
    several = isinstance(rounds, Sequence) and not isinstance(rounds, str)
    numbers = list(rounds) if several else [rounds] * count
    for number in numbers:
        if not _is_whole(number) or not 0 <= number <= MAX_ROUNDS:
            raise ObjectiveError(
                f"rounds must be whole numbers from 0 to {MAX_ROUNDS}, not {rounds!r}"
            )
    if len(numbers) != count:
        raise ObjectiveError(f"rounds has {len(numbers)} numbers for {count} levels")
    if not several and numbers[0] == 0:
        raise ObjectiveError("rounds must be at least 1, not 0")
    return tuple(map(int, numbers))


def _is_whole(value: Any) -> bool:
    """Whether it is a whole number, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def load_all(
    a: Any, a_prime: Any, b: Any, preset: str
) -> tuple[Picture | None, Picture, Picture | None]:
    """The pictures of a call; raises where one is missing or sizes differ."""
    prime = load(a_prime, name="a_prime")
    first = None if a is None else load(a, name="a")
    target = None if b is None else load(b, name="b")
    if preset == "texture":
        if first is not None:
            raise ObjectiveError('preset="texture" has no A; give a=None, or use preset="numbers"')
    elif target is None:
        raise ObjectiveError(f'b is missing; only preset="texture" does without, not {preset!r}')
    if first is None and preset == "numbers":
        raise ObjectiveError('a is missing; preset="numbers" needs the map of labels of A\'')
    if first is not None and first.size != prime.size:
        raise ImageError(
            f"a has {first.width} × {first.height} pixels and a_prime {prime.width} × "
            f"{prime.height}; expected equal sizes: crop or resize one of them"
        )
    return first, prime, target


def load_masks(
    masks: Any, prime: Picture, target: Picture | None, preset: str
) -> tuple[NDArray[np.bool_] | None, Planes | None]:
    """The allowed pixels of A' as truth values, and the region of B as float32 0 or 1."""
    if preset == "texture" and target is not None and "target" not in (masks or ()):
        raise ObjectiveError('preset="texture" uses b only with masks["target"], to fill a hole')
    if masks is None:
        return None, None
    if not isinstance(masks, Mapping) or set(masks) - {"source", "target"}:
        seen = sorted(map(str, masks)) if isinstance(masks, Mapping) else masks
        raise ObjectiveError(f'masks must be a mapping of "source" and "target", not {seen!r}')
    found: dict[str, NDArray[np.bool_]] = {}
    for key, model in (("source", prime), ("target", target)):
        if key not in masks:
            continue
        if model is None:
            raise ObjectiveError('masks["target"] needs b: the picture whose rest stays')
        mask = load(masks[key], name=f"the {key} mask")
        if mask.size != model.size:
            raise ImageError(
                f"the {key} mask has {mask.width} × {mask.height} pixels; expected "
                f"{model.width} × {model.height}, as {'a_prime' if key == 'source' else 'b'}"
            )
        found[key] = luminance(mask.pixels) >= 0.5
        if not found[key].any():
            raise ImageError(f"the {key} mask is black everywhere; expected some white")
    region = found["target"].astype(np.float32) if "target" in found else None
    return found.get("source"), region


def output_size(size: Any, prime: Picture, target: Picture | None, preset: str) -> tuple[int, int]:
    """(height, width) of B'."""
    model = target or prime
    if size is None and preset == "superres":
        size = (2 * model.width, 2 * model.height)
    return fit_size(size, (model.height, model.width))
