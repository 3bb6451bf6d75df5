"""Random notch filters, and filtering with them, on device.

Does what RawBoost (``rawboost.py``) does with ``scipy.signal.firwin`` and ``lfilter``,
but with static shapes: a filter of any length is zero-padded on both sides to the
longest. That does not change the output, because the reference undoes each delay.
"""

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.augment.ranges import Ranges

_EDGE = 1e-3  # Hz; minimum distance of a notch from 0 and from the Nyquist frequency
_FREQUENCIES = 512  # at which the reference looks for a filter's largest gain


class Notches(NamedTuple):
    """The draws of notch filters; the leading axes are filters.

    Attributes:
      centre: (…, bands) centre frequencies in Hz.
      width: (…, bands) bandwidths in Hz.
      taps: (…, bands) int32, odd numbers of taps.
      gain: (…) largest gain of the whole filter in dB.
    """

    centre: jax.Array
    width: jax.Array
    taps: jax.Array
    gain: jax.Array


def draw_notches(
    key: jax.Array,
    ranges: Ranges,
    gains: Sequence[tuple[float, float]],
    dtype=jnp.float32,
) -> Notches:
    """Draws one notch filter for each range of gains.

    Args:
      key: PRNG key.
      ranges: ranges of the other draws.
      gains: for each filter, the range of its gain in dB, in either order.
      dtype: floating-point type of the draws.

    Returns:
      The draws, with leading axes (len(gains),).
    """
    # The reference's range of gains is (−5, −20), the larger value first.
    least, most = np.sort(np.array(gains, dtype)).T
    # One call of the generator for everything: each call adds 0.2 s of compilation.
    uniform = jax.random.uniform(key, (len(gains), 3 * ranges.bands + 1), dtype)
    centre, width, taps = jnp.split(uniform[:, 1:], 3, axis=1)
    taps = _between(taps, ranges.taps).astype(jnp.int32)
    return Notches(
        centre=_between(centre, ranges.frequency),
        width=_between(width, ranges.bandwidth),
        taps=jnp.minimum(taps | 1, ranges.longest),
        gain=_between(uniform[:, 0], (least, most)),
    )


def _between(uniform: jax.Array, ends: tuple) -> jax.Array:
    return ends[0] + (ends[1] - ends[0]) * uniform


def bandstop(notches: Notches, *, longest: int) -> jax.Array:
    """Computes the filter of each notch by the window method (Hamming).

    ``scipy.signal.firwin`` divides a filter by its gain at 0 Hz. That gain is close to
    zero, of either sign, if a notch reaches down to 0 Hz, and ``notch_filter`` rescales
    in any case, so only the sign is applied.

    Args:
      notches: the draws.
      longest: length of the result, odd, at least the largest ``taps``.

    Returns:
      (…, bands, longest); filters with fewer taps are centred.
    """
    nyquist = SAMPLE_RATE / 2
    low = jnp.maximum(notches.centre - notches.width / 2, _EDGE)[..., None] / nyquist
    high = notches.centre + notches.width / 2
    high = jnp.minimum(high, nyquist - _EDGE)[..., None] / nyquist
    lag = jnp.arange(longest, dtype=low.dtype) - longest // 2  # from the centre
    ideal = jnp.where(lag == 0, 1, 0)
    ideal = ideal - high * jnp.sinc(high * lag) + low * jnp.sinc(low * lag)
    half = (notches.taps[..., None] // 2).astype(low.dtype)
    window = 0.54 + 0.46 * jnp.cos(jnp.pi * lag / half)
    taps = jnp.where(jnp.abs(lag) <= half, ideal * window, 0)
    return jnp.where(taps.sum(-1, keepdims=True) < 0, -taps, taps)


def notch_filter(notches: Notches, *, longest: int) -> jax.Array:
    """Computes the series connection of a filter's notches, scaled to its gain.

    Args:
      notches: the draws.
      longest: length of a single notch, odd, at least the largest ``taps``.

    Returns:
      (…, bands · (longest − 1) + 1), centred.
    """
    filters = bandstop(notches, longest=longest)
    length = filters.shape[-2] * (longest - 1) + 1
    step = -(-length // (2 * _FREQUENCIES))  # 1 for the default lengths
    points = 2 * _FREQUENCIES * step
    responses = jnp.moveaxis(jnp.fft.rfft(filters, points), -2, 0)
    response = functools.reduce(operator.mul, responses)  # (…, points // 2 + 1)
    peak = jnp.abs(response[..., :-1:step]).max(axis=-1)
    scale = 10 ** (notches.gain / 20) / peak
    return jnp.fft.irfft(response * scale[..., None], points)[..., :length]


def filter_sum(signals: Sequence[jax.Array], filters: jax.Array) -> jax.Array:
    """Filters each signal with its filter, by overlap-add, and sums the results.

    The output is advanced by the filters' delay and one more sample, as in the
    reference. With blocks of 4096 points for filters of 491 taps this is, on a CPU,
    twice as fast as one transform of the whole signal, 10 times as fast as a product
    with a Toeplitz matrix, and over 100 times as fast as a sum of shifted products or
    a convolution.

    Args:
      signals: (samples,) each.
      filters: (signals, length), length odd.

    Returns:
      (samples,).
    """
    samples, length = len(signals[0]), filters.shape[-1]
    size = 8 * 2 ** (length - 1).bit_length()
    block = size - length + 1
    count = -(-samples // block)

    def transform(signal):
        padded = jnp.pad(signal, (0, count * block - samples))
        return jnp.fft.rfft(padded.reshape(count, block), size)

    responses = jnp.fft.rfft(filters, size)
    products = map(operator.mul, map(transform, signals), responses)
    blocks = jnp.fft.irfft(functools.reduce(operator.add, products), size)
    # The tail of each block overlaps the head of the next.
    heads, tails = blocks[:, :block], blocks[:, block:]
    heads = jnp.pad(heads, ((0, 1), (0, 0)))
    tails = jnp.pad(tails, ((1, 0), (0, block - length + 1)))
    first = (length + 1) // 2
    return (heads + tails).reshape(-1)[first : first + samples]
