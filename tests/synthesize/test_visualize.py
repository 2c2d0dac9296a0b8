"""Feature visualisation: the Fourier parametrisation and its gradient, and the verb."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import relative_error

import fastsynth as fs
from fastsynth.network import load_weights
from fastsynth.synthesize.spectrum import COLORS, Spectrum

SIZES = [(1, 1), (1, 6), (5, 1), (8, 8), (9, 14), (12, 7)]


@pytest.fixture(scope="module")
def synthesizer() -> Iterator[fs.Synthesizer]:
    with fs.Synthesizer(weights="random:0", threads=2) as made:
        yield made


@pytest.mark.torch
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pictures_and_gradients_match_torch(height: int, width: int) -> None:
    """Lucid's parametrisation, written down again; the chain rule against autograd."""
    torch = pytest.importorskip("torch")
    spectrum = Spectrum(height, width)
    rng = np.random.default_rng(0)
    z = rng.standard_normal(spectrum.shape, dtype=np.float32) * np.float32(0.3)
    slope = rng.standard_normal((3, height, width), dtype=np.float32)

    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    scale = torch.tensor(np.sqrt(width * height) / np.maximum(f, 1 / max(width, height)))
    planes = torch.fft.irfft2(torch.complex(x[..., 0], x[..., 1]) * scale, s=(height, width)) / 4
    m = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    m = torch.tensor(m / np.linalg.norm(m, axis=0).max())
    picture = torch.sigmoid(torch.einsum("ij,jhw->ihw", m, planes))
    (picture * torch.tensor(slope)).sum().backward()

    found = spectrum.decode(z)
    assert np.abs(found - picture.detach().numpy()).max() < 1e-5
    assert relative_error(spectrum.pull(found, slope), x.grad.numpy()) < 1e-4


def test_colours_are_decorrelated_and_of_length_one() -> None:
    assert np.linalg.norm(COLORS, axis=0).max() == pytest.approx(1)
    assert COLORS.shape == (3, 3)


def test_extreme_coefficients_stay_pictures() -> None:
    spectrum = Spectrum(6, 6)
    picture = spectrum.decode(spectrum.noise(0, 1e6))
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1


@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_it_finds_more_than_noise(backend: str) -> None:
    """The channel answers to the picture far more than to any of twenty noises."""
    with fs.Synthesizer(weights="random:0", backend=backend, threads=2) as synthesizer:
        result = synthesizer.visualize("conv2_1", 9, size=(40, 33), iterations=100)
        network = synthesizer.open()
        rng = np.random.default_rng(0)

        def mean(pixels: Any) -> float:
            return float(network.features(pixels, ["conv2_1"])["conv2_1"][9].mean())

        noises = [mean(rng.random((3, 33, 40), dtype=np.float32)) for _ in range(20)]
        assert mean(result.pixels) > 2 * max(noises)
    assert result.array.shape == (33, 40, 3)
    assert result.array.dtype == np.uint8
    losses = result.losses["activation/conv2_1"]
    assert losses.min() < 3 * losses[0] < 0


def test_layer_direction_and_neuron(synthesizer: fs.Synthesizer) -> None:
    calls: list[dict[str, Any]] = [
        {"channel": None},
        {"channel": {3: 1.0, 5: -1.0}},
        {"channel": 3, "neuron": "center"},
        {"channel": 3, "transforms": False},
    ]
    made = []
    for call in calls:
        result = synthesizer.visualize("conv2_1", size=32, iterations=6, **call)
        losses = result.losses["activation/conv2_1"]
        assert losses.min() < losses[0]
        made.append(result.pixels)
    for index, one in enumerate(made):
        assert not any(np.array_equal(one, other) for other in made[index + 1 :])


def test_seeds_and_replay(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    results = [
        synthesizer.visualize("conv1_2", 3, size=24, iterations=5, seed=s) for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    assert not np.array_equal(results[0].pixels, results[2].pixels)
    again = fs.replay(results[0].save(tmp_path / "a.png"))
    np.testing.assert_array_equal(again.pixels, results[0].pixels)


def test_stopping(synthesizer: fs.Synthesizer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def callback(progress: fs.Progress) -> bool:
        seen.append((progress.evaluation, progress.evaluations))
        assert progress.image().shape == (3, 24, 24)
        return len(seen) < 3

    result = synthesizer.visualize("conv1_2", 3, size=24, iterations=9, callback=callback)
    assert result.stopped == "cancelled"
    assert seen == [(1, 9), (2, 9), (3, 9)]
    again = fs.replay(result.save(tmp_path / "a.png"))
    np.testing.assert_array_equal(again.pixels, result.pixels)
    timed = synthesizer.visualize("conv1_2", 3, size=24, iterations=10**6, time_limit=0.2)
    assert timed.stopped == "time"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"iterations": 0}, "iterations must be a whole number"),
        ({"iterations": [3, 4]}, "iterations must be a whole number"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"transforms": 1}, "transforms must be True or False"),
        ({"scales": 2}, "visualize has no scales"),
        ({"optimizer": "gd"}, "visualize has no optimizer"),
        ({"layer": ["conv1_1", "conv2_1"]}, "layer must be one name"),
        ({"channel": -2}, "numbered from 0"),
    ],
)
def test_bad_settings_are_refused(
    synthesizer: fs.Synthesizer, call: dict[str, Any], message: str
) -> None:
    with pytest.raises(fs.ObjectiveError, match=message):
        synthesizer.visualize(**{"layer": "conv1_2", "size": 16, **call})


def test_a_silent_channel_is_a_clear_error(tmp_path: Path) -> None:
    weights = load_weights("random:0", "vgg16")
    arrays = {name: weights.arrays[name] for name in list(weights.arrays)[:4]}
    arrays["conv1_1.bias"] = arrays["conv1_1.bias"] - np.float32(1e6)
    path = tmp_path / "silent.npz"
    np.savez(path, **arrays)
    with (
        fs.Synthesizer(weights=path, threads=1) as synthesizer,
        pytest.raises(fs.ObjectiveError, match="silent for noise of any contrast"),
    ):
        synthesizer.visualize("conv1_1", 0, size=16)
