"""Augmentation on device, inside the training step: RawBoost, noise and gain.

An option that is switched off (0 or empty) costs nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.rawboost import (
    ALGORITHMS,
    add_noise,
    boost,
    each,
    limit_peak,
)

DeviceAugment = Callable[[jax.Array, jax.Array], jax.Array]


def device_augmenter(
    *, rawboost: int = 0, noise_snr: Sequence[float] = (), gain: float = 0.0
) -> DeviceAugment | None:
    """Returns a function that applies RawBoost, then noise, then gain.

    Args:
      rawboost: algorithm, 1 … 8, with the reference's ranges; 0 for none.
      noise_snr: smallest and largest signal-to-noise ratio in dB of white Gaussian
        noise; empty for none.
      gain: in dB, ≥ 0; each waveform's gain is uniform in ± this, and reduced if the
        peak would exceed 1.

    Returns:
      ``(key, waveform) -> waveform`` on (…, samples), pure and for use inside jit; None
      if all options are off. ``key`` is one key, or one per waveform (shape …); with
      one per waveform the result does not depend on how they are split among devices.

    Raises:
      UserError: an option has an invalid value.
    """
    algorithms = (0, *ALGORITHMS)
    _check("rawboost", rawboost, rawboost in algorithms, "0 (none) or 1 … 8")
    ordered = len(noise_snr) == 2 and noise_snr[0] <= noise_snr[1]
    limit = "empty, or two numbers in dB with the smaller one first"
    _check("noise_snr", noise_snr, not noise_snr or ordered, limit)
    _check("gain", gain, gain >= 0, "at least 0 dB")
    if not (rawboost or noise_snr or gain):
        return None

    def augment(key, waveform):
        boost_key, noise_key, gain_key = jax.random.split(key, 3)
        if rawboost:
            waveform = boost(boost_key, waveform, algorithm=rawboost)
        if noise_snr:
            waveform = add_noise(waveform, *draw_noise(noise_key, waveform, noise_snr))
        if gain:
            decibels = jax.random.uniform(
                gain_key, (), waveform.dtype, minval=-gain, maxval=gain
            )
            waveform = apply_gain(waveform, decibels)
        return waveform

    return lambda key, waveform: each(augment, key, waveform)


def draw_noise(
    key: jax.Array, waveform: jax.Array, snr: Sequence[float]
) -> tuple[jax.Array, jax.Array]:
    """Draws white Gaussian noise and its signal-to-noise ratio.

    Args:
      key: PRNG key.
      waveform: (samples,); gives the shape and dtype.
      snr: smallest and largest signal-to-noise ratio in dB.

    Returns:
      The noise (samples,), of unit variance, and the ratio () in dB.
    """
    noise_key, snr_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, waveform.shape, waveform.dtype)
    return noise, jax.random.uniform(snr_key, (), waveform.dtype, *snr)


def apply_gain(waveform: jax.Array, decibels: jax.Array) -> jax.Array:
    """Changes the level of a waveform and limits its peak to 1.

    Args:
      waveform: (samples,).
      decibels: () gain in dB.

    Returns:
      (samples,), within [-1, 1].
    """
    return limit_peak(waveform * 10 ** (jnp.asarray(decibels) / 20))


def _check(name: str, value: Any, good: bool, limit: str) -> None:
    if not good:
        raise UserError(f"augment.{name} is {value!r}; it must be {limit}")
