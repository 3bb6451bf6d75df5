"""Presets: the files of ``configs/``, wherever the package is installed."""

from pathlib import Path

import pytest

from mldg_jax.common import presets
from mldg_jax.common.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_presets_are_the_files_of_configs():
    assert presets.folder() == CONFIGS
    assert presets.names() == sorted(x.stem for x in CONFIGS.glob("*.py"))
    for name in presets.names():
        file = presets.find(name)
        assert file is not None
        assert file.read_text().startswith(f'"""{presets.summary(name)}\n')


def test_an_installed_package_has_them_inside(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "mldg_jax"
    (package / "presets").mkdir(parents=True)
    (package / "presets" / "mine.py").write_text('"""Mine."""\n')
    (package.parent / "configs").mkdir()  # of some other package
    monkeypatch.setattr(presets, "_PACKAGE", package)
    assert presets.names() == ["mine"] and presets.summary("mine") == "Mine."
    assert presets.find("debspoof") is None


def test_a_copy_is_the_file_and_replaces_nothing(tmp_path):
    original = (CONFIGS / "debspoof.py").read_text()
    copied = presets.copy("debspoof", tmp_path)
    assert copied == tmp_path / "debspoof.py" and copied.read_text() == original
    copied.write_text("edited")
    with pytest.raises(UserError, match=r"debspoof\.py exists and is not replaced"):
        presets.copy("debspoof", copied)
    assert copied.read_text() == "edited"
    with pytest.raises(UserError, match=r"must end in \.py"):
        presets.copy("debspoof", tmp_path / "mine")
    with pytest.raises(UserError, match=r"no config file or preset 'nope'.*debspoof"):
        presets.copy("nope", tmp_path)
    assert [x.name for x in tmp_path.iterdir()] == ["debspoof.py"]
