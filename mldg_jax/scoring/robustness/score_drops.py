"""What degradations cost: EER and HTER, and their paired changes against clean."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.errors import UserError
from mldg_jax.data.schema import BONAFIDE
from mldg_jax.scoring import (
    bootstrap,
    bootstrap_statistics,
    fixed_threshold,
    intervals,
    multiple_comparisons,
    two_way,
)
from mldg_jax.scoring.bootstrap import Clusters
from mldg_jax.scoring.fixed_threshold import ThresholdErrors
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.robustness.degraded_scores import CLEAN, DegradedScores
from mldg_jax.scoring.scheme import Scheme


@dataclass(frozen=True)
class ScoreDrop:
    """The error rates under one degradation.

    Attributes:
      changed: number of recordings that it changed.
      failed: why a recording could not be degraded, by its name; these do not count.
      snr: median of the power of a recording over that of the change, in dB.
      eer: a fraction.
      errors: at the threshold of the clean scores.
      eer_change, hter_change: against the same recordings as they are; for ``CLEAN``
        zero. Without an interval, low and high are NaN.
    """

    changed: int
    failed: dict[str, str]
    snr: float | None
    eer: float
    errors: ThresholdErrors
    eer_change: Difference
    hter_change: Difference

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name; intervals only if there are any."""

        def change(one: Difference) -> dict[str, Any]:
            with_interval = np.isfinite([one.low, one.high]).all()
            return one.to_json() if with_interval else {"difference": one.difference}

        return {
            "changed": self.changed,
            "failed": self.failed,
            "snr": self.snr,
            "eer": self.eer,
            "at_clean_threshold": self.errors.to_json(),
            "eer_change": change(self.eer_change),
            "hter_change": change(self.hter_change),
        }


@dataclass(frozen=True)
class Robustness:
    """A robustness evaluation of one detector.

    Attributes:
      title: the trials.
      drops: by degradation, ``CLEAN`` first.
      scheme: of the bootstrap; without replicates there are no intervals.
      units: description of what is resampled.
    """

    title: str
    drops: dict[str, ScoreDrop]
    scheme: Scheme
    units: str

    def to_json(self) -> dict[str, Any]:
        """Returns the object that ``--json`` prints."""
        clean = self.drops[CLEAN]
        return {
            "trials": self.title,
            "n_bonafide": clean.errors.n_bonafide,
            "n_spoof": clean.errors.n_spoof,
            "threshold": clean.errors.threshold,
            "bootstrap": self.scheme.to_json(self.units)
            if self.scheme.replicates
            else None,
            "degradations": {name: x.to_json() for name, x in self.drops.items()},
        }


def measure(
    title: str, keys: Keys, scored: Mapping[str, DegradedScores], scheme: Scheme
) -> Robustness:
    """Measures what degradations cost.

    The threshold is that of the EER of the clean scores. A recording counts under a
    degradation if it has a score under it and a clean one.

    Args:
      title: of the trials.
      keys: the trials.
      scored: by degradation, with ``CLEAN``.
      scheme: of the bootstrap. Attacks are drawn only if the keys have enough of them.

    Returns:
      The error rates and their changes, with intervals if each class has enough
      speakers.

    Raises:
      UserError: a class has no scores, the clean scores are all equal, or the
        families of the scheme do not fit the keys.
    """
    intervals.check_families(keys, scheme)
    real = keys.label == BONAFIDE
    clean = scored[CLEAN].scores
    counted = {x: np.isfinite(scored[x].scores) & np.isfinite(clean) for x in scored}
    for name, both in counted.items():
        if not (both & real).any() or not (both & ~real).any():
            reason = next(iter(scored[name].failed.values()), "none has a clean score")
            raise UserError(
                f"{name}: no recording of a class could be scored ({reason}); leave "
                f"the degradation out with --without {name}"
            )
    known = np.isfinite(clean)
    try:
        threshold = fixed_threshold.eer_threshold(
            clean[known & real], clean[known & ~real]
        )
    except ValueError as error:
        raise UserError(f"clean recordings: {error}") from None
    drops = {
        name: _without_intervals(x, clean, real, counted[name], threshold)
        for name, x in scored.items()
    }
    scheme, units, clusters = _clusters(keys, scheme)
    if clusters is not None and len(drops) > 1:
        drops = _bounded(drops, scored, counted, real, threshold, scheme, clusters)
    return Robustness(title, drops, scheme, units)


def _without_intervals(
    scored: DegradedScores, clean: Array, real: Array, both: Array, threshold: float
) -> ScoreDrop:
    """Returns the rates of a degradation and their changes."""
    parts = [(x[both & real], x[both & ~real]) for x in (scored.scores, clean)]
    rates = [metrics.eer(*part)[0] for part in parts]
    errors = [fixed_threshold.count_errors(*part, threshold) for part in parts]
    changes = (rates[0] - rates[1], errors[0].hter - errors[1].hter)
    none = float("nan")
    return ScoreDrop(
        scored.changed,
        scored.failed,
        scored.snr,
        float(rates[0]),
        errors[0],
        *(Difference(float(x), none, none, 1.0) for x in changes),
    )


def _clusters(keys: Keys, scheme: Scheme) -> tuple[Scheme, str, Clusters | None]:
    """Returns what is drawn: the scheme as it is possible, words for it, clusters."""
    real = keys.label == BONAFIDE
    ids, units = intervals.cluster_ids(keys)
    attacks = intervals.count_attacks(keys, scheme)
    if scheme.attacks and attacks < intervals.FEWEST_ATTACKS:
        scheme = replace(scheme, clusters="speakers")
    enough = intervals.has_enough(ids, real)
    if scheme.clusters == "trials":
        ids, units = np.arange(real.size), "trials"
        enough = intervals.has_enough(ids, real)
    if not scheme.replicates or not enough:
        return replace(scheme, replicates=0), units, None
    clusters = bootstrap.cluster(keys.label, ids, scheme)
    if scheme.attacks:
        names = intervals.attack_names(keys, scheme)
        assert names is not None
        clusters = two_way.cross(clusters, keys.label, names)
    return scheme, units, clusters


def _bounded(
    drops: Mapping[str, ScoreDrop],
    scored: Mapping[str, DegradedScores],
    counted: Mapping[str, Array],
    real: Array,
    threshold: float,
    scheme: Scheme,
    clusters: Clusters,
) -> dict[str, ScoreDrop]:
    """Adds intervals and p-values, adjusted for the number of degradations."""
    statistics, clean = [], scored[CLEAN].scores
    for name, x in scored.items():
        both = counted[name]
        for scores in (x.scores, clean):
            part = scores[both], real[both], clusters.index[both], clusters.count
            statistics.append(bootstrap_statistics.eer(*part))
            statistics.append(bootstrap_statistics.hter(*part, threshold))
    drawn = bootstrap.replicate(statistics, clusters, scheme)
    eer, hter, clean_eer, clean_hter = (drawn[i::4] for i in range(4))
    bounded = dict(drops)
    names = [name for name in drops if name != CLEAN]
    rows = [i for i, name in enumerate(drops) if name != CLEAN]
    for field, replicates in (
        ("eer_change", (eer - clean_eer)[rows]),
        ("hter_change", (hter - clean_hter)[rows]),
    ):
        points = [getattr(drops[name], field).difference for name in names]
        changes = multiple_comparisons.differences(
            points, list(replicates), scheme.level, clusters.fewest
        )
        for name, change in zip(names, changes, strict=True):
            bounded[name] = replace(bounded[name], **{field: change})
    return bounded
