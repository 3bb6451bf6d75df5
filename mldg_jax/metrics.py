"""Detection metrics of the ASVspoof challenges and their confidence intervals.

A score is higher for bona fide. Labels are 1 = bona fide, 0 = spoof; scores are finite,
(trials,) unless stated. Bad input (an empty class, NaN, shapes that differ) raises
`ValueError`. Conventions are those of the ASVspoof 5 evaluation package (github.com/
asvspoof-challenge/asvspoof5); tests/golden/metrics.npz holds what it computes.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy import ndarray as Array

# Cost model of ASVspoof 5, track 1: prior probability of a spoofing attack, cost of
# rejecting bona fide speech, cost of accepting a spoof.
P_SPOOF, C_MISS, C_FALSE_ALARM = 0.05, 1.0, 10.0
_MISS_COST, _FALSE_ALARM_COST = C_MISS * (1 - P_SPOOF), C_FALSE_ALARM * P_SPOOF
_BLOCK = 2_000_000  # bootstrap weights held at once (16 MB)

Statistic = Callable[[Array], Array]  # weights (r, trials) -> (r,), see `bootstrap`


def det_curve(bonafide_scores: Array, spoof_scores: Array) -> tuple[Array, ...]:
    """`(miss, false_alarm, threshold)`, float64 (n + m + 1,), by increasing threshold.

    Miss is the fraction of the n bona fide trials rejected, false alarm that of the m
    spoof trials accepted, in [0, 1]; point i rejects the i lowest scores. Among equal
    scores bona fide is rejected first, one trial at a time: ties give points that no
    threshold attains, and the challenge's EER depends on them.
    """
    bonafide, spoof = _scores(bonafide_scores), _scores(spoof_scores)
    scores = np.concatenate([bonafide, spoof])
    order = np.argsort(scores, kind="stable")
    rejected = np.cumsum(order < bonafide.size)
    accepted = spoof.size - (np.arange(1, scores.size + 1) - rejected)
    miss = np.concatenate([[0.0], rejected / bonafide.size])
    false_alarm = np.concatenate([[1.0], accepted / spoof.size])
    # The package's threshold that accepts everything: the lowest score - 0.001.
    return miss, false_alarm, np.r_[scores[order[0]] - 0.001, scores[order]]


def eer(bonafide_scores: Array, spoof_scores: Array) -> tuple[float, float]:
    """Equal error rate (a fraction in [0, 1]) and its threshold.

    The mean of the two rates at the first point of `det_curve` where they differ
    least; nothing is interpolated.
    """
    miss, false_alarm, threshold = det_curve(bonafide_scores, spoof_scores)
    best = np.argmin(np.abs(miss - false_alarm))
    return float((miss[best] + false_alarm[best]) / 2), float(threshold[best])


def min_dcf(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Smallest detection cost over all thresholds, in [0, 1].

    The cost is C_MISS (1 − P_SPOOF) miss + C_FALSE_ALARM P_SPOOF false_alarm, divided
    by that of the better trivial decision (accept or reject everything).
    """
    miss, false_alarm, _ = det_curve(bonafide_scores, spoof_scores)
    return float(_cost(miss, false_alarm).min())


def act_dcf(bonafide_scores: Array, spoof_scores: Array) -> float:
    """The cost of `min_dcf` at the Bayes threshold, >= 0; above 1 if badly calibrated.

    Scores are read as natural log-likelihood ratios; a trial is accepted at or above
    −log(C_MISS (1 − P_SPOOF) / (C_FALSE_ALARM P_SPOOF)) = −0.642.
    """
    bonafide, spoof = _scores(bonafide_scores), _scores(spoof_scores)
    threshold = -np.log(_MISS_COST / _FALSE_ALARM_COST)
    return float(_cost(np.mean(bonafide < threshold), np.mean(spoof >= threshold)))


def cllr(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Cost of natural log-likelihood ratios in bits, >= 0; 1 if every score is 0.

    Brümmer and du Preez 2006, Application-independent evaluation of speaker detection.
    """
    bonafide, spoof = _scores(bonafide_scores), _scores(spoof_scores)
    nats = np.logaddexp(0, -bonafide).mean() + np.logaddexp(0, spoof).mean()
    return float(nats / (2 * np.log(2)))


def detection_metrics(bonafide_scores: Array, spoof_scores: Array) -> dict[str, float]:
    """`eer`, `eer_threshold`, `min_dcf`, `act_dcf`, `cllr`, `n_bonafide`, `n_spoof`."""
    scores = bonafide_scores, spoof_scores
    result = dict(zip(("eer", "eer_threshold"), eer(*scores), strict=True))
    result |= {f.__name__: f(*scores) for f in (min_dcf, act_dcf, cllr)}
    return result | {"n_bonafide": len(scores[0]), "n_spoof": len(scores[1])}


def by_attack(scores: Array, labels: Array, attacks: Array) -> dict[str, dict]:
    """`{attack: {"eer", "n"}}`: each attack's n spoof trials against all bona fide.

    `attacks` (trials,) holds names; those of bona fide trials are ignored.
    """
    scores, real = _trials(scores, labels)
    attacks, result = _ids(attacks, real.size, "attacks"), {}
    for attack in np.unique(attacks[~real]):
        spoof = scores[~real & (attacks == attack)]
        result[str(attack)] = {"eer": eer(scores[real], spoof)[0], "n": spoof.size}
    return result


def macro_eer(
    scores: Array, labels: Array, attacks: Array, speakers: Array, min_bonafide: int = 5
) -> float:
    """EER averaged over (speaker, attack) pairs, so that none dominates by its size.

    A pair is a speaker with at least `min_bonafide` bona fide trials and an attack; its
    EER is that of the speaker's bona fide trials against ALL of the attack's spoof
    trials, whoever's voice they imitate. Every pair has the same weight. `attacks`
    (trials,) is ignored where bona fide, `speakers` (trials,) where spoof.
    """
    statistic = _macro(scores, labels, attacks, speakers, min_bonafide)
    return float(statistic(np.ones((1, len(labels)), np.int64))[0])


def bootstrap(
    statistic: Statistic,
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
    _require(replicas >= 1, f"replicas is {replicas}, must be >= 1; try 1000")
    _require(0 < level < 1, f"level is {level}, must be in (0, 1); try 0.95")
    rng = np.random.default_rng(seed)
    blocks = _replica_weights(_bonafide(labels), clusters, replicas, rng)
    values = np.concatenate([statistic(weights) for weights in blocks])
    if values.ndim == 2:
        drawn = rng.integers(values.shape[1], size=values.shape)
        values = np.take_along_axis(values, drawn, axis=1).mean(axis=1)
    values = values[~np.isnan(values)]
    _require(values.size > 0, f"0 of {replicas} replicas are defined; add speakers")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
        statistic: `statistic="pooled"` (default, `eer`) or `"macro"` (`macro_eer`, with
            `attacks=`, `speakers=`; a speaker's bona fide trials must share a cluster).
            For "macro" a speaker drawn twice counts as two, and an attack of which no
            trial is drawn is left out of the replica.
    """
    values = _per_seed([scores], labels, clusters, **statistic)
    return bootstrap(values, labels, clusters, replicas, level, seed)


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
    _require(a == b, f"scores_a is {a}, scores_b {b}; score the same trials and seeds")
    values = _per_seed([scores_a, scores_b], labels, clusters, **statistic)
    difference = values(np.ones((1, len(labels)), np.int64)).mean().item()
    return difference, *bootstrap(values, labels, clusters, replicas, level, seed)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _scores(scores: Array) -> Array:
    scores = np.asarray(scores, np.float64)
    found = f"scores of a class are {scores.shape}"
    _require(
        scores.ndim == 1 and scores.size > 0, f"{found}, need (n,), n > 0; add some"
    )
    bad = scores[~np.isfinite(scores)][:1]
    _require(bad.size == 0, f"a score is {bad}, must be finite; drop or rescore it")
    return scores


def _bonafide(labels: Array) -> Array:
    labels, values = np.asarray(labels), np.unique(labels)
    right = labels.ndim == 1 and np.array_equal(values, [0, 1])
    found = f"labels are {labels.shape} with values {values[:5]}"
    _require(right, f"{found}, must be (trials,) with both 0 and 1; map spoof to 0")
    return labels == 1


def _trials(scores: Array, labels: Array) -> tuple[Array, Array]:
    scores, real = _scores(scores), _bonafide(labels)
    found = f"scores are {scores.shape} and labels {real.shape}"
    _require(scores.shape == real.shape, f"{found}, must match; pass one label each")
    return scores, real


def _ids(ids: Array | None, size: int, name: str) -> Array:
    ids = np.asarray(ids)
    _require(ids.shape == (size,), f"{name} is {ids.shape}, must be ({size},); pass it")
    return ids.astype(str)


def _cost(miss: Array, false_alarm: Array) -> Array:
    cost = _MISS_COST * miss + _FALSE_ALARM_COST * false_alarm
    return cost / min(_MISS_COST, _FALSE_ALARM_COST)


def _pooled(scores: Array, real: Array) -> Statistic:
    """Weights (r, n) -> EER (r,) of the trials so repeated; NaN if a class has none.

    Equal to `eer` of the repeated arrays to the bit: miss − false_alarm increases along
    the path of `det_curve`, so only the two points around its zero matter, and they may
    lie between the repeats of one trial.
    """
    order = np.lexsort((~real, scores))
    real = real[order]

    def statistic(weights: Array) -> Array:
        weights = weights[:, order]
        missed = np.cumsum(np.where(real, weights, 0), axis=1)
        refused = np.cumsum(weights, axis=1) - missed
        n, m = missed[:, -1], refused[:, -1]  # bona fide, spoof
        # n m (miss − false_alarm) in integers; the crossing trial brings it to zero.
        negative = missed * m[:, None] + refused * n[:, None] < (n * m)[:, None]
        rows, crossing = np.arange(len(weights)), negative.argmin(axis=1)
        kind, own = real[crossing], weights[rows, crossing]
        missed = missed[rows, crossing] - own * kind
        refused = refused[rows, crossing] - own * ~kind
        n, m, defined = np.maximum(n, 1), np.maximum(m, 1), (n > 0) & (m > 0)
        below = (n * m - missed * m - refused * n) // np.where(kind, m, n)
        repeat = np.stack([below, below + 1])  # of the crossing trial
        miss = (missed + repeat * kind) / n
        false_alarm = (m - refused - repeat * ~kind) / m
        best = np.abs(miss - false_alarm).argmin(axis=0)
        return np.where(defined, (miss + false_alarm)[best, rows] / 2, np.nan)

    return statistic


def _macro(
    scores: Array, labels: Array, attacks: Array, speakers: Array, minimum: int = 5
) -> Statistic:
    scores, real = _trials(scores, labels)
    attacks = _ids(attacks, real.size, "attacks")
    speakers = _ids(speakers, real.size, "speakers")
    names, counts = np.unique(speakers[real], return_counts=True)
    most = f"a speaker has at most {counts.max()} bona fide trials"
    _require(counts.max() >= minimum, f"{most}, need {minimum}; lower min_bonafide")

    pairs = []
    for speaker in names[counts >= minimum]:
        own = np.flatnonzero(real & (speakers == speaker))
        for attack in np.unique(attacks[~real]):
            trials = np.r_[own, np.flatnonzero(~real & (attacks == attack))]
            rate = _pooled(scores[trials], real[trials])
            pairs.append((own[0], trials, rate))

    def statistic(weights: Array) -> Array:
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for own, trials, rate in pairs:
            # A speaker drawn k times is k speakers with the same trials: a pair of
            # weight k, not a pair whose bona fide trials are repeated.
            value = rate(np.where(real[trials], 1, weights[:, trials]))
            weight = np.where(np.isnan(value), 0, weights[:, own])
            total, count = total + weight * np.nan_to_num(value), count + weight
        return np.where(count > 0, total, np.nan) / np.maximum(count, 1)

    return statistic


def _per_seed(
    systems: list[Array],
    labels: Array,
    clusters: Array,
    statistic: str = "pooled",
    attacks: Array | None = None,
    speakers: Array | None = None,
) -> Statistic:
    """Weights (r, trials) -> (r, seeds): the first system's EER minus the second's."""
    _require(statistic in ("pooled", "macro"), f"{statistic=}: use 'pooled' or 'macro'")
    real = _bonafide(labels)
    if statistic == "macro":
        names = _ids(speakers, real.size, "speakers")[real]
        groups = _ids(clusters, real.size, "clusters")[real]
        extra = len(set(zip(names, groups, strict=True))) - len(set(names))
        found = f"bona fide speakers are split into {extra} more clusters"
        _require(
            extra == 0, f"{found}, must be 0 for 'macro'; use speakers as clusters"
        )

    def one(scores: Array) -> Statistic:
        if statistic == "macro":
            return _macro(scores, labels, attacks, speakers)
        return _pooled(*_trials(scores, labels))

    parts = [[one(row) for row in np.atleast_2d(scores)] for scores in systems]

    def values(weights: Array) -> Array:
        rates = np.array([[part(weights) for part in seeds] for seeds in parts])
        return (rates[0] - rates[1:].sum(axis=0)).T

    return values


def _replica_weights(
    real: Array, clusters: Array, replicas: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Blocks (r, trials) of integer weights, `replicas` rows in all."""
    clusters, classes = _ids(clusters, real.size, "clusters"), []
    for name, trials in (("bona fide", real), ("spoof", ~real)):
        ids, group = np.unique(clusters[trials], return_inverse=True)
        found = f"{name} trials form {ids.size} cluster"
        _require(ids.size > 1, f"{found}, need 2; use finer ids, such as utterances")
        classes.append((trials, group, ids.size))
    block = max(1, _BLOCK // real.size)
    for start in range(0, replicas, block):
        rows = min(block, replicas - start)
        weights = np.empty((rows, real.size), np.int64)
        for trials, group, size in classes:
            drawn = rng.integers(size, size=(rows, size))
            drawn += size * np.arange(rows)[:, None]  # one histogram for all rows
            counts = np.bincount(drawn.ravel(), minlength=rows * size)
            weights[:, trials] = counts.reshape(rows, size)[:, group]
        yield weights
