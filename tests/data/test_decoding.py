"""Decoding to the end of the stream, whatever headers and names say.

Each wrong header is one that recorders, pipes and browsers of the real world write.
"""

import io
import os
import struct
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from mldg_jax.data import audio
from mldg_jax.data.decoding import Undecodable, open_stream

RATE, FRAMES = 16_000, 48_000
FORMATS = {
    "wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"),
    "gsm.wav": ("WAV", "GSM610"),
    "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"), "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", None),
}  # fmt: skip


def noise() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.round(rng.normal(0, 0.1, FRAMES) * 32_768).astype(np.int16)


def encoded(name: str) -> bytes:
    file, (format, subtype) = io.BytesIO(), FORMATS[name]
    rate = 8_000 if subtype == "GSM610" else RATE
    soundfile.write(file, noise() / 32_768, rate, format=format, subtype=subtype)
    return file.getvalue()


def decode(path):
    """The stream's facts, its samples, and why it ended early."""
    with open_stream(path) as stream:
        blocks, reason = [], ""
        try:
            blocks.extend(stream.blocks)
        except Undecodable as error:
            reason = str(error)
        return stream, np.concatenate(blocks), reason


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_stream_is_as_long_as_it_announces(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encoded(name))
    stream, samples, reason = decode(path)
    assert samples.shape[1] == stream.channels == 1 and samples.dtype == np.float32
    assert len(samples) / stream.rate == pytest.approx(stream.announced, abs=0.05)
    assert abs(len(samples) - FRAMES) <= 320 and not reason and not stream.incomplete


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_stream_that_was_cut_off_is_told_from_a_whole_one(
    tmp_path, name, part, caplog
):
    """It is scored as far as it goes, with a warning; a corpus does not take it."""
    path, data = tmp_path / name, encoded(name)
    path.write_bytes(data[: int(part * len(data))])
    waveform = audio.read(path)
    seconds = 6.0 if name == "gsm.wav" else 3.0
    # (Vorbis has pages of a second)
    assert part - 0.35 < len(waveform) / RATE / seconds < part + 0.02
    (warning,) = caplog.messages
    assert str(path) in warning and "cut off or damaged" in warning
    if name not in ("ogg", "opus", "caf"):  # they do not say how long they should be
        assert f"of the {seconds:.1f}"[:-2] in warning and "announces" in warning
    with pytest.raises(audio.Unusable, match="cut off or damaged") as refusal:
        audio.clip(path)
    assert refusal.value.reason == "truncated"


def wav_header(riff: int | None = None, data: int | None = None) -> bytes:
    """A whole WAV whose sizes say something else."""
    file = bytearray(encoded("wav"))
    if riff is not None:
        file[4:8] = struct.pack("<I", riff)
    if data is not None:
        file[40:44] = struct.pack("<I", data)
    return bytes(file)


def flac_header(samples: int) -> bytes:
    """A whole FLAC that announces another number of samples (36 bits)."""
    file = bytearray(encoded("flac"))
    word = int.from_bytes(file[18:26], "big") >> 36 << 36 | samples
    file[18:26] = word.to_bytes(8, "big")
    return bytes(file)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(wav_header(0xFFFFFFFF, 0xFFFFFFFF), id="ffmpeg to a pipe"),
        pytest.param(wav_header(0x7FFFFFFF, 0x7FFFFFDB), id="Android recorder"),
        pytest.param(wav_header(96_044), id="RIFF size 8 too large"),
        pytest.param(wav_header(0), id="RIFF size never written"),
        pytest.param(wav_header(data=0), id="data size never written"),
        pytest.param(wav_header(0, 0), id="no size ever written"),
        pytest.param(flac_header(0), id="FLAC of unknown length"),
        pytest.param(encoded("flac"), id="whole"),
    ],
)
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".m4a", ".txt", ""])
def test_every_sample_is_read(tmp_path, caplog, data, suffix):
    """The content decides, not the name."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    np.testing.assert_array_equal(audio.read(path), noise() / np.float32(32_768))
    assert not caplog.messages
    np.testing.assert_array_equal(audio.from_flac(audio.clip(path).flac), noise())


TAGS = {
    "a byte": b"\0", "ID3v1": b"TAG" + bytes(125), "APE": b"APETAGEX" + bytes(24),
    "half a frame": b"\xff\xf8" * 3_000, "another FLAC": encoded("flac"),
}  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", ["flac", "wav", "ogg", "opus", "mp3", "aiff", "au"])
def test_what_follows_the_end_is_no_damage(tmp_path, caplog, name, tag):
    """FLAC: 45,056 of 48,000 samples were read, and called damaged."""
    if tag == "another FLAC" and name != "flac":
        return
    path = tmp_path / "a"
    path.write_bytes(encoded(name))
    whole = audio.read(path)
    path.write_bytes(encoded(name) + TAGS[tag])
    read = audio.read(path)
    assert not caplog.messages and len(read) - len(whole) in range(2)
    np.testing.assert_array_equal(read[: len(whole)], whole)


def test_a_tag_after_a_flac_of_unknown_length_loses_no_samples(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_header(0) + TAGS["ID3v1"])
    np.testing.assert_array_equal(audio.read(path), noise() / np.float32(32_768))


@pytest.mark.parametrize("samples", [2**36 - 1, 2**34, 49_000_000])
def test_a_flac_that_announces_gigabytes_takes_no_more_than_it_has(tmp_path, samples):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_header(samples))
    _, read, _ = decode(path)
    np.testing.assert_array_equal(read[:, 0], noise() / np.float32(32_768))


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("NIST", "PCM_16"), ("NIST", "ULAW"), ("SVX", "PCM_16"), ("VOC", "PCM_16"),
        ("VOC", "PCM_U8"), ("MAT4", "PCM_16"), ("MAT5", "FLOAT"), ("AVR", "PCM_16"),
        ("MPC2K", "PCM_16"), ("WVE", "ALAW"), ("SDS", "PCM_16"),
    ],
)  # fmt: skip
def test_old_formats_that_were_cut_off(tmp_path, caplog, format, subtype):
    path, rate = tmp_path / "a", 8_000 if format == "WVE" else RATE
    whole = noise() / 32_768
    soundfile.write(path, whole, rate, format=format, subtype=subtype)
    expected, data = audio.read(path), path.read_bytes()
    assert not caplog.messages
    path.write_bytes(data[: len(data) // 2])
    if subtype == "PCM_U8":
        pytest.importorskip("av")  # libsndfile refuses it
    read = audio.read(path)
    (warning,) = caplog.messages
    assert "cut off or damaged" in warning
    # (the resampler of WVE and of VOC's own rates looks ahead)
    assert 0.48 < len(read) / len(expected) < 0.51
    np.testing.assert_array_equal(read[:20_000], expected[:20_000])
    with pytest.raises(audio.Unusable) as refusal:
        audio.clip(path)
    assert refusal.value.reason == "truncated"


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_an_ogg_flac_that_was_cut_off(tmp_path, caplog, part):
    """PyAV ends at the last page that is whole and says nothing."""
    data, path = in_container("ogg", "flac"), tmp_path / "a.oga"
    path.write_bytes(data)
    np.testing.assert_array_equal(audio.read(path), noise() / np.float32(32_768))
    assert not caplog.messages
    last = data.rindex(b"OggS")
    for end in (int(part * len(data)), last):
        path.write_bytes(data[:end])
        caplog.clear()
        assert 0 < len(audio.read(path)) < FRAMES
        assert "cut off or damaged" in caplog.text
        with pytest.raises(audio.Unusable, match="cut off or damaged"):
            audio.clip(path)


@pytest.mark.parametrize("join", ["two data chunks", "two files", "big-endian"])
def test_a_wav_with_two_data_chunks_is_said_to_lose_one(tmp_path, caplog, join):
    data, order = encoded("wav"), "<"
    if join == "big-endian":
        file, order = io.BytesIO(), ">"
        soundfile.write(
            file, noise(), RATE, format="WAV", subtype="PCM_16", endian="BIG"
        )
        data = file.getvalue()
    at = data.index(b"data")
    size = struct.pack(f"{order}I", FRAMES)  # bytes: half of them
    halves = data[at + 8 : at + 8 + FRAMES], data[at + 8 + FRAMES :]
    joined = data[:at] + b"data" + size + halves[0] + b"data" + size + halves[1]
    path = tmp_path / "a.wav"
    path.write_bytes(data + data if join == "two files" else joined)
    read = audio.read(path)
    lost = "3.00 s of the 6.00" if join == "two files" else "1.50 s of the 3.00"
    assert f"only {lost} s" in caplog.text
    np.testing.assert_array_equal(read, noise()[: len(read)] / np.float32(32_768))
    with pytest.raises(audio.Unusable, match=lost) as refusal:
        audio.clip(path)
    assert refusal.value.reason == "truncated"


def nothing_announced(format: str) -> bytes:
    """A whole file as a program writes it that cannot go back, in a pipe."""
    data = bytearray(encoded(format))
    if format == "au":
        data[8:12] = bytes(4)
    else:
        at, count = data.index(b"SSND"), data.index(b"COMM") + 10
        data[at + 4 : at + 8] = struct.pack(">I", 8)
        data[count : count + 4] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("format", ["au", "aiff"])
def test_au_and_aiff_whose_length_was_never_written(tmp_path, caplog, format):
    path = tmp_path / "a"
    path.write_bytes(nothing_announced(format))
    np.testing.assert_array_equal(audio.read(path), noise() / np.float32(32_768))
    assert not caplog.messages and len(audio.clip(path).samples) == FRAMES


def without_count(data: bytes) -> bytes:
    """An MP3 without its first frame, which says how many there are."""
    second = data.index(data[:2], 4)
    assert b"Xing" in data[:second] or b"Info" in data[:second]
    return data[second:]


def test_an_mp3_of_variable_bit_rate_without_a_count_is_read_to_its_end(tmp_path):
    """libsndfile estimates its length and stops there (libsndfile#1001)."""
    loud = np.random.default_rng(0).normal(0, 0.2, 12 * RATE)
    loud[: 2 * RATE] = 0  # the estimate is made of the first frame
    for seed, silence in ((0, slice(0, 2 * RATE)), (1, slice(10 * RATE, None))):
        wave = np.random.default_rng(seed).normal(0, 0.2, 12 * RATE)
        wave[silence] = 0
        file = io.BytesIO()
        soundfile.write(file, wave, RATE, format="MP3", bitrate_mode="VARIABLE")
        whole, bare = tmp_path / "whole.mp3", tmp_path / "bare.mp3"
        whole.write_bytes(file.getvalue())
        bare.write_bytes(without_count(file.getvalue()))
        assert abs(len(audio.read(bare)) - 12 * RATE) < 4 * 1_152
        assert abs(len(audio.read(whole)) - 12 * RATE) < 2


def test_it_needs_pyav_for_that(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    wave = np.random.default_rng(0).normal(0, 0.2, 12 * RATE)
    wave[10 * RATE :] = 0
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="MP3", bitrate_mode="VARIABLE")
    path = tmp_path / "a.mp3"
    path.write_bytes(without_count(file.getvalue()))
    if soundfile.info(path).frames < 11 * RATE:
        with pytest.raises(audio.Unusable, match=r"longer than its header says.*PyAV"):
            audio.read(path)


def test_a_short_recording_without_a_duration_is_whole(tmp_path):
    """Matroska's tracks have no duration, so there is nothing to trim."""
    av = pytest.importorskip("av")
    samples = noise()[:4_000]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.rate = RATE
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    read = audio.read(tmp_path / "a.mkv")
    np.testing.assert_array_equal(read, samples / np.float32(32_768))


def test_names_may_have_any_bytes(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n\x1b.wav"
    with open(path, "wb") as file:
        file.write(encoded("wav"))
    assert len(audio.read(os.fsdecode(path))) == FRAMES


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/tmp", "/no/such", "a\0b"])
def test_only_files_are_opened(path):
    with pytest.raises(audio.Unusable, match=r"not a regular file|no such file"):
        audio.read(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(audio.Unusable, match="not a regular file"):
        audio.read(tmp_path / "pipe.wav")


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_rates_that_no_recording_has_are_refused(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", noise(), rate)
    with pytest.raises(audio.Unusable, match=f"rate of {rate} Hz; it must be 1,000 to"):
        audio.read(tmp_path / "a.wav")


def in_container(name: str, codec: str) -> bytes:
    """Sound as PyAV writes it."""
    av, file = pytest.importorskip("av"), io.BytesIO()
    with av.open(file, "w", format=name) as container:
        track = container.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise()[None], format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for packet in (*track.encode(frame), *track.encode(None)):
            container.mux(packet)
    return file.getvalue()


def damaged(rng: np.random.Generator, count: int):
    """Truncations and byte flips of every format, and for each its name."""
    files = {name: encoded(name) for name in FORMATS}
    files["m4a"] = in_container("mp4", "aac")
    files["webm"] = in_container("webm", "libopus")
    for turn in range(count):
        for name, data in files.items():
            if turn % 3 == 0:
                yield f"{name} cut", data[: rng.integers(len(data))]
                continue
            changed = np.frombuffer(data, np.uint8).copy()
            last = 200 if turn % 2 else len(data)  # headers half of the time
            places = rng.integers(last, size=rng.choice([1, 1, 4, 20]))
            changed[places] = rng.integers(256, size=len(places))
            yield f"{name} {places.tolist()}", changed.tobytes()


@pytest.mark.parametrize(
    "count", [43, pytest.param(2_000, marks=pytest.mark.full)]
)  # times fourteen formats: 600 files, or 28,000; a third of them cut
def test_damaged_files_end_with_a_waveform_or_one_line(tmp_path, count):
    path = tmp_path / "damaged"
    outcomes = set()
    for what, data in damaged(np.random.default_rng(0), count):
        path.write_bytes(data)
        try:
            waveform = audio.read(path)
        except audio.Unusable as error:
            assert str(path) in str(error) and "\n" not in str(error), what
            outcomes.add(error.reason)
        else:
            assert np.abs(waveform[:]).max() <= 1, what
            outcomes.add("read")
    assert {"read", "unreadable"} <= outcomes


def test_damage_does_not_reach_the_users_terminal(tmp_path):
    """C libraries write warnings of their own to standard error."""
    path = tmp_path / "a.mp3"
    data = encoded("mp3")
    path.write_bytes(data[: len(data) // 2])
    code = (
        "from mldg_jax.common.console import quiet_libraries\n"
        "from mldg_jax.data import audio\n"
        "import sys\n"
        "with quiet_libraries():\n"
        f"    audio.read({str(path)!r})\n"
        "    print('still heard', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Xing" not in done.stderr and "still heard" in done.stderr


def test_opus_loses_its_pre_skip_wherever_its_clock_begins(tmp_path):
    """PyAV's clock does, without timestamps, at the encoder's delay."""
    av = pytest.importorskip("av")
    onset, length = 24_000, 144_000  # samples at 48 kHz; pages have a second
    burst = np.random.default_rng(0).normal(0, 3_000, length)
    burst[:onset] = 0
    path = tmp_path / "a.opus"
    with av.open(path, "w", format="ogg") as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        samples = burst.astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate = 48_000
        for packet in (*track.encode(frame), *track.encode(None)):
            container.mux(packet)
    _, decoded, reason = decode(path)
    loud = np.flatnonzero(np.abs(decoded[:, 0]) > 0.05)
    assert abs(loud[0] - onset) < 150 and not reason
    assert len(decoded) == length
