"""Each disturbance does to a signal what it says, measured in another way."""

import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment import disturbances
from tests import signals

RATE = 16_000
VOICE = signals.voiced(2 * RATE)


def decibels(ratio: float) -> float:
    return 10 * np.log10(ratio)


def power(waveform: np.ndarray) -> float:
    return float(np.mean(np.asarray(waveform, float) ** 2))


def bands(waveform: np.ndarray, count: int = 8) -> np.ndarray:
    """Powers of equally wide bands from 0 to 8 kHz."""
    spectrum = np.abs(np.fft.rfft(waveform)[1:]) ** 2
    return spectrum.reshape(count, -1).sum(axis=1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("snr", [30, 20, 10, 0])
def test_white_noise_has_its_ratio_and_a_flat_spectrum(snr):
    clip = 0.2 * VOICE  # so that no peak is limited
    noise = disturbances.add_white_noise(clip, rng(), snr) - clip
    assert decibels(power(clip) / power(noise)) == pytest.approx(snr, abs=0.01)
    flat = bands(noise)
    assert flat.max() < 1.15 * flat.min()
    assert abs(np.corrcoef(noise, clip)[0, 1]) < 0.03


def test_noise_on_a_loud_recording_scales_both():
    quiet = disturbances.add_white_noise(0.1 * VOICE, rng(), 0)
    loud = disturbances.add_white_noise(2 * VOICE, rng(), 0)
    assert np.abs(loud).max() == pytest.approx(1)
    assert np.corrcoef(quiet, loud)[0, 1] == pytest.approx(1)


def test_babble_is_made_of_the_voices_at_its_ratio():
    clip, talkers = 0.1 * VOICE, [0.5 * signals.voiced(RATE, x) for x in (1, 2)]
    noise = disturbances.add_babble(clip, rng(), talkers, 10) - clip
    assert decibels(power(clip) / power(noise)) == pytest.approx(10, abs=0.01)
    # both voices, equally loud, somewhere: the circular cross-correlation of a second
    for talker in talkers:
        product = np.fft.irfft(
            np.fft.rfft(noise[:RATE]) * np.conj(np.fft.rfft(talker)), RATE
        )
        norms = np.linalg.norm(noise[:RATE]) * np.linalg.norm(talker)
        assert product.max() / norms == pytest.approx(np.sqrt(0.5), abs=0.1)
    with pytest.raises(UserError, match="is silent"):
        disturbances.add_babble(clip, rng(), [np.zeros(RATE)], 10)
    with pytest.raises(UserError, match="the recording is silent, so it has no SNR"):
        disturbances.add_white_noise(np.zeros(RATE), rng(), 10)


@pytest.mark.parametrize("rt60", [0.3, 0.9])
def test_a_room_decays_in_its_reverberation_time(rt60):
    click = np.zeros(2 * RATE, np.float32)
    click[1_000] = 0.5
    wet = disturbances.reverberate(click, rng(), rt60)
    assert np.argmax(np.abs(wet)) == 1_000 and not wet[:990].round(6).any()
    assert power(wet) == pytest.approx(power(click), rel=1e-3)
    tail = wet[1_001:].astype(float) ** 2
    assert tail.sum() == pytest.approx(wet[1_000] ** 2, rel=0.01)
    # Schroeder's backward integral, a line from −5 to −25 dB (ISO 3382: T20)
    decay = decibels(np.cumsum(tail[::-1])[::-1].clip(1e-12) / tail.sum())
    part = np.flatnonzero((decay < -5) & (decay > -25))
    slope = np.polyfit(part / RATE, decay[part], 1)[0]
    assert -60 / slope == pytest.approx(rt60, rel=0.1)


def test_a_cut_keeps_the_first_samples():
    for seconds in (0.5, 1):
        kept = disturbances.keep_first(VOICE, seconds)
        np.testing.assert_array_equal(kept, VOICE[: int(seconds * RATE)])
    np.testing.assert_array_equal(disturbances.keep_first(VOICE, 4), VOICE)


def test_levels():
    softer = disturbances.change_level(VOICE, -20)
    assert decibels(power(softer) / power(VOICE)) == pytest.approx(-20, abs=1e-3)
    quiet = 0.05 * VOICE
    louder = disturbances.change_level(quiet, 20)
    assert decibels(power(louder) / power(quiet)) == pytest.approx(20, abs=1e-3)
    clipped = disturbances.change_level(VOICE, 20)
    full = np.abs(clipped) == 1
    np.testing.assert_array_equal(full, np.abs(VOICE.astype(np.float32)) >= 0.1)
    assert 0.01 < full.mean() < 0.5


@pytest.mark.parametrize(
    ("rate", "kept", "lost"), [(8_000, 3_400, 4_200), (11_025, 4_800, 5_700)]
)
def test_resampling_empties_the_spectrum_above_half_the_rate(rate, kept, lost):
    noise = 0.1 * rng().standard_normal(2 * RATE)
    through = disturbances.resample_through(noise, rate)
    assert len(through) == len(noise)
    before, after = (np.abs(np.fft.rfft(x)) ** 2 for x in (noise, through))
    kept, lost = 2 * kept, 2 * lost  # Hz → bins
    assert decibels(after[lost:].sum() / before[lost:].sum()) < -60
    assert decibels(after[:kept].sum() / before[:kept].sum()) == pytest.approx(
        0, abs=0.1
    )
    # in place: what is left is the same waveform
    low = [np.fft.irfft(np.fft.rfft(x)[:kept], len(x)) for x in (noise, through)]
    assert decibels(power(low[0]) / power(low[0] - low[1])) > 30


def test_a_higher_rate_keeps_what_speech_has():
    through = disturbances.resample_through(VOICE, 44_100)
    assert len(through) == len(VOICE)
    assert decibels(power(VOICE) / power(through - VOICE)) > 50
    assert not np.array_equal(through, VOICE)


def test_silence_before_is_exact():
    led = disturbances.lead_with_silence(VOICE, rng(), 0.5)
    assert len(led) == len(VOICE) + 8_000 and not led[:8_000].any()
    np.testing.assert_array_equal(led[8_000:], VOICE)
    led = disturbances.lead_with_silence(VOICE, rng(), 0.5, -60)
    np.testing.assert_array_equal(led[8_000:], VOICE)
    assert decibels(power(led[:8_000])) == pytest.approx(-60, abs=0.2)


def test_silence_at_the_end_is_cut_to_a_frame():
    tone = np.full(10_000, 0.3, np.float32) * (-1.0) ** np.arange(10_000)
    hiss = 0.001 * rng().standard_normal(5_000)  # 49 dB below
    cut = disturbances.trim_end(np.concatenate([tone, hiss]))
    np.testing.assert_array_equal(cut[:10_000], tone)
    assert 10_000 <= len(cut) < 10_000 + disturbances.FRAME
    np.testing.assert_array_equal(disturbances.trim_end(tone), tone)
    audible = np.concatenate([tone, 10 * hiss])  # 29 dB below
    assert len(disturbances.trim_end(audible)) == 15_000
