"""Which WAV files have samples but say that they have none."""

import io
import struct

import pytest

from mldg_jax.data import wav_lengths

HEAD = b"RIFF\0\0\0\0WAVE" + b"fmt " + struct.pack("<I", 16) + bytes(16)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (HEAD + b"data\0\0\0\0" + b"\x06\0\xfa\xff" * 4, 40),
        (HEAD + b"LIST\x03\0\0\0abc\0" + b"data\0\0\0\0\x06\0", 52),
        (HEAD + b"data\0\0\0\0", 0),
        (HEAD + b"data\0\0\0\0LIST\x04\0\0\0abcd", 0),
        (HEAD + b"data\x04\0\0\0\x06\0\xfa\xff", 0),
        (HEAD, 0),
        (b"fLaC", 0),
    ],
)
def test_only_a_size_that_was_never_written_is_found(data, place, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert wav_lengths.unwritten(file) == place


def test_it_is_read_as_of_the_largest_size(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(HEAD + b"data\0\0\0\0" + bytes(8))
    with path.open("rb") as file:
        whole = wav_lengths.LengthUnknown(file, 40)
        assert whole.read(42)[-2:] == b"\xff\xff"
        assert whole.read(4) == b"\xff\xff\0\0"
        assert whole.seek(0, io.SEEK_END) == 52 and whole.seek(-50, io.SEEK_CUR) == 2
        assert whole.tell() == 2
