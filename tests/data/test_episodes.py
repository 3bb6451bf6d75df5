"""Episodes of random corpora: balance, disjointness, coverage and determinism."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes
from mldg_jax.data.corpus import Corpus


def random_corpus(seed: int, attacks: int, speakers: int) -> Corpus:
    rng = np.random.default_rng(seed)
    rows = [("-", f"s{s}") for s in range(speakers) for _ in range(rng.integers(4, 30))]
    rows += [(f"A{a}", "t") for a in range(attacks) for _ in range(rng.integers(1, 9))]
    attack, speaker = map(np.array, zip(*rows, strict=True))
    n = len(rows)
    return Corpus(
        utterance=np.array([f"u{i}" for i in range(n)]),
        label=(attack == "-").astype(np.int32),
        attack=attack,
        speaker=speaker,
        language=np.full(n, "en"),
        audio=[np.arange(i + 50, dtype=np.int16) for i in range(n)],
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 99),
    attacks=st.integers(2, 9),
    half=st.integers(1, 3),
    data=st.data(),
)
def test_every_episode_is_balanced_and_disjoint(seed, attacks, half, data):
    corpus = random_corpus(seed, attacks, speakers=8)
    domains = episodes.group(corpus)
    held_out = data.draw(st.integers(1, attacks - 1))
    drawn = episodes.sample_episode(
        domains, seed=seed, step=3, num_meta_test=held_out, examples_per_attack=2 * half
    )
    assert len(drawn["meta_test"]["domain"]) == held_out
    both = np.concatenate([drawn[h]["domain"] for h in ("meta_train", "meta_test")])
    assert sorted(both) == list(range(attacks))  # every attack once a step
    bonafide = []
    for one in drawn.values():
        assert (corpus.label[one["row"]] == one["label"]).all()
        assert (one["label"].sum(axis=1) == half).all()
        for domain, rows, labels in zip(
            one["domain"], one["row"], one["label"], strict=True
        ):
            assert set(corpus.attack[rows[labels == 0]]) == {domains.attacks[domain]}
            bonafide.extend(rows[labels == 1])
    assert len(set(bonafide)) == len(bonafide)


def test_an_episode_is_a_function_of_seed_and_step(corpus):
    domains = episodes.group(corpus)
    options = {"num_meta_test": 2, "examples_per_attack": 4}
    again = [
        episodes.sample_episode(domains, seed=5, step=7, **options) for _ in range(2)
    ]
    jax.tree.map(np.testing.assert_array_equal, *again)
    other = episodes.sample_episode(domains, seed=5, step=8, **options)
    assert (other["meta_train"]["row"] != again[0]["meta_train"]["row"]).any()


def test_speakers_are_drawn_equally_however_many_recordings_they_have():
    rows = [("-", "rare")] * 6 + [("-", "common")] * 600 + [("A", "t"), ("B", "t")]
    attack, speaker = map(np.array, zip(*rows, strict=True))
    n = len(rows)
    corpus = random_corpus(0, 2, 2)._replace(
        utterance=np.arange(n).astype(str),
        label=(attack == "-").astype(np.int32),
        attack=attack,
        speaker=speaker,
    )
    domains = episodes.group(corpus)
    drawn = [
        episodes.sample_episode(
            domains, seed=0, step=i, num_meta_test=1, examples_per_attack=4
        )
        for i in range(50)
    ]
    rows = np.concatenate([d[h]["row"][:, 2:].ravel() for d in drawn for h in d])
    assert np.mean(speaker[rows] == "rare") == pytest.approx(0.5, abs=0.01)


def test_left_out_attacks_never_appear(corpus):
    domains = episodes.group(corpus, exclude=("A02", "A05"))
    assert domains.attacks == ("A01", "A03", "A04", "A06")
    rows = np.concatenate(domains.spoof)
    assert not set(corpus.attack[rows]) & {"A02", "A05"}


def test_cut_gives_the_episode_of_the_design(corpus):
    drawn = episodes.sample_episode(
        episodes.group(corpus), seed=0, step=0, num_meta_test=2, examples_per_attack=4
    )
    episode = episodes.load_episode(drawn, corpus, samples=1_000)
    one = episode["meta_train"]
    assert one["waveform"].shape == (4, 4, 1_000)
    assert one["waveform"].dtype == np.float32 and np.abs(one["waveform"]).max() < 1
    assert one["label"].shape == (4, 4)
    assert episode["meta_test"]["waveform"].shape == (2, 4, 1_000)


def test_crop_reaches_both_ends_and_repeats_what_is_short():
    ramp = np.arange(10)
    np.testing.assert_array_equal(episodes.crop(ramp, 4, 0.0), [0, 1, 2, 3])
    np.testing.assert_array_equal(episodes.crop(ramp, 4, 0.999), [6, 7, 8, 9])
    np.testing.assert_array_equal(
        episodes.crop(ramp[:3], 7, 0.5), [0, 1, 2, 0, 1, 2, 0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_meta_test": 6, "examples_per_attack": 4},
            "is 6 of 6 attacks.*--set episode.num_meta_test=1 .at most 5",
        ),
        ({"num_meta_test": 0, "examples_per_attack": 4}, "num_meta_test is 0"),
        ({"num_meta_test": 2, "examples_per_attack": 3}, "even number"),
        ({"num_meta_test": 2, "examples_per_attack": 40}, "different bona fide"),
    ],
)
def test_impossible_episodes_are_refused(corpus, options, message):
    with pytest.raises(UserError, match=message):
        episodes.sample_episode(episodes.group(corpus), seed=0, step=0, **options)


def test_leaving_out_what_is_not_there_is_refused(corpus):
    with pytest.raises(UserError, match="A99"):
        episodes.group(corpus, exclude=("A99",))
    with pytest.raises(UserError, match="at least 2 attacks"):
        episodes.group(corpus, exclude=("A01", "A02", "A03", "A04", "A05"))


def drawn_attacks(domains, steps, **options):
    """Counts how often each attack is in meta-train and in meta-test."""
    met = np.zeros((2, len(domains.attacks)))
    for step in range(steps):
        drawn = episodes.sample_episode(
            domains, seed=1, step=step, examples_per_attack=2, **options
        )
        for half, count in zip(("meta_train", "meta_test"), met, strict=True):
            assert len(set(drawn[half]["domain"])) == len(drawn[half]["domain"])
            count[drawn[half]["domain"]] += 1
    return met


def test_attacks_are_met_as_often_as_their_weights_say():
    corpus = random_corpus(0, 6, speakers=8)
    domains = episodes.group(corpus, weights={"A0": 2.0, "A5": 0.5})
    train, test = drawn_attacks(domains, 3_000, num_meta_test=1, attacks_per_episode=3)
    expected = 3 * np.array([2, 1, 1, 1, 1, 0.5]) / 6.5
    np.testing.assert_allclose((train + test) / 3_000, expected, atol=0.03)
    np.testing.assert_allclose(test / 3_000, expected / 3, atol=0.03)


def test_an_attack_is_met_once_a_step_at_most_whatever_its_weight():
    domains = episodes.group(random_corpus(0, 4, 8), weights={"A1": 100.0})
    train, test = drawn_attacks(domains, 400, num_meta_test=1, attacks_per_episode=2)
    assert (train + test)[1] == 400  # in every step, once
    np.testing.assert_allclose(np.delete(train + test, 1) / 400, 1 / 3, atol=0.08)


@settings(deadline=None, max_examples=40)
@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=12),
    data=st.data(),
)
def test_shares_are_probabilities_in_the_order_of_the_weights(weights, data):
    weights = np.array(weights)
    count = data.draw(st.integers(1, len(weights) - 1))
    share = episodes._shares(weights, count)
    assert share.sum() == pytest.approx(count)
    assert (share > 0).all() and (share <= 1 + 1e-12).all()
    assert (np.diff(share[np.argsort(weights)]) >= -1e-12).all()


@settings(deadline=None, max_examples=40)
@given(count=st.integers(2, 20), seed=st.integers(0, 9), data=st.data())
def test_folds_hold_every_attack_out_once(count, seed, data):
    attacks = [f"A{i:02d}" for i in range(count)]
    folds = data.draw(st.integers(2, count))
    dealt = episodes.leave_attacks_out(attacks, folds=folds, seed=seed)
    assert sorted(sum(dealt, ())) == attacks
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert dealt == episodes.leave_attacks_out(attacks, folds=folds, seed=seed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: episodes.group(c, weights={"A9": 1}), "episode.weights names 'A9'"),
        (
            lambda c: episodes.group(c, exclude=["A9"]),
            "episode.exclude names 'A9'.*not trained on anyway: remove it",
        ),
        (lambda c: episodes.group(c, weights={"A01": 0}), "A01 is 0; a weight must"),
        (
            lambda c: episodes.sample_episode(
                episodes.group(c),
                seed=0,
                step=0,
                num_meta_test=1,
                examples_per_attack=2,
                attacks_per_episode=9,
            ),
            "9 attacks per step of 6",
        ),
        (
            lambda c: episodes.leave_attacks_out(["A", "B"], folds=3, seed=0),
            "3 folds of 2 attacks",
        ),
    ],
)
def test_impossible_weights_attacks_and_folds_are_refused(corpus, call, message):
    with pytest.raises(UserError, match=message):
        call(corpus)


def test_a_domain_may_be_a_speaker_of_an_attack():
    corpus = random_corpus(1, attacks=2, speakers=6)
    speaker = np.where(corpus.label == 1, corpus.speaker, "")
    speaker[corpus.label == 0] = np.resize(["v", "w"], (corpus.label == 0).sum())
    corpus = corpus._replace(speaker=speaker)
    domains = episodes.group(corpus, by="speaker", weights={"A0/w": 2.0})
    assert domains.attacks == ("A0/v", "A0/w", "A1/v", "A1/w")
    assert domains.weights.tolist() == [1, 2, 1, 1]
    for name, rows in zip(domains.attacks, domains.spoof, strict=True):
        assert {f"{corpus.attack[r]}/{corpus.speaker[r]}" for r in rows} == {name}
    with pytest.raises(UserError, match="attack or speaker"):
        episodes.group(corpus, by="voice")
