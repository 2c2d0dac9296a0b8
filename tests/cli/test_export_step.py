"""An exported step runs without the library, and gets the same picture."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastsynth as fs
from fastsynth.cli import main
from fastsynth.network import load_weights
from fastsynth.synthesize.export_step import export_step

JOB = """
verb = "style_transfer"
[engine]
weights = "random:0"
[arguments]
content = "a.png"
style = "b.png"
style_layers = ["conv1_1", "conv2_1"]
size = 32
scales = 1
max_evaluations = 12
plateau = 0
optimizer = "{optimizer}"
"""

LENDING = """
import sys
data = np.load(sys.argv[1])
options = onnxruntime.SessionOptions()
values = [onnxruntime.OrtValue.ortvalue_from_numpy(data[name]) for name in data.files]
options.add_external_initializers(data.files, values)
"""


@pytest.mark.parametrize(
    ("optimizer", "more"), [("lbfgs", []), ("adam", ["--no-weights"])], ids=["whole", "bare"]
)
def test_a_bare_script_gets_the_same_picture(
    files: tuple[str, str], optimizer: str, more: list[str]
) -> None:
    folder = Path(files[0]).parent
    job = folder / "job.toml"
    job.write_text(JOB.format(optimizer=optimizer))
    assert main(["export-step", str(job), "-o", str(folder / "step.onnx"), "-q", *more]) == 0
    page = (folder / "step.md").read_text()
    script = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0].replace(
        "range(60)", "range(12)"
    )
    if more:
        assert (folder / "step.onnx").stat().st_size < 3_000_000
        assert "`conv1_1.weight`" in page
        arrays = load_weights("random:0", "vgg16").arrays
        named = re.findall(r"^\| `([\w.]+\.(?:weight|bias))` \|", page, re.MULTILINE)
        np.savez(folder / "weights.npz", **{name: arrays[name] for name in named})
        script = script.replace("import onnxruntime\n", "import onnxruntime\n" + LENDING)
        script = script.replace('"step.onnx", ', '"step.onnx", options, ')
    script += '\nassert "fastsynth" not in __import__("sys").modules\nnp.save("best.npy", best)\n'
    (folder / "loop.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "loop.py", "weights.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    job.write_text(job.read_text().replace("[engine]", '[engine]\nbackend = "step"'))
    wanted = fs.run_job(job)
    assert isinstance(wanted, fs.Result)
    found = np.load(folder / "best.npy")
    assert np.abs(found - wanted.pixels).max() < 1e-3


def test_what_has_no_step_graph_is_refused(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(files[0]).parent
    job = folder / "job.toml"
    job.write_text('verb = "dream"\n[engine]\nweights = "random:0"\n[arguments]\nimage = "a.png"\n')
    assert main(["export-step", str(job), "-o", str(folder / "step.onnx")]) == 1
    assert "no step graph" in capsys.readouterr().err
    assert not (folder / "step.onnx").exists()
    assert main(["export-step", str(job), "-o", str(folder / "step.bin")]) == 1


def test_what_the_host_computes_has_no_step_graph(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files[0]).parent)
    arguments = {"exemplar": "a.png", "size": 48, "long_range": "strong", "scales": 1}
    job = {"verb": "synthesize_texture", "engine": {"weights": "random:0"}, "arguments": arguments}
    with pytest.raises(fs.ObjectiveError, match=r"autocorrelation.* on the host"):
        export_step(job, "step.onnx")


def test_no_job_and_no_file() -> None:
    with pytest.raises(fs.ObjectiveError, match="job must be the name of a file or a mapping"):
        export_step(None, "step.onnx")  # type: ignore[arg-type]
    with pytest.raises(fs.ObjectiveError, match="path must be the name of a file"):
        export_step({}, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "job",
    [
        {
            "verb": "style_transfer",
            "arguments": {"content": "a.png", "style": {"coarse": "a.png", "fine": "b.png"}},
        },
        {"verb": "mix", "arguments": {"images": [["a.png", 1], ["b.png", 1]], "at": "pixels"}},
    ],
    ids=lambda job: str(job["verb"]),
)
def test_jobs_of_several_runs_are_refused(
    files: tuple[str, str], job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph would be that of the first of them."""
    monkeypatch.chdir(Path(files[0]).parent)
    with pytest.raises(fs.ObjectiveError, match="no one step graph"):
        export_step({**job, "engine": {"weights": "random:0"}}, "step.onnx")


def test_the_page_tells_of_colours_that_come_after(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files[0]).parent)
    arguments = {"content": "a.png", "style": "b.png", "size": 32, "style_layers": ["conv1_1"]}
    for color, told in (("none", False), ("luminance", True)):
        job = {"verb": "style_transfer", "arguments": {**arguments, "color": color}}
        _, page, _ = export_step({**job, "engine": {"weights": "random:0"}}, "step.onnx")
        assert ("Not in the graph" in page.read_text()) == told
