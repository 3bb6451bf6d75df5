"""Score files and keys that look like a format and are not: one message each."""

import gzip

import pytest

from mldg_jax import UserError
from mldg_jax.scoring import key_files, score_files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u1 2,5\nu2 1,25\n", "2,5 looks like a number with a decimal comma"),
        ("u1,2,5\nu2,1,25\n", "2,5 may be a number with a decimal comma"),
        ('name,score\nu1,"2,5"\n', "2,5, which looks like a number with a decimal"),
        ("u1 1.5\nu2 1,5\n", "entry 2 is 'u2 1,5', with 1,5, which looks like"),
        ("utterance;score\nu1;2,5\n", "commas instead of semicolons"),
        ("u1;2,5\nu2;1,5\n", "commas instead of semicolons"),
        ("utterance,score\n", "has a header but no scores"),
        ("u1 1.5\nu2 1_000\n", "the score '1_000', which is not a number"),
        ("u1 1.5\nu2 ١.٥\n", "which is not a number"),
        ("name,prob_fake\nu1,0.1\n", "if 'prob_fake' is a probability of spoof"),
    ],
)
def test_a_misleading_score_file_is_refused(text, words, tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="scores.txt.*" + words):
        score_files.read(path)


def test_a_header_makes_a_comma_a_separator(tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text("utterance,score\nclip 1,2\na;b,-1e-3\n")
    scores = score_files.read(path)
    assert scores.utterance.tolist() == ["clip 1", "a;b"]
    assert scores.score.tolist() == [2.0, -0.001]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"utterance;label\nu1;spoof\n", "commas instead of semicolons"),
        (
            gzip.compress(b"utterance,label\nu1,spoof\n", mtime=0),
            "a name that ends in .gz",
        ),
        (b"PK\x03\x04\x14\x00", "an Excel workbook"),
        (b"utterance,label\n", "has a header but no trials"),
        (b'utterance,label\n"u1,spoof\n', "keys.csv, line 2"),
        (b'"utterance,label\nu1,spoof\n', "keys.csv, line 1"),
    ],
)
def test_misleading_keys_are_refused(data, words, tmp_path):
    path = tmp_path / "keys.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=words):
        key_files.read(path)


def test_subsets_that_the_keys_lack(tmp_path):
    path = tmp_path / "keys.csv"
    path.write_text("utterance,label\nu1,spoof\nu2,real\n")
    with pytest.raises(UserError, match="no column subset or split; omit --subset"):
        key_files.subset(key_files.read(path), "nope")
    path.write_text("utterance,label,split\nu1,spoof,a\nu2,real,b\n")
    with pytest.raises(UserError, match=r"subsets a, b .column subset or split"):
        key_files.subset(key_files.read(path))
