"""What happens to a recording before a detector gets it: noise, rooms, levels, cuts.

Every function takes a waveform (samples,) float32 within [-1, 1] at 16 kHz and returns
another; those with random parts take the generator. Augmentation in training draws its
strengths at random (``host``, ``device``); here a strength is given and exact.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.signal
import soxr
from numpy import ndarray as Array

from mldg_jax.common.errors import UserError
from mldg_jax.data.mixdown import SAMPLE_RATE

FRAME = 320  # samples, 20 ms: the step in which silence is looked for
SILENT = -40.0  # dB relative to the loudest frame
DIRECT_TO_REVERBERANT = 0.0  # dB, at the distance where both are equally loud
_DECAY = 3 * np.log(10)  # a room's energy falls by 60 dB, its amplitude by a thousand


def at_snr(waveform: Array, noise: Array, snr: float) -> Array:
    """Adds noise at a signal-to-noise ratio.

    The ratio is that of the powers of the whole recording, pauses included.

    Args:
      waveform, noise: (samples,).
      snr: in dB.

    Returns:
      (samples,) float32; scaled down if the peak would exceed 1.

    Raises:
      UserError: the waveform or the noise is silent, so there is no such ratio.
    """
    levels = [float(np.sqrt(np.mean(np.square(x, dtype=float)))) for x in (
        waveform, noise
    )]  # fmt: skip
    if min(levels) == 0:
        silent = "recording" if not levels[0] else "noise"
        raise UserError(f"the {silent} is silent, so it has no SNR")
    gain = levels[0] / levels[1] / 10 ** (snr / 20)
    return limited(waveform + gain * noise)


def limited(waveform: Array) -> Array:
    """Scales a waveform whose peak exceeds 1 down to a peak of 1.

    Args:
      waveform: (samples,).

    Returns:
      (samples,) float32 within [-1, 1].
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    return np.asarray(waveform / max(peak, 1.0), np.float32)


def add_white_noise(waveform: Array, rng: np.random.Generator, snr: float) -> Array:
    """Adds white Gaussian noise.

    Args:
      waveform: (samples,).
      rng: of the noise.
      snr: see ``at_snr``.

    Returns:
      (samples,) float32.

    Raises:
      UserError: the waveform is silent.
    """
    return at_snr(waveform, rng.standard_normal(len(waveform)), snr)


def add_babble(
    waveform: Array, rng: np.random.Generator, talkers: Sequence[Array], snr: float
) -> Array:
    """Adds the voices of other recordings, all equally loud.

    Args:
      waveform: (samples,).
      rng: chooses where each voice starts.
      talkers: at least one recording (any number of samples,); each is repeated as
        often as needed.
      snr: see ``at_snr``.

    Returns:
      (samples,) float32.

    Raises:
      UserError: the waveform or a talker is silent.
    """
    babble = np.zeros(len(waveform))
    for talker in talkers:
        level = float(np.sqrt(np.mean(np.square(talker, dtype=float))))
        if level == 0:
            raise UserError("a recording that babble is made of is silent")
        start = int(rng.integers(len(talker)))
        babble += np.resize(np.roll(talker, -start), len(waveform)) / level
    return at_snr(waveform, babble, snr)


def reverberate(waveform: Array, rng: np.random.Generator, rt60: float) -> Array:
    """Puts a recording into a room, by Polack's model of its impulse response.

    The response is the direct sound, followed by Gaussian noise whose amplitude decays
    exponentially, with as much energy as the direct sound.

    Args:
      waveform: (samples,).
      rng: of the response.
      rt60: reverberation time, in which the energy falls by 60 dB, in seconds.

    Returns:
      (samples,) float32, as loud as the input unless the peak would exceed 1. The
      direct sound stays in place; what rings on after the end is cut off.
    """
    time = np.arange(1, round(rt60 * SAMPLE_RATE) + 1) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * np.exp(-_DECAY * time / rt60)
    tail *= 10 ** (-DIRECT_TO_REVERBERANT / 20) / np.linalg.norm(tail)
    response = np.concatenate([[1.0], tail])
    wet = scipy.signal.fftconvolve(waveform, response)[: len(waveform)]
    level = np.linalg.norm(wet)
    return limited(wet * (np.linalg.norm(waveform) / level if level else 1.0))


def keep_first(waveform: Array, seconds: float) -> Array:
    """Keeps the beginning of a recording.

    Args:
      waveform: (samples,).
      seconds: to keep.

    Returns:
      (at most ``seconds`` · 16,000,), unchanged if it is not longer.
    """
    return waveform[: round(seconds * SAMPLE_RATE)]


def change_level(waveform: Array, decibels: float) -> Array:
    """Changes the level of a recording, and clips what exceeds full scale.

    Args:
      waveform: (samples,).
      decibels: gain in dB.

    Returns:
      (samples,) float32 within [-1, 1].
    """
    gained = np.asarray(waveform * 10 ** (decibels / 20), np.float32)
    return np.clip(gained, -1.0, 1.0)


def resample_through(waveform: Array, rate: int) -> Array:
    """Resamples a recording to another rate and back (soxr, HQ).

    Args:
      waveform: (samples,).
      rate: in Hz. What lies above half of it is lost.

    Returns:
      (samples,) float32 within [-1, 1], aligned with the input.
    """
    away = soxr.resample(np.asarray(waveform, np.float32), SAMPLE_RATE, rate)
    back = soxr.resample(away, rate, SAMPLE_RATE)[: len(waveform)]
    missing = len(waveform) - len(back)  # by rounding, at most a few samples
    return np.clip(np.pad(back, (0, missing)), -1.0, 1.0)


def lead_with_silence(
    waveform: Array,
    rng: np.random.Generator,
    seconds: float,
    decibels: float | None = None,
) -> Array:
    """Puts silence before a recording.

    Args:
      waveform: (samples,).
      rng: of the noise.
      seconds: of silence.
      decibels: level (RMS) of white noise in the silence, in dB relative to full scale;
        None for digital silence.

    Returns:
      (samples + ``seconds`` · 16,000,) float32.
    """
    silence = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    if decibels is not None:
        silence = rng.standard_normal(len(silence)) * 10 ** (decibels / 20)
    return np.concatenate([silence, waveform]).astype(np.float32)


def trim_end(waveform: Array) -> Array:
    """Cuts the silence at the end of a recording.

    Silence is frames of 20 ms whose power is 40 dB or more below the loudest frame's.

    Args:
      waveform: (samples,).

    Returns:
      The recording up to the end of its last frame that is not silent.
    """
    starts = range(0, len(waveform), FRAME)
    ends = [*itertools.islice(starts, 1, None), len(waveform)]
    powers = np.add.reduceat(np.square(waveform, dtype=float), starts)
    powers /= np.diff([0, *ends])
    loud = np.flatnonzero(powers > powers.max() * 10 ** (SILENT / 10))
    return waveform[: ends[loud[-1]]] if loud.size else waveform
