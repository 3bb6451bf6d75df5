"""WAV files whose length was never written: recorders that crash leave 0 bytes."""

import io
import os
from typing import Any, BinaryIO


class LengthUnknown(io.RawIOBase):
    """A WAV file that is read as one of unknown length, for soundfile.

    Args:
      file: the opened file.
      place: offset of the size of its data chunk, see ``unwritten``.
    """

    def __init__(self, file: BinaryIO, place: int):
        super().__init__()
        self._number, self._place, self._position = file.fileno(), place, 0

    def readinto(self, buffer: Any) -> int:
        """Reads bytes, with the largest size in place of 0.

        Args:
          buffer: takes the bytes.

        Returns:
          How many were read.
        """
        start = self._position
        data = os.pread(self._number, len(buffer), start)
        buffer[: len(data)] = data
        for i in range(self._place, self._place + 4):
            if start <= i < start + len(data):
                buffer[i - start : i - start + 1] = b"\xff"
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position.

        Args:
          offset: in bytes.
          whence: ``os.SEEK_SET``, ``os.SEEK_CUR`` or ``os.SEEK_END``.

        Returns:
          The new position.
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if base is None:
            base = os.fstat(self._number).st_size
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Returns the position in bytes."""
        return self._position


def unwritten(file: BinaryIO) -> int:
    """Finds the size of a data chunk that is 0 although samples follow.

    Args:
      file: an opened file of any format; its position stays.

    Returns:
      The offset of the size; 0 if the file is not a WAV file, or its size is not 0, or
      another chunk or nothing follows.
    """
    # pread: libsndfile and Python's buffer share the position
    number, place = file.fileno(), 12
    end, start = os.fstat(number).st_size, os.pread(number, 12, 0)
    if start[:4] + start[8:] != b"RIFFWAVE":
        return 0
    while len(chunk := os.pread(number, 8, place)) == 8:
        size = int.from_bytes(chunk[4:], "little")
        place += 8
        if chunk[:4] == b"data":
            after = os.pread(number, 8, place)
            rest = int.from_bytes(after[4:], "little")
            is_chunk = after[:4].isalnum() and place + 8 + rest <= end
            return 0 if size or not after or is_chunk else place - 4
        place += size + size % 2
    return 0
