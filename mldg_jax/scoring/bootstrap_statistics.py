"""Metrics of repeated trials: the statistics of a cluster bootstrap.

A bootstrap replicate draws clusters of trials (speakers) with replacement. It is a
vector of counts, one for each cluster, and every trial has its cluster's count. Each
function here sorts the trials of one system once and returns a statistic
``counts (r, clusters) -> (r,)`` that equals the metric of the repeated arrays, for r
replicates at once. It is NaN where a class is not drawn at all.

A million trials and a thousand replicates have 10⁹ weights, too many to sum. The sorted
trials are therefore split into about √n bins. A sparse matrix holds the number of
trials of each cluster in each bin; its product with the counts gives the error counts
at every bin's edge, and only bins that can contain the result are evaluated trial by
trial. All counts are integers: nothing is approximated.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy import ndarray as Array

from mldg_jax import metrics

Statistic = Callable[[Array], Array]
_BLOCK = 4_000_000  # weights held at once (32 MB)


class _Path(NamedTuple):
    """Trials in the order of ``metrics.det_curve``, in bins of equal width.

    Attributes:
      real: (bins, width) bool, bona fide.
      cluster: (bins, width) int.
      present: (bins, width) bool; false where the last bin is padded.
      totals: numbers of bona fide and of spoof trials, each (bins, clusters) sparse
        int64.
    """

    real: Array
    cluster: Array
    present: Array
    totals: tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]

    def edges(self, counts: Array) -> tuple[Array, Array]:
        """Returns bona fide and spoof trials before each edge, each (r, bins + 1)."""
        weights = np.ascontiguousarray(counts.T)
        before_edges = []
        for totals in self.totals:
            sums = np.cumsum(totals @ weights, axis=0).T
            before_edges.append(np.pad(sums, ((0, 0), (1, 0))))
        return before_edges[0], before_edges[1]

    def inside(
        self, counts: Array, rows: Array, bins: Array, *before: Array
    ) -> tuple[Array, ...]:
        """Evaluates chosen bins trial by trial, each in one replicate.

        Args:
          counts: (r, clusters).
          rows, bins: (k,) replicate and bin of each.
          *before: bona fide and spoof trials before each bin, from ``edges``, each
            (k,).

        Returns:
          Each trial's own weight, and bona fide and spoof up to and including it, each
          (k, width).
        """
        own = counts[rows[:, None], self.cluster[bins]] * self.present[bins]
        missed = np.cumsum(own * self.real[bins], axis=1)
        refused = np.cumsum(own, axis=1) - missed
        return own, missed + before[0][:, None], refused + before[1][:, None]


def _path(scores: Array, real: Array, cluster: Array, clusters: int) -> _Path:
    """Sorts trials by score, bona fide first among equals, and bins them."""
    order = np.lexsort((~real, scores))
    width = max(1, round(np.sqrt(order.size)))
    bins = -(-order.size // width)
    padding = (0, bins * width - order.size)

    def shaped(column: Array) -> Array:
        return np.pad(column[order], padding).reshape(bins, width)

    bin_of_trial = np.empty(order.size, np.intp)
    bin_of_trial[order] = np.arange(order.size) // width
    totals = []
    for in_class in (real, ~real):
        ones = np.ones(np.sum(in_class), np.int64)
        positions = (bin_of_trial[in_class], cluster[in_class])
        totals.append(
            scipy.sparse.coo_array((ones, positions), (bins, clusters)).tocsr()
        )  # coo to csr adds duplicates
    present = shaped(np.ones(order.size, bool))
    return _Path(shaped(real), shaped(cluster), present, (totals[0], totals[1]))


def eer(scores: Array, real: Array, cluster: Array, clusters: int) -> Statistic:
    """Returns the statistic ``metrics.eer`` of the repeated trials, exact to the bit.

    miss − false_alarm increases along the points of ``metrics.det_curve``, so only the
    two points around its zero matter; they may lie between the repeats of one trial.

    Args:
      scores: (trials,) finite.
      real: (trials,) bool, bona fide.
      cluster: (trials,) int in [0, clusters).
      clusters: number of clusters.

    Returns:
      ``counts (r, clusters) -> (r,)``.
    """
    path = _path(scores, real, cluster, clusters)

    def statistic(counts: Array) -> Array:
        rows = np.arange(len(counts))
        missed, refused = path.edges(counts)
        n, m = missed[:, -1], refused[:, -1]  # bona fide, spoof
        defined = (n > 0) & (m > 0)
        # n m (miss − false_alarm) in integers; the crossing trial brings it to zero.
        below = missed * m[:, None] + refused * n[:, None] < (n * m)[:, None]
        bins = np.maximum(below.argmin(axis=1) - 1, 0)
        before = missed[rows, bins], refused[rows, bins]
        weights, missed, refused = path.inside(counts, rows, bins, *before)
        below = missed * m[:, None] + refused * n[:, None] < (n * m)[:, None]
        crossing = below.argmin(axis=1)
        kind, own = path.real[bins, crossing], weights[rows, crossing]
        missed = missed[rows, crossing] - own * kind
        refused = refused[rows, crossing] - own * ~kind
        n, m = np.maximum(n, 1), np.maximum(m, 1)
        left = (n * m - missed * m - refused * n) // np.where(kind, m, n)
        repeat = np.stack([left, left + 1])  # of the crossing trial
        miss = (missed + repeat * kind) / n
        false_alarm = (m - refused - repeat * ~kind) / m
        best = np.abs(miss - false_alarm).argmin(axis=0)
        return np.where(defined, (miss + false_alarm)[best, rows] / 2, np.nan)

    return statistic


def min_dcf(
    scores: Array,
    real: Array,
    cluster: Array,
    clusters: int,
    cost: Callable[[Array, Array], Array] = metrics.normalised_cost,
) -> Statistic:
    """Returns the statistic ``metrics.min_dcf`` of the repeated trials.

    Within a bin, miss is at least that at its left edge and false alarm at least that
    at its right edge. Bins whose bound is not below the lowest cost at the edges are
    skipped.

    Args:
      scores, real, cluster, clusters: as for ``eer``.
      cost: ``(miss, false_alarm) -> cost``, increasing in both;
        ``metrics.tandem_cost(…)`` gives ``metrics.min_tdcf``.

    Returns:
      ``counts (r, clusters) -> (r,)``.
    """
    path = _path(scores, real, cluster, clusters)

    def statistic(counts: Array) -> Array:
        missed, refused = path.edges(counts)
        n, m = missed[:, -1:], refused[:, -1:]
        defined = ((n > 0) & (m > 0))[:, 0]
        n, m = np.maximum(n, 1), np.maximum(m, 1)
        best = cost(missed / n, (m - refused) / m).min(axis=1)
        bound = cost(missed[:, :-1] / n, (m - refused)[:, 1:] / m)
        candidates = np.nonzero(defined[:, None] & (bound < best[:, None]))
        for rows, bins in _blocks(candidates, path.real.shape[1]):
            before = missed[rows, bins], refused[rows, bins]
            _, missed_inside, refused_inside = path.inside(counts, rows, bins, *before)
            inside = cost(missed_inside / n[rows], (m[rows] - refused_inside) / m[rows])
            np.minimum.at(best, rows, inside.min(axis=1))
        return np.where(defined, best, np.nan)

    return statistic


def _blocks(pairs: tuple[Array, ...], width: int) -> Iterator[tuple[Array, ...]]:
    """Yields the pairs in blocks that limit memory."""
    size = max(1, _BLOCK // width)
    for start in range(0, len(pairs[0]), size):
        yield tuple(part[start : start + size] for part in pairs)


def act_dcf(scores: Array, real: Array, cluster: Array, clusters: int) -> Statistic:
    """Returns the statistic ``metrics.act_dcf`` of the repeated trials.

    Args:
      scores, real, cluster, clusters: as for ``eer``.

    Returns:
      ``counts (r, clusters) -> (r,)``.
    """
    accepted = scores >= metrics.BAYES_THRESHOLD
    miss = metrics.normalised_cost(1.0, 0.0) * (real & ~accepted)
    false_alarm = metrics.normalised_cost(0.0, 1.0) * (~real & accepted)
    return _class_means(miss + false_alarm, real, cluster, clusters)


def hter(
    scores: Array, real: Array, cluster: Array, clusters: int, threshold: float
) -> Statistic:
    """Returns the HTER of the repeated trials at a fixed threshold.

    Args:
      scores, real, cluster, clusters: as for ``eer``.
      threshold: a score at or above it is accepted; it is not fitted again to
        replicates.

    Returns:
      ``counts (r, clusters) -> (r,)``.
    """
    errors = np.where(real, scores < threshold, scores >= threshold)
    return _class_means(errors / 2, real, cluster, clusters)


def cllr(scores: Array, real: Array, cluster: Array, clusters: int) -> Statistic:
    """Returns the statistic ``metrics.cllr`` of the repeated trials.

    Args:
      scores, real, cluster, clusters: as for ``eer``.

    Returns:
      ``counts (r, clusters) -> (r,)``.
    """
    bits = np.logaddexp(0, np.where(real, -scores, scores)) / (2 * np.log(2))
    return _class_means(bits, real, cluster, clusters)


def _class_means(cost: Array, real: Array, cluster: Array, clusters: int) -> Statistic:
    """Returns the mean cost of bona fide trials plus that of spoof trials."""
    sums = [
        np.bincount(cluster[in_class], weights, clusters)
        for in_class in (real, ~real)
        for weights in (cost[in_class], np.ones(np.sum(in_class)))
    ]
    columns = np.stack(sums, axis=1)

    def statistic(counts: Array) -> Array:
        bonafide, n, spoof, m = (counts @ columns).T
        defined = (n > 0) & (m > 0)
        mean = bonafide / np.maximum(n, 1) + spoof / np.maximum(m, 1)
        return np.where(defined, mean, np.nan)

    return statistic


def macro_eer(
    scores: Array,
    pairs: list[tuple[Array, Array]],
    cluster: Array,
    attack_cluster: Array | None = None,
) -> Statistic:
    """Returns the statistic ``metrics.macro_eer`` when speakers are drawn.

    A speaker drawn k times is k speakers with the same trials: a pair of weight k, not
    a pair whose bona fide trials are repeated; the same holds for an attack. An attack
    without a drawn trial is excluded; the statistic is NaN if no pair is left.

    Args:
      scores: (trials,) finite.
      pairs: from ``metrics.macro_pairs``.
      cluster: (trials,) int; the bona fide trials of a pair share one.
      attack_cluster: (pairs,) int, the cluster that is drawn as often as the pair's
        attack, see ``two_way.attack_clusters``; None if attacks are not drawn.

    Returns:
      ``counts (r, clusters) -> (r,)``.
    """
    parts = []
    for i, (own, spoof) in enumerate(pairs):
        weights = [cluster[own[0]]]
        if attack_cluster is not None:
            weights.append(attack_cluster[i])
        spoof_clusters, position = np.unique(cluster[spoof], return_inverse=True)
        local = np.r_[np.zeros(own.size, np.intp), position + 1]  # 0: drawn once
        real = np.arange(local.size) < own.size
        rate = eer(scores[np.r_[own, spoof]], real, local, spoof_clusters.size + 1)
        parts.append((weights, spoof_clusters, rate))

    def statistic(counts: Array) -> Array:
        total, count = np.zeros(len(counts)), np.zeros(len(counts))
        for weights, spoof_clusters, rate in parts:
            value = rate(
                np.pad(counts[:, spoof_clusters], ((0, 0), (1, 0)), constant_values=1)
            )
            weight = counts[:, weights].prod(axis=1)
            weight = np.where(np.isnan(value), 0, weight)
            total, count = total + weight * np.nan_to_num(value), count + weight
        return np.where(count > 0, total, np.nan) / np.maximum(count, 1)

    return statistic
