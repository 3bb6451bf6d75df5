"""Tests of reading files of segment labels."""

import pickle

import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data import segment_files

EXPECTED = {"a": ((0.5, 1.0), (1.5, 2.0)), "b": ()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "x.rttm",
            ";; a comment\nSPKR-INFO a 1 <NA> <NA> <NA> unknown x <NA>\n"
            "SPEAKER a 1 0.5 0.5 <NA> <NA> spoof <NA> <NA>\n"
            "SPEAKER b 1 0 2 <NA> <NA> bonafide <NA> <NA>\n"
            "SPEAKER a 1 1.5 0.5 <NA> <NA> fake 0.9 <NA>\n",
        ),
        ("x.txt", "a 0.5 1 spoof\nb 0 3 bonafide\na 1.5 2 spoof\na 0 0.5 bonafide\n"),
        (
            "x.csv",
            "Label,utterance,start,end\nspoof,a,0.5,1\nreal,b,0,1\nspoof,a,1.5,2",
        ),
        ("x.tsv", "utterance\tstart\tend\tlabel\na\t.5\t1\tspoof\nb\t0\t1\tbonafide\n"
         "a\t1.5\t2.0\tspoof\n"),
    ],
)  # fmt: skip
def test_every_format_says_the_same(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert segment_files.read(path) == EXPECTED


def test_a_folder_of_audacity_labels(tmp_path):
    (tmp_path / "a.txt").write_text(
        "0.5\t1.0\tspoof (score -2.5)\n\\\t100.0\t200.0\n1.5\t2\tspoof\n"
    )
    (tmp_path / "b.txt").write_text("0\t2\tbonafide\n")
    assert segment_files.read(tmp_path) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.txt", "a 1 0.5 spoof\n", "line 1: start and end"),
        ("x.txt", "a 0 1 spoof\na 0 1 x\n", "line 2: start and end"),
        ("x.txt", "a 0 spoof\n", "line 1"),
        ("x.txt", "", "no segment labels"),
        ("x.rttm", "SPEAKER a 1 x 1 <NA> <NA> spoof\n", "line 1"),
        ("x.csv", "utterance,start,label\n", "no column end"),
    ],
)
def test_other_lines_are_refused(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        segment_files.read(path)


def test_npy_of_partialspoof(tmp_path):
    labels = {"a": np.array(list("110011")), "b": np.array(["1", "1"])}
    np.save(tmp_path / "x.npy", labels)  # pyright: ignore[reportArgumentType]
    assert segment_files.read(tmp_path / "x.npy") == {"a": ((0.04, 0.08),), "b": ()}


class Runs:
    """Runs a command when a careless reader unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


def test_npy_runs_no_code(tmp_path):
    trap, path = tmp_path / "ran", tmp_path / "x.npy"
    content = np.array(None, dtype=object)
    content[()] = {"a": Runs(trap)}
    np.save(path, content)
    with pytest.raises(UserError, match="system"):
        segment_files.read(path)
    assert not trap.exists()
    np.load(path, allow_pickle=True)  # the careless reader
    assert trap.exists()


@pytest.mark.parametrize("content", [{"a": ["0", "2"]}, ["0", "1"], {"a": "01"}, 3])
def test_npy_with_other_content_is_refused(tmp_path, content):
    np.save(tmp_path / "x.npy", np.array(content, dtype=object))
    with pytest.raises(UserError, match="PartialSpoof"):
        segment_files.read(tmp_path / "x.npy")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.npy").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="PartialSpoof"):
        segment_files.read(tmp_path / "x.npy")
