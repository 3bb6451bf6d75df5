"""Human speakers in two splits: a build and ``mldg corpus info`` warn of them."""

import json

import pytest

from mldg_jax import cli
from mldg_jax.data.corpora.speaker_overlap import overlap_warnings, shared_speakers
from tests.data import miniatures


@pytest.mark.parametrize(
    ("utterances", "expected"),
    [
        ([("ann", "train", True), ("ann", "eval", True)], {"ann": ["eval", "train"]}),
        # a copy of a training speaker's speech in the test
        ([("ann", "dev", True), ("ann", "eval", False)], {"ann": ["dev", "eval"]}),
        ([("tts", "train", False), ("tts", "eval", False)], {}),  # a synthetic voice
        ([("-", "train", True), ("-", "eval", True)], {}),  # not stated
        ([("ann", "eval", True), ("ann", "progress", True)], {}),  # nothing trains
        ([("ann", "train", True), ("ben", "eval", True)], {}),
    ],
)
def test_shared_speakers(utterances, expected):
    assert shared_speakers(utterances) == expected
    assert len(overlap_warnings(expected)) == bool(expected)


def test_a_warning_names_a_few_of_many_speakers():
    (text,) = overlap_warnings({f"s{i}": ["eval", "train"] for i in range(1, 9)})
    assert "8 human speakers" in text and "s5 (eval, train) and 3 more" in text
    assert "s6" not in text


def test_a_build_and_the_inventory_warn(tmp_path, capsys):
    lines = ["path,label,attack,speaker,split"]
    for i, (label, speaker, split) in enumerate(
        [
            ("bonafide,-", "ann", "train"),
            ("spoof,x", "ann", "train"),
            ("bonafide,-", "ann", "eval"),
            ("bonafide,-", "ben", "eval"),
            ("spoof,x", "ben", "eval"),
        ]
    ):
        miniatures.noise(tmp_path / f"{i}.wav")
        lines.append(f"{i}.wav,{label},{speaker},{split}")
    table, data = tmp_path / "t.csv", ["--data-dir", str(tmp_path / "data")]
    table.write_text("\n".join(lines))
    words = ["corpus", "build", "manifest", "--source", str(table), "--workers", "1"]
    assert cli.main([*words, *data]) == 0
    warning = "warning: 1 human speaker is in more than one split: ann (eval, train)."
    assert warning in capsys.readouterr().err
    assert warning in (tmp_path / "data/manifest/t/report.txt").read_text()
    assert cli.main(["corpus", "info", "manifest/t", *data]) == 0
    assert warning in capsys.readouterr().out
    assert cli.main(["corpus", "info", "manifest/t", "--json", *data]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["shared_speakers"] == {"ann": ["eval", "train"]}
