"""fastsynth dream and fastsynth visualize: what they understand and do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fastsynth._errors import ObjectiveError
from fastsynth.cli import commands

__all__ = ["add", "dream", "visualize"]


def add(verbs: Any) -> None:
    """Adds both commands to the parser."""
    # Here, since the parser imports this module.
    from fastsynth.cli.parser import _engine_options, _output_options, _verb

    verb = _verb(verbs, "dream", dream, "raise what a layer sees in a picture (DeepDream)")
    verb.add_argument("picture", metavar="IMAGE", help="the picture that is dreamt over")
    verb.add_argument(
        "--layer", help="such as conv3_3, or conv3_3:17 for a channel (default: by the weights)"
    )
    verb.add_argument(
        "--neuron", type=_neuron, metavar="DOWN,ACROSS", help="one position, as shares: 0.5,0.5"
    )
    verb.add_argument("--guide", metavar="FILE", help="a picture whose features are sought")
    verb.add_argument(
        "--match",
        choices=("dot", "nearest"),
        help="how the guide's best feature is chosen (default: dot; nearest with random weights)",
    )
    verb.add_argument("--octaves", type=int, default=4, help="sizes (default: %(default)s)")
    verb.add_argument(
        "--octave-scale", type=float, default=1.4, help="between sizes (default: %(default)s)"
    )
    verb.add_argument(
        "--iterations",
        type=_numbers,
        default=10,
        help="steps at each octave, or one number per octave: 20,10,10,5 (default: %(default)s)",
    )
    verb.add_argument(
        "--step", type=float, help="mean change of a value in a step (default: 1/255)"
    )
    verb.add_argument("--jitter", type=int, help="random shift, pixels (default: 32)")
    verb.add_argument(
        "--lapnorm",
        type=int,
        default=4,
        metavar="LEVELS",
        help="levels of the pyramid that the gradient is normalised in; 0 = none "
        "(default: %(default)s)",
    )
    verb.add_argument(
        "--no-normalize",
        action="store_true",
        help="take the gradient as it is: X + step * gradient, to the letter",
    )
    verb.add_argument(
        "--color",
        choices=("none", "match"),
        help="match = give the result the image's own colours (default: none; match with --frames, "
        "and with random weights without a guide)",
    )
    _output_options(verb)
    _time(verb)
    sequence = verb.add_argument_group("a zoom sequence")
    sequence.add_argument(
        "--frames",
        type=int,
        help="write that many numbered files, OUT-0000.png …, each the dream of the one before; "
        "the same command goes on where it was stopped",
    )
    sequence.add_argument(
        "--zoom", type=float, help="enlarge by this share (default: 0.05 with --frames)"
    )
    sequence.add_argument("--rotate", type=float, default=0.0, help="turn by these degrees")
    sequence.add_argument("--overwrite", action="store_true", help="make all frames anew")
    _engine_options(verb)

    verb = _verb(verbs, "visualize", visualize, "find what a channel answers to most, from noise")
    verb.add_argument(
        "layer",
        metavar="LAYER[:CHANNEL]",
        nargs="?",
        help="such as conv2_2:40; without a channel the whole layer (default: by the weights)",
    )
    verb.add_argument(
        "--neuron", type=_neuron, metavar="DOWN,ACROSS", help="one position, as shares: 0.5,0.5"
    )
    verb.add_argument(
        "--iterations", type=int, default=128, help="steps of Adam (default: %(default)s)"
    )
    verb.add_argument(
        "--learning-rate", type=float, default=0.05, help="of Adam (default: %(default)s)"
    )
    verb.add_argument(
        "--no-transforms", action="store_true", help="do not shift, scale and turn at random"
    )
    _output_options(verb)
    _time(verb)
    _engine_options(verb)


def dream(options: argparse.Namespace) -> int:
    """fastsynth dream"""
    from fastsynth import synthesize

    layer, channel = split_layer(options.layer)
    arguments: dict[str, Any] = {
        "layer": layer,
        "channel": channel,
        "neuron": options.neuron,
        "guide": options.guide,
        "match": options.match,
        "octaves": options.octaves,
        "octave_scale": options.octave_scale,
        "iterations": options.iterations,
        "jitter": options.jitter,
        "lapnorm": options.lapnorm,
        "normalize": not options.no_normalize,
        "rotate": options.rotate,
        **_shared(options),
    }
    if options.step is not None:
        arguments["step"] = options.step
    if options.zoom is not None:
        arguments["zoom"] = options.zoom
    if options.color is not None:
        arguments["color"] = options.color
    if options.estimate:
        print(synthesize.estimate("dream", options.picture, **arguments))
        return 0
    if options.frames is not None:
        return _frames(options, arguments)
    if options.overwrite:
        raise ObjectiveError("--overwrite is for a zoom sequence; give --frames N too")
    return commands._finish(
        options,
        options.output,
        lambda callback: synthesize.dream(options.picture, callback=callback, **arguments),
    )


def visualize(options: argparse.Namespace) -> int:
    """fastsynth visualize"""
    from fastsynth import synthesize

    layer, channel = split_layer(options.layer)
    arguments = _shared(options)
    if arguments["size"] is None:
        del arguments["size"]
    arguments |= {
        "neuron": options.neuron,
        "iterations": options.iterations,
        "learning_rate": options.learning_rate,
        "transforms": not options.no_transforms,
    }
    if options.estimate:
        print(synthesize.estimate("visualize", layer, channel, **arguments))
        return 0
    return commands._finish(
        options,
        options.output,
        lambda callback: synthesize.visualize(layer, channel, callback=callback, **arguments),
    )


def _frames(options: argparse.Namespace, arguments: dict[str, Any]) -> int:
    """A zoom sequence beside the output's path: OUT-0000.png, OUT-0001.png, …"""
    from fastsynth import synthesize
    from fastsynth.synthesize.progress import with_bar

    if options.quality is not None or options.bit_depth is not None:
        raise ObjectiveError("--quality and --bit-depth do not apply to the frames of a sequence")
    output = Path(options.output)
    stem = output.stem.replace("{", "{{").replace("}", "}}")
    callback: Any = commands._preview(options.preview) if options.preview else None
    bar = None
    if not options.quiet:
        bar = callback = with_bar(callback)
    try:
        frames = synthesize.dream_zoom(
            options.picture,
            output.parent,
            frames=options.frames,
            pattern=f"{stem}-{{:04}}{output.suffix}",
            overwrite=options.overwrite,
            callback=callback,
            **arguments,
        )
    finally:
        if bar is not None:
            bar.close()
    if not options.quiet:
        last = frames.paths[-1] if frames.paths else "no frame"
        kept = len(frames.paths) - frames.made
        print(
            f"{last}: {len(frames.paths)} of {options.frames} frames, {frames.made} made now"
            + (f", {kept} kept" if kept else "")
            + ("" if frames.stopped == "frames" else f"; stopped by {frames.stopped}"),
            file=sys.stderr,
        )
    return commands.INTERRUPTED if frames.stopped == "interrupted" else 0


def split_layer(text: str | None) -> tuple[str | None, int | None]:
    """Layer and channel.

    >>> split_layer("conv2_2:40"), split_layer("conv2_2"), split_layer(None)
    (('conv2_2', 40), ('conv2_2', None), (None, None))
    """
    if text is None:
        return None, None
    layer, separator, channel = text.partition(":")
    if not separator:
        return layer, None
    if not channel.isdecimal():
        raise ObjectiveError(f"the channel in {text!r} is not a number; write LAYER:CHANNEL")
    return layer, int(channel)


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    names = (
        "size", "seed", "time_limit", "network", "weights", "download", "pooling", "backend",
        "device", "precision", "threads", "trace", "memory_limit",
    )  # fmt: skip
    return {name: getattr(options, name) for name in names}


def _time(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="stop with the picture so far after this time",
    )
    verb.add_argument(
        "--trace", metavar="FILE", help="append a line of JSON for each step: losses, time, memory"
    )
    verb.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="peak memory of the process, such as 4GiB; what does not fit is refused before it "
        "starts (default: four fifths of the machine's)",
    )
    verb.add_argument(
        "--estimate",
        action="store_true",
        help="say what memory and time it would take (with --frames: each frame), and stop",
    )


def _neuron(text: str) -> tuple[float, float]:
    try:
        down, across = (float(item) for item in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two shares such as 0.5,0.5") from None
    return down, across


def _numbers(text: str) -> int | list[int]:
    from fastsynth.cli.parser import _evaluations

    return _evaluations(text)
