"""Copy attacks: speech taken apart and put together again.

Every function maps (waveform, rate, generator) to a waveform of the same length:
(samples,) float64 in about [-1, 1], `rate` in Hz (made for 16 kHz).
"""

from functools import lru_cache

import librosa
import numpy as np
import scipy.linalg
import scipy.signal

_F0_FLOOR, _F0_CEILING = 65.0, 600.0  # Hz
_CODED = 24  # mel-cepstral coefficients of world_coded
_SWAPPED = 30  # cepstral coefficients that world_swap maps


def world_copy(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """WORLD analysis and synthesis, nothing changed (Morise et al., 2016)."""
    del generator
    return _synthesise(*_analyse(waveform, rate), rate, len(waveform))


def world_coded(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """WORLD with 24 mel-cepstral coefficients a frame and coded aperiodicity."""
    import pyworld

    del generator
    f0, envelope, aperiodicity = _analyse(waveform, rate)
    size = 2 * (envelope.shape[1] - 1)
    cepstrum = pyworld.code_spectral_envelope(envelope, rate, _CODED)
    envelope = pyworld.decode_spectral_envelope(cepstrum, rate, size)
    bands = pyworld.code_aperiodicity(aperiodicity, rate)
    aperiodicity = pyworld.decode_aperiodicity(bands, rate, size)
    return _synthesise(f0, envelope, aperiodicity, rate, len(waveform))


def world_pitch(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """WORLD with another melody: F0 moved, its rise and fall flattened or stretched."""
    f0, envelope, aperiodicity = _analyse(waveform, rate)
    voiced = f0 > 0
    logs = np.log(f0[voiced])
    moved = np.log(generator.uniform(0.8, 1.25))
    swing = generator.uniform(0.0, 0.5) if generator.random() < 0.5 else 1.6
    f0[voiced] = np.exp(np.mean(logs) + moved + swing * (logs - np.mean(logs)))
    f0[voiced] = np.clip(f0[voiced], _F0_FLOOR, _F0_CEILING)
    return _synthesise(f0, envelope, aperiodicity, rate, len(waveform))


def world_shift(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """WORLD with pitch and formants moved the same way, up or down."""
    f0, envelope, aperiodicity = _analyse(waveform, rate)
    if generator.random() < 0.5:
        pitch, formants = generator.uniform(1.15, 1.5), generator.uniform(1.06, 1.16)
    else:
        pitch, formants = generator.uniform(0.7, 0.87), generator.uniform(0.86, 0.95)
    envelope = _warp(envelope, formants)
    return _synthesise(f0 * pitch, envelope, aperiodicity, rate, len(waveform))


def world_swap(
    waveform: np.ndarray,
    rate: int,
    generator: np.random.Generator,
    target: np.ndarray,
) -> np.ndarray:
    """Statistical voice conversion: WORLD with the target speaker's statistics.

    Mean and spread of the log envelope's cepstrum and of log F0 over voiced frames
    are mapped to those of `target`, (samples,) float64 at the same rate.

    Raises:
      ValueError: fewer than 20 voiced frames in either.
    """
    del generator
    f0, envelope, aperiodicity = _analyse(waveform, rate)
    target_f0, target_envelope, _ = _analyse(target, rate)
    voiced, target_voiced = f0 > 0, target_f0 > 0
    if min(voiced.sum(), target_voiced.sum()) < 20:
        raise ValueError("world_swap needs 20 voiced frames of source and target")
    cepstrum = np.fft.irfft(np.log(envelope), axis=1)  # (frames, 2 (bins - 1))
    target_cepstrum = np.fft.irfft(np.log(target_envelope), axis=1)
    inside = slice(1, _SWAPPED)  # not c0: the level stays
    own, other = cepstrum[voiced, inside], target_cepstrum[target_voiced, inside]
    gain = np.clip(other.std(axis=0) / (own.std(axis=0) + 1e-6), 0.7, 1.4)
    low = (cepstrum[:, inside] - own.mean(axis=0)) * gain + other.mean(axis=0)
    smooth = np.zeros_like(cepstrum)
    smooth[:, 0] = cepstrum[:, 0]
    smooth[:, inside] = low
    smooth[:, -_SWAPPED + 1 :] = low[:, ::-1]  # the cepstrum is even
    envelope = np.exp(np.fft.rfft(smooth, axis=1).real)
    pitch, target_pitch = np.log(f0[voiced]), np.log(target_f0[target_voiced])
    scaled = (pitch - pitch.mean()) / (pitch.std() + 1e-6)
    f0[voiced] = np.exp(scaled * min(target_pitch.std(), 0.35) + target_pitch.mean())
    return _synthesise(f0, envelope, aperiodicity, rate, len(waveform))


def gl_mel(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """80-band mel magnitudes, phases by 32 rounds of Griffin-Lim."""
    return _griffin_lim(waveform, rate, generator, bands=80, rounds=32)


def gl_coarse(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """40-band mel magnitudes, phases by 8 rounds of Griffin-Lim."""
    return _griffin_lim(waveform, rate, generator, bands=40, rounds=8)


def _griffin_lim(waveform, rate, generator, bands: int, rounds: int) -> np.ndarray:
    analysis, synthesis = _mel_basis(rate, bands)
    magnitude = np.abs(_stft(waveform, 1024, 256))
    magnitude = np.maximum(1e-9, synthesis @ (analysis @ magnitude))
    phase = np.exp(2j * np.pi * generator.random(magnitude.shape))
    for _ in range(rounds):
        estimate = _stft(_istft(magnitude * phase, 1024, 256, len(waveform)), 1024, 256)
        phase = estimate / np.maximum(np.abs(estimate), 1e-12)
    return _istft(magnitude * phase, 1024, 256, len(waveform))


def lpc_voc(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """LPC-18 vocoder: pulses where voiced, white noise elsewhere."""
    return _linear_prediction(waveform, rate, generator, order=18)


def lpc_low(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """LPC-10 vocoder: fewer formants."""
    return _linear_prediction(waveform, rate, generator, order=10)


def _linear_prediction(waveform, rate, generator, order: int) -> np.ndarray:
    size, hop = 480, 80  # 30 ms windows every 5 ms at 16 kHz
    f0 = _pitch(waveform, rate)[0]
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


def phase_voc(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """True magnitudes; phases run on from a random start at the true frequencies."""
    del rate
    size, hop = 512, 128
    spectrum = _stft(waveform, size, hop)  # (bins, frames)
    bins = np.arange(len(spectrum))[:, None]
    expected = 2 * np.pi * hop * bins / size
    steps = np.diff(np.angle(spectrum), axis=1) - expected
    steps -= 2 * np.pi * np.round(steps / (2 * np.pi))
    start = 2 * np.pi * generator.random((len(spectrum), 1))
    phase = np.cumsum(np.hstack([start, expected + steps]), axis=1)
    return _istft(np.abs(spectrum) * np.exp(1j * phase), size, hop, len(waveform))


def _pitch(waveform: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    import pyworld

    # DIO + StoneMask: a tenth of Harvest's time
    waveform = np.ascontiguousarray(waveform, np.float64)
    f0, times = pyworld.dio(
        waveform, rate, f0_floor=_F0_FLOOR, f0_ceil=_F0_CEILING, frame_period=5.0
    )
    return pyworld.stonemask(waveform, f0, times, rate), times


def _analyse(waveform: np.ndarray, rate: int):
    """F0 (frames,), envelope and aperiodicity (frames, bins), every 5 ms."""
    import pyworld

    waveform = np.ascontiguousarray(waveform, np.float64)
    f0, times = _pitch(waveform, rate)
    envelope = pyworld.cheaptrick(waveform, f0, times, rate)
    return f0, envelope, pyworld.d4c(waveform, f0, times, rate)


def _synthesise(f0, envelope, aperiodicity, rate: int, length: int) -> np.ndarray:
    import pyworld

    envelope = np.ascontiguousarray(envelope)
    waveform = pyworld.synthesize(f0, envelope, aperiodicity, rate, 5.0)
    return librosa.util.fix_length(waveform, size=length)


def _warp(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Stretches the frequency axis by `factor`; log-linear interpolation."""
    bins = envelope.shape[1]
    place = np.clip(np.arange(bins) / factor, 0, bins - 1)
    low = place.astype(int)
    high = np.minimum(low + 1, bins - 1)
    weight = place - low
    logs = np.log(envelope)
    return np.exp((1 - weight) * logs[:, low] + weight * logs[:, high])


def _excitation(f0, hop, length, rate, generator) -> np.ndarray:
    """Unit-power pulses at F0 (frames,) where it is positive, noise elsewhere."""
    pitch = np.repeat(f0, hop)[:length]
    pitch = np.append(pitch, np.zeros(length - len(pitch)))
    turns = np.floor(np.cumsum(pitch / rate))
    pulses = np.diff(turns, prepend=0.0) > 0
    noise = generator.standard_normal(length)
    height = np.sqrt(rate / np.maximum(pitch, 1.0))
    return np.where(pitch > 0, pulses * height, noise)


@lru_cache(maxsize=2)
def _mel_basis(rate: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Mel filters (bands, 513) and their pseudo-inverse (513, bands)."""
    basis = librosa.filters.mel(
        sr=rate,
        n_fft=1024,
        n_mels=bands,
        fmin=40,
        htk=True,
        norm=None,
        dtype=np.float64,
    )
    return basis, np.linalg.pinv(basis)


def _stft(waveform: np.ndarray, size: int, hop: int) -> np.ndarray:
    return librosa.stft(waveform, n_fft=size, hop_length=hop)  # (bins, frames)


def _istft(spectrum: np.ndarray, size: int, hop: int, length: int) -> np.ndarray:
    return librosa.istft(spectrum, n_fft=size, hop_length=hop, length=length)


VOCODERS = {
    "world_copy": world_copy,
    "world_coded": world_coded,
    "world_shift": world_shift,
    "world_pitch": world_pitch,
    "gl_mel": gl_mel,
    "gl_coarse": gl_coarse,
    "lpc_voc": lpc_voc,
    "lpc_low": lpc_low,
    "phase_voc": phase_voc,
}
"""Attacks that need one recording; world_swap needs a second."""
