"""Arguments of the metrics, checked: scores, labels and ids of trials.

Labels are 1 = bona fide, 0 = spoof. Each function raises `ValueError`, one sentence
that names the value, the limit and the fix.
"""

import numpy as np
from numpy import ndarray as Array


def require(condition: bool, message: str) -> None:
    """Raises `ValueError(message)` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def class_scores(scores: Array) -> Array:
    """Scores of one class as float64 (n,), n > 0, all finite."""
    scores = np.asarray(scores, np.float64)
    found = f"scores of a class are {scores.shape}"
    require(
        scores.ndim == 1 and scores.size > 0, f"{found}, need (n,), n > 0; add some"
    )
    bad = scores[~np.isfinite(scores)][:1]
    require(bad.size == 0, f"a score is {bad}, must be finite; drop or rescore it")
    return scores


def is_bonafide(labels: Array) -> Array:
    """Labels of 0 and 1 (trials,), both present, as bool: True is bona fide."""
    labels, values = np.asarray(labels), np.unique(labels)
    right = labels.ndim == 1 and np.array_equal(values, [0, 1])
    found = f"labels are {labels.shape} with values {values[:5]}"
    require(right, f"{found}, must be (trials,) with both 0 and 1; map spoof to 0")
    return labels == 1


def scored(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Scores float64 and labels bool, both (trials,)."""
    scores, real = class_scores(scores), is_bonafide(labels)
    found = f"scores are {scores.shape} and labels {real.shape}"
    require(scores.shape == real.shape, f"{found}, must match; pass one label each")
    return scores, real


def ids(values: Array | None, size: int, name: str) -> Array:
    """Ids of any type as (size,) of str; `name` is the argument's, for the message."""
    values = np.asarray(values)
    require(
        values.shape == (size,), f"{name} is {values.shape}, must be ({size},); pass it"
    )
    return values.astype(str)


def codes(values: Array) -> tuple[list[str], Array]:
    """Sorted names and, for each value (n,), the place of its name (n,) int.

    As `np.unique(return_inverse=True)`, which sorts every string: 1 s a million.
    """
    places: dict[str, int] = {}
    listed = values.tolist()
    code = np.fromiter(
        (places.setdefault(x, len(places)) for x in listed), np.intp, len(listed)
    )
    names = sorted(places)
    rank = np.empty(len(names), np.intp)
    rank[[places[name] for name in names]] = np.arange(len(names))
    return names, rank[code]
