"""Confidence intervals and paired tests that respect who speaks.

Trials of one speaker fail together, so trials are not independent and an interval from
resampling them is too narrow. Here whole clusters (speakers) are resampled, as a
`Scheme` says. Labels are 1 = bona fide, 0 = spoof. Bad input raises `ValueError`.
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
        of that voice, for corpora whose spoof trials name the speaker they imitate (a
        voice is easy or hard in both classes). "apart": the speakers of either class
        are drawn independently, for corpora whose synthesisers have their own voices.
      seeds: training seeds are drawn as well, see `over_seeds`.
      replicates: how many; 0 stands for no intervals.
      seed: of the random numbers, >= 0.
      level: of the percentile intervals, in (0, 1).
    """

    classes: Literal["together", "apart"]
    seeds: bool = False
    replicates: int = 1000
    seed: int = 0
    level: float = 0.95

    def resampled(self, units: str = "speakers") -> str:
        """Says what is drawn; `units` are those of `units`, in words."""
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
        """Says where the intervals of a table come from."""
        if not self.replicates:
            return "Without intervals."
        return (
            f"In brackets {100 * self.level:g} % percentile intervals from "
            f"{self.replicates:,} bootstrap replicates of {self.resampled(units)}."
        )

    def to_json(self, units: str = "speakers") -> dict[str, Any]:
        """Returns what a file of results says of its intervals."""
        return {
            "resampled": self.resampled(units),
            "replicates": self.replicates,
            "seed": self.seed,
            "level": self.level,
            "interval": "percentile",
        }


class Clusters(NamedTuple):
    """Which trials are drawn together.

    Attributes:
        index: (trials,) int, the cluster of each trial.
        strata: numbers of clusters; the first strata[0] are drawn among themselves, …
    """

    index: Array
    strata: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return sum(self.strata)


def units(
    labels: Array,
    speakers: Array,
    utterances: Array | None = None,
    unknown: str | None = None,
) -> tuple[Array, str]:
    """Returns what is drawn as a whole: speakers, or utterances where that is no unit.

    Args:
        labels: (trials,) of 0 and 1.
        speakers: (trials,) names. A class in which all trials have one speaker (a
            single synthetic voice) is drawn by utterance.
        utterances: (trials,) names; None: every trial is an utterance.
        unknown: the name of unknown speakers, whose trials are drawn by utterance.

    Returns:
        Ids (trials,) int, speakers by name before utterances by name; and what they
        are in words.
    """
    real = metrics.is_bonafide(labels)
    names, ids = metrics.codes(speakers)
    alone, kinds = speakers == unknown, "speakers"
    for name, its in (("bona fide", real), ("spoof", ~real)):
        if np.all(ids[its] == ids[its][0]):
            alone = alone | its
            kinds += f" ({name}: utterances, of one voice)"
    own = np.arange(len(ids)) if utterances is None else metrics.codes(utterances)[1]
    return np.where(alone, len(names) + own, ids), kinds


def cluster(labels: Array, ids: Array, scheme: Scheme) -> Clusters:
    """Returns the clusters of trials that a scheme draws.

    Args:
        labels: (trials,) of 0 and 1.
        ids: (trials,) strings or integers; at least two in each class.
        scheme: an id that both classes have is one cluster if they are drawn together,
            two if they are drawn apart.
    """
    real, ids = metrics.is_bonafide(labels), np.asarray(ids)
    require(ids.shape == real.shape, f"clusters are {ids.shape}, not {real.shape}")
    for name, its in (("bona fide", real), ("spoof", ~real)):
        found = f"{name} trials form 1 cluster, need 2"
        several = bool(np.any(ids[its] != ids[its][0]))
        require(several, f"{found}; use finer ids, such as utterances")
    together = scheme.classes == "together"
    index, strata = np.empty(real.size, np.intp), []
    for its in [np.ones_like(real)] if together else [real, ~real]:
        names, group = metrics.codes(ids[its])
        index[its] = group + sum(strata)
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
    """Returns statistics in the same replicates, float64 (statistics, replicates).

    A replicate draws as many clusters as there are, with replacement. A statistic of
    `mldg_jax.scoring.bootstrap_statistics` is NaN where a class is not drawn at all.

    Args:
        statistics: of the clusters' counts.
        clusters: of `cluster`.
        scheme: its replicates and seed.
        stream: tells the random numbers of several tests apart.
        block: counts held at once, which limits memory.
    """
    replicates = scheme.replicates
    require(replicates >= 1, f"replicates is {replicates}, must be >= 1; try 1000")
    rng = np.random.default_rng(np.random.SeedSequence((scheme.seed, *stream)))
    rows = max(1, block // clusters.count)
    blocks = _counts(clusters.strata, replicates, rows, rng)
    found = [np.stack([one(counts) for one in statistics]) for counts in blocks]
    return np.concatenate(found, axis=1)


def over_seeds(values: Array, scheme: Scheme) -> Array:
    """Returns the mean over training seeds, drawn with replacement if the scheme says.

    Args:
        values: (replicates, seeds); systems with as many seeds get the same draws.
        scheme: of `replicate`.
    """
    if scheme.seeds:
        rng = np.random.default_rng(scheme.seed)
        drawn = rng.integers(values.shape[1], size=values.shape)
        values = np.take_along_axis(values, drawn, axis=1)
    return values.mean(axis=1)


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval `(low, high)` of replicates (r,); NaN ones are dropped."""
    require(0 < level < 1, f"level is {level}, must be in (0, 1); try 0.95")
    kept = values[~np.isnan(values)]
    require(kept.size > 0, f"0 of {values.size} replicates are defined; add speakers")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference(point: float, replicates: Array, level: float = 0.95) -> Difference:
    """Returns a difference with its interval and p; replicates are (r,), paired."""
    return Difference(point, *interval(replicates, level), p_value(replicates))


def p_value(differences: Array) -> float:
    """Two-sided p of "no difference" from replicates (r,) of a difference, in (0, 1].

    The smallest 1 − level at which `interval` would exclude zero (Efron and Tibshirani
    1993, 15.4), with one added to each count so that it is never 0.
    """
    kept = differences[~np.isnan(differences)]
    tail = min(np.sum(kept <= 0), np.sum(kept >= 0))
    return float(min(1.0, 2 * (tail + 1) / (kept.size + 1)))


def _counts(
    strata: Sequence[int], replicates: int, rows: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Blocks (r, clusters) int64: how often each was drawn in r replicates."""
    for start in range(0, replicates, rows):
        r, parts = min(rows, replicates - start), []
        for size in strata:
            drawn = rng.integers(size, size=(r, size))
            drawn += size * np.arange(r)[:, None]  # one histogram for all rows
            counts = np.bincount(drawn.ravel(), minlength=r * size)
            parts.append(counts.reshape(r, size))
        yield np.concatenate(parts, axis=1)
