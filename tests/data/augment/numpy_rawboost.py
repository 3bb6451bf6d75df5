"""RawBoost in numpy and scipy, one waveform at a time, to compare the JAX version with.

Implements the equations of Tak et al. 2022 with ``scipy.signal.firwin`` and ``freqz``.
The tests pass it the draws of the JAX version, and compare the distributions of its own
draws; ``benchmarks/rawboost.py`` times it.
"""

from collections.abc import Callable

import numpy as np
import scipy.signal

RATE = 16_000
Convolve = Callable[[np.ndarray, np.ndarray], np.ndarray]


def notch_filter(
    centres: np.ndarray, widths: np.ndarray, taps: np.ndarray, gain: float
) -> np.ndarray:
    """Returns a filter with several notches; its length depends on the draws."""
    filter = np.ones(1)
    for centre, width, length in zip(centres, widths, taps, strict=True):
        low = centre - width / 2
        high = centre + width / 2
        low = 0.001 if low <= 0 else low
        high = RATE / 2 - 0.001 if high >= RATE / 2 else high
        notch = scipy.signal.firwin(length, [low, high], window="hamming", fs=RATE)
        filter = np.convolve(notch, filter)
    _, response = scipy.signal.freqz(filter, 1, fs=RATE)
    return 10 ** (gain / 20) * filter / np.abs(response).max()


def filtered(waveform: np.ndarray, filter: np.ndarray, convolve: Convolve):
    """Filters a waveform and aligns the result as the reference does."""
    first = (len(filter) + 1) // 2
    made = convolve(np.append(waveform, np.zeros(1, waveform.dtype)), filter)
    return made[first : first + len(waveform)]


def normalised(waveform: np.ndarray) -> np.ndarray:
    peak = np.abs(waveform).max()
    return waveform / peak if peak > 1 else waveform


def lnl(waveform, filters, convolve: Convolve = np.convolve):
    power, made = waveform, np.zeros_like(waveform)
    for filter in filters:
        made = made + filtered(power, filter, convolve)
        power = power * waveform
    return normalised(made - made.mean())


def isd(waveform, places, change):
    made = waveform.copy()
    made[places] += change * waveform[places]
    return normalised(made)


def ssi(waveform, white, filter, snr, convolve: Convolve = np.convolve):
    noise = filtered(white, filter, convolve)
    level = np.linalg.norm(waveform) / np.linalg.norm(noise)
    return waveform + noise * level / 10 ** (0.05 * snr)


def draw_filter(rng: np.random.Generator, gain=(0, 0), dtype=np.float64):
    """Draws a filter with the reference's ranges."""
    taps = rng.uniform(10, 100, 5).astype(int)
    filter = notch_filter(
        rng.uniform(20, 8000, 5),
        rng.uniform(100, 1000, 5),
        taps + (taps % 2 == 0),
        rng.uniform(*gain),
    )
    return filter.astype(dtype)


def draw_lnl(rng: np.random.Generator, dtype=np.float64):
    return [draw_filter(rng, (0, 0) if i == 0 else (-20, -5), dtype) for i in range(5)]


def draw_isd(rng: np.random.Generator, samples: int, dtype=np.float64):
    count = int(samples * rng.uniform(0, 10) / 100)
    # Unshuffled draws are several times as fast as a permutation.
    places = rng.choice(samples, count, replace=False, shuffle=False)
    one, two = 2 * rng.random((2, count), dtype) - 1
    return places, 2 * one * two


def draw_ssi(rng: np.random.Generator, samples: int, dtype=np.float64):
    white = rng.standard_normal(samples, dtype)
    return white, draw_filter(rng, dtype=dtype), rng.uniform(10, 40)


def rawboost(
    rng: np.random.Generator,
    waveform: np.ndarray,
    algorithm: int,
    convolve: Convolve = np.convolve,
) -> np.ndarray:
    """Augments (samples,) float32 or float64; keeps the dtype."""
    dtype = waveform.dtype.type

    def stage(number, x):
        if number == 1:
            return lnl(x, draw_lnl(rng, dtype), convolve)
        if number == 2:
            return isd(x, *draw_isd(rng, len(x), dtype))
        white, filter, snr = draw_ssi(rng, len(x), dtype)
        return ssi(x, white, filter, dtype(snr), convolve)

    if algorithm == 8:
        return normalised(stage(1, waveform) + stage(2, waveform))
    series = {1: (1,), 2: (2,), 3: (3,), 4: (1, 2, 3), 5: (1, 2), 6: (1, 3), 7: (2, 3)}
    for number in series[algorithm]:
        waveform = stage(number, waveform)
    return waveform
