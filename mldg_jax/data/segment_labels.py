"""Segment labels: which parts of an utterance are spoofed.

In a table they are text: ``0.52-1.1 2-2.46`` lists the spoofed parts in seconds, "all"
stands for the whole utterance and "-" for none of it; nothing means that they are not
known. Everything that learns or counts uses frames of 20 ms, and a frame has the label
of its middle.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mldg_jax.data.mixdown import SAMPLE_RATE

FRAME = 0.02
"""Length of a frame in seconds."""
FRAME_SAMPLES = 320
ALL, NONE, UNKNOWN = "all", "-", ""
NOT_LABELLED = -1
_PART = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")

Interval = tuple[float, float]


def frame_count(samples: int) -> int:
    """Returns the number of frames of an utterance, the last of which may be short.

    Args:
      samples: its length at 16 kHz.
    """
    return -(-samples // FRAME_SAMPLES)


def parse(text: str) -> tuple[Interval, ...] | None:
    """Reads the segment labels of an utterance.

    Args:
      text: a cell, see above; parts are separated by spaces, commas or semicolons.

    Returns:
      The spoofed parts as (start, end) in seconds, rising and disjoint; ``inf`` ends
      "all"; None if they are not known.

    Raises:
      ValueError: the text is something else; the message says what.
    """
    text = text.strip()
    if text.lower() in (ALL, NONE, UNKNOWN):
        return {ALL: ((0.0, np.inf),), NONE: (), UNKNOWN: None}[text.lower()]
    parts = []
    for word in re.split(r"[\s,;]+", text):
        matched = _PART.fullmatch(word)
        start, end = map(float, matched.groups()) if matched else (0.0, 0.0)
        if not start < end:
            raise ValueError(
                f"{word!r} is not START-END in seconds with START below END, as in "
                "0.52-1.10"
            )
        parts.append((start, end))
    return merged(parts)


def merged(parts: Sequence[Interval]) -> tuple[Interval, ...]:
    """Sorts intervals and joins those that overlap or touch.

    Args:
      parts: (start, end) in seconds.

    Returns:
      Rising, disjoint intervals that cover the same time.
    """
    result: list[Interval] = []
    for start, end in sorted(parts):
        if result and start <= result[-1][1]:
            start, end = result[-1][0], max(end, result.pop()[1])
        result.append((start, end))
    return tuple(result)


def to_text(spoof: Sequence[Interval] | None) -> str:
    """Writes segment labels as ``parse`` reads them.

    Args:
      spoof: the spoofed parts; None if they are not known.

    Returns:
      The text, with times to a microsecond.
    """
    if spoof is None:
        return UNKNOWN
    if any(np.isinf(end) for _, end in spoof):
        return ALL
    times = ("-".join(f"{x:.6f}".rstrip("0").rstrip(".") for x in p) for p in spoof)
    return " ".join(times) or NONE


def of_frames(is_bonafide: ArrayLike) -> tuple[Interval, ...]:
    """Joins labelled frames of 20 ms into intervals.

    Args:
      is_bonafide: (frames,).

    Returns:
      The spoofed parts in seconds.
    """
    edges = np.flatnonzero(np.diff(np.r_[1, np.asarray(is_bonafide, int), 1]))
    return tuple((FRAME * a, FRAME * b) for a, b in edges.reshape(-1, 2).tolist())


def frame_labels(spoof: Sequence[Interval] | None, frames: int) -> np.ndarray:
    """Labels the frames of an utterance.

    Args:
      spoof: the spoofed parts in seconds; None if they are not known.
      frames: number of frames.

    Returns:
      (frames,) int8: 1 bona fide, 0 spoof, -1 not known.
    """
    return labels_at(spoof, (np.arange(frames) + 0.5) * FRAME)


def labels_at(spoof: Sequence[Interval] | None, times: np.ndarray) -> np.ndarray:
    """Labels moments.

    Args:
      spoof: as for ``frame_labels``.
      times: (n,) in seconds.

    Returns:
      (n,) int8: 1 bona fide, 0 spoof, -1 not known.
    """
    if spoof is None:
        return np.full(len(times), NOT_LABELLED, np.int8)
    label = np.ones(len(times), np.int8)
    for start, end in spoof:
        label[(start <= times) & (times < end)] = 0
    return label


def spoof_seconds(spoof: Sequence[Interval], frames: int) -> np.ndarray:
    """Measures what of each frame is spoofed.

    Args:
      spoof: the spoofed parts in seconds, disjoint.
      frames: number of frames.

    Returns:
      (frames,) float64, seconds in [0, 0.02].
    """
    starts = FRAME * np.arange(frames)
    covered = np.zeros(frames)
    for start, end in spoof:
        covered += np.clip(np.minimum(end, starts + FRAME) - np.maximum(start, starts),
                           0, None)  # fmt: skip
    return covered


def crop_labels(
    spoof: Sequence[Interval] | None, length: int, samples: int, start: float, span: int
) -> np.ndarray:
    """Labels the frames of a crop, in step with ``episodes.crop``.

    Args:
      spoof: the spoofed parts of the utterance, in seconds.
      length: of the utterance in samples.
      samples: of the crop.
      start: of the crop, as a fraction of the possible starts.
      span: samples of the utterance that the crop is made of; differs from ``samples``
        if augmentation changed the speed.

    Returns:
      (⌈samples / 320⌉,) int8: 1 bona fide, 0 spoof, -1 not known. A crop that repeats
      a short utterance repeats its labels.
    """
    first = int(start * (max(length, span) - span + 1))
    middles = (np.arange(frame_count(samples)) + 0.5) * FRAME_SAMPLES
    places = (first + middles * (span / samples)) % length
    return labels_at(spoof, places / SAMPLE_RATE)
