"""Zooming into a dream: each frame is the dream of the one before, enlarged a little."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastsynth._errors import ImageError, ObjectiveError
from fastsynth._numbers import plain_arguments
from fastsynth.image import check_writable, load, read_metadata
from fastsynth.render.refine import ENDING
from fastsynth.synthesize.dreaming import check_motion
from fastsynth.synthesize.record import TRANSIENT, encode

if TYPE_CHECKING:
    from fastsynth._types import ImageLike
    from fastsynth.render import Progress
    from fastsynth.synthesize.result import Result
    from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["Frames", "dream_zoom"]

MOST = 1_000_000  # frames


@dataclass(frozen=True)
class Frames:
    """The files of a sequence, in order.

    paths: of all frames that there are now
    made: how many of them this run made; the others were there
    stopped: "frames" when all are done, else why the run ended before: "time", "cancelled", ...
    """

    paths: tuple[Path, ...]
    made: int
    stopped: str


@plain_arguments
def dream_zoom(
    self: Synthesizer,
    /,
    image: ImageLike,
    directory: str | os.PathLike[str],
    *,
    frames: int = 30,
    zoom: float = 0.05,
    rotate: float = 0.0,
    color: Literal["none", "match"] = "match",
    pattern: str = "frame-{:04}.png",
    overwrite: bool = False,
    **settings: Any,
) -> Frames:
    """Writes a zoom sequence: frame n is the dream of frame n - 1, enlarged and turned a little.

    image: what the first frame dreams of; it is not enlarged.
    directory: where the frames go; made if missing.
    frames: number of frames; default 30.
    zoom, rotate: between two frames, a share and degrees counter-clockwise; default 0.05 and 0.
    color: "match" (default) gives each frame the colours of the one before, or frame after frame
        they would run to the extremes; "none" lets them.
    pattern: name of the files, with a place for the frame's number from 0 in the way of
        str.format; default "frame-{:04}.png". Its ending chooses the format.
    overwrite: True makes all frames anew; default False.
    settings: what `dream` takes, such as layer, size, seed (frame n uses seed + n), callback,
        progress; time_limit is that of the whole sequence. In the one-call form EngineOptions too.

    Frames appear whole or not at all, each with its record (`replay` makes any of them again from
    the file before it). When a run is cut short, the same call goes on after the last frame, with
    the same result as if it had not been; a frame that was cut short is not written. More `frames`
    in a later call go on with the sequence.

    Returns the Frames. Raises ObjectiveError where files of another sequence are in the way, and
    whatever `dream` raises.

    >>> import tempfile
    >>> import numpy as np
    >>> from fastsynth import Synthesizer
    >>> image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    >>> settings = {"layer": "conv1_2", "octaves": 1, "iterations": 2}
    >>> with tempfile.TemporaryDirectory() as folder, Synthesizer(weights="random:0") as s:
    ...     result = s.dream_zoom(image, folder, frames=2, **settings)
    ...     [path.name for path in result.paths], result.stopped
    (['frame-0000.png', 'frame-0001.png'], 'frames')
    """
    if not isinstance(frames, int) or isinstance(frames, bool) or not 1 <= frames <= MOST:
        raise ObjectiveError(f"frames must be a whole number from 1 to {MOST}, not {frames!r}")
    seed, limit = settings.get("seed", 0), settings.pop("time_limit", None)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ObjectiveError(f"seed must be a whole number ≥ 0, not {seed!r}")
    if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
        raise ObjectiveError(f"time_limit must be a positive number of seconds, not {limit!r}")
    check_motion(zoom, rotate)
    names = frame_names(pattern, frames)
    folder = made_folder(directory)
    paths = [folder / name for name in names]
    check_writable(paths[0])
    picture = load(image, name="image")
    sequence: dict[str, Any] = {
        "image": picture.sha256,
        "weights": self.weights.sha256,
        "network": self.network,
        "pooling": self.pooling,
        "zoom": zoom,
        "rotate": rotate,
        "color": color,
        "settings": {
            key: encode(value)
            for key, value in sorted(settings.items())
            if key not in ("guide", *TRANSIENT)
        },
    }
    if settings.get("guide") is not None:
        settings["guide"] = load(settings["guide"], name="guide")
        sequence["guide"] = settings["guide"].sha256
    done = 0 if overwrite else count_done(paths, sequence)

    settings.pop("seed", None)
    callback = settings.pop("callback", None)
    bar = None
    if settings.pop("progress", False):
        from fastsynth.synthesize.progress import with_bar

        bar = callback = with_bar(callback)
    started = time.monotonic()
    stopped, made = "frames", 0
    try:
        for index in range(done, frames):
            if limit is not None:
                left = limit - (time.monotonic() - started)
                if left <= 0:
                    stopped = "time"
                    break
                settings["time_limit"] = left
            first = index == 0
            result = self.dream(
                picture if first else paths[index - 1],
                zoom=0.0 if first else zoom,
                rotate=0.0 if first else rotate,
                color=color,
                seed=seed + index,
                callback=None if callback is None else of_frame(callback, index, frames, started),
                **settings,
            )
            if result.stopped in ENDING:
                stopped = result.stopped
                break
            # The last frame is taken from its file, rounded as it is there: a run that goes on
            # later sees the same.
            with_sequence(result, sequence, index).save(paths[index])
            made += 1
    finally:
        if bar is not None:
            bar.close()
    return Frames(tuple(paths[: done + made]), made, stopped)


def made_folder(directory: Any) -> Path:
    """The directory, made if missing; ImageError where it cannot be."""
    if not isinstance(directory, (str, os.PathLike)):
        raise ImageError(f"the directory of the frames is a path, not {directory!r}")
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ImageError(f"frames cannot be written to {os.fspath(folder)!r}: {error}") from error
    return folder


def frame_names(pattern: str, frames: int) -> list[str]:
    """The files' names; ObjectiveError for a pattern that does not give each frame its own.

    >>> frame_names("a{:03}.jpg", 2)
    ['a000.jpg', 'a001.jpg']
    """
    try:
        names = [pattern.format(index) for index in range(frames)]
        distinct = pattern.format(0) != pattern.format(1)
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        raise ObjectiveError(
            f'pattern {pattern!r} cannot be filled with a number ({error}); write it like "{{:04}}"'
        ) from error
    if not distinct or any(Path(name).name != name for name in names[:2]):
        raise ObjectiveError(
            f"pattern must be a file's name with a place for the frame's number, such as "
            f'"frame-{{:04}}.png", not {pattern!r}'
        )
    return names


def count_done(paths: list[Path], sequence: Mapping[str, Any]) -> int:
    """How many frames of this sequence there are already, without a gap."""
    for index, path in enumerate(paths):
        if not path.exists():
            return index
        found = (read_metadata(path) or {}).get("sequence", {})
        if found != {**sequence, "frame": index}:
            raise ObjectiveError(
                f"{path} is there and not a frame of this sequence: choose another directory or "
                "pattern, or overwrite it (overwrite=True)"
            )
    return len(paths)


def with_sequence(result: Result, sequence: Mapping[str, Any], index: int) -> Result:
    """The result with a note of its place in the sequence in its record."""
    provenance = {**result.provenance, "sequence": {**sequence, "frame": index}}
    return dataclasses.replace(result, provenance=provenance)


def of_frame(
    callback: Callable[[Progress], bool | None], index: int, frames: int, started: float
) -> Callable[[Progress], bool | None]:
    """The callback, seeing the evaluations and the time of the whole sequence."""

    def notify(event: Progress) -> bool | None:
        later = (event.seconds + event.seconds_left) * (frames - index - 1)
        return callback(
            dataclasses.replace(
                event,
                evaluation=index * event.evaluations + event.evaluation,
                evaluations=frames * event.evaluations,
                seconds=time.monotonic() - started,
                seconds_left=event.seconds_left + later,
            )
        )

    return notify
