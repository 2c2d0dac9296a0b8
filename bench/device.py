"""Providers of ONNX Runtime beside torch on one device: time of an evaluation and of an iteration.

VGG16 with max pooling, five style losses and one content loss, as in evaluation.py. An evaluation
is loss and gradient for an image; an iteration is that and an Adam step. Everything takes turns,
each in a process of its own, and must agree on loss and gradient before it is timed.

On a machine with an NVIDIA card this makes an environment of its own and measures there:

    make bench-device

which is, with the extras gpu and export of fastsynth in one environment:

    python bench/device.py --provider cuda tensorrt --profile --json device.json

On a processor, with onnxruntime-openvino in place of onnxruntime:

    python bench/device.py --provider cpu openvino native --sizes 256 --rounds 3

Every provider runs in each precision that it has (`--precision` chooses), as step graphs, which
stay on the device, and with backend="onnx", whose losses and updates are the host's (`--backend`
chooses). A timing is of as many steps as take some tenths of a second, after a warm-up in which
graphs are compiled and recorded, and ends when the device has done its work. torch runs eager and
as fast as it can be made, in the same precisions: channels_last, autocast, torch.compile, CUDA
graphs.
`--torch-python` names the interpreter that has torch, where it is another one; `--no-torch` leaves
torch out. `--profile` adds the share of kernels and of transfers, from the runtimes' own profilers.

Ratios are the median over rounds, with quartiles, of one time over the best torch's within a round.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from evaluation import (
    CONTENT_LAYER,
    KEEP_MEMORY,
    ROOT,
    STYLE_LAYERS,
    TAPS,
    FloatArray,
    pictures,
    random_weights,
)

if TYPE_CHECKING:
    from device_torch import TorchRun

RATE = 0.02  # of Adam
WARM = 4  # steps before the first that counts: both turns of a recorded step, and its algorithms
LASTS = 0.3  # seconds of one timing, where steps are short
# The greatest relative error of a gradient against float32's, by precision.
ALLOWED = {"exact": 1e-2, "tf32": 5e-2, "fp16": 0.3, "bf16": 0.5}


class StepRun:
    """fastsynth's step graphs: nothing but the numbers of a report comes to the host.

    name: step-PROVIDER-PRECISION.
    """

    def __init__(self, name: str, size: int, threads: int) -> None:
        from fastsynth import _core
        from fastsynth.network import ARCHITECTURES
        from fastsynth.network.step_network import StepNetwork
        from fastsynth.objective import Canvas, Part, WholeObjective
        from fastsynth.optimize import Adam
        from fastsynth.optimize.evaluator import Evaluator
        from fastsynth.optimize.step import StepGraph

        _, device, precision = name.split("-")
        pool = _core.ThreadPool(threads)
        weights = random_weights(ARCHITECTURES["vgg16"], TAPS[-1])
        network = StepNetwork("vgg16", weights, device=device, precision=precision, pool=pool)
        images = pictures(size)
        of_style = network.features(images["style"], STYLE_LAYERS)
        content = network.features(images["content"], (CONTENT_LAYER,))[CONTENT_LAYER]
        parts = [
            Part(
                tap,
                _core.ContentTerm(content, "paper")
                if tap == CONTENT_LAYER
                else _core.GramTerm(_core.gram(of_style[tap], pool), "paper"),
                1.0,
                tap,
            )
            for tap in TAPS
        ]
        ones = (1.0,) * len(parts)
        whole = WholeObjective(tuple(parts), TAPS, ones, Canvas(size, size), {None: network})
        self.start = images["start"]
        self.evaluator = Evaluator(whole, network.execution, threads)
        graph = StepGraph(whole, Adam(RATE))
        self.resident = graph.open([self.start], network.execution, threads)

    def result(self) -> tuple[float, FloatArray]:
        """Loss and gradient at the start."""
        loss, _, gradient = self.evaluator.evaluate(self.start)
        return loss, gradient

    def evaluate(self, count: int) -> float:
        """Seconds of an evaluation. Reports are read in the end, when the device is done."""
        begun = time.perf_counter()
        self.evaluator._graph.run(count)
        return (time.perf_counter() - begun) / count

    def iterate(self, count: int) -> float:
        """Seconds of an iteration."""
        begun = time.perf_counter()
        self.resident.run(count)
        return (time.perf_counter() - begun) / count

    def profile(self) -> dict[str, Any]:
        """Shares of one iteration's time, from ONNX Runtime's profiler."""
        self.iterate(WARM)
        wall = self.iterate(1)
        # A profile that goes on would slow the evaluations that are timed.
        _kinds([self.evaluator._graph._session])
        return shares_of(_kinds([self.resident._session]), wall)


def _kinds(sessions: Iterable[Any]) -> dict[str, float]:
    """Seconds of the last run of each node of sessions, by kind; ends their profiles."""
    kinds: dict[str, float] = defaultdict(float)
    for session in sessions:
        file = Path(session.end_profiling())
        last: dict[str, dict[str, Any]] = {}
        for event in json.loads(file.read_text(encoding="utf-8")):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                last[event["name"]] = event
        file.unlink()
        for event in last.values():
            kinds[event["args"]["op_name"]] += event["dur"] / 1e6
    return kinds


class OurRun:
    """fastsynth through one provider: evaluations by the engine, which reads features on the host.

    name: "native", or onnx-PROVIDER-PRECISION.
    """

    def __init__(self, name: str, size: int, threads: int) -> None:
        from fastsynth import _core
        from fastsynth.network import ARCHITECTURES, Network

        self.pool = pool = _core.ThreadPool(threads)
        weights = random_weights(ARCHITECTURES["vgg16"], TAPS[-1])
        network: Network
        if name == "native":
            from fastsynth.network.native import NativeNetwork

            network = NativeNetwork("vgg16", weights, pool=pool)
        else:
            from fastsynth.network.onnx_network import OnnxNetwork

            _, device, precision = name.split("-")
            network = OnnxNetwork("vgg16", weights, device=device, precision=precision, pool=pool)
        self.network = network
        images = pictures(size)
        of_style = network.features(images["style"], STYLE_LAYERS)
        grams = {tap: _core.gram(of_style[tap], pool) for tap in STYLE_LAYERS}
        content = network.features(images["content"], (CONTENT_LAYER,))[CONTENT_LAYER]
        self.bound = network.bind(size, size, TAPS)
        self.objective = _core.ImageObjective([self.bound.core], size, size, pool)
        for index, tap in enumerate(TAPS):
            term: _core.LayerTerm
            if tap == CONTENT_LAYER:
                term = _core.ContentTerm(content, "paper")
            else:
                term = _core.GramTerm(grams[tap], "paper")
            self.objective.add_layer_term(0, index, term, 1.0, tap)
        self.start = images["start"]

    def result(self) -> tuple[float, FloatArray]:
        """Loss and gradient at the start."""
        loss, gradient = self.objective.evaluate(self.start)
        return loss, gradient.reshape(self.start.shape)

    def evaluate(self, count: int) -> float:
        """Seconds of an evaluation."""
        begun = time.perf_counter()
        for _ in range(count):
            self.objective.evaluate(self.start)
        return (time.perf_counter() - begun) / count

    def iterate(self, count: int) -> float:
        """Seconds of an iteration."""
        from fastsynth.optimize import Adam, StopRules, run

        rules = StopRules(max_evaluations=count, plateau=None)
        begun = time.perf_counter()
        run(self.objective, self.start, Adam(RATE), rules=rules)
        return (time.perf_counter() - begun) / count

    def profile(self) -> dict[str, Any]:
        """Shares of one evaluation's time, from ONNX Runtime's profiler."""
        passes = getattr(self.bound, "_passes", None)
        if passes is None:
            return {}
        opened = [piece._session for piece in (*passes._forward, *passes._backward)]
        self.evaluate(WARM)
        wall = self.evaluate(1)
        return shares_of(_kinds(opened), wall)


def shares_of(kinds: dict[str, float], wall: float) -> dict[str, Any]:
    """Time by kind of work over the wall time; what is called memcpy is a transfer."""
    shares = {kind: seconds / wall for kind, seconds in kinds.items()}
    transfers = sum(share for kind, share in shares.items() if "memcpy" in kind.lower())
    top = sorted(shares.items(), key=lambda item: -item[1])[:8]
    return {
        "kernels": round(sum(shares.values()) - transfers, 3),
        "transfers": round(transfers, 3),
        "top": {kind: round(share, 3) for kind, share in top},
    }


def work(name: str, size: int, threads: int, result: Path, profile: bool) -> None:
    """A worker: writes loss and gradient to `result`, then times what each line asks for."""
    sys.path.insert(0, str(ROOT / "python"))
    runner: OurRun | StepRun | TorchRun
    if name.startswith("torch"):
        from device_torch import TorchRun

        runner = TorchRun(name, size, threads)
    else:
        if profile:
            _profile_sessions(result.parent / name)
        runner = (StepRun if name.startswith("step-") else OurRun)(name, size, threads)
    loss, gradient = runner.result()
    np.savez(result, loss=loss, gradient=gradient)
    print("ready", flush=True)
    steps: dict[str, Callable[[int], float]] = {
        "evaluate": runner.evaluate,
        "iterate": runner.iterate,
    }
    for line in sys.stdin:
        what, count = line.split()
        found = runner.profile() if what == "profile" else steps[what](int(count))
        print(json.dumps(found), flush=True)


def _profile_sessions(prefix: Path) -> None:
    """Lets every session that is opened from now on write a profile."""
    from fastsynth.network import session

    plain = session._session_options
    numbers = itertools.count()

    def profiling(ort: Any, threads: int) -> Any:
        options = plain(ort, threads)
        options.enable_profiling = True
        options.profile_file_prefix = f"{prefix}-{next(numbers)}"
        return options

    session._session_options = profiling


class Worker:
    """One implementation in a process of its own."""

    def __init__(self, name: str, python: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self.file = folder / f"{name}.npz"
        self.log = (folder / f"{name}.log").open("w+", encoding="utf-8")
        self.times: dict[str, list[float]] = {"evaluate": [], "iterate": []}
        self.process = subprocess.Popen(
            [python, __file__, "--worker", name, "--result", str(self.file), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **KEEP_MEMORY},
            text=True,
        )
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) and line != "ready\n":
            pass  # what compilers have to say
        self.problem = None if line else self._last_words()

    def _last_words(self) -> str:
        self.process.wait()
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        return lines[-1] if lines else "it died without a word"

    def ask(self, what: str, count: int) -> Any:
        """Has the worker do something and returns what it found."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} died: {self._last_words()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def spread(values: Iterable[float], digits: int = 3) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [round(float(q), digits) for q in np.quantile(list(values), (0.25, 0.5, 0.75))]


def compare(size: int, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Runs all implementations in turns at one size, prints a line for each, returns all."""
    common = ["--sizes", str(size), "--threads", str(options.threads)]
    common += ["--profile"] if options.profile else []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        workers = []
        for name in names:
            python = options.torch_python if name.startswith("torch") else sys.executable
            worker = Worker(name, python, common, Path(folder))
            if worker.problem is None:
                workers.append(worker)
            else:
                found[name] = {"failed": worker.problem}
                print(f"{size:5d} px  {name:20s} did not run: {worker.problem}", flush=True)
        profiles = {w.name: w.ask("profile", 1) for w in workers} if options.profile else {}
        counts: dict[tuple[str, str], int] = {}
        for worker in workers:
            for what in worker.times:
                worker.ask(what, WARM)
                once = worker.ask(what, options.count)
                counts[worker.name, what] = max(options.count, min(500, int(LASTS / once)))
        for _ in range(options.rounds):
            for worker in workers:
                for what, times in worker.times.items():
                    times.append(worker.ask(what, counts[worker.name, what]))
        results = {worker.name: dict(np.load(worker.file)) for worker in workers}
        for worker in workers:
            worker.close()
    reference = results.get("torch-exact") or (results[workers[0].name] if workers else {})
    for worker in workers:
        entry = _entry(worker, workers, results[worker.name], reference)
        if worker.name in profiles:
            entry["profile"] = profiles[worker.name]
        found[worker.name] = entry
        print(_line(size, worker.name, entry), flush=True)
        precision = worker.name.rsplit("-", 1)[-1]
        if entry["gradient_error"] > ALLOWED.get(precision, ALLOWED["exact"]):
            raise SystemExit(f"{worker.name} disagrees on the gradient; its time means nothing")
    return found


def _entry(
    worker: Worker, workers: list[Worker], own: dict[str, Any], reference: dict[str, Any]
) -> dict[str, Any]:
    """One implementation's times, ratios and errors."""
    error = np.linalg.norm(own["gradient"] - reference["gradient"])
    entry: dict[str, Any] = {
        "gradient_error": float(error / np.linalg.norm(reference["gradient"])),
        "loss_error": abs(float(own["loss"] / reference["loss"]) - 1),
    }
    rivals = [other for other in workers if other.name.startswith("torch")]
    eager = [other for other in rivals if other.name == "torch-exact"]
    for what, times in worker.times.items():
        entry[what] = {"ms": [1e3 * t for t in times], "median_ms": 1e3 * float(np.median(times))}
        if not rivals or worker in rivals:
            continue
        if eager:
            entry[what]["over_eager"] = spread(np.array(times) / eager[0].times[what])
        best = np.min([other.times[what] for other in rivals], axis=0)
        entry[what]["over_best"] = spread(np.array(times) / best)
    return entry


def _line(size: int, name: str, entry: dict[str, Any]) -> str:
    """One implementation, for people."""
    parts = [f"{size:5d} px  {name:20s}"]
    for what in ("evaluate", "iterate"):
        parts.append(f"{what} {entry[what]['median_ms']:8.1f} ms")
        if "over_eager" in entry[what]:
            low, middle, high = entry[what]["over_eager"]
            parts.append(f"/eager {middle:.2f} ({low:.2f} … {high:.2f})")
        if "over_best" in entry[what]:
            parts.append(f"/best {entry[what]['over_best'][1]:.2f}")
    parts.append(f"gradient off by {entry['gradient_error']:.0e}")
    if shares := entry.get("profile"):
        parts.append(f"kernels {shares['kernels']:.2f}, transfers {shares['transfers']:.2f}")
    return "  ".join(parts)


def implementations(options: argparse.Namespace) -> list[str]:
    """Names of all that shall run: providers by precision, then torch's variants."""
    sys.path.insert(0, str(ROOT / "python"))
    from fastsynth.network.providers import find_card

    names = []
    for provider in options.provider:
        card = find_card(provider.partition(":")[0])
        if provider == "native":
            names.append("native")
        elif card is None:
            raise SystemExit(f"unknown provider {provider!r}")
        else:
            wanted = options.precision or list(card.precisions)
            names += [
                f"{backend}-{provider}-{p}"
                for backend in options.backend
                for p in card.precisions
                if p in wanted
            ]
    if not options.torch:
        return names
    listed = subprocess.run(
        [options.torch_python, str(Path(__file__).with_name("device_torch.py"))],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        print("torch does not run here; only providers are compared", file=sys.stderr)
        return names
    return [*names, *listed.stdout.split()]


def main() -> None:
    """Parses the command line and compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--provider", nargs="+", default=["cuda"], help="such as cuda tensorrt, or cpu openvino")
    add("--precision", nargs="+", help="of the providers' precisions these (default: all)")
    add("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048], metavar="PIXELS")
    add("--rounds", type=int, default=7)
    add("--count", type=int, default=3, help="steps in one timing, at least (%(default)s)")
    add("--backend", nargs="+", choices=("step", "onnx"), default=["step", "onnx"])
    add("--threads", type=int, default=2, help="default: %(default)s")
    add("--torch", action=argparse.BooleanOptionalAction, default=True)
    add("--torch-python", default=sys.executable, metavar="PYTHON")
    add("--profile", action="store_true", help="shares of kernels and transfers")
    add("--json", type=Path, metavar="FILE", help="all figures")
    add("--worker", help=argparse.SUPPRESS)
    add("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.sizes[0], options.threads, options.result, options.profile)
        return
    names = implementations(options)
    report = {
        "machine": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "sizes": {size: compare(size, names, options) for size in options.sizes},
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
