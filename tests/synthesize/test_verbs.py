"""The verbs end to end, on small pictures with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastsynth as fs


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Soft blobs of colour: something with structure at several scales."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[fs.Synthesizer]:
    with fs.Synthesizer(weights="random:0", threads=2) as made:
        yield made


SHORT: dict[str, Any] = {"max_evaluations": 12, "scales": 2}


def test_transfer_lowers_the_loss_and_keeps_the_size(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.style_transfer(picture(0), picture(1, 40, 40), **SHORT)
    assert result.array.shape == (48, 64, 3)
    assert result.array.dtype == np.uint8
    history = result.levels[-1].run.history.loss
    assert history.min() < history[0]
    assert set(result.losses) == {
        "content/conv2_2",
        *(f"mean_covariance/conv{layer}" for layer in ("1_1", "1_2", "2_1", "2_2", "3_1")),
        "range",
    }
    total = sum(values[-1] for values in result.losses.values())
    assert total == pytest.approx(history[-1], rel=1e-6)


@pytest.mark.parametrize("size", [(33, 21), 40, "50x30"])
def test_exact_output_size(synthesizer: fs.Synthesizer, size: Any) -> None:
    result = synthesizer.style_transfer(picture(0), picture(1), size=size, max_evaluations=4)
    assert result.size == {(33, 21): (33, 21), 40: (40, 30), "50x30": (50, 30)}[size]


def test_same_seed_same_bits(synthesizer: fs.Synthesizer) -> None:
    runs = [
        synthesizer.style_transfer(picture(0), picture(1), init="noise", seed=seed, **SHORT).pixels
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_function_form_equals_method(synthesizer: fs.Synthesizer) -> None:
    by_method = synthesizer.invert(picture(0), layers="conv2_1", **SHORT)
    by_function = fs.invert(picture(0), layers="conv2_1", weights="random:0", threads=2, **SHORT)
    assert np.array_equal(by_method.pixels, by_function.pixels)


def test_strength_moves_from_content_to_style(synthesizer: fs.Synthesizer) -> None:
    """More strength: farther from the content, nearer to the style's statistics."""
    content, style = picture(0), picture(1)
    distance = {}
    style_loss = {}
    for strength in (0.01, 1.0, 100.0):
        result = synthesizer.style_transfer(
            content, style, strength=strength, max_evaluations=40, scales=1
        )
        distance[strength] = float(np.abs(result.array.astype(float) - content).mean())
        # Weights of the layers depend on the strength only by a factor.
        style_loss[strength] = (
            sum(values[-1] for name, values in result.losses.items() if "covariance" in name)
            / strength
        )
    assert distance[0.01] < distance[1.0] < distance[100.0]
    assert style_loss[0.01] > style_loss[1.0] > style_loss[100.0]


def test_zero_strength_keeps_the_content(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.style_transfer(
        picture(0), picture(1), strength=0, scales=1, max_evaluations=5
    )
    assert np.array_equal(result.array, picture(0))


def test_texture_of_another_size(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.synthesize_texture(picture(2), size=(50, 70), **SHORT)
    assert result.size == (50, 70)


def test_inversion_comes_near_the_image(synthesizer: fs.Synthesizer) -> None:
    image = picture(0)
    result = synthesizer.invert(
        image, layers="conv1_2", smoothness=0, max_evaluations=150, scales=1
    )
    error = np.abs(result.array.astype(float) - image).mean()
    assert error < 8, f"mean error {error:.1f} grey levels"


def test_mix_of_one_image_is_its_inversion(synthesizer: fs.Synthesizer) -> None:
    one = synthesizer.mix([(picture(0), 1.0)], layers="conv2_1", **SHORT)
    other = synthesizer.invert(picture(0), layers="conv2_1", **SHORT)
    assert np.array_equal(one.pixels, other.pixels)


def test_mix_at_pixels_is_the_weighted_sum(synthesizer: fs.Synthesizer) -> None:
    a, b = picture(0), picture(1)
    mixed = synthesizer.mix([(a, 0.7), (b, 0.3)], layers="conv2_1", at="pixels", **SHORT)
    parts = [synthesizer.invert(x, layers="conv2_1", size=(64, 48), **SHORT).pixels for x in (a, b)]
    expected = np.clip(np.float32(0.7) * parts[0] + np.float32(0.3) * parts[1], 0, 1)
    assert np.allclose(mixed.pixels, expected, atol=1e-6)


def test_mix_of_two_networks(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.mix(
        [(picture(0), 0.5), (picture(1), 0.5)],
        networks=["vgg16", "vgg19"],
        layers="conv2_1",
        **SHORT,
    )
    assert {"content/conv2_1", "vgg19:content/conv2_1"} <= set(result.losses)
    history = result.levels[-1].run.history.loss
    assert history.min() < history[0]


def test_mix_leaves_out_a_network_without_weight(synthesizer: fs.Synthesizer) -> None:
    weights = [(picture(0), 1.0), (picture(1), 0.0)]
    alone = synthesizer.mix(weights[:1], layers="conv2_1", **SHORT)
    mixed = synthesizer.mix(weights, networks=["vgg16", "vgg19"], layers="conv2_1", **SHORT)
    assert np.array_equal(alone.pixels, mixed.pixels)


@pytest.mark.parametrize(
    ("weight", "message"), [("much", "'much'"), (float("nan"), "nan"), (0, "all weights")]
)
def test_senseless_weights_of_a_mix(synthesizer: fs.Synthesizer, weight: Any, message: str) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        synthesizer.mix([(picture(0), weight)])


def test_several_styles(synthesizer: fs.Synthesizer) -> None:
    a, b = picture(1), picture(2)
    only_a = synthesizer.style_transfer(picture(0), a, **SHORT)
    weighted = synthesizer.style_transfer(picture(0), [(a, 1.0), (b, 0.0)], **SHORT)
    both = synthesizer.style_transfer(picture(0), [(a, 0.5), (b, 0.5)], **SHORT)
    assert np.allclose(only_a.pixels, weighted.pixels, atol=1e-5)
    assert not np.allclose(only_a.pixels, both.pixels, atol=1e-2)


def test_luminance_keeps_the_chroma(synthesizer: fs.Synthesizer) -> None:
    content = picture(0)
    result = synthesizer.style_transfer(content, picture(1), color="luminance", **SHORT)
    got, want = result.array.astype(float), content.astype(float)
    weights = np.array([0.299, 0.587, 0.114])
    chroma = (got - (got @ weights)[..., None]) - (want - (want @ weights)[..., None])
    inside = ((got > 0) & (got < 255)).all(-1)  # clipped pixels may differ
    assert inside.mean() > 0.5
    assert np.abs(chroma[inside]).max() < 2.0


def test_matched_colours_are_nearer_to_the_content(synthesizer: fs.Synthesizer) -> None:
    content = picture(0)
    means = {
        color: synthesizer.style_transfer(content, 255 - content, color=color, strength=10, **SHORT)
        .array.reshape(-1, 3)
        .mean(0)
        for color in ("none", "match")
    }
    target = content.reshape(-1, 3).mean(0)
    assert np.abs(means["match"] - target).sum() <= np.abs(means["none"] - target).sum()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_output_kind_is_input_kind(synthesizer: fs.Synthesizer, dtype: Any) -> None:
    content = picture(0).astype(np.float64) / 255
    if dtype is not np.float32:
        content = content * np.iinfo(dtype).max
    result = synthesizer.style_transfer(
        content.astype(dtype), picture(1), max_evaluations=2, scales=1
    )
    assert result.array.dtype == dtype


def test_alpha_is_carried_over(synthesizer: fs.Synthesizer) -> None:
    alpha = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(48, 0)
    content = np.dstack([picture(0), alpha])
    result = synthesizer.style_transfer(content, picture(1), max_evaluations=2, scales=1)
    assert np.array_equal(result.array[..., 3], alpha)


@pytest.mark.parametrize("init", ["noise", "style", picture(5)])
def test_inits(synthesizer: fs.Synthesizer, init: Any) -> None:
    result = synthesizer.style_transfer(picture(0), picture(1), init=init, **SHORT)
    assert np.isfinite(result.pixels).all()


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"strength": -1}, fs.ObjectiveError, "strength must be a number ≥ 0, not -1"),
        ({"strength": float("nan")}, fs.ObjectiveError, "strength"),
        ({"color": "sepia"}, fs.ObjectiveError, "sepia"),
        ({"init": "contents"}, fs.ObjectiveError, "neither one of 'content', 'noise', 'style'"),
        ({"style_layers": "conv9_1"}, fs.NetworkError, "conv9_1.*conv5_3"),
        ({"optimizer": "sgd"}, fs.ObjectiveError, "sgd"),
        ({"size": 0}, fs.FastsynthError, "0"),
        ({"size": (-3, 10)}, fs.FastsynthError, "-3"),
        ({"seed": -1}, fs.ObjectiveError, "seed"),
        ({"time_limit": 0}, fs.ObjectiveError, "time_limit"),
        ({"max_evaluations": 2.5}, fs.ObjectiveError, "max_evaluations"),
        ({"max_evaluations": 2**70}, fs.ObjectiveError, "at most"),
        ({"optimizer": fs.Adam(-1)}, fs.ObjectiveError, "learning_rate"),
        ({"optimizer": fs.LBFGS(memory=0)}, fs.ObjectiveError, "memory"),
        ({"callback": 3}, fs.ObjectiveError, "callback must be a function"),
        ({"cancel": True}, fs.ObjectiveError, "fastsynth.Cancel"),
        ({"wieghts": "oxford"}, TypeError, "wieghts"),
        ({"weights": "oxford"}, TypeError, "Synthesizer"),
    ],
)
def test_bad_arguments(
    synthesizer: fs.Synthesizer, keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        synthesizer.style_transfer(picture(0), picture(1), **keywords)


def test_callback_sees_progress_and_cancels(synthesizer: fs.Synthesizer) -> None:
    seen: list[fs.Progress] = []
    shapes = set()

    def callback(progress: fs.Progress) -> bool:
        seen.append(progress)
        shapes.add(progress.image().shape)
        return len(seen) < 5

    result = synthesizer.style_transfer(
        picture(0), picture(1), scales=2, max_evaluations=40, callback=callback
    )
    assert result.stopped == "cancelled"
    assert len(seen) == 5
    assert result.size == (64, 48), "a cancelled run still has the size asked for"
    evaluations = [event.evaluation for event in seen]
    assert evaluations == sorted(set(evaluations)), "each iteration takes at least one evaluation"
    assert seen[-1].levels == 2
    assert shapes == {(3, 24, 32)}
    assert sum(seen[-1].losses.values()) == pytest.approx(seen[-1].loss)


def test_ctrl_c_in_a_callback_keeps_the_picture(synthesizer: fs.Synthesizer) -> None:
    def interrupt(progress: fs.Progress) -> None:
        if progress.evaluation >= 4:
            raise KeyboardInterrupt

    result = synthesizer.style_transfer(
        picture(0), picture(1), scales=2, max_evaluations=40, callback=interrupt
    )
    assert result.stopped == "interrupted"
    assert result.evaluations >= 4
    assert result.size == (64, 48)


def test_divergence_carries_the_last_good_picture(synthesizer: fs.Synthesizer) -> None:
    calls = 0

    def breaks(features: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        value = float("nan") if calls > 5 else float((features**2).mean())
        return value, 2 * features / features.size

    objective = fs.Content(picture(0), "conv2_1") + fs.FunctionTerm("conv1_1", breaks)
    with pytest.raises(fs.DivergenceError) as caught:
        synthesizer.minimize(objective, init=picture(1), scales=1, max_evaluations=50)
    image = caught.value.image
    assert image is not None
    assert image.shape == (3, 48, 64)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ([(picture(1), 0.0), (picture(2), 0.0)], "all weights of the style images are 0"),
        ([picture(1), picture(2)], "pairs"),
        ([], "pairs"),
    ],
)
def test_senseless_styles(synthesizer: fs.Synthesizer, style: Any, message: str) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        synthesizer.style_transfer(picture(0), style)


def test_pairs_may_be_lists_and_numbers_numpy(synthesizer: fs.Synthesizer) -> None:
    pairs = [[picture(1), 0.5], [picture(2), 0.5]]
    result = synthesizer.style_transfer(
        picture(0), pairs, max_evaluations=np.int64(3), scales=1, callback=lambda _: np.bool_(False)
    )
    assert result.stopped == "cancelled", "a false NumPy value stops too"


@pytest.mark.parametrize(
    "keywords", [{"threads": 100_000}, {"threads": True}, {"pooling": "median"}, {"weights": 3}]
)
def test_senseless_engines(keywords: dict[str, Any]) -> None:
    with pytest.raises(fs.FastsynthError, match=str(next(iter(keywords)))):
        fs.Synthesizer(**{"weights": "random:0", **keywords})


def test_time_limit_leaves_something_for_every_level(synthesizer: fs.Synthesizer) -> None:
    """Enlarging a coarse level would be a waste of the content: the last level gets its share."""
    result = synthesizer.style_transfer(
        picture(0), picture(1), size=96, scales=3, time_limit=1.5, max_evaluations=3000, plateau=0
    )
    assert [level.index for level in result.levels] == [0, 1, 2]
    assert result.stopped == "time"


def test_mix_of_pixels_that_is_cut_short_is_not_dark(synthesizer: fs.Synthesizer) -> None:
    bright = np.full((40, 40, 3), 200, np.uint8)
    seen: list[int] = []

    def stop_in_the_first(progress: fs.Progress) -> bool:
        seen.append(progress.evaluation)
        return len(seen) < 3

    result = synthesizer.mix(
        [(bright, 0.5), (bright, 0.5)],
        at="pixels",
        layers="conv1_2",
        init=bright,
        smoothness=0.1,
        callback=stop_in_the_first,
        scales=1,
    )
    assert result.array.mean() > 150


def test_a_run_cancelled_before_it_began_can_be_saved(
    synthesizer: fs.Synthesizer, tmp_path: Path
) -> None:
    cancel = fs.Cancel()
    cancel.set()
    result = synthesizer.invert(picture(0), max_evaluations=6, cancel=cancel)
    saved = result.save(tmp_path / "out.png")
    with pytest.raises(fs.ImageError, match="cancelled before it began"):
        fs.replay(saved, inputs={"image": picture(0)})
    with pytest.raises(fs.ImageError, match="inputs="):
        fs.replay(saved)


def test_time_left_shrinks_to_nothing(synthesizer: fs.Synthesizer) -> None:
    left: list[float] = []
    synthesizer.style_transfer(
        picture(0),
        picture(1),
        max_evaluations=20,
        scales=2,
        plateau=0,
        callback=lambda progress: left.append(progress.seconds_left),
    )
    assert left[-1] == 0
    assert all(seconds >= 0 for seconds in left)


def test_time_limit_returns_a_picture(synthesizer: fs.Synthesizer) -> None:
    result = synthesizer.style_transfer(
        picture(0), picture(1), time_limit=0.2, max_evaluations=100_000, plateau=0
    )
    assert result.stopped == "time"
    assert result.size == (64, 48)


def test_constant_and_grey_pictures(synthesizer: fs.Synthesizer) -> None:
    flat = np.full((32, 32, 3), 128, np.uint8)
    for color in ("none", "luminance", "match"):
        for content, style in ((flat, picture(1)), (picture(0), flat), (flat, flat)):
            result = synthesizer.style_transfer(
                content, style, color=color, max_evaluations=6, scales=1
            )
            assert np.isfinite(result.pixels).all()


def test_minimize_any_sum(synthesizer: fs.Synthesizer) -> None:
    objective = (
        fs.Content(picture(0), "conv3_1")
        + 5 * fs.Style(picture(1), {"conv1_1": 1.0, "conv2_1": 0.5})
        + 0.1 * fs.TotalVariation(beta=1.5)
        + 0.01 * fs.AlphaNorm()
        + 0.1 * fs.FunctionTerm("conv1_1", lambda f: (float((f**2).mean()), 2 * f / f.size))
    )
    result = synthesizer.minimize(objective, init=picture(0), optimizer=fs.Adam(0.02), **SHORT)
    assert {"total_variation", "alpha_norm", "function/conv1_1"} <= set(result.losses)
    history = result.levels[-1].run.history.loss
    assert history.min() < history[0]


def test_synthesizer_is_shared_by_threads(synthesizer: fs.Synthesizer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def job(seed: int) -> np.ndarray:
        return synthesizer.style_transfer(
            picture(seed), picture(9), max_evaluations=6, scales=1
        ).pixels

    serial = [job(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(job, range(4)))
    for a, b in zip(serial, threaded, strict=True):
        assert np.array_equal(a, b)
