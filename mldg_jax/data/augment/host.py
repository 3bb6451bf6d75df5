"""Augmentation on the host, while a crop is cut: speed, equaliser, codec.

A detector trained on a dozen voices learns the voices. Playing a clip a little faster
or slower gives it another voice (pitch and formants move together, as in Kaldi's speed
perturbation, Ko et al. 2015), and a random smooth equaliser another microphone. Both
happen in one pass through the frequency domain.

An option at its neutral value (0 or empty) costs nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment import codecs
from mldg_jax.data.episodes import Augment, crop

_EQUALISER_POINTS = 8  # over 0 … 8 kHz
_PER_DECIBEL = np.float32(np.log(10) / 20)
UNCODED = "none"


def augmenter(
    *, speed: float = 0.0, equaliser: float = 0.0, codec: Sequence[str] = ()
) -> Augment:
    """Returns ``(waveform, samples, start, rng) -> (samples,)``.

    Args:
      speed: largest relative change of speed, in [0, 0.5); 0.1 plays at 0.9 … 1.1 ×.
      equaliser: standard deviation of the gain at each of 8 frequencies, in dB, ≥ 0.
      codec: names of ``codecs.CODECS``; each clip goes through one of them, chosen at
        random. "none" among them leaves that share of the clips as they are.

    Returns:
      A function that crops, changes speed, equalises and codes; with every option at
      its neutral value it is ``episodes.crop``.

    Raises:
      UserError: an impossible value, or a codec that is not there.
    """
    _check("speed", speed, 0 <= speed < 0.5, "at least 0 and below 0.5")
    _check("equaliser", equaliser, equaliser >= 0, "at least 0 dB")
    for name in set(codec) - {UNCODED}:
        codecs.check(name)

    def augment(waveform, samples, start, rng):
        factor = 1.0 + speed * rng.uniform(-1.0, 1.0)
        gains = equaliser * rng.standard_normal(_EQUALISER_POINTS)
        length = round(samples * factor)
        if length != samples:  # one whose Fourier transform is fast: a percent away
            length = scipy.fft.next_fast_len(length, real=True)
        made = crop(waveform, length, start)
        if speed or equaliser:
            made = _resynthesise(made, samples, gains)
        chosen = codec[int(rng.integers(len(codec)))] if codec else UNCODED
        return made if chosen == UNCODED else codecs.round_trip(made, chosen)

    return augment


def _check(name: str, value: Any, good: bool, limit: str) -> None:
    if not good:
        raise UserError(f"augment.{name} is {value!r}; it must be {limit}")


def _resynthesise(waveform: np.ndarray, samples: int, gains: np.ndarray) -> np.ndarray:
    """Equalises and stretches (n,) to (samples,), exactly band-limited, float32."""
    spectrum = scipy.fft.rfft(waveform)
    kept = np.zeros(samples // 2 + 1, spectrum.dtype)
    count = min(len(kept), len(spectrum))
    points = np.linspace(0, len(spectrum) - 1, len(gains))
    decibels = np.interp(np.arange(count), points, gains).astype(np.float32)
    kept[:count] = spectrum[:count] * np.exp(decibels * _PER_DECIBEL)
    stretched = scipy.fft.irfft(kept, samples)
    stretched *= np.float32(samples / len(waveform))
    return np.clip(stretched, -1.0, 1.0)
