"""Reads any corpus from a table: CSV, TSV or Parquet with one line per utterance.

The columns ``path``, ``label`` and ``attack`` are required; ``utterance``, ``speaker``,
``split`` (or ``subset``), ``codec``, ``language`` and ``segments`` (see
``data.segment_labels``) are optional; a note names others. Paths are absolute or
relative to the folder of the table. Without a column ``split``, all utterances are in
"eval".
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mldg_jax.common.columns import ambiguous, has_semicolons, split_cells
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_lines
from mldg_jax.data import segment_files
from mldg_jax.data.corpora.listing import Listing
from mldg_jax.data.corpus import TRAINING_SPLIT
from mldg_jax.data.protocols import LABEL_WORDS, NUMERIC
from mldg_jax.data.schema import (
    NO_ATTACK,
    NOT_STATED,
    UNKNOWN_ATTACK,
    Row,
    attack_of,
    word,
)
from mldg_jax.data.segment_labels import parse, to_text

COLUMNS = ("path", "label", "attack")
OPTIONAL = ("utterance", "speaker", "split", "codec", "language", "segments")
NO_NAMES = ("nan", "none", "null", "n/a", "na")
"""What pandas and others write for a missing value; not a name of an attack."""


def scan(path: str | Path, segments: str | Path | None = None) -> Listing:
    """Reads a table and looks for its recordings.

    Args:
      path: a .csv, .tsv or .parquet file.
      segments: segment labels in a file of their own, see ``segment_files``, where an
        utterance has its own name or that of its recording; None for those of the
        table's column, if it has one.

    Returns:
      The utterances with and without a recording, and the lines that are unusable.

    Raises:
      UserError: the file does not exist or is not a table, a column is missing, or no
        line is usable.
    """
    path = Path(path)
    # Of the path as it is given: a link may lead into a cache of nameless files.
    root = path.absolute().parent
    result = Listing(root, [], [], {}, [], [], [])
    seen = set()
    labels = None if segments is None else segment_files.read(segments)
    for number, cells in _table(path, result):
        row, problem = _row(cells)
        if row is not None:
            row, problem = _with_segments(row, cells.get("segments"), labels)
        if row is not None and row.utterance in seen:
            problem = f"{row.utterance} is listed twice"
        if row is None or problem:
            result.problems.append(f"{path.name}, line {number}: {problem}")
            continue
        seen.add(row.utterance)
        exists = (root / row.path).is_file()
        (result.rows if exists else result.missing).append(row)
    if not seen:
        raise UserError(f"{path}: no utterance in it. {'; '.join(result.problems[:3])}")
    rows = [*result.rows, *result.missing]
    result.remarks.extend(_remarks(path, rows))
    for names in _same_but_case(row.split for row in rows):
        result.problems.append(
            f"{path.name}: the splits {' and '.join(names)} differ only in case: write "
            "them alike"
        )
    for names in _same_but_case(row.attack for row in rows):
        result.notes.append(
            f"{path.name}: the attacks {' and '.join(names)} differ only in case and "
            "count as different ones: write them alike if they are the same"
        )
    return result


def _with_segments(
    row: Row, cell: str | None, labels: segment_files.Segments | None
) -> tuple[Row | None, str]:
    """Adds segment labels to a row: of a file, or of the cell of a table.

    None stands for no file and no such column. Returns what is wrong in place of a row.
    """
    if labels is not None:
        recording = Path(row.path)
        names = (row.utterance, row.path, recording.name, recording.stem)
        name = segment_files.matching(labels, names)
        parts = None if name is None else labels[name]
    elif cell is not None:
        try:
            parts = parse(cell)
        except ValueError as error:
            return None, f"segments: {error}"
    else:
        return row, ""
    if row.label == "bonafide":
        if parts:
            return None, f"bona fide with spoofed segments ({to_text(parts)})"
        parts = ()
    elif parts == ():
        return None, "spoof without a spoofed segment; label it bonafide, or name them"
    return row._replace(segments=to_text(parts)), ""


def _remarks(path: Path, rows: list[Row]) -> Iterator[str]:
    """Yields what a user of the table has to know before training."""
    unlabelled = sum(not row.segments for row in rows)
    if 0 < unlabelled < len(rows):
        yield (
            f"warning: {path.name}: {unlabelled:,} spoof utterances have no segment "
            "labels, and their frames are not trained on: write 'all' into the column "
            "segments of those that are spoofed from start to end"
        )
    unknown = sum(row.attack == UNKNOWN_ATTACK for row in rows)
    if unknown:
        yield (
            f"warning: {path.name}: {unknown:,} spoof utterances without an attack are "
            f"taken as one attack named {UNKNOWN_ATTACK!r}: write the name of the "
            "synthesiser into the column attack where you know it"
        )
    splits = {row.split for row in rows}
    if TRAINING_SPLIT not in splits:
        yield (
            f"{path.name}: all utterances are in split {' or '.join(sorted(splits))} "
            f"and none in {TRAINING_SPLIT}, which is enough to score and evaluate. To "
            "train on them, add a column split with train, dev or eval in every line, "
            "and no speaker in two of them"
        )


def _same_but_case(names: Iterable[str]) -> list[list[str]]:
    """Returns groups of names that are the same but for upper and lower case."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name.casefold(), []).append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def sha256_of(path: str | Path, segments: str | Path | None = None) -> str:
    """Computes the fingerprint of a table and of its segment labels.

    Args:
      path: the table.
      segments: file or folder with its segment labels, if there is one.

    Returns:
      SHA-256 in hexadecimal, without segment labels that of the file; "" if there is no
      such table.
    """
    path = Path(path)
    if not path.is_file():
        return ""
    digests = [_sha256(path)]
    if segments is not None:
        home = Path(segments)
        files = sorted(home.iterdir()) if home.is_dir() else [home]
        digests += [_sha256(x) for x in files if x.is_file()]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_of(path: str | Path) -> str:
    """Derives the name of a table's corpus from the name of the file.

    Args:
      path: the table.

    Returns:
      A name of letters, digits and "_"; "corpus" if nothing remains.
    """
    return re.sub(r"[^A-Za-z0-9_]+", "_", Path(path).stem).strip("_") or "corpus"


def _table(path: Path, result: Listing) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the number of each line and its cells by the columns' lower-case names."""
    if not path.is_file():
        cause = "is a folder" if path.is_dir() else "there is no such file"
        raise UserError(
            f"{path}: {cause}. --source is a CSV, TSV or Parquet file "
            f"with the columns {', '.join(COLUMNS)}"
        )
    reader = {".csv": _csv, ".tsv": _tsv, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: a manifest is a .csv, .tsv or .parquet file, not {path.suffix!r}"
        )
    lines = reader(path)
    first = ",".join(lines[0][1]) if lines else ""
    if reader is not _parquet and has_semicolons(first, COLUMNS):
        raise UserError(
            f"{path} starts with {first[:80]!r}: its columns are separated by "
            "semicolons, and must be by commas (.csv) or tabs (.tsv): save it again "
            "with one of these"
        )
    names = [name.lower() for name in lines[0][1]] if lines else []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise UserError(
            f"{path}: no column {' or '.join(missing)}; it has "
            f"{', '.join(names) or 'none'}. A manifest needs {', '.join(COLUMNS)} and "
            f"may have {', '.join(OPTIONAL)}"
        )
    if len(set(names)) < len(names):
        raise UserError(f"{path}: a column is there twice ({', '.join(names)})")
    if problem := ambiguous(names, [("split", "subset")]):
        raise UserError(f"{path}: {problem}")
    names = ["split" if name == "subset" else name for name in names]
    unused = [name for name in names if name not in (*COLUMNS, *OPTIONAL)]
    if unused:
        result.notes.append(f"{path.name}: columns not used: {', '.join(unused)}")
    for number, line in lines[1:]:
        if len(line) == len(names):
            yield number, dict(zip(names, line, strict=True))
        else:
            result.problems.append(
                f"{path.name}, line {number}: {len(line)} cells; {len(names)} "
                "expected, as in the header"
            )


def _csv(path: Path, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    numbered = read_lines(path)
    cells = split_cells(numbered, delimiter, name=path)
    return [(n, row) for (n, _), row in zip(numbered, cells, strict=True) if any(row)]


def _tsv(path: Path) -> list[tuple[int, list[str]]]:
    return _csv(path, "\t")


def _parquet(path: Path) -> list[tuple[int, list[str]]]:
    import pyarrow
    import pyarrow.parquet  # half a second to import; needed only here

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error})") from None
    columns = [
        ["" if value is None else str(value).strip() for value in column.to_pylist()]
        for column in table.columns
    ]
    rows = [table.column_names, *map(list, zip(*columns, strict=True))]
    return list(enumerate(rows, 1))


def _row(cells: dict[str, str]) -> tuple[Row | None, str]:
    """Returns the utterance of a line, or None and what is wrong with the line."""
    label = LABEL_WORDS.get(cells["label"].lower())
    split, attack = cells.get("split", "eval"), cells["attack"]
    if label is None:
        numeric = f": {NUMERIC}" if cells["label"] in ("0", "1") else ""
        expected = f"one of {', '.join(LABEL_WORDS)} expected{numeric}"
        return None, f"label {cells['label']!r}; {expected}"
    if not cells["path"]:
        return None, "no path"
    if not split:
        return None, "no split; every line needs one if the table has such a column"
    if not re.fullmatch(r"\w+", split) or split.lower() == "all":
        expected = "letters, digits and _ expected, but not 'all'"
        return None, f"split {split!r}; {expected}"
    if not label and attack.lower() in NO_NAMES:
        expected = "a name expected, or an empty cell if it is unknown"
        return None, f"attack {attack!r}; {expected}"
    if problem := _contradiction(label, attack):
        return None, problem
    name = "bonafide" if label else "spoof"
    default = str(Path(cells["path"]).with_suffix(""))
    row = Row(
        utterance=word(cells.get("utterance") or default),
        path=cells["path"],
        label=name,
        attack=attack_of(name, attack),
        speaker=word(cells.get("speaker") or NOT_STATED),
        split=split,
        codec=word(cells.get("codec") or NOT_STATED),
        language=word(cells.get("language") or NOT_STATED),
    )
    return row, ""


def _contradiction(label: int, attack: str) -> str:
    """Returns why an attack cannot have a label (1 bona fide); "" if it can."""
    means = LABEL_WORDS.get(attack.lower())  # "bonafide" stands for no attack, too
    if label and attack not in ("", NO_ATTACK) and not means:
        if attack.lower() in NO_NAMES:
            return ""
        return (
            f"bona fide with the attack {attack!r}; write {NO_ATTACK} as its attack, "
            "or label it spoof if it is synthetic"
        )
    if not label and means:
        return (
            f"spoof with the attack {attack!r}; write the synthesiser's name, or label "
            "it bonafide if it is human"
        )
    return ""
