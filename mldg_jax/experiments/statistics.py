"""Error rates of several methods on the same utterances, and how sure one can be of
them.

A method is trained with several seeds; every seed scores every test. A *column* of a
table is an error rate averaged over tests: one test, the speaker folds of a corpus, or
several corpora. Intervals resample seeds and, within each test, speakers (`SCHEME`),
the same ones for all methods: so differences between methods are paired.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.error_rates import Difference, ErrorRate
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, Corpus
from mldg_jax.experiments import jobs
from mldg_jax.experiments.jobs import Job
from mldg_jax.scoring import bootstrap, bootstrap_statistics
from mldg_jax.scoring.bootstrap import Scheme

# Apart: most synthesisers have voices of their own.
SCHEME = Scheme("apart", seeds=True, replicates=2000)


class Scored(NamedTuple):
    """The utterances of a test, and what every method says of them.

    Attributes:
      rows: n utterances.
      scores: by method, (seeds, n) float64, higher is more bona fide.
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
    """An error rate of every method, a fraction.

    Attributes:
      points: by method, (seeds,).
      replicates: by method, (replicates,), the mean over the seeds drawn.
      scheme: how they were drawn.
    """

    points: dict[str, np.ndarray]
    replicates: dict[str, np.ndarray]
    scheme: Scheme


@dataclasses.dataclass(frozen=True)
class SeedRate(ErrorRate):
    """The mean error rate over training seeds.

    Attributes:
      sd: standard deviation over seeds; None with one.
      by_seed: fractions.
    """

    sd: float | None = None
    by_seed: tuple[float, ...] = ()


def scored(made: Mapping[str, Sequence[Job]], seeds: int) -> dict[str, list[Scored]]:
    """Reads the scores of finished jobs.

    Args:
      made: by method its jobs: those of the first seed, one a speaker fold, then the
        next.
      seeds: how many.

    Returns:
      By corpus its tests, one a speaker fold.
    """
    tests: dict[str, list[Scored]] = {}
    first = next(iter(made.values()))
    folds = len(first) // seeds
    for fold in range(folds):
        for place, test in enumerate(first[fold].tests):
            rows = test.rows()
            scores = {
                method: np.stack(
                    [
                        jobs.read_scores(job.scores(job.tests[place]), rows)
                        for job in its[fold::folds]
                    ]
                )
                for method, its in made.items()
            }
            tests.setdefault(test.name, []).append(Scored(rows, scores))
    return tests


def columns(
    tests: Mapping[str, Sequence[Scored]], trained: set[str]
) -> dict[str, list[Condition]]:
    """The columns of a table.

    Args:
      tests: by corpus its tests: one, or its speaker folds.
      trained: attacks that were trained on; the others are unseen.

    Returns:
      With one corpus ``pooled``, ``seen`` and ``unseen`` attacks and, if there are
      several human speakers, ``macro`` and ``macro_unseen``; with several corpora each,
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
    if min(_speakers(test.rows) for test in folds) > 1:
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


def _speakers(rows: Corpus) -> int:
    """Human speakers that count in macro EER."""
    real = rows.speaker[rows.label == BONAFIDE]
    return int(np.sum(np.unique(real, return_counts=True)[1] >= metrics.MACRO_CLIPS))


def points(part: Condition) -> dict[str, np.ndarray]:
    """Returns the error rate of every method, (seeds,) fractions."""
    rows, scores = _of(part)
    real = rows.label == BONAFIDE

    def one(values: np.ndarray) -> float:
        if part.macro:
            return metrics.macro_eer(values, rows.label, rows.attack, rows.speaker)
        return metrics.eer(values[real], values[~real])[0]

    return {method: np.array([one(x) for x in its]) for method, its in scores.items()}


def rates(parts: Sequence[Condition], scheme: Scheme = SCHEME) -> Rates:
    """Returns the mean of an error rate over tests, for every method.

    Args:
      parts: tests with the same methods and the same number of seeds.
      scheme: of the bootstrap.
    """
    methods = list(parts[0].test.scores)
    by_test = [points(part) for part in parts]
    drawn = [_replicates(part, scheme, place) for place, part in enumerate(parts)]
    return Rates(
        {
            method: np.mean([one[method] for one in by_test], axis=0)
            for method in methods
        },
        {
            method: bootstrap.over_seeds(
                np.mean([one[method] for one in drawn], 0), scheme
            )
            for method in methods
        },
        scheme,
    )


def rate(found: Rates, method: str) -> SeedRate:
    """Returns the mean over seeds of a method's error rate, with its interval."""
    by_seed = found.points[method]
    low, high = bootstrap.interval(found.replicates[method], found.scheme.level)
    sd = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
    return SeedRate(float(by_seed.mean()), low, high, sd, tuple(by_seed.tolist()))


def difference(found: Rates, a: str, b: str) -> Difference:
    """Returns the paired difference a − b of the error rates of two methods."""
    return bootstrap.difference(
        float(found.points[a].mean() - found.points[b].mean()),
        found.replicates[a] - found.replicates[b],
        found.scheme.level,
    )


def keep(rows: Corpus, some: Sequence[str] | None) -> np.ndarray:
    """Bona fide and the spoof of some attacks (None: of all), as a mask."""
    if some is None:
        return np.ones(len(rows.label), bool)
    return (rows.label == BONAFIDE) | np.isin(rows.attack, some)


def _of(part: Condition) -> tuple[Corpus, dict[str, np.ndarray]]:
    kept = keep(part.test.rows, part.attacks)
    scores = {method: values[:, kept] for method, values in part.test.scores.items()}
    return part.test.rows.take(kept), scores


def _replicates(part: Condition, scheme: Scheme, place: int) -> dict[str, np.ndarray]:
    """By method (replicates, seeds); `place` is that of the test among several."""
    rows, scores = _of(part)
    ids, _ = bootstrap.units(rows.label, rows.speaker, rows.utterance)
    clusters = bootstrap.cluster(rows.label, ids, scheme)
    if part.macro:
        pairs = metrics.macro_pairs(rows.label, rows.attack, rows.speaker)

        def statistic(one):
            return bootstrap_statistics.macro_eer(one, pairs, clusters.index)

    else:
        real = rows.label == BONAFIDE

        def statistic(one):
            return bootstrap_statistics.eer(one, real, clusters.index, clusters.count)

    every = [statistic(one) for values in scores.values() for one in values]
    values = bootstrap.replicate(every, clusters, scheme, (place,))
    values = values.reshape(len(scores), -1, scheme.replicates).transpose(0, 2, 1)
    return dict(zip(scores, values, strict=True))
