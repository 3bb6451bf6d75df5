"""``mldg configs``, ``mldg configs copy`` and ``mldg --version``."""

import pytest

import mldg_jax
from mldg_jax import cli
from mldg_jax.common import presets
from mldg_jax.training.config_files import METHODS, read_config_file


def test_the_list_has_every_preset_with_its_docstring_and_the_methods(capsys):
    assert cli.main(["configs"]) == 0
    printed = capsys.readouterr().out
    for name in presets.names():
        assert f"{name} " in printed and presets.summary(name) in printed
    words = printed.replace("\n", " ")
    assert ", ".join(METHODS) in words and ",smoke" in words


def test_a_copied_preset_gives_the_same_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in presets.names():  # also those that build on another
        assert cli.main(["configs", "copy", name]) == 0
        copied = f"my_{name}.py"
        assert f"--config {copied}:mldg" in capsys.readouterr().out
        assert read_config_file(f"{copied}:erm") == read_config_file(f"{name}:erm")
    assert cli.main(["configs", "copy", "xlsr"]) == 2
    assert "my_xlsr.py exists and is not replaced" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"mldg {mldg_jax.__version__} (")
