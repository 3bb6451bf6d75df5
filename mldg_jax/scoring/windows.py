"""The windows that a recording is scored in."""

from collections.abc import Iterator
from numbers import Real
from typing import NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.episodes import crop
from mldg_jax.data.mixdown import Waveform
from mldg_jax.data.segment_labels import FRAME_SAMPLES, frame_count

MOST_OVERLAP = 0.99  # a hundred windows where there was one


class Windows(NamedTuple):
    """The segment scores of a recording.

    Attributes:
      start: (windows,) float64, seconds.
      end: (windows,) float64, seconds, at most the recording's length.
      score: (windows,) float64, higher for bona fide.
      recording_score: mean over the windows at overlap 0, whatever that of these.
      frames: (frames,) float64, the score of every 20 ms of the recording; None unless
        the detector's head scores frames.
    """

    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    recording_score: float
    frames: np.ndarray | None = None


def starts(length: int, samples: int, overlap: float = 0.0) -> np.ndarray:
    """Returns the starts of the fewest, evenly spread windows that cover a recording.

    Args:
      length: of the recording in samples, ≥ 1.
      samples: of a window.
      overlap: smallest fraction of a window that neighbours share, in [0, 0.99].

    Returns:
      (windows,) int64, from 0 to length − samples; [0] for a recording shorter than a
      window.

    Raises:
      UserError: an overlap outside [0, 0.99].
    """
    if not (isinstance(overlap, Real) and 0 <= overlap <= MOST_OVERLAP):
        raise UserError(
            f"overlap is {overlap!r} windows; it must be 0 … {MOST_OVERLAP}"
        )
    spare = max(0, length - samples)
    count = 1 + int(np.ceil(spare / max(1, samples * (1 - overlap))))
    # At 1.0 the rounding below would give one past the last start.
    spread = np.minimum(np.arange(count) / max(1, count - 1), 1 - 1e-9)
    return (spread * (spare + 1)).astype(np.int64)


def all_starts(length: int, samples: int, overlap: float) -> np.ndarray:
    """Returns the starts of the segments and of what makes the recording's score.

    Args:
      length, samples, overlap: as for ``starts``.

    Returns:
      (windows,) int64, ascending: ``starts`` at this overlap and at 0.

    Raises:
      UserError: an overlap outside [0, 0.99].
    """
    return np.union1d(starts(length, samples), starts(length, samples, overlap))


def assembled(length: int, samples: int, overlap: float, scores: np.ndarray) -> Windows:
    """Returns the segment scores of a recording.

    Args:
      length, samples, overlap: as for ``starts``.
      scores: (windows, 1) float64, of the windows that begin at ``all_starts``; or
        (windows, 1 + frames) with the scores of their frames of 20 ms.

    Returns:
      The segments at this overlap, and the recording's score.
    """
    scores, frames = scores[:, 0], scores[:, 1:]
    scored = all_starts(length, samples, overlap)
    segments, whole = starts(length, samples, overlap), starts(length, samples)
    return Windows(
        segments / SAMPLE_RATE,
        np.minimum(segments + samples, length) / SAMPLE_RATE,
        scores[np.searchsorted(scored, segments)],
        float(scores[np.searchsorted(scored, whole)].mean()),
        joined_frames(scored, frames, samples, length) if frames.size else None,
    )


def joined_frames(
    first: np.ndarray, values: np.ndarray, samples: int, length: int
) -> np.ndarray:
    """Averages the frames of overlapping windows on the grid of the recording.

    Args:
      first: (windows,) starts of windows that cover the recording.
      values: (windows, frames) scores of their frames of 20 ms.
      samples: of a window.
      length: of the recording in samples.

    Returns:
      (⌈length / 320⌉,) mean over the windows that a frame's middle is in.
    """
    count = frame_count(length)
    middles = np.minimum(
        np.arange(count) * FRAME_SAMPLES + FRAME_SAMPLES // 2, length - 1
    )
    total, windows = np.zeros(count), np.zeros(count)
    for begin, frames in zip(first, values, strict=True):
        inside = np.flatnonzero((begin <= middles) & (middles < begin + samples))
        total[inside] += frames[(middles[inside] - begin) // FRAME_SAMPLES]
        windows[inside] += 1
    return total / windows


def windows_of(
    waveform: Waveform, samples: int, overlap: float = 0.0
) -> Iterator[np.ndarray]:
    """Cuts a recording into windows.

    Args:
      waveform: (samples of the recording,) float32; one that is shorter than a window
        is repeated.
      samples: of a window.
      overlap: see ``starts``.

    Yields:
      (samples,) float32, in order.

    Raises:
      UserError: an overlap outside [0, 0.99].
    """
    yield from cut(waveform, samples, starts(len(waveform), samples, overlap))


def cut(waveform: Waveform, samples: int, first: np.ndarray) -> Iterator[np.ndarray]:
    """Cuts the windows that begin at given samples.

    Args:
      waveform, samples: as for ``windows_of``.
      first: (windows,) int64, see ``starts``.

    Yields:
      (samples,) float32, in order.
    """
    for begin in first:
        yield crop(waveform[begin : begin + samples], samples, 0.0)
