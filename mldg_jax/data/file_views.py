"""A part of an opened file, or one with other bytes, for decoders of file objects."""

import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO


class FileView(io.RawIOBase):
    """A part of a file as a file of its own; the file's own position does not move.

    Args:
      file: the opened file.
      start, end: offsets of the part; until the end of the file by default.
      patches: bytes to read in place of the file's, by their offsets in the file.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int = 0,
        end: int | None = None,
        *,
        patches: Mapping[int, bytes] | None = None,
    ):
        super().__init__()
        size = os.fstat(file.fileno()).st_size
        self._number, self._start, self._position = file.fileno(), start, 0
        self._length = (size if end is None else end) - start
        self._patches = patches or {}

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads bytes.

        Args:
          buffer: takes the bytes.

        Returns:
          How many were read.
        """
        size = max(0, min(len(buffer), self._length - self._position))
        start = self._start + self._position
        data = bytearray(os.pread(self._number, size, start))
        for offset, patch in self._patches.items():
            for place, byte in enumerate(patch, offset - start):
                if 0 <= place < len(data):
                    data[place] = byte
        buffer[: len(data)] = bytes(data)  # a C buffer takes nothing else
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
        bases = {os.SEEK_CUR: self._position, os.SEEK_END: self._length}
        self._position = max(0, bases.get(whence, 0) + offset)
        return self._position

    def tell(self) -> int:
        """Returns the position in bytes."""
        return self._position
