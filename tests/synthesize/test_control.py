"""The control terms in whole runs: both networks, threads, mixed exemplars, wrong settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastsynth as fs
from fastsynth import ObjectiveError

LAYERS = ["conv1_2", "conv2_1", "conv3_1"]


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Coloured squares with noise: where a picture is flat, maxima tie, and rounding decides."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((3, height // 6 + 1, width // 6 + 1), np.float32)
    fine = 0.7 * np.kron(coarse, np.ones((1, 6, 6), np.float32))[:, :height, :width]
    fine += 0.3 * rng.random(fine.shape, np.float32)
    return (fine.transpose(1, 2, 0) * 255).astype(np.uint8)


EXEMPLAR = picture(43, 50, 0)
MASK = np.zeros((37, 45), np.uint8)
MASK[:, 20:] = 255

TERMS: dict[str, Callable[[], Any]] = {
    "autocorrelation": lambda: fs.Autocorrelation(EXEMPLAR, LAYERS),
    "spectrum": lambda: fs.Spectrum(EXEMPLAR),
    "linear": lambda: fs.MMD(EXEMPLAR, LAYERS, kernel="linear"),
    "polynomial": lambda: fs.MMD(EXEMPLAR, LAYERS, offset=0.3),
    "gaussian": lambda: fs.MMD(EXEMPLAR, LAYERS, kernel="gaussian"),
    "bn_statistics": lambda: fs.BNStatistics(EXEMPLAR, LAYERS),
    "mean_covariance": lambda: fs.MeanCovariance(EXEMPLAR, LAYERS),
    "sliced_wasserstein": lambda: fs.SlicedWasserstein(EXEMPLAR, LAYERS),
    "histogram": lambda: fs.Histogram(EXEMPLAR, LAYERS),
    "guided": lambda: fs.GuidedStyle(EXEMPLAR, LAYERS, content_mask=MASK),
    "guided_covariance": lambda: fs.GuidedStyle(
        EXEMPLAR, LAYERS, style_mask=MASK, statistics="mean_covariance", strength_map=MASK
    ),
    "shifted_gram": lambda: fs.ShiftedGram(EXEMPLAR, LAYERS, shifts=[4, 8]),
    "pyramid_gram": lambda: fs.PyramidGram(EXEMPLAR, octaves=2),
    "gaussian_wasserstein": lambda: fs.GaussianWasserstein(EXEMPLAR, LAYERS),
    "activation": lambda: 1e-4 * fs.Activation(LAYERS, guide=EXEMPLAR, match="nearest"),
}


@pytest.fixture(scope="module")
def synthesizers() -> Any:
    made = {
        (backend, threads): fs.Synthesizer(weights="random:0", backend=backend, threads=threads)
        for backend in ("native", "onnx")
        for threads in (1, 2)
    }
    yield made
    for synthesizer in made.values():
        synthesizer.close()


@pytest.mark.parametrize("name", TERMS)
def test_networks_and_threads_agree(name: str, synthesizers: Any, tmp_path: Any) -> None:
    """The same bits for any number of threads, the same losses from both networks, and replay."""
    first = picture(37, 45, 1)
    results = {
        key: synthesizer.minimize(
            TERMS[name](), init=first, size=(45, 37), scales=1, max_evaluations=2, plateau=0
        )
        for key, synthesizer in synthesizers.items()
    }
    for backend in ("native", "onnx"):
        one, two = results[backend, 1], results[backend, 2]
        np.testing.assert_array_equal(one.pixels, two.pixels)
    native, onnx = results["native", 2], results["onnx", 2]
    for label, losses in native.losses.items():
        np.testing.assert_allclose(losses[0], onnx.losses[label][0], rtol=1e-5, atol=1e-12)
    # One step of the optimiser on: rounding has grown, but hardly.
    assert np.abs(native.pixels - onnx.pixels).mean() < 1e-3
    path = native.save(tmp_path / "run.png")
    again = fs.replay(path, inputs={"a": EXEMPLAR, "b": first, "c": MASK})
    np.testing.assert_array_equal(again.array, native.array)


@pytest.fixture
def synthesizer(synthesizers: Any) -> fs.Synthesizer:
    found: fs.Synthesizer = synthesizers["native", 2]
    return found


@pytest.mark.parametrize("loss", ["gram", "mean_covariance"])
def test_weights_of_exemplars_are_proportions(loss: Any, synthesizer: fs.Synthesizer) -> None:
    """Twice the weights are the same mixture, not a target of twice the contrast."""
    other = picture(40, 40, 2)
    for verb in (
        lambda pairs: synthesizer.synthesize_texture(
            pairs, size=32, style_loss=loss, max_evaluations=4
        ),
        lambda pairs: synthesizer.style_transfer(
            EXEMPLAR, pairs, size=32, style_loss=loss, max_evaluations=4
        ),
    ):
        halves = verb([(EXEMPLAR, 0.5), (other, 0.5)])
        wholes = verb([(EXEMPLAR, 1), (other, 1)])
        np.testing.assert_array_equal(halves.pixels, wholes.pixels)
    alone = synthesizer.synthesize_texture(EXEMPLAR, size=32, style_loss=loss, max_evaluations=4)
    half = synthesizer.synthesize_texture(
        [(EXEMPLAR, 0.5)], size=32, style_loss=loss, max_evaluations=4
    )
    np.testing.assert_array_equal(alone.pixels, half.pixels)


@pytest.mark.parametrize("weights", [(1, -1), (1, -2), (-1, -1), (1e308, 1e308)])
def test_weights_that_add_up_to_nothing(
    weights: tuple[float, float], synthesizer: fs.Synthesizer
) -> None:
    pairs = list(zip((EXEMPLAR, EXEMPLAR), weights, strict=True))
    for make in (
        lambda: fs.MeanCovariance(pairs),
        lambda: fs.Spectrum(pairs),
        lambda: synthesizer.synthesize_texture(pairs, style_loss="gram", max_evaluations=1),
        lambda: synthesizer.style_transfer(EXEMPLAR, pairs, max_evaluations=1),
    ):
        with pytest.raises(ObjectiveError, match="must add up to more than 0"):
            make()
    with pytest.raises(ObjectiveError, match="no power is negative"):
        fs.Spectrum([(EXEMPLAR, 2), (EXEMPLAR, -1)])


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "x", 0, -1, None])
def test_a_senseless_scale_beside_long_range(scale: Any, synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(ObjectiveError, match="scale must be a positive number"):
        synthesizer.synthesize_texture(EXEMPLAR, scale=scale, long_range="strong")


def test_layers_of_another_kind(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(ObjectiveError, match="layers are a name such as"):
        synthesizer.synthesize_texture(EXEMPLAR, layers=5)  # type: ignore[arg-type]


def test_one_label_map_is_not_enough(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(ObjectiveError, match="only content is given"):
        synthesizer.synthesize_texture(EXEMPLAR, masks={"content": MASK})


def test_a_black_mask_is_told_as_such(synthesizer: fs.Synthesizer) -> None:
    black = np.zeros((32, 32), np.uint8)
    with pytest.raises(fs.ObjectiveError, match="content_mask is black"):
        synthesizer.style_transfer(
            EXEMPLAR, EXEMPLAR, masks=[(black, None), (255 - black, None)], size=32
        )


def test_a_style_of_two_that_is_interrupted_ends_the_run(
    synthesizer: fs.Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(stopped="interrupted")

    transfer = fs.Synthesizer.style_transfer
    monkeypatch.setattr(fs.Synthesizer, "style_transfer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transfer(synthesizer, EXEMPLAR, {"coarse": EXEMPLAR, "fine": EXEMPLAR}, size=32)


def test_a_style_of_two_that_is_cancelled_leaves_no_checkpoint_behind(
    synthesizer: fs.Synthesizer, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"size": 32, "max_evaluations": 3}
    style = {"coarse": EXEMPLAR, "fine": picture(30, 40, 1)}
    whole = synthesizer.style_transfer(EXEMPLAR, style, **arguments)
    cancel = fs.Cancel()
    cancel.set()
    arguments["checkpoint"] = tmp_path / "run.checkpoint"
    assert synthesizer.style_transfer(EXEMPLAR, style, cancel=cancel, **arguments).stopped == (
        "cancelled"
    )
    again = synthesizer.style_transfer(EXEMPLAR, style, **arguments)
    np.testing.assert_array_equal(again.array, whole.array)


def test_the_style_of_two_scales_is_seen_by_time_limit_and_callback(
    synthesizer: fs.Synthesizer, tmp_path: Path
) -> None:
    style = {"coarse": picture(64, 64, 3), "fine": picture(64, 64, 4)}
    seen: list[int] = []

    def stop(progress: fs.Progress) -> bool:
        seen.append(progress.evaluations)
        return len(seen) < 3

    stopped = synthesizer.style_transfer(EXEMPLAR, style, size=48, callback=stop)
    assert stopped.stopped == "cancelled"
    assert len(seen) == 3
    cut = synthesizer.style_transfer(
        EXEMPLAR, style, size=48, time_limit=0.3, max_evaluations=100_000, plateau=0
    )
    assert cut.stopped == "time"
    assert cut.seconds["levels"] < 3.0  # beside others on the machine
    path = cut.save(tmp_path / "cut.png")
    inputs = {"style.coarse": style["coarse"], "style.fine": style["fine"], "content": EXEMPLAR}
    np.testing.assert_array_equal(fs.replay(path, inputs=inputs).array, cut.array)


def test_patches_need_masks(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(ObjectiveError, match="puts parts together that masks name; give masks="):
        synthesizer.synthesize_texture(EXEMPLAR, init="patches")


def test_masks_of_truth_values(synthesizer: fs.Synthesizer) -> None:
    runs = [
        synthesizer.style_transfer(
            EXEMPLAR, picture(40, 40, 5), masks=[(mask, None)], size=32, max_evaluations=2
        )
        for mask in (MASK, MASK > 0)
    ]
    np.testing.assert_array_equal(runs[0].array, runs[1].array)


def test_a_dark_mask_is_not_called_black(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(ObjectiveError, match=r"nowhere brighter than 0\.25"):
        synthesizer.style_transfer(EXEMPLAR, EXEMPLAR, masks=[(MASK // 4, None)], size=32)


def test_the_smallest_exemplar_has_a_colour(synthesizer: fs.Synthesizer) -> None:
    pixel = np.array([[[200, 40, 90]]], np.uint8)
    result = synthesizer.synthesize_texture(pixel, size=(24, 20), max_evaluations=2)
    assert np.abs(result.array.astype(int) - pixel).max() <= 1


def test_nothing_to_see_is_no_exemplar(synthesizer: fs.Synthesizer) -> None:
    with pytest.raises(fs.ImageError, match="its alpha is 0 everywhere"):
        synthesizer.synthesize_texture(np.zeros((32, 32, 4), np.uint8))


def test_numbers_out_of_arrays(synthesizer: fs.Synthesizer) -> None:
    plain, numpys = (
        synthesizer.synthesize_texture(EXEMPLAR, size=32, seed=seed, max_evaluations=count)
        for seed, count in ((3, 2), (np.arange(4)[3], np.int64(2)))
    )
    np.testing.assert_array_equal(plain.array, numpys.array)


def test_the_statistics_of_a_transfer(synthesizer: fs.Synthesizer) -> None:
    """Random weights: means and covariances by default; Gram matrices where they are asked for."""
    full = [(None, None)]
    for expected, keywords in [
        ("mean_covariance", {}),
        ("style", {"style_loss": "gram"}),
        ("style", {"normalization": "paper"}),
        ("guided_style", {"masks": full}),
        ("guided_style", {"masks": full, "style_loss": "gram"}),
        ("mmd_linear", {"style_loss": "mmd_linear"}),
    ]:
        result = synthesizer.style_transfer(
            EXEMPLAR, picture(40, 40, 2), size=32, scales=1, max_evaluations=1, **keywords
        )
        layers = {name for name in result.losses if name.startswith(f"{expected}/")}
        shallow = "style_loss" not in keywords and "normalization" not in keywords
        assert len(layers) == 5, result.losses
        assert (f"{expected}/conv5_1" in layers) != shallow


def test_what_shows_through_is_no_texture(synthesizer: fs.Synthesizer) -> None:
    """A hole in the exemplar is not filled and repeated: the opaque part beside it is used."""
    exemplar = np.dstack([picture(64, 80, 3), np.full((64, 80), 255, np.uint8)])
    exemplar[:, 48:, 3] = 0
    exemplar[:, 48:, :3] = (255, 0, 255)
    keywords: dict[str, Any] = {"size": (48, 40), "max_evaluations": 4}
    holed = synthesizer.synthesize_texture(exemplar, **keywords)
    cropped = synthesizer.synthesize_texture(np.ascontiguousarray(exemplar[:, :48, :3]), **keywords)
    np.testing.assert_array_equal(holed.pixels, cropped.pixels)
    assert holed.array.shape == (40, 48, 4)
