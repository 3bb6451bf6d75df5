"""The frames of an MP3: how long it is, whatever its first frame or bit rate say.

Without a count in its first frame (Xing, VBRI) an MP3 of variable bit rate has a length
that decoders estimate, and libsndfile stops where the estimate ends. Frame headers as
in ISO/IEC 11172-3 (MPEG 1) and 13818-3 (MPEG 2); MPEG 2.5 as in use.
"""

import os
from typing import BinaryIO, NamedTuple


class Frames(NamedTuple):
    """What the headers of an MP3's frames come to.

    Attributes:
      samples: of all its frames, each channel.
      frame: samples of one.
      has_count: its first frame says how many there are.
    """

    samples: int
    frame: int
    has_count: bool


def count(file: BinaryIO) -> Frames:
    """Counts the samples of an MP3, from the header of one frame to that of the next.

    Args:
      file: opened for reading bytes; its position changes.

    Returns:
      What they come to; a tag (ID3) before them and bytes between them are skipped.
    """
    frames, frame, has_count = 0, 1_152, False
    file.seek(0)
    head = file.read(10)
    if head[:3] == b"ID3" and len(head) == 10:
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 127
        file.seek(10 + size + 10 * bool(head[5] & 16))
    else:
        file.seek(0)
    while len(header := file.read(4)) == 4:
        length, samples = _mp3_frame(header)
        if not length:
            if not _next_sync(file):
                break
            continue
        if not frames:
            frame = samples
            body = file.read(length - 4)
            has_count = any(x in body[:200] for x in (b"Xing", b"Info", b"VBRI"))
        else:
            file.seek(length - 4, os.SEEK_CUR)
        frames += 1
    return Frames(frames * frame, frame, has_count)


_BITRATES = {  # kbit/s by (MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _mp3_frame(header: bytes) -> tuple[int, int]:
    """The length of a frame in bytes and in samples; (0, 0) if it is not a header."""
    a, b, c = header[:3]
    version, layer, bitrate, rate = b >> 3 & 3, 4 - (b >> 1 & 3), c >> 4, c >> 2 & 3
    if a != 0xFF or b < 0xE0 or version == 1 or layer == 4 or rate == 3:
        return 0, 0
    if bitrate in (0, 15):
        return 0, 0
    first = version == 3
    hertz = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = 1_000 * _BITRATES[first, layer][bitrate - 1]
    samples = 384 if layer == 1 else 1_152 if first or layer == 2 else 576
    slot = 4 if layer == 1 else 1
    return slot * (samples // 8 // slot * bits // hertz + (c >> 1 & 1)), samples


def _next_sync(file: BinaryIO) -> bool:
    """Moves on from a header that is none to the next byte that may begin one."""
    file.seek(-3, os.SEEK_CUR)
    while piece := file.read(65_536):
        at = piece.find(b"\xff")
        if at >= 0:
            file.seek(at - len(piece), os.SEEK_CUR)
            return True
    return False
