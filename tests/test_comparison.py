"""Error rates of several arms and their intervals, against known answers."""

import numpy as np
import pytest

from mldg_jax import comparison, metrics
from mldg_jax.comparison import Part, Scored
from mldg_jax.data.corpus import SPOOF

ATTACKS = {"A01", "A02", "A03"}


def scored(corpus, **arms):
    """A test on the corpus; an arm is a matrix of seeds, or an offset of bona fide."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, len(corpus.label)))
    made = {
        name: noise + arm * corpus.label if np.isscalar(arm) else np.asarray(arm)
        for name, arm in arms.items()
    }
    return Scored(corpus, made)


@pytest.fixture(autouse=True)
def few_replicas(monkeypatch):
    monkeypatch.setattr(comparison, "REPLICAS", 400)


def test_points_are_the_metrics(corpus):
    test = scored(corpus, a=1.0)
    real = corpus.label == 1
    columns = comparison.columns({"": [test]}, ATTACKS)
    pooled = comparison.rates(columns["pooled"]).points["a"]
    macro = comparison.rates(columns["macro"]).points["a"]
    for seed, scores in enumerate(test.scores["a"]):
        assert pooled[seed] == metrics.eer(scores[real], scores[~real])[0]
        assert macro[seed] == metrics.macro_eer(
            scores, corpus.label, corpus.attack, corpus.speaker
        )


def test_seen_and_unseen_attacks(corpus):
    test = scored(corpus, a=1.0)
    columns = comparison.columns({"": [test]}, ATTACKS)
    keep = (corpus.label == 1) | ~np.isin(corpus.attack, list(ATTACKS))
    scores, spoof = test.scores["a"][0][keep], corpus.label[keep] == SPOOF
    unseen = comparison.rates(columns["unseen"]).points["a"][0]
    assert unseen == metrics.eer(scores[~spoof], scores[spoof])[0]
    everything = set(corpus.attack)
    assert "unseen" not in comparison.columns({"": [test]}, everything)


def test_several_corpora_have_an_average(corpus):
    tests = {"one": [scored(corpus, a=1.0)], "two": [scored(corpus, a=3.0)]}
    columns = comparison.columns(tests, ATTACKS)
    assert list(columns) == ["one", "two", "average"]
    one, two, average = (comparison.rates(c).points["a"] for c in columns.values())
    assert one.mean() > two.mean()
    np.testing.assert_allclose(average, (one + two) / 2)


def test_folds_are_averaged_and_not_pooled(corpus):
    """A fold's own detector may have another zero: it must not cost anything."""
    fold = scored(corpus, a=50.0)
    shifted = Scored(corpus, {"a": fold.scores["a"] + 1000})
    columns = comparison.columns({"": [fold, shifted]}, ATTACKS)
    assert comparison.rates(columns["pooled"]).points["a"].max() == 0


def test_seeds_are_resampled(corpus):
    """One seed is perfect and one inverted: the mean of two draws is 0, 1/2 or 1."""
    perfect = corpus.label * 1.0
    test = scored(corpus, a=np.stack([perfect, -perfect]))
    rate = comparison.rate(comparison.rates([Part(test)]), "a")
    assert (rate["eer"], rate["low"], rate["high"]) == (0.5, 0.0, 1.0)
    assert rate["sd"] == pytest.approx(0.5**0.5)
    replicas = comparison.rates([Part(test)]).replicas["a"]
    share = [np.mean(replicas == value) for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(share, [0.25, 0.5, 0.25], atol=0.08)


def test_differences_are_paired(corpus):
    test = scored(corpus, a=1.0, same=1.0, better=4.0)
    found = comparison.rates([Part(test)])
    same = comparison.difference(found, "a", "same")
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    better = comparison.difference(found, "better", "a")
    assert better["low"] <= better["difference"] <= better["high"] < 0
    assert better["p"] < 0.01
