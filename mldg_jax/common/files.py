"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from mldg_jax.common.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
      UserError: the file system refuses.
    """
    with writing(path.parent), replacing(path) as part:
        part.write_text(text)


REFUSALS = tuple(  # of a file system, as they stand in any exception's text
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EEXIST,
    )
)


@contextlib.contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Says in one message what a file system refuses (full, read-only, no folder).

    Raises:
      UserError: names the folder, the reason and the fix.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tensorstore has its own kinds
        reason = next((x for x in REFUSALS if x in str(error)), None)
        if reason is None:
            raise
        raise UserError(
            f"cannot write to {folder}: {reason}. What was saved before is whole; make "
            "room or choose a folder that can be written to, and start the same "
            "command again"
        ) from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``, which takes its place at the end.

    On an error nothing is left behind and an older ``path`` stays as it was. Missing
    parent folders are made. Processes of several machines may share the folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
