"""Augmentation: what it does to a tone, on the host and on device."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from mldg_jax.data import rawboost
from mldg_jax.data.augment import augmenter, device_augmenter, from_config
from mldg_jax.data.codecs import round_trip
from mldg_jax.data.episodes import crop
from mldg_jax.errors import UserError

RATE = 16_000


def tone(frequency: float, samples: int = 32_000) -> np.ndarray:
    time = np.arange(samples) / RATE
    return (0.1 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def peak(waveform: np.ndarray) -> float:
    """Frequency of the strongest component in Hz."""
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


def levels(waveform) -> np.ndarray:
    """(…, samples) → root mean squares, flat."""
    return np.sqrt(np.mean(np.square(waveform, dtype=float), axis=-1)).ravel()


BATCH = np.broadcast_to(tone(1_000, 4_000), (20, 30, 4_000))  # domains, examples


def test_neutral_options_leave_nothing_to_do_on_device():
    assert device_augmenter() is None
    assert device_augmenter(rawboost=0, noise_snr=(), gain=0.0) is None


def test_gain_is_uniform_in_decibels():
    augment = jax.jit(device_augmenter(gain=6.0))
    made = augment(jax.random.key(0), BATCH)
    assert made.shape == BATCH.shape and made.dtype == jnp.float32
    decibels = 20 * np.log10(levels(made) / levels(BATCH))
    assert scipy.stats.kstest(decibels, "uniform", (-6, 12)).pvalue > 1e-3
    loud = augment(jax.random.key(0), 9 * BATCH[:1])  # peak 0.9
    assert jnp.abs(loud).max() == pytest.approx(1.0, abs=1e-6)


def test_noise_is_white_and_at_its_ratio():
    made = jax.jit(device_augmenter(noise_snr=(10.0, 30.0)))(jax.random.key(0), BATCH)
    noise = np.asarray(made) - BATCH
    decibels = 20 * np.log10(levels(BATCH) / levels(noise))
    assert scipy.stats.kstest(decibels, "uniform", (10, 20)).pvalue > 1e-3
    power = (np.abs(np.fft.rfft(noise)) ** 2).mean(axis=(0, 1))[1:-1]
    np.testing.assert_allclose(power, power.mean(), rtol=0.35)  # 600 clips
    assert scipy.stats.normaltest(noise[0, 0]).pvalue > 1e-3


def test_rawboost_alone_is_rawboost():
    clips, keys = BATCH[:1, :2], jax.random.split(jax.random.key(3), (1, 2))
    made = jax.jit(device_augmenter(rawboost=2))(keys, clips)
    own = jax.vmap(jax.vmap(lambda key: jax.random.split(key, 3)[0]))(keys)
    np.testing.assert_allclose(
        made, rawboost.rawboost(own, clips, algorithm=2), atol=1e-6
    )


def test_device_augmentation_lowers_for_tpu_and_cuda():
    augment = device_augmenter(rawboost=4, noise_snr=(10, 40), gain=6.0)
    lowered = jax.export.export(
        jax.jit(lambda key, x: augment(jax.random.wrap_key_data(key), x)),
        platforms=("cpu", "cuda", "tpu"),
    )(
        jax.ShapeDtypeStruct((2,), "uint32"),
        jax.ShapeDtypeStruct((4, 2, 64_600), "float32"),
    )
    assert lowered.out_avals[0].shape == (4, 2, 64_600)


def test_a_config_section_gives_both():
    host, device = from_config({"speed": 0.0, "equaliser": 0.0, "gain": 3.0})
    cut = host(tone(440), 16_000, 0.3, np.random.default_rng(0))
    np.testing.assert_array_equal(cut, crop(tone(440), 16_000, 0.3))
    assert device(jax.random.key(0), cut[None]).shape == (1, 16_000)
    assert from_config({"speed": 0.1})[1] is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"rawbost": 5}, "rawbost.*rawboost"),
        ({"rawboost": 9}, "rawboost is 9.*1 … 8"),
        ({"noise_snr": (30, 10)}, "noise_snr"),
        ({"gain": -1.0}, "gain is -1.0"),
        ({"speed": 0.5}, "speed is 0.5"),
        ({"equaliser": -1.0}, "equaliser"),
        ({"codec": ("none", "mp5")}, "mp5.*mp3"),
    ],
)
def test_impossible_sections_are_named(section, message):
    with pytest.raises(UserError, match=message):
        from_config(section)
