"""The WORLD vocoder (Morise et al., 2016): analysis and synthesis every 5 ms."""

import numpy as np

from mldg_jax.common.numba_cache import import_librosa

F0_FLOOR, F0_CEILING = 65.0, 600.0
"""Bounds of F0 in Hz."""

_PERIOD = 5.0  # ms between frames


def pitch(waveform: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates F0 with DIO and StoneMask, which take a tenth of Harvest's time.

    Args:
      waveform: (samples,) float.
      rate: sampling rate in Hz.

    Returns:
      F0 in Hz, 0 where unvoiced, and the times of the frames in s; both (frames,).
    """
    import pyworld

    waveform = np.ascontiguousarray(waveform, np.float64)
    f0, times = pyworld.dio(
        waveform, rate, f0_floor=F0_FLOOR, f0_ceil=F0_CEILING, frame_period=_PERIOD
    )
    return pyworld.stonemask(waveform, f0, times, rate), times


def analyse(
    waveform: np.ndarray, rate: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits speech into F0, spectral envelope and aperiodicity.

    Args:
      waveform: (samples,) float.
      rate: sampling rate in Hz.

    Returns:
      F0 in Hz (frames,), envelope (frames, bins) and aperiodicity (frames, bins).
    """
    import pyworld

    waveform = np.ascontiguousarray(waveform, np.float64)
    f0, times = pitch(waveform, rate)
    envelope = pyworld.cheaptrick(waveform, f0, times, rate)
    return f0, envelope, pyworld.d4c(waveform, f0, times, rate)


def synthesise(
    f0: np.ndarray,
    envelope: np.ndarray,
    aperiodicity: np.ndarray,
    rate: int,
    length: int,
) -> np.ndarray:
    """Synthesises speech from what ``analyse`` returns.

    Args:
      f0: (frames,) in Hz.
      envelope: (frames, bins).
      aperiodicity: (frames, bins).
      rate: sampling rate in Hz.
      length: number of samples, reached by cutting or padding with zeros.

    Returns:
      (length,) float64.
    """
    import pyworld

    envelope = np.ascontiguousarray(envelope)
    waveform = pyworld.synthesize(f0, envelope, aperiodicity, rate, _PERIOD)
    return import_librosa().util.fix_length(waveform, size=length)


def warp(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Stretches the frequency axis of an envelope, interpolating its logarithm.

    Args:
      envelope: (frames, bins), positive.
      factor: above 1 moves formants up.

    Returns:
      (frames, bins).
    """
    bins = envelope.shape[1]
    position = np.clip(np.arange(bins) / factor, 0, bins - 1)  # in the input
    low = position.astype(int)
    high = np.minimum(low + 1, bins - 1)
    weight = position - low
    logs = np.log(envelope)
    return np.exp((1 - weight) * logs[:, low] + weight * logs[:, high])
