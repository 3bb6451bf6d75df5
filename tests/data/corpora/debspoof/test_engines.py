import configparser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof import engines, neural


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


@pytest.fixture
def only(monkeypatch):
    """Returns a function that limits importlib.metadata to some packages."""

    def set_to(names):
        def version(name):
            if name not in names:
                raise engines.importlib.metadata.PackageNotFoundError(name)
            return "1.0"

        monkeypatch.setattr(engines.importlib.metadata, "version", version)

    return set_to


def small_names():
    return {*engines.LIBRARIES, *engines.synthesiser_names("small")}


def test_missing_python_packages_are_named(only):
    only(small_names() - {"av", "piper-tts"})
    with pytest.raises(
        UserError, match=r"^2 .*python\S* -m pip install av piper-tts==1\.8\.0$"
    ):
        engines.python_versions("small")


def test_only_full_needs_the_packages_of_full(only):
    only(small_names())
    assert engines.python_versions("small")["pyworld-prebuilt"] == "1.0"
    with pytest.raises(
        UserError, match=r"^2 .* pip install hibari-tts==0\.2\.1 py-nan"
    ):
        engines.python_versions("full")
    only({name for name in small_names() if not name.startswith("kokoro")})
    assert "piper-tts" in engines.python_versions("quick")


def test_requirements_are_those_of_setup_cfg():
    extras = configparser.ConfigParser()
    extras.read(Path(__file__).parents[4] / "setup.cfg")
    listed = extras["options.extras_require"]
    small = {x for x in listed["debspoof"].split("\n") if x and not x.startswith("#")}
    assert small >= set(engines.SYNTHESISERS)
    assert {x.split(">")[0] for x in small - set(engines.SYNTHESISERS)} == {
        *("av", "onnxruntime")
    }
    assert set(listed["debspoof-full"].split()) == set(engines.FULL_SYNTHESISERS)


def test_no_synthesiser_opens_the_users_pulseaudio_folder(tmp_path, monkeypatch):
    """If there is none, libpulse names it with espeak-ng's random numbers."""
    fake = tmp_path / "espeak-ng"
    fake.write_text(
        "#!/bin/sh\n"
        'test -d "$PULSE_RUNTIME_PATH" || exit 1\n'
        'for last; do :; done; cp "$SPEECH" "$last"\n'
    )
    fake.chmod(0o755)
    soundfile.write(tmp_path / "speech.wav", np.zeros(800), 16_000)
    monkeypatch.setenv("SPEECH", str(tmp_path / "speech.wav"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    samples, rate = engines.espeak("a", "fr", "+f2", 1.0, 50)
    assert len(samples) == 800 and rate == 16_000


@pytest.mark.parametrize("has_option", [True, False])
def test_espeak_draws_the_same_noise_every_time(tmp_path, monkeypatch, has_option):
    """Version 1.52 (Debian 13) does with -D, which 1.51 (Debian 12) does not know."""
    fake, text = tmp_path / "espeak-ng", "-D  Enable deterministic random mode"
    fake.write_text(f"#!/bin/sh\necho '{text if has_option else ''}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    seen = []
    monkeypatch.setattr(engines, "_command", lambda command, text: seen.append(command))
    engines.espeak("a", "fr", "+f2", 1.0, 50)
    assert ("-D" in seen[0]) == has_option


@pytest.mark.full
def test_espeak_speaks_alike_for_a_new_user(tmp_path, monkeypatch):
    said = "utilisateur se joindra à la conférence."
    first, _ = engines.espeak(said, "fr", "+f2", 0.916, 50)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    second, _ = engines.espeak(said, "fr", "+f2", 0.916, 50)
    np.testing.assert_array_equal(first, second)


def test_pico_gets_its_settings_and_no_leading_dash(monkeypatch):
    seen = []
    monkeypatch.setattr(engines, "_command", seen.append)
    engines.pico("- bonjour à tous", "fr-FR", 1.1)
    (command,) = seen
    assert command[-2:] == ["bonjour à tous", "-o"]
    assert command[command.index("--speed") + 1] == "1.100"
