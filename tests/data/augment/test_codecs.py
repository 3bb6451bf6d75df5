"""Codec round trips are aligned, repeatable and lossy as expected of each codec."""

import sys

import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.data.augment import codecs
from tests import signals

RATE = 16_000
# Those that code the waveform; AMR codes a model of the voice.
WAVEFORM = [name for name in codecs.CODECS if not name.startswith("amr")]


def snr(clean: np.ndarray, coded: np.ndarray) -> float:
    return 10 * np.log10(np.sum(clean**2) / np.sum((coded - clean) ** 2))


def tone(frequency: float, samples: int = RATE) -> np.ndarray:
    time = np.arange(samples) / RATE
    return (0.3 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.mark.parametrize("samples", [3_200, 10_240, 16_001])
@pytest.mark.parametrize("codec", WAVEFORM)
def test_round_trip_keeps_speech_in_place(codec, samples):
    clip = signals.speech_like(samples, 0)[0]
    coded = codecs.round_trip(clip, codec)
    assert coded.shape == clip.shape and coded.dtype == np.float32
    assert np.abs(coded).max() <= 1
    assert 10 < snr(clip, coded) < 45  # a shift of one sample costs more than that
    lags = range(-40, 41)
    products = [np.dot(np.roll(coded, -lag), clip) for lag in lags]
    assert lags[int(np.argmax(products))] == 0
    np.testing.assert_array_equal(codecs.round_trip(clip, codec), coded)


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_g711_is_a_telephone_s(codec):
    # 8-bit companding: 38 dB for any tone that is not quiet (ITU-T G.711, G.712)
    middle = slice(1_000, -1_000)
    clip = tone(1_020)
    assert snr(clip[middle], codecs.round_trip(clip, codec)[middle]) == pytest.approx(
        38, abs=2.5
    )
    above = codecs.round_trip(tone(5_000), codec)  # half its rate is 4 kHz
    assert np.abs(above[middle]).max() < 0.003


@pytest.mark.parametrize("bit_rate", [None, 7_950, 4_750])
def test_amr_keeps_a_voice_in_place(bit_rate):
    clip = signals.voiced(2 * RATE)
    coded = codecs.round_trip(clip, "amrnb", bit_rate)
    lags = range(-100, 101)
    products = [np.dot(np.roll(coded, -lag), clip) for lag in lags]
    assert abs(lags[int(np.argmax(products))]) <= 3  # samples, 0.2 ms
    assert np.corrcoef(coded, clip)[0, 1] > 0.75
    spectrum = np.abs(np.fft.rfft(coded)) ** 2  # 1 bin: 0.5 Hz
    assert spectrum[9_000:].sum() < 1e-4 * spectrum.sum()  # above 4.5 kHz


def test_a_lower_bit_rate_costs_more():
    clip = signals.voiced(RATE)
    for codec, low, high in (("mp3", 16_000, 64_000), ("opus", 8_000, 24_000)):
        low, high = (snr(clip, codecs.round_trip(clip, codec, x)) for x in (low, high))
        assert high > low + 3


def test_loud_samples_do_not_wrap():
    loud = np.where(tone(200) > 0, 1.0, -1.0).astype(np.float32)
    for codec in WAVEFORM:
        coded = codecs.round_trip(loud, codec)
        assert np.dot(coded, loud) > 0.9 * np.linalg.norm(coded) * np.linalg.norm(loud)


def test_what_is_not_there_is_named(monkeypatch):
    with pytest.raises(UserError, match=r"'mp5'.*mp3"):
        codecs.check("mp5")
    strange = codecs.CODECS["mp3"]._replace(encoder="libnothing")
    with monkeypatch.context() as patch:
        patch.setitem(codecs.CODECS, "mp3", strange)
        with pytest.raises(UserError, match=r"no encoder libnothing"):
            codecs.check("mp3")
    monkeypatch.setitem(sys.modules, "av", None)  # as if not installed
    with pytest.raises(UserError, match=r"pip install av"):
        codecs.round_trip(tone(440), "g722")
