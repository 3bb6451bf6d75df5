"""Copy-synthesis attacks: bona fide speech analysed and synthesised again.

Every function maps (waveform, rate, generator) to a waveform of the same length. The
settings are meant for 16 kHz.
"""

from functools import lru_cache

import numpy as np

from mldg_jax.common.numba_cache import import_librosa
from mldg_jax.data.corpora.debspoof import linear_prediction, world

_CODED = 24  # mel-cepstral coefficients per frame in world_coded
_SWAPPED = 30  # world_swap maps cepstral coefficients 1 to 29


def world_copy(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Analyses and synthesises with WORLD, unchanged (Morise et al., 2016).

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: unused.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    del generator
    return world.synthesise(*world.analyse(waveform, rate), rate, len(waveform))


def world_coded(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Applies WORLD with 24 mel-cepstral coefficients and coded aperiodicity.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: unused.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    import pyworld

    del generator
    f0, envelope, aperiodicity = world.analyse(waveform, rate)
    size = 2 * (envelope.shape[1] - 1)
    cepstrum = pyworld.code_spectral_envelope(envelope, rate, _CODED)
    envelope = pyworld.decode_spectral_envelope(cepstrum, rate, size)
    bands = pyworld.code_aperiodicity(aperiodicity, rate)
    aperiodicity = pyworld.decode_aperiodicity(bands, rate, size)
    return world.synthesise(f0, envelope, aperiodicity, rate, len(waveform))


def world_pitch(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Changes the melody with WORLD: shifts F0 and flattens or stretches its contour.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the shift and the stretch.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    f0, envelope, aperiodicity = world.analyse(waveform, rate)
    voiced = f0 > 0
    logs = np.log(f0[voiced])
    shift = np.log(generator.uniform(0.8, 1.25))
    swing = generator.uniform(0.0, 0.5) if generator.random() < 0.5 else 1.6
    f0[voiced] = np.exp(np.mean(logs) + shift + swing * (logs - np.mean(logs)))
    f0[voiced] = np.clip(f0[voiced], world.F0_FLOOR, world.F0_CEILING)
    return world.synthesise(f0, envelope, aperiodicity, rate, len(waveform))


def world_shift(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Moves pitch and formants with WORLD, both up or both down.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the direction and the factors.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    f0, envelope, aperiodicity = world.analyse(waveform, rate)
    if generator.random() < 0.5:
        pitch, formants = generator.uniform(1.15, 1.5), generator.uniform(1.06, 1.16)
    else:
        pitch, formants = generator.uniform(0.7, 0.87), generator.uniform(0.86, 0.95)
    envelope = world.warp(envelope, formants)
    return world.synthesise(f0 * pitch, envelope, aperiodicity, rate, len(waveform))


def world_swap(
    waveform: np.ndarray,
    rate: int,
    generator: np.random.Generator,
    target: np.ndarray,
) -> np.ndarray:
    """Converts speech to the target speaker with WORLD and feature statistics.

    Maps mean and standard deviation, over voiced frames, of log F0 and of the cepstrum
    of the log envelope.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: unused.
      target: (samples,) float, speech of the target speaker at the same rate.

    Returns:
      (samples,) float64, as long as ``waveform``.

    Raises:
      ValueError: either waveform has fewer than 20 voiced frames.
    """
    del generator
    f0, envelope, aperiodicity = world.analyse(waveform, rate)
    target_f0, target_envelope, _ = world.analyse(target, rate)
    voiced, target_voiced = f0 > 0, target_f0 > 0
    if min(voiced.sum(), target_voiced.sum()) < 20:
        raise ValueError(
            "world_swap needs at least 20 voiced frames, but source and target have "
            f"{voiced.sum()} and {target_voiced.sum()}: use longer recordings"
        )
    cepstrum = np.fft.irfft(np.log(envelope), axis=1)  # (frames, 2 (bins - 1))
    target_cepstrum = np.fft.irfft(np.log(target_envelope), axis=1)
    inside = slice(1, _SWAPPED)  # without c0, to keep the level
    source_low = cepstrum[voiced, inside]
    target_low = target_cepstrum[target_voiced, inside]
    gain = np.clip(target_low.std(axis=0) / (source_low.std(axis=0) + 1e-6), 0.7, 1.4)
    centred = cepstrum[:, inside] - source_low.mean(axis=0)
    low = centred * gain + target_low.mean(axis=0)
    smooth = np.zeros_like(cepstrum)
    smooth[:, 0] = cepstrum[:, 0]
    smooth[:, inside] = low
    smooth[:, -_SWAPPED + 1 :] = low[:, ::-1]  # the cepstrum is even
    envelope = np.exp(np.fft.rfft(smooth, axis=1).real)
    pitch, target_pitch = np.log(f0[voiced]), np.log(target_f0[target_voiced])
    scaled = (pitch - pitch.mean()) / (pitch.std() + 1e-6)
    f0[voiced] = np.exp(scaled * min(target_pitch.std(), 0.35) + target_pitch.mean())
    return world.synthesise(f0, envelope, aperiodicity, rate, len(waveform))


def gl_mel(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Restores the phases of 80-band mel magnitudes by 32 rounds of Griffin-Lim.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the initial phases.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    return _griffin_lim(waveform, rate, generator, bands=80, rounds=32)


def gl_coarse(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Restores the phases of 40-band mel magnitudes by 8 rounds of Griffin-Lim.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the initial phases.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
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
    """Applies an LPC-18 vocoder: pulses where voiced, white noise elsewhere.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the noise.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    return linear_prediction.vocode(waveform, rate, generator, order=18)


def lpc_low(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Applies an LPC-10 vocoder, which models fewer formants than ``lpc_voc``.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the noise.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
    return linear_prediction.vocode(waveform, rate, generator, order=10)


def phase_voc(
    waveform: np.ndarray, rate: int, generator: np.random.Generator
) -> np.ndarray:
    """Keeps magnitudes and frequencies, but starts the phases at random.

    Args:
      waveform: (samples,) float in about [-1, 1].
      rate: sampling rate in Hz.
      generator: draws the initial phases.

    Returns:
      (samples,) float64, as long as ``waveform``.
    """
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


@lru_cache(maxsize=2)
def _mel_basis(rate: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mel filters (bands, 513) and their pseudo-inverse (513, bands)."""
    basis = import_librosa().filters.mel(
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
    return import_librosa().stft(waveform, n_fft=size, hop_length=hop)  # (bins, frames)


def _istft(spectrum: np.ndarray, size: int, hop: int, length: int) -> np.ndarray:
    return import_librosa().istft(spectrum, n_fft=size, hop_length=hop, length=length)


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
"""Attacks on one recording, by name; ``world_swap`` needs a second one."""
