"""RawBoost on device: convolutive, impulsive and coloured noise on raw waveforms.

Tak et al., "RawBoost: a raw data boosting and augmentation method applied to automatic
speaker verification anti-spoofing", ICASSP 2022, arXiv 2111.04433. Drawing and applying
are apart: with the reference implementation's draws, ``apply_*`` give its output.

1. LnL, linear and non-linear convolutive noise: x, x², … x⁵ each through a random
   filter with notches, summed.
2. ISD, impulsive signal-dependent noise: a few samples change in proportion to
   themselves.
3. SSI, stationary signal-independent noise: white noise through such a filter.

4 is 1, 2 and 3 in turn, 5 is 1 and 2, 6 is 1 and 3, 7 is 2 and 3; 8 is the sum of 1
and 2. The reference augments a whole utterance before it is cut; here it is the crop.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.augment.notches import Notches, filter_sum, notch_filter

_AT_ONCE = 4  # clips; more do not stay in a CPU's cache
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


@dataclass(frozen=True)
class Ranges:
    """What the draws are uniform over; the defaults are the reference's.

    Hashable: a static argument of jit.

    Attributes:
      bands: notches of a filter (nBands).
      frequency: of a notch's centre in Hz, within 0 … 8000 (minF, maxF).
      bandwidth: of a notch in Hz, positive (minBW, maxBW).
      taps: of a notch's filter, at least 2, the end excluded; an even draw becomes the
        odd number above (minCoeff, maxCoeff).
      gain: of a filter in dB (minG, maxG).
      orders: powers of the waveform in LnL (N_f).
      bias: in dB, by how much x² and higher powers are lower than x: the gain is
        uniform between gain[0] − bias[0] and gain[1] − bias[1] (minBias…, maxBias…).
      share: per cent of the samples that ISD changes at most, 0 … 50 (P).
      depth: largest relative change of a sample by ISD (g_sd).
      snr: of SSI in dB (SNRmin, SNRmax).
    """

    bands: int = 5
    frequency: tuple[float, float] = (20.0, 8000.0)
    bandwidth: tuple[float, float] = (100.0, 1000.0)
    taps: tuple[int, int] = (10, 100)
    gain: tuple[float, float] = (0.0, 0.0)
    orders: int = 5
    bias: tuple[float, float] = (5.0, 20.0)
    share: float = 10.0
    depth: float = 2.0
    snr: tuple[float, float] = (10.0, 40.0)

    def __post_init__(self):
        nyquist = SAMPLE_RATE / 2
        for name, good, limit in (
            ("bands", self.bands >= 1, "at least 1"),
            ("orders", self.orders >= 1, "at least 1"),
            ("frequency", _ordered(0, *self.frequency, nyquist), "within 0 … 8000 Hz"),
            ("bandwidth", _ordered(1e-2, *self.bandwidth), "positive"),
            ("taps", _ordered(2, *self.taps), "at least 2"),
            ("gain", _ordered(*self.gain), "in dB"),
            ("snr", _ordered(*self.snr), "in dB"),
            ("share", _ordered(0, self.share, 50), "within 0 … 50 per cent"),
        ):
            if not good:
                raise UserError(
                    f"RawBoost: {name} is {getattr(self, name)}; it must be {limit}, "
                    "the smaller value first where it has two"
                )

    @property
    def longest(self) -> int:
        """Taps of the longest notch, odd."""
        return max(self.taps[0], self.taps[1] - 1) | 1


def _ordered(*values: float) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))


REFERENCE = Ranges()


class Noise(NamedTuple):
    """Draws of SSI: white noise (samples,), its filter (length,), the SNR () in dB."""

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
    """Augments waveforms, each with draws of its own.

    Args:
      key: one key, or a key for each waveform (shape …).
      waveform: (…, samples) float32 or float64 at 16 kHz within [-1, 1].
      algorithm: 1 … 8, see above.
      ranges: of the draws.

    Returns:
      (…, samples); the same dtype. Within [-1, 1] but for SSI, which adds its noise
      last and does not look at the peak.

    Raises:
      UserError: an unknown algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise UserError(f"RawBoost algorithm {algorithm!r}; it must be 1 … 8")
    one = functools.partial(boost, algorithm=algorithm, ranges=ranges)
    return each(one, key, waveform)


def each(
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    waveform: jax.Array,
) -> jax.Array:
    """Maps ``augment(key, (samples,)) -> (samples,)`` over (…, samples).

    ``key`` is one key or has the shape …; with a key for each clip the result does not
    depend on how clips are dealt to devices.
    """
    *batch, samples = waveform.shape
    keys = key if key.ndim else jax.random.split(key, tuple(batch))
    flat = keys.reshape(-1), waveform.reshape(-1, samples)
    made = jax.lax.map(lambda clip: augment(*clip), flat, batch_size=_AT_ONCE)
    return made.reshape(waveform.shape)


def boost(
    key: jax.Array, waveform: jax.Array, *, algorithm: int, ranges: Ranges = REFERENCE
) -> jax.Array:
    """``rawboost`` of one waveform (samples,)."""
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
    """(…, samples) → the same, scaled down to a peak of 1 where it is above."""
    peak = jnp.abs(waveform).max(axis=-1, keepdims=True)
    return waveform / jnp.maximum(peak, 1)


def draw_lnl(key: jax.Array, ranges: Ranges, dtype=jnp.float32) -> jax.Array:
    """Draws a filter for each power of the waveform, (orders, length)."""
    lower = (ranges.gain[0] - ranges.bias[0], ranges.gain[1] - ranges.bias[1])
    gains = [ranges.gain] + (ranges.orders - 1) * [lower]
    notches = draw_notches(key, ranges, gains, dtype)
    return notch_filter(notches, longest=ranges.longest)


def apply_lnl(waveform: jax.Array, filters: jax.Array) -> jax.Array:
    """Sums filtered powers of a waveform, without offset, at a peak of at most 1.

    Args:
      waveform: (samples,).
      filters: (orders, length), length odd; filter i is for power i + 1.
    """
    powers = [waveform]
    while len(powers) < len(filters):
        powers.append(powers[-1] * waveform)
    made = filter_sum(powers, filters)
    return limit_peak(made - made.mean())


def draw_isd(
    key: jax.Array, samples: int, ranges: Ranges, dtype=jnp.float32
) -> jax.Array:
    """Draws the relative change of each sample, (samples,); zero for most of them.

    A share uniform in [0, P) per cent of the samples changes, by depth times the
    product of two uniform draws from [-1, 1).
    """
    share_key, place_key, change_key = jax.random.split(key, 3)
    share = jax.random.uniform(share_key, (), dtype, 0, ranges.share / 100)
    count = (samples * share).astype(jnp.int32)
    places, chosen = choose(place_key, samples, count, largest=ranges.share / 100)
    one, two = jax.random.uniform(change_key, (2, len(places)), dtype, -1, 1)
    change = jnp.where(chosen, ranges.depth * one * two, 0)
    return jnp.zeros(samples, dtype).at[places].add(change)


def apply_isd(waveform: jax.Array, change: jax.Array) -> jax.Array:
    """Adds ``change`` (samples,) times the waveform (samples,); a peak of at most 1."""
    return limit_peak(waveform + change * waveform)


def draw_ssi(key: jax.Array, samples: int, ranges: Ranges, dtype=jnp.float32) -> Noise:
    """Draws white noise, a filter for it and the SNR."""
    white_key, filter_key, snr_key = jax.random.split(key, 3)
    notches = draw_notches(filter_key, ranges, [ranges.gain], dtype)
    white = jax.random.normal(white_key, (samples,), dtype)
    return Noise(
        # The level does not matter. That the noise is used twice makes XLA store it;
        # else it is drawn inside the padding for the FFT, on a CPU 4 times as slow.
        white / jnp.linalg.norm(white),
        notch_filter(notches, longest=ranges.longest)[0],
        jax.random.uniform(snr_key, (), dtype, *ranges.snr),
    )


def apply_ssi(waveform: jax.Array, noise: Noise) -> jax.Array:
    """Adds filtered noise at its SNR to a waveform (samples,)."""
    return add_noise(waveform, filter_sum([noise.white], noise.filter[None]), noise.snr)


def add_noise(waveform: jax.Array, noise: jax.Array, snr: jax.Array) -> jax.Array:
    """Adds noise, not silent, (…, samples) at a signal-to-noise ratio (…) in dB."""
    snr = jnp.asarray(snr)[..., None]
    level = jnp.linalg.norm(waveform, axis=-1, keepdims=True)
    level = level / jnp.linalg.norm(noise, axis=-1, keepdims=True)
    return waveform + noise * level / 10 ** (0.05 * snr)


def choose(
    key: jax.Array, samples: int, count: jax.Array, *, largest: float
) -> tuple[jax.Array, jax.Array]:
    """Chooses ``count`` different places of ``samples`` < 2²⁰, every set as likely.

    Places drawn with replacement, without those that came before, are a random
    permutation; its first ``count`` are chosen. On a CPU hundreds of times as fast as
    ``jax.random.permutation``, which sorts.

    Args:
      key: PRNG key.
      samples: how many places there are.
      count: () int32, at most ``largest · samples``.
      largest: share of the places, at most 0.5. So many are drawn that ``count``
        different ones are among them but once in 10¹⁵ calls.

    Returns:
      (draws,) int32, places; (draws,) bool, which of them are chosen.
    """
    kept = 1 - largest
    draws = -samples * math.log(kept)
    spread = math.sqrt(samples * kept * (1 - kept + kept * math.log(kept))) / kept
    draws = math.ceil(draws + 8 * spread) + 1
    places = (jax.random.bits(key, (draws,)) % samples).astype(jnp.int32)
    order = jnp.arange(draws)
    first = jnp.full(samples, draws).at[places].min(order)
    new = first[places] == order
    return places, new & (jnp.cumsum(new) <= count)


def draw_notches(
    key: jax.Array,
    ranges: Ranges,
    gains: Sequence[tuple[float, float]],
    dtype=jnp.float32,
) -> Notches:
    """Draws a filter for each range of gains in dB.

    One call of the generator for everything: each costs 0.2 s of compilation.
    """
    # the reference draws between −5 and −20, the larger first
    least, most = np.sort(np.array(gains, dtype)).T
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
