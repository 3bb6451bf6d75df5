"""Blocks of samples, of any rate and channels → one waveform, mono, 16 kHz.

Memory is that of a block and of the waveform; a long one waits in a temporary file.
"""

import math
import os
import tempfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import soxr

from mldg_jax.common.errors import UserError

SAMPLE_RATE = 16_000
IN_MEMORY = 600  # seconds
FULL_SCALE = 32_767 / 32_768


class LongWaveform:
    """A waveform in a temporary file: it has a length, and slices are read from it."""

    def __init__(self, file: BinaryIO, length: int):
        self._file, self._length = file, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> np.ndarray:
        """Returns (samples,) float32 of a slice without a step."""
        first, last, _ = part.indices(self._length)
        data = os.pread(self._file.fileno(), 4 * max(0, last - first), 4 * first)
        return np.frombuffer(data, np.float32)


Waveform = np.ndarray | LongWaveform


class Levels:
    """What the samples of a recording come to, block by block.

    Attributes:
      frames, values: samples of each channel, and of all together.
      finite: none is NaN or infinite.
      peak: the largest magnitude, of all channels.
      low, high: of the mix to mono.
      clipped: how many values are at full scale.
      over: how many samples of the mix are beyond it, and so are clipped.
      power, mix_power: sums of squares, of all values and of the mix.
    """

    def __init__(self) -> None:
        self.frames = self.values = self.clipped = self.over = 0
        self.power = self.mix_power = 0.0
        self.finite, self.peak = True, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, block: np.ndarray, mono: np.ndarray) -> None:
        """Counts a block.

        Args:
          block: (frames, channels) float32.
          mono: (frames,) float32, its mix.
        """
        if not block.size:
            return
        magnitude = np.abs(block)
        peak = float(magnitude.max())
        self.frames += len(block)
        self.values += block.size
        self.finite &= math.isfinite(peak)
        self.peak = max(self.peak, peak)
        self.low = min(self.low, float(mono.min()))
        self.high = max(self.high, float(mono.max()))
        self.clipped += int(np.count_nonzero(magnitude >= FULL_SCALE))
        self.over += int(np.count_nonzero(np.abs(mono) > 1))
        if block.shape[1] > 1:
            self.mix_power += float(np.square(mono, dtype=np.float64).sum())
            self.power += float(np.square(block, dtype=np.float64).sum())


def mix(
    blocks: Iterable[np.ndarray],
    rate: float,
    levels: Levels,
    *,
    in_memory: float = IN_MEMORY,
) -> Waveform:
    """Mixes to mono and resamples (soxr, HQ) to 16 kHz.

    Args:
      blocks: (frames, channels) float32 each.
      rate: theirs, in Hz.
      levels: counts them.
      in_memory: seconds; what is longer is put into a temporary file.

    Returns:
      (samples,) float32, clipped to [-1, 1].

    Raises:
      UserError: the temporary file cannot be written.
    """
    resampler = None
    if rate != SAMPLE_RATE:
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    sink = _Sink(in_memory * SAMPLE_RATE)
    for block in blocks:
        # (channels first: the order in which a whole array would be summed)
        mono = block.T.mean(axis=0) if block.shape[1] > 1 else block[:, 0]
        levels.add(block, mono)
        sink.add(resampler.resample_chunk(mono) if resampler else mono)
    if resampler:
        sink.add(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return sink.waveform(math.ceil(levels.frames * (SAMPLE_RATE / rate)))


class _Sink:
    """Collects a waveform, in memory at first."""

    def __init__(self, most: float):
        self._most, self._length = most, 0
        self._parts: list[np.ndarray] = []
        self._file: BinaryIO | None = None

    def add(self, part: np.ndarray) -> None:
        self._length += len(part)
        self._parts.append(np.clip(part, -1.0, 1.0))
        if self._length > self._most:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (the waveform's)
            for part in self._parts:
                self._file.write(part.tobytes())
        except OSError as error:
            raise UserError(
                f"a recording of more than {self._length / SAMPLE_RATE:.0f} s does not "
                f"fit into {tempfile.gettempdir()} ({error.strerror}): it takes 230 MB "
                "an hour there; name another folder in TMPDIR"
            ) from None
        self._parts = []

    def waveform(self, length: int) -> Waveform:
        """What was collected, cut or filled with zeros to a length."""
        if self._length < length:
            self.add(np.zeros(length - self._length, np.float32))
        if self._file is None:
            return np.concatenate([*self._parts, np.zeros(0, np.float32)])[:length]
        self._spill()
        self._file.flush()
        return LongWaveform(self._file, length)
