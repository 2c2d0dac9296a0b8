"""What each command does: call the library, show progress, save."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import DivergenceError, ObjectiveError
from fastsynth.cli.regions import masks_of, style_of

if TYPE_CHECKING:
    from fastsynth.image import ImageArray
    from fastsynth.render import Progress
    from fastsynth.synthesize import Result

__all__ = ["info", "invert", "mix", "replay", "run", "texture", "transfer", "weights"]

PREVIEW_SECONDS = 2.0
QUALITY = 95
INTERRUPTED = 130
LONG = 5e7  # evaluations times pixels: about a minute; runs from there on are announced


def transfer(options: argparse.Namespace) -> int:
    """fastsynth transfer"""
    arguments = {
        "style": style_of(options, _weighted(options.style)),
        "strength": options.strength,
        "style_scale": options.style_scale,
        "style_loss": options.style_loss,
        "color": options.color,
        "init": options.init,
        "smoothness": options.smoothness,
        **_given(
            content_layers=options.content_layers,
            style_layers=options.style_layers,
            masks=masks_of(options),
            strength_map=options.strength_map,
        ),
    }
    return _synthesize(options, "style_transfer", options.content, **arguments)


def texture(options: argparse.Namespace) -> int:
    """fastsynth texture"""
    arguments = {
        "scale": options.scale,
        "long_range": options.long_range,
        "seamless": options.seamless,
        "style_loss": options.style_loss,
        "color": options.color,
        "init": options.init,
        "smoothness": options.smoothness,
        **_given(layers=options.layers),
    }
    return _synthesize(options, "synthesize_texture", _weighted(options.exemplar), **arguments)


def invert(options: argparse.Namespace) -> int:
    """fastsynth invert"""
    arguments = {
        "init": options.init,
        "smoothness": options.smoothness,
        **_given(layers=options.layers),
    }
    return _synthesize(options, "invert", options.picture, **arguments)


def mix(options: argparse.Namespace) -> int:
    """fastsynth mix"""
    networks = options.networks
    arguments = {
        "at": options.at,
        "init": options.init,
        "smoothness": options.smoothness,
        **_given(
            layers=options.layers,
            networks=networks[0] if networks and len(networks) == 1 else networks,
        ),
    }
    return _synthesize(options, "mix", _weighted(options.pictures), **arguments)


def run(options: argparse.Namespace) -> int:
    """fastsynth run JOB.toml"""
    from fastsynth.synthesize import read_job, run_job
    from fastsynth.synthesize.jobs import shows_progress

    job = read_job(options.job)
    if options.estimate:
        from fastsynth.synthesize.foreseeing import estimate_job

        print(estimate_job(job, base=Path(options.job).parent))
        return 0
    output = options.output or job.get("output")
    if not isinstance(output, str):
        raise ObjectiveError(
            'the job names no output; add output = "out.png" at its top, or give -o FILE'
        )
    if options.output is None:
        output = str(Path(options.job).parent / output)
    return _finish(
        options,
        output,
        lambda callback: run_job(job, base=Path(options.job).parent, callback=callback),
        bar=shows_progress(job.get("verb")),
    )


def replay(options: argparse.Namespace) -> int:
    """fastsynth replay PICTURE"""
    from fastsynth.image import read_metadata
    from fastsynth.synthesize import replay as make_again
    from fastsynth.synthesize.jobs import shows_progress

    inputs = {}
    for item in options.input:
        old, separator, new = item.partition("=")
        if not separator:
            raise ObjectiveError(f"--input {item!r}: write it as OLD=NEW")
        inputs[old] = new
    if options.estimate:
        from fastsynth.synthesize.foreseeing import estimate_replay

        print(estimate_replay(options.picture, inputs=inputs, weights=options.weights))
        return 0
    record = read_metadata(options.picture) or {}
    saved = record.get("saved", {})
    if options.quality is None:
        options.quality = saved.get("quality")
    deep = Path(options.output).suffix.lower() in (".png", ".tif", ".tiff")
    if options.bit_depth is None and deep:
        options.bit_depth = saved.get("bit_depth")
    return _finish(
        options,
        options.output,
        lambda callback: make_again(
            options.picture, inputs=inputs, weights=options.weights, callback=callback
        ),
        bar=shows_progress(record.get("verb")),
    )


def weights(options: argparse.Namespace) -> int:
    """fastsynth weights list | get | path"""
    from fastsynth.cli.weights import get, path, show

    if options.action == "list":
        return show()
    name = options.name or "oxford"
    return get(name, options.network) if options.action == "get" else path(name, options.network)


def info(_: argparse.Namespace) -> int:
    """fastsynth info"""
    from fastsynth.cli.info import show

    return show()


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _weighted(items: list[str]) -> list[tuple[str, float]]:
    """Pictures with weights from "a.jpg" and "b.jpg=0.5"; a file may have a "=" in its name."""
    pairs = []
    for item in items:
        path, separator, weight = item.rpartition("=")
        if separator and not Path(item).exists():
            try:
                pairs.append((path, float(weight)))
            except ValueError:
                raise ObjectiveError(
                    f"the weight in {item!r} is not a number; write PICTURE=WEIGHT"
                ) from None
        else:
            pairs.append((item, 1.0))
    return pairs


def _synthesize(options: argparse.Namespace, verb: str, subject: Any, **arguments: Any) -> int:
    from fastsynth.synthesize import Synthesizer
    from fastsynth.synthesize.estimation import rehearse

    arguments |= {
        "size": options.size,
        "seed": options.seed,
        "optimizer": options.optimizer,
        "scales": options.scales,
        "max_evaluations": options.max_evaluations,
        "time_limit": options.time_limit,
        "memory_limit": options.memory_limit,
        "plateau": options.plateau,
    }
    files = {
        "checkpoint": options.checkpoint,
        "checkpoint_seconds": options.checkpoint_seconds,
        "resume": options.resume,
        "trace": options.trace,
    }
    with Synthesizer(
        network=options.network,
        weights=options.weights,
        download=options.download,
        pooling=options.pooling,
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
    ) as synthesizer:
        if options.estimate:
            print(rehearse(synthesizer, verb, subject, **arguments))
            return 0

        def call(callback: Any) -> Result:
            if not options.quiet:
                found = rehearse(synthesizer, verb, subject, least=LONG, **arguments)
                if found is not None:
                    print(f"fastsynth: this will take {found}", file=sys.stderr)
            result: Result = getattr(synthesizer, verb)(
                subject, callback=callback, **arguments, **files
            )
            return result

        return _finish(options, options.output, call)


def _finish(
    options: argparse.Namespace,
    output: str,
    call: Callable[[Any], Result | ImageArray],
    *,
    bar: bool = True,
) -> int:
    """Checks the target, runs with a progress bar and previews, saves, and sums up."""
    from fastsynth.image import ImageArray, check_writable
    from fastsynth.render.refine import ENDING
    from fastsynth.synthesize.progress import with_bar

    quality = QUALITY if options.quality is None else options.quality
    check_writable(output, quality=quality, bit_depth=options.bit_depth or 8)
    if options.preview:
        check_writable(options.preview)
    callback: Any = _preview(options.preview) if options.preview else None
    shown = None
    if bar and not options.quiet:
        shown = callback = with_bar(callback)
    try:
        result = call(callback)
    except DivergenceError as error:
        _rescue(error, output)
        raise
    finally:
        if shown is not None:
            shown.close()
    path = result.save(output, quality=quality, bit_depth=options.bit_depth)
    if isinstance(result, ImageArray):
        if not options.quiet:
            print(f"{path}: {result.shape[1]}×{result.shape[0]}", file=sys.stderr)
        return 0
    if not options.quiet:
        _sum_up(result, path)
        if getattr(options, "checkpoint", None) and result.stopped in ENDING:
            print("The checkpoint is kept: the same command goes on from it.", file=sys.stderr)
    return INTERRUPTED if result.stopped == "interrupted" else 0


def _rescue(error: DivergenceError, output: str) -> None:
    """The last good picture of a run that diverged is not thrown away."""
    if error.image is not None:
        from fastsynth.image import save

        path = save(Path(output).with_suffix(".diverged.png"), error.image.clip(0, 1))
        print(f"fastsynth: the last good picture is in {path}", file=sys.stderr)


def _preview(path: str) -> Callable[[Progress], None]:
    from fastsynth.image import save

    last = [-PREVIEW_SECONDS]

    def show(progress: Progress) -> None:
        now = time.monotonic()
        if now - last[0] >= PREVIEW_SECONDS:
            last[0] = now
            save(path, progress.image())

    return show


def _sum_up(result: Result, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True)
    table = Table(box=None, pad_edge=False)
    for name in ("size", "evaluations", "loss", "stopped by"):
        table.add_column(name, justify="right")
    for level in result.levels:
        table.add_row(
            f"{level.level.width}×{level.level.height}",
            str(level.run.evaluations),
            f"{level.run.loss:.4g}",
            level.run.reason,
        )
    console.print(table)
    engine = result.provenance["engine"]
    with_network = "weights" in engine
    network = (
        f"{engine['network']} with {engine['weights']['id']} weights, "
        f"{engine['backend']} on {engine['provider']}, "
        if with_network
        else ""
    )
    console.print(
        f"{path}: {result.size[0]}×{result.size[1]}, {result.evaluations} evaluations in "
        f"{result.seconds['total']:.1f} s; {network}{engine['threads']} threads",
        highlight=False,
        soft_wrap=True,
    )
    if with_network and engine["weights"]["id"].startswith("random"):
        console.print(
            "Random weights paint textures and colours; for shapes as in the literature: "
            "fastsynth weights get oxford",
            style="dim",
            highlight=False,
            soft_wrap=True,
        )
