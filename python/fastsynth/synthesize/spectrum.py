"""A picture as Fourier coefficients of decorrelated colours (Olah, Mordvintsev, Schubert, 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["COLORS", "Spectrum"]

# Columns: the principal directions of natural images' colours, with their deviations; scaled so
# that the longest has length 1. The figures are Lucid's.
_DIRECTIONS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLORS = (_DIRECTIONS / np.sqrt((_DIRECTIONS**2).sum(axis=0)).max()).astype(np.float32)
CONTRAST = np.float32(0.25)  # of the picture before the sigmoid


class Spectrum:
    """Pictures x = sigmoid(COLORS · irfft2(z / f) / 4), with coefficients z of all frequencies f.

    Dividing by the frequency gives coarse and fine structures an equal say, as in natural images;
    in pixel space ascent would grow the finest ones alone. z: float32 (3, height, width // 2 + 1,
    2), real and imaginary parts.

    >>> spectrum = Spectrum(8, 9)
    >>> spectrum.decode(np.zeros(spectrum.shape, np.float32)).tolist()[0][0][:2]
    [0.5, 0.5]
    """

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)
        self.shape = (3, height, width // 2 + 1, 2)
        frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
        scale = np.sqrt(height * width) / np.maximum(frequencies, 1 / max(height, width))
        self._scale = scale.astype(np.float32)
        # The half spectrum stands for the whole: all columns but the first, and the last of an even
        # width, count twice.
        twice = np.full(width // 2 + 1, 2, np.float32)
        twice[0] = 1
        if width % 2 == 0:
            twice[-1] = 1
        self._adjoint_scale = self._scale * twice / np.float32(height * width)

    def noise(self, seed: int, deviation: float = 0.01) -> Floats:
        """Independent normal coefficients."""
        rng = np.random.default_rng(seed)
        return np.float32(deviation) * rng.standard_normal(self.shape, np.float32)

    def decode(self, z: Floats) -> Floats:
        """The picture (3, height, width), values in (0, 1)."""
        coefficients = (z[..., 0] + 1j * z[..., 1]) * self._scale
        planes = np.fft.irfft2(coefficients, s=self.size).astype(np.float32)
        mixed = np.tensordot(COLORS, CONTRAST * planes, axes=1)
        # tanh does not overflow as exp would.
        picture: Floats = (0.5 + 0.5 * np.tanh(0.5 * mixed)).astype(np.float32)
        return picture

    def pull(self, picture: Floats, gradient: Floats) -> Floats:
        """From the gradient with respect to the picture, that with respect to z (the chain rule).

        picture: what `decode` gave for this z.
        """
        mixed = gradient * picture * (1 - picture)
        planes = CONTRAST * np.tensordot(COLORS.T, mixed, axes=1)
        coefficients = np.fft.rfft2(planes) * self._adjoint_scale
        return np.stack([coefficients.real, coefficients.imag], axis=-1).astype(np.float32)
