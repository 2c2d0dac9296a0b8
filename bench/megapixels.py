"""Time per megapixel and peak memory of a style transfer step, from small to very large pictures.

    python bench/megapixels.py                              # 512 to 4096 px
    python bench/megapixels.py --sizes 8192=8GiB            # an hour's fraction for 64 megapixels
    python bench/megapixels.py --layers conv1_1 conv2_1 conv3_1 conv4_1 conv5_1

Each size runs in a process of its own, under the memory limit that stands behind it ("512=" has
none), with one evaluation of the full size and no coarser levels. Seconds are those of the
evaluation: targets and loading are told apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

SIZES = ("512=", "1024=", "1024=900MiB", "2048=1.5GiB", "4096=4GiB")


def child(options: argparse.Namespace) -> None:
    """One size, in this process."""
    import numpy as np

    import fastsynth as fs
    from fastsynth._machine import peak_memory

    size, _, limit = options.child.partition("=")
    rng = np.random.default_rng(0)
    content, style = (
        np.kron(rng.integers(0, 255, (64, 64, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        for _ in range(2)
    )
    arguments = {}
    if options.layers:
        arguments = {
            "style_layers": options.layers,
            "content_layers": options.content,
            "style_loss": "gram",
        }
    started = time.monotonic()
    with fs.Synthesizer(weights=options.weights, threads=options.threads) as synthesizer:
        result = synthesizer.style_transfer(
            content,
            style,
            size=(int(size), int(size)),
            scales=1,
            max_evaluations=options.evaluations,
            memory_limit=limit or None,
            **arguments,
        )
    whole = time.monotonic() - started
    level, record = result.levels[-1], result.provenance["levels"][-1]
    seconds = level.run.history.seconds[-1] / level.run.evaluations
    megapixels = int(size) ** 2 / 1e6
    row = {
        "size": int(size),
        "limit": limit or None,
        "tile": record.get("tile"),
        "optimizer": record.get("optimizer", "LBFGS"),
        "seconds": round(seconds, 2),
        "seconds_per_megapixel": round(seconds / megapixels, 3),
        "whole_seconds": round(whole, 1),
        "peak_gib": round((peak_memory() or 0) / (1 << 30), 2),
        "loss": level.loss,
    }
    print(json.dumps(row), flush=True)


def main() -> None:
    """Runs the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="PIXELS=LIMIT")
    parser.add_argument("--evaluations", type=int, default=1)
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--layers", nargs="+", help="Gram matrices of these layers")
    parser.add_argument("--content", nargs="+", default=["conv4_2"], help="beside --layers")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    for size in options.sizes:
        command = [sys.executable, __file__, "--child", size, "--weights", options.weights]
        command += ["--evaluations", str(options.evaluations)]
        command += ["--content", *options.content]
        if options.layers:
            command += ["--layers", *options.layers]
        if options.threads:
            command += ["--threads", str(options.threads)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
