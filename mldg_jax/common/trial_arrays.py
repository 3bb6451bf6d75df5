"""Arrays of trials: checks of scores, labels and names, and pairs of trials."""

import numpy as np
from numpy import ndarray as Array

MACRO_CLIPS = 5  # fewest bona fide trials of a speaker in the macro EER


def require(condition: bool, message: str) -> None:
    """Raises ``ValueError`` unless a condition holds.

    Args:
      condition: what must be true.
      message: text of the error.

    Raises:
      ValueError: the condition is false.
    """
    if not condition:
        raise ValueError(message)


def class_scores(scores: Array) -> Array:
    """Returns the scores of one class as float64.

    Args:
      scores: (n,) finite numbers, n > 0.

    Returns:
      (n,) float64.

    Raises:
      ValueError: another shape, no score, or one that is not finite.
    """
    scores = np.asarray(scores, np.float64)
    shape = f"scores of a class have shape {scores.shape}"
    require(
        scores.ndim == 1 and scores.size > 0,
        f"{shape}, must be (n,) with n > 0; add scores",
    )
    bad = scores[~np.isfinite(scores)][:1]
    require(bad.size == 0, f"a score is {bad}, must be finite; drop it or score again")
    return scores


def is_bonafide(labels: Array) -> Array:
    """Returns labels as bool.

    Args:
      labels: (trials,) of 0 and 1, both present.

    Returns:
      (trials,) bool, true for bona fide.

    Raises:
      ValueError: another shape or other values.
    """
    labels, values = np.asarray(labels), np.unique(labels)
    valid = labels.ndim == 1 and np.array_equal(values, [0, 1])
    actual = f"labels have shape {labels.shape} and values {values[:5]}"
    require(valid, f"{actual}, must be (trials,) with both 0 and 1; map spoof to 0")
    return labels == 1


def scored(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Returns scores as float64 and labels as bool.

    Args:
      scores, labels: (trials,), see ``class_scores`` and ``is_bonafide``.

    Returns:
      Both, (trials,).

    Raises:
      ValueError: either is invalid, or their shapes differ.
    """
    scores, real = class_scores(scores), is_bonafide(labels)
    shapes = f"scores have shape {scores.shape} and labels {real.shape}"
    require(scores.shape == real.shape, f"{shapes}, must match; pass one label each")
    return scores, real


def ids(values: Array | None, size: int, name: str) -> Array:
    """Returns ids of any type as strings.

    Args:
      values: (size,).
      size: number of trials.
      name: name of the argument, for the message.

    Returns:
      (size,) str.

    Raises:
      ValueError: another shape.
    """
    values = np.asarray(values)
    require(
        values.shape == (size,),
        f"{name} has shape {values.shape}, must be ({size},); pass one for each trial",
    )
    return values.astype(str)


def codes(values: Array) -> tuple[list[str], Array]:
    """Encodes names as integers.

    The result is that of ``np.unique(return_inverse=True)``, which is slower because it
    sorts every string (1 s for a million).

    Args:
      values: (n,) names.

    Returns:
      The sorted distinct names, and the index of each value's name in them, (n,) int.
    """
    order_seen: dict[str, int] = {}
    listed = values.tolist()
    code = np.fromiter(
        (order_seen.setdefault(x, len(order_seen)) for x in listed),
        np.intp,
        len(listed),
    )
    names = sorted(order_seen)
    rank = np.empty(len(names), np.intp)
    rank[[order_seen[name] for name in names]] = np.arange(len(names))
    return names, rank[code]


def macro_pairs(
    labels: Array, attacks: Array, speakers: Array, min_bonafide: int = MACRO_CLIPS
) -> list[tuple[Array, Array]]:
    """Returns the trials of each (speaker, attack) pair of ``metrics.macro_eer``.

    Args:
      labels, attacks, speakers, min_bonafide: as for ``metrics.macro_eer``.

    Returns:
      Indices of bona fide and of spoof trials, for each pair.

    Raises:
      ValueError: no speaker has enough bona fide trials.
    """
    real = is_bonafide(labels)
    attacks = ids(attacks, real.size, "attacks")
    speakers = ids(speakers, real.size, "speakers")
    names, counts = np.unique(speakers[real], return_counts=True)
    most = f"a speaker has at most {counts.max()} bona fide trials"
    fix = f"need {min_bonafide}; lower min_bonafide"
    require(counts.max() >= min_bonafide, f"{most}, {fix}")
    spoof_trials = [
        np.flatnonzero(~real & (attacks == a)) for a in np.unique(attacks[~real])
    ]
    counted_speakers = names[counts >= min_bonafide]
    bonafide_trials = [
        np.flatnonzero(real & (speakers == name)) for name in counted_speakers
    ]
    return [(own, spoof) for own in bonafide_trials for spoof in spoof_trials]
