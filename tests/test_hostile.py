"""A small round of scripts/hostile_campaign.py: every reader, some hundred damaged inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastsynth

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "hostile_campaign.py"
TARGETS = {
    *("pictures", "weights", "graphs", "job files", "jobs", "manifests", "records"),
    *("checkpoints", "formulas", "steps"),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_only_typed_errors_from_damaged_input() -> None:
    package = str(Path(fastsynth.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--cases", "500", "--workers", "1", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": package},
        timeout=120,
    )
    summary = json.loads(done.stdout)
    assert summary["kinds"] == []
    assert done.returncode == 0
    assert summary["cases"] == 500
    seen = {name.partition(":")[0] for name in summary["by target"]}
    assert seen == TARGETS


def test_a_fault_would_be_seen(tmp_path: Path) -> None:
    """The campaign's own watch: a name that is looked up in a pickle, code, a foreign error."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import os, pickle, sys, tempfile\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        "from hostile_campaign import feed, settle\n"
        "class Reader:\n"
        "    name = 'reader'\n"
        "    def feed(self, data): eval(data)\n"
        "watch = settle()\n"
        "folder = tempfile.mkdtemp()\n"
        "os.chdir(folder)\n"
        "watch.folder = os.path.realpath(folder)\n"
        "for text in ('1', '{}[0]', 'pickle.loads(b\"cos\\\\nsystem\\\\n.\")',\n"
        '             \'open("canary", "w").close()\', \'open("/tmp/../tmp/outside", "w")\'):\n'
        "    print(feed(Reader(), text.replace('pickle', '__import__(\"pickle\")'), watch))\n"
        "watch.folder = ''\n"
    )
    done = subprocess.run(
        [sys.executable, str(probe)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(fastsynth.__file__).parents[1])},
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "read"
    assert lines[1].startswith("KeyError in ")
    assert lines[2].startswith("pickle.find_class ")
    assert lines[3].startswith("code was run")
    assert lines[4].startswith("writes /tmp/outside")
