"""Kills, full disks and failing writes, by the hundred: nothing lost, nothing half-written.

    python scripts/fault_campaign.py [--kills 120 --batch-kills 120 --full 54 --ray 20]

Each round runs a command with a checkpoint in a folder of its own and kills it (SIGKILL) at random
moments until it ends; the picture must then be that of an undisturbed run, and no other file may be
left. Batches are killed likewise: no picture half-written, none made twice, all the same at the
end. With --ray, workers of a local Ray cluster are killed under a batch that runs once, to the end
(needs ray and Linux). Rounds with failing writes take turns: the checkpoint on a small tmpfs (needs
the right to mount), the checkpoint under a limit on the size of files, the picture on a tmpfs too
small for it. The first two must end with the same picture; the last must say so, leave no file
there, and keep the checkpoint, from which the same command with another output goes on. Jobs are
small, so that some minutes see hundreds. Prints a summary as JSON; exits with 1 when a round went
wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
WEIGHTS = "two.safetensors"  # of two layers: read in no time
INPUTS = ("a.png", "b.png", WEIGHTS)
BATCH = 12  # jobs of a batch
FAILURES = ("full disk under the checkpoint", "limit on files", "full disk under the picture")


def main() -> int:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=120, help="of checkpointed runs")
    parser.add_argument("--batch-kills", type=int, default=120, help="of batches")
    parser.add_argument("--full", type=int, default=54, help="rounds with failing writes")
    parser.add_argument("--ray", type=int, default=0, help="kills of Ray workers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="end after this time")
    options = parser.parse_args()
    rng, end = random.Random(options.seed), time.monotonic() + options.seconds
    tally = {
        "kills": 0,
        "runs through": 0,
        "batch kills": 0,
        "batches through": 0,
        "ray kills": 0,
        "ray batches": 0,
        **dict.fromkeys(FAILURES, 0),
        "wrong": 0,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / WEIGHTS)
        for index, file in enumerate(INPUTS[:2]):
            coarse = np.random.default_rng(index).integers(0, 255, (6, 8, 3), np.uint8)
            Image.fromarray(coarse).resize((64, 48)).save(folder / file)
        begun = time.monotonic()
        subprocess.run(command("whole.png"), cwd=folder, env=ENV, check=True)
        usual = time.monotonic() - begun
        wanted = np.asarray(Image.open(folder / "whole.png"))
        while tally["kills"] < options.kills and time.monotonic() < end:
            tally["kills"] += kill_until_through(folder, rng, usual)
            tally["runs through"] += 1
            tally["wrong"] += not as_wanted(folder, wanted)
        pictures: dict[str, bytes] = {}
        while tally["batch kills"] < options.batch_kills and time.monotonic() < end:
            kills, right = kill_batch(folder, rng, usual, pictures)
            tally["batch kills"] += kills
            tally["batches through"] += 1
            tally["wrong"] += not right
        while tally["ray kills"] < options.ray and time.monotonic() < end:
            kills, right = kill_workers(folder, rng, options.ray - tally["ray kills"])
            tally["ray kills"] += kills
            tally["ray batches"] += 1
            tally["wrong"] += not right
        rounds = 0
        while rounds < options.full and time.monotonic() < end:
            kind = FAILURES[rounds % 3]
            rounds += 1
            if kind == FAILURES[2]:
                fine = spoil_picture(folder, rng)
            else:
                fine = spoil_checkpoint(folder, rng, tmpfs=kind == FAILURES[0])
            tally[kind] += 1
            tally["wrong"] += not (fine and as_wanted(folder, wanted))
    print(json.dumps({**tally, "seed": options.seed, "system": platform.platform()}))
    return 1 if tally["wrong"] else 0


def write_weights(path: Path) -> None:
    """Weights of the network's first two layers."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for layer, inputs in (("conv1_1", 3), ("conv1_2", 64)):
        kernels = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (64, inputs, 3, 3))
        arrays[f"{layer}.weight"] = kernels.astype(np.float32)
        arrays[f"{layer}.bias"] = np.zeros(64, np.float32)
    save_file(arrays, path)


def command(output: str, checkpoint: str | None = None) -> list[str]:
    """A style transfer of two small levels."""
    words = [sys.executable, "-m", "fastsynth", "transfer", *INPUTS[:2], "-o", output, "-q"]
    words += ["--weights", WEIGHTS, "--style-layers", "conv1_1", "--content-layers", "conv1_2"]
    words += ["--max-evaluations", "40,40", "--scales", "2", "--plateau", "0"]
    if checkpoint is not None:
        words += ["--checkpoint", checkpoint, "--checkpoint-seconds", "0"]
    return words


def kill_until_through(folder: Path, rng: random.Random, usual: float) -> int:
    """Gives the command until it ends by itself; returns the number of kills."""
    kills = 0
    while True:
        process = subprocess.Popen(command("out.png", "run"), cwd=folder, env=ENV)
        try:
            # From before the first iteration to after the end.
            code = process.wait(rng.uniform(0.4, 1.3) * usual)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        if code:
            raise SystemExit(f"the command ended with {code}")
        return kills


def kill_batch(
    folder: Path, rng: random.Random, usual: float, pictures: dict[str, bytes]
) -> tuple[int, bool]:
    """A batch that is killed until it is through; `pictures` are the first one's."""
    write_jobs(folder, BATCH, WEIGHTS, "conv1_2")
    words = [sys.executable, "-m", "fastsynth", "batch", "jobs.jsonl", "-q", "--checkpoints"]
    kept: dict[str, int] = {}
    right, kills = True, 0
    while True:
        process = subprocess.Popen(words, cwd=folder, env=ENV)
        try:
            code = process.wait(rng.uniform(0.4, 1.3) * usual)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code, kills = None, kills + 1
        for path in (folder / "out").glob("[0-9]*.png"):
            with Image.open(path) as image:
                image.load()  # whole, at every moment
            # Made once: a finished picture is not written again.
            right &= kept.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
        if code is not None:
            break
    made = {path.name: path.read_bytes() for path in (folder / "out").glob("[0-9]*.png")}
    pictures.update({} if pictures else made)
    left = [p.name for p in (folder / "out").iterdir() if p.suffix not in (".png", ".tmp")]
    right &= code == 0 and len(made) == BATCH and made == pictures and not left
    if not right:
        print(f"wrong batch: code {code}, {sorted(made)}, left {left}", file=sys.stderr)
    shutil.rmtree(folder / "out")
    (folder / "jobs.jsonl").unlink()
    return kills, right


def write_jobs(folder: Path, count: int, weights: str, layer: str) -> None:
    """The manifest of a batch."""
    jobs: list[object] = [{"defaults": {"verb": "invert", "engine": {"weights": weights}}}]
    for number in range(count):
        inner = {"image": INPUTS[number % 2], "layers": layer, "seed": number, "scales": 1}
        arguments = {**inner, "max_evaluations": 30, "plateau": 0.0}
        jobs.append({"output": f"out/{number}.png", "arguments": arguments})
    (folder / "jobs.jsonl").write_text("\n".join(json.dumps(job) for job in jobs))


def kill_workers(folder: Path, rng: random.Random, most: int) -> tuple[int, bool]:
    """A batch on a local Ray cluster, of whose workers one is killed for each picture or so."""
    count = 4 * BATCH
    write_jobs(folder, count, "random:0", "conv2_1")
    words = [sys.executable, "-m", "fastsynth", "batch", "jobs.jsonl", "-q", "--again"]
    subprocess.run(words, cwd=folder, env=ENV, check=True)
    wanted = {p.name: np.asarray(Image.open(p)) for p in (folder / "out").glob("*.png")}
    shutil.rmtree(folder / "out")
    words = [*words[:-1], "--ray", "local", "--jobs", "2", "--report", "report.json"]
    process = subprocess.Popen(words, cwd=folder, env=ENV)
    kept: dict[str, int] = {}
    right, kills, before = True, 0, 0
    while process.poll() is None:
        time.sleep(rng.uniform(0.1, 1.0))
        for path in (folder / "out").glob("[0-9]*.png"):
            with Image.open(path) as image:
                image.load()  # whole, at every moment
            right &= kept.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
        living = ray_workers(process.pid)
        if living and len(kept) > before and kills < most:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(living), signal.SIGKILL)
                kills, before = kills + 1, len(kept)
    report = json.loads((folder / "report.json").read_text())
    made = {p.name: np.asarray(Image.open(p)) for p in (folder / "out").glob("[0-9]*.png")}
    right &= process.returncode == 0 and report["done"] == count and sorted(made) == sorted(wanted)
    right &= all(np.array_equal(made[name], wanted[name]) for name in made)
    if not right:
        print(f"wrong Ray batch: code {process.returncode}, {len(made)} made", file=sys.stderr)
    shutil.rmtree(folder / "out")
    (folder / "jobs.jsonl").unlink()
    (folder / "report.json").unlink()
    return kills, right


def ray_workers(driver: int) -> list[int]:
    """Processes of the batch's workers: those below the driver's."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if not (entry / "cmdline").read_bytes().startswith(b"ray::RayWorker"):
                continue
            parent = int(entry.name)
            while parent > 1 and parent != driver:
                stat = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace")
                parent = int(stat.rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if parent == driver:
            found.append(int(entry.name))
    return found


def spoil_checkpoint(folder: Path, rng: random.Random, *, tmpfs: bool) -> bool:
    """A run whose checkpoint does not fit, on a small disk or under a limit; whether it ended."""
    size = rng.randrange(16, 1500) * 1024

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    with small_disk(folder, size if tmpfs else None) as disk:
        words = command("out.png", "disk/run")
        run = subprocess.run(
            words, cwd=folder, env=ENV, check=False, preexec_fn=None if tmpfs else limit
        )
        left = [item.name for item in disk.iterdir()]
    if run.returncode or left:
        print(f"wrong: a full disk: code {run.returncode}, left {left}", file=sys.stderr)
    return run.returncode == 0 and not left


def spoil_picture(folder: Path, rng: random.Random) -> bool:
    """A run whose picture does not fit, then with room for it; whether both went as they should."""
    with small_disk(folder, 4096 * rng.randrange(1, 3)) as disk:
        (disk / "other").write_bytes(bytes(rng.randrange(0, 4096)))
        words = command("disk/out.png", "run")
        run = subprocess.run(
            words, cwd=folder, env=ENV, check=False, stderr=subprocess.PIPE, text=True
        )
        left = [item.name for item in disk.iterdir()]
    told = run.returncode == 1 and len(run.stderr.splitlines()) == 1
    if not told or left != ["other"] or not (folder / "run").exists():
        print(f"wrong: code {run.returncode}, {run.stderr!r}, left {left}", file=sys.stderr)
        return False
    code = subprocess.run(command("out.png", "run"), cwd=folder, env=ENV, check=False).returncode
    return code == 0


@contextmanager
def small_disk(folder: Path, size: int | None) -> Iterator[Path]:
    """A folder on a tmpfs of so many bytes, or a plain one; needs the right to mount."""
    disk = folder / "disk"
    disk.mkdir()
    if size is not None:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        subprocess.run(mount, check=True)
    try:
        yield disk
    finally:
        if size is not None:
            subprocess.run(["umount", str(disk)], check=True)
    shutil.rmtree(disk)


def as_wanted(folder: Path, wanted: np.ndarray) -> bool:
    """Whether the picture is right and nothing else is left; takes it away."""
    files = sorted(item.name for item in folder.iterdir())
    same = np.array_equal(np.asarray(Image.open(folder / "out.png")), wanted)
    if not same or files != sorted([*INPUTS, "out.png", "whole.png"]):
        print(f"wrong: same pixels {same}, files {files}", file=sys.stderr)
        return False
    (folder / "out.png").unlink()
    return True


if __name__ == "__main__":
    sys.exit(main())
