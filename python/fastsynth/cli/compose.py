"""fastsynth compose: filters, blending, colour and pencil on the command line."""

from __future__ import annotations

import argparse
import inspect
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsynth._errors import ImageError, ObjectiveError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from fastsynth.compose import Step

__all__ = ["add_compose", "parse_step"]

QUALITY = 95


def add_compose(add: Callable[..., argparse.ArgumentParser], verbs: Any) -> None:
    """Adds the subcommand; `add` is the parser's own way to add one."""
    verb = add(
        verbs, "compose", compose, "filter, blend, recolour or sketch pictures, step by step"
    )
    verb.epilog = (
        "Example:  fastsynth compose photo.jpg -o out.png --step 'convolve sharpen' "
        "--step 'gamma value=1.2' --step 'blend b=paper.jpg alpha=0.8 mode=multiply'"
    )
    verb.set_defaults(usage_error=verb.error)
    verb.add_argument("inputs", metavar="INPUT", nargs="*", help="a picture, or several")
    verb.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the picture to write: .png .jpg .tif .webp; for several inputs a folder",
    )
    verb.add_argument(
        "--step",
        action="append",
        default=[],
        metavar="'NAME ARGUMENT=VALUE …'",
        help="what to do; may be given several times, they are done in order",
    )
    verb.add_argument(
        "--job", metavar="JOB.toml", help="take the steps of this job, before those of --step"
    )
    verb.add_argument("--list", action="store_true", help="show all steps with their arguments")
    verb.add_argument(
        "--size",
        help="before all steps: longer side in pixels, or WIDTHxHEIGHT (default: as it is)",
    )
    verb.add_argument("--seed", type=int, help="of all steps that are random (default: their own)")
    verb.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    verb.add_argument("--quality", type=int, default=QUALITY, help="of JPEG and WebP, 1-100")
    verb.add_argument(
        "--bit-depth", type=int, choices=(8, 16), help="of PNG and TIFF (default: as the input)"
    )


def compose(options: argparse.Namespace) -> int:
    """fastsynth compose INPUT… -o OUT"""
    if options.list:
        return show_steps()
    if not options.inputs or not options.output:
        options.usage_error("expected INPUT… and -o FILE, or --list")
    from fastsynth.compose import Pipeline, step
    from fastsynth.image import check_writable

    steps = [*_job_steps(options.job), *map(parse_step, options.step)]
    if options.seed is not None:
        steps = [_seeded(item, options.seed) for item in steps]
    if options.size is not None:
        steps = [step("resize", size=options.size), *steps]
    pipeline = Pipeline(steps)
    targets = _targets(options.inputs, options.output)
    for target in targets:
        check_writable(target, quality=options.quality, bit_depth=options.bit_depth or 8)
    for source, target in zip(options.inputs, targets, strict=True):
        result = pipeline(source, threads=options.threads)
        path = result.save(target, quality=options.quality, bit_depth=options.bit_depth)
        if not options.quiet:
            print(f"{path}: {result.shape[1]}×{result.shape[0]}", file=sys.stderr)
    return 0


def parse_step(text: str) -> Step:
    """The step of words: its name, then values in the order of its arguments, or argument=value.

    Values are numbers, true, false, lists in brackets, or else text.

    >>> parse_step("gamma 1.2"), parse_step("blend b=paper.jpg alpha=0.5")
    (step('gamma', value=1.2), step('blend', b='paper.jpg', alpha=0.5))
    """
    from fastsynth.compose.pipeline import Step, step_function

    try:
        name, *words = shlex.split(text) or [""]
    except ValueError as error:
        raise ObjectiveError(f"--step {text!r}: {error}") from None
    if not name:
        raise ObjectiveError("--step '': the name of a step is missing; see --list")
    known = list(inspect.signature(step_function(name)).parameters)[1:]
    arguments: dict[str, Any] = {}
    for place, word in enumerate(words):
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            if place >= len(known):
                raise ObjectiveError(f"--step {text!r}: {name} takes no further value {word!r}")
            key, value = known[place], word
        if key in arguments:
            raise ObjectiveError(f"--step {text!r}: {key} is given twice")
        arguments[key] = _value(value)
    return Step(name, arguments)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _job_steps(path: str | None) -> list[Step]:
    """The steps of a JOB.toml; their pictures lie beside it."""
    if path is None:
        return []
    from fastsynth.compose import Pipeline
    from fastsynth.synthesize.jobs import decode_arguments, read_job

    job = read_job(path)
    Pipeline.from_job(job)  # says what is wrong with it
    steps = {"steps": job["arguments"].get("steps", [])}
    arguments = decode_arguments(steps, Path(path).parent, {})
    return list(Pipeline.from_job({"verb": "compose", "arguments": arguments}))


def _seeded(item: Step, seed: int) -> Step:
    from fastsynth.compose import Step

    takes = inspect.signature(item.function).parameters
    return Step(item.name, {"seed": seed, **item.arguments}) if "seed" in takes else item


def _targets(inputs: list[str], output: str) -> list[Path]:
    """Where to write: the file, or for several inputs their names in a folder."""
    folder = Path(output)
    if len(inputs) == 1 and not folder.is_dir():
        return [folder]
    if not folder.is_dir():
        raise ImageError(f"{output} is no folder; several inputs need one: make it, or give one")
    targets = [folder / Path(name).name for name in inputs]
    if len(set(targets)) < len(targets):
        raise ImageError("two inputs have the same name; compose them one by one")
    clash = [name for name, target in zip(inputs, targets, strict=True) if Path(name) == target]
    if clash:
        raise ImageError(f"{clash[0]} would be written over itself; give another folder")
    return targets


def show_steps() -> int:
    """Prints every step with its arguments and what it does."""
    from fastsynth import compose as package

    for name in package.STEPS:
        function = getattr(package, name)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        words = [
            p.name if p.default is p.empty else f"{p.name}={_default(p.default)}"
            for p in parameters
            if p.name != "threads"
        ]
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        print(f"{' '.join([name, *words])}\n    {summary}")
    return 0


def _default(value: Any) -> str:
    return "…" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
