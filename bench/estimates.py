"""What fs.estimate says beside what runs then take: peak memory and wall time.

    python bench/estimates.py                       # all cases; ten minutes on two cores
    python bench/estimates.py --only transfer-512 texture-384-lbfgs --rounds 3

Each case is estimated in a process of its own, and run in another. Peak memory is the process' own
(VmHWM), seconds are of the verb's call with the network opened. No level stops early (plateau 0),
so that the time is that of all evaluations. Exits with 1 where memory is off by more than a fifth,
or time by more than two fifths.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

Case = tuple[str, dict[str, Any]]

PLAIN = {"weights": "random:0", "plateau": 0, "scales": 1, "max_evaluations": 8}
VGG = {"style_loss": "gram", "content_layers": "conv4_2"}
CASES: dict[str, Case] = {
    "transfer-256": ("style_transfer", {"size": 256, "max_evaluations": 20}),
    "transfer-512": ("style_transfer", {"size": 512}),
    "transfer-768": ("style_transfer", {"size": 768}),
    "transfer-512-adam": ("style_transfer", {"size": 512, "optimizer": "adam"}),
    "transfer-512-gd": ("style_transfer", {"size": 512, "optimizer": "gd"}),
    "transfer-512-deep": (
        "style_transfer",
        {"size": 512, **VGG, "style_layers": [f"conv{n}_1" for n in (1, 2, 3, 4, 5)]},
    ),
    "transfer-512-vgg19": ("style_transfer", {"size": 512, "network": "vgg19", **VGG}),
    "transfer-512-levels": ("style_transfer", {"size": 512, "scales": 3, "max_evaluations": 24}),
    "transfer-640-scaled": ("style_transfer", {"size": 640, "style_scale": 0.5}),
    "transfer-512-luminance": ("style_transfer", {"size": 512, "color": "luminance"}),
    "transfer-384-sliced": (
        "style_transfer", {"size": 384, "style_loss": "sliced_wasserstein"},
    ),
    "transfer-384-onnx": ("style_transfer", {"size": 384, "backend": "onnx"}),
    "transfer-512-onnx-adam": (
        "style_transfer", {"size": 512, "backend": "onnx", "optimizer": "adam", **VGG},
    ),
    "transfer-256-step": ("style_transfer", {"size": 256, "backend": "step"}),
    "transfer-384-step-adam": (
        "style_transfer", {"size": 384, "backend": "step", "optimizer": "adam"},
    ),
    "texture-384-lbfgs": ("synthesize_texture", {"size": [384, 384], "max_evaluations": 12}),
    "texture-512-levels": (
        "synthesize_texture", {"size": [512, 512], "scales": 3, "max_evaluations": 24},
    ),
    "texture-384-seamless": ("synthesize_texture", {"size": [384, 384], "seamless": True}),
    "invert-448-vgg19": ("invert", {"size": 448, "network": "vgg19"}),
    "invert-512-deep": ("invert", {"size": 512, "layers": "conv5_1", "optimizer": "adam"}),
    "invert-384-onnx": ("invert", {"size": 384, "backend": "onnx", "layers": "conv3_1"}),
    "mix-384": ("mix", {"size": 384, "layers": "conv3_1"}),
    "dream-512": ("dream", {"size": 512, "layer": "conv4_3"}),
    "tiles-1024": (
        "style_transfer", {"size": 1024, "memory_limit": "700MiB", "max_evaluations": 4},
    ),
    "tiles-1024-file": (
        "style_transfer",
        {"size": 1024, "memory_limit": "520MiB", "max_evaluations": 4, "optimizer": "adam"},
    ),
    "tiles-768-deep": (
        "style_transfer", {"size": 768, **VGG, "memory_limit": "900MiB", "max_evaluations": 4},
    ),
    "tiles-768-onnx": (
        "style_transfer",
        {"size": 768, "backend": "onnx", "memory_limit": "900MiB", "max_evaluations": 4},
    ),
}  # fmt: skip


def child(name: str, what: str) -> None:
    """An estimate or a run, in this process."""
    import numpy as np

    import fastsynth as fs
    from fastsynth._machine import peak_memory

    verb, own = CASES[name]
    keywords: dict[str, Any] = {**PLAIN, **own}
    if verb == "dream":
        for key in ("plateau", "scales", "max_evaluations"):
            del keywords[key]
    if isinstance(keywords["size"], list):
        keywords["size"] = tuple(keywords["size"])
    y, x = np.mgrid[:384, :512].astype(np.float32) / 64
    first = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1) / 2 + 0.5
    second = np.stack([np.cos(3 * x), np.sin(2 * y), np.sin(x * y)], -1) / 2 + 0.5
    pictures: list[Any] = [first, second] if verb == "style_transfer" else [first]
    if verb == "mix":
        pictures = [[(first, 0.6), (second, 0.4)]]
    if what == "estimate":
        found = fs.estimate(verb, *pictures, **keywords)
        print(json.dumps([found.memory, found.seconds_at_most, found.levels[-1].tile]))
        return
    started = time.monotonic()
    getattr(fs, verb)(*pictures, **keywords)
    print(json.dumps([peak_memory(), time.monotonic() - started, None]))


def measured(name: str, what: str) -> tuple[float, float, int | None]:
    """Bytes, seconds and tile that a child tells."""
    command = [sys.executable, __file__, "--child", name, what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    memory, seconds, tile = json.loads(done.stdout)
    return memory, seconds, tile


def main() -> int:
    """Runs the cases; prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE")
    parser.add_argument("--rounds", type=int, default=1, help="of each case; medians are shown")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    print("| case | tiles | memory seen | foreseen over it | seconds seen | foreseen over it |")
    print("|---|---|---|---|---|---|")
    outside = []
    for name in options.only or CASES:
        rows = [(measured(name, "estimate"), measured(name, "run")) for _ in range(options.rounds)]
        memory = statistics.median(told[0] / seen[0] for told, seen in rows)
        seconds = statistics.median(told[1] / seen[1] for told, seen in rows)
        told, seen = rows[0]
        tiles = "" if told[2] is None else f"{told[2]} px"
        print(
            f"| {name} | {tiles} | {seen[0] / (1 << 20):.0f} MiB | {memory:.2f} | {seen[1]:.1f} | "
            f"{seconds:.2f} |",
            flush=True,
        )
        if not (abs(memory - 1) <= 0.2 and abs(seconds - 1) <= 0.4):
            outside.append(name)
    print(f"\n{len(outside)} outside: {', '.join(outside) or 'none'}")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
