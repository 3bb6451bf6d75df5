"""Detection metrics of the ASVspoof challenges.

A score is higher for bona fide. Labels are 1 = bona fide, 0 = spoof; scores are finite,
(trials,) unless stated. Bad input (an empty class, NaN, shapes that differ) raises
`ValueError`. Conventions are those of the ASVspoof 5 and 2021 evaluation packages
(github.com/asvspoof-challenge); tests/golden/metrics.npz holds what they compute.
Confidence intervals: `mldg_jax.scoring.bootstrap`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray as Array

# Cost model of ASVspoof 5, track 1: prior probability of a spoofing attack, cost of
# rejecting bona fide speech, cost of accepting a spoof.
P_SPOOF, C_MISS, C_FALSE_ALARM = 0.05, 1.0, 10.0
MISS_COST, FALSE_ALARM_COST = C_MISS * (1 - P_SPOOF), C_FALSE_ALARM * P_SPOOF

# Log-likelihood ratio (nats) at or above which accepting is the cheaper decision.
BAYES_THRESHOLD = -np.log(MISS_COST / FALSE_ALARM_COST)

# Tandem cost model of ASVspoof 2021: of what is not a spoof 99 % are target speakers;
# the speaker verifier's false alarm costs as much as the countermeasure's.
P_TARGET, P_NONTARGET = (1 - P_SPOOF) * 0.99, (1 - P_SPOOF) * 0.01
MACRO_CLIPS = 5  # bona fide trials that a speaker needs to count in macro EER


def require(condition: bool, message: str) -> None:
    """Raises `ValueError(message)` unless the condition holds."""
    if not condition:
        raise ValueError(message)


def class_scores(scores: Array) -> Array:
    """Scores of one class as float64 (n,), n > 0, all finite."""
    scores = np.asarray(scores, np.float64)
    found = f"scores of a class are {scores.shape}"
    require(
        scores.ndim == 1 and scores.size > 0, f"{found}, need (n,), n > 0; add some"
    )
    bad = scores[~np.isfinite(scores)][:1]
    require(bad.size == 0, f"a score is {bad}, must be finite; drop or rescore it")
    return scores


def is_bonafide(labels: Array) -> Array:
    """Labels of 0 and 1 (trials,), both present, as bool: True is bona fide."""
    labels, values = np.asarray(labels), np.unique(labels)
    right = labels.ndim == 1 and np.array_equal(values, [0, 1])
    found = f"labels are {labels.shape} with values {values[:5]}"
    require(right, f"{found}, must be (trials,) with both 0 and 1; map spoof to 0")
    return labels == 1


def scored(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Scores float64 and labels bool, both (trials,)."""
    scores, real = class_scores(scores), is_bonafide(labels)
    found = f"scores are {scores.shape} and labels {real.shape}"
    require(scores.shape == real.shape, f"{found}, must match; pass one label each")
    return scores, real


def ids(values: Array | None, size: int, name: str) -> Array:
    """Ids of any type as (size,) of str; `name` is the argument's, for the message."""
    values = np.asarray(values)
    require(
        values.shape == (size,), f"{name} is {values.shape}, must be ({size},); pass it"
    )
    return values.astype(str)


def codes(values: Array) -> tuple[list[str], Array]:
    """Sorted names and, for each value (n,), the place of its name (n,) int.

    As `np.unique(return_inverse=True)`, which sorts every string: 1 s a million.
    """
    places: dict[str, int] = {}
    listed = values.tolist()
    code = np.fromiter(
        (places.setdefault(x, len(places)) for x in listed), np.intp, len(listed)
    )
    names = sorted(places)
    rank = np.empty(len(names), np.intp)
    rank[[places[name] for name in names]] = np.arange(len(names))
    return names, rank[code]


def det_curve(bonafide_scores: Array, spoof_scores: Array) -> tuple[Array, ...]:
    """`(miss, false_alarm, threshold)`, float64 (n + m + 1,), by increasing threshold.

    Miss is the fraction of the n bona fide trials rejected, false alarm that of the m
    spoof trials accepted, in [0, 1]; point i rejects the i lowest scores. Among equal
    scores bona fide is rejected first, one trial at a time: ties give points that no
    threshold attains, and the challenge's EER depends on them.
    """
    bonafide, spoof = class_scores(bonafide_scores), class_scores(spoof_scores)
    scores = np.concatenate([bonafide, spoof])
    order = np.argsort(scores, kind="stable")
    rejected = np.cumsum(order < bonafide.size)
    accepted = spoof.size - (np.arange(1, scores.size + 1) - rejected)
    miss = np.concatenate([[0.0], rejected / bonafide.size])
    false_alarm = np.concatenate([[1.0], accepted / spoof.size])
    # The package's threshold that accepts everything: the lowest score - 0.001.
    return miss, false_alarm, np.r_[scores[order[0]] - 0.001, scores[order]]


def eer(
    bonafide_scores: Array, spoof_scores: Array, *, attainable: bool = False
) -> tuple[float, float]:
    """Equal error rate (a fraction in [0, 1]) and its threshold.

    The mean of the two rates at the first point of `det_curve` where they differ
    least; nothing is interpolated.

    Args:
        bonafide_scores, spoof_scores: (n,) and (m,).
        attainable: look only at points that a threshold attains, for scores with few
            distinct values: if all are equal, this EER is 1/2 and the challenge's 1.
    """
    points = det_curve(bonafide_scores, spoof_scores)
    if attainable:
        threshold = points[2]
        ends = np.r_[True, threshold[1:-1] != threshold[2:], True]  # of equal scores
        points = tuple(x[ends] for x in points)
    return _equal(*points)


def min_dcf(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Smallest detection cost over all thresholds, in [0, 1].

    The cost is C_MISS (1 − P_SPOOF) miss + C_FALSE_ALARM P_SPOOF false_alarm, divided
    by that of the better trivial decision (accept or reject everything).
    """
    miss, false_alarm, _ = det_curve(bonafide_scores, spoof_scores)
    return float(normalised_cost(miss, false_alarm).min())


def act_dcf(bonafide_scores: Array, spoof_scores: Array) -> float:
    """The cost of `min_dcf` at the Bayes threshold, >= 0; above 1 if badly calibrated.

    Scores are read as natural log-likelihood ratios; a trial is accepted at or above
    −log(C_MISS (1 − P_SPOOF) / (C_FALSE_ALARM P_SPOOF)) = −0.642.
    """
    bonafide, spoof = class_scores(bonafide_scores), class_scores(spoof_scores)
    miss, false_alarm = bonafide < BAYES_THRESHOLD, spoof >= BAYES_THRESHOLD
    return float(normalised_cost(miss.mean(), false_alarm.mean()))


def cllr(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Cost of natural log-likelihood ratios in bits, >= 0; 1 if every score is 0.

    Brümmer and du Preez 2006, Application-independent evaluation of speaker detection.
    """
    bonafide, spoof = class_scores(bonafide_scores), class_scores(spoof_scores)
    nats = np.logaddexp(0, -bonafide).mean() + np.logaddexp(0, spoof).mean()
    return float(nats / (2 * np.log(2)))


def normalised_cost(miss: Any, false_alarm: Any) -> Any:
    """The detection cost of `min_dcf` at error rates, arrays or fractions."""
    cost = MISS_COST * miss + FALSE_ALARM_COST * false_alarm
    return cost / min(MISS_COST, FALSE_ALARM_COST)


def min_tdcf(
    bonafide_scores: Array,
    spoof_scores: Array,
    *,
    asv_pfa: float,
    asv_pmiss: float,
    asv_pmiss_spoof: float,
) -> float:
    """Smallest normalised tandem detection cost, in [0, 1]; model of ASVspoof 2021.

    The countermeasure sits before a fixed speaker verifier (ASV). With a perfect
    countermeasure the cost is that of the verifier's own errors, not 0. Kinnunen et
    al. 2020, Tandem Assessment of Spoofing Countermeasures …, equations 10 and 11.

    Args:
        bonafide_scores, spoof_scores: of the countermeasure, as in `eer`.
        asv_pfa: fraction of nontarget trials that the verifier accepts.
        asv_pmiss: fraction of target trials that it rejects.
        asv_pmiss_spoof: fraction of spoof trials that it rejects.
    """
    cost = tandem_cost(asv_pfa, asv_pmiss, asv_pmiss_spoof)
    miss, false_alarm, _ = det_curve(bonafide_scores, spoof_scores)
    return float(cost(miss, false_alarm).min())


def tandem_cost(
    asv_pfa: float, asv_pmiss: float, asv_pmiss_spoof: float
) -> Callable[[Array, Array], Array]:
    """The normalised cost of `min_tdcf` as a function of (miss, false alarm)."""
    for name, rate in (
        ("asv_pfa", asv_pfa),
        ("asv_pmiss", asv_pmiss),
        ("asv_pmiss_spoof", asv_pmiss_spoof),
    ):
        fix = "give a fraction, not per cent"
        require(0 <= rate <= 1, f"{name} is {rate}, must be in [0, 1]; {fix}")
    c0 = P_TARGET * C_MISS * asv_pmiss + P_NONTARGET * C_FALSE_ALARM * asv_pfa
    c1 = P_TARGET * C_MISS - c0
    c2 = P_SPOOF * C_FALSE_ALARM * (1 - asv_pmiss_spoof)
    found = f"asv_pfa {asv_pfa}, asv_pmiss {asv_pmiss}: rejecting everyone costs less"
    require(c1 >= 0, f"{found} than this verifier; are the two swapped?")
    default = c0 + min(c1, c2)
    require(default > 0, "all three rates are perfect: nothing can cost; check them")
    return lambda miss, false_alarm: (c0 + c1 * miss + c2 * false_alarm) / default


def detection_metrics(bonafide_scores: Array, spoof_scores: Array) -> dict[str, float]:
    """`eer`, `eer_threshold`, `min_dcf`, `act_dcf`, `cllr`, `n_bonafide`, `n_spoof`."""
    scores = bonafide_scores, spoof_scores
    miss, false_alarm, threshold = det_curve(*scores)
    result: dict[str, float] = dict(
        zip(("eer", "eer_threshold"), _equal(miss, false_alarm, threshold), strict=True)
    )
    result["min_dcf"] = float(normalised_cost(miss, false_alarm).min())
    result |= {"act_dcf": act_dcf(*scores), "cllr": cllr(*scores)}
    return result | {"n_bonafide": len(scores[0]), "n_spoof": len(scores[1])}


def groups(labels: Array, values: Array) -> dict[str, Array]:
    """The trials that judge each condition, as indices, by the condition's name.

    A condition that no bona fide trial has (an attack, a vocoder) is judged against
    all bona fide trials; one that both classes have (a codec, a language, a speaker) by
    its own trials of both. `values` (trials,) names each trial's condition. A
    condition without a trial of each class is left out.
    """
    real = is_bonafide(labels)
    names, code = codes(ids(values, real.size, "values"))
    everyone, found = np.flatnonzero(real), {}
    shared = np.intersect1d(code[real], code[~real]).size > 0
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(code, minlength=len(names)))[:-1])
    for name, own in zip(names, parts, strict=True):
        spoof = own[~real[own]]
        bonafide = own[real[own]] if shared else everyone
        if spoof.size and bonafide.size:
            found[name] = np.r_[bonafide, spoof]
    return found


def by_attack(scores: Array, labels: Array, attacks: Array) -> dict[str, dict]:
    """`{attack: {"eer", "n"}}`: each attack's n spoof trials against all bona fide.

    `attacks` (trials,) holds names; those of bona fide trials are ignored.
    """
    scores, real = scored(scores, labels)
    spoof = np.flatnonzero(~real)
    names, code = codes(ids(attacks, real.size, "attacks")[spoof])
    result = {}
    for place, attack in enumerate(names):
        own = scores[spoof[code == place]]
        result[attack] = {"eer": eer(scores[real], own)[0], "n": own.size}
    return result


def macro_eer(
    scores: Array,
    labels: Array,
    attacks: Array,
    speakers: Array,
    min_bonafide: int = MACRO_CLIPS,
) -> float:
    """EER averaged over (speaker, attack) pairs, so that none dominates by its size.

    A pair is a speaker with at least `min_bonafide` bona fide trials and an attack; its
    EER is that of the speaker's bona fide trials against ALL of the attack's spoof
    trials, whichever speaker they imitate. Every pair has the same weight. `attacks`
    (trials,) is ignored where bona fide, `speakers` (trials,) where spoof.
    """
    scores, _ = scored(scores, labels)
    pairs = macro_pairs(labels, attacks, speakers, min_bonafide)
    return float(np.mean([eer(scores[own], scores[its])[0] for own, its in pairs]))


def macro_pairs(
    labels: Array, attacks: Array, speakers: Array, min_bonafide: int = MACRO_CLIPS
) -> list[tuple[Array, Array]]:
    """Of each pair of `macro_eer` the indices of its bona fide and spoof trials."""
    real = is_bonafide(labels)
    attacks = ids(attacks, real.size, "attacks")
    speakers = ids(speakers, real.size, "speakers")
    names, counts = np.unique(speakers[real], return_counts=True)
    most = f"a speaker has at most {counts.max()} bona fide trials"
    fix = f"need {min_bonafide}; lower min_bonafide"
    require(counts.max() >= min_bonafide, f"{most}, {fix}")
    spoofs = [np.flatnonzero(~real & (attacks == a)) for a in np.unique(attacks[~real])]
    enough = names[counts >= min_bonafide]
    owns = [np.flatnonzero(real & (speakers == name)) for name in enough]
    return [(own, spoof) for own in owns for spoof in spoofs]


def _equal(miss: Array, false_alarm: Array, threshold: Array) -> tuple[float, float]:
    best = np.argmin(np.abs(miss - false_alarm))
    return float((miss[best] + false_alarm[best]) / 2), float(threshold[best])
