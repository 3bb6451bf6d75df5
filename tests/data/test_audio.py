"""Reading recordings, good and bad."""

import numpy as np
import pytest
import soundfile

from mldg_jax.data import audio
from mldg_jax.errors import UserError


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_any_rate_and_format_becomes_16_khz(tmp_path, rate, subtype):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype=subtype)
    clip = audio.read(tmp_path / "a.wav")
    assert clip.dtype == np.float32 and abs(len(clip) - 16_000) <= 1
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(clip[middle], tone(16_000)[middle], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([tone(16_000), np.zeros(16_000)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(
        audio.read(tmp_path / "a.wav"), tone(16_000) / 2, atol=1e-6
    )


def test_integers_are_scaled_by_their_range():
    clip = audio.prepare(np.full(8_000, -16_384, np.int16), 16_000)
    np.testing.assert_allclose(clip, -0.5)


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(0), 16_000, "0.00 s long"),
        (np.ones(1_600), 16_000, "0.10 s long"),
        (np.full(16_000, np.nan), 16_000, "NaN"),
        (np.zeros(16_000), 16_000, "every sample is zero"),
        (np.ones((2, 2, 9_000)), 16_000, "shape"),
        (np.ones(16_000), 0, "0 Hz"),
    ],
)
def test_bad_waveforms_are_named(waveform, rate, message):
    with pytest.raises(UserError, match=message):
        audio.prepare(waveform, rate)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        audio.read(tmp_path / "missing.wav")
    (tmp_path / "text.wav").write_text("this is not audio")
    with pytest.raises(UserError, match=r"text\.wav: cannot be read"):
        audio.read(tmp_path / "text.wav")
