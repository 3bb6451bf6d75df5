"""Augmentation on device, measured on tones."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from mldg_jax.data.augment import rawboost
from mldg_jax.data.augment.device import device_augmenter

RATE = 16_000


def tone(frequency: float, samples: int = 32_000) -> np.ndarray:
    time = np.arange(samples) / RATE
    return (0.1 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


BATCH = np.broadcast_to(tone(1_000, 4_000), (20, 30, 4_000))  # domains, examples


def levels(waveform) -> np.ndarray:
    """Returns the root mean squares of (…, samples), flattened."""
    return np.sqrt(np.mean(np.square(waveform, dtype=float), axis=-1)).ravel()


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
