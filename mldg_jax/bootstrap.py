"""Confidence intervals and paired tests that respect who speaks.

Trials of one speaker fail together, so trials are not independent and an interval from
resampling them is too narrow. Here whole clusters (speakers) are resampled. Labels are
1 = bona fide, 0 = spoof. Bad input raises `ValueError`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics, trials, weighted
from mldg_jax.trials import require
from mldg_jax.weighted import Statistic

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
    real = trials.is_bonafide(labels)
    ids = trials.ids(ids, real.size, "clusters")
    index, strata = np.empty(real.size, np.intp), []
    for its in (real, ~real):
        names, group = trials.codes(ids[its])
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
    real = trials.is_bonafide(labels)
    ids = np.asarray(ids)
    require(ids.shape == real.shape, f"clusters are {ids.shape}, not {real.shape}")
    names, index = trials.codes(ids)
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
    statistics: Sequence[Statistic], clusters: Clusters, replicas: int, seed: int
) -> Array:
    """Several statistics in the same replicas, float64 (statistics, replicas).

    A replica draws as many clusters as there are, with replacement. A statistic of
    `mldg_jax.weighted` is NaN where a class is not drawn at all.
    """
    _checked(replicas)
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


def bootstrap(
    statistic: Callable[[Array], Array],
    labels: Array,
    clusters: Array,
    replicas: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile confidence interval `(low, high)` from resampling clusters of trials.

    A replica draws as many clusters as there are, with replacement, for bona fide and
    spoof independently. A trial's weight is how often its cluster was drawn, so the
    statistic can sort once and then only sum weights.

    Args:
        statistic: maps int64 weights (r, trials) to (r,) values or to (r, seeds); seeds
            are then drawn with replacement too, and averaged. A replica where it is
            NaN (undefined) is dropped.
        labels: (trials,) of 0 and 1.
        clusters: (trials,) ids, compared within a class; at least two in each. Bona
            fide: the speaker. Spoof: the voice, or the utterance if nothing is known.
        replicas, level: at least 1; in (0, 1). seed: of `np.random.default_rng`.
    """
    drawn = within_classes(labels, clusters)
    return _bootstrap(
        lambda counts: statistic(counts[:, drawn.index]), drawn, replicas, level, seed
    )


def eer_interval(
    scores: Array,
    labels: Array,
    clusters: Array,
    replicas: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **statistic: str | Array,
) -> tuple[float, float]:
    """Interval `(low, high)` of the EER (a fraction) by `bootstrap`.

    Args:
        scores: (trials,) or (seeds, trials): the EER is averaged over seeds, and seeds
            are resampled as well as clusters.
        labels, clusters, replicas, level, seed: see `bootstrap`.
        statistic: `statistic="pooled"` (default, `metrics.eer`) or `"macro"`
            (`metrics.macro_eer`, with `attacks=`, `speakers=`; a speaker's bona fide
            trials must share a cluster).
            For "macro" a speaker drawn twice counts as two, and an attack of which no
            trial is drawn is left out of the replica.
    """
    drawn = within_classes(labels, clusters)
    values = _per_seed([scores], labels, drawn, **statistic)
    return _bootstrap(values, drawn, replicas, level, seed)


def paired_difference(
    scores_a: Array,
    scores_b: Array,
    labels: Array,
    clusters: Array,
    replicas: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **statistic: str | Array,
) -> tuple[float, float, float]:
    """`(difference, low, high)` of EER_a − EER_b, averaged over seeds; < 0: A better.

    `scores_a` and `scores_b` have one shape, (trials,) or (seeds, trials). In a replica
    both see the same trials and seeds, so what makes a trial hard cancels out. The
    other arguments are those of `eer_interval`.
    """
    a, b = np.shape(scores_a), np.shape(scores_b)
    require(a == b, f"scores_a is {a}, scores_b {b}; score the same trials and seeds")
    drawn = within_classes(labels, clusters)
    values = _per_seed([scores_a, scores_b], labels, drawn, **statistic)
    difference = values(np.ones((1, sum(drawn.strata)), np.int64)).mean().item()
    return difference, *_bootstrap(values, drawn, replicas, level, seed)


def _bootstrap(
    statistic: Statistic, clusters: Clusters, replicas: int, level: float, seed: int
) -> tuple[float, float]:
    _checked(replicas)
    rng = np.random.default_rng(seed)
    # The seed's meaning depends on the size of a block; the demo's numbers are fixed.
    rows = max(1, _BLOCK // clusters.index.size)
    blocks = _counts(clusters.strata, replicas, rows, rng)
    values = np.concatenate([statistic(counts) for counts in blocks])
    if values.ndim == 2:
        drawn = rng.integers(values.shape[1], size=values.shape)
        values = np.take_along_axis(values, drawn, axis=1).mean(axis=1)
    return interval(values, level)


def _checked(replicas: int) -> None:
    require(replicas >= 1, f"replicas is {replicas}, must be >= 1; try 1000")


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


def _per_seed(
    systems: list[Array],
    labels: Array,
    clusters: Clusters,
    statistic: str = "pooled",
    attacks: Array | None = None,
    speakers: Array | None = None,
) -> Statistic:
    """Counts (r, clusters) -> (r, seeds): the first system's EER minus the second's."""
    require(statistic in ("pooled", "macro"), f"{statistic=}: use 'pooled' or 'macro'")
    if statistic == "macro":
        _one_cluster_each(labels, speakers, clusters)
        pairs = metrics.macro_pairs(labels, attacks, speakers)

    def one(scores: Array) -> Statistic:
        scores, real = trials.scored(scores, labels)
        if statistic == "macro":
            return weighted.macro_eer(scores, pairs, clusters.index)
        return weighted.eer(scores, real, clusters.index, sum(clusters.strata))

    parts = [[one(row) for row in np.atleast_2d(scores)] for scores in systems]

    def values(counts: Array) -> Array:
        rates = np.array([[part(counts) for part in seeds] for seeds in parts])
        return (rates[0] - rates[1:].sum(axis=0)).T

    return values


def _one_cluster_each(labels: Array, speakers: Array, clusters: Clusters) -> None:
    real = trials.is_bonafide(labels)
    names = trials.ids(speakers, real.size, "speakers")[real].tolist()
    groups = clusters.index[real].tolist()
    extra = len(set(zip(names, groups, strict=True))) - len(set(names))
    found = f"bona fide speakers are split into {extra} more clusters"
    require(extra == 0, f"{found}, must be 0 for 'macro'; use speakers as clusters")
