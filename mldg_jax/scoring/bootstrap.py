"""Confidence intervals and paired tests by resampling speakers.

Errors on trials of one speaker are correlated, so an interval from resampling trials is
too narrow. Here whole clusters (speakers) are resampled, following a ``Scheme``. Labels
are 1 for bona fide and 0 for spoof. Invalid input raises ``ValueError``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics
from mldg_jax.common.error_rates import Difference
from mldg_jax.metrics import require
from mldg_jax.scoring.bootstrap_statistics import Statistic

_BLOCK = 2_000_000  # bootstrap weights held at once (16 MB)


@dataclass(frozen=True)
class Scheme:
    """How trials are resampled.

    Attributes:
      classes: "together": a speaker is drawn with the bona fide trials and the spoofs
        of that speaker, for corpora whose spoof trials name the speaker they imitate (a
        speaker is easy or hard in both classes). "apart": the speakers of the two
        classes are drawn independently, for corpora whose synthesisers have voices of
        their own.
      seeds: whether training seeds are drawn as well, see ``over_seeds``.
      replicates: number of bootstrap replicates; 0 for no intervals.
      seed: seed of the random numbers, ≥ 0.
      level: coverage of the percentile intervals, in (0, 1).
    """

    classes: Literal["together", "apart"]
    seeds: bool = False
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95

    def resampled(self, units: str = "speakers") -> str:
        """Describes what is drawn.

        Args:
          units: description of the units, as from ``units``.

        Returns:
          A phrase for "bootstrap replicates of …".
        """
        drawn = f"seeds and of {units}" if self.seeds else units
        if self.classes == "apart":
            return (
                f"{drawn}, those of bona fide and those of spoof drawn independently "
                "(of a class with one speaker the utterances)"
            )
        if units == "utterances":
            return drawn
        return f"{drawn}, each drawn with the trials of both classes"

    def sentence(self, units: str = "speakers") -> str:
        """Describes where the intervals of a table come from.

        Args:
          units: description of the units, as from ``units``.

        Returns:
          One sentence.
        """
        if not self.replicates:
            return "Without intervals."
        return (
            f"In brackets {100 * self.level:g} % percentile intervals from "
            f"{self.replicates:,} bootstrap replicates of {self.resampled(units)}."
        )

    def to_json(self, units: str = "speakers") -> dict[str, Any]:
        """Returns the description of the intervals for a results file.

        Args:
          units: description of the units, as from ``units``.

        Returns:
          What is resampled, the number of replicates, the seed and the level.
        """
        return {
            "resampled": self.resampled(units),
            "replicates": self.replicates,
            "seed": self.seed,
            "level": self.level,
            "interval": "percentile",
        }


class Clusters(NamedTuple):
    """The trials that are drawn together.

    Attributes:
      index: (trials,) int, the cluster of each trial.
      strata: numbers of clusters; the first strata[0] clusters are drawn among
        themselves, then the next strata[1], ….
    """

    index: Array
    strata: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of clusters."""
        return sum(self.strata)


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
    block: int = _BLOCK,
) -> Array:
    """Computes statistics on the same bootstrap replicates.

    A replicate draws as many clusters as there are, with replacement. The statistics of
    ``mldg_jax.scoring.bootstrap_statistics`` are NaN if a class is not drawn at all.

    Args:
      statistics: functions of the clusters' counts.
      clusters: from ``cluster``.
      scheme: its replicates and seed are used.
      stream: distinguishes the random numbers of different tests.
      block: number of counts held at once, which limits memory.

    Returns:
      (statistics, replicates) float64.

    Raises:
      ValueError: the scheme has no replicates.
    """
    replicates = scheme.replicates
    require(replicates >= 1, f"replicates is {replicates}, must be >= 1; try 1000")
    rng = np.random.default_rng(np.random.SeedSequence((scheme.seed, *stream)))
    rows = max(1, block // clusters.count)
    blocks = _counts(clusters.strata, replicates, rows, rng)
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


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Returns the percentile interval of bootstrap replicates.

    Args:
      values: (r,) replicates; NaN are dropped.
      level: coverage, in (0, 1).

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
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference(point: float, replicates: Array, level: float = 0.95) -> Difference:
    """Returns a difference with its interval and p-value.

    Args:
      point: the difference itself.
      replicates: (r,) differences of paired replicates.
      level: coverage of the interval, in (0, 1).

    Returns:
      The difference, its interval and its p-value.
    """
    return Difference(point, *interval(replicates, level), p_value(replicates))


def p_value(differences: Array) -> float:
    """Computes the two-sided p-value of "no difference" from bootstrap replicates.

    It is the smallest 1 − level at which ``interval`` would exclude zero (Efron and
    Tibshirani 1993, 15.4), with one added to each count so that it is never 0.

    Args:
      differences: (r,) replicates of a difference; NaN are dropped.

    Returns:
      The p-value, in (0, 1].
    """
    defined = differences[~np.isnan(differences)]
    tail = min(np.sum(defined <= 0), np.sum(defined >= 0))
    return float(min(1.0, 2 * (tail + 1) / (defined.size + 1)))


def _counts(
    strata: Sequence[int], replicates: int, rows: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Yields blocks (r, clusters) int64: how often each cluster was drawn."""
    for start in range(0, replicates, rows):
        r, parts = min(rows, replicates - start), []
        for size in strata:
            drawn = rng.integers(size, size=(r, size))
            drawn += size * np.arange(r)[:, None]  # one histogram for all rows
            counts = np.bincount(drawn.ravel(), minlength=r * size)
            parts.append(counts.reshape(r, size))
        yield np.concatenate(parts, axis=1)
