"""``mldg corpus build`` prints the report of a new build, once."""

import pytest

from mldg_jax import cli
from mldg_jax.data.corpora import debspoof


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
