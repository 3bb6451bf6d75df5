"""Lengths in the headers of recordings: never written, or not what libsndfile counts.

Recorders that crash and programs that write to a pipe leave a length of 0; libsndfile
reads nothing then. Of a file that was cut off it counts what is there; what the header
announces is in its log or in the file.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

import soundfile

LARGEST = b"\xff" * 4  # "until the end of the file"
# (magic, form): byte order, chunk of the samples, bytes before them
_SAMPLES: dict[tuple[bytes, bytes], tuple[Literal["little", "big"], bytes, int]] = {
    (b"RIFF", b"WAVE"): ("little", b"data", 0),
    (b"RIFX", b"WAVE"): ("big", b"data", 0),
    (b"FORM", b"AIFF"): ("big", b"SSND", 8),
    (b"FORM", b"AIFC"): ("big", b"SSND", 8),
}
_LOGGED = {  # what libsndfile's log says of the header's count of frames
    "AVR": r"Frames +: (\d+)",
    "MPC2K": r"Frames +: (\d+)",
    "MAT4": r"Cols +: (\d+)",
    "MAT5": r"Cols +: (\d+)",
    "WVE": r"Data length (\d+) should be",
}


class _Chunk(NamedTuple):
    """A chunk of samples: where its size is, its bytes, whether a size is lacking."""

    place: int
    size: int
    is_unwritten: bool


def unwritten(file: BinaryIO) -> dict[int, bytes]:
    """Finds a length of samples that is 0 although samples follow (WAV, AIFF, AU).

    Args:
      file: an opened file of any format; its position stays.

    Returns:
      The bytes to read in place of it, by its offset; {} if the file is of another
      format, or has a length, or another chunk or nothing follows.
    """
    number, end = file.fileno(), os.fstat(file.fileno()).st_size
    head = os.pread(number, 12, 0)
    if head[:4] in (b".snd", b"dns."):
        order = "big" if head[:4] == b".snd" else "little"
        samples = int.from_bytes(head[4:8], order)
        return {8: LARGEST} if head[8:] == bytes(4) and samples < end else {}
    chunk = next(_chunks(file), None)
    return {chunk.place: LARGEST} if chunk and chunk.is_unwritten else {}


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Yields the chunks of samples of a WAV or AIFF file and of those appended."""
    # pread: libsndfile and Python's buffer share the position
    number, place, name, before = file.fileno(), 0, b"", 0
    end = os.fstat(number).st_size
    order: Literal["little", "big"] = "little"
    while len(head := os.pread(number, 12, place)) >= 8:
        if form := _SAMPLES.get((head[:4], head[8:])):
            order, name, before = form
            place += 12
            continue
        if not name or not all(32 <= byte < 127 for byte in head[:4]):
            return  # another format, or bytes that are no chunk
        size = int.from_bytes(head[4:8], order)
        if head[:4] == name:
            after = os.pread(number, 8, place + 8 + before)
            rest = int.from_bytes(after[4:], order)
            is_chunk = after[:4].isalnum() and place + 16 + before + rest <= end
            lacks_size = size <= before and bool(after) and not is_chunk
            yield _Chunk(place + 4, min(size, end - place - 8), lacks_size)
        place += 8 + size + size % 2


def announced(file: BinaryIO, sound: soundfile.SoundFile) -> float:
    """Computes how many frames the header of a recording announces.

    Args:
      file: the opened file; its position stays.
      sound: the same, opened with libsndfile.

    Returns:
      Frames; libsndfile's count where the header says no more.
    """
    frames, log = sound.frames, sound.extra_info
    if sound.format == "NIST":
        header = os.pread(file.fileno(), 1_024, 0).decode("latin-1")
        counts = re.findall(r"^sample_count -i (\d+)", header, re.MULTILINE)
    else:
        counts = re.findall(_LOGGED.get(sound.format, "$^"), log)
    if counts:
        return max(frames, int(counts[-1]))
    return frames * _shortened(log)


def in_first_chunk(file: BinaryIO) -> float:
    """Computes the part of a WAV or AIFF file's samples that decoders look for.

    Args:
      file: an opened file of any format; its position stays.

    Returns:
      The fraction in the first of several chunks of samples, as are left by joining
      files; 1 if there is one at most.
    """
    sizes = [chunk.size for chunk in _chunks(file)]
    return sizes[0] / sum(sizes) if sizes and sizes[0] > 0 else 1.0


def end_of_first_chunk(file: BinaryIO) -> int | None:
    """Returns where the first of several chunks of samples ends; None if there is one.

    libsndfile refuses a file with another, and ffmpeg reads the last.

    Args:
      file: an opened file of any format; its position stays.
    """
    chunks = list(_chunks(file))
    return chunks[0].place + 4 + chunks[0].size if len(chunks) > 1 else None


def _shortened(log: str) -> float:
    """How many times longer libsndfile found the samples announced than they are.

    Its log has a line such as "data : 384000 (should be 191978)" for WAV, AIFF, AU and
    SVX; for W64 and RF64 one of the whole file (WAV's, "RIFF", is wrong in whole files
    too). Sizes near 2³¹ and 2³² are what recorders and pipes leave who never knew the
    length.
    """
    names = ("data", "SSND", "BODY", "Data Size", "riff", "Riff size")
    for line in log.splitlines():
        name, _, sizes = line.partition(" : ")
        if name.strip() in names and "(should be" in sizes:
            said, _, real = sizes.partition("(should be")
            with contextlib.suppress(ValueError):
                said, real = int(said), int(real.strip(" )"))
                if real > 0 and said % 2**31 < 2**31 - 4096 and said < 2**32 - 4096:
                    return max(1.0, said / real)
    return 1.0


def present(sound: soundfile.SoundFile) -> int | None:
    """Returns how many frames a MIDI sample dump (SDS) has, None for other formats.

    Past its end libsndfile goes on with frames of its own making, up to the number
    that the header announces.

    Args:
      sound: the recording.
    """
    if sound.format != "SDS":
        return None
    counts = re.findall(r"Frames +: (\d+)", sound.extra_info)
    return int(counts[-1]) if counts else None


def is_cut_voc(file: BinaryIO) -> bool:
    """Returns whether a block of a Creative Voice file reaches past the file's end.

    Args:
      file: an opened file of any format; its position stays.
    """
    number, end = file.fileno(), os.fstat(file.fileno()).st_size
    head = os.pread(number, 22, 0)
    if head[:19] != b"Creative Voice File":
        return False
    place = int.from_bytes(head[20:22], "little")
    while len(block := os.pread(number, 4, place)) == 4 and 1 <= block[0] <= 9:
        size = int.from_bytes(block[1:], "little")
        place += 4 + size
        if place > end:
            return size < 2**24 - 1  # the largest is what writers leave who never knew
    return False
