"""Kaldi's filter banks against their definition, sample by sample."""

import numpy as np

from mldg_jax.models.kaldi_features import fbank_count, kaldi_filters, log_mel
from tests.signals import speech_like


def bank(window, mels):
    """Computes the log filter bank of one window of 400 samples from its definition."""
    x = np.asarray(window, float) * 32_768
    x = x - x.mean()
    x = np.array([x[0] - 0.97 * x[0], *(x[1:] - 0.97 * x[:-1])])
    n = np.arange(400)
    x = x * (0.5 - 0.5 * np.cos(2 * np.pi * n / 399)) ** 0.85
    k = np.arange(257)
    power = np.abs(np.exp(-2j * np.pi * k[:, None] * n / 512) @ x) ** 2
    mel = 1127 * np.log(1 + k * 31.25 / 700)
    low, high = 1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8_000 / 700)
    step = (high - low) / (mels + 1)
    energies = []
    for m in range(mels):
        centre = low + (m + 1) * step
        energies.append(power @ np.clip(1 - np.abs(mel - centre) / step, 0, None))
    return np.log(np.maximum(energies, 1.1920929e-07))


def test_filters_are_triangles():
    filters = kaldi_filters(80)
    assert filters.shape == (257, 80) and filters.min() == 0 and filters.max() <= 1
    # neighbours overlap so that their weights add up to one
    inside = filters[5:240].sum(1)
    np.testing.assert_allclose(inside, 1, atol=1e-5)


def test_log_mel(float64):
    waveform = speech_like(1_500)[:1].astype(float)
    waveforms = np.concatenate(
        [waveform, np.pad(waveform[:, :900], ((0, 0), (0, 600)))]
    )
    count = fbank_count(1_500)
    assert count == 7
    ours = log_mel(waveforms, 9, np.array([1_500, 900]))
    assert ours.shape == (2, 3, 18)  # the seventh frame has no partner
    for row, length in enumerate([1_500, 900]):
        frames = fbank_count(length)
        banks = [
            bank(waveforms[row, 160 * i : 160 * i + 400], 9) for i in range(frames)
        ]
        deviation = np.sqrt(np.var(banks, 0, ddof=1) + 1e-7)
        banks = (banks - np.mean(banks, 0)) / deviation
        pairs = banks[: frames // 2 * 2].reshape(-1, 18)
        np.testing.assert_allclose(ours[row, : len(pairs)], pairs, atol=1e-9)


def test_silence_is_zero():
    ours = log_mel(np.zeros((1, 1_000), np.float32))
    np.testing.assert_array_equal(ours, 0)
