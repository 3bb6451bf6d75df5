"""Errors at thresholds that were fixed on dev scores: by hand and by sklearn."""

import numpy as np
import pytest
import sklearn.metrics

from mldg_jax import UserError, metrics
from mldg_jax.scoring import fixed_threshold
from mldg_jax.scoring.calibration import apply_calibration, fit_calibration

# Thresholds 0, 1, 2, 3 reject 0, 0, 1, 3 of 4 bona fide and accept 5, 3, 1, 0 of 5
# spoofs: the rates are most alike at 2, 1/4 and 1/5.
DEV = [1, 2, 2, 3], [0, 0, 1, 1, 2]
EVAL = [1, 2, 2, 4, 5], [0, 2, 2, 3, 1, -1, 0, 1]


def tied_scores(seed):
    """Scores of both classes with ties, overlapping and above chance on average."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 60, 2)
    step = rng.choice([1e-6, 0.5, 2.0])
    bonafide = np.round(rng.normal(1, 1.5, n) / step) * step
    return bonafide, np.round(rng.normal(-1, 1.5, m) / step) * step


def test_rates_by_hand_with_scores_at_the_threshold():
    assert fixed_threshold.eer_threshold(*DEV) == 2
    at = fixed_threshold.count_errors(*EVAL, 2)
    assert at.bonafide_rejected == 1 and at.spoof_accepted == 3
    assert at.to_json() == {
        "threshold": 2, "frr": 0.2, "far": 0.375, "hter": 0.2875, "f1": 10 / 14,
        "bonafide_rejected": 1, "spoof_accepted": 3, "n_bonafide": 5, "n_spoof": 8,
    }  # fmt: skip


def test_thresholds_of_hard_decisions_by_hand():
    """Two scores: the calibration passes through the two likelihood ratios, ± log 4."""
    bonafide, spoof = [1, 1, 1, 1, 0], [0, 0, 0, 0, 1]
    dev = fixed_threshold.fit_thresholds(bonafide, spoof, "dev.txt")
    assert dev.errors["eer"].threshold == 1 and dev.errors["eer"].hter == 0.2
    expected = (np.log(4) - np.log(1.9)) / (2 * np.log(4))  # 0.2685
    assert dev.errors["bayes"].threshold == pytest.approx(expected, abs=1e-8)
    # At or above the threshold that metrics.eer returns, everything is accepted.
    challenge = metrics.eer(np.array(bonafide), np.array(spoof))[1]
    assert fixed_threshold.count_errors(bonafide, spoof, challenge).far == 1


@pytest.mark.parametrize("seed", range(60))
def test_rates_are_those_of_sklearn(seed):
    bonafide, spoof = tied_scores(seed)
    threshold = np.random.default_rng(seed).choice(np.r_[bonafide, spoof])
    at = fixed_threshold.count_errors(bonafide, spoof, threshold)
    truth = np.repeat([0, 1], [bonafide.size, spoof.size])  # 1: spoof is positive
    decision = (np.r_[bonafide, spoof] < threshold).astype(int)
    matrix = sklearn.metrics.confusion_matrix(truth, decision)
    assert (at.bonafide_rejected, at.spoof_accepted) == (matrix[0, 1], matrix[1, 0])
    f1 = sklearn.metrics.f1_score(truth, decision, pos_label=1, zero_division=0.0)
    assert at.f1 == pytest.approx(f1, abs=1e-12)
    recall = sklearn.metrics.balanced_accuracy_score(truth, decision)
    assert at.hter == pytest.approx(1 - recall, abs=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_errors_on_the_dev_trials_themselves(seed):
    bonafide, spoof = tied_scores(seed)
    threshold = fixed_threshold.eer_threshold(bonafide, spoof)
    at = fixed_threshold.count_errors(bonafide, spoof, threshold)
    attainable = metrics.eer(bonafide, spoof, attainable=True)[0]
    assert at.hter == pytest.approx(attainable, abs=1e-12)
    # No threshold has rates that are more alike.
    for other in np.r_[bonafide, spoof]:
        worse = fixed_threshold.count_errors(bonafide, spoof, other)
        assert abs(at.frr - at.far) <= abs(worse.frr - worse.far) + 1e-12


def test_bayes_threshold_decides_as_act_dcf_on_calibrated_scores():
    rng = np.random.default_rng(0)
    bonafide, spoof = rng.normal(7, 2, 300), rng.normal(3, 1.5, 900)
    labels = np.repeat([1, 0], [300, 900])
    fitted = fit_calibration(np.r_[bonafide, spoof], labels)
    threshold = fixed_threshold.bayes_threshold(bonafide, spoof)
    at = fixed_threshold.count_errors(bonafide, spoof, threshold)
    ratios = apply_calibration(fitted, bonafide), apply_calibration(fitted, spoof)
    cost = metrics.normalised_cost(at.frr, at.far)
    assert cost == pytest.approx(metrics.act_dcf(*ratios), abs=1e-12)
    # Moving and scaling the scores moves the threshold with them.
    moved = fixed_threshold.bayes_threshold(10 * bonafide - 4, 10 * spoof - 4)
    assert moved == pytest.approx(10 * threshold - 4, abs=1e-5)


def test_moved_scores_keep_their_eer_and_lose_their_threshold():
    rng = np.random.default_rng(1)
    bonafide, spoof = rng.normal(2, 1, 500), rng.normal(-2, 1, 500)
    dev = fixed_threshold.fit_thresholds(bonafide, spoof, "dev.txt")
    scores = np.r_[bonafide, spoof] - 3
    real = np.arange(1000) < 500
    groups = {"attack": {"A1": np.arange(750)}}
    fixed = fixed_threshold.apply_thresholds(dev, scores, real, groups)
    assert metrics.eer(scores[real], scores[~real])[0] < 0.04
    assert fixed.errors["eer"].frr > 0.8 and fixed.errors["eer"].far == 0
    part = fixed.parts["attack"]["A1"]["bayes"]
    assert (part.n_bonafide, part.n_spoof) == (500, 250)
    assert part == fixed_threshold.count_errors(
        scores[:500], scores[500:750], dev.errors["bayes"].threshold
    )


def test_separable_dev_scores_have_only_the_eer_threshold():
    dev = fixed_threshold.fit_thresholds([3, 4, 5], [1, 2, 2.5], "dev.txt")
    assert list(dev.errors) == ["eer"] and dev.errors["eer"].threshold == 3
    (warning,) = dev.warnings
    assert "no Bayes threshold from dev.txt: a threshold separates all 6" in warning


@pytest.mark.parametrize(
    ("bonafide", "spoof", "words"),
    [
        ([0, 1, 2], [1.5, 3, 4], r"d\.txt: the EER of these dev scores is 66.67 %"),
        ([1, 1], [1, 1, 1], r"d\.txt: every score is 1, so no threshold"),
        # A threshold at 1 is better than chance, the fit follows the outlier.
        ([1, 1, 1, -99], [0, 0, 0, 2], r"d\.txt: the fitted scale is -.*negate"),
    ],
)
def test_dev_scores_without_a_threshold(bonafide, spoof, words):
    with pytest.raises(UserError, match=words):
        fixed_threshold.fit_thresholds(bonafide, spoof, "d.txt")


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf, 1]])
def test_invalid_arrays(bad):
    for both in ((bad, [0]), ([0], bad)):
        with pytest.raises(ValueError, match="must be"):
            fixed_threshold.count_errors(*both, 0.5)
        with pytest.raises(ValueError, match="must be"):
            fixed_threshold.fit_thresholds(*both, "d.txt")
    with pytest.raises(ValueError, match="threshold is nan, must be finite"):
        fixed_threshold.count_errors([1], [0], np.nan)
