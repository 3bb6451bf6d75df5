"""Error rates of several methods and their intervals, against known answers."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus
from mldg_jax.experiments import statistics
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.experiments.statistics import Condition
from mldg_jax.scoring import bootstrap, bootstrap_statistics, two_way
from tests import resampled

ATTACKS = {"A01", "A02", "A03"}


def scored(corpus, **methods):
    """Returns a test; a method is a matrix of scores or the offset of bona fide."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, len(corpus.label)))
    made = {
        name: noise + method * corpus.label
        if np.isscalar(method)
        else np.asarray(method)
        for name, method in methods.items()
    }
    return Scored(corpus, made)


def rates(parts, replicates=400, seed=0):
    scheme = dataclasses.replace(statistics.SCHEME, replicates=replicates, seed=seed)
    return statistics.rates(parts, scheme)


def test_points_are_the_metrics(corpus):
    test = scored(corpus, a=1.0)
    real = corpus.label == 1
    columns = statistics.columns({"": [test]}, ATTACKS)
    pooled = rates(columns["pooled"]).points["a"]
    macro = rates(columns["macro"]).points["a"]
    for seed, scores in enumerate(test.scores["a"]):
        assert pooled[seed] == metrics.eer(scores[real], scores[~real])[0]
        assert macro[seed] == metrics.macro_eer(
            scores, corpus.label, corpus.attack, corpus.speaker
        )


def test_seen_and_unseen_attacks(corpus):
    test = scored(corpus, a=1.0)
    columns = statistics.columns({"": [test]}, ATTACKS)
    keep = (corpus.label == 1) | ~np.isin(corpus.attack, list(ATTACKS))
    scores, spoof = test.scores["a"][0][keep], corpus.label[keep] == SPOOF
    unseen = rates(columns["unseen"]).points["a"][0]
    assert unseen == metrics.eer(scores[~spoof], scores[spoof])[0]
    everything = set(corpus.attack)
    assert "unseen" not in statistics.columns({"": [test]}, everything)


def test_several_corpora_have_an_average(corpus):
    tests = {"one": [scored(corpus, a=1.0)], "two": [scored(corpus, a=3.0)]}
    columns = statistics.columns(tests, ATTACKS)
    assert list(columns) == ["one", "two", "average"]
    one, two, average = (rates(c).points["a"] for c in columns.values())
    assert one.mean() > two.mean()
    np.testing.assert_allclose(average, (one + two) / 2)


def test_folds_are_averaged_and_not_pooled(corpus):
    """The detectors of two folds may differ by an offset; it must not raise the EER."""
    fold = scored(corpus, a=50.0)
    shifted = Scored(corpus, {"a": fold.scores["a"] + 1000})
    columns = statistics.columns({"": [fold, shifted]}, ATTACKS)
    assert rates(columns["pooled"]).points["a"].max() == 0


def test_seeds_are_resampled(corpus):
    """One seed is perfect and one inverted: the mean of two draws is 0, 1/2 or 1."""
    perfect = corpus.label * 1.0
    test = scored(corpus, a=np.stack([perfect, -perfect]))
    rate = statistics.rate(rates([Condition(test)]), "a")
    assert (rate.eer, rate.low, rate.high) == (0.5, 0.0, 1.0)
    assert rate.sd == pytest.approx(0.5**0.5)
    replicates = rates([Condition(test)]).replicates["a"]
    share = [np.mean(replicates == value) for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(share, [0.25, 0.5, 0.25], atol=0.08)


@pytest.mark.parametrize("macro", [False, True])
def test_replicates_are_the_metrics_of_resampled_arrays(corpus, macro):
    """Speakers of both classes are drawn independently, and alike for both methods."""
    test = scored(corpus, a=1.0, b=2.0)
    test = Scored(corpus, {method: its[:1] for method, its in test.scores.items()})
    labels, speakers = corpus.label, corpus.speaker
    scheme = bootstrap.Scheme("apart", replicates=60, seed=5)
    clusters = bootstrap.cluster(labels, speakers, scheme)

    def explicit(scores):
        if macro:
            one = resampled.macro(scores, labels, corpus.attack, speakers)
        else:
            one = resampled.pooled(scores, labels)
        return lambda counts: one(counts[:, clusters.index])

    expected = bootstrap.replicate(
        [explicit(its[0]) for its in test.scores.values()],
        clusters,
        scheme,
        (0,),
    )
    found = rates([Condition(test, macro=macro)], 60, 5)
    for method, values in zip("ab", expected, strict=True):
        np.testing.assert_allclose(found.replicates[method], values, rtol=0, atol=1e-12)
    difference = statistics.difference(found, "a", "b")
    interval = bootstrap.interval(expected[0] - expected[1])
    assert (difference.low, difference.high) == pytest.approx(interval, abs=1e-12)


def test_another_seed_draws_others(corpus):
    parts = [Condition(scored(corpus, a=1.0))]
    first, again, other = (
        rates(parts, seed=seed).replicates["a"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def coverage(systems, replicates, *, voices=60, clips=10):
    """Returns how often 95 % intervals cover the true EER and the true difference.

    Every speaker, real or synthetic, shifts its trials for both methods; scores are
    ±1 or ±1.5 + N(0, 1) + N(0, 1), so the EERs are Φ(−1 / √2) and Φ(−1.5 / √2).
    """
    truth = norm.cdf(np.array([-1, -1.5]) / np.sqrt(2))
    label = np.tile(np.repeat([BONAFIDE, SPOOF], clips), voices)
    voice = np.repeat(np.arange(2 * voices), clips)
    rows = Corpus(
        utterance=np.arange(label.size).astype(str),
        label=label,
        attack=np.where(label == SPOOF, "A01", "-"),
        speaker=voice.astype(str),
        language=np.full(label.size, "en"),
        audio=[],
    )
    rng, covered = np.random.default_rng(5), np.zeros(2)
    for seed in range(systems):
        offset = rng.normal(size=2 * voices)[voice]
        scores = {
            method: (level * (2 * label - 1) + offset + rng.normal(size=label.size))[
                None
            ]
            for method, level in (("a", 1.0), ("b", 1.5))
        }
        found = rates([Condition(Scored(rows, scores))], replicates, seed)
        rate = statistics.rate(found, "a")
        gap = statistics.difference(found, "a", "b")
        covered += (
            rate.low <= truth[0] <= rate.high,
            gap.low <= truth[0] - truth[1] <= gap.high,
        )
    return covered / systems


def test_intervals_cover_the_truth():
    assert np.all(coverage(100, 200) >= 0.88)


@pytest.mark.full
def test_coverage_of_500_systems():
    rate, difference = coverage(500, 400)
    assert 0.92 <= rate <= 0.98
    assert 0.92 <= difference <= 0.98


def test_differences_are_paired(corpus):
    test = scored(corpus, a=1.0, same=1.0, better=4.0)
    found = rates([Condition(test)])
    same = statistics.difference(found, "a", "same")
    assert same.to_json() == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    better = statistics.difference(found, "better", "a")
    assert better.low <= better.difference <= better.high < 0
    assert better.p < 0.01


def test_differences_are_of_the_same_seeds(corpus):
    """A is perfect or inverted, depending on the seed, and B is perfect."""
    perfect = corpus.label * 1.0
    mixed, good = np.stack([perfect, -perfect]), np.stack([perfect, perfect])
    test = scored(corpus, a=mixed, b=good, same=mixed)
    found = rates([Condition(test)])
    one = statistics.difference(found, "a", "b")
    assert (one.difference, one.low, one.high) == (0.5, 0.0, 1.0)
    assert not np.any(found.replicates["a"] - found.replicates["same"])


def new_attacks(parts, **options):
    scheme = dataclasses.replace(
        statistics.SCHEME, clusters="speakers and attacks", replicates=300, **options
    )
    return statistics.rates(parts, scheme)


def test_intervals_for_new_attacks_are_wider_if_attacks_differ(corpus):
    names = sorted(set(corpus.attack) - {"-"})
    harder = np.array(
        [0.0 if a == "-" else 3.0 * names.index(a) for a in corpus.attack]
    )
    scores = 8.0 * corpus.label + harder
    noise = np.random.default_rng(0).normal(size=(1, scores.size))
    parts = [Condition(Scored(corpus, {"a": scores + noise}))]
    one_way, two_way = rates(parts), new_attacks(parts)
    assert one_way.fewest is None and two_way.fewest == 5  # speakers of spoofs
    spread = [np.nanstd(x.replicates["a"]) for x in (one_way, two_way)]
    assert spread[1] > 1.5 * spread[0]
    family = new_attacks(parts, families=dict.fromkeys(names[1:], names[0]))
    np.testing.assert_array_equal(family.replicates["a"].shape, (300,))
    assert family.fewest is None  # a single family: there is no other to draw
    macro = new_attacks([parts[0]._replace(macro=True)])
    assert np.nanstd(macro.replicates["a"]) > 1.5 * np.nanstd(
        rates([parts[0]._replace(macro=True)]).replicates["a"]
    )


def test_folds_with_the_same_attacks_draw_the_same_ones(corpus):
    """The rate of an attack is the same in both folds, so the mean varies as one."""
    names = sorted(set(corpus.attack) - {"-"})
    scores = np.array(
        [0.0 if a == "-" else names.index(a) - 2.5 for a in corpus.attack]
    )
    part = Condition(Scored(corpus, {"a": scores[None]}))
    one, two = (new_attacks([part] * n).replicates["a"] for n in (1, 2))
    np.testing.assert_allclose(one.std(), two.std(), rtol=0.15)


def test_differences_of_a_table_have_adjusted_p(corpus):
    found = rates([Condition(scored(corpus, a=1.0, b=1.2, c=4.0))])
    pairs = [("a", "b"), ("c", "a"), ("c", "b")]
    for pair, gap in statistics.differences(found, pairs).items():
        alone = statistics.difference(found, *pair)
        assert dataclasses.replace(gap, p_adjusted=None) == alone
        assert gap.p_adjusted >= gap.p
    (alone,) = statistics.differences(found, pairs[:1]).values()
    assert alone.p_adjusted is None


def cells(corpus, offsets):
    """Returns tests of the same bona fide trials and two groups of attacks each."""
    groups = (("A01", "A02"), ("A03", "A04", "A05", "A06"))
    rng = np.random.default_rng(1)
    tests = []
    for group, offset in zip(groups, offsets, strict=True):
        rows = corpus.take((corpus.label == 1) | np.isin(corpus.attack, group))
        noise = rng.normal(size=(1, len(rows.label)))
        scores = {"a": noise + offset * rows.label, "b": noise + rows.label}
        tests.append(Scored(rows, scores, corpus))
    return tests


def _eer_or_nan(bonafide, spoof):
    return metrics.eer(bonafide, spoof)[0] if min(bonafide.size, spoof.size) else np.nan


@pytest.mark.parametrize("macro", [False, True])
def test_groups_of_attacks_share_the_draws_of_speakers_and_families(corpus, macro):
    """Each test counts as often as its families are drawn."""
    tests = cells(corpus, (0.5, 2.0))
    scheme = dataclasses.replace(
        statistics.SCHEME,
        replicates=50,
        clusters="speakers and attacks",
        families={"A05": "F", "A06": "F"},
        seeds=False,
    )
    found = statistics.rates([Condition(test, macro=macro) for test in tests], scheme)

    families = two_way.families(corpus.attack, scheme.families)
    crossed = two_way.cross(
        bootstrap.cluster(corpus.label, corpus.speaker, scheme), corpus.label, families
    )
    names = np.unique(families[corpus.label != 1])  # A01 A02 A03 A04 F
    own = (np.isin(names, ["A01", "A02"]), ~np.isin(names, ["A01", "A02"]))
    values, weights = [], []
    for test, in_group in zip(tests, own, strict=True):
        rows = np.flatnonzero(np.isin(corpus.utterance, test.rows.utterance))
        pairs = metrics.macro_pairs(
            test.rows.label, test.rows.attack, test.rows.speaker
        )
        alone = np.arange(crossed.count - len(names), crossed.count)
        if macro:
            spoofs = rows[[spoof[0] for _, spoof in pairs]]
            made_by = two_way.attack_clusters(crossed, spoofs)
            one = bootstrap_statistics.macro_eer(
                test.scores["a"][0], pairs, crossed.index[rows], made_by
            )
        else:
            explicit = resampled.pooled(
                test.scores["a"][0], test.rows.label, _eer_or_nan
            )
            one = lambda counts, e=explicit, r=rows: e(counts[:, crossed.index[r]])  # noqa: E731
        drawn = lambda counts, c=alone[in_group]: counts[:, c].sum(1)  # noqa: E731
        value, weight = bootstrap.replicate(
            [one, drawn], crossed, scheme, (0,), attack_stream=(0,)
        )
        values.append(np.where(weight > 0, value, 0))
        weights.append(weight)
    expected = np.sum(np.multiply(values, weights), 0) / np.sum(weights, 0)
    assert np.min(weights) == 0 or np.ptp(weights[0]) > 0
    np.testing.assert_allclose(found.replicates["a"], expected, rtol=0, atol=1e-12)

    points = [statistics.points(Condition(test, macro=macro))["a"] for test in tests]
    np.testing.assert_allclose(found.points["a"], np.average(points, 0, [2, 3]))


def test_other_tests_are_averaged_alike_whatever_is_drawn(corpus):
    """Without a frame every test counts the same."""
    one, other = (test._replace(frame=None) for test in cells(corpus, (0.5, 2.0)))
    points = [statistics.points(Condition(test))["a"] for test in (one, other)]
    found = rates([Condition(one), Condition(other)])
    np.testing.assert_allclose(found.points["a"], np.mean(points, 0))
