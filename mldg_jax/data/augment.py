"""Augmentation of training crops, the same for bona fide and spoof.

On the host, while a crop is cut (``augmenter``): speed, equaliser, codec. A detector
trained on a dozen voices learns the voices. Playing a clip a little faster or slower
gives it another voice (pitch and formants move together, as in Kaldi's speed
perturbation, Ko et al. 2015), and a random smooth equaliser another microphone. Both
happen in one pass through the frequency domain.

On device, inside the training step (``device_augmenter``): RawBoost, noise, gain.

An option at its neutral value (0 or empty) costs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from mldg_jax.data import codecs
from mldg_jax.data import rawboost as rb
from mldg_jax.data.episodes import Augment, crop
from mldg_jax.errors import UserError

DeviceAugment = Callable[[jax.Array, jax.Array], jax.Array]
_HOST = ("speed", "equaliser", "codec")
_DEVICE = ("rawboost", "noise_snr", "gain")
_EQUALISER_POINTS = 8  # over 0 … 8 kHz
_PER_DECIBEL = np.float32(np.log(10) / 20)
UNCODED = "none"


def from_config(section: Mapping[str, Any]) -> tuple[Augment, DeviceAugment | None]:
    """Builds both augmenters of a config's ``augment`` section.

    Raises:
      UserError: an unknown name or an impossible value.
    """
    unknown = sorted(set(section) - {*_HOST, *_DEVICE})
    if unknown:
        raise UserError(
            f"augment.{unknown[0]} is not known; there are {', '.join(_HOST + _DEVICE)}"
        )
    host = {name: section[name] for name in _HOST if name in section}
    device = {name: section[name] for name in _DEVICE if name in section}
    return augmenter(**host), device_augmenter(**device)


def switched_on(section: Mapping[str, Any]) -> list[str]:
    """The options of a config's ``augment`` section that are not neutral."""
    return [name for name, value in section.items() if value]


def augmenter(
    *, speed: float = 0.0, equaliser: float = 0.0, codec: Sequence[str] = ()
) -> Augment:
    """Returns ``(waveform, samples, start, rng) -> (samples,)``.

    Args:
      speed: largest relative change of speed, in [0, 0.5); 0.1 plays at 0.9 … 1.1 ×.
      equaliser: standard deviation of the gain at each of 8 frequencies, in dB, ≥ 0.
      codec: names of ``codecs.CODECS``; each clip goes through one of them, chosen at
        random. "none" among them leaves that share of the clips as they are.

    Returns:
      A function that crops, changes speed, equalises and codes; with every option at
      its neutral value it is ``episodes.crop``.

    Raises:
      UserError: an impossible value, or a codec that is not there.
    """
    _check("speed", speed, 0 <= speed < 0.5, "at least 0 and below 0.5")
    _check("equaliser", equaliser, equaliser >= 0, "at least 0 dB")
    for name in set(codec) - {UNCODED}:
        codecs.check(name)

    def augment(waveform, samples, start, rng):
        factor = 1.0 + speed * rng.uniform(-1.0, 1.0)
        gains = equaliser * rng.standard_normal(_EQUALISER_POINTS)
        length = round(samples * factor)
        if length != samples:  # one whose Fourier transform is fast: a percent away
            length = scipy.fft.next_fast_len(length, real=True)
        made = crop(waveform, length, start)
        if speed or equaliser:
            made = _resynthesise(made, samples, gains)
        chosen = codec[rng.integers(len(codec))] if codec else UNCODED
        return made if chosen == UNCODED else codecs.round_trip(made, chosen)

    return augment


def device_augmenter(
    *, rawboost: int = 0, noise_snr: Sequence[float] = (), gain: float = 0.0
) -> DeviceAugment | None:
    """Returns ``(key, waveform) -> waveform`` on (…, samples), or None: nothing to do.

    A pure function for use inside jit: RawBoost, then noise, then gain. ``key`` is one
    key, or one for each clip (shape …): then the result does not depend on how clips
    are dealt to devices.

    Args:
      rawboost: an algorithm, 1 … 8, with the reference's ranges; 0 is none.
      noise_snr: the least and largest signal-to-noise ratio in dB of white Gaussian
        noise; empty is none.
      gain: in dB, ≥ 0; the level changes by a gain uniform in ± this, less where the
        peak would pass 1.

    Raises:
      UserError: an impossible value.
    """
    algorithms = (0, *rb.ALGORITHMS)
    _check("rawboost", rawboost, rawboost in algorithms, "0 (none) or 1 … 8")
    ordered = len(noise_snr) == 2 and noise_snr[0] <= noise_snr[1]
    limit = "empty or two numbers in dB, the smaller first"
    _check("noise_snr", noise_snr, not noise_snr or ordered, limit)
    _check("gain", gain, gain >= 0, "at least 0 dB")
    if not (rawboost or noise_snr or gain):
        return None

    def one(key, waveform):
        boost_key, noise_key, gain_key = jax.random.split(key, 3)
        if rawboost:
            waveform = rb.boost(boost_key, waveform, algorithm=rawboost)
        if noise_snr:
            waveform = rb.add_noise(
                waveform, *draw_noise(noise_key, waveform, noise_snr)
            )
        if gain:
            decibels = jax.random.uniform(
                gain_key, (), waveform.dtype, minval=-gain, maxval=gain
            )
            waveform = apply_gain(waveform, decibels)
        return waveform

    return lambda key, waveform: rb.each(one, key, waveform)


def draw_noise(
    key: jax.Array, waveform: jax.Array, snr: Sequence[float]
) -> tuple[jax.Array, jax.Array]:
    """Draws white noise of the waveform's shape (samples,) and an SNR () in dB."""
    noise_key, snr_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, waveform.shape, waveform.dtype)
    return noise, jax.random.uniform(snr_key, (), waveform.dtype, *snr)


def apply_gain(waveform: jax.Array, decibels: jax.Array) -> jax.Array:
    """Changes the level of a waveform (samples,), its peak kept within 1."""
    return rb.limit_peak(waveform * 10 ** (jnp.asarray(decibels) / 20))


def _check(name: str, value: Any, good: bool, limit: str) -> None:
    if not good:
        raise UserError(f"augment.{name} is {value!r}; it must be {limit}")


def _resynthesise(waveform: np.ndarray, samples: int, gains: np.ndarray) -> np.ndarray:
    """Equalises and stretches (n,) to (samples,), exactly band-limited, float32."""
    spectrum = scipy.fft.rfft(waveform)
    kept = np.zeros(samples // 2 + 1, spectrum.dtype)
    count = min(len(kept), len(spectrum))
    points = np.linspace(0, len(spectrum) - 1, len(gains))
    decibels = np.interp(np.arange(count), points, gains).astype(np.float32)
    kept[:count] = spectrum[:count] * np.exp(decibels * _PER_DECIBEL)
    stretched = scipy.fft.irfft(kept, samples)
    stretched *= np.float32(samples / len(waveform))
    return np.clip(stretched, -1.0, 1.0)
