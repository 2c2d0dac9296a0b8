"""Pipelines as values, jobs, records and the command line; and the pencil sketch."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs
from fastsynth import compose
from fastsynth.cli import main
from fastsynth.cli.compose import parse_step
from fastsynth.cli.parser import build_parser
from fastsynth.compose import STEPS, Pipeline, pencil_sketch, step
from fastsynth.compose.sketch import DIRECTIONS, line_mean
from fastsynth.image import read_metadata

from .test_blend import DTYPES, TOPS, samples


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    names = ("photo.png", "paper.png", "mask.png")
    shapes: tuple[tuple[int, ...], ...] = ((24, 32, 3), (24, 32, 3), (24, 32))
    for seed, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        Image.fromarray(samples(shape, seed=seed)).save(tmp_path / name)
    return tmp_path / names[0], tmp_path / names[1], tmp_path / names[2]


def pipeline(files: tuple[Path, Path, Path]) -> Pipeline:
    return (
        step("convolve", kernel="sharpen")
        | step("curves", points=[(0, 0), (0.5, 0.6), (1, 1)])
        | step("blend", b=files[1], alpha=0.3, mask=str(files[2]), mode="soft-light")
        | step("match_color", target=files[1])
        | step("pencil_sketch", colored=True, seed=4)
    )


def test_a_pipeline_is_its_functions_in_order(files: tuple[Path, Path, Path]) -> None:
    image = compose.convolve(files[0], "sharpen")
    image = compose.curves(image, [(0, 0), (0.5, 0.6), (1, 1)])
    image = compose.blend(image, files[1], 0.3, mask=files[2], mode="soft-light")
    image = compose.match_color(image, files[1])
    image = pencil_sketch(image, colored=True, seed=4)
    made = pipeline(files)(files[0])
    assert np.array_equal(made, image)
    assert made.provenance == image.provenance
    assert np.array_equal(pipeline(files)(files[0], threads=1), image)


def test_an_empty_pipeline_changes_nothing() -> None:
    image = samples((4, 5), seed=1)
    assert np.array_equal(Pipeline()(image), image)
    assert repr(Pipeline()) == "Pipeline([])"


def test_pipelines_are_values(files: tuple[Path, Path, Path]) -> None:
    one, two = pipeline(files), pipeline(files)
    assert one == two
    assert hash(one) == hash(two)
    assert one != one | step("invert")
    assert one != 3
    assert step("gamma", value=1.0) == step("gamma", value=np.float64(1))
    assert step("convolve", kernel=np.eye(3)) == step("convolve", kernel=np.eye(3).tolist())
    assert step("gamma", value=2) != step("gamma", value=3)
    assert len(one) == 5
    assert [item.name for item in one][:2] == ["convolve", "curves"]
    assert one[0] == step("convolve", kernel="sharpen")


def test_repr_is_code() -> None:
    made = step("gamma", value=1.2) | step("convolve", kernel=np.eye(2))
    assert repr(made) == (
        "Pipeline([\n    step('gamma', value=1.2),\n"
        "    step('convolve', kernel=[[1.0, 0.0], [0.0, 1.0]]),\n])"
    )
    assert eval(repr(made), {"Pipeline": Pipeline, "step": step}) == made
    assert "<array 9×9 float64>" in repr(step("convolve", kernel=np.ones((9, 9))))


def test_jobs_round_trip(files: tuple[Path, Path, Path]) -> None:
    made = pipeline(files) | step("convolve", kernel=np.eye(3))
    job = json.loads(json.dumps(made.to_job(files[0])))
    again = Pipeline.from_job(job)
    assert again(files[0]).tobytes() == made(files[0]).tobytes()
    assert again.to_job(files[0]) == made.to_job(files[0])
    assert np.array_equal(fs.run_job(job), made(files[0]))  # type: ignore[arg-type]
    record = made(files[0]).provenance
    assert record is not None
    assert np.array_equal(Pipeline.from_job(record)(files[0]), made(files[0]))


TOML = """
verb = "compose"
output = "out.png"

[arguments]
image = "photo.png"

[[arguments.steps]]
step = "levels"
black = 0.1

[[arguments.steps]]
step = "blend"
b = "paper.png"
mask = "mask.png"
alpha = 0.4
mode = "multiply"
"""


def test_a_job_file(files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files[0].parent
    job = folder / "job.toml"
    job.write_text(TOML, encoding="utf-8")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    expected = compose.blend(
        compose.levels(files[0], black=0.1), files[1], 0.4, mask=files[2], mode="multiply"
    )
    assert np.array_equal(fs.run_job(job), expected)  # type: ignore[arg-type]
    assert main(["run", str(job), "-q"]) == 0
    assert np.array_equal(np.asarray(Image.open(folder / "out.png")), expected)
    out = elsewhere / "same.png"
    assert main(["compose", str(files[0]), "--job", str(job), "-o", str(out), "-q"]) == 0
    assert np.array_equal(np.asarray(Image.open(out)), expected)


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.tif"])
def test_replay_gives_the_same_file(
    files: tuple[Path, Path, Path], tmp_path: Path, name: str
) -> None:
    inner = compose.gamma(files[1], 1.5)  # an image with a history of its own
    image = pipeline(files)(files[0]) | compose.invert(files[1])
    assert image.provenance is None  # arithmetic leaves no record
    made = compose.blend(pipeline(files)(files[0]), inner, 0.5)
    saved = made.save(tmp_path / name)
    assert fs.replay(saved).save(tmp_path / f"again-{name}").read_bytes() == saved.read_bytes()
    main(["replay", str(saved), "-o", str(tmp_path / f"cli-{name}"), "-q"])
    assert (tmp_path / f"cli-{name}").read_bytes() == saved.read_bytes()


def test_replay_of_arrays_needs_them_back(tmp_path: Path) -> None:
    a, b = samples((6, 5, 3), seed=1), samples((6, 5, 3), seed=2)
    made = compose.blend(compose.invert(a), compose.gamma(b, 2), 0.25)
    saved = made.save(tmp_path / "out.png")
    with pytest.raises(fs.ImageError, match=r"inputs=\{'image': array\}"):
        fs.replay(saved)
    with pytest.raises(fs.ImageError, match=r"'steps\.1\.b\.image'"):
        fs.replay(saved, inputs={"image": a})
    with pytest.raises(fs.ImageError, match="the record says"):
        fs.replay(saved, inputs={"image": a[:3], "steps.1.b.image": b})
    again = fs.replay(saved, inputs={"image": a, "steps.1.b.image": b})
    assert np.array_equal(again, made)  # type: ignore[arg-type]


def test_replay_notices_a_changed_layer(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    saved = compose.blend(files[0], files[1]).save(tmp_path / "out.png")
    Image.fromarray(samples((24, 32, 3), seed=9)).save(files[1])
    with pytest.raises(fs.ImageError, match=r"paper.png has changed"):
        fs.replay(saved)


def test_every_step_has_a_function_and_a_summary() -> None:
    for name in STEPS:
        assert step(name, **REQUIRED.get(name, {})).function.__doc__
        assert name in compose.__all__


REQUIRED: dict[str, dict[str, Any]] = {
    "affine": {"rotate": 10},
    "blend": {"b": "b.png"},
    "composite": {"backdrop": "b.png"},
    "convolve": {"kernel": "blur"},
    "curves": {"points": [(0, 0), (1, 1)]},
    "gamma": {"value": 2},
    "match_color": {"target": "b.png"},
    "match_histogram": {"target": "b.png"},
    "resize": {"size": 8},
}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"verb": "compose", "arguments": {"image": "photo.png"}}, "does not fit compose"),
        ({"verb": "compose", "engine": {"network": "vgg16"}}, "uses no network"),
        ({"verb": "compose", "arguments": {"image": "photo.png", "steps": "x"}}, "list of tables"),
        ({"verb": "compose", "arguments": {"image": "photo.png", "steps": [{}]}}, "a step is a"),
        (
            {"verb": "compose", "arguments": {"image": "photo.png", "steps": [{"step": "glow"}]}},
            "there is no step 'glow'",
        ),
        (
            {
                "verb": "compose",
                "arguments": {"image": "photo.png", "steps": [{"step": "gamma", "v": 1}]},
            },
            "its arguments: value",
        ),
    ],
)
def test_senseless_jobs(files: tuple[Path, Path, Path], job: dict[str, Any], message: str) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        fs.run_job(job, base=files[0].parent)


@pytest.mark.parametrize("name", ["glow", np.zeros((2, 2)), None, []])
def test_what_names_no_step(name: Any) -> None:
    with pytest.raises(fs.ObjectiveError, match="there is no step"):
        step(name)


def test_what_a_job_cannot_hold() -> None:
    with pytest.raises(fs.ObjectiveError, match="save it"):
        Pipeline([step("blend", b=samples((2, 2)))]).to_job()
    with pytest.raises(fs.ObjectiveError, match="nothing that a job can hold"):
        step("gamma", value=1j).to_data()
    with pytest.raises(fs.ObjectiveError, match="verb = 'compose'"):
        Pipeline.from_job({"verb": "invert"})


# ---- the command line ----


def test_the_command_is_the_call(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    words = ["compose", str(files[0]), "-o", str(out), "--size", "16", "--seed", "5", "-q"]
    steps = ["gamma 1.3", "curves [[0,0],[0.5,0.6],[1,1]]", "pencil_sketch colored=true length=6"]
    assert main([*words, *(word for text in steps for word in ("--step", text))]) == 0
    expected = compose.resize(files[0], 16)
    expected = compose.curves(compose.gamma(expected, 1.3), [(0, 0), (0.5, 0.6), (1, 1)])
    expected = pencil_sketch(expected, colored=True, length=6, seed=5)
    assert np.array_equal(np.asarray(Image.open(out)), expected)
    record = read_metadata(out)
    assert record is not None
    assert record["arguments"]["steps"][0]["step"] == "resize"


def test_several_inputs_go_into_a_folder(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [str(path) for path in files]
    folder = tmp_path / "out"
    assert main(["compose", *inputs, "-o", str(folder), "--step", "invert"]) == 1
    assert "is no folder" in capsys.readouterr().err
    folder.mkdir()
    assert main(["compose", *inputs, "-o", str(folder), "--step", "invert"]) == 0
    assert "photo.png: 32×24" in capsys.readouterr().err
    for path in files:
        made = np.asarray(Image.open(folder / path.name))
        assert np.array_equal(made, compose.invert(path))
    assert main(["compose", *inputs, "-o", str(tmp_path), "--step", "invert"]) == 1
    assert "over itself" in capsys.readouterr().err


def test_the_list_names_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compose", "--list"]) == 0
    shown = capsys.readouterr().out
    for name in STEPS:
        assert f"\n{name} " in f"\n{shown}" or f"\n{name}\n" in f"\n{shown}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glow", "no step 'glow'"),
        ("", "name of a step is missing"),
        ("gamma '1", "No closing quotation"),
        ("gamma 1 2 3", "takes no further value '3'"),
        ("gamma 1 value=2", "value is given twice"),
        ("gamma strength=2", "its arguments: value"),
        ("gamma value=high", "value is 'high'"),
    ],
)
def test_senseless_steps(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    out = files[0].parent / "out.png"
    assert main(["compose", str(files[0]), "-o", str(out), "--step", text]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["compose", "a.png"])
    assert stop.value.code == 2
    assert "-o FILE" in capsys.readouterr().err


# ---- the pencil sketch ----


@pytest.mark.parametrize("length", [3, 8, 13, 31])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lines_are_means_along_them(direction: tuple[float, float], length: int) -> None:
    """Against sampling one by one, inside, where borders have no part."""
    ndimage = pytest.importorskip("scipy.ndimage")
    y, x = np.mgrid[0:90, 0:95].astype(np.float64)
    plane = (0.5 + 0.3 * np.sin(x / 7) * np.cos(y / 9) + 0.002 * x).astype(np.float32)
    exact = np.zeros_like(plane, np.float64)
    for t in np.arange(length) - (length - 1) / 2:
        at = [y + t * direction[1], x + t * direction[0]]
        exact += ndimage.map_coordinates(plane.astype(np.float64), at, order=3) / length
    found = line_mean(plane, direction, length)
    assert np.abs(found - exact)[35:-35, 35:-35].max() < 4e-3


def test_a_line_keeps_constants_and_borders() -> None:
    flat = np.full((7, 9), 0.25, np.float32)
    for direction in DIRECTIONS:
        assert np.allclose(line_mean(flat, direction, 20), 0.25, atol=1e-6)


def drawn_picture(dtype: Any = np.uint8) -> Any:
    """A dark disc and a bright bar on a grey slope."""
    y, x = np.mgrid[0:120, 0:160]
    grey = 0.5 + 0.3 * x / 160
    grey = np.where((x - 50) ** 2 + (y - 60) ** 2 < 900, 0.1, grey)
    grey = np.where((x > 110) & (x < 130), 0.95, grey)
    colour = np.stack([grey, grey * 0.8, grey * 0.6], axis=2)
    top = TOPS[np.dtype(dtype).name]
    return np.rint(colour * top).astype(dtype) if top > 1 else colour.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sketch_has_strokes_at_edges_and_tone_by_brightness(dtype: Any) -> None:
    picture = drawn_picture(dtype)
    out = pencil_sketch(picture)
    assert out.shape == picture.shape
    assert out.dtype == dtype
    assert np.array_equal(out[..., 0], out[..., 2])
    top = TOPS[np.dtype(dtype).name]
    page = out.array[..., 0].astype(np.float64) / top
    assert page[50:70, 40:60].mean() < 0.55  # the disc is hatched
    assert page[40:80, 116:124].mean() > 0.85  # the bar is paper
    outline = pencil_sketch(picture, tone=0).array[..., 0].astype(np.float64) / top
    assert outline[55:65, 76:84].min() < 0.4  # the rim of the disc
    assert outline[58:62, 45:55].min() > 0.9  # nothing within it


def test_sketch_is_deterministic_and_seeded() -> None:
    picture = drawn_picture()
    assert np.array_equal(pencil_sketch(picture, seed=1), pencil_sketch(picture, seed=1))
    assert not np.array_equal(pencil_sketch(picture, seed=1), pencil_sketch(picture, seed=2))
    smooth = pencil_sketch(picture, texture=0, seed=1)
    assert np.array_equal(smooth, pencil_sketch(picture, texture=0, seed=2))


def test_coloured_sketch_keeps_hues() -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[:, :32] = (200, 60, 40, 255)
    picture[:, 32:] = (40, 90, 200, 128)
    out = pencil_sketch(picture, colored=True).array.astype(int)
    assert out[:, 8:24, 0].mean() > out[:, 8:24, 2].mean() + 40
    assert out[:, 40:56, 2].mean() > out[:, 40:56, 0].mean() + 40
    assert np.array_equal(out[..., 3], picture[..., 3])
    grey = pencil_sketch(picture[..., 0], colored=True)
    assert grey.shape == (64, 64)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50, 3), (50, 2), (3, 3, 4)])
def test_sketch_of_tiny_pictures(shape: tuple[int, ...]) -> None:
    out = pencil_sketch(samples(shape), colored=True)
    assert out.shape == shape
    assert np.isfinite(out.array.astype(np.float64)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tone": -1}, "tone is -1"),
        ({"stroke": 9}, "stroke is 9"),
        ({"texture": np.nan}, "texture is nan"),
        ({"length": 2}, "length is 2"),
        ({"length": 5.5}, "length is 5.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_bad_sketch(options: dict[str, Any], message: str) -> None:
    with pytest.raises(fs.ImageError, match=message):
        pencil_sketch(samples((8, 8)), **options)


def test_commands_of_the_page_parse() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "compose.md"
    commands = re.findall(r"^fastsynth compose .*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 3
    for line in commands:
        options = build_parser().parse_args(shlex.split(line)[1:])
        for text in options.step:
            assert parse_step(text).name in STEPS
