"""Chained Ogg files: every link is decoded."""

import io

import numpy as np
import pytest
import soundfile

from mldg_jax.data import audio, ogg_pages
from tests.data.test_decoding import RATE, encoded, in_container, noise


def ogg(subtype: str, *, rate: int = RATE, channels: int = 1, seconds: int = 3):
    """An Ogg file of a tone."""
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(seconds * rate) / rate)
    file = io.BytesIO()
    soundfile.write(
        file, np.stack([tone] * channels, 1), rate, format="OGG", subtype=subtype
    )
    return file.getvalue()


CHAINS = {
    "Vorbis": [ogg("VORBIS"), ogg("VORBIS")],
    "Opus": [ogg("OPUS"), ogg("OPUS")],
    "another length": [ogg("VORBIS"), ogg("VORBIS", seconds=1)],
    "another rate": [ogg("VORBIS"), ogg("VORBIS", rate=44_100)],
    "more channels": [ogg("VORBIS"), ogg("VORBIS", channels=2)],
    "another codec": [ogg("VORBIS"), ogg("OPUS"), ogg("VORBIS", rate=8_000)],
}


def places(path):
    with path.open("rb") as file:
        found = ogg_pages.links(file)
        assert file.tell() == 0
    return found


@pytest.mark.parametrize("name", CHAINS)
def test_every_link_is_decoded(tmp_path, caplog, name):
    path, parts, single = tmp_path / "a.ogg", CHAINS[name], []
    for part in parts:
        path.write_bytes(part)
        assert [link.is_whole for link in places(path)] == [True]
        single.append(audio.read(path))
    path.write_bytes(b"".join(parts))
    read, whole = audio.read(path), np.concatenate(single)
    assert len(read) == len(whole) and not caplog.messages
    same = name != "another codec"  # Opus is resampled at another place
    np.testing.assert_allclose(read, whole, atol=1e-6 if same else 0.01)
    assert len(audio.clip(path).samples) == len(whole)
    links = places(path)
    assert [link.end - link.start for link in links] == [len(part) for part in parts]
    assert [link.start for link in links][1:] == [link.end for link in links][:-1]


def test_chained_ogg_flac(tmp_path, caplog):
    path = tmp_path / "a.oga"
    path.write_bytes(2 * in_container("ogg", "flac"))
    expected = np.tile(noise(), 2) / np.float32(32_768)
    np.testing.assert_array_equal(audio.read(path), expected)
    assert not caplog.messages


@pytest.mark.parametrize("cut", [0, 1])
def test_a_link_that_was_cut_off_is_told(tmp_path, caplog, cut):
    """The next link begins inside of what should be its page."""
    path, parts = tmp_path / "a.ogg", [encoded("ogg"), encoded("ogg")]
    parts[cut] = parts[cut][: len(parts[cut]) * 3 // 4]
    path.write_bytes(b"".join(parts))
    assert [link.is_whole for link in places(path)] == [cut == 1, cut == 0]
    assert 4 * RATE < len(audio.read(path)) < 6 * RATE
    assert "cut off or damaged" in caplog.text
    with pytest.raises(audio.Unusable) as refusal:
        audio.clip(path)
    assert refusal.value.reason == "truncated"


def test_a_link_that_cannot_be_decoded_is_told(tmp_path, caplog):
    damaged = bytearray(encoded("ogg"))
    at = damaged.index(b"OggS", 4)
    damaged[at + 40 : at + 400] = bytes(360)  # the codebooks
    path = tmp_path / "a.ogg"
    path.write_bytes(encoded("ogg") + damaged)
    assert len(audio.read(path)) == 3 * RATE
    assert "only 3.00 s of the" in caplog.text
    with pytest.raises(audio.Unusable, match="cut off or damaged"):
        audio.clip(path)


def test_other_files_have_no_links(tmp_path):
    for data in (b"", b"Ogg", encoded("wav"), b"OggS", b"OggS" + bytes(1_000)):
        (tmp_path / "a").write_bytes(data)
        assert places(tmp_path / "a") == []
