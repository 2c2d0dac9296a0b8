"""What the command line understands."""

from __future__ import annotations

import argparse
from typing import Any

from fastsynth.cli import analogy, batch, commands, dream, export_step, score
from fastsynth.cli.compose import add_compose
from fastsynth.cli.pattern import add_pattern
from fastsynth.cli.regions import add_doodle, add_regions

__all__ = ["build_parser"]


def build_parser() -> argparse.ArgumentParser:
    """The parser of `fastsynth`, one subcommand per verb."""
    parser = argparse.ArgumentParser(
        prog="fastsynth",
        description="Make pictures from the representations of a network: "
        "style transfer, textures, feature inversion.",
        epilog="Start with:  fastsynth transfer photo.jpg painting.jpg -o out.png --size 512",
    )
    parser.set_defaults(verbose=False, quiet=False)
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)

    verb = _verb(verbs, "transfer", commands.transfer, "paint one picture in the manner of another")
    verb.add_argument("content", metavar="CONTENT", help="the picture whose shapes are kept")
    verb.add_argument(
        "style",
        metavar="STYLE",
        nargs="+",
        help="the picture whose manner is taken; several are mixed, each may have a weight: "
        "a.jpg b.jpg=0.5",
    )
    verb.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="how much style; 1 is balanced (default: %(default)s)",
    )
    verb.add_argument(
        "--style-scale",
        type=float,
        default=1.0,
        help="size of the style's features (default: %(default)s)",
    )
    verb.add_argument(
        "--color",
        choices=("none", "luminance", "match", "post"),
        default="none",
        help="keep the content's colours: match = recolour the style first, luminance = paint "
        "brightness only, post = put them back in the end (default: %(default)s)",
    )
    verb.add_argument(
        "--init",
        default="content",
        help="first picture: content, noise, style, or a file (default: %(default)s)",
    )
    verb.add_argument(
        "--content-layers", type=_layers, help="such as conv4_2 or conv3_1=1,conv4_2=0.5"
    )
    verb.add_argument("--style-layers", type=_layers, help="such as conv1_1,conv2_1,conv3_1")
    _style_loss(verb)
    _smoothness(verb, 0.0)
    add_regions(verb)
    _run_options(verb)

    _add_texture(verbs)
    add_doodle(verbs)

    verb = _verb(verbs, "invert", commands.invert, "make a picture from the features of another")
    verb.add_argument("picture", metavar="IMAGE", help="the picture whose features are inverted")
    verb.add_argument("--layers", type=_layers, help="such as conv3_1 (default: conv4_2)")
    verb.add_argument(
        "--init", default="noise", help="first picture: noise or a file (default: %(default)s)"
    )
    _smoothness(verb, 0.05)
    _run_options(verb)

    verb = _verb(verbs, "mix", commands.mix, "mix pictures through their features")
    verb.add_argument(
        "pictures", metavar="IMAGE[=WEIGHT]", nargs="+", help="such as a.jpg=0.7 b.jpg=0.3"
    )
    verb.add_argument("--layers", type=_layers, help="such as conv3_1 (default: conv4_2)")
    verb.add_argument(
        "--at",
        choices=("features", "pixels"),
        default="features",
        help="add the features and invert the sum, or invert each and add the pictures "
        "(default: %(default)s)",
    )
    verb.add_argument(
        "--networks",
        type=lambda text: text.split(","),
        help="one network, or one for each picture: vgg16,vgg19",
    )
    verb.add_argument(
        "--init", default="noise", help="first picture: noise or a file (default: %(default)s)"
    )
    _smoothness(verb, 0.05)
    _run_options(verb)

    add_compose(_verb, verbs)
    dream.add(verbs)
    analogy.add(verbs)
    add_pattern(verbs)

    verb = _verb(verbs, "run", commands.run, "run a job described in a TOML file")
    verb.add_argument(
        "job", metavar="JOB.toml", help="the job: verb, output, [engine] and [arguments]"
    )
    verb.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the picture to write (default: the job's own output)",
    )
    _estimating(verb)
    _showing(verb)

    _add_replay(verbs)
    batch.add(verbs, _verb)
    export_step.add(verbs, _verb)

    _add_weights(verbs)
    score.add(verbs, _verb)
    _verb(verbs, "info", commands.info, "show versions, processors and providers, for reports")
    return parser


def _add_weights(verbs: Any) -> None:
    verb = _verb(
        verbs, "weights", commands.weights, "list, fetch or find the weights of the networks"
    )
    verb.add_argument("action", choices=("list", "get", "path"), nargs="?", default="list")
    verb.add_argument("name", nargs="?", help="oxford or torchvision")
    verb.add_argument("--network", default="vgg16", help="vgg16 or vgg19 (default: %(default)s)")


def _add_texture(verbs: Any) -> None:
    verb = _verb(verbs, "texture", commands.texture, "make more of a texture, at any size")
    verb.add_argument(
        "exemplar",
        metavar="EXEMPLAR",
        nargs="+",
        help="a picture of the texture; several are mixed: a.png b.png=0.5",
    )
    verb.add_argument(
        "--scale", type=float, default=1.0, help="size of the features (default: %(default)s)"
    )
    verb.add_argument(
        "--init",
        default="auto",
        help="first picture: noise (= auto) or a file (default: %(default)s)",
    )
    verb.add_argument(
        "--color",
        choices=("match", "none"),
        default="match",
        help="match = give the finished picture the exemplar's distribution of colours, none = "
        "leave it as optimised (default: %(default)s)",
    )
    verb.add_argument("--layers", type=_layers, help="such as conv1_1,conv2_1,conv3_1")
    _statistics(verb)
    _smoothness(verb, 0.0)
    _run_options(verb)


def _add_replay(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "replay",
        commands.replay,
        "make a saved picture again, bit for bit, from the record inside it",
    )
    verb.add_argument("picture", metavar="PICTURE", help="a picture that fastsynth saved")
    verb.add_argument("-o", "--output", metavar="FILE", required=True, help="the picture to write")
    verb.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="an input that is elsewhere now: old path=new path",
    )
    verb.add_argument("--weights", metavar="FILE", help="a file of weights that is elsewhere now")
    _estimating(verb)
    _showing(verb)


def _verb(verbs: Any, name: str, command: Any, text: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    verb.set_defaults(command=command)
    verb.add_argument(
        "-v", "--verbose", action="store_true", help="say more, and show errors in full"
    )
    verb.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return verb


def _estimating(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--estimate", action="store_true", help="say what memory and time it would take, and stop"
    )


def _showing(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--preview", metavar="FILE", help="write the picture so far to this file every few seconds"
    )
    verb.add_argument(
        "--quality", type=int, help="of JPEG and WebP, 1-100 (default: 95, for replay as it was)"
    )
    verb.add_argument(
        "--bit-depth", type=int, choices=(8, 16), help="of PNG and TIFF (default: as the input)"
    )


def _output_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="the picture to write: .png .jpg .tif .webp",
    )
    verb.add_argument(
        "--size", help="longer side in pixels, or WIDTHxHEIGHT (default: as the input)"
    )
    verb.add_argument(
        "--seed", type=int, default=0, help="of everything random (default: %(default)s)"
    )
    _showing(verb)


def _run_options(verb: argparse.ArgumentParser) -> None:
    _output_options(verb)
    run = verb.add_argument_group("how long, and how")
    run.add_argument(
        "--optimizer",
        choices=("auto", "lbfgs", "adam", "gd"),
        default="auto",
        help="default: %(default)s",
    )
    run.add_argument(
        "--scales",
        type=_scales,
        help="coarse-to-fine levels, 1 = none; or their sizes: 0.25,0.5,0.75,1 (default: by size)",
    )
    run.add_argument(
        "--max-evaluations", type=_evaluations, help="total, or one per level: 100,100,60,60"
    )
    run.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="stop with the best picture so far after this time",
    )
    run.add_argument(
        "--plateau",
        type=float,
        default=0.01,
        help="a level stops when 10 evaluations gain less than this share (default: %(default)s)",
    )
    run.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="peak memory of the process, such as 4GiB: large pictures are seen tile by tile "
        "(default: four fifths of the machine's)",
    )
    run.add_argument(
        "--estimate",
        action="store_true",
        help="say what memory and time it would take, and stop; long runs say so by themselves",
    )
    _checkpoint_options(run)
    _engine_options(verb)


def _checkpoint_options(run: Any) -> None:
    run.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep the run's whole state in this file; where it is there, the run goes on from it",
    )
    run.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="between two writes of it (default: %(default)s)",
    )
    run.add_argument(
        "--no-resume",
        dest="resume",
        action="store_false",
        help="begin anew although the checkpoint is there",
    )
    run.add_argument(
        "--trace", metavar="FILE", help="append a line of JSON for each step: losses, time, memory"
    )


def _engine_options(verb: argparse.ArgumentParser) -> None:
    engine = verb.add_argument_group("what computes")
    engine.add_argument("--network", default="vgg16", help="vgg16 or vgg19 (default: %(default)s)")
    engine.add_argument(
        "--weights",
        default="auto",
        help="auto, oxford, torchvision, random[:seed], or a file (default: %(default)s)",
    )
    engine.add_argument(
        "--download", action="store_true", help="fetch the weights when they are missing"
    )
    engine.add_argument("--pooling", choices=("max", "avg"), help="default: max; avg for textures")
    engine.add_argument(
        "--backend",
        choices=("auto", "native", "onnx", "step"),
        default="auto",
        help="default: %(default)s",
    )
    engine.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, or an ONNX Runtime provider (default: %(default)s)",
    )
    engine.add_argument(
        "--precision",
        choices=("exact", "fast", "mixed", "tf32", "bf16", "fp16"),
        default="exact",
        help="exact is float32, fast the device's own best trade, mixed is fast on the way and "
        "exact in the end (default: %(default)s)",
    )
    engine.add_argument("--threads", type=int, help="CPU threads (default: all cores)")


def _statistics(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--long-range",
        type=_long_range,
        default="auto",
        help="structure over long distances, such as rows of bricks: auto, off, strong or a weight "
        "(default: %(default)s)",
    )
    verb.add_argument(
        "--seamless", action="store_true", help="make a tile that fits together with itself"
    )
    _style_loss(verb)


def _style_loss(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--style-loss",
        default="auto",
        help="the statistics that are taken over: gram, mean_covariance, bn_statistics, "
        "mmd_linear, mmd_polynomial, … (default: %(default)s)",
    )


def _smoothness(verb: argparse.ArgumentParser, default: float) -> None:
    verb.add_argument(
        "--smoothness",
        type=float,
        default=default,
        help="weight of total variation (default: %(default)s)",
    )


def _long_range(text: str) -> str | float:
    """
    >>> _long_range("auto"), _long_range("0.5")
    ('auto', 0.5)
    """
    if text in ("auto", "off", "strong"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither auto, off, strong nor a number"
        ) from None


def _layers(text: str) -> dict[str, float]:
    """
    >>> _layers("conv1_1,conv2_1=0.5")
    {'conv1_1': 1.0, 'conv2_1': 0.5}
    """
    layers = {}
    for item in text.split(","):
        name, _, weight = item.partition("=")
        if not name.strip():
            raise argparse.ArgumentTypeError(f"a layer is missing in {text!r}")
        try:
            layers[name.strip()] = float(weight) if weight else 1.0
        except ValueError:
            raise argparse.ArgumentTypeError(f"the weight in {item!r} is not a number") from None
    return layers


def _scales(text: str) -> int | list[float]:
    try:
        return int(text) if text.isdigit() else [float(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number, nor shares such as 0.25,0.5,1"
        ) from None


def _evaluations(text: str) -> int | list[int]:
    try:
        numbers = [int(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number, nor several with commas"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers
