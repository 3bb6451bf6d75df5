"""What a recording must be to be used: shape, rate, length and levels."""

import math
import numbers

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.mixdown import Levels

SLOWEST, FASTEST = 1_000, 1_000_000  # Hz, of a source
SHORTEST = 0.2  # seconds
LOUDEST = 8.0  # decoders overshoot 1 a little; 16-bit values as floats lie far above
CHANNELS = 64
STEP = 2 / 32_768  # smallest difference of the lowest and the highest sample
OVER = 0.001  # fraction of samples beyond full scale; codecs overshoot less often
CANCELLED = 20  # dB; 64 channels that have nothing in common lose 18 in their mean
REASONS = (
    *("unreadable", "empty", "truncated", "too-short", "too-long"),
    *("not-finite", "out-of-range", "constant", "clipped"),
)


class Unusable(UserError):
    """The recording cannot be used; ``reason`` is one of ``REASONS``."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def as_floats(waveform: np.ndarray, name: str) -> np.ndarray:
    """Converts an array of any kind to floating point.

    Args:
      waveform: see ``audio.prepare``.
      name: name of the waveform in error messages.

    Returns:
      (samples, channels) float32.

    Raises:
      Unusable: the shape or the dtype is none that a recording has, or int32 samples
        are so small that they must be 16-bit values.
    """
    if np.ma.is_masked(waveform):
        raise Unusable(
            "unreadable",
            f"{name}: a masked array, and masked samples have no value; fill them, "
            "e.g. waveform.filled(0), or cut them out",
        )
    # (of this machine's byte order: >i2 is int16)
    waveform = np.asarray(waveform, waveform.dtype.newbyteorder("="))
    kind, shape = waveform.dtype, waveform.shape
    few = min(shape) if len(shape) == 2 else 1
    if len(shape) not in (1, 2) or few > CHANNELS or shape in ((2, 2), (few, few)):
        raise Unusable(
            "unreadable",
            f"{name}: an array of shape {shape}; it must be (samples,), (channels, "
            f"samples) or (samples, channels) with at most {CHANNELS} channels",
        )
    if kind == np.uint8:
        waveform = (waveform.astype(np.float32) - 128) / 128
    elif kind in (np.int8, np.int16, np.int32):
        peak = int(np.abs(waveform.astype(np.int64)).max(initial=0))
        if kind == np.int32 and 0 < peak < 2**15:
            raise Unusable(
                "out-of-range",
                f"{name}: int32 samples that reach {peak} of 2,147,483,647; if they "
                "are 16-bit values, convert them to int16",
            )
        waveform = waveform / -float(np.iinfo(kind).min)
    elif kind.kind != "f":
        raise Unusable(
            "unreadable",
            f"{name}: an array of {kind}; samples must be int16, int32, uint8 or "
            "floats within [-1, 1]",
        )
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim == 1:
        return waveform[:, None]
    return waveform if waveform.shape[1] == few else waveform.T


def check_rate(rate: float, name: str) -> None:
    """Checks a sampling rate.

    Args:
      rate: in Hz.
      name: name of the recording in the error message.

    Raises:
      Unusable: no recording has such a rate.
    """
    if not isinstance(rate, numbers.Real):
        raise Unusable(
            "out-of-range",
            f"{name}: a sampling rate of type {type(rate).__name__}; it must be a "
            "number in Hz, the second argument after the waveform",
        )
    if not SLOWEST <= rate <= FASTEST:
        raise Unusable(
            "out-of-range",
            f"{name}: a sampling rate of {rate} Hz; it must be {SLOWEST:,} to "
            f"{FASTEST:,} Hz",
        )


def check_levels(levels: Levels, rate: float, name: str) -> None:
    """Checks that a recording has something to score.

    Args:
      levels: of all its samples.
      rate: sampling rate in Hz.
      name: name of the recording in the error message.

    Raises:
      Unusable: it is empty, not finite, out of range, constant or shorter than 0.2 s.
    """
    seconds = levels.frames / rate
    if seconds < SHORTEST:
        raise Unusable(
            "too-short" if levels.frames else "empty",
            f"{name}: {math.floor(1000 * seconds) / 1000:.3f} s long; a score needs "
            f"at least {SHORTEST} s of speech and is more reliable from 1.3 s",
        )
    if not levels.finite:
        raise Unusable(
            "not-finite", f"{name}: has NaN or infinite samples; re-export the file"
        )
    if levels.peak > LOUDEST:
        raise Unusable(
            "out-of-range",
            f"{name}: samples reach {levels.peak:,.1f}; floating-point samples must be "
            "within [-1, 1]: divide 16-bit values by 32,768",
        )
    if levels.peak == 0:
        raise Unusable(
            "constant", f"{name}: every sample is zero; there is nothing to score"
        )
    if levels.high - levels.low < STEP:
        raise Unusable("constant", f"{name}: {_flatness(levels)}")


def doubts(levels: Levels, name: str) -> list[str]:
    """Describes what makes the score of a recording doubtful.

    Args:
      levels: of all its samples.
      name: name of the recording in the messages.

    Returns:
      A message if more than 0.1 % of its samples are beyond full scale, and one if the
      mix to mono is 20 dB or more below the channels.
    """
    messages = []
    over = levels.over / max(1, levels.frames)
    if over > OVER:
        messages.append(
            f"{name}: {over:.1%} of the samples are beyond full scale (the peak is "
            f"{levels.peak:.2f}) and were clipped to 1, at most {OVER:.1%} is usual: "
            "export it at a lower level"
        )
    if levels.power > 0:
        power = levels.power / levels.values * levels.frames  # of an average channel
        ratio = levels.mix_power / power
        below = -10 * math.log10(max(ratio, 1e-20))
        if below >= CANCELLED:
            messages.append(
                f"{name}: the mix to mono is {below:.0f} dB below the channels, "
                f"{CANCELLED} dB or more: they cancel each other and the score is that "
                "of the rest; give it one of the channels"
            )
    return messages


def _flatness(levels: Levels) -> str:
    """Describes a recording that has no signal of two 16-bit steps."""
    nothing = "there is nothing to score"
    if levels.peak >= STEP and abs(levels.low) < STEP / 2:
        return f"the channels cancel each other when they are mixed to mono; {nothing}"
    if levels.low == levels.high:
        return f"every sample is {levels.low:.3g}, a constant offset; {nothing}"
    if levels.peak < STEP:
        return (
            f"too quiet: samples reach only {levels.peak:.2g} of full scale 1, less "
            f"than two 16-bit steps ({STEP:.2g}); export it at a higher level"
        )
    return (
        f"samples differ by only {levels.high - levels.low:.2g} around an offset of "
        f"{levels.low:.3g}; {nothing}"
    )
