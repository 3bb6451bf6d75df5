"""Tests of DebSpoof partial, built from a miniature."""

import json

import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora import debspoof
from mldg_jax.data.corpora.debspoof import dataset, partial
from mldg_jax.data.corpus import load_split, read_columns
from tests.data import small_debspoof
from tests.data.corpora.debspoof.test_splicing import speech


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folders of the source and of the corpus made from it."""
    data = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        made = iter(range(10**6))
        patch.setattr(
            small_debspoof, "_sound", lambda rng, attack: speech(next(made), 2.0)
        )
        source = small_debspoof.make(data, "small")
    (source / "ATTRIBUTION.md").write_text("Sources\n")
    folder, report = debspoof.build("partial", data)
    return source, folder, report


def test_labels_say_which_parts_are_the_donors(built):
    source, folder, _ = built
    for split in dataset.SPLITS:
        columns = read_columns(folder, split)
        originals = load_split(source, split)
        rows = load_split(folder, split)
        place = {name: i for i, name in enumerate(originals.utterance.tolist())}
        records = {x.row["utterance"]: x.row for x in partial.read(folder, split)}
        attacks = set()
        for i, name in enumerate(rows.utterance.tolist()):
            if name in place:  # a bona fide utterance, as it was
                np.testing.assert_array_equal(
                    rows.audio[i], originals.audio[place[name]]
                )
                assert rows.label[i] == 1 and columns["segments"][i] == "-"
                continue
            host, donor = (place[x] for x in records[name]["source"].split(" + "))
            assert originals.label[host] == 1 and host != donor
            assert rows.label[i] == originals.label[donor]
            assert rows.attack[i] == originals.attack[donor]
            assert rows.speaker[i] == originals.speaker[host]
            assert originals.speaker[host] == originals.speaker[donor]
            assert columns["family"][i] == records[name]["family"]
            parts = rows.spoofed_parts(i)
            assert bool(parts) == (rows.label[i] == 0)
            if parts:  # before the first part there is the host alone
                first = int(16_000 * parts[0][0]) - 64
                np.testing.assert_array_equal(
                    rows.audio[i][:first], originals.audio[host][:first]
                )
                attacks.add(rows.attack[i])
        assert attacks >= {"gl_mel", "lpc_voc", "world_copy", "world_shift"}
        bonafide = rows.label == 1
        assert bonafide.sum() == 2 * (originals.label == 1).sum()  # with controls


def test_the_build_is_deterministic_and_reported(built):
    source, folder, report = built
    made = [x for split in dataset.SPLITS
            for x in partial.spliced_split(partial.read(source, split))]  # fmt: skip
    clips = folder.parents[2] / "build/debspoof-partial/clips"
    for x in made[::7]:
        stored = dataset.read_clip(clips / f"{x.row['utterance']}.flac")
        np.testing.assert_array_equal(stored, x.samples)
    summary = json.loads((folder / "corpus.json").read_text())
    assert summary["clips"] == len(made)
    assert "Splice audit" in report and f"{len(made)} utterances" in report
    assert set(summary["audit"]["eer"]) == {"logistic regression", "random forest"}
    assert debspoof.build("partial", folder.parents[2])[1] is None


def test_a_source_without_copied_speakers_is_refused(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.setattr(partial.assembly, "build", lambda *_, **__: (source, None))
    row = dict.fromkeys(("utterance", "speaker", "attack"), "a")
    utterances = [
        partial.Utterance({**row, "label": "bonafide", "split": "eval"}, speech(0))
    ]
    monkeypatch.setattr(partial, "read", lambda *_: utterances)
    with pytest.raises(UserError, match="no spoof that copies"):
        debspoof.build("partial", tmp_path)
