"""Reading usable and unusable audio files."""

import io
import sys

import numpy as np
import pytest
import soundfile

from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.data.audio_checks import REASONS
from tests.data import miniatures


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
    square = np.tile(np.array([-16_384, 8_192], np.int16), 4_000)
    np.testing.assert_allclose(audio.prepare(square, 16_000), square / 32_768)


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(0), 16_000, "0.000 s long"),
        (np.ones(1_600), 16_000, "0.100 s long"),
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


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.flac", {"subtype": "PCM_24"}, 2e-3),
        ("a.flac", {"subtype": "PCM_S8"}, 8e-3),
        ("a.wav", {"subtype": "PCM_U8"}, 8e-3),
        ("a.wav", {"subtype": "DOUBLE"}, 2e-3),
        ("a.ogg", {"subtype": "VORBIS"}, 2e-2),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 2e-2),
        ("a.mp3", {}, 2e-2),
    ],
)
def test_common_formats(tmp_path, name, options, tolerance):
    soundfile.write(tmp_path / name, tone(48_000), 48_000, **options)
    clip = audio.read(tmp_path / name)
    middle = slice(2_000, 14_000)
    if name == "a.mp3":  # the decoder's delay is not removed
        assert np.abs(clip[middle]).max() == pytest.approx(0.5, abs=tolerance)
    else:
        np.testing.assert_allclose(clip[middle], tone(16_000)[middle], atol=tolerance)


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4"])
def test_containers_are_read_with_pyav(tmp_path, name):
    pytest.importorskip("av")
    written = miniatures.noise(tmp_path / "b.wav", seconds=0.5)
    miniatures.sound_track(tmp_path / name, written, 16_000)
    clip = audio.read(tmp_path / name)
    assert len(clip) == len(written)
    assert np.corrcoef(clip, written)[0, 1] > 0.9  # noise is hard to code


def test_without_pyav_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(UserError, match=r"PyAV .*: pip install 'mldg_jax\[av\]'"):
        audio.read(tmp_path / "a.m4a")


def test_a_clip_is_flac_at_16_khz(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(44_100), 44_100, subtype="FLOAT")
    clip = audio.clip(tmp_path / "a.wav")
    assert clip.samples.dtype == np.int16 and clip.rate == 44_100
    np.testing.assert_array_equal(audio.from_flac(clip.flac), clip.samples)
    np.testing.assert_allclose(
        clip.samples[2_000:14_000], 32_768 * tone(16_000)[2_000:14_000], atol=60
    )
    again = audio.clip(tmp_path / "a.wav")
    assert again.flac == clip.flac


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_official_flac_is_kept_as_it_is(tmp_path, rate):
    samples = audio.to_int16(tone(rate))
    soundfile.write(tmp_path / "a.flac", samples, rate)
    clip = audio.clip(tmp_path / "a.flac")
    same = rate == 16_000
    assert (clip.flac == (tmp_path / "a.flac").read_bytes()) == same
    if same:
        np.testing.assert_array_equal(clip.samples, samples)


def test_16_bit_samples_survive_floats():
    samples = np.arange(-32_768, 32_768).astype(np.int16)
    again = audio.to_int16(np.float32(samples) / 32_768)
    np.testing.assert_array_equal(again, samples)
    assert audio.to_int16(np.array([1.0, -1.0])).tolist() == [32_767, -32_768]


def flac(samples) -> bytes:
    return audio.to_flac(audio.to_int16(samples))


def damaged(data: bytes, place: float) -> bytes:
    """Returns the bytes with one bit flipped."""
    i = int(place * len(data))
    return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]


def square(share: float) -> np.ndarray:
    """Returns a tone (16000,) with a fraction of its samples at full scale."""
    return np.concatenate([np.sign(tone(16_000, share)), tone(16_000, 1 - share)])


def wav(samples, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"not audio", "unreadable"),
        (flac(tone(16_000))[:3_000], "truncated"),
        (damaged(flac(tone(16_000)), 0.5), "truncated"),
        (damaged(flac(tone(16_000)), 0.9), "truncated"),
        (wav(tone(16_000))[:20_000], "truncated"),
        (wav(np.zeros(0)), "empty"),
        (wav(tone(16_000, 0.1)), "too-short"),
        (wav(np.full(16_000, np.nan), subtype="FLOAT"), "not-finite"),
        (wav(np.r_[np.inf, tone(16_000)], subtype="FLOAT"), "not-finite"),
        (wav(np.zeros(16_000)), "constant"),
        (wav(np.full(16_000, 0.3)), "constant"),
        (wav(square(0.3)), "clipped"),
    ],
)
def test_unusable_recordings_have_a_reason(tmp_path, data, reason):
    path = tmp_path / "a.flac"
    path.write_bytes(data)
    with pytest.raises(audio.Unusable, match=str(path)) as refusal:
        audio.clip(path)
    assert refusal.value.reason == reason in REASONS


def test_a_corpus_has_a_longest_recording(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(16_000, 2.1), 16_000)
    with pytest.raises(audio.Unusable, match="more than 2 s long") as refusal:
        audio.clip(tmp_path / "a.flac", longest=2.0)
    assert refusal.value.reason == "too-long"
    assert len(audio.read(tmp_path / "a.flac")) == 33_600  # scoring has no limit


def test_some_clipping_is_life(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(square(0.05)))
    assert len(audio.clip(tmp_path / "a.wav").samples) == 16_000


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (1e-6 * tone(16_000), "too quiet: samples reach only .*e-0[67] of full scale"),
        (np.full(16_000, 1 / 32_768), "every sample is 3.05e-05, a constant offset"),
        (0.5 + 1e-6 * tone(16_000), "around an offset of 0.5"),
        (tone(16_000)[:3_199], "0.199 s long; a score needs at least 0.2 s"),
    ],
)
def test_the_reason_is_the_right_one(tmp_path, samples, message):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples, subtype="FLOAT"))
    with pytest.raises(audio.Unusable, match=message):
        audio.read(path)


def test_a_container_without_its_index_is_damaged(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x1cftypM4A \0\0\2\0M4A isomiso2" + bytes(2_000))
    with pytest.raises(audio.Unusable, match="begins as an MP4 or M4A file and is cut"):
        audio.read(path)


@pytest.mark.parametrize(("peak", "part"), [(1.0, 0), (1.3, 0.44), (7.9, 0.92)])
def test_clipping_is_said(tmp_path, caplog, peak, part):
    samples = 2 * peak * tone(16_000)
    expected = np.mean(np.abs(samples.astype(np.float32)) > 1)
    assert expected == pytest.approx(part, abs=0.01)
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples, subtype="FLOAT"))
    for read in (audio.read(path), audio.prepare(samples, 16_000)):
        np.testing.assert_allclose(read, np.clip(samples, -1, 1), atol=1e-6)
    words = f"{expected:.1%} of the samples are beyond full scale"
    assert [words in x for x in caplog.messages] == [True] * (2 if part else 0)
    samples[:] = tone(16_000)
    samples[:16] = 1.1  # 0.1 %: a codec's overshoot
    caplog.clear()
    audio.prepare(samples, 16_000)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("gain", "level"), [(-0.999, 66), (-0.9, 26), (-0.7, 0), (0, 0), (1, 0)]
)
def test_channels_that_cancel_each_other_are_named(tmp_path, caplog, gain, level):
    stereo = np.stack([tone(16_000), gain * tone(16_000)], axis=1)
    path = tmp_path / "a.wav"
    path.write_bytes(wav(stereo, subtype="FLOAT"))
    audio.read(path)
    audio.prepare(stereo, 16_000)
    words = f"the mix to mono is {level} dB below the channels"
    assert [words in x for x in caplog.messages] == [True] * (2 if level else 0)


def test_many_channels_without_anything_in_common_do_not_cancel(caplog):
    audio.prepare(np.random.default_rng(0).normal(0, 0.1, (64, 8_000)), 16_000)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("waveform", "rate", "words"),
    [
        (tone(16_000), "16000", "sampling rate of type str"),
        (tone(16_000), None, "sampling rate of type NoneType"),
        (tone(16_000), [16_000], "sampling rate of type list"),
        (tone(16_000), np.array([16_000]), "sampling rate of type ndarray"),
        (16_000, tone(16_000), "a number in Hz, the second argument"),
        ([[1.0, 2.0], [3.0]], 16_000, "not an array"),
        (None, 16_000, "an array of shape"),
        (np.ma.masked_less(tone(16_000), -0.4), 16_000, "a masked array"),
    ],
)
def test_arguments_that_are_no_recording(waveform, rate, words):
    with pytest.raises(UserError, match=words):
        audio.prepare(waveform, rate)


@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8"])
def test_samples_of_any_byte_order_and_arrays_with_an_empty_mask(kind):
    scale = {"i2": 2**15, "i4": 2**31}.get(kind, 1)
    native = (tone(16_000) * scale).astype(kind)
    expected = audio.prepare(native, np.int64(16_000))
    for order in "<>":
        other = native.astype(order + kind)
        np.testing.assert_array_equal(audio.prepare(other, 16_000.0), expected)
    np.testing.assert_array_equal(audio.prepare(np.ma.array(native), 16e3), expected)
