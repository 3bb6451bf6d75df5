"""Atomic writes: a file is written completely or not at all."""

import contextlib
import errno
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mldg_jax.common.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically; creates missing parent folders.

    Args:
      path: the file to write or replace.
      text: its content.

    Raises:
      UserError: the file system refuses the write.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def check_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Checks, before work starts, that a result can be put at a path.

    Args:
      path: of the file to be; of a symbolic link, its target is written.
      inputs: paths of the files that the result is made from.

    Raises:
      UserError: it is empty, or a folder, device, pipe or one of the inputs is there,
        or its folder does not take files.
    """
    if not str(path):
        raise UserError("an empty path to write to; name a file")
    path = Path(path)
    blocked = False
    with contextlib.suppress(OSError):  # its folder may not be entered; said below
        blocked = path.exists() and not path.is_file()
    if blocked:
        raise UserError(f"{path} is not a file and cannot be replaced; name another")
    check_folder(Path(os.path.realpath(path)).parent)
    for name in inputs if path.exists() else ():
        if name and os.path.exists(name) and os.path.samefile(name, path):
            raise UserError(
                f"{path} is one of the inputs, which the result would replace; name "
                "another output"
            )


def check_folder(folder: str | Path) -> None:
    """Checks, before work starts, that files can be put in a folder.

    Args:
      folder: may not exist; it is not created.

    Raises:
      UserError: it or the folder that it would be made in is none, or is not writable.
    """
    if not str(folder):
        raise UserError("an empty path to write to; name a folder")
    reason = ""
    existing = Path(folder).absolute()
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:  # a name may be too long, or not be looked for
        reason = os.strerror(error.errno or errno.EIO)
    if not reason and not existing.is_dir():
        reason = f"{existing} is not a folder"
    elif not reason and not os.access(existing, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EACCES)
    elif not reason:
        reason = _probe(existing)
    if reason:
        raise UserError(
            f"cannot write to {folder}: {reason}; choose another folder, or make that "
            "one writable"
        )


def _probe(folder: Path) -> str:
    """Returns why nothing can be created in a folder; "" if it can.

    Below /proc, access is granted and creation fails with "No such file".
    """
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".mldg-", dir=folder))
    except OSError as error:
        return os.strerror(error.errno or errno.EIO)
    return ""


# The texts of a file system's refusals, to be searched for in any exception's message:
# tensorstore, for one, does not raise OSError.
REFUSALS = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.EEXIST,
    )
)

FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))


@contextlib.contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Turns a file system's refusal (disk full, read-only, …) into a ``UserError``.

    Args:
      folder: the folder that is written to, for the message.

    Yields:
      Nothing; write inside the ``with`` block.

    Raises:
      UserError: the file system refused; names the folder, the reason and the fix.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = next((x for x in REFUSALS if x in str(error)), None)
        if reason is None:
            raise
        fix = "free some space or choose" if reason in FULL else "choose"
        raise UserError(
            f"cannot write to {folder}: {reason}. Everything saved before is intact; "
            f"{fix} a writable folder, and start the same command again"
        ) from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Replaces a file atomically by one written under a temporary name.

    On an error the temporary file is removed and an existing ``path`` is unchanged.
    Processes on several machines may share the folder.

    Args:
      path: the file to write or replace; missing parent folders are created. A
        symbolic link stays, and its target is written.

    Yields:
      The temporary path to write to, in the folder of the file.

    Raises:
      UserError: the file system refuses the write.
    """
    path = Path(os.path.realpath(path))
    with writing(path.parent), _replacing(path) as part:
        yield part


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Some writers (safetensors) make files that nobody else can read.
        part.touch()
    except FileNotFoundError as error:  # as below /proc; inputs are read elsewhere
        raise UserError(
            f"cannot write to {path.parent}: {error.strerror}; choose another folder"
        ) from None
    mode = part.stat().st_mode
    part.unlink()
    try:
        yield part
        if part.is_file():
            part.chmod(mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
