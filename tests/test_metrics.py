"""Metrics against the challenge's numbers, scikit-learn, hand counts and simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import norm

from mldg_jax import metrics

GOLDEN = np.load(Path(__file__).parent / "golden" / "metrics.npz")
REFERENCE = json.loads(str(GOLDEN["reference"]))


def random_trials(seed=0, n=240, decimals=1):
    """Scores with ties, labels, attacks, speakers (8 of them, all with bona fide)."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    scores = np.round(rng.normal(size=n) + 1.5 * labels, decimals)
    attacks = np.where(labels == 1, "-", rng.choice(["A07", "A08", "A19"], n))
    speakers = np.char.add("spk", rng.integers(0, 8, n).astype(str))
    return scores, labels, attacks, speakers


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


def test_macro_weighs_pairs_equally():
    # Speaker a (5 trials) is perfect, b (10) fails on "y" only, c (4) is left out.
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


def repeated(values, weights):
    return [np.repeat(values, w) for w in weights]


def explicit_pooled(scores, labels):
    def statistic(weights):
        pairs = zip(repeated(scores, weights), repeated(labels, weights), strict=True)
        return np.array([metrics.eer(s[k == 1], s[k == 0])[0] for s, k in pairs])

    return statistic


def explicit_macro(scores, labels, attacks, speakers):
    """Resampled arrays in which every draw of a speaker is a speaker of its own."""

    def one(weights):
        parts = [np.repeat(np.flatnonzero(labels == 0), weights[labels == 0])]
        names = [speakers[parts[0]]]
        for speaker in np.unique(speakers):
            trials = np.flatnonzero((labels == 1) & (speakers == speaker))
            for copy in range(weights[trials[0]]):
                parts.append(trials)
                names.append(np.full(trials.size, f"{speaker}/{copy}"))
        index = np.concatenate(parts)
        return metrics.macro_eer(
            scores[index], labels[index], attacks[index], np.concatenate(names)
        )

    return lambda weights: np.array([one(w) for w in weights])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1_000, 2_000_000])
def test_weighted_replicas_equal_resampled_arrays(monkeypatch, seed, block):
    monkeypatch.setattr(metrics, "_BLOCK", block)
    scores, labels, attacks, speakers = random_trials(seed)
    options = {"replicas": 60, "level": 0.8, "seed": seed}
    interval = metrics.eer_interval(scores, labels, speakers, **options)
    explicit = explicit_pooled(scores, labels)
    assert interval == metrics.bootstrap(explicit, labels, speakers, **options)
    groups = {"attacks": attacks, "speakers": speakers}
    macro = metrics.eer_interval(
        scores, labels, speakers, **options, statistic="macro", **groups
    )
    explicit = explicit_macro(scores, labels, **groups)
    assert macro == pytest.approx(
        metrics.bootstrap(explicit, labels, speakers, **options), abs=1e-12
    )


def test_weighted_eer_equals_repeated_arrays_with_random_weights():
    # Few distinct scores and class sizes in simple ratios: points exactly as far from
    # the diagonal on either side, where the reference depends on rounding.
    rng = np.random.default_rng(3)
    for _ in range(300):
        n = int(rng.integers(2, 12))
        scores, labels = rng.integers(0, 4, n) / 10, np.arange(n) % 2
        weights = rng.integers(0, 4, (1, n))
        weights[0, :2] += 1
        got = metrics._pooled(scores, labels == 1)(weights)
        assert got == explicit_pooled(scores, labels)(weights)


def test_replica_without_a_class_is_undefined():
    weights = np.array([[1, 1, 0], [0, 0, 2], [1, 0, 1]])
    values = metrics._pooled(np.array([1.0, 2, 0]), np.array([True, True, False]))
    np.testing.assert_array_equal(values(weights), [np.nan, np.nan, 0])


def test_bootstrap_resamples_whole_clusters_within_a_class():
    labels, clusters = np.array([1, 1, 1, 0, 0]), ["s", "s", "t", "s", "u"]
    seen = []

    def statistic(weights):
        seen.append(weights)
        return weights[:, 0].astype(float)

    low, high = metrics.bootstrap(statistic, labels, clusters, level=0.99)
    weights = np.concatenate(seen)
    assert (low, high) == (0, 2)
    assert weights.shape == (1000, 5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2], 2)
    np.testing.assert_array_equal(weights[:, 3] + weights[:, 4], 2)
    assert np.any(weights[:, 0] != weights[:, 3])  # "s" is drawn for each class
    assert weights.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)


def simulated_coverage(cluster_ids):
    """How often the 95 % interval holds the true EER when speakers differ."""
    rng = np.random.default_rng(5)
    speakers, clips, runs, gap, spread = 40, 10, 200, 2.0, 1.0
    truth = norm.cdf(-gap / 2 / np.hypot(1, spread))  # scores are ±gap/2 + N(0, 1 + 1)
    labels = np.repeat([1, 0], speakers * clips)
    owner = np.repeat(np.arange(2 * speakers), clips)
    covered = 0
    for _ in range(runs):
        offset = rng.normal(scale=spread, size=2 * speakers)[owner]
        scores = gap * (labels - 0.5) + offset + rng.normal(size=owner.size)
        clusters = owner if cluster_ids == "speaker" else np.arange(owner.size)
        low, high = metrics.eer_interval(scores, labels, clusters, replicas=200)
        covered += low <= truth <= high
    return covered / runs


def test_interval_covers_the_truth_only_if_clustered_by_speaker():
    assert 0.89 <= simulated_coverage("speaker") <= 0.99
    assert simulated_coverage("utterance") < 0.75


def test_paired_difference_equals_resampled_arrays():
    scores, labels, _, speakers = random_trials()
    other = scores + np.random.default_rng(1).normal(size=scores.size)
    options = {"replicas": 50, "seed": 4}
    result = metrics.paired_difference(scores, other, labels, speakers, **options)
    a, b = explicit_pooled(scores, labels), explicit_pooled(other, labels)
    ones = np.ones((1, labels.size), int)
    low, high = metrics.bootstrap(lambda w: a(w) - b(w), labels, speakers, **options)
    assert result == pytest.approx(((a(ones) - b(ones)).item(), low, high), abs=1e-12)
    same = metrics.paired_difference(scores, scores, labels, speakers, **options)
    assert same == (0, 0, 0)


def test_seeds_are_averaged_and_resampled():
    labels = np.repeat([1, 0], 10)
    good, bad = labels.astype(float), -labels.astype(float)
    clusters = np.arange(20)
    # A is perfect with one seed and inverted with the other: EER 0 and 1 in every
    # replica, so only the draw of seeds moves the mean: 0, 1/2, 1 (1/4, 1/2, 1/4).
    a, b = np.stack([good, bad]), np.stack([good, good])
    options = {"seed": 2, "replicas": 400}
    result = metrics.paired_difference(a, b, labels, clusters, **options)
    assert result == (0.5, 0, 1)
    assert metrics.eer_interval(a, labels, clusters, **options) == (0, 1)
    narrow = metrics.paired_difference(a, b, labels, clusters, level=0.4, **options)
    assert narrow == (0.5, 0.5, 0.5)
    # The same seeds for both systems: the difference of A from itself is 0 always.
    assert metrics.paired_difference(a, a, labels, clusters, **options) == (0, 0, 0)


def test_intervals_are_functions_of_the_seed():
    scores, labels, _, speakers = random_trials(decimals=8)
    first, again, other = (
        metrics.eer_interval(scores, labels, speakers, seed=s) for s in (0, 0, 1)
    )
    assert first == again != other


SCORES, LABELS, ATTACKS, SPEAKERS = random_trials()
MACRO = {"statistic": "macro", "attacks": ATTACKS, "speakers": SPEAKERS}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.eer([], [1.0]), r"\(0,\).*n > 0"),
        (lambda: metrics.eer([1.0], [np.nan]), "nan.*finite"),
        (lambda: metrics.cllr([np.inf], [1.0]), "inf.*finite"),
        (lambda: metrics.det_curve([[1.0]], [1.0]), r"\(1, 1\)"),
        (lambda: metrics.by_attack([1.0, 2], [1, 1], ["a", "b"]), "both 0 and 1"),
        (lambda: metrics.by_attack([1.0, 2], [1, 0], ["a"]), r"attacks is \(1,\)"),
        (lambda: metrics.by_attack([1.0, 2, 3], [1, 0], ["a", "b"]), r"\(3,\).*\(2,\)"),
        (
            lambda: metrics.macro_eer(SCORES, LABELS, ATTACKS, SPEAKERS, 100),
            "at most .* need 100",
        ),
        (lambda: metrics.eer_interval(SCORES, LABELS, SPEAKERS, 0), "replicas is 0"),
        (lambda: metrics.eer_interval(SCORES, LABELS, SPEAKERS, 9, 95), "level is 95"),
        (
            lambda: metrics.eer_interval(SCORES, LABELS, LABELS),
            "bona fide trials form 1 cluster, need 2",
        ),
        (
            lambda: metrics.eer_interval(SCORES, LABELS, SPEAKERS, statistic="mean"),
            "'mean'.*'pooled' or 'macro'",
        ),
        (
            lambda: metrics.eer_interval(SCORES, LABELS, SPEAKERS, statistic="macro"),
            "speakers is .*must be",
        ),
        (
            lambda: metrics.eer_interval(SCORES, LABELS, np.arange(240), **MACRO),
            "use speakers as clusters",
        ),
        (
            lambda: metrics.paired_difference(SCORES, SCORES[1:], LABELS, SPEAKERS),
            r"scores_a is \(240,\), scores_b \(239,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
