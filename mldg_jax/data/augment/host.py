"""Augmentation on the host, during cropping: speed, equaliser and codec.

A detector trained on a dozen speakers learns the speakers. Playing speech a little
faster or slower imitates another speaker (pitch and formants shift together, as in
Kaldi's speed perturbation, Ko et al. 2015), and a random smooth equaliser imitates
another microphone. Both are applied in one pass through the frequency domain.

An option that is switched off (0 or empty) costs nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.fft

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment import codecs
from mldg_jax.data.episodes import Augment, crop

_EQUALISER_POINTS = 8  # over 0 … 8 kHz
_PER_DECIBEL = np.float32(np.log(10) / 20)
UNCODED = "none"

Span = Callable[[int, np.random.Generator], int]


def augmenter(
    *, speed: float = 0.0, equaliser: float = 0.0, codec: Sequence[str] = ()
) -> Augment:
    """Returns a function that crops an utterance and augments the crop.

    Args:
      speed: largest relative change of speed, in [0, 0.5); 0.1 plays at 0.9 … 1.1 ×.
      equaliser: standard deviation of the gain at each of 8 frequencies, in dB, ≥ 0.
      codec: names in ``codecs.CODECS``, or "none"; each crop goes through one of them,
        chosen at random, and "none" leaves it uncoded.

    Returns:
      ``(waveform, samples, start, rng) -> (samples,)``, which changes speed, equalises
      and codes the crop; with all options off it equals ``episodes.crop``.

    Raises:
      UserError: an option has an invalid value, or a codec is not available.
    """
    _check("speed", speed, 0 <= speed < 0.5, "at least 0 and below 0.5")
    _check("equaliser", equaliser, equaliser >= 0, "at least 0 dB")
    for name in set(codec) - {UNCODED}:
        codecs.check(name)

    span = span_of(speed)

    def augment(waveform, samples, start, rng):
        length = span(samples, rng)
        gains = equaliser * rng.standard_normal(_EQUALISER_POINTS)
        augmented = crop(waveform, length, start)
        if speed or equaliser:
            augmented = _resynthesise(augmented, samples, gains)
        name = codec[int(rng.integers(len(codec)))] if codec else UNCODED
        return augmented if name == UNCODED else codecs.round_trip(augmented, name)

    return augment


def span_of(speed: float) -> Span:
    """Returns a function that draws how much of an utterance a crop is made of.

    Args:
      speed: as for ``augmenter``, which draws the same with an equal generator.

    Returns:
      ``(samples, rng) -> span``: the length of the crop and that of what is resampled.
    """

    def span(samples, rng):
        length = round(samples * (1.0 + speed * rng.uniform(-1.0, 1.0)))
        if length == samples:
            return length
        # A length with a fast Fourier transform, about 1 % longer on average.
        return scipy.fft.next_fast_len(length, real=True)

    return span


def _check(name: str, value: Any, good: bool, limit: str) -> None:
    if not good:
        raise UserError(f"augment.{name} is {value!r}; it must be {limit}")


def _resynthesise(waveform: np.ndarray, samples: int, gains: np.ndarray) -> np.ndarray:
    """Equalises (n,) and resamples it to (samples,) without aliasing; float32."""
    spectrum = scipy.fft.rfft(waveform)
    resized = np.zeros(samples // 2 + 1, spectrum.dtype)
    count = min(len(resized), len(spectrum))
    points = np.linspace(0, len(spectrum) - 1, len(gains))
    decibels = np.interp(np.arange(count), points, gains).astype(np.float32)
    resized[:count] = spectrum[:count] * np.exp(decibels * _PER_DECIBEL)
    stretched = scipy.fft.irfft(resized, samples)
    stretched *= np.float32(samples / len(waveform))  # keeps the amplitude
    return np.clip(stretched, -1.0, 1.0)
