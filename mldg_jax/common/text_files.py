"""Text that users give: decoded strictly, split at newlines alone, checked.

Every table, list, protocol, score file and JSON file that may come from outside is read
here, so that a byte-order mark, another encoding or a file that is no text means the
same everywhere: it is understood, or refused in one line.
"""

import codecs
import gzip
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mldg_jax.common.errors import UserError

LARGEST = 2**30  # bytes; the protocols of ASVspoof 5 have 60 million
LONGEST_LINE = 2**20  # characters
_BLOCK = 2**20  # bytes
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_TEXT = (
    (
        b"\x1f\x8b",
        "compressed with gzip: give it a name that ends in .gz, or unpack it",
    ),
    (
        b"PK\x03\x04",
        "an Excel workbook or another ZIP file, not text: export it as CSV (UTF-8), or "
        "unpack it",
    ),
)
_UNPRINTABLE = re.compile(
    # backslash, control characters, line separators, bidirectional overrides, halves of
    # surrogate pairs: bytes of a file name that are not UTF-8
    "[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_BLANK_ENDS = re.compile(r"\A\s+|\s+\Z")
Kind = TypeVar("Kind")


def printable(name: str) -> str:
    """Escapes what a line of text or a terminal cannot hold.

    Args:
      name: of a file, for example.

    Returns:
      The name with Python's escapes for control characters, line separators,
      bidirectional overrides, surrogates, the backslash, and blanks at either end.
      Different names stay different; ordinary ones are unchanged.
    """
    text = _UNPRINTABLE.sub(
        lambda found: found.group().encode("unicode_escape").decode(), name
    )
    return _BLANK_ENDS.sub(
        lambda found: "".join(
            f"\\x{ord(x):02x}" if ord(x) < 256 else f"\\u{ord(x):04x}"
            for x in found.group()
        ),
        text,
    )


def visible(text: str) -> str:
    """Makes text safe to show on a terminal, in a page or in a figure.

    Args:
      text: lines of text, with names from files in it.

    Returns:
      The text with ``�`` for what ``printable`` escapes, except newlines, tabs and
      backslashes.
    """
    return _UNPRINTABLE.sub(
        lambda found: found.group() if found.group() in "\n\t\\" else "�", text
    )


def read_text(path: str | Path, *, largest: int = LARGEST) -> str:
    """Reads a text file: UTF-8, or UTF-16 with a byte-order mark; ``.gz`` is unpacked.

    Args:
      path: of a regular file.
      largest: bytes that it may have, unpacked.

    Returns:
      The text, without the mark; line ends are as they are.

    Raises:
      UserError: no such file, no regular one, too large, or no text of that kind.
    """
    return decode(read_bytes(path, largest=largest), path)


def read_bytes(path: str | Path, *, largest: int = LARGEST) -> bytes:
    """Reads a file whole.

    Args:
      path: see ``read_text``.
      largest: see ``read_text``.

    Returns:
      Its bytes, unpacked if the name ends in ``.gz``.

    Raises:
      UserError: no such file, no regular one, or too large.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path} is not a file")
        with _opened(path) as file:
            # in blocks: read(largest) would take that much memory for a short file
            data = bytearray()
            while len(data) <= largest and (block := file.read(_BLOCK)):
                data += block
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read ({reason})") from None
    if len(data) > largest:
        raise UserError(
            f"{path} has more than {largest:,} bytes, the most that is read"
        )
    return bytes(data)


def _opened(path: str | Path):
    return gzip.open(path) if str(path).endswith(".gz") else open(path, "rb")


def decode(data: bytes, name: str | Path) -> str:
    """Decodes text as ``read_text`` does.

    Args:
      data: the bytes of a file.
      name: the file, for messages.

    Returns:
      The text without a byte-order mark.

    Raises:
      UserError: another encoding, or no text.
    """
    for mark, reason in _NOT_TEXT:
        if data.startswith(mark):
            raise UserError(f"{name} is {reason}")
    kind = next((kind for mark, kind in _BOMS if data.startswith(mark)), "")
    try:
        text = data.decode(kind or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{name} is not UTF-8 text (byte 0x{data[error.start]:02x}, line {line}): "
            "save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{name} is not text: it has zero bytes")
    return text


def split_lines(text: str) -> list[str]:
    """Splits text at newlines alone, with or without a carriage return before them.

    Text without any newline is split at carriage returns, the line ends of old Macs.
    ``str.splitlines`` also splits at form feeds, U+0085 and U+2028, which names and
    transcripts may have.

    Args:
      text: of a file.

    Returns:
      The lines without their ends; after the last newline there is none.
    """
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Reads the lines of a text file that are not blank.

    Args:
      path: of the file.

    Returns:
      Each with its number, from 1.

    Raises:
      UserError: as ``read_text``, or a line is longer than ``LONGEST_LINE``.
    """
    return numbered_lines(read_text(path), path)


def numbered_lines(text: str, path: str | Path) -> list[tuple[int, str]]:
    """Splits text as ``read_lines`` does.

    Args:
      text: of the file.
      path: of the file, for messages.

    Returns:
      The lines that are not blank, each with its number, from 1.

    Raises:
      UserError: a line is longer than ``LONGEST_LINE``.
    """
    numbered = enumerate(split_lines(text), 1)
    lines = [(number, line) for number, line in numbered if line.strip()]
    for number, line in lines:
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{path}, line {number} has {len(line):,} characters; at most "
                f"{LONGEST_LINE:,} are read: is it a table?"
            )
    return lines


def read_json(path: str | Path, kind: type[Kind], *, fix: str = "") -> Kind:
    """Reads a JSON file.

    Args:
      path: of the file.
      kind: what it must hold: dict or list.
      fix: what to do if it is damaged, for the message.

    Returns:
      What it holds. Numbers may be NaN or infinite.

    Raises:
      UserError: as ``read_text``, or it is not JSON, or holds something else.
    """
    return parse_json(_json_text(path, fix), kind, path, fix=fix)


def _json_text(path: str | Path, fix: str) -> str:
    """Reads the text of a JSON file; only damage is answered with ``fix``."""
    data = read_bytes(path)
    try:
        return decode(data, path)
    except UserError:
        if not fix:
            raise
        raise UserError(f"{path} is damaged: it is not text; {fix}") from None


def parse_json(text: str, kind: type[Kind], name: str | Path, *, fix: str = "") -> Kind:
    """Parses JSON as ``read_json`` does.

    Args:
      text: of the file, or of a line of it.
      kind: what it must hold: dict or list.
      name: the file, for messages.
      fix: what to do if it is damaged, for the message.

    Returns:
      What it holds.

    Raises:
      UserError: it is not JSON, or holds something else.
    """
    advice = f"; {fix}" if fix else ""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(";")[0]
        raise UserError(
            f"{name} is damaged: it is not JSON ({reason}){advice}"
        ) from None
    if not isinstance(content, kind):
        raise UserError(
            f"{name} is damaged: it holds {type(content).__name__} and not "
            f"{kind.__name__}{advice}"
        )
    return content


def read_json_lines(
    path: str | Path,
    *,
    check: Callable[[dict[str, Any]], bool] = bool,
    fix: str = "",
) -> Iterator[dict[str, Any]]:
    """Reads a file with a JSON object on every line.

    Args:
      path: of the file.
      check: whether an object is one that belongs there.
      fix: what to do if the file is damaged, for the message.

    Yields:
      The objects. A last line without its newline is left out: a kill cut it short.

    Raises:
      UserError: as ``read_text``, or a line that is no such object.
    """
    advice = f"; {fix}" if fix else ""
    for number, line in enumerate(_json_text(path, fix).split("\n")[:-1], 1):
        if line.strip():
            entry = parse_json(line, dict, f"{path}, line {number}", fix=fix)
            if not check(entry):
                raise UserError(
                    f"{path}, line {number} is damaged: {line[:60]!r}{advice}"
                )
            yield entry
