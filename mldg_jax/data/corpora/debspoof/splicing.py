"""Replaces parts of an utterance by parts of another one.

Joins are at local minima of the energy, mostly between words or syllables; they are
cross-faded, and an inserted part gets the level of the part that it replaces. The
procedure is the same whether the donor is spoof or bona fide, so that a join by itself
says nothing about the class.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.signal

from mldg_jax.data.corpora.debspoof.neutralise import RATE, frame_energy
from mldg_jax.data.segment_labels import Interval

FADE = 128  # samples of a cross-fade: 8 ms
SHORTEST, LONGEST = 0.2, 0.8  # seconds of a part that is replaced
GAP = int(0.15 * RATE)  # bona fide speech before, between and after the parts
LOUD_ENOUGH = -10.0  # dB: level of a part relative to its utterance
MOST_GAIN = 4.0  # 12 dB
_HOP, _SMOOTH = 160, 3  # frames of 20 ms every 10 ms; standard deviation in frames


class Spliced(NamedTuple):
    """An utterance with parts of another one.

    Attributes:
      samples: (samples,) int16 at 16 kHz.
      parts: where the inserted parts are, in seconds, from the middle of one cross-fade
        to that of the other.
    """

    samples: np.ndarray
    parts: tuple[Interval, ...]

    @property
    def joins(self) -> list[int]:
        """Positions of the joins in samples."""
        return [round(x * RATE) for part in self.parts for x in part]


def splice(
    host: np.ndarray, donor: np.ndarray, count: int, rng: np.random.Generator
) -> Spliced | None:
    """Replaces parts of an utterance by parts of another one.

    Args:
      host, donor: (n,) and (m,) int16 at 16 kHz, of one speaker.
      count: number of parts to replace; fewer if the host has no room for them.
      rng: chooses the parts.

    Returns:
      The result; None if no part of the donor fits any part of the host.
    """
    target, source = host / 32768.0, donor / 32768.0
    offered = _parts(source, rng)
    chosen: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for start, end in _parts(target, rng):
        if len(chosen) == count:
            break
        if any(start < b + GAP and a < end + GAP for (a, b), _ in chosen):
            continue
        used = {part for _, part in chosen}
        fits = [x for x in offered if x not in used and _alike(x, (start, end))]
        if fits:
            chosen.append(((start, end), fits[0]))
    if not chosen:
        return None
    return _assembled(target, source, sorted(chosen))


def _alike(x: tuple[int, int], y: tuple[int, int]) -> bool:
    """Returns whether the lengths of two parts differ by at most a quarter."""
    return abs((x[1] - x[0]) / (y[1] - y[0]) - 1) <= 0.25


def _parts(waveform: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Lists the parts between two minima of the energy that are loud, shuffled."""
    if len(waveform) < 2 * GAP + SHORTEST * RATE:
        return []
    decibels = 10 * np.log10(frame_energy(waveform) + 1e-9)
    smooth = scipy.ndimage.gaussian_filter1d(decibels, _SMOOTH)
    minima = scipy.signal.argrelmin(smooth)[0] * _HOP + _HOP  # middles of the frames
    minima = minima[(minima >= GAP) & (minima <= len(waveform) - GAP)]
    level = np.mean(waveform**2)
    parts = [
        (int(a), int(b))
        for a in minima
        for b in minima
        if SHORTEST * RATE <= b - a <= LONGEST * RATE
        and np.mean(waveform[a:b] ** 2) >= level * 10 ** (LOUD_ENOUGH / 10)
    ]
    return [parts[i] for i in rng.permutation(len(parts))]


def _assembled(target: np.ndarray, source: np.ndarray, chosen: list) -> Spliced:
    """Joins the pieces of both utterances in order."""
    half, pieces, parts = FADE // 2, [], []
    done, length = 0, 0  # samples of the target and of the result, to the last join
    for (start, end), (first, last) in chosen:
        replaced, inserted = target[start:end], source[first:last]
        ratio = np.sqrt(np.mean(replaced**2) / (np.mean(inserted**2) + 1e-12))
        gain = np.clip(ratio, 1 / MOST_GAIN, MOST_GAIN)
        pieces.append(target[max(0, done - half) : start + half])
        pieces.append(gain * source[first - half : last + half])
        begin = length + start - done
        length = begin + last - first
        parts.append((begin / RATE, length / RATE))
        done = end
    pieces.append(target[done - half :])
    result = pieces[0]
    for piece in pieces[1:]:
        result = crossfade(result, piece)
    clipped = np.clip(np.round(result * 32768.0), -32768, 32767)  # a host as it was
    return Spliced(clipped.astype(np.int16), tuple(parts))


def crossfade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Joins two signals so that the power of unrelated ones stays level.

    Args:
      before, after: (n,) and (m,), both at least ``FADE`` long; the end of the one and
        the start of the other overlap.

    Returns:
      (n + m − FADE,).
    """
    angle = (np.arange(FADE) + 0.5) / FADE * np.pi / 2
    mixed = np.cos(angle) * before[-FADE:] + np.sin(angle) * after[:FADE]
    return np.concatenate([before[:-FADE], mixed, after[FADE:]])
