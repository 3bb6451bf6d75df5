"""``mldg corpus``: the inventory of a corpus, and building from the command line."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from mldg_jax import cli
from mldg_jax.data.corpora import inventory, official, prepare
from tests.data import miniatures


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A miniature ASVspoof 5 with an empty recording, built under ``data``."""
    home = tmp_path_factory.mktemp("inventory")
    mini = miniatures.asvspoof5(home / "source")
    mini.recordings[3].write_bytes(b"")
    prepare.build(
        *("asvspoof5", mini.source, home / "data"),
        workers=1,
        allow_incomplete=True,
        progress=False,
    )
    return home


def run(*arguments) -> int:
    return cli.main(["corpus", *map(str, arguments)])


def test_numbers(home):
    numbers = inventory.describe(home / "data/asvspoof5/1.0.0")
    assert numbers["corpus"] == "asvspoof5" and numbers["complete"] is False
    assert numbers["skipped"] == {"unreadable": 1}
    assert list(numbers["splits"]) == ["train", "dev", "eval"]
    one = numbers["splits"]["eval"]
    assert (one["utterances"], one["bonafide"], one["spoof"]) == (5, 2, 3)
    assert one["attacks"] == {"A10": 2, "A14": 1, "bonafide": 2}
    assert one["hours"] == pytest.approx(5 * 0.3 / 3600)
    assert one["seconds"] == pytest.approx([0.3] * 3)
    assert one["speakers"] == {f"E_{4461 + i}": 1 for i in (0, 1, 2, 4, 5)}
    assert one["rates"] == {"16000": 5}
    assert one["codecs"] == {"-": 5} and one["languages"] == {"en": 5}


def test_the_table_and_the_picture_show_them(home, capsys):
    assert run("info", "asvspoof5", "--data-dir", home / "data") == 0
    out = capsys.readouterr().out
    for line in (
        "bonafide            2    2     2",
        "A14                 2    2     1",
        "utterances          6    6     5",
        "skipped: unreadable 1",
        "not complete",
    ):
        assert " ".join(line.split()) in " ".join(out.split())
    svg = (home / "data/asvspoof5/1.0.0/info.svg").read_text()
    ElementTree.fromstring(svg)
    for word in ("A10", "A14", "bonafide", "train, 0.0 h", "utterances of asvspoof5"):
        assert word in svg


def test_json_is_one_object(home, capsys):
    assert run("info", "asvspoof5", "--data-dir", home / "data", "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["splits"]["eval"]["attacks"]["A14"] == 1
    assert numbers["plot"].endswith("info.svg")


def test_many_attacks_fit_the_picture(home):
    numbers = inventory.describe(home / "data/asvspoof5/1.0.0")
    numbers["splits"]["eval"]["attacks"] |= {f"t${i}": i + 1 for i in range(120)}
    svg = inventory.plot(numbers)
    assert "t$119" in svg and "t$1<" not in svg
    assert "the 40 most frequent of 122 attacks" in svg
    assert svg == inventory.plot(numbers)


def test_build_reports_on_stderr(tmp_path, capsys, monkeypatch):
    mini = miniatures.in_the_wild(tmp_path / "source")
    small = official.InTheWild.layout._replace(counts=mini.counts)
    monkeypatch.setattr(official.InTheWild, "layout", small)
    arguments = ("build", "in_the_wild", "--source", mini.source, "--workers", 1)
    arguments += ("--data-dir", tmp_path / "data")
    mini.recordings[4].rename(tmp_path / "gone")
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    line = "in_the_wild eval: 5 utterances expected, 4 found; missing 1: "
    assert line in captured.err and "4.wav" in captured.err and not captured.out
    (tmp_path / "gone").rename(mini.recordings[4])
    assert run(*arguments) == 0
    captured = capsys.readouterr()
    line = "in_the_wild eval: 5 utterances expected, 5 found; missing 0; extra 0; "
    assert line + "unreadable 0" in captured.err
    assert captured.out.startswith(str(tmp_path / "data/in_the_wild/1.0.0"))
    assert run(*arguments) == 0
    assert "already exists" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "asvspoof5"), "asvspoof5 needs --source"),
        (("build", "debspoof", "--source", "x"), "debspoof takes neither --source"),
        (("build", "manifest", "--source", "no.csv"), "there is no such file"),
        (("info", "asvspoof2019_la"), "corpus build asvspoof2019_la --source"),
    ],
)
def test_wrong_input_is_one_line(arguments, words, tmp_path, capsys):
    assert run(*arguments, "--data-dir", tmp_path) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
