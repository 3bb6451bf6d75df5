import pytest

from mldg_jax.data.debspoof import engines, neural
from mldg_jax.errors import UserError


def test_kokoro_symbols():
    assert neural.kokoro_symbols("tʃeɪndʒ", "en") == "ʧAnʤ"
    assert neural.kokoro_symbols("bˈoʊt", "en") == "bˈOt"
    assert neural.kokoro_symbols("tʃˈɛlo", "it") == "ʧˈɛlo"


def test_english_phonemes():
    assert "".join(neural.english_phonemes("amoɾe")) == "ɑːmoʊɾeɪ"
    assert "".join(neural.english_phonemes("neɪm")) == "neɪm"
    assert "".join(neural.english_phonemes("boː")) == "boʊ"
    assert "".join(neural.english_phonemes("ɔ\u0303")) == "ɔn"


def test_festival_text_cannot_leave_its_string(tmp_path):
    line = engines._festival_line('a" (quit) \\', 1.0, tmp_path / "x.wav")
    assert line.count('"') == 4
    assert "\\" not in line


def test_missing_python_packages_are_named(monkeypatch):
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: None if name == "piper" else 1
    )
    with pytest.raises(UserError, match=r"pip install piper-tts==1\.8\.0$"):
        engines.check_python_packages("small")


def test_only_full_needs_the_packages_of_full(monkeypatch):
    there = engines.PIP_PACKAGES.keys()
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: 1 if name in there else None
    )
    engines.check_python_packages("small")
    with pytest.raises(
        UserError, match=r"^2 .* pip install hibari-tts==0\.2\.1 py-nan"
    ):
        engines.check_python_packages("full")


def test_pico_gets_its_settings_and_no_leading_dash(monkeypatch):
    seen = []
    monkeypatch.setattr(engines, "_command", seen.append)
    engines.pico("- bonjour à tous", "fr-FR", 1.1)
    (command,) = seen
    assert command[-2:] == ["bonjour à tous", "-o"]
    assert command[command.index("--speed") + 1] == "1.100"
