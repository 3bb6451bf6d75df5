"""Episodes: balance, disjointness, coverage, determinism, over random corpora."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldg_jax.data import episodes
from mldg_jax.data.corpus import Corpus
from mldg_jax.errors import UserError


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
    drawn = episodes.draw(
        domains, seed=seed, step=3, meta_test=held_out, examples=2 * half
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
    options = {"meta_test": 2, "examples": 4}
    again = [episodes.draw(domains, seed=5, step=7, **options) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *again)
    other = episodes.draw(domains, seed=5, step=8, **options)
    assert (other["meta_train"]["row"] != again[0]["meta_train"]["row"]).any()


def test_voices_are_drawn_equally_however_many_recordings_they_have():
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
        episodes.draw(domains, seed=0, step=i, meta_test=1, examples=4)
        for i in range(50)
    ]
    rows = np.concatenate([d[h]["row"][:, 2:].ravel() for d in drawn for h in d])
    assert np.mean(speaker[rows] == "rare") == pytest.approx(0.5, abs=0.01)


def test_left_out_attacks_never_appear(corpus):
    domains = episodes.group(corpus, without=("A02", "A05"))
    assert domains.attacks == ("A01", "A03", "A04", "A06")
    rows = np.concatenate(domains.spoof)
    assert not set(corpus.attack[rows]) & {"A02", "A05"}


def test_cut_gives_the_episode_of_the_design(corpus):
    drawn = episodes.draw(
        episodes.group(corpus), seed=0, step=0, meta_test=2, examples=4
    )
    episode = episodes.cut(drawn, corpus, samples=1_000)
    one = episode["meta_train"]
    assert one["waveform"].shape == (4, 4, 1_000)
    assert one["waveform"].dtype == np.float32 and np.abs(one["waveform"]).max() < 1
    assert one["label"].shape == (4, 4) and one["domain"].shape == (4,)
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
        ({"meta_test": 6, "examples": 4}, "meta_test is 6 of 6"),
        ({"meta_test": 0, "examples": 4}, "meta_test is 0"),
        ({"meta_test": 2, "examples": 3}, "even number"),
        ({"meta_test": 2, "examples": 40}, "different bona fide"),
    ],
)
def test_impossible_episodes_are_refused(corpus, options, message):
    with pytest.raises(UserError, match=message):
        episodes.draw(episodes.group(corpus), seed=0, step=0, **options)


def test_leaving_out_what_is_not_there_is_refused(corpus):
    with pytest.raises(UserError, match="A99"):
        episodes.group(corpus, without=("A99",))
    with pytest.raises(UserError, match="at least 2 attacks"):
        episodes.group(corpus, without=("A01", "A02", "A03", "A04", "A05"))
