"""The loader yields the same episodes as a plain loop, from any step on."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes, loader
from mldg_jax.data.augment.host import augmenter, span_of
from mldg_jax.data.corpus import Corpus
from mldg_jax.data.segment_labels import labels_at, to_text
from tests.data.test_episodes import random_corpus


def make(corpus, **options):
    return loader.sampler(
        episodes.group(corpus),
        corpus,
        seed=3,
        options={
            "num_meta_test": 2,
            "examples_per_attack": 4,
            "attacks_per_episode": 0,
        },
        samples=500,
        **options,
    )


def assert_same(served, expected):
    served = list(served)
    assert len(served) == len(expected)
    jax.tree.map(np.testing.assert_array_equal, served, expected)


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("first", [0, 4])
def test_it_serves_every_step_in_order_from_any_step_on(corpus, threads, first):
    one = make(corpus)
    expected = [one(step) for step in range(first, 7)]
    steps = range(first, 7)
    assert_same(loader.prefetch(one, steps, threads=threads, workers=0), expected)


@pytest.mark.full
def test_worker_processes_make_the_same_episodes(corpus):
    one = make(corpus)
    expected = [one(step) for step in range(2, 6)]
    assert_same(loader.prefetch(one, range(2, 6), threads=1, workers=2), expected)


def test_nothing_is_served_when_no_step_is_left(corpus):
    assert_same(loader.prefetch(make(corpus), range(5, 5), threads=1, workers=0), [])


def test_a_process_reads_only_what_its_devices_take(corpus):
    read = []

    class Recording(list):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    watched = corpus._replace(audio=Recording(corpus.audio))
    drawn, episode = make(watched, devices=(2, [1]))(0)
    assert episode["meta_train"]["waveform"].shape == (1, 4, 2, 500)
    both = [loader.shard_episode(drawn, 2, [i]) for i in (0, 1)]
    rows = [np.concatenate([h["row"].ravel() for h in x.values()]) for x in both]
    assert sorted(read) == sorted(rows[1]) and len(read) == 12
    assert not set(rows[0]) & set(rows[1])


def test_an_error_of_a_recording_reaches_the_caller(corpus):
    class Broken(list):
        def __getitem__(self, i):
            raise UserError(f"recording {i} cannot be read")

    broken = make(corpus._replace(audio=Broken(corpus.audio)))
    with pytest.raises(UserError, match=r"recording \d+ cannot be read"):
        list(loader.prefetch(broken, range(3), threads=2, workers=0))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    attacks=st.integers(2, 5),
    processes=st.sampled_from([1, 2, 4]),
    each=st.sampled_from([1, 2]),
    step=st.integers(0, 10**6),
)
def test_the_shares_of_all_processes_are_the_episode(
    seed, attacks, processes, each, step
):
    """No utterance is repeated or lost, and every device has both classes equally."""
    corpus = random_corpus(seed, attacks, speakers=20)
    count = processes * each
    drawn = episodes.sample_episode(
        episodes.group(corpus),
        seed=seed,
        step=step,
        num_meta_test=1,
        examples_per_attack=2 * count,
    )
    shares = [
        loader.shard_episode(drawn, count, range(i * each, (i + 1) * each))
        for i in range(processes)
    ]
    for half, whole in drawn.items():
        if count == 1:
            np.testing.assert_array_equal(shares[0][half]["row"], whole["row"])
            continue
        rows = np.concatenate([share[half]["row"] for share in shares])
        assert rows.shape == (count, len(whole["row"]), 2)
        merged = np.moveaxis(rows, 0, 1).reshape(len(whole["row"]), -1)
        np.testing.assert_array_equal(np.sort(merged), np.sort(whole["row"]))
        for share in shares:
            assert (share[half]["label"].sum(axis=2) == 1).all()
            assert (share[half]["domain"] == whole["domain"]).all()


def test_examples_that_do_not_divide_are_refused(corpus):
    drawn = episodes.sample_episode(
        episodes.group(corpus), seed=0, step=0, num_meta_test=2, examples_per_attack=6
    )
    with pytest.raises(UserError, match=r"6 examples .* 4 devices: set episode"):
        loader.shard_episode(drawn, 4, range(4))


def spliced_corpus() -> Corpus:
    """Utterances that are +0.5 in bona fide parts and -0.5 in spoofed ones."""
    rng = np.random.default_rng(0)
    audio, segments, attack = [], [], []
    for i in range(24):
        length = int(rng.integers(3_000, 12_000))
        attack.append("-" if i % 2 else f"A{i % 4}")
        edges = np.sort(rng.uniform(0, length / 16_000, 4)).reshape(2, 2)
        parts = [] if i % 2 else [(a, b) for a, b in edges.tolist()]
        label = labels_at(parts, (np.arange(length) + 0.5) / 16_000)
        audio.append((32_768 * (label - 0.5)).astype(np.int16))
        segments.append(to_text(parts))
    attack = np.array(attack)
    names = np.arange(24).astype(str)
    return Corpus(
        names,
        (attack == "-").astype(np.int32),
        attack,
        names,
        names,
        audio,
        np.array(segments),
    )


@pytest.mark.parametrize("speed", [0.0, 0.2])
def test_labels_of_frames_are_cropped_in_step_with_the_speech(speed):
    corpus = spliced_corpus()
    make = loader.sampler(
        episodes.group(corpus),
        corpus,
        seed=0,
        options={"num_meta_test": 1, "examples_per_attack": 6},
        samples=6_400,
        augment=augmenter(speed=speed),
        span=span_of(speed),
        devices=(3, [0, 2]),
    )
    agree, total, spoofed = 0, 0, 0
    for step in range(8):
        for half in make(step)[1].values():
            assert half["frame_label"].shape == (*half["label"].shape, 20)
            frames = half["waveform"].reshape(*half["label"].shape, 20, 320)
            heard = (frames[..., 160] > 0).astype(int)  # in their middles
            agree += (heard == half["frame_label"]).sum()
            total, spoofed = total + heard.size, spoofed + (1 - heard).sum()
            assert half["frame_label"][half["label"] == 1].all()
    assert spoofed > 100
    # An edge within a sample of a middle may be heard on its other side.
    assert agree >= total - 2


def test_episodes_without_segment_labels_have_none():
    corpus = spliced_corpus()._replace(segments=None)
    options = {"num_meta_test": 1, "examples_per_attack": 2}
    domains = episodes.group(corpus)
    make = loader.sampler(domains, corpus, seed=0, options=options, samples=640)
    assert "frame_label" not in make(0)[1]["meta_train"]
