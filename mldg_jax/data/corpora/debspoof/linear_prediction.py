"""A linear prediction vocoder: an all-pole filter driven by pulses or noise."""

import numpy as np
import scipy.linalg
import scipy.signal

from mldg_jax.data.corpora.debspoof import world


def vocode(
    waveform: np.ndarray, rate: int, generator: np.random.Generator, order: int
) -> np.ndarray:
    """Replaces the residual by pulses at F0 where voiced and white noise elsewhere.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz; the window lengths are meant for 16 kHz.
      generator: draws the noise.
      order: number of predictor coefficients.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    size, hop = 480, 80  # 30 ms windows every 5 ms at 16 kHz
    f0 = world.pitch(waveform, rate)[0]
    source = _excitation(f0, hop, len(waveform) + size, rate, generator)
    padded = np.append(waveform, np.zeros(size))
    padded = scipy.signal.lfilter([1.0, -0.95], [1.0], padded)
    window = np.hanning(size)
    output = np.zeros(len(padded))
    for start in range(0, len(waveform) - hop, hop):
        frame = padded[start : start + size] * window
        lags = np.correlate(frame, frame, "full")[size - 1 : size + order]
        if lags[0] < 1e-9:
            continue
        lags[0] *= 1.0001  # keeps the filter stable
        taps = scipy.linalg.solve_toeplitz(lags[:order], lags[1:])
        gain = np.sqrt(max(1e-12, (lags[0] - taps @ lags[1:]) / np.sum(window**2)))
        excitation = source[start : start + size]
        spoken = scipy.signal.lfilter([gain], np.append(1.0, -taps), excitation)
        output[start : start + size] += spoken * window * (2 * hop / size)
    return scipy.signal.lfilter([1.0], [1.0, -0.95], output)[: len(waveform)]


def _excitation(f0, hop, length, rate, generator) -> np.ndarray:
    """Returns unit-power pulses at F0, (frames,), where positive, noise elsewhere."""
    pitch = np.repeat(f0, hop)[:length]
    pitch = np.append(pitch, np.zeros(length - len(pitch)))
    turns = np.floor(np.cumsum(pitch / rate))
    pulses = np.diff(turns, prepend=0.0) > 0
    noise = generator.standard_normal(length)
    height = np.sqrt(rate / np.maximum(pitch, 1.0))
    return np.where(pitch > 0, pulses * height, noise)
