"""Detection metrics of the ASVspoof challenges.

A score is higher for bona fide. Labels are 1 for bona fide and 0 for spoof; scores are
finite, (trials,) unless stated otherwise. Invalid input (an empty class, NaN, shapes
that differ) raises ``ValueError``. Conventions follow the evaluation packages of
ASVspoof 5 and 2021 (github.com/asvspoof-challenge); tests/golden/metrics.npz holds
their results. For confidence intervals see ``mldg_jax.scoring.bootstrap``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray as Array

from mldg_jax.common.trial_arrays import (
    MACRO_CLIPS,
    class_scores,
    codes,
    ids,
    is_bonafide,
    macro_pairs,
    require,
    scored,
)

# Cost model of ASVspoof 5, track 1: prior probability of a spoofing attack, cost of
# rejecting bona fide speech, cost of accepting a spoof.
P_SPOOF, C_MISS, C_FALSE_ALARM = 0.05, 1.0, 10.0
MISS_COST, FALSE_ALARM_COST = C_MISS * (1 - P_SPOOF), C_FALSE_ALARM * P_SPOOF

# Log-likelihood ratio (nats) at or above which accepting costs less than rejecting.
BAYES_THRESHOLD = -np.log(MISS_COST / FALSE_ALARM_COST)

# Tandem cost model of ASVspoof 2021: 99 % of the trials that are not spoof are target
# trials; a false alarm of the speaker verifier costs as much as the countermeasure's.
P_TARGET, P_NONTARGET = (1 - P_SPOOF) * 0.99, (1 - P_SPOOF) * 0.01


def det_curve(bonafide_scores: Array, spoof_scores: Array) -> tuple[Array, ...]:
    """Computes the error rates at every threshold.

    Among equal scores bona fide is rejected first, one trial at a time: ties give
    points that no threshold attains, and the challenge's EER depends on them.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,).

    Returns:
      ``(miss, false_alarm, threshold)``, float64 (n + m + 1,), by increasing threshold.
      Miss is the fraction of bona fide trials that are rejected, false alarm the
      fraction of spoof trials that are accepted; point i rejects the i lowest scores.
    """
    bonafide, spoof = class_scores(bonafide_scores), class_scores(spoof_scores)
    scores = np.concatenate([bonafide, spoof])
    order = np.argsort(scores, kind="stable")
    rejected = np.cumsum(order < bonafide.size)
    accepted = spoof.size - (np.arange(1, scores.size + 1) - rejected)
    miss = np.concatenate([[0.0], rejected / bonafide.size])
    false_alarm = np.concatenate([[1.0], accepted / spoof.size])
    # The package accepts everything at the lowest score - 0.001.
    return miss, false_alarm, np.r_[scores[order[0]] - 0.001, scores[order]]


def eer(
    bonafide_scores: Array, spoof_scores: Array, *, attainable: bool = False
) -> tuple[float, float]:
    """Computes the equal error rate and its threshold.

    The rate is the mean of miss and false alarm at the first point of ``det_curve``
    where they differ least, without interpolation.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,).
      attainable: use only points that a threshold attains, for scores with few distinct
        values: if all are equal, this EER is 1/2 and the challenge's 1.

    Returns:
      ``(eer, threshold)``; the EER is a fraction in [0, 1].
    """
    points = det_curve(bonafide_scores, spoof_scores)
    if attainable:
        threshold = points[2]
        # A threshold attains the point after the last of a run of equal scores.
        ends = np.r_[True, threshold[1:-1] != threshold[2:], True]
        points = tuple(x[ends] for x in points)
    return _equal(*points)


def min_dcf(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Computes the smallest detection cost over all thresholds.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,).

    Returns:
      The minimum of ``normalised_cost``, in [0, 1].
    """
    miss, false_alarm, _ = det_curve(bonafide_scores, spoof_scores)
    return float(normalised_cost(miss, false_alarm).min())


def act_dcf(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Computes the detection cost of ``min_dcf`` at the Bayes threshold.

    A trial is accepted at or above −log(C_MISS (1 − P_SPOOF) / (C_FALSE_ALARM P_SPOOF))
    = −0.642.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) natural log-likelihood ratios.

    Returns:
      The cost, ≥ 0; above 1 if the scores are badly calibrated.
    """
    bonafide, spoof = class_scores(bonafide_scores), class_scores(spoof_scores)
    miss, false_alarm = bonafide < BAYES_THRESHOLD, spoof >= BAYES_THRESHOLD
    return float(normalised_cost(miss.mean(), false_alarm.mean()))


def cllr(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Computes the cost of log-likelihood ratios.

    Brümmer and du Preez 2006, Application-independent evaluation of speaker detection.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) natural log-likelihood ratios.

    Returns:
      The cost in bits, ≥ 0; 1 if every score is 0.
    """
    bonafide, spoof = class_scores(bonafide_scores), class_scores(spoof_scores)
    nats = np.logaddexp(0, -bonafide).mean() + np.logaddexp(0, spoof).mean()
    return float(nats / (2 * np.log(2)))


def normalised_cost(miss: Any, false_alarm: Any) -> Any:
    """Computes the normalised detection cost at given error rates.

    The cost C_MISS (1 − P_SPOOF) miss + C_FALSE_ALARM P_SPOOF false_alarm is divided by
    that of the better trivial decision (accept or reject everything).

    Args:
      miss, false_alarm: fractions, or arrays of them.

    Returns:
      The cost, of the same shape.
    """
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
    """Computes the smallest normalised tandem detection cost of ASVspoof 2021.

    The countermeasure precedes a fixed speaker verifier (ASV). With a perfect
    countermeasure the cost is that of the verifier's own errors, not 0. Kinnunen et
    al. 2020, Tandem Assessment of Spoofing Countermeasures …, equations 10 and 11.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,), of the countermeasure.
      asv_pfa: fraction of nontarget trials that the verifier accepts.
      asv_pmiss: fraction of target trials that it rejects.
      asv_pmiss_spoof: fraction of spoof trials that it rejects.

    Returns:
      The cost, in [0, 1].
    """
    cost = tandem_cost(asv_pfa, asv_pmiss, asv_pmiss_spoof)
    miss, false_alarm, _ = det_curve(bonafide_scores, spoof_scores)
    return float(cost(miss, false_alarm).min())


def tandem_cost(
    asv_pfa: float, asv_pmiss: float, asv_pmiss_spoof: float
) -> Callable[[Array, Array], Array]:
    """Returns the normalised cost of ``min_tdcf`` as a function of error rates.

    Args:
      asv_pfa, asv_pmiss, asv_pmiss_spoof: as for ``min_tdcf``.

    Returns:
      ``(miss, false_alarm) -> cost``, on arrays of one shape.

    Raises:
      ValueError: a rate outside [0, 1], or rates for which the cost is undefined.
    """
    for name, rate in (
        ("asv_pfa", asv_pfa),
        ("asv_pmiss", asv_pmiss),
        ("asv_pmiss_spoof", asv_pmiss_spoof),
    ):
        fix = "give a fraction, not a percentage"
        require(0 <= rate <= 1, f"{name} is {rate}, must be in [0, 1]; {fix}")
    c0 = P_TARGET * C_MISS * asv_pmiss + P_NONTARGET * C_FALSE_ALARM * asv_pfa
    c1 = P_TARGET * C_MISS - c0
    c2 = P_SPOOF * C_FALSE_ALARM * (1 - asv_pmiss_spoof)
    rates = f"asv_pfa {asv_pfa} and asv_pmiss {asv_pmiss}"
    problem = "rejecting everyone costs less than this verifier"
    require(c1 >= 0, f"{rates}: {problem}; are the two swapped?")
    default = c0 + min(c1, c2)
    require(default > 0, "all three rates are perfect, so every cost is 0; check them")
    return lambda miss, false_alarm: (c0 + c1 * miss + c2 * false_alarm) / default


def detection_metrics(bonafide_scores: Array, spoof_scores: Array) -> dict[str, float]:
    """Computes every metric of a set of scores.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,).

    Returns:
      ``eer``, ``eer_threshold``, ``min_dcf``, ``act_dcf``, ``cllr``, ``n_bonafide`` and
      ``n_spoof``.
    """
    scores = bonafide_scores, spoof_scores
    miss, false_alarm, threshold = det_curve(*scores)
    result: dict[str, float] = dict(
        zip(("eer", "eer_threshold"), _equal(miss, false_alarm, threshold), strict=True)
    )
    result["min_dcf"] = float(normalised_cost(miss, false_alarm).min())
    result |= {"act_dcf": act_dcf(*scores), "cllr": cllr(*scores)}
    return result | {"n_bonafide": len(scores[0]), "n_spoof": len(scores[1])}


def groups(labels: Array, values: Array) -> dict[str, Array]:
    """Returns the trials that each value of a condition is evaluated on.

    If bona fide and spoof trials share values (codec, language, speaker), a value is
    evaluated on its own trials of both classes. Otherwise (attack, vocoder) its spoof
    trials are evaluated against all bona fide trials. Values that lack trials of one
    class are excluded.

    Args:
      labels: (trials,).
      values: (trials,) the condition's value in each trial.

    Returns:
      Indices of trials, bona fide first, by value.
    """
    real = is_bonafide(labels)
    names, code = codes(ids(values, real.size, "values"))
    all_bonafide, trials_by_value = np.flatnonzero(real), {}
    shared = np.intersect1d(code[real], code[~real]).size > 0
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(code, minlength=len(names)))[:-1])
    for name, own in zip(names, parts, strict=True):
        spoof = own[~real[own]]
        bonafide = own[real[own]] if shared else all_bonafide
        if spoof.size and bonafide.size:
            trials_by_value[name] = np.r_[bonafide, spoof]
    return trials_by_value


def by_attack(scores: Array, labels: Array, attacks: Array) -> dict[str, dict]:
    """Computes the EER of each attack's spoof trials against all bona fide trials.

    Args:
      scores, labels: (trials,).
      attacks: (trials,) names; those of bona fide trials are ignored.

    Returns:
      ``{attack: {"eer", "n"}}`` with the number n of spoof trials.
    """
    scores, real = scored(scores, labels)
    spoof = np.flatnonzero(~real)
    names, code = codes(ids(attacks, real.size, "attacks")[spoof])
    result = {}
    for i, attack in enumerate(names):
        own = scores[spoof[code == i]]
        result[attack] = {"eer": eer(scores[real], own)[0], "n": own.size}
    return result


def macro_eer(
    scores: Array,
    labels: Array,
    attacks: Array,
    speakers: Array,
    min_bonafide: int = MACRO_CLIPS,
) -> float:
    """Computes the mean EER over (speaker, attack) pairs.

    No pair dominates by its size. A pair's EER is that of the speaker's bona fide
    trials against ALL spoof trials of the attack, whichever speaker they imitate.

    Args:
      scores, labels: (trials,).
      attacks: (trials,) names; those of bona fide trials are ignored.
      speakers: (trials,) names; those of spoof trials are ignored.
      min_bonafide: fewest bona fide trials of a speaker.

    Returns:
      The mean EER, a fraction in [0, 1].
    """
    scores, _ = scored(scores, labels)
    pairs = macro_pairs(labels, attacks, speakers, min_bonafide)
    return float(np.mean([eer(scores[own], scores[fake])[0] for own, fake in pairs]))


def _equal(miss: Array, false_alarm: Array, threshold: Array) -> tuple[float, float]:
    """Returns the EER and its threshold from the points of a DET curve."""
    best = np.argmin(np.abs(miss - false_alarm))
    return float((miss[best] + false_alarm[best]) / 2), float(threshold[best])
