"""Lengths that were never written, and those that libsndfile does not count."""

import io
import struct

import pytest

from mldg_jax.data import header_lengths
from mldg_jax.data.file_views import FileView

HEAD = b"RIFF\0\0\0\0WAVE" + b"fmt " + struct.pack("<I", 16) + bytes(16)
AIFF = b"FORM\0\0\0\0AIFF" + b"COMM" + struct.pack(">I", 18) + bytes(18)
AU = b".snd" + struct.pack(">I", 24)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (HEAD + b"data\0\0\0\0" + b"\x06\0\xfa\xff" * 4, 40),
        (HEAD + b"LIST\x03\0\0\0abc\0" + b"data\0\0\0\0\x06\0", 52),
        (HEAD + b"data\0\0\0\0", 0),
        (HEAD + b"data\0\0\0\0LIST\x04\0\0\0abcd", 0),
        (HEAD + b"data\x04\0\0\0\x06\0\xfa\xff", 0),
        (AIFF + b"SSND\0\0\0\x08" + bytes(8) + b"\x06\0\xfa\xff" * 4, 42),
        (AIFF + b"SSND\0\0\0\x08" + bytes(8), 0),
        (AU + bytes(4) + bytes(12) + b"\x06\0\xfa\xff", 8),
        (AU + b"\0\0\0\x04" + bytes(12) + b"\x06\0\xfa\xff", 0),
        (AU + bytes(4) + bytes(12), 0),
        (HEAD, 0),
        (b"fLaC", 0),
    ],
)
def test_only_a_size_that_was_never_written_is_found(data, place, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with path.open("rb") as file:
        expected = {place: b"\xff" * 4} if place else {}
        assert header_lengths.unwritten(file) == expected


def test_it_is_read_as_of_the_largest_size(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(HEAD + b"data\0\0\0\0" + bytes(8))
    with path.open("rb") as file:
        whole = FileView(file, patches={40: b"\xff" * 4})
        assert whole.read(42)[-2:] == b"\xff\xff"
        assert whole.read(4) == b"\xff\xff\0\0"
        assert whole.seek(0, io.SEEK_END) == 52 and whole.seek(-50, io.SEEK_CUR) == 2
        assert whole.tell() == 2


def test_a_view_is_a_part_of_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with path.open("rb") as file:
        view = FileView(file, 10, 20, patches={9: b"abc"})
        assert view.read() == b"bc" + bytes(range(12, 20)) and view.read() == b""
        assert view.seek(-1, io.SEEK_END) == 9 and view.read(5) == b"\x13"
        assert file.read(1) == b"\0"
