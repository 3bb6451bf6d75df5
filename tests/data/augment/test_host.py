"""Augmentation on the host, measured on tones."""

import numpy as np
import pytest

from mldg_jax.data.augment.codecs import round_trip
from mldg_jax.data.augment.host import augmenter
from mldg_jax.data.episodes import crop

RATE = 16_000


def tone(frequency: float, samples: int = 32_000) -> np.ndarray:
    time = np.arange(samples) / RATE
    return (0.1 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def peak(waveform: np.ndarray) -> float:
    """Returns the frequency of the strongest component in Hz."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * RATE / len(waveform)


def test_without_options_it_is_a_crop():
    augment = augmenter(speed=0.0, equaliser=0.0)
    made = augment(tone(440), 16_000, 0.3, np.random.default_rng(0))
    np.testing.assert_array_equal(made, crop(tone(440), 16_000, 0.3))


def test_speed_moves_the_pitch_and_keeps_the_length():
    augment = augmenter(speed=0.1, equaliser=0.0)
    found = [
        augment(tone(1_000), 16_000, 0.5, np.random.default_rng(i)) for i in range(30)
    ]
    assert {x.shape for x in found} == {(16_000,)} and found[0].dtype == np.float32
    peaks = np.array([peak(x) for x in found])
    assert 900 <= peaks.min() < 930 and 1_070 < peaks.max() <= 1_100
    # level is kept (away from the ends, where the period of the DFT shows)
    levels = [np.std(x[2_000:-2_000]) for x in found]
    np.testing.assert_allclose(levels, 0.1 / np.sqrt(2), rtol=0.02)


def test_the_equaliser_is_smooth_and_of_the_stated_size():
    augment = augmenter(speed=0.0, equaliser=4.0)
    gains = [
        20 * np.log10(np.std(augment(tone(3_000), 16_000, 0.0, rng)) / 0.0707)
        for rng in map(np.random.default_rng, range(300))
    ]
    assert np.std(gains) == pytest.approx(3.0, abs=1.0)  # between two of the points
    assert np.mean(gains) == pytest.approx(0.0, abs=0.7)


def test_it_is_a_function_of_its_generator():
    augment = augmenter(speed=0.1, equaliser=4.0)
    one, two, other = (
        augment(tone(300), 8_000, 0.2, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0.01


def test_short_clips_are_repeated():
    augment = augmenter(speed=0.1, equaliser=4.0)
    made = augment(tone(300, 5_000), 16_000, 0.9, np.random.default_rng(0))
    assert made.shape == (16_000,) and np.isfinite(made).all()


def test_codecs_are_drawn_and_change_nothing_else():
    clip = tone(1_000)
    names = ("none", "mulaw", "g722")
    augment = augmenter(codec=names)
    made = [augment(clip, 16_000, 0.2, np.random.default_rng(i)) for i in range(60)]
    cut = crop(clip, 16_000, 0.2)
    coded = {"none": cut, **{name: round_trip(cut, name) for name in names[1:]}}
    count = {k: sum(np.array_equal(x, y) for x in made) for k, y in coded.items()}
    assert sum(count.values()) == 60 and min(count.values()) >= 10
