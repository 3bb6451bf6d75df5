import pytest

from mldg_jax.data.debspoof import engines
from mldg_jax.errors import UserError


def test_kokoro_symbols():
    assert engines.kokoro_symbols("tʃeɪndʒ", "en") == "ʧAnʤ"
    assert engines.kokoro_symbols("bˈoʊt", "en") == "bˈOt"
    assert engines.kokoro_symbols("tʃˈɛlo", "it") == "ʧˈɛlo"


def test_english_phonemes():
    assert "".join(engines.english_phonemes("amoɾe")) == "ɑːmoʊɾeɪ"
    assert "".join(engines.english_phonemes("neɪm")) == "neɪm"
    assert "".join(engines.english_phonemes("boː")) == "boʊ"
    assert "".join(engines.english_phonemes("ɔ\u0303")) == "ɔn"


def test_festival_text_cannot_leave_its_string(tmp_path):
    line = engines._festival_line('a" (quit) \\', 1.0, tmp_path / "x.wav")
    assert line.count('"') == 4
    assert "\\" not in line


def test_missing_python_packages_are_named(monkeypatch):
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: None if name == "piper" else 1
    )
    with pytest.raises(UserError, match=r"pip install piper-tts==1\.8\.0$"):
        engines.check_python_packages()
