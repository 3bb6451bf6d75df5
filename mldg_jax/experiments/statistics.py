"""Error rates of several arms on the same utterances, and how sure one can be of them.

An arm is trained with several seeds; every seed scores every test. A *column* of a
table is an error rate averaged over tests: one test, the speaker folds of a corpus, or
several corpora. Intervals resample seeds and, within each test, speakers, the same ones
for all arms: so differences between arms are paired.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, SPOOF, Corpus
from mldg_jax.scoring import bootstrap, bootstrap_statistics

REPLICAS = 2000


class Scored(NamedTuple):
    """The utterances of a test, and what every arm says of them.

    Attributes:
      rows: n utterances.
      scores: by arm, (seeds, n) float64, higher is more bona fide.
    """

    rows: Corpus
    scores: Mapping[str, np.ndarray]


class Condition(NamedTuple):
    """What an error rate is over.

    Attributes:
      test: the utterances with their scores.
      attacks: bona fide and the spoof of these; None for all.
      macro: the mean over pairs of speaker and attack instead of one EER of all.
    """

    test: Scored
    attacks: tuple[str, ...] | None = None
    macro: bool = False


class Rates(NamedTuple):
    """An error rate of every arm, a fraction.

    Attributes:
      points: by arm, (seeds,).
      replicas: by arm, (replicas,), the mean over the seeds drawn.
    """

    points: dict[str, np.ndarray]
    replicas: dict[str, np.ndarray]


def columns(
    tests: Mapping[str, Sequence[Scored]], trained: set[str]
) -> dict[str, list[Condition]]:
    """The columns of a table.

    Args:
      tests: by corpus its tests: one, or its speaker folds.
      trained: attacks that were trained on; the others are unseen.

    Returns:
      With one corpus ``pooled``, ``seen`` and ``unseen`` attacks and, if there are
      several human voices, ``macro`` and ``macro_unseen``; with several corpora each,
      pooled, and their ``average``.
    """
    if len(tests) > 1:
        found = {name: [Condition(test) for test in its] for name, its in tests.items()}
        return {**found, "average": [part for its in found.values() for part in its]}
    (folds,) = tests.values()
    seen, unseen = attacks(folds, trained)
    found = {
        "pooled": [Condition(test) for test in folds],
        "seen": [Condition(test, seen) for test in folds],
        "unseen": [Condition(test, unseen) for test in folds],
    }
    if min(_voices(test.rows) for test in folds) > 1:
        found["macro"] = [Condition(test, macro=True) for test in folds]
        found["macro_unseen"] = [Condition(test, unseen, True) for test in folds]
    found = {name: parts for name, parts in found.items() if parts[0].attacks != ()}
    if not seen:  # then they say the same
        found = {k: parts for k, parts in found.items() if "unseen" not in k}
    return found


def attacks(
    tests: Sequence[Scored], trained: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The attacks of some tests, sorted: those that were trained on, the others."""
    there = set(np.concatenate([test.rows.attack for test in tests]).tolist())
    there -= {NO_ATTACK}
    return tuple(sorted(there & trained)), tuple(sorted(there - trained))


def _voices(rows: Corpus) -> int:
    """Human voices that count in macro EER."""
    real = rows.speaker[rows.label == BONAFIDE]
    return int(np.sum(np.unique(real, return_counts=True)[1] >= metrics.MACRO_CLIPS))


def rates(parts: Sequence[Condition], *, seed: int = 0) -> Rates:
    """The mean of an error rate over tests, for every arm.

    Args:
      parts: tests with the same arms and the same number of seeds.
      seed: of the bootstrap, ≥ 0.
    """
    found = [
        _rates(part, np.random.SeedSequence((seed, place)))
        for place, part in enumerate(parts)
    ]
    arms = list(parts[0].test.scores)
    points = {arm: np.mean([one[arm][0] for one in found], axis=0) for arm in arms}
    count = len(points[arms[0]])
    drawn = np.random.default_rng(seed).integers(count, size=(REPLICAS, count))
    averaged = {}
    for arm in arms:
        values = np.mean([one[arm][1] for one in found], axis=0)  # (replicas, seeds)
        averaged[arm] = np.take_along_axis(values, drawn, axis=1).mean(axis=1)
    return Rates(points, averaged)


def rate(found: Rates, arm: str) -> dict[str, Any]:
    """One arm's error rate: ``eer``, its 95 % interval, standard deviation of seeds."""
    by_seed = found.points[arm]
    low, high = bootstrap.interval(found.replicas[arm])
    return {
        "eer": float(by_seed.mean()),
        "low": low,
        "high": high,
        "sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        "by_seed": by_seed.tolist(),
    }


def difference(found: Rates, a: str, b: str) -> dict[str, float]:
    """``difference`` a − b, its 95 % interval ``low``, ``high``, two-sided ``p``."""
    replicas = found.replicas[a] - found.replicas[b]
    low, high = bootstrap.interval(replicas)
    return {
        "difference": float(found.points[a].mean() - found.points[b].mean()),
        "low": low,
        "high": high,
        "p": bootstrap.p_value(replicas),
    }


def keep(rows: Corpus, some: Sequence[str] | None) -> np.ndarray:
    """Bona fide and the spoof of some attacks (None: of all), as a mask."""
    if some is None:
        return np.ones(len(rows.label), bool)
    return (rows.label == BONAFIDE) | np.isin(rows.attack, some)


def eer(scores: np.ndarray, rows: Corpus) -> float:
    """The pooled EER of one arm and seed, a fraction."""
    real = rows.label == BONAFIDE
    return metrics.eer(scores[real], scores[rows.label == SPOOF])[0]


def _rates(part: Condition, seed: np.random.SeedSequence) -> dict[str, tuple]:
    """By arm the points (seeds,) and the replicas (replicas, seeds) of one test."""
    kept = keep(part.test.rows, part.attacks)
    rows = part.test.rows.take(kept)
    scores = {arm: values[:, kept] for arm, values in part.test.scores.items()}
    speakers, spoof = rows.speaker, rows.label == SPOOF
    for its in (spoof, ~spoof):
        if len(set(speakers[its])) == 1:  # of one voice the utterances are the units
            speakers = np.where(its, rows.utterance, speakers)
    drawn = bootstrap.within_classes(rows.label, speakers)
    if part.macro:
        pairs = metrics.macro_pairs(rows.label, rows.attack, rows.speaker)

        def statistic(one):
            return bootstrap_statistics.macro_eer(one, pairs, drawn.index)

        def point(one):
            return metrics.macro_eer(one, rows.label, rows.attack, rows.speaker)

    else:

        def statistic(one):
            return bootstrap_statistics.eer(one, ~spoof, drawn.index, sum(drawn.strata))

        def point(one):
            return eer(one, rows)

    every = [statistic(one) for values in scores.values() for one in values]
    values = bootstrap.replicate(every, drawn, REPLICAS, seed)
    values = values.reshape(len(scores), -1, REPLICAS).transpose(0, 2, 1)
    return {
        arm: (np.array([point(one) for one in its]), replicated)
        for (arm, its), replicated in zip(scores.items(), values, strict=True)
    }
