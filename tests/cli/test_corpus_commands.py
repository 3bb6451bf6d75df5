"""``mldg corpus build`` prints the report of a new build, once."""

import pytest

from mldg_jax import cli
from mldg_jax.data.corpora import debspoof


@pytest.mark.parametrize(("report", "printed"), [("9 utterances", 1), (None, 0)])
def test_a_new_debspoof_is_described(report, printed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debspoof, "build", lambda *_, **__: (tmp_path, report))
    assert cli.main(["corpus", "build", "debspoof"]) == 0
    assert capsys.readouterr().out == "9 utterances\n" * printed
