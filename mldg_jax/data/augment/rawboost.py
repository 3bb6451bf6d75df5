"""RawBoost on device: convolutive, impulsive and coloured noise on raw waveforms.

Tak et al., "RawBoost: a raw data boosting and augmentation method applied to automatic
speaker verification anti-spoofing", ICASSP 2022, arXiv 2111.04433. Drawing and applying
are separate: given the reference implementation's draws, ``apply_*`` reproduce its
output.

1. LnL, linear and non-linear convolutive noise: x, x², … x⁵, each through a random
   notch filter, summed.
2. ISD, impulsive signal-dependent noise: a few samples change in proportion to their
   value.
3. SSI, stationary signal-independent noise: white noise through a random notch filter.

4 is 1, 2 and 3 in series, 5 is 1 and 2, 6 is 1 and 3, 7 is 2 and 3; 8 is the sum of 1
and 2. The reference augments the whole utterance before cropping; here only the crop is
augmented.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment.notches import draw_notches, filter_sum, notch_filter
from mldg_jax.data.augment.ranges import REFERENCE, Ranges

_BATCH = 4  # waveforms processed at once; more do not stay in a CPU's cache
_SERIES = {
    1: ("lnl",),
    2: ("isd",),
    3: ("ssi",),
    4: ("lnl", "isd", "ssi"),
    5: ("lnl", "isd"),
    6: ("lnl", "ssi"),
    7: ("isd", "ssi"),
}
ALGORITHMS = (*_SERIES, 8)


class Noise(NamedTuple):
    """The draws of SSI.

    Attributes:
      white: (samples,) white noise.
      filter: (length,) taps of the filter that it goes through.
      snr: () signal-to-noise ratio in dB.
    """

    white: jax.Array
    filter: jax.Array
    snr: jax.Array


@functools.partial(jax.jit, static_argnames=("algorithm", "ranges"))
def rawboost(
    key: jax.Array,
    waveform: jax.Array,
    *,
    algorithm: int,
    ranges: Ranges = REFERENCE,
) -> jax.Array:
    """Augments waveforms, each with its own draws.

    Args:
      key: one key, or one per waveform (shape …).
      waveform: (…, samples) float32 or float64 at 16 kHz within [-1, 1].
      algorithm: 1 … 8, see the module's docstring.
      ranges: ranges of the draws.

    Returns:
      (…, samples), of the same dtype. Within [-1, 1], except with SSI, which adds its
      noise last and does not limit the peak.

    Raises:
      UserError: the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise UserError(
            f"RawBoost: algorithm {algorithm!r} is unknown; it must be 1 … 8"
        )
    augment = functools.partial(boost, algorithm=algorithm, ranges=ranges)
    return each(augment, key, waveform)


def each(
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    waveform: jax.Array,
) -> jax.Array:
    """Maps an augmentation over all waveforms of an array.

    Args:
      augment: ``(key, waveform) -> waveform`` on (samples,).
      key: one key, which is split, or one per waveform (shape …); with one per waveform
        the result does not depend on how they are split among devices.
      waveform: (…, samples).

    Returns:
      (…, samples).
    """
    *batch, samples = waveform.shape
    keys = key if key.ndim else jax.random.split(key, tuple(batch))
    flat = keys.reshape(-1), waveform.reshape(-1, samples)
    augmented = jax.lax.map(lambda pair: augment(*pair), flat, batch_size=_BATCH)
    return augmented.reshape(waveform.shape)


def boost(
    key: jax.Array, waveform: jax.Array, *, algorithm: int, ranges: Ranges = REFERENCE
) -> jax.Array:
    """Augments one waveform, as ``rawboost``.

    Args:
      key: PRNG key.
      waveform: (samples,) float32 or float64 at 16 kHz within [-1, 1].
      algorithm: 1 … 8.
      ranges: ranges of the draws.

    Returns:
      (samples,), of the same dtype.
    """
    keys = dict(zip(("lnl", "isd", "ssi"), jax.random.split(key, 3), strict=True))
    samples, dtype = len(waveform), waveform.dtype

    def stage(name, waveform):
        if name == "lnl":
            return apply_lnl(waveform, draw_lnl(keys[name], ranges, dtype))
        if name == "isd":
            return apply_isd(waveform, draw_isd(keys[name], samples, ranges, dtype))
        return apply_ssi(waveform, draw_ssi(keys[name], samples, ranges, dtype))

    if algorithm == 8:
        return limit_peak(stage("lnl", waveform) + stage("isd", waveform))
    for name in _SERIES[algorithm]:
        waveform = stage(name, waveform)
    return waveform


def limit_peak(waveform: jax.Array) -> jax.Array:
    """Scales waveforms whose peak exceeds 1 down to a peak of 1.

    Args:
      waveform: (…, samples).

    Returns:
      (…, samples), within [-1, 1].
    """
    peak = jnp.abs(waveform).max(axis=-1, keepdims=True)
    return waveform / jnp.maximum(peak, 1)


def draw_lnl(key: jax.Array, ranges: Ranges, dtype=jnp.float32) -> jax.Array:
    """Draws the filters of LnL, one for each power of the waveform.

    Args:
      key: PRNG key.
      ranges: ranges of the draws.
      dtype: floating-point type of the result.

    Returns:
      (orders, length) taps, length odd.
    """
    lower = (ranges.gain[0] - ranges.bias[0], ranges.gain[1] - ranges.bias[1])
    gains = [ranges.gain] + (ranges.orders - 1) * [lower]
    notches = draw_notches(key, ranges, gains, dtype)
    return notch_filter(notches, longest=ranges.longest)


def apply_lnl(waveform: jax.Array, filters: jax.Array) -> jax.Array:
    """Sums filtered powers of a waveform and removes the offset.

    Args:
      waveform: (samples,).
      filters: (orders, length), length odd; filter i is for power i + 1.

    Returns:
      (samples,), of mean 0, with a peak of at most 1.
    """
    powers = [waveform]
    while len(powers) < len(filters):
        powers.append(powers[-1] * waveform)
    total = filter_sum(powers, filters)
    return limit_peak(total - total.mean())


def draw_isd(
    key: jax.Array, samples: int, ranges: Ranges, dtype=jnp.float32
) -> jax.Array:
    """Draws the relative change of each sample by ISD.

    A percentage of the samples, uniform in [0, share), changes by depth times the
    product of two uniform draws from [-1, 1).

    Args:
      key: PRNG key.
      samples: length of the waveform.
      ranges: ranges of the draws.
      dtype: floating-point type of the result.

    Returns:
      (samples,), zero for the samples that do not change.
    """
    share_key, index_key, change_key = jax.random.split(key, 3)
    share = jax.random.uniform(share_key, (), dtype, 0, ranges.share / 100)
    count = (samples * share).astype(jnp.int32)
    indices, chosen = choose(index_key, samples, count, largest=ranges.share / 100)
    first, second = jax.random.uniform(change_key, (2, len(indices)), dtype, -1, 1)
    change = jnp.where(chosen, ranges.depth * first * second, 0)
    return jnp.zeros(samples, dtype).at[indices].add(change)


def apply_isd(waveform: jax.Array, change: jax.Array) -> jax.Array:
    """Changes samples in proportion to their value.

    Args:
      waveform: (samples,).
      change: (samples,) relative changes.

    Returns:
      (samples,), with a peak of at most 1.
    """
    return limit_peak(waveform + change * waveform)


def draw_ssi(key: jax.Array, samples: int, ranges: Ranges, dtype=jnp.float32) -> Noise:
    """Draws the noise of SSI.

    Args:
      key: PRNG key.
      samples: length of the waveform.
      ranges: ranges of the draws.
      dtype: floating-point type of the result.

    Returns:
      White noise of norm 1, the filter for it and the signal-to-noise ratio.
    """
    white_key, filter_key, snr_key = jax.random.split(key, 3)
    notches = draw_notches(filter_key, ranges, [ranges.gain], dtype)
    white = jax.random.normal(white_key, (samples,), dtype)
    return Noise(
        # apply_ssi sets the level. Using the noise twice makes XLA store it; otherwise
        # it is drawn inside the padding for the FFT, 4 times as slow on a CPU.
        white / jnp.linalg.norm(white),
        notch_filter(notches, longest=ranges.longest)[0],
        jax.random.uniform(snr_key, (), dtype, *ranges.snr),
    )


def apply_ssi(waveform: jax.Array, noise: Noise) -> jax.Array:
    """Filters noise and adds it at its signal-to-noise ratio.

    Args:
      waveform: (samples,).
      noise: the draws.

    Returns:
      (samples,); the peak is not limited.
    """
    return add_noise(waveform, filter_sum([noise.white], noise.filter[None]), noise.snr)


def add_noise(waveform: jax.Array, noise: jax.Array, snr: jax.Array) -> jax.Array:
    """Adds noise at a signal-to-noise ratio.

    Args:
      waveform: (…, samples).
      noise: (…, samples), not silent.
      snr: (…) signal-to-noise ratio in dB.

    Returns:
      (…, samples); the peak is not limited.
    """
    snr = jnp.asarray(snr)[..., None]
    level = jnp.linalg.norm(waveform, axis=-1, keepdims=True)
    level = level / jnp.linalg.norm(noise, axis=-1, keepdims=True)
    return waveform + noise * level / 10 ** (0.05 * snr)


def choose(
    key: jax.Array, samples: int, count: jax.Array, *, largest: float
) -> tuple[jax.Array, jax.Array]:
    """Chooses ``count`` distinct indices; all sets are equally likely.

    Indices drawn with replacement, with repeats removed, are a random permutation; its
    first ``count`` are chosen. On a CPU this is hundreds of times as fast as
    ``jax.random.permutation``, which sorts.

    Args:
      key: PRNG key.
      samples: number of indices to choose from, below 2²⁰.
      count: () int32, at most ``largest · samples``.
      largest: fraction of the indices, at most 0.5. The number of draws is such that
        fewer than ``count`` of them are distinct only once in 10¹⁵ calls.

    Returns:
      (draws,) int32, the indices, and (draws,) bool, true where one is chosen.
    """
    # Mean and standard deviation of the draws until ``largest`` of the indices occurred
    # (the coupon collector's problem); 8 deviations make a shortage practically
    # impossible.
    rest = 1 - largest
    draws = -samples * math.log(rest)
    spread = math.sqrt(samples * rest * (1 - rest + rest * math.log(rest))) / rest
    draws = math.ceil(draws + 8 * spread) + 1
    indices = (jax.random.bits(key, (draws,)) % samples).astype(jnp.int32)
    order = jnp.arange(draws)
    first = jnp.full(samples, draws).at[indices].min(order)
    is_new = first[indices] == order
    return indices, is_new & (jnp.cumsum(is_new) <= count)
