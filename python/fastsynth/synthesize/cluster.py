"""Batches over Ray: the driver gives jobs to workers on many machines and keeps the report.

A worker is a Ray actor: a process that has one network loaded. The driver hands each worker one job
at a time. When a worker is lost (killed, out of memory, its machine gone) its job goes to the front
of the queue and another worker is started. Outputs appear whole by renaming, and carry the mark of
their job: a worker that was lost after its output was written has it counted, not made again.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastsynth._errors import DeviceError
from fastsynth.synthesize.batch_work import Outcome, Settings, Task, Worker, key_of
from fastsynth.synthesize.scheduling import Schedule, checked_parallel, memory_of
from fastsynth.synthesize.synthesizer import Synthesizer

__all__ = ["RayWorker", "run_on_ray"]

NETWORK_MEMORY = 512 << 20  # bytes of a process with its network, the run aside
PATIENCE = 60.0  # seconds without a worker after which the log says so
# Devices that are cards, by the first part of their names, and that Ray hands out.
CARDS = ("cuda", "tensorrt", "migraphx", "rocm")
STOPPING = 20.0  # seconds that workers have to end their jobs when the batch is cut short
LOSSES = 10  # workers in a row that are lost before they are ready: then something is wrong

logger = logging.getLogger("fastsynth")


class RayWorker:
    """What runs in a worker's process. Its Ray actor has two threads: `stop` comes beside a job."""

    def __init__(self, settings: Settings) -> None:
        from fastsynth import _core

        if settings.trace is not None:  # on shared folders, appending is not for several machines
            trace = settings.trace
            here = f"{trace.stem}-{socket.gethostname()}-{os.getpid()}{trace.suffix}"
            settings = replace(settings, trace=trace.with_name(here))
        self.worker = Worker(settings)
        self.cancel = _core.Cancel()
        self.engine = ""
        self.synthesizer: Synthesizer | None = None

    def version(self) -> str:
        """The version of fastsynth here; also the sign that the worker is ready."""
        from fastsynth import __version__

        return __version__

    def attempt(self, task: Task, threads: int) -> Outcome:
        """One task; its engine is loaded when it is not that of the last."""
        started = time.monotonic()
        try:
            engine = key_of(task.engine)
            if task.needs_network and (self.synthesizer is None or self.engine != engine):
                self.close()
                self.synthesizer = Synthesizer(**{"threads": threads, **task.engine})
                self.engine = engine
        except Exception as error:  # told as this job's failure
            return Outcome.of(error, time.monotonic() - started)
        return self.worker.attempt(task, self.synthesizer, cancel=self.cancel)

    def stop(self) -> None:
        """Ends the job in work without its output."""
        self.cancel.set()

    def close(self) -> None:
        """Releases the network."""
        if self.synthesizer is not None:
            self.synthesizer.close()
            self.synthesizer = None


def run_on_ray(
    address: str,
    tasks: Sequence[Task],
    settings: Settings,
    *,
    parallel: int | str,
    over: Callable[[int, Outcome], None],
    ended: Callable[[], bool],
) -> None:
    """Does the tasks on a Ray cluster.

    address: "auto", "local", or a cluster's; parallel: workers, "auto" for all processors.
    over: told each task's index and how it ended; ended: whether to stop.
    Raises DeviceError when Ray or the cluster cannot be had.
    """
    if not tasks:
        return
    with connected(address) as ray:
        driver = _Driver(ray, tasks, settings, parallel=parallel, over=over, ended=ended)
        try:
            driver.through()
        finally:
            driver.close()


class connected:  # noqa: N801 - a context manager that reads as a participle
    """Ray, connected to a cluster; a connection that was there before is used and left."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise DeviceError(
                "ray is not installed; pip install 'fastsynth[ray]', or leave ray= (--ray) out"
            ) from error
        self.ray = ray
        self.ours = not ray.is_initialized()
        if self.ours:
            quiet = {"configure_logging": False, "log_to_driver": False}
            try:
                if self.address == "local":
                    ray.init(address="local", include_dashboard=False, **quiet)
                else:
                    ray.init(address=self.address, **quiet)
            except Exception as error:  # whatever Ray's version raises
                said = " ".join(str(error).split())[:300]
                raise DeviceError(
                    f"no Ray cluster at {self.address!r} ({said}); start one with "
                    "`ray start --head`, give its address, or 'local' for one of this batch's own"
                ) from error
        return ray

    def __exit__(self, *_: object) -> None:
        if self.ours:
            self.ray.shutdown()


class _Driver:
    """The workers of a batch, and who does what."""

    def __init__(
        self,
        ray: Any,
        tasks: Sequence[Task],
        settings: Settings,
        *,
        parallel: int | str,
        over: Callable[[int, Outcome], None],
        ended: Callable[[], bool],
    ) -> None:
        self.ray = ray
        base = Path(settings.base).resolve()  # workers have folders of their own
        trace = None if settings.trace is None else settings.trace.resolve()
        self.settings = ray.put(replace(settings, base=base, trace=trace))
        self.schedule = Schedule(replace(task, output=task.output.resolve()) for task in tasks)
        self.over, self.ended = over, ended
        self.threads, self.count, self.demands = layout(ray.nodes(), tasks, parallel)
        self.starting: dict[Any, Any] = {}  # reference → actor that is not ready yet
        self.working: dict[Any, tuple[Any, Task]] = {}  # reference → actor and its task
        self.engine: dict[Any, str] = {}  # actor → engine that it has loaded
        self.lost_early = 0

    def through(self) -> None:
        """Until nothing is left or the batch is to end."""
        for _ in range(self.count):
            self.start()
        heard = time.monotonic()
        while self.schedule and not self.ended():
            ready, _ = self.ray.wait([*self.starting, *self.working], timeout=0.5)
            for reference in ready:
                self.hear(reference)
                heard = time.monotonic()
            if not self.working and time.monotonic() - heard > PATIENCE:
                logger.warning(
                    "no Ray worker has started for %.0f s; each needs %s",
                    PATIENCE, self.demands,
                )  # fmt: skip
                heard = time.monotonic()

    def start(self) -> None:
        """Starts a worker; it gets a task when it is ready."""
        actor_type = self.ray.remote(**self.demands, max_concurrency=2, max_restarts=0)(RayWorker)
        actor = actor_type.remote(self.settings)
        self.starting[actor.version.remote()] = actor

    def hear(self, reference: Any) -> None:
        """What a worker says: that it is ready, how its task ended, or nothing for ever."""
        task = None
        if reference in self.working:
            actor, task = self.working.pop(reference)
        else:
            actor = self.starting.pop(reference)
        try:
            said = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:  # it lives, but this cannot be done there
            if task is None:
                raise DeviceError(f"fastsynth cannot run on a Ray worker: {error}") from error
            said = Outcome.of(error)
        except self.ray.exceptions.RayError as error:
            self.lose(actor, task, error)
            return
        if task is None:
            check_version(said)
            self.lost_early = 0
        else:
            self.schedule.done(task)
            if said.status == "skipped" and self.schedule.tried(task) > 1:
                said = replace(said, status="done")  # by the worker that was lost
            self.over(task.index, said)
        self.give(actor)

    def give(self, actor: Any) -> None:
        """The next task for a worker that has none."""
        task = self.schedule.take(self.engine.get(actor))
        if task is None:
            self.ray.kill(actor)  # should a task come back, another worker is started
            return
        self.engine[actor] = key_of(task.engine)
        self.working[actor.attempt.remote(task, self.threads)] = (actor, task)

    def lose(self, actor: Any, task: Task | None, error: Exception) -> None:
        """A worker is gone: its task goes to another."""
        self.engine.pop(actor, None)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(actor)  # it may only have been out of reach
        said = " ".join(str(error).strip().splitlines()[-1:])
        if task is None:
            self.lost_early += 1
            if getattr(error, "actor_init_failed", False):
                raise DeviceError(
                    f"fastsynth cannot start on a Ray worker: {said}; it must be installed there"
                ) from error
            if self.lost_early >= LOSSES:
                raise DeviceError(f"{LOSSES} Ray workers were lost as they started: {said}")
        elif self.schedule.lost(task):
            logger.warning("a Ray worker was lost; %s is done again by another", task.output.name)
        else:
            times = self.schedule.tried(task)
            message = f"{times} workers were lost while they did it, the last with: {said}"
            self.over(task.index, Outcome("failed", "DeviceError", message))
        if len(self.starting) < min(len(self.schedule.waiting), self.count - len(self.working)):
            self.start()

    def close(self) -> None:
        """Ends the workers; jobs in work end without their outputs."""
        actors = {actor for actor, _ in self.working.values()}
        for actor in actors:
            with suppress(self.ray.exceptions.RayError):
                actor.stop.remote()
        if self.working:
            self.ray.wait(list(self.working), num_returns=len(self.working), timeout=STOPPING)
        for actor in (*actors, *self.starting.values()):
            self.ray.kill(actor)


def layout(
    nodes: Sequence[Mapping[str, Any]], tasks: Sequence[Task], parallel: int | str
) -> tuple[int, int, dict[str, Any]]:
    """Threads of each worker, number of workers, and what each asks Ray for.

    nodes: as `ray.nodes()` tells them. Each worker has room for the largest task. Raises
    DeviceError where no machine has.

    >>> node = {"Alive": True, "Resources": {"CPU": 8.0, "memory": 4 << 30}}
    >>> tasks = [Task(index, "invert", {}, {}, Path("o.png"), 512 * 512) for index in range(9)]
    >>> threads, count, _ = layout([node, node], tasks, "auto")
    >>> threads, count
    (2, 6)
    """
    largest = NETWORK_MEMORY + max(memory_of(task.pixels, task.engine) for task in tasks)
    given = max((task.engine.get("threads") or 0 for task in tasks), default=0)
    on_gpu = any(str(task.engine.get("device")).split(":")[0] in CARDS for task in tasks)
    rooms, cores, gpus, widest = 0, 0, 0, 0
    for node in nodes:
        has = node.get("Resources", {})
        here = int(has.get("CPU", 0))
        room = min(here // (given or 1), int(has.get("memory", 0) // largest))
        if not node.get("Alive") or room < 1:
            continue
        rooms, cores, widest = rooms + room, cores + here, max(widest, here // room)
        gpus += int(has.get("GPU", 0))
    if not rooms or (on_gpu and not gpus):
        raise DeviceError(
            f"no machine of the Ray cluster has room for a worker: {max(given, 1)} processors, "
            f"{largest / 2**30:.1f} GiB of memory{' and a GPU' if on_gpu else ''}; give it more, "
            "or the jobs fewer threads or smaller sizes"
        )
    wanted = rooms if parallel == "auto" else checked_parallel(parallel)
    count = min(wanted, rooms, len(tasks), *([gpus] if on_gpu else []))
    threads = given or max(1, min(widest, cores // rooms))
    demands = {"num_cpus": threads, "memory": largest, **({"num_gpus": 1} if on_gpu else {})}
    return threads, count, demands


def check_version(found: str) -> None:
    """Driver and workers must be of one version; raises DeviceError."""
    from fastsynth import __version__

    if found != __version__:
        raise DeviceError(
            f"a Ray worker has fastsynth {found}, this is {__version__}; install the same on all"
        )
