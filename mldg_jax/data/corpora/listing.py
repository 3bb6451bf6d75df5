"""What a source folder holds, against what its protocols say it should hold."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mldg_jax.common.errors import UserError
from mldg_jax.data import protocols
from mldg_jax.data.corpora.official_layouts import OfficialLayout, ProtocolPart
from mldg_jax.data.schema import Row


class Listing(NamedTuple):
    """A source folder, compared with its protocols.

    Attributes:
      root: the folder that the rows' paths start from.
      rows: utterances whose recording is there, in the order of the protocols.
      missing: utterances whose recording is not, their paths where they should be.
      extra: by split, recordings that no protocol lists.
      problems: lines that could not be used, repeated utterances, absent protocols.
      notes: oddities that do no harm.
    """

    root: Path
    rows: list[Row]
    missing: list[Row]
    extra: dict[str, list[str]]
    problems: list[str]
    notes: list[str]


def scan(layout: OfficialLayout, source: str | Path) -> Listing:
    """Reads the protocols of an official corpus and looks for its recordings.

    Raises:
      UserError: there is no such folder, or none of the corpus's protocols in it.
    """
    source = Path(source)
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder. {layout.unpack}")
    found = Listing(source.resolve(), [], [], {}, [], [])
    if layout.remark:
        found.notes.append(layout.remark)
    files = [_find(layout, source, part.protocol) for part in layout.parts]
    if not any(files):
        raise UserError(
            f"{source}: no {layout.parts[0].protocol} of {layout.name} in it. "
            f"{layout.unpack}"
        )
    seen: dict[str, Row] = {}
    for part, protocol in zip(layout.parts, files, strict=True):
        if protocol is None:
            found.problems.append(f"{part.protocol} is not there. {layout.unpack}")
            continue
        _read_part(layout, part, protocol, found, seen)
    for name in layout.lists:
        _check_list(layout, source, name, seen, found)
    return found


def _find(layout: OfficialLayout, source: Path, name: str) -> Path | None:
    paths = [source / place / name for place in layout.places]
    return next((path for path in paths if path.exists()), None)


def _read_part(
    layout: OfficialLayout,
    part: ProtocolPart,
    protocol: Path,
    found: Listing,
    seen: dict[str, Row],
) -> None:
    """Adds what one protocol lists to ``found`` and ``seen``."""
    text = read_text(protocol)
    rows, problems = protocols.read_rows(layout.format, text, part.split)
    found.problems.extend(f"{protocol.name}, {problem}" for problem in problems)
    if part.audio:
        folders = [found.root / place / part.audio for place in layout.places]
    else:
        folders = [protocol.resolve().parent]
    files = _recordings(folders, layout.format.suffix, found.root)
    should = os.path.join(part.audio, "")
    listed = set()
    for row in rows:
        listed.add(row.path)
        if row.utterance in seen:
            same = layout.repeats and row == seen[row.utterance]
            where = found.notes if same else found.problems
            where.append(f"{protocol.name}: {row.utterance} is listed more than once")
            continue
        seen[row.utterance] = row
        if row.path in files:
            found.rows.append(row._replace(path=files[row.path]))
        else:
            found.missing.append(row._replace(path=should + row.path))
    split = part.split or (rows[0].split if rows else "eval")
    spare = sorted(files[name] for name in files.keys() - listed)
    found.extra.setdefault(split, []).extend(spare)


def read_text(path: Path) -> str:
    """The text of a protocol.

    Raises:
      UserError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _recordings(folders: Sequence[Path], suffix: str, root: Path) -> dict[str, str]:
    """Name below its folder → path below ``root``, of all recordings."""
    files: dict[str, str] = {}
    for folder in folders:
        for path, _, names in os.walk(folder):
            below = os.path.relpath(path, folder)
            place = os.path.relpath(path, root)
            for name in names:
                if name.lower().endswith(suffix):
                    key = os.path.normpath(os.path.join(below, name))
                    value = os.path.normpath(os.path.join(place, name))
                    files.setdefault(key, value)
    return files


def _check_list(
    layout: OfficialLayout,
    source: Path,
    name: str,
    seen: dict[str, Row],
    found: Listing,
) -> None:
    """Compares the keys with the official list of utterances."""
    path = _find(layout, source, name)
    if path is None:
        found.problems.append(f"{name} is not there. {layout.unpack}")
        return
    listed = {line.split()[0] for line in read_text(path).splitlines() if line.strip()}
    for text, names in (
        ("has no key", listed - seen.keys()),
        (f"has a key but is not in {name}", seen.keys() - listed),
    ):
        found.problems.extend(f"{utterance} {text}" for utterance in sorted(names))


def differences(expected: dict[str, int], rows: Sequence[Row]) -> list[str]:
    """Where the rows of a split differ from the official counts, in words."""
    by_label = "spoof" in expected
    kinds = Counter(
        row.label if by_label or row.label == "bonafide" else row.attack for row in rows
    )
    return [
        f"{kind} {kinds[kind]:,} of {expected.get(kind, 0):,}"
        for kind in sorted(expected.keys() | kinds.keys())
        if kinds[kind] != expected.get(kind, 0)
    ]
