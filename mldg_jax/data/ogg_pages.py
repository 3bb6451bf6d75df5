"""The links of an Ogg file, from the headers of its pages (RFC 3533).

Ogg files can be chained: ``cat a.ogg b.ogg`` is one, and so are recordings of radio
streams. libsndfile reads the first link alone.
"""

import os
from typing import BinaryIO, NamedTuple

_PIECE = 65_536  # bytes; a page has at most 65,307
_CONTINUED, _FIRST, _LAST = 1, 2, 4  # flags of a page; the first begins a stream


class Link(NamedTuple):
    """A link of a chain, which is an Ogg file of its own.

    Attributes:
      start, end: its offsets in the file.
      seconds: what it has at least; 0 if that is not known.
      has_count: ``seconds`` is what its header announces (Ogg FLAC).
      is_whole: its last page is complete and marked as the last.
    """

    start: int
    end: int
    seconds: float
    has_count: bool
    is_whole: bool


def links(file: BinaryIO) -> list[Link]:
    """Finds the links of a chained Ogg file.

    Args:
      file: an opened file of any format; its position stays.

    Returns:
      The links in order, each with a stream of audio; one unless the file is chained,
      none if it does not begin as an Ogg file.
    """
    # pread: libsndfile and Python's buffer share the position
    number, place, end = file.fileno(), 0, os.fstat(file.fileno()).st_size
    found: list[_Open] = []
    if os.pread(number, 4, 0) != b"OggS":
        return []
    in_header, before = False, 0
    while place >= 0:
        head = os.pread(number, 27 + 255, place)
        if head[:4] != b"OggS" or len(head) < 27 or len(head) < 27 + head[26]:
            # A page that was cut off has the next one in its body.
            before = _next_page(number, before + 1)
            place = before
            continue
        body = 27 + head[26]
        following = place + body + sum(head[27:body])
        serial, flags = head[14:18], head[5]
        if flags & _FIRST:
            rate, frames = _codec(os.pread(number, 64, place + body))
            if rate and not (in_header and found):
                found.append(_Open(place, serial, rate, frames))
            in_header |= bool(rate)
        else:
            in_header = False
        if found and serial == found[-1].serial:
            granule = int.from_bytes(head[6:14], "little", signed=True)
            found[-1].add(granule, bool(flags & _LAST) and following <= end)
        before, place = place, following
    if not found:
        return []
    ends = [link.start for link in found[1:]] + [end]
    return [link.close(end) for link, end in zip(found, ends, strict=True)]


class _Open:
    """A link whose pages are being read."""

    def __init__(self, start: int, serial: bytes, rate: int, frames: int):
        self.start, self.serial, self._rate, self._frames = start, serial, rate, frames
        self._first = self._last = 0
        self._is_whole = False

    def add(self, granule: int, is_last: bool) -> None:
        self._is_whole = is_last
        if granule > 0:
            # Streams that were joined late do not begin at 0.
            self._first = self._first or granule
            self._last = max(self._last, granule)

    def close(self, end: int) -> Link:
        frames = self._frames or self._last - self._first
        whole, counted = self._is_whole, bool(self._frames)
        return Link(self.start, end, frames / self._rate, counted, whole)


def _codec(packet: bytes) -> tuple[int, int]:
    """The frames in a second and in all (or 0) by a stream's first packet; rate 0
    if it is not one of audio."""
    if packet[:7] == b"\x01vorbis":
        return int.from_bytes(packet[12:16], "little"), 0
    if packet[:8] == b"OpusHead":
        return 48_000, 0
    if packet[:8] == b"Speex   ":
        return int.from_bytes(packet[36:40], "little"), 0
    if packet[:5] == b"\x7fFLAC":
        word = int.from_bytes(packet[27:35], "big")  # 20 bits, 8 others, 36 bits
        return word >> 44, word & 2**36 - 1
    return 0, 0


def _next_page(number: int, place: int) -> int:
    """Returns where the next page seems to begin; -1 if there is none."""
    while len(piece := os.pread(number, _PIECE, place)) >= 4:
        at = piece.find(b"OggS")
        if at >= 0:
            return place + at
        place += len(piece) - 3
    return -1
