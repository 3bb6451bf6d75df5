"""Reading a prepared corpus: random access, decoding on demand."""

import shutil

import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data import audio, corpus, sequences
from mldg_jax.data.corpora import builder, prepare
from tests.data import miniatures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A corpus of 33 utterances under ``data``, with the recordings next to it."""
    home = tmp_path_factory.mktemp("corpus")
    rows = ["path,label,attack,split,speaker"]
    for i in range(33):
        miniatures.noise(home / f"{i}.flac", seconds=0.2 + 0.01 * i)
        kind = "bonafide,-" if i % 3 else f"spoof,A{i % 2}"
        rows.append(f"{i}.flac,{kind},{'train' if i < 30 else 'eval'},s{i % 4}")
    (home / "m.csv").write_text("\n".join(rows))
    prepare.from_manifest(home / "m.csv", home / "data", workers=1, progress=False)
    return home / "data"


@pytest.fixture
def rows(data):
    return corpus.load_split(corpus.find_corpus("manifest", "m", data), "train")


@pytest.mark.parametrize("keep", [0, corpus.KEPT_SECONDS])
def test_any_recording_at_any_time(data, keep):
    folder = corpus.find_corpus("manifest", "m", data)
    rows = corpus.load_split(folder, "train", kept_seconds=keep)
    order = [7, 29, 0, 7, -1]
    for i in order:
        expected = audio.from_flac((data.parent / f"{i % 30}.flac").read_bytes())
        np.testing.assert_array_equal(rows.audio[i], expected)
        np.testing.assert_array_equal(rows.waveform(i), np.float32(expected) / 32_768)
    with pytest.raises(IndexError):
        rows.audio[30]


def test_nothing_is_decoded_before_it_is_asked_for(rows, monkeypatch):
    decoded = []
    decode = audio.from_flac
    monkeypatch.setattr(
        sequences, "from_flac", lambda data: decoded.append(1) or decode(data)
    )
    some = rows.take(rows.label == 1).take(np.arange(3, 9))
    assert len(some.audio) == 6 and not decoded
    first = [some.audio[0] for _ in range(3)]
    assert len(decoded) == 1 and first[0] is first[2]  # a small split is kept


def test_take_keeps_rows_and_recordings_together(rows):
    some = rows.take(rows.attack == "A1").take([2, 0])
    assert some.utterance.tolist() == ["15", "3"]
    assert [len(samples) for samples in some.audio] == [5_600, 3_680]


def test_the_index_is_what_the_records_say(data):
    import tensorflow_datasets as tfds

    folder = corpus.find_corpus("manifest", "", data)
    columns = corpus.read_columns(folder, "train")
    records = tfds.builder_from_directory(str(folder)).as_data_source("train")
    assert len(records) == 30
    for i, record in enumerate(records):
        for name, column in columns.items():
            value = record[name]
            value = value.decode() if isinstance(value, bytes) else value
            assert value == column[i]


def test_find_knows_what_there_is(data, tmp_path):
    assert corpus.find_corpus("manifest", "", data) == corpus.find_corpus(
        "manifest", "m", data
    )
    other = data / "manifest/other/1.0.0"
    other.mkdir(parents=True)
    (other / "dataset_info.json").write_text("{}")
    with pytest.raises(
        UserError, match="as m and as other: name one, as in manifest/m"
    ):
        corpus.find_corpus("manifest", "", data)
    with pytest.raises(UserError, match="older version"):
        corpus.load_split(other, "train")
    (other / "dataset_info.json").unlink()
    with pytest.raises(UserError, match="corpus build in_the_wild --source"):
        corpus.find_corpus("in_the_wild", "", data)


def test_a_split_that_is_not_there(data):
    with pytest.raises(UserError, match="no split 'dev'; it has eval, train"):
        corpus.load_split(corpus.find_corpus("manifest", "m", data), "dev")


@pytest.fixture
def folded(data, tmp_path):
    """The corpus with two speaker folds and an attack that only the split eval has."""
    folder = tmp_path / "folded"
    shutil.copytree(corpus.find_corpus("manifest", "m", data), folder)
    for split in ("train", "eval"):
        columns = corpus.read_columns(folder, split)
        fold = [int(name[1]) % 2 for name in columns["speaker"]]
        label = np.where(columns["label"] == 1, "bonafide", "spoof")
        if split == "eval":
            columns["attack"] = np.where(columns["attack"] == "-", "-", "new")
        columns |= {"fold": fold, "label": label}
        builder.write_index(folder, split, columns)
    return folder


def test_speaker_folds_test_every_utterance_once(folded, data):
    tested = []
    for fold in (0, 1):
        training = corpus.load_training(folded, fold)
        test = corpus.load_test(folded, "eval", fold)
        assert not set(training.speaker) & set(test.speaker)
        assert "new" not in training.attack
        unseen = np.sum(corpus.read_columns(folded, "eval")["attack"] == "new")
        assert 33 - unseen <= len(training.label) + len(test.label) <= 33
        tested += test.utterance.tolist()
        for row in (0, len(test.label) - 1):
            recording = data.parent / f"{test.utterance[row]}.flac"
            expected = audio.from_flac(recording.read_bytes())
            np.testing.assert_array_equal(test.audio[row], expected)
    assert sorted(map(int, tested)) == list(range(33))


def test_folds_that_are_not_there(folded, data):
    with pytest.raises(UserError, match=r"no speaker fold 7; it has \[0, 1\]"):
        corpus.load_training(folded, 7)
    with pytest.raises(UserError, match="has no speaker folds"):
        corpus.load_test(corpus.find_corpus("manifest", "m", data), "eval", 0)


def test_only_bona_fide_speakers_of_what_was_trained_on_count():
    rows = [  # label, attack, speaker, language
        (1, "-", "ann", "en"),
        (1, "-", "ann", "en"),
        (1, "-", "-", "-"),
        (0, "tts", "joe", "-"),  # the synthesiser's own voice
        (0, "vocoder", "ann", "de"),
        (0, "excluded", "eve", "fr"),
    ]
    label, attack, speaker, language = (np.array(x) for x in zip(*rows, strict=True))
    names = np.array([f"u{i}" for i in range(len(rows))])
    data = corpus.Corpus(names, label, attack, speaker, language, audio=[])
    assert corpus.trained_on(data, ["excluded"]) == {
        "bonafide": 3,
        "spoof": {"tts": 1, "vocoder": 1},
        "speakers": 1,
        "languages": ["de", "en"],
    }


def test_segment_labels_stay_with_their_utterances(rows):
    assert rows.segments is None and corpus.join([rows, rows]).segments is None
    spoof = rows.label == 0
    given = np.where(spoof, np.char.add("0-0.", rows.utterance), "-")
    labelled = rows._replace(segments=given)
    joined = corpus.join([labelled, labelled.take(spoof)])
    assert joined.segments is not None
    assert joined.segments.tolist() == [*given, *given[spoof]]
    assert joined.take(np.array([3])).spoofed_parts(0) == ((0.0, 0.3),)
    assert joined.spoofed_parts(1) == ()
