"""Metrics against the challenge's numbers, scikit-learn and counts by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from mldg_jax import metrics
from mldg_jax.scoring import asv
from tests.signals import random_trials

GOLDEN = np.load(Path(__file__).parent / "golden" / "metrics.npz")
REFERENCE = json.loads(str(GOLDEN["reference"]))


@pytest.mark.parametrize("case", REFERENCE)
def test_equals_the_evaluation_package(case):
    result = metrics.detection_metrics(
        GOLDEN[f"{case}/bonafide"], GOLDEN[f"{case}/spoof"]
    )
    for key in ("eer", "eer_threshold", "min_dcf", "act_dcf", "cllr"):
        assert result[key] == pytest.approx(REFERENCE[case][key], abs=1e-9), key
    assert result["n_bonafide"] == GOLDEN[f"{case}/bonafide"].size
    assert result["n_spoof"] == GOLDEN[f"{case}/spoof"].size
    json.dumps(result)


@pytest.mark.parametrize("case", REFERENCE)
def test_tandem_cost_equals_the_2021_package(case):
    bonafide, spoof = GOLDEN[f"{case}/bonafide"], GOLDEN[f"{case}/spoof"]
    pfa, pmiss, pfa_spoof = GOLDEN["asv_rates"]
    cost = metrics.min_tdcf(
        bonafide, spoof, asv_pfa=pfa, asv_pmiss=pmiss, asv_pmiss_spoof=1 - pfa_spoof
    )
    assert cost == pytest.approx(REFERENCE[case]["min_tdcf_2021"], abs=1e-9)
    equal = metrics.eer(bonafide, spoof)[0]
    assert equal == pytest.approx(REFERENCE[case]["eer_2021"], abs=1e-9)


def test_det_curve_contains_that_of_sklearn():
    scores, labels, *_ = random_trials(decimals=15)
    miss, false_alarm, threshold = metrics.det_curve(
        scores[labels == 1], scores[labels == 0]
    )
    fpr, fnr, _ = sklearn.metrics.det_curve(labels, scores)
    ours = set(zip(miss.round(12), false_alarm.round(12), strict=True))
    assert set(zip(fnr.round(12), fpr.round(12), strict=True)) <= ours
    assert np.all(np.diff(threshold) >= 0)
    assert len(miss) == scores.size + 1


@pytest.mark.parametrize(
    ("bonafide", "spoof", "rate", "threshold"),
    [
        ([2, 3], [0, 1], 0.0, 1),
        ([0, 1], [2, 3], 1.0, 1),
        # One of three bona fide rejected, one of three spoof accepted.
        ([1, 4, 5], [0, 1.5, 2], 1 / 3, 1.5),
        # A constant detector: bona fide goes first among equals, as in the package.
        ([7, 7], [7, 7], 1.0, 7),
    ],
)
def test_eer_by_hand(bonafide, spoof, rate, threshold):
    assert metrics.eer(bonafide, spoof) == pytest.approx((rate, threshold))


@pytest.mark.parametrize(
    ("bonafide", "spoof", "rate"),
    [
        ([0.8, 0.9], [0.1, 0.2], 0.0),
        ([0.5, 0.9], [0.1, 0.6], 0.5),
        ([1, 1], [1, 1], 0.5),
    ],
)
def test_attainable_eer_by_hand(bonafide, spoof, rate):
    assert metrics.eer(bonafide, spoof, attainable=True)[0] == pytest.approx(rate)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_attainable_points_are_those_of_thresholds(decimals):
    scores, labels, _, _ = random_trials(decimals, 301, decimals)
    real, fake = scores[labels == 1], scores[labels == 0]
    rates = [
        (np.mean(real < t), np.mean(fake >= t)) for t in [*np.unique(scores), np.inf]
    ]
    nearest = min(rates, key=lambda rate: abs(rate[0] - rate[1]))
    found = metrics.eer(real, fake, attainable=True)[0]
    assert found == pytest.approx(np.mean(nearest))


def test_costs_by_hand():
    assert metrics.cllr([0, 0, 0], [0]) == pytest.approx(1)
    # log2(1 + e^-log 3) = log2(4 / 3), and log2(1 + e^log 3) = 2.
    assert metrics.cllr([np.log(3)], [np.log(3)]) == pytest.approx(
        (np.log2(4 / 3) + 2) / 2
    )
    assert metrics.cllr([1000.0], [-1000.0]) == 0  # no overflow
    # Everything accepted: all spoof pass, 10 × 0.05 over min(0.95, 0.5).
    assert metrics.act_dcf([0, 1], [0, 1]) == pytest.approx(1)
    # Everything rejected: 0.95 / 0.5.
    assert metrics.act_dcf([-1, -2], [-1, -2]) == pytest.approx(1.9)
    # A quarter of the spoof above all bona fide: 0.5 × 0.25 / 0.5.
    assert metrics.min_dcf([1, 1.5, 2], [0, 0, 0, 3]) == pytest.approx(0.25)


def test_by_attack_by_hand():
    scores = [3, 4, 1, 2, 5, 6]
    labels = [1, 1, 0, 0, 0, 0]
    attacks = ["-", "-", "easy", "easy", "hard", "hard"]
    assert metrics.by_attack(scores, labels, attacks) == {
        "easy": {"eer": 0.0, "n": 2},
        "hard": {"eer": 1.0, "n": 2},
    }


def test_conditions_of_one_class_and_of_both():
    labels = [1, 1, 1, 0, 0, 0, 0]
    # An attack has no bona fide trials, so it is compared with all of them.
    attacks = metrics.groups(labels, ["-", "-", "-", "A", "B", "A", "B"])
    assert {k: v.tolist() for k, v in attacks.items()} == {
        "A": [0, 1, 2, 3, 5],
        "B": [0, 1, 2, 4, 6],
    }
    # A codec has both; "gsm" has no spoof and is excluded.
    codecs = metrics.groups(labels, ["pcm", "gsm", "alaw", "pcm", "pcm", "alaw", "pcm"])
    assert {k: v.tolist() for k, v in codecs.items()} == {
        "alaw": [2, 5],
        "pcm": [0, 3, 4, 6],
    }


def test_macro_weighs_pairs_equally():
    # Speaker a (5 trials) is perfect, b (10) fails on "y" only, c (4) is excluded.
    scores = np.r_[np.full(5, 9.0), np.full(10, 3.0), np.full(4, -9), [1, 2], [5, 6, 7]]
    labels = np.r_[np.ones(19), np.zeros(5)]
    attacks = np.r_[["-"] * 19, ["x"] * 2, ["y"] * 3]
    speakers = np.r_[["a"] * 5, ["b"] * 10, ["c"] * 4, ["a"] * 5]
    groups = {"attacks": attacks, "speakers": speakers}
    # Pairs ax, ay, bx, by; with c also cx and cy, both wrong.
    assert metrics.macro_eer(scores, labels, **groups) == pytest.approx(1 / 4)
    assert metrics.macro_eer(scores, labels, **groups, min_bonafide=4) == pytest.approx(
        3 / 6
    )


SCORES, LABELS, ATTACKS, SPEAKERS = random_trials()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.eer([], [1.0]), r"\(0,\).*n > 0"),
        (lambda: metrics.eer([1.0], [np.nan]), "nan.*finite"),
        (lambda: metrics.cllr([np.inf], [1.0]), "inf.*finite"),
        (lambda: metrics.det_curve([[1.0]], [1.0]), r"\(1, 1\)"),
        (lambda: metrics.by_attack([1.0, 2], [1, 1], ["a", "b"]), "both 0 and 1"),
        (
            lambda: metrics.by_attack([1.0, 2], [1, 0], ["a"]),
            r"attacks has shape \(1,\)",
        ),
        (lambda: metrics.by_attack([1.0, 2, 3], [1, 0], ["a", "b"]), r"\(3,\).*\(2,\)"),
        (
            lambda: metrics.macro_eer(SCORES, LABELS, ATTACKS, SPEAKERS, 100),
            "at most .* need 100",
        ),
        (lambda: asv.a_dcf([1.0], [0.0], [0.0], (1, 1, 1)), "must sum to 1"),
        (
            lambda: metrics.min_tdcf(
                [1.0], [0.0], asv_pfa=2, asv_pmiss=0.02, asv_pmiss_spoof=0.5
            ),
            r"asv_pfa is 2, must be in \[0, 1\]",
        ),
        (
            lambda: metrics.min_tdcf(
                [1.0], [0.0], asv_pfa=0.5, asv_pmiss=0.98, asv_pmiss_spoof=0.5
            ),
            "are the two swapped",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
