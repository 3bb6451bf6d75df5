"""A folder on this machine whose files are kept in a bucket.

Object stores have no renames and no appending, so work happens in the local folder.
``push`` brings the bucket up to date; the order of its writes and deletions makes sure
that what a killed process leaves there is usable.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from mldg_jax.common.buckets import Bucket


class Mirror:
    """Keeps the files of a local folder in a bucket."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        rank: Callable[[str], int] = lambda name: 0,
        usable: Callable[[list[str]], Iterable[str]] = lambda names: names,
    ):
        """Prepares the mirror; nothing is read or written.

        Args:
          url: folder of the bucket, see ``buckets.Bucket``.
          folder: the local folder.
          rank: of a file, by its name relative to the folder: lower ones are written
            first and deleted last.
          usable: chooses the files to ``pull`` from the names in the bucket.
        """
        self._bucket, self._folder = Bucket(url), folder
        self._rank, self._usable = rank, usable
        self._kept: dict[str, tuple[int, int]] = {}  # size and time of what is there

    def pull(self) -> None:
        """Copies the bucket's usable files to the folder.

        Raises:
          UserError: the store or the file system refuses.
        """
        names = self._bucket.names()
        # The rest is of a process that was killed: known, so that push deletes it.
        self._kept = dict.fromkeys(names, (-1, -1))
        for name in self._usable(names):
            path = self._folder / name
            self._bucket.download(name, path)
            self._kept[name] = _version(path)

    def push(self) -> None:
        """Brings the bucket up to date: writes new and changed files, deletes others.

        Files whose names begin with a full stop, and those below such folders, are
        temporary and stay here.

        Raises:
          UserError: the store refuses.
        """
        versions = {name: _version(path) for name, path in self._files()}
        for name in sorted(versions, key=lambda x: (self._rank(x), x)):
            if self._kept.get(name) != versions[name]:
                self._bucket.write(name, (self._folder / name).read_bytes())
                self._kept[name] = versions[name]
        gone = self._kept.keys() - versions.keys()
        for name in sorted(gone, key=lambda x: (-self._rank(x), x)):
            self._bucket.delete(name)
            del self._kept[name]

    def _files(self) -> Iterable[tuple[str, Path]]:
        for path in self._folder.rglob("*"):
            relative = path.relative_to(self._folder)
            if path.is_file() and not any(x.startswith(".") for x in relative.parts):
                yield relative.as_posix(), path


def _version(path: Path) -> tuple[int, int]:
    """Returns what differs when a file has changed: its size and its time in ns."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
