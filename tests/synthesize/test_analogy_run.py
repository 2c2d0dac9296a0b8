"""How an analogy runs: threads, masks, sizes, stopping, records, errors, the command line."""

from __future__ import annotations

import itertools
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fastsynth as fs
from fastsynth import _core
from fastsynth.cli import main
from fastsynth.cli.parser import build_parser

from .analogy_reference import smooth_noise


def picture(seed: int, height: int = 40, width: int = 48) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def formula(source: Any, target: Any, weights: list[float], places: Any, side: int) -> Any:
    """d(q, s(q)) of every patch, in float64, straight from its definition."""
    line = 0.5 * np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 5)) ** 2) + 0.5
    window = np.outer(line, line) / line.sum() ** 2
    out = np.zeros(places.shape[:2])
    for y, x in np.ndindex(*out.shape):
        sy, sx = places[y, x]
        difference = (
            target[:, y : y + side, x : x + side].astype(np.float64)
            - source[:, sy : sy + side, sx : sx + side]
        )
        out[y, x] = np.einsum("chw,hw,c->", difference**2, window, weights)
    return out


@pytest.mark.parametrize(("channels", "side"), [(1, 3), (2, 5), (3, 5), (6, 7), (12, 4)])
def test_distances_and_energy(channels: int, side: int) -> None:
    """The engine's distances are the formula's, and no sweep raises the energy."""
    rng = np.random.default_rng(side)
    source = rng.random((channels, 23, 31), np.float32)
    target = rng.random((channels, 40, 37), np.float32)
    weights = rng.random(channels).tolist()
    pool = _core.ThreadPool(2)
    field = _core.PatchField(source, (40, 37), side, None, 3, pool)
    field.set_target(target, 0)
    field.set_weights(weights)
    energies = []
    price = 0.05
    for _ in range(4):
        field.sweep(price, 31)
        places = field.places()
        distances = formula(source, target, weights, places, side)
        np.testing.assert_allclose(field.distances(), distances, rtol=2e-5)
        assert field.mean_distance(weights) == pytest.approx(distances.mean(), rel=1e-5)
        broken = sum(
            int(np.any(np.diff(places, axis=axis) != np.eye(2, dtype=int)[axis], axis=-1).sum())
            for axis in (0, 1)
        )
        pairs = sum(np.diff(places[..., 0], axis=axis).size for axis in (0, 1))
        assert field.incoherence() == pytest.approx(broken / pairs)
        energies.append(distances.sum() + price / 4 * 2 * broken)
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(energies))


def test_vote_is_the_weighted_mean_of_the_patches() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.random((2, 17, 19), np.float32), rng.random((2, 14, 12), np.float32)
    pool = _core.ThreadPool(2)
    field = _core.PatchField(source, (14, 12), 3, None, 0, pool)
    field.set_target(target, 0)
    field.sweep(0.0, 19)
    places = field.places()
    distances = formula(source, target, [1.0, 1.0], places, 3)
    line = 0.5 * np.exp(-0.5 * ((np.arange(3) - 1) / 0.6) ** 2) + 0.5
    window = np.outer(line, line)
    total, weight = np.zeros((2, 14, 12)), np.zeros((14, 12))
    for y, x in np.ndindex(12, 10):
        sy, sx = places[y, x]
        w = window * np.exp(-min(12.0, distances[y, x] / distances.mean()))
        total[:, y : y + 3, x : x + 3] += w * source[:, sy : sy + 3, sx : sx + 3]
        weight[y : y + 3, x : x + 3] += w
    np.testing.assert_allclose(field.vote(source), total / weight, rtol=1e-4)
    pixels = {tuple(p) for p in source.reshape(2, -1).T.tolist()}
    assert {tuple(p) for p in field.vote(source, True).reshape(2, -1).T.tolist()} <= pixels


@pytest.mark.parametrize("preset", ["artistic", "numbers", "texture"])
def test_threads_do_not_matter_and_seeds_do(preset: Any) -> None:
    a, a_prime, b = (smooth_noise(90, 100, seed) for seed in (1, 2, 3))
    given: Any = (None, a_prime, None) if preset == "texture" else (a, a_prime, b)
    one, two, other = (
        fs.image_analogy(*given, preset=preset, rounds=2, threads=threads, seed=seed).array
        for threads, seed in ((1, 0), (3, 0), (2, 1))
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_source_mask() -> None:
    """No pixel comes from where the mask is black."""
    a_prime = np.random.default_rng(0).integers(0, 120, (50, 60, 3), np.uint8)
    a_prime[:, 30:] += 130
    mask = np.zeros((50, 60), np.uint8)
    mask[:, :30] = 255
    for size in (80, (31, 9)):
        result = fs.image_analogy(
            None, a_prime, None, preset="texture", size=size, masks={"source": mask}
        )
        assert result.array.max() < 120


def test_target_mask_fills_a_hole() -> None:
    texture = np.tile(picture(3, 8, 8), (10, 12, 1))
    holed = texture.copy()
    holed[30:50, 40:62] = (255, 0, 255)
    hole = np.zeros((80, 96), np.uint8)
    hole[30:50, 40:62] = 255
    masks: Any = {"source": 255 - hole, "target": hole}
    result = fs.image_analogy(None, holed, holed, preset="texture", masks=masks)
    assert np.array_equal(result.array[hole == 0], texture[hole == 0])
    # The texture repeats: what fits the rim is right inside too.
    assert (result.array == texture).all(2)[hole > 0].mean() > 0.9


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["artistic", "numbers", "superres", "texture", "transfer"]),
    st.tuples(*[st.integers(1, 23)] * 4),
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.sampled_from([None, 1, 3, 4]),
)
def test_any_size_and_kind(preset: Any, sides: Any, dtype: str, channels: int | None) -> None:
    rng = np.random.default_rng(sum(sides))
    top = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]

    def image(height: int, width: int) -> Any:
        shape = (height, width) if channels is None else (height, width, channels)
        return (rng.random(shape) * top).astype(dtype)

    a, a_prime, b = image(*sides[:2]), image(*sides[:2]), image(*sides[2:])
    given = (None, a_prime, None) if preset == "texture" else (a, a_prime, b)
    size = sides[:1:-1]
    result = fs.image_analogy(*given, preset=preset, size=size, rounds=1)
    assert result.size == size
    assert result.array.dtype == dtype
    assert np.isfinite(result.array).all()


def test_progress_callback_and_preview() -> None:
    events = []

    def see(progress: Any) -> None:
        image = progress.image()
        assert image.shape == (3, progress.height, progress.width)
        events.append((progress.level, progress.evaluation, progress.evaluations, progress.loss))

    result = fs.image_analogy(
        picture(0, 64, 64), picture(1, 64, 64), picture(2, 64, 64), rounds=3, callback=see
    )
    assert [event[1] for event in events] == list(range(1, events[0][2] + 1))
    assert result.evaluations == len(events) == 3 * len(result.levels)
    assert set(result.losses) == {"guide", "prime", "coherence"}
    assert result.loss == pytest.approx(events[-1][3])
    assert "weights" not in repr(result)


@pytest.mark.parametrize("way", ["callback", "cancel", "time"])
def test_stopped_runs_replay(way: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in ("a", "after", "b")]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed, 80, 70)).save(path)
    cancel = fs.Cancel()

    def count(progress: Any) -> bool | None:
        if way == "cancel" and progress.evaluation == 4:
            cancel.set()
        return progress.evaluation < 3 if way == "callback" else None

    result = fs.image_analogy(
        *paths,
        preset="numbers",
        callback=count,
        cancel=cancel,
        time_limit=1e-6 if way == "time" else None,
    )
    assert result.stopped == ("time" if way == "time" else "cancelled")
    assert result.evaluations == {"callback": 3, "cancel": 4, "time": 0}[way]
    assert result.size == (70, 80)
    saved = result.save(tmp_path / "out.png")
    assert np.array_equal(fs.replay(saved).array, result.array)


def test_job_and_replay(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "after", "b")):
        Image.fromarray(picture(seed)).save(tmp_path / f"{name}.png")
    mask = np.full((40, 48), 255, np.uint8)
    mask[:, :10] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    job = tmp_path / "job.toml"
    job.write_text(
        "verb = 'image_analogy'\n[arguments]\na = 'a.png'\na_prime = 'after.png'\nb = 'b.png'\n"
        "preset = 'numbers'\nrounds = 2\nsize = [40, 30]\nmasks = { source = 'mask.png' }\n",
        encoding="utf-8",
    )
    by_job = fs.run_job(job)
    by_call = fs.image_analogy(
        tmp_path / "a.png",
        tmp_path / "after.png",
        tmp_path / "b.png",
        preset="numbers",
        rounds=2,
        size=(40, 30),
        masks={"source": tmp_path / "mask.png"},
    )
    assert np.array_equal(by_job.array, by_call.array)
    saved = by_call.save(tmp_path / "out.png")
    assert np.array_equal(fs.replay(saved).array, by_call.array)


A, AFTER, B = picture(0), picture(1), picture(2)
NAN = np.full((20, 20, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((A, AFTER[:-1], B), {}, fs.ImageError, "equal sizes"),
        ((A, AFTER, NAN), {}, fs.ImageError, "NaN"),
        ((A, AFTER, B[:0]), {}, fs.ImageError, "no pixels"),
        ((A, AFTER, "nowhere.png"), {}, fs.ImageError, "no such file"),
        ((A, None, B), {}, fs.ImageError, "a_prime"),
        ((A, AFTER, None), {}, fs.ObjectiveError, "b is missing"),
        ((None, AFTER, B), {"preset": "numbers"}, fs.ObjectiveError, "a is missing"),
        ((A, AFTER, None), {"preset": "texture"}, fs.ObjectiveError, "has no A"),
        ((None, AFTER, B), {"preset": "texture"}, fs.ObjectiveError, "fill a hole"),
        ((None, AFTER, None), {"preset": "texture", "color": "b"}, fs.ObjectiveError, "needs b"),
        ((None, AFTER, B), {"preset": "superres", "size": 48}, fs.ObjectiveError, "not enlarge"),
        ((A, AFTER, B), {"preset": "paint"}, fs.ObjectiveError, "artistic, numbers"),
        ((A, AFTER, B), {"weight": -1}, fs.ObjectiveError, "weight"),
        ((A, AFTER, B), {"kappa": float("nan")}, fs.ObjectiveError, "kappa"),
        ((A, AFTER, B), {"uniformity": "much"}, fs.ObjectiveError, "uniformity"),
        ((A, AFTER, B), {"patch": 2}, fs.ObjectiveError, "patch"),
        ((A, AFTER, B), {"levels": 0}, fs.ObjectiveError, "levels"),
        ((A, AFTER, B), {"rounds": 0}, fs.ObjectiveError, "rounds"),
        ((A, AFTER, B), {"rounds": [1, 2, 3, 4]}, fs.ObjectiveError, "4 numbers for"),
        ((A, AFTER, B), {"seed": -1}, fs.ObjectiveError, "seed"),
        ((A, AFTER, B), {"threads": 0}, fs.ObjectiveError, "threads"),
        ((A, AFTER, B), {"time_limit": 0}, fs.ObjectiveError, "time_limit"),
        ((A, AFTER, B), {"callback": 3}, fs.ObjectiveError, "callback"),
        ((A, AFTER, B), {"cancel": True}, fs.ObjectiveError, "cancel"),
        ((A, AFTER, B), {"color": "red"}, fs.ObjectiveError, "color"),
        ((A, AFTER, B), {"remap_luminance": 1}, fs.ObjectiveError, "remap_luminance"),
        ((A, AFTER, B), {"size": 0}, fs.ImageError, "at least 1"),
        ((A, AFTER, B), {"masks": {"a": A}}, fs.ObjectiveError, "source"),
        ((A, AFTER, B), {"masks": {"source": A[1:]}}, fs.ImageError, "as a_prime"),
        ((A, AFTER, B), {"masks": {"target": 0 * B}}, fs.ImageError, "black everywhere"),
        (
            (A, AFTER, B),
            {"masks": {"source": np.eye(40, 48, dtype=np.uint8) * 255}},
            fs.ImageError,
            "holds no patch",
        ),
    ],
)
def test_errors(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fs.image_analogy(*arguments, **options)


def test_engine_refuses_what_does_not_fit() -> None:
    pool = _core.ThreadPool(1)
    source = np.zeros((2, 10, 10), np.float32)
    with pytest.raises(ValueError, match="does not fit"):
        _core.PatchField(source, (4, 10), 5, None, 0, pool)
    field = _core.PatchField(source, (10, 10), 5, None, 0, pool)
    with pytest.raises(ValueError, match="planar"):
        field.set_target(np.zeros((2, 9, 10), np.float32), 0)
    with pytest.raises(ValueError, match="weights for"):
        field.set_weights([1.0])
    with pytest.raises(ValueError, match="channels"):
        field.set_target(np.zeros((2, 10, 10), np.float32), 1)
    with pytest.raises(ValueError, match="no mark"):
        field.rewind()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(tmp_path / f"{name}.png") for name in ("a", "after", "b", "out", "preview")]
    for seed, name in enumerate(names[:3]):
        Image.fromarray(picture(seed)).save(name)
    command = ["analogy", *names[:3], "--preset", "numbers", "--rounds", "1", "-o", names[3]]
    assert main([*command, "--size", "30x20", "--preview", names[4]]) == 0
    assert "30×20" in capsys.readouterr().err
    with Image.open(names[3]) as image:
        assert image.size == (30, 20)
    assert Path(names[4]).is_file()
    again = str(tmp_path / "again.png")
    assert main(["replay", names[3], "-o", again]) == 0
    assert Path(again).read_bytes() == Path(names[3]).read_bytes()
    texture = ["analogy", "-", names[1], "--preset", "texture", "--rounds", "1", "-q"]
    assert main([*texture, "-o", names[3]]) == 0
    assert main(["analogy", names[0], "-", names[2], "-o", names[3]]) == 1
    assert "A_PRIME is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [{"weight": 1e308}, {"weight": 10**400}, {"kappa": 1e7}, {"uniformity": math.nan},
     {"color": np.array([1, 2])}, {"seed": np.float64(1)}, {"patch": np.True_}],
)  # fmt: skip
def test_numbers_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(fs.ObjectiveError, match="must be"):
        fs.image_analogy(picture(0), picture(1), picture(2), **wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    plain = fs.image_analogy(picture(0), picture(1), picture(2), seed=2**50, rounds=2, weight=3)
    same = fs.image_analogy(
        picture(0), picture(1), picture(2),
        seed=np.int64(2**50), rounds=np.array(2)[()], weight=np.float32(3), patch=np.int32(5),
    )  # fmt: skip
    np.testing.assert_array_equal(plain.array, same.array)


def test_too_little_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("fastsynth.synthesize.analogy.pose", full)
    with pytest.raises(fs.MemoryLimitError, match="smaller size"):
        fs.image_analogy(picture(0), picture(1), picture(2))


def test_a_job_leaves_out_what_is_not_given(tmp_path: Path) -> None:
    for seed, name in enumerate(("after", "b")):
        Image.fromarray(picture(seed)).save(tmp_path / f"{name}.png")
    (tmp_path / "job.toml").write_text(
        'verb = "image_analogy"\noutput = "out.png"\n[arguments]\n'
        'a_prime = "after.png"\nb = "b.png"\nrounds = 1\n'
    )
    assert main(["run", str(tmp_path / "job.toml"), "-q"]) == 0
    with Image.open(tmp_path / "out.png") as image:
        made = np.asarray(image)
    wanted = fs.image_analogy(None, tmp_path / "after.png", tmp_path / "b.png", rounds=1)
    np.testing.assert_array_equal(made, wanted.array)


def test_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of docs/analogies.md, in order and at small sizes; its commands parse."""
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    page = (root / "docs" / "analogies.md").read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        quick = re.sub(r"size=512|size=\(384, 256\)", "size=64", block)
        exec(compile(quick, "analogies.md", "exec"), namespace)
    negative = 255 - namespace["photo"][:, ::-1].astype(int)
    assert np.abs(namespace["negative"].array - negative).mean() < 8
    assert np.array_equal(
        namespace["filled"].array[namespace["hole"] == 0],
        namespace["picture"][namespace["hole"] == 0],
    )
    for line in re.findall(r"^fastsynth .*", page, re.MULTILINE):
        build_parser().parse_args(shlex.split(line)[1:])
