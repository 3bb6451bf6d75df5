"""Which recordings a command line names: by themselves, in folders and in lists."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mldg_jax.common import text_files
from mldg_jax.common.errors import UserError
from mldg_jax.data import audio

log = logging.getLogger(__name__)

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc"),
    *(".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".mp2", ".spx", ".amr", ".3gp"),
    *(*audio.CONTAINERS, ".m4b", ".weba", ".ac3"),
)
"""Of the files that are looked for in folders; a file that is named may have any."""
LISTS = (".txt", ".lst")
OTHER_LISTS = (".csv", ".tsv", ".m3u", ".m3u8", ".pls")


def collect(arguments: Sequence[str]) -> tuple[list[str], list[UserError]]:
    """Lists the recordings that the command line names, without duplicates.

    Args:
      arguments: recordings; folders, which are searched for audio files; lists (.txt,
        .lst) with a recording or a folder on every line; "-" for such a list on
        standard input. Lines of a list that begin with # are comments, unless there is
        such a file.

    Returns:
      Paths, in the order of the arguments; and a problem for each argument, or folder
      in a list, that holds nothing to score or cannot be read.

    Raises:
      UserError: none of the arguments holds anything to score.
    """
    recordings: list[str] = []
    problems: list[UserError] = []
    for argument in arguments:
        try:
            entries = _entries(argument)
        except UserError as problem:
            problems.append(problem)
            continue
        for entry in entries:
            listed = _search(Path(entry)) if os.path.isdir(entry) else [entry]
            recordings += listed
            if not listed:
                problems.append(
                    UserError(
                        f"{entry}: there is no audio file in this folder; a file with "
                        "another suffix can be scored if it is named itself"
                    )
                )
    if problems and not recordings:
        raise problems[0]
    return list(dict.fromkeys(recordings)), problems


def _entries(argument: str) -> list[str]:
    """Returns the recordings and folders that an argument names."""
    path = Path(argument)
    suffix = path.suffix.lower()
    if not argument:
        raise UserError("an empty path; name a recording, a folder or a list")
    if argument == "-":
        argument = "standard input"
        text = text_files.decode(_standard_input(), argument)
    elif suffix in LISTS and os.path.isfile(path):
        text = text_files.read_text(path)
    elif suffix in OTHER_LISTS and os.path.isfile(path):
        raise UserError(
            f"{argument} is not a recording; a list of recordings must be a "
            f"{' or '.join(LISTS)} file with one path per line"
        )
    else:
        return [argument]
    lines = (line.strip(" \t") for line in text_files.split_lines(text))
    entries = [x for x in lines if x and (x[0] != "#" or os.path.exists(x))]
    if not entries:
        raise UserError(f"{argument}: nothing to score in it; name one path per line")
    _check_paths(argument, entries)
    return entries


def _check_paths(name: str, entries: Sequence[str]) -> None:
    """Warns if a list's paths are relative to the list, where they are not sought.

    Raises:
      UserError: none of the paths exists.
    """
    missing = [x for x in entries if not os.path.lexists(x)]
    parent, fix = Path(name).parent, ""
    if os.path.isfile(name) and any(os.path.exists(parent / x) for x in missing):
        fix = (
            f"; they are in the list's folder: run the command in {parent}, or write "
            "absolute paths"
        )
    if len(missing) == len(entries):
        raise UserError(
            f"{name}: none of its lines ({len(entries):,}) is the path of a file, the "
            f"first is {entries[0][:80]!r}; a list has one path per line, relative to "
            f"the working directory{fix}"
        )
    if fix:
        log.warning(
            "%s: %d of its paths do not exist in the working directory, to which they "
            "are relative%s",
            *(name, len(missing), fix),
        )


def _standard_input() -> bytes:
    try:
        if sys.stdin is not None:
            return sys.stdin.buffer.read()
        reason = "it is closed"
    except OSError as error:
        reason = error.strerror or str(error)
    raise UserError(
        f"standard input cannot be read ({reason}): pipe a list of recordings into "
        "the command, or name a list file instead of -"
    )


def _search(folder: Path) -> list[str]:
    """Finds audio files by suffix, and says how many others are passed over.

    A folder that cannot be listed is returned itself: reading it says why.
    """
    listed, others = [], Counter()
    walk = os.walk(folder, onerror=lambda error: listed.append(error.filename))
    for place, _, names in walk:
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith("._"):  # macOS keeps a file's attributes there
                others["._*"] += 1
            elif suffix in SUFFIXES:
                listed.append(os.path.join(place, name))
            else:
                others[suffix or "no suffix"] += 1
    if others:
        kinds = ", ".join(f"{suffix}: {n}" for suffix, n in others.most_common(5))
        log.info(
            "passed over in %s: %d without an audio file's name (%s)",
            *(folder, others.total(), kinds),
        )
    return sorted(listed)
