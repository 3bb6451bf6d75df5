import inspect

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mldg_jax.data.corpora.debspoof import neutralise

RATE = 16_000


def decibels(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean((samples / 32768.0) ** 2))


def test_deterministic_and_seeded(vowel):
    first, again = (
        neutralise.neutralise(vowel, RATE, 1),
        neutralise.neutralise(vowel, RATE, 1),
    )
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.int16
    other = neutralise.neutralise(vowel, RATE, 2)
    assert len(other) != len(first) or np.any(other != first)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**64 - 1), st.floats(1e-3, 1.0))
def test_level_and_length_are_in_range(vowel, seed, gain):
    clip = neutralise.neutralise(gain * vowel, RATE, seed)
    assert -29.3 < decibels(clip) < -22.7
    assert neutralise.SHORTEST * RATE - 1 <= len(clip) <= neutralise.LONGEST * RATE


def test_longest_is_respected(vowel):
    for seed in range(20):
        assert len(neutralise.neutralise(vowel, RATE, seed, longest=1.5)) <= 1.5 * RATE


def test_band_limit():
    noise = np.random.default_rng(0).standard_normal(3 * RATE)
    equalised = neutralise.equalise(noise, np.random.default_rng(3))
    coded = neutralise.neutralise(noise, RATE, 3).astype(float)
    # G.722 spends 16 kbit/s above 4 kHz: white noise comes out with noise at 8 kHz
    for clip, most in ((equalised, 1e-3), (coded, 0.15)):
        power = np.abs(np.fft.rfft(clip * np.hanning(len(clip)))) ** 2
        frequency = np.fft.rfftfreq(len(clip), 1 / RATE)
        band = power[(frequency > 200) & (frequency < 6000)].mean()
        assert power[frequency > 7300].mean() < most * band
        assert power[frequency < 50].mean() < most * band


def test_rate_and_channels_do_not_matter(vowel):
    import librosa

    upsampled = librosa.resample(vowel, orig_sr=RATE, target_sr=44_100)
    stereo = np.stack([upsampled, upsampled], axis=1)
    clip = neutralise.neutralise(stereo, 44_100, 5)
    direct = neutralise.neutralise(vowel, RATE, 5)
    size = min(len(clip), len(direct))
    assert abs(len(clip) - len(direct)) < 400
    assert np.std(clip[:size].astype(float)) > 0


def test_too_short_or_silent_gives_none(vowel):
    assert neutralise.neutralise(vowel[: int(1.2 * RATE)], RATE, 0) is None
    assert neutralise.neutralise(np.zeros(3 * RATE), RATE, 0) is None
    assert neutralise.neutralise(np.zeros(0), RATE, 0) is None
    silence = np.zeros(3 * RATE)
    silence[:RATE] = vowel[:RATE]  # 1 s of speech in 3 s
    assert neutralise.neutralise(silence, RATE, 0) is None


def test_nothing_about_the_class_goes_in():
    names = set(inspect.signature(neutralise.neutralise).parameters)
    assert names == {"waveform", "rate", "seed", "longest"}


def test_trim_finds_the_speech(vowel):
    padded = np.concatenate([np.zeros(RATE), vowel, np.zeros(RATE)])
    trimmed = neutralise.trim(padded)
    assert len(vowel) <= len(trimmed) + 400
    assert len(trimmed) < len(vowel) + 3000


def test_codec_round_trip(vowel):
    samples = neutralise.to_int16(vowel)
    coded = neutralise.g722_round_trip(samples)
    assert coded.shape == samples.shape
    error = coded.astype(float) - samples
    assert np.mean(error**2) < 0.01 * np.mean(samples.astype(float) ** 2)


def test_offset_is_gone(vowel):
    assert abs(neutralise.neutralise(vowel + 0.1, RATE, 4).mean()) <= 0.51
