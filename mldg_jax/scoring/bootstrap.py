"""Confidence intervals and paired tests by resampling speakers.

Errors on trials of one speaker are correlated, so an interval from resampling trials is
too narrow. Here whole clusters (speakers) are resampled, following a ``Scheme``; for
speakers and attacks see ``mldg_jax.scoring.two_way``. Labels are 1 for bona fide and 0
for spoof. Invalid input raises ``ValueError``.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics
from mldg_jax.common.error_rates import Difference
from mldg_jax.metrics import require
from mldg_jax.scoring import small_samples
from mldg_jax.scoring.bootstrap_statistics import Statistic
from mldg_jax.scoring.scheme import Scheme

_BLOCK = 2_000_000  # bootstrap weights held at once (16 MB)


class Clusters(NamedTuple):
    """The trials that are drawn together.

    Attributes:
      index: (trials,) int, the cluster of each trial.
      strata: numbers of units (speakers); the first strata[0] are drawn among
        themselves, then the next strata[1], ….
      attacks: number of attacks that are drawn, whose units follow the speakers.
      factors: (clusters, k) int, units whose multiplicities are multiplied, −1 for none
        (a factor of 1), see ``two_way.cross``; None if a cluster is a unit.
    """

    index: Array
    strata: tuple[int, ...]
    attacks: int = 0
    factors: Array | None = None

    @property
    def count(self) -> int:
        """The number of clusters."""
        return sum(self.strata) if self.factors is None else len(self.factors)

    @property
    def fewest(self) -> int | None:
        """The smallest number of units that ``interval`` allows for, if crossed."""
        return None if self.factors is None else min(*self.strata, self.attacks)

    def counts(self, units: Array) -> Array:
        """Returns how often each cluster was drawn.

        Args:
          units: (r, units) multiplicities.

        Returns:
          (r, clusters), of the same dtype.
        """
        if self.factors is None:
            return units
        padded = np.pad(units, ((0, 0), (0, 1)), constant_values=1)  # unit −1
        product = padded[:, self.factors[:, 0]]
        for factor in self.factors.T[1:]:
            product *= padded[:, factor]
        return product


def units(
    labels: Array,
    speakers: Array,
    utterances: Array | None = None,
    unknown: str | None = None,
) -> tuple[Array, str]:
    """Returns the units of resampling: speakers, or utterances.

    Args:
      labels: (trials,) of 0 and 1.
      speakers: (trials,) names. A class whose trials are all of one speaker (a single
        synthetic voice) is drawn by utterance.
      utterances: (trials,) names; if None, every trial is an utterance.
      unknown: name that stands for unknown speakers, whose trials are drawn by
        utterance.

    Returns:
      Ids (trials,) int, speakers in the order of their names before utterances in the
      order of theirs; and a description, e.g. "speakers".
    """
    real = metrics.is_bonafide(labels)
    names, ids = metrics.codes(speakers)
    by_utterance, description = speakers == unknown, "speakers"
    if number := int(np.sum(by_utterance)):
        plural = "s" * (number > 1)
        description += f" ({number:,} trial{plural} without a speaker: utterances)"
    for name, in_class in (("bona fide", real), ("spoof", ~real)):
        if np.all(ids[in_class] == ids[in_class][0]):
            by_utterance = by_utterance | in_class
            description += f" ({name}: utterances of one speaker)"
    own = np.arange(len(ids)) if utterances is None else metrics.codes(utterances)[1]
    return np.where(by_utterance, len(names) + own, ids), description


def cluster(labels: Array, ids: Array, scheme: Scheme) -> Clusters:
    """Returns the clusters of trials that a scheme draws.

    Args:
      labels: (trials,) of 0 and 1.
      ids: (trials,) strings or integers; at least two in each class.
      scheme: an id that occurs in both classes is one cluster if classes are drawn
        together, two if they are drawn apart.

    Returns:
      The clusters; drawn apart, those of bona fide come first.

    Raises:
      ValueError: ids of another shape, or a class with a single cluster.
    """
    real, ids = metrics.is_bonafide(labels), np.asarray(ids)
    require(ids.shape == real.shape, f"ids have shape {ids.shape}, not {real.shape}")
    for name, in_class in (("bona fide", real), ("spoof", ~real)):
        several = bool(np.any(ids[in_class] != ids[in_class][0]))
        problem = f"{name} trials form 1 cluster, need 2"
        require(several, f"{problem}; use finer ids, such as utterances")
    together = scheme.classes == "together"
    index, strata = np.empty(real.size, np.intp), []
    for in_stratum in [np.ones_like(real)] if together else [real, ~real]:
        names, group = metrics.codes(ids[in_stratum])
        index[in_stratum] = group + sum(strata)
        strata.append(len(names))
    return Clusters(index, tuple(strata))


def replicate(
    statistics: Sequence[Statistic],
    clusters: Clusters,
    scheme: Scheme,
    stream: Sequence[int] = (),
    *,
    attack_stream: Sequence[int] = (),
    block: int = _BLOCK,
) -> Array:
    """Computes statistics on the same bootstrap replicates.

    A replicate draws as many units as there are, with replacement. The statistics of
    ``mldg_jax.scoring.bootstrap_statistics`` are NaN if a class is not drawn at all.

    Args:
      statistics: functions of the clusters' counts.
      clusters: from ``cluster``, or from ``two_way.cross``, with the same draws of
        speakers.
      scheme: its replicates and seed are used.
      stream: distinguishes the random numbers of different tests.
      attack_stream: the same for attacks, which tests of different speakers may share.
      block: number of counts held at once, which limits memory.

    Returns:
      (statistics, replicates) float64.

    Raises:
      ValueError: the scheme has no replicates.
    """
    replicates = scheme.replicates
    require(replicates >= 1, f"replicates is {replicates}, must be >= 1; try 1000")
    entropy = np.random.SeedSequence((scheme.seed, *stream))
    rng = np.random.default_rng(entropy)
    strata = [(size, rng) for size in clusters.strata]
    if clusters.attacks:  # a spawn key is never equal to a stream
        entropy = np.random.SeedSequence((scheme.seed, *attack_stream), spawn_key=(0,))
        strata.append((clusters.attacks, np.random.default_rng(entropy)))
    rows = max(1, block // clusters.count)
    blocks = map(clusters.counts, _counts(strata, replicates, rows))
    values = [np.stack([f(counts) for f in statistics]) for counts in blocks]
    return np.concatenate(values, axis=1)


def over_seeds(values: Array, scheme: Scheme) -> Array:
    """Averages over training seeds, drawn with replacement if the scheme says so.

    Args:
      values: (replicates, seeds); systems with the same number of seeds get the same
        draws.
      scheme: the scheme of ``replicate``.

    Returns:
      (replicates,) means.
    """
    if scheme.seeds:
        rng = np.random.default_rng(scheme.seed)
        drawn = rng.integers(values.shape[1], size=values.shape)
        values = np.take_along_axis(values, drawn, axis=1)
    return values.mean(axis=1)


def interval(
    values: Array, level: float = 0.95, fewest: int | None = None
) -> tuple[float, float]:
    """Returns the percentile interval of bootstrap replicates.

    Args:
      values: (r,) replicates; NaN are dropped.
      level: coverage, in (0, 1).
      fewest: number of units to expand the interval for, see ``small_samples``; None
        for the plain percentiles.

    Returns:
      ``(low, high)``.

    Raises:
      ValueError: a level outside (0, 1), or every replicate is NaN.
    """
    require(0 < level < 1, f"level is {level}, must be in (0, 1); try 0.95")
    defined = values[~np.isnan(values)]
    require(
        defined.size > 0, f"0 of {values.size} replicates are defined; add speakers"
    )
    level = level if fewest is None else small_samples.level(level, fewest)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference(
    point: float,
    replicates: Array,
    level: float = 0.95,
    fewest: int | None = None,
) -> Difference:
    """Returns a difference with its interval and p-value.

    Args:
      point: the difference itself.
      replicates: (r,) differences of paired replicates.
      level: coverage of the interval, in (0, 1).
      fewest: as for ``interval``.

    Returns:
      The difference, its interval and its p-value.
    """
    ends = interval(replicates, level, fewest)
    return Difference(point, *ends, p_value(replicates, fewest))


def p_value(differences: Array, fewest: int | None = None) -> float:
    """Computes the two-sided p-value of "no difference" from bootstrap replicates.

    It is the smallest 1 − level at which ``interval`` would exclude zero (Efron and
    Tibshirani 1993, 15.4), with one added to each count so that it is never 0.

    Args:
      differences: (r,) replicates of a difference; NaN are dropped.
      fewest: as for ``interval``.

    Returns:
      The p-value, in (0, 1].
    """
    defined = differences[~np.isnan(differences)]
    tail = min(np.sum(defined <= 0), np.sum(defined >= 0))
    p = float(min(1.0, 2 * (tail + 1) / (defined.size + 1)))
    return p if fewest is None else float(small_samples.p_value(p, fewest))


def _counts(
    strata: Sequence[tuple[int, np.random.Generator]], replicates: int, rows: int
) -> Iterator[Array]:
    """Yields blocks (r, units) int64: how often each unit was drawn."""
    for start in range(0, replicates, rows):
        r, parts = min(rows, replicates - start), []
        for size, rng in strata:
            drawn = rng.integers(size, size=(r, size))
            drawn += size * np.arange(r)[:, None]  # one histogram for all rows
            counts = np.bincount(drawn.ravel(), minlength=r * size)
            parts.append(counts.reshape(r, size))
        yield np.concatenate(parts, axis=1)
