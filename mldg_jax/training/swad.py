"""SWAD: chooses the part of a run that is averaged, by its validation losses.

Cha et al. 2021, "SWAD: domain generalization by seeking flat minima", arXiv 2102.08604.
Training is divided into segments: segment k is the steps after evaluation k − 1 up to
evaluation k. A loop keeps one running mean (``averaging.update`` with ``start`` at the
segment's first step), writes it to disk at each evaluation and starts anew. Afterwards
``averaging.weighted_average`` reads the chosen segments one at a time, so SWAD takes
the memory of two copies of the parameters, whatever its settings.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Rule = Literal["paper", "reference"]


class Valley(NamedTuple):
    """Segments that SWAD averages.

    Attributes:
      segments: indices into the evaluations, in the order in which they are added; the
        reference adds some of them more than once.
      converged: whether the valley's start was found.
      minimum: the segment at which the valley starts; None if it was not found.
      threshold: validation loss above which the valley ends; None likewise.
      dead_valley: whether the valley ended, at which point training may stop.
      evaluations: number of evaluations up to that end, or of all.
    """

    segments: tuple[int, ...]
    converged: bool
    minimum: int | None
    threshold: float | None
    dead_valley: bool
    evaluations: int


def swad_segments(
    val_loss: Any,
    *,
    n_converge: int,
    n_tolerance: int,
    tolerance_ratio: float,
    rule: Rule = "paper",
    flush: bool = True,
) -> Valley:
    """Chooses the segments of a run that SWAD averages.

    With L the validation losses, the valley starts at the first segment m with

        L_m = min(L_m, …, L_{m + n_converge − 1})
        threshold = (1 + tolerance_ratio) · mean(L_m, …, L_{m + n_converge − 1})

    and ends before the first n_tolerance consecutive losses that all exceed the
    threshold; the first such window examined ends at segment m + n_converge.

    Rule ``"paper"`` averages this interval, every segment once (Algorithm 1): to the
    last segment if the valley does not end, and all segments if it never starts.

    Rule ``"reference"`` is the authors' code (khanrc/swad 252190e), for comparison with
    published numbers. It keeps the last n_tolerance segments in a window and averages
    those that leave it. So it may begin before m, skips the first segment of its
    choice, may add m more than once or never, leaves out a tail above the threshold
    when training ends, and returns the last segment if no valley starts. Algorithm 1
    does none of this, and issue 28 of that repository reports the skipped segment and
    the repeated m as errors, so ``"paper"`` is the default.

    Args:
      val_loss: (evaluations,) validation losses so far, finite and ≥ 0.
      n_converge: optimum patience, ≥ 1.
      n_tolerance: overfit patience, ≥ 1.
      tolerance_ratio: tolerance above the mean loss of the minimum, ≥ 0.
      rule: see above.
      flush: whether training has ended. If not, the reference still holds its last
        n_tolerance segments back.

    Returns:
      The segments, never none, and how they were found.

    Raises:
      ValueError: a value outside its range.
    """
    losses = np.asarray(val_loss, np.float64)
    _check(losses, n_converge, n_tolerance, tolerance_ratio, rule)
    windows = np.lib.stride_tricks.sliding_window_view(
        losses, min(n_converge, len(losses))
    )
    (starts,) = np.nonzero(windows[:, 0] == windows.min(axis=1))
    if len(losses) < n_converge or not len(starts):
        first = 0 if rule == "paper" else len(losses) - 1
        segments = tuple(range(first, len(losses)))
        return Valley(segments, False, None, None, False, len(losses))
    minimum = int(starts[0])
    threshold = float((1 + tolerance_ratio) * windows[minimum].mean())
    if rule == "paper":
        segments, end = _interval(losses, minimum, threshold, n_converge, n_tolerance)
    else:
        segments, end = _reference(
            losses, minimum, threshold, n_converge, n_tolerance, flush
        )
    is_dead = end is not None
    return Valley(
        segments=tuple(segments) or (minimum,),
        converged=True,
        minimum=minimum,
        threshold=threshold,
        dead_valley=is_dead,
        evaluations=end if is_dead else len(losses),
    )


def _check(losses, n_converge, n_tolerance, tolerance_ratio, rule) -> None:
    """Raises ``ValueError`` for values that ``swad_segments`` does not take."""
    if losses.ndim != 1 or not losses.size or not np.all(losses >= 0):
        raise ValueError("val_loss must be a non-empty vector of losses of at least 0")
    if not np.isfinite(losses).all():
        raise ValueError("val_loss has an infinite value; it must be finite")
    for name, value in {"n_converge": n_converge, "n_tolerance": n_tolerance}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if not tolerance_ratio >= 0:
        raise ValueError(f"tolerance_ratio is {tolerance_ratio}; it must be at least 0")
    if rule not in ("paper", "reference"):
        raise ValueError(f"rule is {rule!r}; it must be 'paper' or 'reference'")


def _interval(
    losses, minimum, threshold, n_converge, n_tolerance
) -> tuple[Sequence[int], int | None]:
    """Returns the segments of Algorithm 1 and the evaluations at its end, if any."""
    for last in range(minimum + n_converge, len(losses)):
        oldest = max(0, last - n_tolerance + 1)
        if losses[oldest : last + 1].min() > threshold:
            return range(minimum, oldest), last + 1
    return range(minimum, len(losses)), None


def _reference(
    losses, minimum, threshold, n_converge, n_tolerance, flush
) -> tuple[Sequence[int], int | None]:
    """Returns the segments of the authors' code, and the evaluations at its end.

    It keeps a window of the last n_tolerance segments and adds the oldest at each
    evaluation. Its average starts as a copy of segment m that counts as nothing.
    """
    found = minimum + n_converge - 1
    oldest = max(0, found - n_tolerance + 1)
    if n_tolerance > n_converge:
        stop = min(oldest + n_tolerance - n_converge, found) + 1
        above = [k for k in range(oldest, stop) if losses[k] > threshold]
        first = above[-1] + 1 if above else oldest
        segments = list(range(first + 1, stop))
    else:
        segments = list(range(minimum + 1, oldest + 1))
    for last in range(found + 1, len(losses)):
        oldest = max(0, last - n_tolerance + 1)
        if oldest < minimum:
            continue
        if losses[oldest : last + 1].min() > threshold:
            return segments, last + 1
        segments.append(oldest)
    if flush:
        for k in range(oldest + 1, len(losses)):
            if losses[k:].min() > threshold:
                break
            segments.append(k)
    return segments, None


def segment_weights(
    segments: Sequence[int], num_segments: int, sizes: Any = None
) -> np.ndarray:
    """Returns the weight of each segment's mean in the average of the chosen ones.

    Args:
      segments: indices of the chosen segments; repeats count.
      num_segments: number of all segments.
      sizes: (num_segments,) iterates per segment; if given, every iterate weighs the
        same (Algorithm 1), otherwise every segment (the authors' code). They differ
        only if segments differ in length.

    Returns:
      (num_segments,) float64; they sum to 1.
    """
    weights = np.bincount(segments, minlength=num_segments).astype(np.float64)
    if sizes is not None:
        weights *= np.asarray(sizes)
    return weights / weights.sum()
