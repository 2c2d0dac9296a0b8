"""A Ray cluster of several nodes on one machine; one is lost. Opt-in: make cluster-test."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth.synthesize import BatchItem

from .test_batch import ENGINE, folder, statuses

ray = pytest.importorskip("ray", reason="needs ray: pip install 'fastsynth[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

__all__ = ["folder"]  # the fixture

NODE = {"num_cpus": 1, "memory": 4 << 30, "object_store_memory": 100 << 20}
SLOW = {"layers": "conv2_2", "max_evaluations": 60, "scales": 1, "plateau": 0.0, "size": 48}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without processors, and two nodes that work; each node is a raylet of its own."""
    from ray.cluster_utils import Cluster

    if ray.is_initialized():  # that of another module
        ray.shutdown()
    package = str(Path(fs.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20},
        )
        try:
            made.nodes = [made.add_node(**NODE), made.add_node(**NODE)]
            ray.init(address=made.address, log_to_driver=False)
            made.wait_for_nodes()
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def test_a_node_that_is_lost(folder: Path, cluster: Any) -> None:
    """Its jobs are done by the others; nothing is lost, nothing is done twice."""
    jobs = [
        {"output": f"out/{i}.png", "arguments": {**SLOW, "image": f"{i % 2}.png", "seed": i}}
        for i in range(8)
    ]
    defaults = {"verb": "invert", "engine": ENGINE}
    made: dict[str, int] = {}

    def lose(item: BatchItem) -> None:
        made[item.output] = (folder / item.output).stat().st_mtime_ns
        if len(made) == 2:
            cluster.remove_node(cluster.nodes[0], allow_graceful=False)

    report = fs.batch(jobs, defaults=defaults, ray="auto", callback=lose)
    assert statuses(report) == ["done"] * 8, report.items
    deadline = time.monotonic() + 60  # until Ray's own look at its nodes
    while (living := sum(bool(node["Alive"]) for node in ray.nodes())) > 2:
        assert time.monotonic() < deadline, "the node that was lost still counts as alive"
        time.sleep(0.5)
    assert living == 2  # the head and one
    assert len(made) == 8
    assert all((folder / name).stat().st_mtime_ns == when for name, when in made.items())
    found = {path.name: np.asarray(Image.open(path)) for path in (folder / "out").glob("*.png")}
    fs.batch(jobs, defaults=defaults, again=True)
    for path in (folder / "out").glob("*.png"):
        np.testing.assert_array_equal(found[path.name], np.asarray(Image.open(path)))
