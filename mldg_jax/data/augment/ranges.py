"""The ranges of RawBoost's random draws."""

import itertools
from dataclasses import dataclass

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Ranges:
    """Ranges of the uniform draws, with the reference's names and defaults.

    Hashable, so that it can be a static argument of jit.

    Attributes:
      bands: number of notches in a filter (nBands).
      frequency: centre frequency of a notch in Hz, within 0 … 8000 (minF, maxF).
      bandwidth: width of a notch in Hz, positive (minBW, maxBW).
      taps: length of a notch's filter, at least 2, upper end excluded; an even draw is
        rounded up to the next odd number (minCoeff, maxCoeff).
      gain: gain of a filter in dB (minG, maxG).
      orders: number of powers of the waveform in LnL (N_f).
      bias: attenuation in dB of x² and higher powers relative to x: their gain is
        uniform between gain[0] − bias[0] and gain[1] − bias[1] (minBias…, maxBias…).
      share: largest percentage of samples that ISD changes, 0 … 50 (P).
      depth: largest relative change of a sample by ISD (g_sd).
      snr: signal-to-noise ratio of SSI in dB (SNRmin, SNRmax).
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
            ("share", _ordered(0, self.share, 50), "within 0 … 50 percent"),
        ):
            if not good:
                raise UserError(
                    f"RawBoost: {name} is {getattr(self, name)}; it must be {limit}, "
                    "with the smaller value first if it has two"
                )

    @property
    def longest(self) -> int:
        """Number of taps of the longest notch, odd."""
        return max(self.taps[0], self.taps[1] - 1) | 1


def _ordered(*values: float) -> bool:
    return all(a <= b for a, b in itertools.pairwise(values))


REFERENCE = Ranges()
