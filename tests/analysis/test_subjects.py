"""Run folders and utterances as inputs of the analysis."""

import jax
import numpy as np
import pytest

from mldg_jax.analysis import subjects
from mldg_jax.common.errors import UserError
from mldg_jax.scoring.scorer import load
from tests import signals
from tests.analysis import finished

OPTIONS = {"examples": 4, "samples": 1_600}


def test_utterances_of_every_attack():
    corpus = signals.corpus()
    found = subjects.choose(corpus, **OPTIONS)
    assert found.attacks == ("A01", "A02", "A03", "A04", "A05", "A06")
    assert found.batch["waveform"].shape == (6, 4, 1_600)
    np.testing.assert_array_equal(found.batch["label"], [[0, 0, 1, 1]] * 6)
    for attack, rows in zip(found.attacks, found.row, strict=True):
        assert (corpus.attack[rows[:2]] == attack).all()
        assert (corpus.attack[rows[2:]] == "-").all()
    assert len(np.unique(found.row)) == found.row.size  # bona fide not shared
    utterance = corpus.waveform(found.row[2, 1])
    first = int(0.5 * (len(utterance) - 1_600 + 1))
    np.testing.assert_array_equal(
        found.batch["waveform"][2, 1], utterance[first : first + 1_600]
    )
    again = subjects.choose(corpus, **OPTIONS)
    np.testing.assert_array_equal(found.row, again.row)
    other = subjects.choose(corpus, **OPTIONS, seed=1)
    assert (found.row != other.row).any()


def test_bona_fide_is_shared_where_there_is_too_little():
    corpus = signals.corpus()
    few = corpus.take(np.flatnonzero((corpus.label == 0) | (np.arange(130) < 5)))
    found = subjects.choose(few, **OPTIONS)
    assert (few.attack[found.row[:, 2:]] == "-").all()
    for rows in found.row:
        assert len(set(rows)) == 4


@pytest.mark.parametrize("examples", [3, 0, 22])
def test_impossible_numbers_are_refused(examples):
    with pytest.raises(UserError, match=rf"{examples} examples .* from 2 to 20"):
        subjects.choose(signals.corpus(), examples=examples, samples=1_600)


@pytest.mark.parametrize(("label", "missing"), [(1, "spoofed"), (0, "bona fide")])
def test_a_split_without_a_class_is_refused(label, missing):
    corpus = signals.corpus()
    rows = corpus.take(np.flatnonzero(corpus.label == label))
    with pytest.raises(UserError, match=f"the split has no {missing} utterance"):
        subjects.choose(rows, **OPTIONS)


def test_an_episode_of_chosen_attacks():
    found = subjects.choose(signals.corpus(), **OPTIONS)
    episode = found.episode([1, 4])
    assert episode["meta_train"]["waveform"].shape[0] == 4
    np.testing.assert_array_equal(
        episode["meta_test"]["waveform"], found.batch["waveform"][[1, 4]]
    )
    assert found.spoof.batch["label"].max() == 0


def test_a_loaded_run_scores_as_the_scorer_does(smoke_run):
    found, scorer = subjects.load(smoke_run), load(smoke_run)
    waveform = signals.speech_like(found.config.crop_samples)
    logits = jax.jit(found.detector.apply)(found.variables, waveform)
    expected = jax.jit(scorer.detector.apply)(scorer.variables, waveform)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert found.name == "smoke" and found.step == finished.STEPS


def test_checkpoints_in_order_and_the_start_of_training(smoke_run):
    found = subjects.load(smoke_run)
    saved = list(subjects.checkpoints(found))
    assert [x.step for x in saved] == [2, 4]
    start = subjects.initial(found)
    assert jax.tree.map(np.shape, start) == jax.tree.map(np.shape, found.trainable)
    a, b = (
        x["frontend"]["layers_0"]["attention"]["query"]
        for x in (start, saved[-1].trainable)
    )
    assert not np.any(a["lora_b"]) and np.any(b["lora_b"])
    moved = np.linalg.norm(a["lora_a"] - b["lora_a"]) / np.linalg.norm(a["lora_a"])
    assert 0 < moved < 0.1  # from the same A


def test_the_start_is_what_training_starts_from(tmp_path):
    """With learning rates of zero, training ends where it starts."""
    still = "optimizer.lr=0.0", "optimizer.head_lr=0.0", "ema_decay=0", "seed=5"
    found = subjects.load(finished.make(tmp_path / "run", *still))
    jax.tree.map(
        np.testing.assert_array_equal, subjects.initial(found), found.trainable
    )


def test_a_run_without_checkpoints(smoke_run, tmp_path):
    found = subjects.load(smoke_run)._replace(folder=tmp_path)
    with pytest.raises(UserError, match="no checkpoint"):
        list(subjects.checkpoints(found))
