"""Removes cues that reveal the class without listening to the speech.

Raw files reveal their class by duration, level, silence, bandwidth and noise floor: a
random forest on nine such cues reaches 4 % pooled EER. All utterances of both classes
go through the same chain, and every random choice depends on the seed alone.
"""

from functools import lru_cache

import numpy as np
import scipy.signal

from mldg_jax.common.numba_cache import import_librosa
from mldg_jax.data.augment import codecs

RATE = 16_000
"""Sampling rate of the corpus in Hz."""
SHORTEST, LONGEST = 1.3, 3.0
"""Bounds of the length of an utterance in seconds."""

_FRAME, _HOP = 320, 160  # 20 ms and 10 ms at 16 kHz
_PADDING = 800  # 50 ms kept before and after the speech when trimming
_EQ_FREQUENCIES = np.array([0, 200, 500, 1000, 2000, 4000, 6000, 8000.0])


def neutralise(
    waveform: np.ndarray, rate: int, seed: int, longest: float = LONGEST
) -> np.ndarray | None:
    """Neutralises an utterance for the corpus.

    The chain: resample to 16 kHz mono, trim by energy (35 dB), crop at random, random
    smooth equaliser, high-pass 80 Hz, low-pass 6.8 kHz, set the level to -26 dBFS
    +- 3 dB, add coloured noise at 28 to 42 dB SNR, encode and decode with G.722 at
    64 kbit/s, remove the offset.

    Args:
      waveform: (samples,) or (samples, channels) float at any level.
      rate: sampling rate of ``waveform`` in Hz.
      seed: seed of all random choices.
      longest: upper bound of the length in seconds, at most 3.0. Spoofed utterances
        get the duration of a bona fide one, so that the length reveals nothing.

    Returns:
      (samples,) int16 at 16 kHz, 1.3 to 3.0 s long, or None if the waveform has too
      little speech or is silent.
    """
    generator = np.random.default_rng(seed)
    mono = trim(to_mono_16k(waveform, rate))
    if len(mono) < SHORTEST * RATE:
        return None
    clip = random_crop(mono, generator, longest)
    clip = equalise(clip, generator)
    clip = clip - clip.mean()
    power = np.sqrt(np.mean(clip**2))
    if not np.isfinite(power) or power < 1e-6:
        return None
    clip = clip / power * 10 ** ((-26 + generator.uniform(-3, 3)) / 20)
    clip = clip + coloured_noise(clip, generator)
    coded = g722_round_trip(to_int16(clip))
    # The codec leaves an offset that grows with the asymmetry of the waveform, which
    # would reveal pulse-driven vocoders
    return coded - np.int16(np.round(coded.mean()))


def to_mono_16k(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Averages the channels and resamples to 16 kHz.

    Args:
      waveform: (samples,) or (samples, channels).
      rate: sampling rate in Hz.

    Returns:
      (samples,) float64 at 16 kHz.
    """
    waveform = np.asarray(waveform, np.float64)
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=1)
    if rate == RATE or not len(waveform):
        return waveform
    return import_librosa().resample(
        waveform, orig_sr=rate, target_sr=RATE, res_type="soxr_hq"
    )


def trim(waveform: np.ndarray, decibels: float = 35.0) -> np.ndarray:
    """Removes quiet frames at both ends, except for 50 ms.

    Args:
      waveform: (samples,) at 16 kHz.
      decibels: a frame is quiet if it is this far below the 99th percentile.

    Returns:
      (samples,), a view of ``waveform``; all of it if shorter than 0.1 s.
    """
    if len(waveform) < 5 * _FRAME:
        return waveform
    energy = frame_energy(waveform)
    level = 10 * np.log10(energy + 1e-12)
    loud = np.flatnonzero(level > np.percentile(level, 99) - decibels)
    start = max(0, loud[0] * _HOP - _PADDING)
    return waveform[start : loud[-1] * _HOP + _FRAME + _PADDING]


def frame_energy(waveform: np.ndarray) -> np.ndarray:
    """Computes the mean square in frames of 20 ms every 10 ms.

    Args:
      waveform: (samples,) at 16 kHz.

    Returns:
      (frames,).
    """
    frames = np.lib.stride_tricks.sliding_window_view(waveform, _FRAME)[::_HOP]
    return np.mean(frames**2, axis=1)


def random_crop(
    waveform: np.ndarray, generator: np.random.Generator, longest: float = LONGEST
) -> np.ndarray:
    """Crops a random stretch and fades its ends.

    The distribution of the length does not depend on the class. Where possible at least
    100 ms are removed, since the natural onset of uncropped speech could reveal the
    class.

    Args:
      waveform: (samples,) at 16 kHz, at least 1.3 s.
      generator: draws length and position.
      longest: upper bound of the length in seconds.

    Returns:
      (samples,), at least 1.3 s.
    """
    length = generator.uniform(SHORTEST, LONGEST)
    available = len(waveform) / RATE - 0.1
    length = max(SHORTEST, min(length, longest, available))
    samples = int(length * RATE)
    start = generator.integers(0, len(waveform) - samples + 1)
    return fade(waveform[start : start + samples])


def fade(waveform: np.ndarray, samples: int = 80) -> np.ndarray:
    """Fades both ends linearly, to avoid clicks.

    Args:
      waveform: (samples,).
      samples: length of each fade; 80 samples are 5 ms at 16 kHz.

    Returns:
      A faded copy.
    """
    ramp = np.linspace(0, 1, samples)
    waveform = waveform.copy()
    waveform[:samples] *= ramp
    waveform[-samples:] *= ramp[::-1]
    return waveform


def equalise(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Applies a random smooth equaliser, then limits the band to 80 Hz to 6.8 kHz.

    Args:
      waveform: (samples,) at 16 kHz.
      generator: draws the gains, with a standard deviation of 2.5 dB.

    Returns:
      (samples,) float64.
    """
    gains = 10 ** (generator.normal(0, 2.5, len(_EQ_FREQUENCIES)) / 20)
    taps = scipy.signal.firwin2(257, _EQ_FREQUENCIES / 8000, gains)
    high_pass, low_pass = _band_filters()
    waveform = scipy.signal.fftconvolve(waveform, taps, "same")
    waveform = scipy.signal.sosfiltfilt(high_pass, waveform)
    return scipy.signal.fftconvolve(waveform, low_pass, "same")


@lru_cache(maxsize=1)
def _band_filters() -> tuple[np.ndarray, np.ndarray]:
    high_pass = scipy.signal.butter(6, 80, "highpass", fs=RATE, output="sos")
    return high_pass, scipy.signal.firwin(127, 6800, fs=RATE)


def coloured_noise(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draws first-order low-passed noise, 28 to 42 dB below a waveform.

    Args:
      waveform: (samples,), which sets the level.
      generator: draws noise, colour and SNR.

    Returns:
      (samples,) float64.
    """
    noise = generator.standard_normal(len(waveform))
    pole = generator.uniform(0.3, 0.9)
    noise = scipy.signal.lfilter([1.0], [1.0, -pole], noise)
    snr = generator.uniform(28, 42)
    level = np.sqrt(np.mean(waveform**2) / np.mean(noise**2))
    return noise * level * 10 ** (-snr / 20)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Converts to int16, clipping at 0.99 of full scale.

    Args:
      waveform: (samples,) float; full scale is 1.

    Returns:
      (samples,) int16.
    """
    return np.round(np.clip(waveform, -0.99, 0.99) * 32767).astype(np.int16)


def g722_round_trip(samples: np.ndarray) -> np.ndarray:
    """Encodes and decodes with G.722 at 64 kbit/s, and removes the codec's delay.

    Args:
      samples: (samples,) int16 at 16 kHz.

    Returns:
      (samples,) int16 of the same length.
    """
    coded = codecs.round_trip(samples / 32768, "g722")
    return np.round(coded * 32768).astype(np.int16)


def decode_g722(encoded: bytes) -> np.ndarray:
    """Decodes a raw G.722 stream of 64 kbit/s.

    Args:
      encoded: the stream.

    Returns:
      (samples,) int16 at 16 kHz.
    """
    import av  # from the extra [debspoof]; `engines` checks that it is installed

    decoder = av.CodecContext.create("g722", "r")
    decoder.sample_rate, decoder.layout = RATE, "mono"
    decoder.open()
    frames = [*decoder.decode(av.Packet(encoded)), *decoder.decode(None)]
    if not frames:
        return np.zeros(0, np.int16)
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames])
