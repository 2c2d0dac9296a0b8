"""Hostile input by the hundred thousand: no crash, no hang, no code run, only typed errors.

    python scripts/hostile_campaign.py --cases 100000 [--workers 2] [--only jobs] [--keep FOLDER]
    python scripts/hostile_campaign.py --reproduce 1234
    python scripts/hostile_campaign.py --cases 20000 --sanitize

Feeds every reader of foreign data (pictures, weights, graphs, jobs, manifests, records,
checkpoints, formulas, steps; see hostile_targets.py) cases that are mutated from valid ones, with a
fixed seed. Workers feed them one after another, each in a folder of its own; one that dies or does
not come back is replaced, and the case is told. Right is an answer or a FastsynthError. A worker
watches itself by an audit hook: looking up a pickled name, starting a process, opening a
connection, or writing outside the folder is wrong, whatever comes of it. Memory is limited.

Prints a summary as JSON; exits with 1 when a case went wrong. --keep leaves those as files.

--sanitize builds the core under AddressSanitizer and UndefinedBehaviorSanitizer (see sanitized.py)
and runs the campaign with that: what they find ends a worker, and is told with their report.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import mmap
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import sanitized

if TYPE_CHECKING:
    from hostile_targets import Target

CASE_SECONDS = 20.0  # a case that takes longer hangs
MEMORY = 6 << 30  # bytes of address space that a worker may have
SLOWER = 10  # times, under sanitizers
FORBIDDEN = (
    *("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"),
    *("subprocess.Popen", "socket.connect", "socket.getaddrinfo", "shutil.rmtree", "os.symlink"),
)
BOARD = struct.Struct("<qd")  # case in work, and since when
PATIENCE = 0.1


def main() -> int:  # noqa: PLR0912
    """Runs the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="no case begins later")
    parser.add_argument("--only", help="one target")
    parser.add_argument("--keep", type=Path, help="folder for the cases that went wrong")
    parser.add_argument("--reproduce", type=int, metavar="CASE", help="feed this one alone")
    parser.add_argument("--sanitize", action="store_true", help="with a sanitized build")
    options = parser.parse_args()
    if options.sanitize and not sanitized.is_on():
        return sanitized.run_again()
    if options.reproduce is not None:
        return reproduce(options)
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    hands = [Hand(context, queue, number, options) for number in range(options.workers)]
    wrong: list[dict[str, Any]] = []
    tally: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    peak = 0
    while any(hand.is_busy for hand in hands):
        while not queue.empty():
            told = queue.get()
            if "tally" in told:
                tally.update(told["tally"])
                peak = max(peak, told["peak"])
                slowest.update({k: max(v, slowest.get(k, 0.0)) for k, v in told["slow"].items()})
            else:
                wrong.append(told)
        for hand in hands:
            wrong.extend(hand.look_after())
        time.sleep(PATIENCE)
    while not queue.empty():
        told = queue.get()
        if "tally" in told:
            tally.update(told["tally"])
            peak = max(peak, told["peak"])
        else:
            wrong.append(told)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, dict[str, Any]] = {}
    for item in sorted(wrong, key=lambda item: int(item["case"])):
        kinds.setdefault(item["what"], {**item, "times": 0})["times"] += 1
        if options.keep and "data" in item:
            (options.keep / f"{item['case']}.bin").write_bytes(bytes.fromhex(item["data"]))
    shown = [{k: v for k, v in item.items() if k != "data"} for item in kinds.values()]
    reports = sanitized.reports() if sanitized.is_on() else []
    summary = {
        "cases": sum(n for name, n in tally.items() if name.endswith((": read", ": refused")))
        + len(wrong),
        "wrong": len(wrong),
        "seed": options.seed,
        "seconds": round(time.monotonic() - begun),
        "peak MiB": peak >> 10,
        "slowest s": {name: round(seconds, 2) for name, seconds in sorted(slowest.items())},
        "by target": dict(sorted(tally.items())),
        "kinds": shown,
        **({"sanitizers": reports} if sanitized.is_on() else {}),
    }
    print(json.dumps(summary, indent=1))
    return 1 if wrong or reports else 0


class Hand:
    """A worker process and its successors: cases number, number + workers, ..."""

    def __init__(self, context: Any, queue: Any, number: int, options: argparse.Namespace) -> None:
        self.context, self.queue, self.options = context, queue, options
        self.step = options.workers
        self.until = time.time() + options.seconds
        self.file = tempfile.NamedTemporaryFile()  # noqa: SIM115  (as long as the process lives)
        self.file.write(BOARD.pack(-1, time.time()))
        self.file.flush()
        self.board = mmap.mmap(self.file.fileno(), BOARD.size)
        self.start(number)

    def start(self, first: int) -> None:
        """A process that begins with a case."""
        self.board[:] = BOARD.pack(-1, time.time())
        asked = self.options
        given = (first, self.step, asked.cases, asked.seed, asked.only, self.until)
        self.process = self.context.Process(target=work, args=(self.queue, self.file.name, given))
        self.process.start()
        self.is_busy = True

    def look_after(self) -> list[dict[str, Any]]:
        """What is wrong with the process, if anything is; a successor goes on behind the case."""
        if not self.is_busy:
            return []
        case, since = BOARD.unpack(self.board[:])
        patience = CASE_SECONDS * (SLOWER if sanitized.is_on() else 1)
        is_late = case >= 0 and time.time() - since > patience
        if self.process.is_alive() and not is_late:
            return []
        if self.process.exitcode == 0:
            self.is_busy = False
            return []
        if is_late:
            self.process.kill()
        self.process.join()
        if case < 0:
            raise SystemExit(f"a worker died before its first case: {self.process.exitcode}")
        what = "hang" if is_late else f"crash: exit code {self.process.exitcode}"
        self.start(case + self.step)
        return [{"case": case, "what": f"{what} of case {case}"}]


def work(queue: Any, board: str, given: tuple[int, int, int, int, str | None, float]) -> None:
    """Feeds its cases in a folder of its own."""
    first, step, cases, seed, only, until = given
    watch = settle()
    with tempfile.TemporaryDirectory() as folder, Path(board).open("r+b") as file:
        os.chdir(folder)
        targets = prepared(only)
        if sanitized.is_on():
            sanitized.listen()
        else:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes its complaints there
        watch.folder = os.path.realpath(folder)
        shared = mmap.mmap(file.fileno(), BOARD.size)
        tally: Counter[str] = Counter()
        slow: dict[str, float] = {}
        for case in range(first, cases, step):
            started = time.time()
            shared[:] = BOARD.pack(case, started)
            target, data = make(targets, seed, case)
            outcome = feed(target, data, watch)
            slow[target.name] = max(slow.get(target.name, 0.0), time.time() - started)
            if outcome in ("read", "refused"):
                tally[f"{target.name}: {outcome}"] += 1
            else:
                what = f"{target.name}: {outcome}"
                queue.put({"case": case, "what": what, "data": data.hex()})
            is_last = case + step >= cases or time.time() >= until
            if is_last or case // step % 500 == 0:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                queue.put({"tally": dict(tally), "slow": slow, "peak": peak})
                tally.clear()
            if is_last:
                break
        os.chdir("/")
        watch.folder = ""


def reproduce(options: argparse.Namespace) -> int:
    """One case, in this process, with its traceback."""
    watch = settle()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        target, data = make(prepared(options.only), options.seed, options.reproduce)
        print(target.name, data[:2000])
        watch.folder = os.path.realpath(folder)
        try:
            target.feed(data)
        finally:
            print("heard:", watch.heard)
            watch.folder = ""
            os.chdir("/")
    return 0


class Watch:
    """What the process did that no reader may do; listens while `folder` is set."""

    def __init__(self) -> None:
        self.folder = ""
        self.heard: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if not self.folder:
            return
        if event in FORBIDDEN:
            self.heard.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)) and is_write(arguments):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((self.folder, "/dev/null")) and "__pycache__" not in path:
                self.heard.append(f"writes {path}")


def is_write(arguments: tuple[Any, ...]) -> bool:
    """Whether an `open` event is for writing."""
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def settle() -> Watch:
    """Limits and silence for this process."""
    if not sanitized.is_on():  # shadow memory is terabytes of addresses; see there for the limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    return Watch()


def prepared(only: str | None) -> list[Target]:
    """The targets, ready."""
    from hostile_targets import TARGETS

    made = [kind() for kind in TARGETS]
    for target in made:
        target.prepare()
    return [target for target in made if only in (None, target.name)]


def make(targets: list[Target], seed: int, case: int) -> tuple[Target, bytes]:
    """A case by its number."""
    rng = random.Random(f"{seed}/{case}")
    (target,) = rng.choices(targets, [target.share for target in targets])
    return target, target.make(rng)


def feed(target: Target, data: bytes, watch: Watch) -> str:
    """ "read", "refused", or what went wrong and where."""
    from fastsynth import FastsynthError

    outcome = "read"
    try:
        target.feed(data)
    except FastsynthError as error:
        outcome = "refused" if str(error) else f"{type(error).__name__} without a message"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [
            f
            for f in frames
            if "fastsynth/" in f.filename.replace("python/fastsynth", "fastsynth/")
        ]
        place = own[-1] if own else frames[-1]
        outcome = (
            f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno} "
            f"{place.name}: {error!s:.90}"
        )
    if watch.heard:
        outcome = f"{watch.heard[0]} ({outcome})"
        watch.heard.clear()
    if Path("canary").exists():
        Path("canary").unlink()
        outcome = f"code was run ({outcome})"
    return outcome


if __name__ == "__main__":
    sys.exit(main())
