"""Reads any corpus from a table: CSV, TSV or Parquet with one line per utterance.

The columns ``path``, ``label`` and ``attack`` are required; ``utterance``, ``speaker``,
``split``, ``codec`` and ``language`` are optional; others are ignored. Paths are
absolute or relative to the folder of the table. The default split is "eval".
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from mldg_jax.common.columns import split_cells
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_lines
from mldg_jax.data.corpora.listing import Listing
from mldg_jax.data.protocols import LABEL_WORDS, NUMERIC
from mldg_jax.data.schema import NOT_STATED, Row, attack_of, word

COLUMNS = ("path", "label", "attack")
OPTIONAL = ("utterance", "speaker", "split", "codec", "language")


def scan(path: str | Path) -> Listing:
    """Reads a table and looks for its recordings.

    Args:
      path: a .csv, .tsv or .parquet file.

    Returns:
      The utterances with and without a recording, and the lines that are unusable.

    Raises:
      UserError: the file does not exist or is not a table, a column is missing, or no
        line is usable.
    """
    path = Path(path)
    # Of the path as it is given: a link may lead into a cache of nameless files.
    root = path.absolute().parent
    result = Listing(root, [], [], {}, [], [])
    seen = set()
    for number, cells in _table(path, result.problems):
        row = _row(number, cells, result.problems)
        if row is None:
            continue
        if row.utterance in seen:
            result.problems.append(f"line {number}: {row.utterance} is listed twice")
            continue
        seen.add(row.utterance)
        exists = (root / row.path).is_file()
        (result.rows if exists else result.missing).append(row)
    if not seen:
        raise UserError(f"{path}: no utterance in it. {'; '.join(result.problems[:3])}")
    return result


def sha256_of(path: str | Path) -> str:
    """Computes the fingerprint of a table.

    Args:
      path: the table.

    Returns:
      SHA-256 of the file in hexadecimal; "" if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        return ""
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


def _table(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the number of each line and its cells by the columns' lower-case names."""
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such file. --source is a CSV, TSV or Parquet file "
            f"with the columns {', '.join(COLUMNS)}"
        )
    reader = {".csv": _csv, ".tsv": _tsv, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: a manifest is a .csv, .tsv or .parquet file, not {path.suffix!r}"
        )
    lines = reader(path)
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
    for number, line in lines[1:]:
        if len(line) == len(names):
            yield number, dict(zip(names, line, strict=True))
        else:
            problems.append(
                f"line {number}: {len(line)} cells; {len(names)} expected, as in the "
                "header"
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


def _row(number: int, cells: dict[str, str], problems: list[str]) -> Row | None:
    label = LABEL_WORDS.get(cells["label"].lower())
    split = cells.get("split") or "eval"
    if label is None:
        numeric = f": {NUMERIC}" if cells["label"] in ("0", "1") else ""
        problems.append(
            f"line {number}: label {cells['label']!r}; one of "
            f"{', '.join(LABEL_WORDS)} expected{numeric}"
        )
    elif not cells.get("path"):
        problems.append(f"line {number}: no path")
    elif not re.fullmatch(r"\w+", split) or split.lower() == "all":
        problems.append(
            f"line {number}: split {split!r}; letters, digits and _ expected, but not "
            "'all'"
        )
    else:
        name = "bonafide" if label else "spoof"
        default = str(Path(cells["path"]).with_suffix(""))
        return Row(
            utterance=word(cells.get("utterance") or default),
            path=cells["path"],
            label=name,
            attack=attack_of(name, cells.get("attack", "")),
            speaker=word(cells.get("speaker") or NOT_STATED),
            split=split,
            codec=word(cells.get("codec") or NOT_STATED),
            language=word(cells.get("language") or NOT_STATED),
        )
    return None
