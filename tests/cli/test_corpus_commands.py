"""``mldg corpus build`` prints what a build reports, once."""

import pytest

from mldg_jax import cli
from mldg_jax.data.corpora import debspoof


@pytest.mark.parametrize(("report", "printed"), [("so many clips", 1), (None, 0)])
def test_a_new_debspoof_is_described(report, printed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(debspoof, "build", lambda *_, **__: (tmp_path, report))
    assert cli.main(["corpus", "build", "debspoof"]) == 0
    assert capsys.readouterr().out == "so many clips\n" * printed
