"""The recordings of a robustness evaluation, from a prepared corpus."""

import numpy as np
import pytest

from mldg_jax.common.config import CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import corpus_sha256, find_corpus, load_split
from mldg_jax.scoring.robustness.evaluation_set import POOL, from_corpus
from tests.data import small_debspoof


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = tmp_path_factory.mktemp("debspoof") / "data"
    small_debspoof.make(data, "small")
    return find_corpus("debspoof", "small", data)


def section(folder, fold=None):
    return CorpusSection(
        name="debspoof", config="small", fold=fold, sha256=corpus_sha256(folder)
    )


def test_a_split_with_its_keys_and_a_part_of_it(folder):
    rows = load_split(folder, "eval")
    trials = from_corpus(folder, "debspoof/small", "eval", section(folder), 0)
    np.testing.assert_array_equal(trials.keys.utterance, rows.utterance)
    np.testing.assert_array_equal(trials.keys.columns["attack"], rows.attack)
    np.testing.assert_array_equal(trials.read(3), rows.waveform(3))
    part = from_corpus(folder, "debspoof/small", "eval", section(folder), 2)
    assert np.bincount(part.keys.label).tolist() == [2, 2]
    assert part.identity != trials.identity and "--limit" in part.title
    place = rows.utterance.tolist().index(part.keys.utterance[2])
    np.testing.assert_array_equal(part.read(2), rows.waveform(place))


def test_babble_is_of_other_bona_fide_speakers_and_no_matter_of_the_part(folder):
    trials = from_corpus(folder, "x", "eval", section(folder), 0)
    part = from_corpus(folder, "x", "eval", section(folder), 2)
    rows = load_split(folder, "eval")
    bonafide = {
        rows.waveform(i).tobytes(): rows.speaker[i]
        for i in np.flatnonzero(rows.label == 1)
    }
    speakers = set()
    for row in range(len(trials.keys.label)):
        voices = trials.talkers(row)(np.random.default_rng(row), 4)
        own = trials.keys.columns["speaker"][row]
        names = {bonafide[x.tobytes()] for x in voices}
        assert own not in names and 1 <= len(voices) <= 4
        speakers |= names
    assert len(speakers) == min(POOL, len(set(bonafide.values())))
    for row, name in enumerate(part.keys.utterance):
        same = trials.keys.utterance.tolist().index(name)
        pair = [
            x.talkers(i)(np.random.default_rng(5), 2)
            for x, i in ((part, row), (trials, same))
        ]
        for one, other in zip(*pair, strict=True):
            np.testing.assert_array_equal(one, other)


def test_training_data_are_refused(folder):
    with pytest.raises(UserError, match="was trained on split train of x, whose"):
        from_corpus(folder, "x", "train", section(folder), 0)
    with pytest.raises(UserError, match="no split 'test'"):
        from_corpus(folder, "x", "test", section(folder), 0)
    held_out = from_corpus(folder, "x", "eval", section(folder, fold=0), 0)
    assert held_out.title == "speaker fold 0 of x"
