"""A synthetic catalogue and synthetic speech, without packages, network or corpus."""

import numpy as np
import pytest

from mldg_jax.data.corpora.debspoof.splits import VOICE_SPLITS
from mldg_jax.data.corpora.debspoof.voices import Recording

RATE = 16_000
_SMALL = {"ami_meo069": 8, "ami_fee078": 6, "librivox": 8, "kt_uk": 9, "kt_da": 9}
_LANGUAGES = {"june": "fr", "carlo": "it", "ivr": "ru", "fest": "ru", "fil": "cs"}


def language_of(voice: str) -> str:
    """Returns the language of a speaker of the real corpus."""
    if voice.startswith(("ami", "mfa", "libri")):
        return "en"
    parts = voice.split("_")
    return _LANGUAGES.get(parts[1]) or _LANGUAGES.get(parts[0]) or parts[1]


def recording(voice: str, i: int, language: str, text: str) -> Recording:
    return Recording(
        voice=voice,
        language=language,
        sex="f",
        path=f"x/pkg-{voice}/{i:03d}.wav",
        text=text,
        start=None,
        stop=None,
        package=f"pkg-{voice}",
        licence="CC0",
        seconds=1.4 + (i % 17) / 10,
    )


@pytest.fixture(scope="session")
def rows() -> list[Recording]:
    """Up to 60 recordings with invented texts for every speaker named in the splits."""
    result = []
    for names in VOICE_SPLITS.values():
        for voice in names:
            for i in range(_SMALL.get(voice, 60)):
                language = language_of(voice)
                if voice == "ast_allison":
                    language = "en" if i % 2 else "es"
                number = "".join("abcdefghij"[int(digit)] for digit in str(i))
                text = f"words that {voice.replace('_', ' ')} says {number} times"
                result.append(recording(voice, i, language, text))
    return sorted(result, key=lambda row: row.key)


@pytest.fixture(scope="session")
def vowel() -> np.ndarray:
    """(40000,) float64: 2.5 s of a gliding synthetic vowel at 16 kHz, peak 0.5."""
    time = np.arange(int(2.5 * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    wave = np.zeros_like(time)
    for harmonic in range(1, 50):
        frequency = 120 * harmonic
        gain = sum(
            np.exp(-(((frequency - formant) / 150) ** 2)) + 0.003
            for formant in (700, 1200, 2500, 3500)
        )
        wave += gain * np.cos(harmonic * phase)
    wave += 0.002 * np.random.default_rng(0).standard_normal(len(wave))
    return 0.5 * wave / np.abs(wave).max()
