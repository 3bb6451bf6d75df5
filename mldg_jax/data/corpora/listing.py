"""Compares the contents of a source folder with its protocols."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_text, split_lines
from mldg_jax.data import protocols
from mldg_jax.data.corpora.official_layouts import OfficialLayout, ProtocolPart
from mldg_jax.data.schema import Row


class Listing(NamedTuple):
    """A source folder, compared with its protocols.

    Attributes:
      root: folder that the rows' paths are relative to.
      rows: utterances whose recording exists, in the order of the protocols.
      missing: utterances whose recording does not exist, with the expected paths.
      extra: by split, paths of recordings that no protocol lists.
      problems: messages about unusable lines, repeated utterances, missing protocols.
      notes: messages about harmless peculiarities.
      remarks: sentences that a user has to read, each printed in full.
    """

    root: Path
    rows: list[Row]
    missing: list[Row]
    extra: dict[str, list[str]]
    problems: list[str]
    notes: list[str]
    remarks: list[str]


def scan(layout: OfficialLayout, source: str | Path) -> Listing:
    """Reads the protocols of an official corpus and looks for its recordings.

    Args:
      layout: layout of the corpus.
      source: the folder that its archives were unpacked into.

    Returns:
      The utterances with and without a recording, and what is extra or wrong.

    Raises:
      UserError: the folder does not exist or has none of the corpus's protocols.
    """
    source = Path(source)
    if not source.is_dir():
        cause = "is a file" if source.exists() else "there is no such folder"
        raise UserError(f"{source}: {cause}. {layout.unpack}")
    result = Listing(source.resolve(), [], [], {}, [], [], [])
    if layout.remark:
        result.notes.append(layout.remark)
    files = [find(layout, source, part.protocol) for part in layout.parts]
    if not any(files):
        raise UserError(
            f"{source}: no {layout.parts[0].protocol} of {layout.name} in it. "
            f"{layout.unpack}"
        )
    seen: dict[str, Row] = {}
    for part, protocol in zip(layout.parts, files, strict=True):
        if protocol is None:
            result.problems.append(f"{part.protocol} is missing. {layout.unpack}")
            continue
        _read_part(layout, part, protocol, result, seen)
    for name in layout.lists:
        _check_list(layout, source, name, seen, result)
    return result


def find(layout: OfficialLayout, source: Path, name: str) -> Path | None:
    """Finds a file of a corpus in the places where its archives may have put it.

    Args:
      layout: layout of the corpus.
      source: the folder that the archives were unpacked into.
      name: path of the file in one of them.

    Returns:
      The path; None if there is no such file.
    """
    paths = [source / place / name for place in layout.places]
    return next((path for path in paths if path.exists()), None)


def _read_part(
    layout: OfficialLayout,
    part: ProtocolPart,
    protocol: Path,
    result: Listing,
    seen: dict[str, Row],
) -> None:
    """Adds the utterances of one protocol to ``result`` and ``seen``."""
    text = read_text(protocol)
    rows, problems = protocols.read_rows(layout.format, text, part.split, protocol)
    result.problems.extend(f"{protocol.name}, {problem}" for problem in problems)
    if part.audio:
        folders = [result.root / place / part.audio for place in layout.places]
    else:
        folders = [protocol.resolve().parent]
    files = _recordings(folders, layout.format.suffix, result.root)
    expected_folder = os.path.join(part.audio, "")
    listed = set()
    for row in rows:
        listed.add(row.path)
        if row.utterance in seen:
            harmless = layout.repeats and row == seen[row.utterance]
            messages = result.notes if harmless else result.problems
            messages.append(
                f"{protocol.name}: {row.utterance} is listed more than once"
            )
            continue
        seen[row.utterance] = row
        if row.path in files:
            result.rows.append(row._replace(path=files[row.path]))
        else:
            result.missing.append(row._replace(path=expected_folder + row.path))
    split = part.split or (rows[0].split if rows else "eval")
    extra = sorted(files[name] for name in files.keys() - listed)
    result.extra.setdefault(split, []).extend(extra)


def _recordings(folders: Sequence[Path], suffix: str, root: Path) -> dict[str, str]:
    """Maps the recordings' paths relative to their folder to those from ``root``."""
    files: dict[str, str] = {}
    for folder in folders:
        for path, _, names in os.walk(folder):
            from_folder = os.path.relpath(path, folder)
            from_root = os.path.relpath(path, root)
            for name in names:
                if name.lower().endswith(suffix):
                    key = os.path.normpath(os.path.join(from_folder, name))
                    value = os.path.normpath(os.path.join(from_root, name))
                    files.setdefault(key, value)
    return files


def _check_list(
    layout: OfficialLayout,
    source: Path,
    name: str,
    seen: dict[str, Row],
    result: Listing,
) -> None:
    """Compares the keys with the official list of utterances."""
    path = find(layout, source, name)
    if path is None:
        result.problems.append(f"{name} is missing. {layout.unpack}")
        return
    listed = {line.split()[0] for line in split_lines(read_text(path)) if line.strip()}
    for text, names in (
        ("has no key", listed - seen.keys()),
        (f"has a key but is not in {name}", seen.keys() - listed),
    ):
        result.problems.extend(f"{utterance} {text}" for utterance in sorted(names))


def differences(expected: dict[str, int], rows: Sequence[Row]) -> list[str]:
    """Lists the counts of a split that differ from the official ones.

    Args:
      expected: official counts by "bonafide" and attack, or by "bonafide" and "spoof".
      rows: the utterances of the split.

    Returns:
      A description of each difference, such as "A01 3,799 of 3,800".
    """
    by_label = "spoof" in expected
    kinds = Counter(
        row.label if by_label or row.label == "bonafide" else row.attack for row in rows
    )
    return [
        f"{kind} {kinds[kind]:,} of {expected.get(kind, 0):,}"
        for kind in sorted(expected.keys() | kinds.keys())
        if kinds[kind] != expected.get(kind, 0)
    ]
