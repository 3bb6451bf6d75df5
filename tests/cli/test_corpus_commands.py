"""``mldg corpus build`` prints the report of a new build, once."""

import shlex

import pytest

from mldg_jax import cli
from mldg_jax.data.corpora import debspoof
from tests.data import miniatures


@pytest.mark.parametrize(("report", "printed"), [("9 utterances", 1), (None, 0)])
def test_a_new_debspoof_is_described(report, printed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debspoof, "build", lambda *_, **__: (tmp_path, report))
    assert cli.main(["corpus", "build", "debspoof"]) == 0
    assert capsys.readouterr().out == "9 utterances\n" * printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "debspoof", "--workers", "0"], "--workers is 0"),
        (["build", "manifest", "--source", "x", "--workers", "-1"], "--workers is -1"),
        (["info", "nope"], "known are asvspoof2019_la"),
    ],
)
def test_what_cannot_be_built(arguments, words, tmp_path, capsys):
    assert cli.main(["corpus", *arguments, "--data-dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert "corpus build nope" not in message


@pytest.fixture
def table(tmp_path):
    lines = ["path,label,attack,split"]
    for i, attack in enumerate(("-", "-", "a", "b", "c", "d", "e")):
        miniatures.noise(tmp_path / f"{i}.wav")
        label = "bonafide" if attack == "-" else "spoof"
        lines.append(f"{i}.wav,{label},{attack},{'eval' if i == 1 else 'train'}")
    path = tmp_path / "my table.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_build_ends_with_commands_that_work(table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = ["corpus", "build", "manifest", "--source", str(table), "--workers", "1"]
    for _ in range(2):  # new, and already there
        assert cli.main(build) == 0
        out = capsys.readouterr().out
        assert "named manifest/my_table; next:" in out
    info, train = out.partition("next:")[2].replace("\\\n", "").strip().splitlines()
    assert cli.main(shlex.split(info)[1:]) == 0
    assert "manifest/my_table" in capsys.readouterr().out
    from mldg_jax.cli import run_commands

    seen = []
    monkeypatch.setattr(run_commands, "_train_in", lambda *x: seen.append(x[2]))
    words = shlex.split(train)[1:]
    assert cli.main(words) == 0
    (config,) = seen
    corpus = config.corpus
    assert (corpus.name, corpus.config) == ("manifest", "my_table")
    assert config.episode.num_meta_test == 2  # of five attacks
    assert cli.main(["corpus", "info", "my_table"]) == 2
    assert "was built as manifest/my_table: name that" in capsys.readouterr().err


def test_a_corpus_to_evaluate_on_has_no_training_command(table, tmp_path, capsys):
    table.write_text(table.read_text().replace("train", "eval"))
    words = ["corpus", "build", "manifest", "--source", str(table), "--workers", "1"]
    assert cli.main([*words, "--data-dir", str(tmp_path / "d d")]) == 0
    out = capsys.readouterr().out
    assert f"mldg corpus info manifest/my_table --data-dir '{tmp_path}/d d'" in out
    assert "mldg train" not in out


def test_only_a_manifest_takes_segment_labels(tmp_path, capsys):
    arguments = ["--segments", "x.rttm", "--data-dir", str(tmp_path)]
    assert cli.main(["corpus", "build", "debspoof", *arguments]) == 2
    assert "only a manifest takes --segments" in capsys.readouterr().err
    arguments += ["--source", str(tmp_path)]
    assert cli.main(["corpus", "build", "in_the_wild", *arguments]) == 2
    assert "only a manifest takes --segments" in capsys.readouterr().err
