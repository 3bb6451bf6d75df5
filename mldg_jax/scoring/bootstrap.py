"""Confidence intervals and paired tests that respect who speaks.

Trials of one speaker fail together, so trials are not independent and an interval from
resampling them is too narrow. Here whole clusters (speakers) are resampled. Labels are
1 = bona fide, 0 = spoof. Bad input raises `ValueError`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics
from mldg_jax.metrics import require
from mldg_jax.scoring.bootstrap_statistics import Statistic

_BLOCK = 2_000_000  # bootstrap weights held at once (16 MB)


class Clusters(NamedTuple):
    """Which trials are drawn together.

    Attributes:
        index: (trials,) int, the cluster of each trial.
        strata: numbers of clusters; the first strata[0] are drawn among themselves, …
    """

    index: Array
    strata: tuple[int, ...]


def within_classes(labels: Array, ids: Array) -> Clusters:
    """Clusters drawn for bona fide and spoof independently, an id of both as two."""
    real = metrics.is_bonafide(labels)
    ids = metrics.ids(ids, real.size, "clusters")
    index, strata = np.empty(real.size, np.intp), []
    for its in (real, ~real):
        names, group = metrics.codes(ids[its])
        index[its] = group + sum(strata)
        strata.append(len(names))
    _two_each(index, real)
    return Clusters(index, tuple(strata))


def across_classes(labels: Array, ids: Array) -> Clusters:
    """Clusters with all their trials: a speaker's bona fide and the spoofs of him.

    For corpora where the spoof trials name the speaker whom they imitate: his voice is
    easy or hard in both classes.

    Args:
        labels: (trials,) of 0 and 1.
        ids: (trials,) strings or integers; at least two in each class.
    """
    real = metrics.is_bonafide(labels)
    ids = np.asarray(ids)
    require(ids.shape == real.shape, f"clusters are {ids.shape}, not {real.shape}")
    names, index = metrics.codes(ids)
    _two_each(index, real)
    return Clusters(index, (len(names),))


def _two_each(index: Array, real: Array) -> None:
    for name, its in (("bona fide", real), ("spoof", ~real)):
        first = index[its][0]
        found = f"{name} trials form 1 cluster, need 2"
        require(
            bool(np.any(index[its] != first)),
            f"{found}; use finer ids, such as utterances",
        )


def replicate(
    statistics: Sequence[Statistic],
    clusters: Clusters,
    replicas: int,
    seed: int | np.random.SeedSequence,
) -> Array:
    """Several statistics in the same replicas, float64 (statistics, replicas).

    A replica draws as many clusters as there are, with replacement. A statistic of
    `mldg_jax.scoring.bootstrap_statistics` is NaN where a class is not drawn at all.
    """
    require(replicas >= 1, f"replicas is {replicas}, must be >= 1; try 1000")
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // sum(clusters.strata))
    blocks = _counts(clusters.strata, replicas, rows, rng)
    found = [np.stack([one(counts) for one in statistics]) for counts in blocks]
    return np.concatenate(found, axis=1)


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval `(low, high)` of replicas (r,); NaN ones are dropped."""
    require(0 < level < 1, f"level is {level}, must be in (0, 1); try 0.95")
    kept = values[~np.isnan(values)]
    require(kept.size > 0, f"0 of {values.size} replicas are defined; add speakers")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(differences: Array) -> float:
    """Two-sided p of "no difference" from replicas (r,) of a difference, in (0, 1].

    The smallest 1 − level at which `interval` would exclude zero (Efron and Tibshirani
    1993, 15.4), with one added to each count so that it is never 0.
    """
    kept = differences[~np.isnan(differences)]
    tail = min(np.sum(kept <= 0), np.sum(kept >= 0))
    return float(min(1.0, 2 * (tail + 1) / (kept.size + 1)))


def _counts(
    strata: Sequence[int], replicas: int, rows: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Blocks (r, clusters) int64: how often each was drawn in r replicas."""
    for start in range(0, replicas, rows):
        r, parts = min(rows, replicas - start), []
        for size in strata:
            drawn = rng.integers(size, size=(r, size))
            drawn += size * np.arange(r)[:, None]  # one histogram for all rows
            counts = np.bincount(drawn.ravel(), minlength=r * size)
            parts.append(counts.reshape(r, size))
        yield np.concatenate(parts, axis=1)
