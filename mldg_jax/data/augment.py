"""Augmentation of training crops, the same for bona fide and spoof.

A detector trained on a dozen voices learns the voices. Playing a clip a little faster
or slower gives it another voice (pitch and formants move together, as in Kaldi's speed
perturbation, Ko et al. 2015), and a random smooth equaliser another microphone. Both
happen in one pass through the frequency domain.
"""

from collections.abc import Callable

import numpy as np

from mldg_jax.data.episodes import crop

_EQUALISER_POINTS = 8  # over 0 … 8 kHz


def augmenter(
    *, speed: float, equaliser: float
) -> Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]:
    """Returns ``(waveform, samples, start, rng) -> (samples,)``.

    Args:
      speed: largest relative change of speed, in [0, 0.5); 0.1 plays at 0.9 … 1.1 ×.
      equaliser: standard deviation of the gain at each of 8 frequencies, in dB, ≥ 0.

    Returns:
      A function that crops, changes speed and equalises; with both options zero it is
      ``episodes.crop``.
    """

    def augment(waveform, samples, start, rng):
        factor = 1.0 + speed * rng.uniform(-1.0, 1.0)
        gains = equaliser * rng.standard_normal(_EQUALISER_POINTS)
        cropped = crop(waveform, round(samples * factor), start)
        if not (speed or equaliser):
            return cropped
        return _resynthesise(cropped, samples, gains)

    return augment


def _resynthesise(waveform: np.ndarray, samples: int, gains: np.ndarray) -> np.ndarray:
    """Equalises and stretches (n,) to (samples,), exactly band-limited."""
    spectrum = np.fft.rfft(waveform)
    points = np.linspace(0, len(spectrum) - 1, len(gains))
    decibels = np.interp(np.arange(len(spectrum)), points, gains)
    spectrum *= 10 ** (decibels / 20)
    kept = np.zeros(samples // 2 + 1, spectrum.dtype)
    count = min(len(kept), len(spectrum))
    kept[:count] = spectrum[:count]
    stretched = np.fft.irfft(kept, samples) * (samples / len(waveform))
    return np.clip(stretched, -1.0, 1.0).astype(np.float32)
