"""Error rates of partial spoofs: where in an utterance the spoof is.

A system scores every frame of 20 ms, higher for bona fide. The EER of segments counts
segments of one length (Zhang et al. 2023, The PartialSpoof database and countermeasures
…, IEEE/ACM TASLP 31): a segment is spoof if any frame in it is, and its score is that
of its most suspicious frame. The range-based EER (Zhang et al. 2023, Range-based equal
error rate for spoof localization, Interspeech) measures durations instead, and so needs
no length of a segment: miss is the fraction of bona fide time that is called spoof,
false alarm the fraction of spoofed time that is called bona fide, with the boundaries
where the keys put them and not rounded to frames.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from mldg_jax import metrics
from mldg_jax.common.trial_arrays import require
from mldg_jax.data.segment_labels import FRAME, Interval, frame_labels, spoof_seconds

RESOLUTIONS = (1, 2, 4, 8, 16, 32)
"""Lengths of segments in frames: 20 … 640 ms."""
DUST = 1e-9  # seconds: what rounding leaves of a frame that is all spoof


class LabelledFrames:
    """One utterance with the scores of its frames and its spoofed parts.

    Attributes:
      score: (frames,) float64, higher for bona fide.
      spoof: the spoofed parts in seconds, rising and disjoint.
      label: (frames,) int8, 1 bona fide, 0 spoof.
      bonafide_seconds, spoof_seconds: (frames,) float64, what of each frame is of
        which class.
    """

    def __init__(
        self, score: ArrayLike, spoof: Sequence[Interval], seconds: float | None = None
    ):
        """Labels the frames.

        Args:
          score: (frames,) finite, frames ≥ 1.
          spoof: the spoofed parts in seconds.
          seconds: duration of the utterance, which may end inside the last frame; None
            for whole frames.

        Raises:
          ValueError: no frame, or a score that is not finite.
        """
        self.score = np.asarray(score, np.float64)
        valid = self.score.ndim == 1 and bool(self.score.size)
        require(
            valid and bool(np.isfinite(self.score).all()), "scores must be finite, (n,)"
        )
        frames = self.score.size
        last = FRAME * frames if seconds is None else min(seconds, FRAME * frames)
        clipped = [(start, min(end, last)) for start, end in spoof if start < last]
        self.spoof = tuple(clipped)
        self.label = frame_labels(self.spoof, frames)
        self.spoof_seconds = spoof_seconds(self.spoof, frames)
        whole = spoof_seconds([(0.0, last)], frames)
        bonafide = whole - self.spoof_seconds
        self.bonafide_seconds = np.where(bonafide > DUST, bonafide, 0.0)


@dataclasses.dataclass(frozen=True)
class SegmentRates:
    """The error rates of a set of utterances, as fractions.

    A rate is None if there is nothing of one of its classes.

    Attributes:
      by_resolution: EER of segments by their length in milliseconds.
      range_based: the EER of durations.
      utterance: EER of utterances, each with the score that it is given.
      n_utterances, n_spoofed: utterances, and those with spoof in them.
      seconds, spoof_seconds: duration of all of them, and of the spoof.
      threshold: of the two rates that follow; a frame with a score below it is spoof.
      miss: fraction of the bona fide time that is called spoof.
      false_alarm: fraction of the spoofed time that is called bona fide.
    """

    by_resolution: dict[int, float | None]
    range_based: float | None
    utterance: float | None
    n_utterances: int
    n_spoofed: int
    seconds: float
    spoof_seconds: float
    threshold: float
    miss: float | None
    false_alarm: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return dataclasses.asdict(self)


def coarsen(values: Array, factor: int) -> Array:
    """Takes the minimum over each run of frames: of labels, or of scores.

    Args:
      values: (frames,), frames ≥ 1.
      factor: frames of a segment, ≥ 1; the last segment may have fewer.

    Returns:
      (⌈frames / factor⌉,) of the same dtype.
    """
    return np.minimum.reduceat(values, np.arange(0, len(values), factor))


def segment_eer(utterances: Sequence[LabelledFrames], factor: int) -> float | None:
    """Computes the EER of all segments of one length.

    Args:
      utterances: segments do not cross their borders.
      factor: frames of a segment, ≥ 1.

    Returns:
      The rate, a fraction; None if all segments are of one class.
    """
    score = np.concatenate([coarsen(x.score, factor) for x in utterances])
    label = np.concatenate([coarsen(x.label, factor) for x in utterances])
    return _eer(score, label == 1)


def range_based_eer(utterances: Sequence[LabelledFrames]) -> float | None:
    """Computes the range-based EER: of durations, at any boundaries.

    A frame counts in both classes if a boundary is inside it. The rate is the mean of
    miss and false alarm at the threshold where they differ least.

    Args:
      utterances: with their scores and boundaries.

    Returns:
      The rate, a fraction; None if all of the time is of one class.
    """
    score, bonafide, spoof = (
        np.concatenate([getattr(x, name) for x in utterances])
        for name in ("score", "bonafide_seconds", "spoof_seconds")
    )
    if not bonafide.sum() or not spoof.sum():
        return None
    order = np.argsort(score, kind="stable")
    score, bonafide, spoof = score[order], bonafide[order], spoof[order]
    # A threshold rejects all frames with a score below it, equal ones together.
    ends = np.r_[score[1:] != score[:-1], True]
    miss = np.r_[0.0, np.cumsum(bonafide)[ends] / bonafide.sum()]
    false_alarm = np.r_[1.0, 1.0 - np.cumsum(spoof)[ends] / spoof.sum()]
    best = np.argmin(np.abs(miss - false_alarm))
    return float((miss[best] + false_alarm[best]) / 2)


def measure(
    utterances: Sequence[LabelledFrames],
    scores: Array | None = None,
    threshold: float = 0.0,
) -> SegmentRates:
    """Computes every rate of a set of utterances.

    Args:
      utterances: at least one.
      scores: (utterances,) score of each; None for that of its most suspicious frame.
      threshold: for the rates of decisions.

    Returns:
      The rates.
    """
    if scores is None:
        scores = np.array([x.score.min() for x in utterances])
    is_spoofed = np.array([bool(x.spoof) for x in utterances])
    spoof = float(sum(x.spoof_seconds.sum() for x in utterances))
    bonafide = float(sum(x.bonafide_seconds.sum() for x in utterances))
    rejected = sum(x.bonafide_seconds[x.score < threshold].sum() for x in utterances)
    accepted = sum(x.spoof_seconds[x.score >= threshold].sum() for x in utterances)
    return SegmentRates(
        {round(1000 * FRAME * k): segment_eer(utterances, k) for k in RESOLUTIONS},
        range_based_eer(utterances),
        _eer(np.asarray(scores, np.float64), ~is_spoofed),
        len(utterances),
        int(is_spoofed.sum()),
        spoof + bonafide,
        spoof,
        threshold,
        float(rejected / bonafide) if bonafide else None,
        float(accepted / spoof) if spoof else None,
    )


def _eer(score: Array, is_bonafide: Array) -> float | None:
    """Returns the EER as in ``metrics.eer``; None if a class is empty."""
    if is_bonafide.all() or not is_bonafide.any():
        return None
    return metrics.eer(score[is_bonafide], score[~is_bonafide])[0]
