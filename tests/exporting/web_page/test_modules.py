"""The page's arithmetic in Node.js, against soxr, libsndfile and this package's own."""

import io
import math

import numpy as np
import pytest
import soundfile
import soxr

from mldg_jax.data import audio
from mldg_jax.data.audio_checks import Unusable
from mldg_jax.scoring.windows import starts
from tests import signals
from tests.exporting.web_page.javascript import run

pytestmark = pytest.mark.browser

EXACT = (8_000, 12_000, 24_000, 32_000, 48_000)
STAGED = (11_025, 22_050, 44_100, 37_800)


def at(rate: int) -> np.ndarray:
    """Speech-like sound that begins and ends abruptly, at a rate."""
    speech = soxr.resample(signals.speech_like(12_000, seed=rate)[0], 16_000, rate)
    noise = np.random.default_rng(rate).normal(0, 0.05, len(speech))
    return (speech[rate // 10 :] + noise[rate // 10 :]).astype(np.float32)


@pytest.mark.parametrize("rate", EXACT + STAGED)
def test_it_resamples_as_soxr_does(tmp_path, rate):
    samples = at(rate)
    ours = run(tmp_path, "resample.js", f"return page.resample(x, {rate})", x=samples)
    theirs = soxr.resample(samples, rate, 16_000)
    assert len(ours) == math.ceil(len(samples) * (16_000 / rate))
    difference = np.abs(ours[: len(theirs)] - theirs)
    # the first samples, where soxr drops what its first filter put before them
    assert difference[:8].max() < 4e-4
    assert difference.max() < (3e-5 if rate in EXACT else 4e-4)
    assert difference[8:].max() < (3e-5 if rate in (*EXACT, 11_025) else 2e-4)
    assert np.abs(theirs[:8]).max() > 0.01  # or the test could not fail


def test_16_khz_is_left_as_it_is(tmp_path):
    samples = at(16_000)
    ours = run(tmp_path, "resample.js", "return page.resample(x, 16000)", x=samples)
    np.testing.assert_array_equal(ours, samples)


@pytest.mark.parametrize("rate", [96_000, 88_200, 192_000, 6_000])
def test_unusual_rates_are_near(tmp_path, rate):
    samples = at(rate)
    ours = run(tmp_path, "resample.js", f"return page.resample(x, {rate})", x=samples)
    theirs = soxr.resample(samples, rate, 16_000)
    difference = np.abs(ours[: len(theirs)] - theirs)
    assert difference.max() < 1e-2 and difference[8:].max() < 1e-3


def test_windows_start_where_mldg_score_starts_them(tmp_path):
    lengths = [1, 10_239, 10_240, 10_241, 20_480, 20_481, 99_999, 160_000]
    code = "return lengths.map((x) => page.windowStarts(x, 10240))"
    ours = run(tmp_path, "recording.js", code, lengths=lengths)
    assert ours == [starts(x, 10_240).tolist() for x in lengths]


def test_a_short_recording_is_repeated(tmp_path):
    code = "return page.cutWindow(x, 0, 10)"
    ours = run(tmp_path, "recording.js", code, x=np.arange(4.0))
    assert ours.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


GOOD = signals.speech_like(8_000)[0]
BAD = {
    "too-short": GOOD[:3_000],
    "not-finite": np.where(np.arange(8_000) == 5, np.nan, GOOD),
    "out-of-range": GOOD * 32_768,
    "zero": GOOD * 0,
    "constant": GOOD * 0 + 0.25,
    "too quiet": GOOD * 1e-5,
}


@pytest.mark.parametrize("name", [*BAD, "good"])
def test_it_refuses_what_mldg_score_refuses(tmp_path, name):
    samples = BAD.get(name, GOOD).astype(np.float32)
    code = """
      try { page.prepare([x], 16000); return ""; } catch (error) {
        if (error instanceof page.Refusal) return error.message; throw error; }"""
    message = run(tmp_path, "recording.js", code, x=samples)
    if name == "good":
        audio.prepare(samples, 16_000)
        assert message == ""
        return
    with pytest.raises(Unusable):
        audio.prepare(samples, 16_000)
    assert message.endswith(".") and len(message) > 20


def test_channels_are_averaged_and_their_doubts_told(tmp_path):
    left, right = GOOD, np.roll(GOOD, 5)
    code = "return page.prepare([left, right], 16000).samples"
    ours = run(tmp_path, "recording.js", code, left=left, right=right)
    theirs = audio.prepare(np.stack([left, right]), 16_000)
    np.testing.assert_array_equal(ours, theirs)
    code = "return page.prepare([left, right], 16000).doubts"
    cancelling = -left + 0.02 * right
    doubts = run(tmp_path, "recording.js", code, left=left, right=cancelling)
    assert len(doubts) == 1 and "cancel each other" in doubts[0]
    assert run(tmp_path, "recording.js", code, left=9 * left, right=9 * left) != []


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
)
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
def test_wav_is_read_as_libsndfile_reads_it(tmp_path, format, subtype):
    stereo = np.stack([GOOD, -0.5 * GOOD], 1)
    file = io.BytesIO()
    soundfile.write(file, stereo, 11_025, format=format, subtype=subtype)
    (tmp_path / "a.wav").write_bytes(file.getvalue())
    code = """
      const wav = page.readWav(new Uint8Array(fs.readFileSync(path)));
      if (wav.rate !== 11025 || wav.channels.length !== 2) return null;
      return wav.channels[1];"""
    ours = run(tmp_path, "wav.js", code, path=str(tmp_path / "a.wav"))
    theirs, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(ours, theirs[:, 1])


def test_what_it_plays_is_what_it_scored(tmp_path):
    code = """
      fs.writeFileSync(path, page.writeWav(x, 16000)); return null;"""
    run(tmp_path, "wav.js", code, path=str(tmp_path / "b.wav"), x=GOOD)
    read, rate = soundfile.read(tmp_path / "b.wav", dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(read, GOOD, atol=0.51 / 32_768)


@pytest.mark.parametrize(
    ("speakers", "languages", "words"),
    [
        (7, ["en", "hu"], "164 human utterances of 7 speakers (English and Hungarian)"),
        (1, ["-"], "164 human utterances of 1 speaker"),  # an older version's "-"
        (0, [], "164 human utterances"),
    ],
)
def test_what_is_not_known_of_the_training_is_left_out(
    speakers, languages, words, tmp_path
):
    training = {"bonafide": 164, "speakers": speakers, "languages": languages}
    detector = {
        "training": {**training, "spoof": {"tts": 9}},
        "evaluations": [],
        "window_samples": 16_000,
        "sample_rate": 16_000,
        "made_by": {},
    }
    code = "return page.facts(detector)"
    facts = dict(run(tmp_path, "words.js", code, detector=detector))
    assert facts["Trained on"] == words
