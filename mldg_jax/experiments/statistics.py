"""Error rates of several methods on the same utterances, with intervals.

A method is trained with several seeds; every seed scores every test. A *column* of a
table is an error rate averaged over tests: one test, the speaker folds of a corpus, or
several corpora. Intervals resample seeds and, within each test, speakers (``SCHEME``)
or speakers and attacks. All methods get the same ones, so differences between methods
are paired.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mldg_jax import metrics
from mldg_jax.common.error_rates import Difference, ErrorRate
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK, Corpus
from mldg_jax.experiments import resampling
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.scoring import bootstrap, multiple_comparisons
from mldg_jax.scoring.bootstrap import Scheme

# "apart", because most synthesisers have their own voices.
SCHEME = Scheme("apart", seeds=True, replicates=2000)


class Condition(NamedTuple):
    """The trials of an error rate and how they are averaged.

    Attributes:
      test: the utterances with their scores.
      attacks: attacks to take in addition to bona fide; None for all.
      macro: whether to take the mean over pairs of speaker and attack instead of the
        EER of all trials.
    """

    test: Scored
    attacks: tuple[str, ...] | None = None
    macro: bool = False


class Rates(NamedTuple):
    """An error rate of every method, as fractions.

    Attributes:
      points: by method, (seeds,).
      replicates: by method, (replicates,), each the mean over the seeds drawn.
      scheme: how the bootstrap replicates were drawn.
      fewest: see ``bootstrap.interval``.
    """

    points: dict[str, np.ndarray]
    replicates: dict[str, np.ndarray]
    scheme: Scheme
    fewest: int | None = None


@dataclasses.dataclass(frozen=True)
class SeedRate(ErrorRate):
    """The mean error rate over training seeds.

    Attributes:
      sd: standard deviation over seeds; None for a single seed.
      by_seed: the error rate of each seed, fractions.
    """

    sd: float | None = None
    by_seed: tuple[float, ...] = ()


def columns(
    tests: Mapping[str, Sequence[Scored]], trained: set[str]
) -> dict[str, list[Condition]]:
    """Returns the columns of a table.

    Args:
      tests: by test name, one entry or one per speaker fold.
      trained: attacks that were trained on; the others are unseen.

    Returns:
      For one test, ``pooled``, ``seen`` and ``unseen`` attacks and, if there are
      several human speakers, ``macro`` and ``macro_unseen``, as far as each has trials
      and differs from the others. For several tests, each one pooled, and ``average``.
    """
    if len(tests) > 1:
        pooled = {
            name: [Condition(test) for test in folds] for name, folds in tests.items()
        }
        return {**pooled, "average": list(itertools.chain(*pooled.values()))}
    (folds,) = tests.values()
    seen, unseen = attacks(folds, trained)
    conditions = {
        "pooled": [Condition(test) for test in folds],
        "seen": [Condition(test, seen) for test in folds],
        "unseen": [Condition(test, unseen) for test in folds],
    }
    if min(_speakers(test.rows) for test in folds) > 1:
        conditions["macro"] = [Condition(test, macro=True) for test in folds]
        conditions["macro_unseen"] = [Condition(test, unseen, True) for test in folds]
    conditions = {k: parts for k, parts in conditions.items() if parts[0].attacks != ()}
    if not seen:  # all attacks are unseen: these columns would repeat the others
        conditions = {k: parts for k, parts in conditions.items() if "unseen" not in k}
    return conditions


def attacks(
    tests: Sequence[Scored], trained: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Splits the attacks of some tests into seen and unseen ones.

    Args:
      tests: the tests.
      trained: attacks that were trained on.

    Returns:
      ``(seen, unseen)``, both sorted.
    """
    present = set(np.concatenate([test.rows.attack for test in tests]).tolist())
    present -= {NO_ATTACK}
    return tuple(sorted(present & trained)), tuple(sorted(present - trained))


def _speakers(rows: Corpus) -> int:
    """Returns the number of human speakers that count in macro EER."""
    real = rows.speaker[rows.label == BONAFIDE]
    return int(np.sum(np.unique(real, return_counts=True)[1] >= metrics.MACRO_CLIPS))


def points(part: Condition) -> dict[str, np.ndarray]:
    """Computes the error rate of every method and seed.

    Args:
      part: the trials and how they are averaged.

    Returns:
      By method, (seeds,) fractions.
    """
    rows, scores = _trials(part)
    real = rows.label == BONAFIDE

    def error_rate(values: np.ndarray) -> float:
        if part.macro:
            return metrics.macro_eer(values, rows.label, rows.attack, rows.speaker)
        return metrics.eer(values[real], values[~real])[0]

    return {
        method: np.array([error_rate(values) for values in by_seed])
        for method, by_seed in scores.items()
    }


def rates(parts: Sequence[Condition], scheme: Scheme = SCHEME) -> Rates:
    """Computes the mean of an error rate over tests for every method.

    Tests of the same speakers and different groups of attacks (``Scored.frame``) draw
    the same speakers, and attacks from all groups: a test counts as often as its
    families are drawn.

    Args:
      parts: tests with the same methods and the same number of seeds.
      scheme: of the bootstrap.

    Returns:
      The error rates and their bootstrap replicates.
    """
    methods = list(parts[0].test.scores)
    by_test = [points(part) for part in parts]
    trials = [_trials(part) for part in parts]
    frames = [
        rows if part.test.frame is None else part.test.frame
        for part, (rows, _) in zip(parts, trials, strict=True)
    ]
    # The first test of the same trials gives them their random numbers.
    stream = [[x is frame for x in frames].index(True) for frame in frames]
    clusters = {i: resampling.clusters(frames[i], scheme) for i in set(stream)}
    # Tests with the same attacks, such as speaker folds, draw the same ones.
    attacks_of = [sorted(set(rows.attack.tolist())) for rows in frames]
    drawn, weights = [], []
    for index, part in enumerate(parts):
        number = stream[index]
        streams = number, attacks_of.index(attacks_of[number])
        rows, scores = trials[index]
        own = resampling.part(clusters[number], frames[index], rows)
        options = {"scheme": scheme, "streams": streams}
        drawn.append(
            resampling.replicates(rows, scores, own, macro=part.macro, **options)
        )
        weights.append(
            np.ones((1, 1))
            if part.test.frame is None
            else resampling.families_drawn(rows, own, **options)
        )
    counts = [
        1 if part.test.frame is None else resampling.families_of(rows, scheme)
        for part, (rows, _) in zip(parts, trials, strict=True)
    ]
    fewest = [x.fewest for x in clusters.values() if x.fewest is not None]
    return Rates(
        {
            method: np.average([rates[method] for rates in by_test], 0, counts)
            for method in methods
        },
        {
            method: bootstrap.over_seeds(
                _mean([replicates[method] for replicates in drawn], weights), scheme
            )
            for method in methods
        },
        scheme,
        min(fewest, default=None),
    )


def _mean(values: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """Averages (replicates, seeds) over tests; one that is not drawn does not count."""
    terms = [np.where(w > 0, x * w, 0.0) for x, w in zip(values, weights, strict=True)]
    return np.sum(terms, 0) / np.sum(np.broadcast_arrays(*weights), 0)


def rate(found: Rates, method: str) -> SeedRate:
    """Returns a method's mean error rate over seeds with its interval.

    Args:
      found: the result of ``rates``.
      method: the method.

    Returns:
      The error rate.
    """
    by_seed = found.points[method]
    low, high = bootstrap.interval(
        found.replicates[method], found.scheme.level, found.fewest
    )
    sd = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
    return SeedRate(float(by_seed.mean()), low, high, sd, tuple(by_seed.tolist()))


def difference(found: Rates, a: str, b: str) -> Difference:
    """Returns the paired difference of two methods' error rates, a − b.

    Args:
      found: the result of ``rates``.
      a, b: the methods.

    Returns:
      The difference with its interval and p-value.
    """
    return bootstrap.difference(
        float(found.points[a].mean() - found.points[b].mean()),
        found.replicates[a] - found.replicates[b],
        found.scheme.level,
        found.fewest,
    )


def differences(
    found: Rates, pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Difference]:
    """Returns paired differences, with p-values adjusted for their number.

    Args:
      found: the result of ``rates``.
      pairs: pairs of methods (a, b), for a − b.

    Returns:
      The differences by pair.
    """
    pairs = list(pairs)
    adjusted = multiple_comparisons.differences(
        [float(found.points[a].mean() - found.points[b].mean()) for a, b in pairs],
        [found.replicates[a] - found.replicates[b] for a, b in pairs],
        found.scheme.level,
        found.fewest,
    )
    return dict(zip(pairs, adjusted, strict=True))


def keep(rows: Corpus, some: Sequence[str] | None) -> np.ndarray:
    """Selects bona fide and the spoofs of some attacks.

    Args:
      rows: n utterances.
      some: the attacks; None for all.

    Returns:
      (n,) bool.
    """
    if some is None:
        return np.ones(len(rows.label), bool)
    return (rows.label == BONAFIDE) | np.isin(rows.attack, some)


def _trials(part: Condition) -> tuple[Corpus, dict[str, np.ndarray]]:
    mask = keep(part.test.rows, part.attacks)
    scores = {method: values[:, mask] for method, values in part.test.scores.items()}
    return part.test.rows.take(mask), scores
