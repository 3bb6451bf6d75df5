"""Calibration against closed forms and scipy's optimiser and isotonic regression."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import isotonic_regression, minimize
from scipy.stats import norm

from mldg_jax import UserError, metrics
from mldg_jax.common.config import Config, CorpusSection
from mldg_jax.common.config_values import with_values
from mldg_jax.scoring import calibration_trials
from mldg_jax.scoring.calibration import (
    apply_calibration,
    fit_calibration,
    load_calibration,
    min_cllr,
    reliability,
    save_calibration,
)
from mldg_jax.scoring.calibration_trials import (
    DevTrials,
    check_trials,
    load_trials,
    trials_in_words,
    trials_of,
)
from tests import signals

RNG = np.random.default_rng(4)
BONAFIDE, SPOOF = RNG.normal(3, 2, 150), RNG.normal(-1, 1.5, 700)
SCORES = np.r_[BONAFIDE, SPOOF]
LABELS = np.r_[np.ones(150), np.zeros(700)]


@pytest.mark.parametrize("prior", [0.5, 0.05, 0.9])
def test_fit_minimises_the_weighted_cross_entropy(prior):
    def cross_entropy(theta):
        logits = np.log(prior / (1 - prior)) + theta[1]
        real, fake = theta[0] * BONAFIDE + logits, theta[0] * SPOOF + logits
        bonafide = prior * np.logaddexp(0, -real).mean()
        return bonafide + (1 - prior) * np.logaddexp(0, fake).mean()

    found = fit_calibration(SCORES, LABELS, prior)
    best = minimize(cross_entropy, [1.0, 0.0], method="Nelder-Mead", tol=1e-12)
    assert [found.scale, found.offset] == pytest.approx(best.x, abs=1e-5)
    assert cross_entropy(found[:2]) <= best.fun + 1e-12
    assert found[2:5] == (prior, 150, 700)


def test_fit_finds_the_likelihood_ratio_of_two_gaussians():
    """N(±2, σ²) scaled and shifted: the ratio is 4 score / σ², whatever the counts."""
    rng = np.random.default_rng(0)
    sigma, n, m = 2.5, 40_000, 400_000
    scores = np.r_[rng.normal(2, sigma, n), rng.normal(-2, sigma, m)]
    labels = np.r_[np.ones(n), np.zeros(m)]
    found = fit_calibration(1000 * scores + 70_000, labels)
    llr = apply_calibration(found, 1000 * scores + 70_000)
    exact = norm.logpdf(scores, 2, sigma) - norm.logpdf(scores, -2, sigma)
    np.testing.assert_allclose(llr, exact, atol=0.05)
    again = fit_calibration(llr, labels)
    assert again[:2] == pytest.approx((1, 0), abs=1e-6)


def test_calibrated_scores_make_cllr_and_act_dcf_meaningful():
    found = fit_calibration(SCORES, LABELS)
    before = metrics.detection_metrics(BONAFIDE - 4, SPOOF - 4)
    llrs = apply_calibration(found, BONAFIDE), apply_calibration(found, SPOOF)
    after = metrics.detection_metrics(*llrs)
    assert after["eer"] == before["eer"] and after["min_dcf"] == before["min_dcf"]
    assert after["cllr"] < before["cllr"] / 2
    assert after["act_dcf"] < before["act_dcf"] / 2
    best = min_cllr(*llrs)
    assert best <= after["cllr"] <= best + 0.05


def test_min_cllr_by_another_isotonic_regression():
    for bonafide, spoof in ((BONAFIDE, SPOOF), (SPOOF, BONAFIDE)):
        scores = np.r_[bonafide, spoof]
        real = np.arange(scores.size) < bonafide.size
        order = np.argsort(scores)
        weights = np.where(real, 1 / bonafide.size, 1 / spoof.size)[order]
        p = isotonic_regression(real[order].astype(float), weights=weights).x
        real = real[order]
        bits = (-np.log2(p[real]).mean() - np.log2(1 - p[~real]).mean()) / 2
        assert min_cllr(bonafide, spoof) == pytest.approx(bits, abs=1e-9)
    assert min_cllr([1, 2], [-1, 0]) == 0
    assert min_cllr([0, 0], [0]) == 1  # ties: nothing is known
    # One threshold that matters: 1/2 of bona fide above all, else 1 : 2.
    expected = (-(np.log2(1 / 3)) / 2 - np.log2(2 / 3)) / 2
    assert min_cllr([0, 9], [0, 0]) == pytest.approx(expected)


def test_reliability_of_true_ratios_is_the_diagonal():
    rng = np.random.default_rng(1)
    ratios = rng.normal(2, 2, 60_000), rng.normal(-2, 2, 60_000)  # σ² = 2μ: LLRs
    claimed, observed = reliability(*ratios)
    assert np.all(np.diff(claimed) >= 0) and np.all(np.diff(observed) >= 0)
    np.testing.assert_allclose(observed, claimed, atol=0.06)
    overconfident = reliability(3 * ratios[0], 3 * ratios[1])
    assert np.abs(overconfident[0] - overconfident[1]).max() > 0.2


def test_file_round_trip_and_damage(tmp_path):
    found, path = fit_calibration(SCORES, LABELS), tmp_path / "run" / "calibration.json"
    save_calibration(path, found)
    assert load_calibration(path) == found
    assert [x.name for x in path.parent.iterdir()] == ["calibration.json"]
    negative = json.dumps(found._asdict() | {"scale": -1})
    for text in ("", "{}", "[1]", "[" * 10_000, "null", negative, '{"scale": NaN}'):
        path.write_text(text)
        with pytest.raises(
            UserError, match=r"(is not a calibration|is damaged).*again"
        ):
            load_calibration(path)
    with pytest.raises(UserError, match="there is no such file"):
        load_calibration(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([-1.0, -2, 3, 4, 2.5], "spoof"),
        ([3.0, 4, -3, -4, 2.5], "a threshold separates all"),
        ([3.0, 2.5, -3, -4, 2.5], "a threshold separates all"),  # they touch
        ([1.0, 1, 1, 1, 1], "every score is 1"),
    ],
)
def test_scores_that_cannot_be_calibrated(scores, words):
    with pytest.raises(UserError, match=words):
        fit_calibration(np.array(scores), np.array([1, 1, 0, 0, 0]))
    with pytest.raises(ValueError, match="prior is 1"):
        fit_calibration(SCORES, LABELS, 1)


OWN = CorpusSection("asvspoof5", "", "abc")


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        (OWN, ("asvspoof5", "", "abc", "train"), "trained on split train.*--split dev"),
        (OWN, ("asvspoof5", "", "", "train"), "trained on split train"),  # unknown hash
        (OWN, ("manifest", "copy", "abc", "train"), "trained on split train"),
        (CorpusSection("debspoof", "small"), ("debspoof", "", "", "train"), "--split"),
        (
            dataclasses.replace(OWN, fold=1),
            ("asvspoof5", "", "abc", "dev"),
            "another corpus",
        ),
    ],
)
def test_training_data_are_refused(own, other, words):
    with pytest.raises(UserError, match=words):
        trials_of(own, *other)


def test_only_what_is_known_of_the_trials_is_claimed():
    def words(*other):
        fitted = fit_calibration(SCORES, LABELS)
        return trials_in_words(fitted._replace(**trials_of(OWN, *other)._asdict()))

    known = words("asvspoof5", "", "abc", "dev")
    assert known == " of split dev of asvspoof5, which was not used for training"
    for other in (
        ("asvspoof5", "", "", "dev"),
        ("asvspoof5", "", "rebuilt", "dev"),
        ("debspoof", "small", "def", "train"),
    ):
        assert "was not checked" in words(*other)
    assert "not used" not in trials_in_words(fit_calibration(SCORES, LABELS))


@pytest.mark.parametrize(
    ("labels", "utterances", "words"),
    [
        ([1, 0], -1, "number of utterances is -1"),
        ([1, 1], 9, "split eval of x has no spoof"),
        ([0], 9, "split eval of x has no bona fide"),
    ],
)
def test_unusable_trials_are_refused_before_they_are_scored(labels, utterances, words):
    with pytest.raises(UserError, match=words):
        check_trials(np.array(labels), utterances, DevTrials("x", "eval", False))


def test_few_trials_and_evaluation_trials_are_warned_of(caplog):
    labels = np.repeat([1, 0], [60, 49])
    trials = DevTrials("corpus", "dev", True)
    check_trials(np.repeat([1, 0], [60, 50]), 0, trials)
    assert not caplog.messages
    check_trials(labels, 5, trials._replace(split="eval"))
    few, data = caplog.messages
    assert "on 5 bona fide and 5 spoof utterances is not reliable" in few
    assert "split eval of corpus looks like evaluation data" in data
    caplog.clear()
    check_trials(labels, 0, None)
    (few,) = caplog.messages
    assert "49 spoof utterances is not reliable: use at least 50" in few


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({}, "A01 A02 A03 A04 A05 A06"),
        ({"episode.exclude": ("A02", "X")}, "A01 A03 A04 A05 A06"),
        (
            {"episode.exclude": ("A02",), "validation.attacks": ("A01",)},
            "A03 A04 A05 A06",
        ),
        (
            {
                "corpus.attack_folds": (("A01",), ("A05", "A06")),
                "corpus.attack_fold": 1,
            },
            "A01 A02 A03 A04",
        ),
    ],
)
def test_held_out_attacks_are_not_calibrated_on(values, left, monkeypatch, tmp_path):
    corpus = signals.corpus()
    monkeypatch.setattr(calibration_trials, "load_split", lambda *_: corpus)
    config = with_values(Config(), {"corpus.sha256": "of another corpus", **values})
    found = load_trials(config, tmp_path, "dev")
    assert sorted({*found.attack[found.label == 0]}) == left.split()
    assert sum(found.label) == 70
    everything = load_trials(config, tmp_path, "dev", include_excluded=True)
    assert len(everything.label) == 130


def test_a_split_of_held_out_attacks_alone_is_refused(monkeypatch, tmp_path):
    corpus = signals.corpus()
    corpus = corpus.take(np.isin(corpus.attack, ["-", "A02"]))
    monkeypatch.setattr(calibration_trials, "load_split", lambda *_: corpus)
    config = with_values(Config(), {"episode.exclude": ("A02",)})
    with pytest.raises(UserError, match=r"other than A02,.*--include-excluded"):
        load_trials(config, tmp_path, "dev")
