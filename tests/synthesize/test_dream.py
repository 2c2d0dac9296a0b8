"""DeepDream: the loop against NumPy and torch's autograd, its settings, records and sequences."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support import random_image, relative_error
from tests.synthesize import dream_reference as reference

import fastsynth as fs
from fastsynth import _core
from fastsynth.image import load, read_metadata, resize
from fastsynth.render import octave_levels
from fastsynth.synthesize import run_job
from fastsynth.synthesize.warp import Warp

REAL = Path(__file__).resolve().parents[3] / "shared" / "weights" / "vgg16_blocks12.safetensors"
QUICK: dict[str, Any] = {"layer": "conv2_1", "octaves": 2, "iterations": 2}


def picture(seed: int = 0, height: int = 40, width: int = 56) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (5, 7, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[fs.Synthesizer]:
    with fs.Synthesizer(weights="random:0", threads=2) as made:
        yield made


# ---- Eq. 3 ----

LITERAL: dict[str, Any] = {
    "octaves": 1, "jitter": 0, "lapnorm": False, "normalize": False, "margin": 0,
    "color": "none",
}  # fmt: skip


def features(torch: Any, weights: Mapping[str, np.ndarray], x: Any, layer: str) -> Any:
    """VGG in torch, written from its definition."""
    t = {name: torch.tensor(value.astype(np.float64)) for name, value in weights.items()}
    conv, pooled = torch.nn.functional.conv2d, torch.nn.functional.max_pool2d
    y = conv(x[None], t["normalize.weight"], t["normalize.bias"])
    for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2"):
        if name == "conv2_1":
            y = pooled(y, 2)
        y = conv(y, t[f"{name}.weight"], t[f"{name}.bias"], padding=1).relu()
        if name == layer:
            return y[0]
    raise AssertionError(layer)


@pytest.mark.torch
@pytest.mark.parametrize("backend", ["native", "onnx"])
@pytest.mark.parametrize("channel", [None, 7])
def test_the_literal_equation(backend: str, channel: int | None) -> None:
    """X ← X + δ G_h with a constant δ, n times, in float64 with gradients from autograd."""
    torch = pytest.importorskip("torch")
    image = (0.2 + 0.6 * random_image(21, 30)).transpose(1, 2, 0)
    with fs.Synthesizer(weights="random:3", backend=backend, threads=2) as synthesizer:
        weights = synthesizer.weights.arrays
        x = torch.tensor(image.transpose(2, 0, 1).astype(np.float64))
        step = None
        for _ in range(4):
            x = x.detach().requires_grad_()
            a = features(torch, weights, x, "conv2_1")
            h = ((a if channel is None else a[channel]) ** 2).sum() / 2
            (gradient,) = torch.autograd.grad(h, x)
            if step is None:
                step = 0.02 / float(gradient.abs().max())
            x = (x + step * gradient).clamp(0, 1)
        result = synthesizer.dream(
            np.ascontiguousarray(image), "conv2_1", channel=channel, iterations=4, step=step,
            **LITERAL,
        )  # fmt: skip
    moved = x.detach().numpy() - image.transpose(2, 0, 1)
    assert np.abs(moved).max() > 0.03
    found = result.pixels - image.transpose(2, 0, 1)
    assert relative_error(found, moved) < 1e-4
    assert result.losses["activation/conv2_1"].shape == (4,)
    assert (np.diff(result.losses["activation/conv2_1"]) < 0).all()


@pytest.mark.parametrize(
    ("settings", "margin"),
    [
        ({"jitter": 9, "lapnorm": 3, "normalize": True}, 5),
        ({"jitter": 0, "lapnorm": False, "normalize": True}, 0),
        ({"jitter": 40, "lapnorm": True, "normalize": False, "step": 0.01}, 0),
    ],
)
def test_the_whole_loop_matches_numpy(
    synthesizer: fs.Synthesizer, settings: dict[str, Any], margin: int
) -> None:
    """Octaves with their detail carried over, margin, jitter and both normalisations."""
    image = picture()
    pixels = load(image).pixels
    network = synthesizer.open()
    step, seed = settings.pop("step", 0.02), 5
    result = synthesizer.dream(
        image, "conv2_1", octaves=3, octave_scale=1.5, iterations=[2, 3, 2], step=step,
        margin=margin, seed=seed, color="none", **settings,
    )  # fmt: skip
    levels = {True: 4, False: 0}.get(settings["lapnorm"], 3)
    detail: np.ndarray | None = None
    for index, (height, width, steps) in enumerate([(18, 25, 2), (27, 37, 3), (40, 56, 2)]):
        base = resize(pixels, (height, width), clip=True).astype(np.float64)
        x = base
        if detail is not None:
            x = base + resize(detail.astype(np.float32), (height, width), "bicubic")
        around = ((0, 0), (margin, margin), (margin, margin))
        x = np.pad(np.clip(x, 0, 1), around, mode="symmetric")
        with network.bind(*x.shape[1:], ["conv2_1"]) as bound:

            def gradient(seen: np.ndarray, bound: Any = bound) -> np.ndarray:
                return bound.backward(bound.forward(seen)).astype(np.float64)

            x = reference.octave(
                x, gradient, steps, step=step, normalize=settings["normalize"], levels=levels,
                jitter=settings["jitter"], seed=seed * 1000 + index,
            )  # fmt: skip
        x = x[:, margin : margin + height, margin : margin + width]
        detail = x - base
    assert np.abs(x - pixels).mean() > 0.01
    # Rounding may tip a ReLU, here and there.
    assert np.abs(result.pixels - x).mean() < 2e-5
    assert [level.run.evaluations for level in result.levels] == [2, 3, 2]


def test_the_pyramid_matches_scipy() -> None:
    assert reference.pyramid_error(_core.ThreadPool(2)) < 2e-6


def test_bands_of_rounding_are_not_blown_up() -> None:
    pool = _core.ThreadPool(1)
    flat = np.full((3, 32, 32), 0.3, np.float32)
    assert np.abs(_core.normalize_bands(flat, 4, pool) - 1).max() < 0.02
    assert not _core.normalize_bands(np.zeros((3, 32, 32), np.float32), 4, pool).any()


def test_jitter_is_uniform_and_as_documented() -> None:
    shifts = [_core.jitter_shift(11, count, 3) for count in range(4000)]
    assert shifts == [reference.shift(11, count, 3) for count in range(4000)]
    counts = np.bincount([7 * (down + 3) + across + 3 for down, across in shifts], minlength=49)
    assert counts.size == 49
    assert (np.abs(counts - 4000 / 49) < 5 * np.sqrt(4000 / 49)).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (17, 23)])
def test_jitter_rolls_and_rolls_back(shape: tuple[int, int]) -> None:
    """Each pixel has a gradient of its own: what comes back must lie where it belongs."""
    pool = _core.ThreadPool(2)
    seen = []

    def squares(x: np.ndarray) -> tuple[float, np.ndarray]:
        seen.append(x.reshape(3, *shape).copy())
        return float((x**2).sum()), 2 * x

    x = random_image(*shape)
    inner = _core.FunctionObjective(squares, x.size)
    for count in range(4):
        jittered = _core.JitteredObjective(inner, *shape, 20, count, pool)
        value, gradient = jittered.evaluate(x)
        np.testing.assert_array_equal(gradient, 2 * x)
        assert value == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-5)
        moved = np.roll(x, reference.shift(count, 0, 20), axis=(1, 2))
        np.testing.assert_array_equal(seen[-1], moved)


# ---- the verb ----


def test_same_seed_same_bits_whatever_the_threads() -> None:
    made = []
    for threads, seed in ((1, 3), (2, 3), (2, 4)):
        with fs.Synthesizer(weights="random:0", threads=threads) as synthesizer:
            made.append(synthesizer.dream(picture(), seed=seed, **QUICK).pixels)
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[1], made[2])


def test_backends_agree() -> None:
    made = [
        fs.dream(picture(), weights="random:0", backend=backend, **QUICK).pixels
        for backend in ("native", "onnx")
    ]
    assert np.abs(made[0] - made[1]).mean() < 1e-3


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (picture()[:, :, 0], "uint8"),
        (picture()[:, :, :1], "uint8"),
        (picture().astype(np.uint16) * 257, "uint16"),
        ((picture() / 255).astype(np.float32), "float32"),
        (np.dstack([picture(), picture(1)[:, :, 0]]), "uint8"),
    ],
    ids=["flat grey", "grey", "16 bit", "float", "alpha"],
)
def test_the_result_is_of_the_images_kind(
    synthesizer: fs.Synthesizer, given: np.ndarray, dtype: str
) -> None:
    made = synthesizer.dream(given, **QUICK).array
    assert made.shape == given.shape
    assert made.dtype == dtype
    if given.ndim == 3 and given.shape[2] == 4:
        np.testing.assert_array_equal(made[..., 3], given[..., 3])


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (7, 5), (33, 31)])
def test_small_and_odd_pictures(
    synthesizer: fs.Synthesizer, shape: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Octaves that are too small are left out, and the log says so."""
    with caplog.at_level(logging.WARNING, "fastsynth"):
        result = synthesizer.dream(picture(0, *shape), "conv3_1", iterations=1)
    assert result.array.shape == (*shape, 3)
    expected = sum(min(shape) / 1.4**index >= 7.5 for index in range(4)) or 1
    assert len(result.levels) == expected
    assert (f"{expected} of 4 octaves" in caplog.text) == (expected < 4)


def test_too_small_without_a_margin_is_a_clear_error(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(fs.NetworkError, match="leaves nothing at conv5_1"):
        synthesizer.dream(picture(0, 9, 9), "conv5_1", margin=0)


def test_octave_levels() -> None:
    sizes = [(level.height, level.width) for level in octave_levels(100, 140, 3, 2.0)]
    assert sizes == [(25, 35), (50, 70), (100, 140)]
    numbers = [level.evaluations for level in octave_levels(100, 140, 3, max_evaluations=8)]
    assert numbers == [2, 3, 3]
    few = octave_levels(100, 140, 3, 2.0, [7, 8, 9], smallest=40)
    assert [level.evaluations for level in few] == [8, 9]
    assert [level.evaluations for level in octave_levels(9, 9, 2, max_evaluations=[0, 4])] == [0, 4]


def test_default_layer_follows_the_weights(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.dream(picture(), octaves=1, iterations=1)
    assert list(result.losses) == ["activation/conv3_3"]
    guided = synthesizer.dream(picture(), guide=picture(1), octaves=1, iterations=1)
    assert list(guided.losses) == ["activation/conv3_1"]
    assert guided.provenance["arguments"]["layer"] == "conv3_1"


@pytest.mark.skipif(not REAL.exists(), reason="the real first layers are not beside the repository")
def test_weights_that_end_early_are_dreamt_at_their_deepest_layer() -> None:
    with fs.Synthesizer(weights=REAL, threads=2) as synthesizer:
        result = synthesizer.dream(picture(), octaves=2, iterations=3)
    losses = result.losses["activation/conv2_2"]
    assert losses[-1] < losses[0] < 0
    with (
        fs.Synthesizer(weights=REAL, threads=2) as synthesizer,
        pytest.raises(fs.NetworkError, match="its layers are conv1_1"),
    ):
        synthesizer.dream(picture(), "conv4_3", octaves=1)


def test_several_layers_and_a_direction(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.dream(
        picture(), {"conv1_2": 1.0, "conv2_2": 0.5}, channel={3: 1.0, 8: -1.0}, octaves=1,
        iterations=3,
    )  # fmt: skip
    assert set(result.losses) == {"activation/conv1_2", "activation/conv2_2"}
    total = result.levels[0].run.history.loss
    assert total[-1] < total[0]


def test_a_neuron_changes_its_surroundings_alone(synthesizer: fs.Synthesizer) -> None:
    image = np.full((96, 96, 3), 120, np.uint8) + picture(0, 96, 96) // 8
    result = synthesizer.dream(
        image, "conv2_2", neuron=(0.25, 0.75), octaves=1, iterations=2, lapnorm=False, color="none"
    )
    changed = np.argwhere(np.abs(result.array.astype(int) - image).sum(2))
    assert len(changed)
    # conv2_2 sees 14 pixels.
    assert np.abs(changed - (24, 72)).max() <= 14


def test_colours_are_matched_where_asked(synthesizer: fs.Synthesizer) -> None:
    free, held, usual = (
        synthesizer.dream(picture(), "conv2_1", octaves=2, color=color).pixels
        for color in ("none", "match", None)
    )
    before = load(picture()).pixels

    def drift(pixels: np.ndarray) -> float:
        one, other = (np.cov(x.reshape(3, -1)) for x in (pixels, before))
        return relative_error(one, other)

    assert drift(held) < 0.1 < drift(free)
    np.testing.assert_array_equal(held, usual)  # random weights without a guide


def test_a_guide_draws_the_picture_towards_its_colours(synthesizer: fs.Synthesizer) -> None:
    guide = np.zeros((48, 48, 3), np.uint8)
    guide[..., 0] = 200
    guide[::4] = (230, 60, 20)
    made = synthesizer.dream(picture(), guide=guide, iterations=8, octaves=2).pixels
    before = load(picture()).pixels
    assert made[0].mean() > before[0].mean()
    assert made[2].mean() < before[2].mean()
    grey = synthesizer.dream(picture()[..., 0], guide=guide, octaves=1, iterations=1)
    assert grey.array.shape == (40, 56, 3)


def test_without_a_gradient_the_run_ends_where_it_began(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.dream(picture(), {"conv1_1": 0.0}, octaves=1, color="none")
    assert result.stopped == "gradient"
    np.testing.assert_array_equal(result.array, picture())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"octaves": 0}, "octaves must be a whole number"),
    ({"octaves": True}, "octaves must be a whole number"),
    ({"octave_scale": 1.0}, "octave_scale must be a number above 1"),
    ({"step": 0}, "step must be a positive number"),
    ({"step": float("nan")}, "step must be a positive number"),
    ({"jitter": -1}, "jitter must be pixels"),
    ({"jitter": 1.5}, "jitter must be pixels"),
    ({"lapnorm": -2}, "lapnorm must be"),
    ({"margin": -1}, "margin must be"),
    ({"zoom": -1.0}, "zoom must be"),
    ({"color": "own"}, "color must be"),
    ({"rotate": float("inf")}, "rotate must be"),
    ({"iterations": [1, 2]}, "2 numbers for 4 octaves"),
    ({"iterations": -1}, "whole numbers ≥ 0"),
    ({"iterations": 0}, "not all 0"),
    ({"iterations": 2.5}, "iterations has 1 numbers"),
    ({"max_evaluations": 2.5}, "max_evaluations has 0 numbers"),
    ({"layer": 5}, "layers are a name"),
    ({"max_evaluations": 2}, "too few for 4 octaves"),
    ({"optimizer": "adam"}, "dream has no optimizer"),
    ({"scales": 3}, "dream has no scales"),
    ({"channel": "x"}, "number of a channel"),
    ({"guide": picture(), "channel": 1}, "either a guide"),
    ({"seed": -1}, "seed must be"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_refused(
    synthesizer: fs.Synthesizer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        synthesizer.dream(picture(0, 64, 64), **{"layer": "conv2_1", **settings})


def test_a_channel_that_is_not_there(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(
        fs.ObjectiveError, match="no channel 64; the layer conv1_1 has channels 0 to 63"
    ):
        synthesizer.dream(picture(), "conv1_1", channel=64)


# ---- stopping, records ----


def test_callback_sees_and_stops(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    seen: list[fs.Progress] = []
    shapes = []

    def callback(progress: fs.Progress) -> bool:
        seen.append(progress)
        shapes.append(progress.image().shape)
        return len(seen) < 4

    source = tmp_path / "in.png"
    Image.fromarray(picture()).save(source)
    result = synthesizer.dream(source, "conv2_1", octaves=3, iterations=3, callback=callback)
    assert result.stopped == "cancelled"
    assert [p.evaluation for p in seen] == [1, 2, 3, 4]
    assert {p.evaluations for p in seen} == {9}
    assert shapes[-1] == (3, 29, 40)
    assert result.size == (56, 40)
    saved = result.save(tmp_path / "out.png")
    again = fs.replay(saved)
    np.testing.assert_array_equal(again.array, result.array)


def test_time_limit_and_cancel(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.dream(picture(), "conv2_1", iterations=10**6, time_limit=0.3)
    assert result.stopped == "time"
    cancel = fs.Cancel()
    cancel.set()
    stopped = synthesizer.dream(picture(), "conv2_1", cancel=cancel, color="none")
    assert stopped.stopped == "cancelled"
    np.testing.assert_array_equal(stopped.array, picture())


def test_record_and_replay(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("image.png", "guide.png")]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(seed)).save(path)
    calls: list[dict[str, Any]] = [
        {"channel": {4: 1.0, 9: -0.5}, "neuron": (0.5, 0.25), "layer": "conv2_1"},
        {"guide": paths[1], "zoom": 0.1, "rotate": 5.0, "layer": ["conv1_2", "conv2_1"]},
        {"neuron": np.array([0.5, 0.25]), "iterations": np.int64(2), "layer": "conv2_1"},
    ]
    for call in calls:
        result = synthesizer.dream(paths[0], octaves=2, **{"iterations": 2, **call})
        saved = result.save(tmp_path / "made.png")
        again = fs.replay(saved)
        np.testing.assert_array_equal(again.array, result.array)
        assert again.save(tmp_path / "again.png").read_bytes() == saved.read_bytes()


def test_job(tmp_path: Path, synthesizer: fs.Synthesizer) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    Image.fromarray(picture(1)).save(tmp_path / "b.png")
    job = tmp_path / "job.toml"
    job.write_text(
        'verb = "dream"\n[engine]\nweights = "random:0"\nthreads = 2\n[arguments]\n'
        'image = "a.png"\nguide = "b.png"\noctaves = 2\niterations = [2, 1]\nlayer = "conv2_1"\n',
        encoding="utf-8",
    )
    expected = synthesizer.dream(
        picture(), guide=picture(1), octaves=2, iterations=[2, 1], layer="conv2_1"
    )
    np.testing.assert_array_equal(run_job(job).array, expected.array)
    job = tmp_path / "other.toml"
    job.write_text(
        'verb = "visualize"\n[engine]\nweights = "random:0"\n[arguments]\nlayer = "conv1_2"\n'
        "size = [20, 24]\niterations = 2\n[arguments.channel]\n3 = 1.0\n",
        encoding="utf-8",
    )
    assert run_job(job).size == (20, 24)


# ---- zoom ----

ZOOM: dict[str, Any] = {"layer": "conv1_2", "octaves": 1, "iterations": 2, "zoom": 0.1, "rotate": 3}


def test_zoom_sequence_goes_on_where_it_stopped(
    synthesizer: fs.Synthesizer, tmp_path: Path
) -> None:
    whole = synthesizer.dream_zoom(picture(), tmp_path / "whole", frames=4, seed=2, **ZOOM)
    assert [path.name for path in whole.paths] == [f"frame-{i:04}.png" for i in range(4)]
    assert (whole.made, whole.stopped) == (4, "frames")

    seen: list[tuple[int, int]] = []

    def callback(progress: fs.Progress) -> bool:
        seen.append((progress.evaluation, progress.evaluations))
        return len(seen) < 5

    part = synthesizer.dream_zoom(
        picture(), tmp_path / "part", frames=4, seed=2, callback=callback, **ZOOM
    )
    assert (part.made, part.stopped) == (2, "cancelled")
    assert seen == [(n, 8) for n in range(1, 6)]
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == [
        "frame-0000.png",
        "frame-0001.png",
    ]
    rest = synthesizer.dream_zoom(picture(), tmp_path / "part", frames=4, seed=2, **ZOOM)
    assert (rest.made, len(rest.paths)) == (2, 4)
    for one, other in zip(whole.paths, rest.paths, strict=True):
        np.testing.assert_array_equal(load(one).pixels, load(other).pixels)
    again = synthesizer.dream_zoom(picture(), tmp_path / "part", frames=3, seed=2, **ZOOM)
    assert (again.made, len(again.paths)) == (0, 3)
    fresh = synthesizer.dream_zoom(
        picture(), tmp_path / "part", frames=2, seed=2, overwrite=True, **ZOOM
    )
    assert fresh.made == 2
    # Each frame can be made again from the one before.
    replayed = fs.replay(whole.paths[2])
    np.testing.assert_array_equal(replayed.pixels.shape, (3, 40, 56))
    assert np.abs(replayed.array.astype(int) - np.asarray(Image.open(whole.paths[2]))).max() == 0


def test_zoom_refuses_files_of_another_sequence(
    synthesizer: fs.Synthesizer, tmp_path: Path
) -> None:
    synthesizer.dream_zoom(picture(), tmp_path, frames=1, **ZOOM)
    with pytest.raises(fs.ObjectiveError, match="not a frame of this sequence"):
        synthesizer.dream_zoom(picture(1), tmp_path, frames=1, **ZOOM)
    with pytest.raises(fs.ObjectiveError, match="not a frame of this sequence"):
        synthesizer.dream_zoom(picture(), tmp_path, frames=1, **{**ZOOM, "iterations": 3})
    Image.fromarray(picture()).save(tmp_path / "x-0.png")
    with pytest.raises(fs.ObjectiveError, match="not a frame of this sequence"):
        synthesizer.dream_zoom(picture(), tmp_path, frames=1, pattern="x-{}.png", **ZOOM)


@pytest.mark.parametrize("pattern", ["frame.png", "a/{:04}.png", "{:zz}.png", "{name}.png", 7])
def test_zoom_patterns_are_checked(
    synthesizer: fs.Synthesizer, tmp_path: Path, pattern: Any
) -> None:
    with pytest.raises(fs.ObjectiveError, match="pattern"):
        synthesizer.dream_zoom(picture(), tmp_path, frames=2, pattern=pattern)
    assert not list(tmp_path.iterdir())


def test_zoom_settings_are_checked(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    with pytest.raises(fs.ObjectiveError, match="frames must be"):
        synthesizer.dream_zoom(picture(), tmp_path, frames=0)
    with pytest.raises(TypeError, match="unexpected keyword 'octave'"):
        synthesizer.dream_zoom(picture(), tmp_path, octave=3)
    wrongs: list[dict[str, Any]] = [
        {"seed": "x"}, {"seed": True}, {"time_limit": -1}, {"zoom": "x"}, {"zoom": float("nan")},
        {"rotate": None},
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(fs.ObjectiveError, match=next(iter(wrong))):
            synthesizer.dream_zoom(picture(), tmp_path, frames=1, **wrong)
    (tmp_path / "file").write_text("no directory")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", 5, "nul\0"):
        with pytest.raises(fs.ImageError, match="frames"):
            synthesizer.dream_zoom(picture(), directory, frames=1)  # type: ignore[arg-type]
    stopped = synthesizer.dream_zoom(picture(), tmp_path, frames=50, time_limit=0.2, **ZOOM)
    assert stopped.stopped == "time"
    assert len(stopped.paths) == stopped.made < 50
    for path in stopped.paths:
        assert (read_metadata(path) or {})["sequence"]["zoom"] == 0.1


@pytest.mark.parametrize("border", ["grey", "reflect"])
def test_warp_and_its_adjoint(border: Any) -> None:
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (9, 14), (31, 20)):
        warp = Warp(height, width, zoom=1.3, degrees=17, shift=(2, -3), border=border)
        x, y = rng.standard_normal((2, 3, height, width), dtype=np.float32)
        linear = warp.apply(x).astype(np.float64) - warp.apply(np.zeros_like(x))
        left, right = (linear * y).sum(), (x.astype(np.float64) * warp.adjoint(y)).sum()
        assert left == pytest.approx(right, rel=1e-4, abs=1e-4)


def test_warp_matches_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = random_image(24, 31)
    for zoom, degrees, border, mode in (
        (1.2, 0, "reflect", "reflect"),
        (0.8, 25, "grey", "grid-constant"),
    ):
        angle = np.radians(degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom
        centre = np.array([11.5, 15.0])
        expected = [
            ndimage.affine_transform(
                plane.astype(np.float64), turn, centre - turn @ centre, order=1, mode=mode, cval=0.5
            )
            for plane in x
        ]
        found = Warp(24, 31, zoom=zoom, degrees=degrees, border=border).apply(x)  # type: ignore[arg-type]
        assert np.abs(found - expected).max() < 1e-5


def test_rotation_is_counter_clockwise() -> None:
    x = np.zeros((1, 9, 9), np.float32)
    x[0, 4, 8] = 1  # at the right
    turned = Warp(9, 9, degrees=90, border="reflect").apply(x)
    assert np.unravel_index(turned.argmax(), turned.shape) == (0, 0, 4)
