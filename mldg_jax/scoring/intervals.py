"""The intervals and the differences of an evaluation."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.error_rates import Difference
from mldg_jax.common.errors import UserError
from mldg_jax.data.schema import BONAFIDE, UNKNOWN_ATTACK
from mldg_jax.scoring import (
    bootstrap,
    bootstrap_statistics,
    multiple_comparisons,
    two_way,
)
from mldg_jax.scoring.bootstrap import Clusters
from mldg_jax.scoring.bootstrap_statistics import Statistic
from mldg_jax.scoring.key_files import UNKNOWN, Keys
from mldg_jax.scoring.outcome import Evaluation
from mldg_jax.scoring.scheme import Scheme

INTERVALS: dict[str, Callable[..., Statistic]] = {
    "eer": bootstrap_statistics.eer,
    "min_dcf": bootstrap_statistics.min_dcf,
    "act_dcf": bootstrap_statistics.act_dcf,
    "cllr": bootstrap_statistics.cllr,
}
FEWEST = 5  # fewest speakers of a class for an interval
# Fewest attacks: 95 % intervals of the EER hold it for 89, 93 and 96 % of 500 simulated
# systems with 2, 3 and 4 attacks (benchmarks/interval_coverage.py --attacks 2,3,4).
FEWEST_ATTACKS = 3
NEW_ATTACKS = "eer_new_attacks"  # name of the EER's interval for new attacks

Groups = Mapping[str, Mapping[str, np.ndarray]]


class Replicates(NamedTuple):
    """Bootstrap replicates of several statistics.

    Attributes:
      values: (r,) by name: (system, measure) or (system, condition, value).
      fewest: by name, see ``bootstrap.interval``.
    """

    values: dict[tuple[str, ...], np.ndarray]
    fewest: dict[tuple[str, ...], int | None]


def cluster_ids(keys: Keys) -> tuple[np.ndarray, str]:
    """Returns the units that are resampled: speakers, or utterances if none are known.

    Args:
      keys: the trials.

    Returns:
      (trials,) ids and their description; see ``bootstrap.units``.
    """
    if "speaker" not in keys.columns:
        return np.arange(len(keys.label)), "utterances"
    speakers = keys.columns["speaker"]
    return bootstrap.units(keys.label, speakers, unknown=UNKNOWN)


def attack_names(keys: Keys, scheme: Scheme) -> np.ndarray | None:
    """Returns the attacks (or their families) that a scheme draws.

    Args:
      keys: the trials.
      scheme: its families are used.

    Returns:
      (trials,) names; None if the attack of a spoof trial is unknown.
    """
    attacks = keys.columns.get("attack")
    if attacks is None or np.any(attacks[keys.label != BONAFIDE] == UNKNOWN_ATTACK):
        return None
    return two_way.families(attacks, scheme.families)


def count_attacks(keys: Keys, scheme: Scheme) -> int:
    """Returns the number of attacks (or families) that a scheme draws.

    Args:
      keys: the trials.
      scheme: its families are used.

    Returns:
      The number; 0 if the attack of a spoof trial is unknown.
    """
    names = attack_names(keys, scheme)
    return 0 if names is None else len(set(names[keys.label != BONAFIDE].tolist()))


def check_families(keys: Keys, scheme: Scheme) -> None:
    """Checks that the families of a scheme are of attacks of the keys.

    Args:
      keys: the trials.
      scheme: its families are checked.

    Raises:
      UserError: an attack is unknown, or its family is one that has another family.
    """
    strange = sorted(set(scheme.families) - set(keys.columns.get("attack", [])))
    if strange:
        raise UserError(
            f"there is a family for the attack {strange[0]!r}, which the keys do not "
            "have: correct --families"
        )
    for attack, family in scheme.families.items():
        if scheme.families.get(family, family) != family:
            raise UserError(
                f"the family of {attack} is {family}, an attack that has the family "
                f"{scheme.families[family]}: name the last family for each in "
                "--families"
            )


def add(
    evaluation: Evaluation, groups: Groups, asv: Mapping[str, float] | None
) -> Evaluation:
    """Adds intervals and differences, all from the same bootstrap replicates.

    Args:
      evaluation: without intervals.
      groups: trials by condition and value, see ``metrics.groups``.
      asv: the three rates of ``metrics.min_tdcf``, if the systems have one.

    Returns:
      The evaluation with intervals; without, and without replicates in its scheme, if a
      class has fewer than ``FEWEST`` units.

    Raises:
      UserError: attacks shall be resampled, and there are too few.
    """
    keys, scheme = evaluation.keys, evaluation.scheme
    n_attacks = count_attacks(keys, scheme)
    check_families(keys, scheme)
    if scheme.attacks and n_attacks < FEWEST_ATTACKS:
        known = f"{n_attacks}" if n_attacks else "trials whose attack is unknown"
        raise UserError(
            f"resampling attacks needs at least {FEWEST_ATTACKS} attacks, the keys "
            f"have {known}: use --resample speakers"
        )
    real = keys.label == BONAFIDE
    ids, units = cluster_ids(keys)
    speakers = ids
    if scheme.clusters == "trials":
        ids, units = np.arange(real.size), "trials"
    if not has_enough(ids, real):
        scheme = replace(scheme, replicates=0)
    evaluation = replace(evaluation, scheme=scheme, units=units)
    if not scheme.replicates:
        return evaluation
    clusters, crossed = bootstrap.cluster(keys.label, ids, scheme), None
    if n_attacks >= FEWEST_ATTACKS and has_enough(speakers, real):
        by_speaker = bootstrap.cluster(keys.label, speakers, scheme)
        names = attack_names(keys, scheme)
        assert names is not None
        crossed = two_way.cross(by_speaker, keys.label, names)
    return _bounded(evaluation, _draw(evaluation, clusters, crossed, groups, asv))


def _draw(
    evaluation: Evaluation,
    clusters: Clusters,
    crossed: Clusters | None,
    groups: Groups,
    asv: Mapping[str, float] | None,
) -> Replicates:
    """Draws the replicates of all statistics of an evaluation."""
    scheme, units = evaluation.scheme, clusters.index
    makers = dict(INTERVALS)
    if asv is not None:
        cost = metrics.tandem_cost(**asv)
        makers["min_tdcf"] = functools.partial(bootstrap_statistics.min_dcf, cost=cost)
    if crossed is None:
        return _replicates(evaluation, clusters, units, makers, groups)
    if not scheme.attacks:
        eer = {NEW_ATTACKS: bootstrap_statistics.eer}
        parts = [(clusters, makers, groups), (crossed, eer, {})]
    else:  # of one attack there are no others to draw: it is as without
        own = {k: v for k, v in groups.items() if k == "attack"}
        other = {k: v for k, v in groups.items() if k != "attack"}
        parts = [(crossed, makers, other), (clusters, {}, own)]
    drawn = [_replicates(evaluation, c, units, m, g) for c, m, g in parts]
    first, second = drawn
    return Replicates(first.values | second.values, first.fewest | second.fewest)


def _replicates(
    evaluation: Evaluation,
    clusters: Clusters,
    units: np.ndarray,
    makers: Mapping[str, Callable[..., Statistic]],
    groups: Groups,
) -> Replicates:
    """Draws the replicates of measures and of parts with enough units (trials,)."""
    real, index, size = (
        evaluation.keys.label == BONAFIDE,
        clusters.index,
        clusters.count,
    )
    statistics: dict[tuple[str, ...], Statistic] = {}
    fewest: dict[tuple[str, ...], int | None] = {}
    for condition, parts in groups.items():
        for value, part in parts.items():
            few = _fewest(clusters, part[~real[part]])
            attacks_enough = few is None or few >= FEWEST_ATTACKS
            if attacks_enough and has_enough(units[part], real[part]):
                for name, values in evaluation.scores.items():
                    fewest[name, condition, value] = few
                    statistics[name, condition, value] = bootstrap_statistics.eer(
                        values[part], real[part], index[part], size
                    )
    for name, values in evaluation.scores.items():
        for measure, make in makers.items():
            fewest[name, measure] = clusters.fewest
            statistics[name, measure] = make(values, real, index, size)
    drawn = bootstrap.replicate(
        list(statistics.values()), clusters, evaluation.scheme
    ) if statistics else []  # fmt: skip
    return Replicates(dict(zip(statistics, drawn, strict=True)), fewest)


def _fewest(clusters: Clusters, spoof: np.ndarray) -> int | None:
    """Returns ``clusters.fewest`` of a part with the given spoof trials (n,)."""
    if clusters.factors is None or clusters.fewest is None:
        return None
    return min(clusters.fewest, len(set(clusters.factors[clusters.index[spoof], 1])))


def _bounded(evaluation: Evaluation, drawn: Replicates) -> Evaluation:
    """Adds the intervals and differences of replicates."""
    level = evaluation.scheme.level
    ends = {
        name: bootstrap.interval(values, level, drawn.fewest[name])
        for name, values in drawn.values.items()
    }
    systems = {}
    for name, system in evaluation.systems.items():
        parts = {
            condition: {
                value: replace(part, low=low, high=high)
                for value, part in values.items()
                for low, high in [ends.get((name, condition, value), (None, None))]
            }
            for condition, values in system.parts.items()
        }
        own = {k[1]: pair for k, pair in ends.items() if k[0] == name and len(k) == 2}
        systems[name] = replace(system, parts=parts, intervals=own)
    evaluation = replace(evaluation, systems=systems)
    differences = _differences(evaluation, drawn, "eer")
    new = _differences(evaluation, drawn, NEW_ATTACKS)
    differences = {
        pair: replace(difference, on_new_attacks=new.get(pair))
        for pair, difference in differences.items()
    }
    return replace(evaluation, differences=differences)


def _differences(
    evaluation: Evaluation, drawn: Replicates, measure: str
) -> dict[tuple[str, str], Difference]:
    """Returns the differences in EER of all pairs, by replicates of a measure."""
    systems, level = evaluation.systems, evaluation.scheme.level
    pairs = list(combinations(systems, 2))
    if not pairs or (pairs[0][0], measure) not in drawn.values:
        return {}
    fewest = drawn.fewest[pairs[0][0], measure]
    points = [systems[a].eer.eer - systems[b].eer.eer for a, b in pairs]
    replicates = [drawn.values[a, measure] - drawn.values[b, measure] for a, b in pairs]
    return dict(
        zip(
            pairs,
            multiple_comparisons.differences(points, replicates, level, fewest),
            strict=True,
        )
    )


def has_enough(index: np.ndarray, real: np.ndarray) -> bool:
    """Returns whether both classes have enough clusters for an interval.

    Args:
      index: (trials,) the cluster of each trial.
      real: (trials,) bool, bona fide.

    Returns:
      True if each class has at least ``FEWEST``.
    """
    return all(len(np.unique(index[in_class])) >= FEWEST for in_class in (real, ~real))
