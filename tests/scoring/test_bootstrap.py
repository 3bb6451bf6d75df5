"""Intervals and paired tests: against resampled arrays, and by simulation."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from mldg_jax import metrics
from mldg_jax.scoring import bootstrap, bootstrap_statistics
from mldg_jax.scoring.bootstrap import Scheme
from tests import resampled
from tests.signals import random_trials

APART, TOGETHER = Scheme("apart"), Scheme("together")


def drawn(scheme, replicates, seed=0):
    return dataclasses.replace(scheme, replicates=replicates, seed=seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1_000, 2_000_000])
def test_weighted_replicates_equal_resampled_arrays(seed, block):
    scores, labels, attacks, speakers = random_trials(seed)
    clusters = bootstrap.cluster(labels, speakers, APART)
    pairs = metrics.macro_pairs(labels, attacks, speakers)
    explicit = (
        resampled.pooled(scores, labels),
        resampled.macro(scores, labels, attacks, speakers),
    )
    statistics = [
        bootstrap_statistics.eer(scores, labels == 1, clusters.index, clusters.count),
        bootstrap_statistics.macro_eer(scores, pairs, clusters.index),
        *(lambda counts, one=one: one(counts[:, clusters.index]) for one in explicit),
    ]
    scheme = drawn(APART, 60, seed)
    values = bootstrap.replicate(statistics, clusters, scheme, block=block)
    np.testing.assert_array_equal(values[0], values[2])
    np.testing.assert_allclose(values[1], values[3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("name", ["eer", "min_dcf", "act_dcf", "cllr"])
def test_statistics_of_counts_equal_metrics_of_resampled_arrays(name, decimals):
    """Clusters with trials of both classes, of one, and never drawn."""
    scores, labels, _, speakers = random_trials(decimals, 301, decimals)
    clusters = bootstrap.cluster(labels, speakers, TOGETHER)
    statistic = getattr(bootstrap_statistics, name)(
        scores, labels == 1, clusters.index, 8
    )
    counts = np.random.default_rng(decimals).integers(0, 4, (40, 8))
    explicit = resampled.pooled(scores, labels, getattr(metrics, name))
    expected = explicit(counts[:, clusters.index])
    np.testing.assert_allclose(statistic(counts), expected, rtol=0, atol=1e-12)


def test_weighted_tandem_cost_equals_that_of_resampled_arrays():
    scores, labels, _, speakers = random_trials(1, 301)
    rates = {"asv_pfa": 0.02, "asv_pmiss": 0.03, "asv_pmiss_spoof": 0.5}
    clusters = bootstrap.cluster(labels, speakers, TOGETHER)
    cost = metrics.tandem_cost(**rates)
    statistic = bootstrap_statistics.min_dcf(
        scores, labels == 1, clusters.index, 8, cost
    )
    counts = np.random.default_rng(0).integers(0, 4, (40, 8))
    explicit = resampled.pooled(
        scores, labels, lambda real, fake: metrics.min_tdcf(real, fake, **rates)
    )
    expected = explicit(counts[:, clusters.index])
    np.testing.assert_allclose(statistic(counts), expected, rtol=0, atol=1e-12)


def test_weighted_eer_equals_repeated_arrays_to_the_bit():
    # Few distinct scores and class sizes in simple ratios: points exactly as far from
    # the diagonal on either side, where the reference depends on rounding.
    rng = np.random.default_rng(3)
    for _ in range(300):
        n = int(rng.integers(2, 12))
        scores, labels = rng.integers(0, 4, n) / 10, np.arange(n) % 2
        weights = rng.integers(0, 4, (1, n))
        weights[0, :2] += 1
        got = bootstrap_statistics.eer(scores, labels == 1, np.arange(n), n)(weights)
        assert got == resampled.pooled(scores, labels)(weights)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_weighted_eer_is_the_eer_where_every_trial_counts_once(decimals):
    for seed in range(20):
        scores, labels, _, _ = random_trials(seed, 97, decimals)
        statistic = bootstrap_statistics.eer(scores, labels == 1, np.arange(97), 97)
        expected = metrics.eer(scores[labels == 1], scores[labels == 0])[0]
        assert statistic(np.ones((1, 97), int)) == expected


@pytest.mark.parametrize("name", ["eer", "min_dcf", "act_dcf", "cllr"])
def test_replicate_without_a_class_is_undefined(name):
    weights = np.array([[1, 1, 0], [0, 0, 2], [1, 0, 1]])
    real = np.array([True, True, False])
    statistic = getattr(bootstrap_statistics, name)(
        np.array([9.0, 9, -9]), real, np.arange(3), 3
    )
    values = statistic(weights)
    np.testing.assert_array_equal(np.isnan(values), [True, True, False])
    assert values[2] == pytest.approx(0, abs=1e-3)


def test_within_classes_a_speaker_of_both_is_two():
    labels, speakers = np.array([1, 1, 1, 0, 0]), ["s", "s", "t", "s", "u"]
    clusters = bootstrap.cluster(labels, speakers, APART)
    seen = []

    def statistic(counts):
        seen.append(counts[:, clusters.index])
        return counts[:, 0].astype(float)

    values = bootstrap.replicate([statistic], clusters, drawn(APART, 1000))
    weights = np.concatenate(seen)
    assert bootstrap.interval(values[0], 0.99) == (0, 2)
    assert weights.shape == (1000, 5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2], 2)
    np.testing.assert_array_equal(weights[:, 3] + weights[:, 4], 2)
    assert np.any(weights[:, 0] != weights[:, 3])  # "s" is drawn for each class
    assert weights.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)


def test_a_speaker_is_drawn_with_all_his_trials():
    labels, speakers = np.array([1, 1, 1, 0, 0, 0]), ["s", "s", "t", "s", "u", "t"]
    clusters = bootstrap.cluster(labels, speakers, TOGETHER)
    seen = []

    def statistic(counts):
        seen.append(counts[:, clusters.index])
        return counts[:, 0].astype(float)

    both = bootstrap.replicate([statistic] * 2, clusters, drawn(TOGETHER, 500, 1))
    weights = np.concatenate(seen[::2])
    assert both.shape == (2, 500)
    np.testing.assert_array_equal(both[0], both[1])  # the same replicates
    for trial, same in ((1, 0), (3, 0), (5, 2)):
        np.testing.assert_array_equal(weights[:, trial], weights[:, same])
    np.testing.assert_array_equal(weights[:, [0, 2, 4]].sum(axis=1), 3)
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.1)


def test_seeds_are_drawn_if_the_scheme_says():
    values = np.tile([0.0, 1.0], (1000, 1))
    seeds = dataclasses.replace(APART, seeds=True)
    np.testing.assert_array_equal(bootstrap.over_seeds(values, APART), 0.5)
    means = bootstrap.over_seeds(values, seeds)
    assert [np.mean(means == x) for x in (0, 0.5, 1)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.05
    )
    np.testing.assert_array_equal(means, 1 - bootstrap.over_seeds(1 - values, seeds))


def test_tests_of_one_seed_have_streams_of_their_own():
    def draw(*stream):
        scheme = drawn(APART, 50)
        return bootstrap.replicate([lambda x: x[:, 0]], CLUSTERS, scheme, stream)

    np.testing.assert_array_equal(draw(1), draw(1))
    assert np.any(draw(1) != draw(2))


def test_units_of_a_single_voice_are_its_utterances():
    """In the order of their names, after the speakers in the order of theirs."""
    labels = np.array([1, 1, 1, 0, 0, 0])
    speakers = np.array(["b", "a", "b", "tts", "tts", "tts"])
    utterances = np.array(["u1", "u2", "u3", "u6", "u5", "u4"])
    ids, kinds = bootstrap.units(labels, speakers, utterances)
    assert kinds == "speakers (spoof: utterances of one speaker)"
    assert ids.tolist() == [1, 0, 1, 3 + 5, 3 + 4, 3 + 3]
    speakers[3] = "other"
    ids, kinds = bootstrap.units(labels, speakers, utterances)
    assert kinds == "speakers" and ids.tolist() == [1, 0, 1, 2, 3, 3]


def test_a_scheme_says_what_it_draws():
    seeds = dataclasses.replace(APART, seeds=True, replicates=2000)
    assert seeds.sentence().startswith(
        "In brackets 95 % percentile intervals from 2,000 bootstrap replicates of "
        "seeds and of speakers, those of bona fide and those of spoof drawn "
        "independently"
    )
    assert TOGETHER.sentence().endswith(
        "1,000 bootstrap replicates of speakers, each drawn with the trials of both "
        "classes."
    )
    assert TOGETHER.sentence("utterances").endswith("replicates of utterances.")
    assert drawn(APART, 0).sentence() == "Without intervals."
    described = drawn(APART, 7, 3).to_json()
    assert (described["replicates"], described["seed"], described["level"]) == (
        7,
        3,
        0.95,
    )
    assert described["resampled"] == APART.resampled()


def coverage(systems, unit, *, speakers=60, clips=10, correlation=-0.5, replicates=400):
    """Returns how often the 95 % interval contains the population's EER.

    A speaker shifts the scores of their bona fide trials and of the spoofs of their
    speech by correlated amounts; scores are ±1 + N(0, 1) + N(0, 1), so the EER is Φ(−1
    / √2).
    """
    truth, covered = norm.cdf(-1 / np.sqrt(2)), 0
    labels = np.tile(np.repeat([1, 0], clips), speakers)
    owner = np.repeat(np.arange(speakers), 2 * clips)
    mix = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    rng = np.random.default_rng(5)
    for seed in range(systems):
        offset = (rng.normal(size=(speakers, 2)) @ mix.T)[owner, 1 - labels]
        scores = 2 * (labels - 0.5) + offset + rng.normal(size=owner.size)
        if unit == "speaker":
            clusters = bootstrap.cluster(labels, owner, TOGETHER)
        else:
            clusters = bootstrap.cluster(labels, np.arange(owner.size), TOGETHER)
        statistic = bootstrap_statistics.eer(
            scores, labels == 1, clusters.index, clusters.count
        )
        scheme = drawn(TOGETHER, replicates, seed)
        values = bootstrap.replicate([statistic], clusters, scheme)
        low, high = bootstrap.interval(values[0])
        covered += low <= truth <= high
    return covered / systems


def test_interval_covers_the_truth_only_if_clustered_by_speaker():
    assert 0.88 <= coverage(100, "speaker", replicates=200) <= 1
    assert coverage(50, "utterance", replicates=200) < 0.8


@pytest.mark.full
@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.5])
def test_coverage_of_500_systems(correlation):
    assert 0.92 <= coverage(500, "speaker", correlation=correlation) <= 0.98
    assert coverage(500, "utterance", correlation=correlation) < 0.88


def test_p_is_uniform_without_a_difference_and_small_with_one():
    """Two systems of the same quality, 300 times; then one that is better."""
    rng = np.random.default_rng(2)
    labels, owner = np.tile([1, 0], 200), np.repeat(np.arange(40), 10)
    clusters = bootstrap.cluster(labels, owner, TOGETHER)

    def p(gap):
        shared = rng.normal(size=40)[owner]
        systems = [g * labels + shared + rng.normal(size=400) for g in (1.5, 1.5 + gap)]
        statistics = [
            bootstrap_statistics.eer(s, labels == 1, clusters.index, 40)
            for s in systems
        ]
        a, b = bootstrap.replicate(statistics, clusters, drawn(TOGETHER, 200))
        return bootstrap.p_value(a - b)

    null = np.array([p(0.0) for _ in range(300)])
    assert 0.01 <= np.mean(null <= 0.05) <= 0.10
    assert 0.35 <= np.mean(null <= 0.5) <= 0.65
    assert np.mean([p(1.5) for _ in range(30)]) < 0.02


def test_p_by_hand():
    # One of nine replicates at or below zero: 2 × 2 / 10.
    assert bootstrap.p_value(np.array([-1.0, *range(1, 9)])) == pytest.approx(0.4)
    assert bootstrap.p_value(np.zeros(9)) == 1
    assert bootstrap.p_value(np.r_[np.nan, np.arange(1.0, 10)]) == pytest.approx(0.2)


def test_replicates_are_functions_of_the_seed():
    scores, labels, _, speakers = random_trials(decimals=8)
    clusters = bootstrap.cluster(labels, speakers, TOGETHER)
    statistic = bootstrap_statistics.eer(scores, labels == 1, clusters.index, 8)
    first, again, other = (
        bootstrap.replicate([statistic], clusters, drawn(TOGETHER, 100, seed))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


LABELS = np.array([1, 1, 0, 0])
CLUSTERS = bootstrap.cluster(LABELS, range(4), APART)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bootstrap.replicate([], CLUSTERS, drawn(APART, 0)),
            "replicates is 0",
        ),
        (lambda: bootstrap.interval(np.zeros(9), 95), "level is 95"),
        (
            lambda: bootstrap.interval(np.full(9, np.nan)),
            "0 of 9 replicates are defined",
        ),
        (
            lambda: bootstrap.cluster(LABELS, LABELS, APART),
            "bona fide trials form 1 cluster, need 2",
        ),
        (
            lambda: bootstrap.cluster(LABELS, [0, 1, 2, 2], TOGETHER),
            "spoof trials form 1 cluster, need 2",
        ),
        (
            lambda: bootstrap.cluster(LABELS, range(3), APART),
            r"ids have shape \(3,\), not \(4,\)",
        ),
        (
            lambda: bootstrap.cluster(LABELS, range(3), TOGETHER),
            r"ids have shape \(3,\), not \(4,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
