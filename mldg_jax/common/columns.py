"""The columns of tables that users give: split at what separates them, and found."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from mldg_jax.common.errors import UserError


def delimiter_of(first: str) -> str | None:
    """Returns what separates the cells of a table.

    Args:
      first: its first line.

    Returns:
      A tab if the line has one, else a comma if it has one; None for white space.
    """
    return next((character for character in "\t," if character in first), None)


def is_number(text: str) -> bool:
    """Returns whether a text is a number, finite or not.

    Args:
      text: a cell.

    Returns:
      True for what other programs read as a number as well: unlike ``float``, not for
      1_000 or digits other than 0 to 9.
    """
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def has_semicolons(first: str, names: Iterable[str]) -> bool:
    """Returns whether the cells of a table are separated by semicolons.

    Args:
      first: its first line.
      names: names that a column may have.

    Returns:
      True if a cell between semicolons is one of these names, or the last is a number.
    """
    cells = [cell.strip().strip('"').lower() for cell in first.split(";")]
    known = not {*names}.isdisjoint(cells) or is_number(cells[-1].replace(",", "."))
    return len(cells) > 1 and known


def split_columns(lines: Sequence[str], count: int) -> list[list[str]] | None:
    """Splits lines at white space into columns.

    Args:
      lines: the lines.
      count: number of columns.

    Returns:
      ``count`` columns; None if any line has another number of cells.
    """
    if any(len(line.split()) != count for line in lines):
        return None
    # One flat list: a million short lists take three times as long to make and free.
    cells = "\n".join(lines).split()
    return [cells[i::count] for i in range(count)]


def split_cells(
    lines: Iterable[tuple[int, str]], delimiter: str, *, name: str | Path
) -> list[list[str]]:
    """Splits lines into cells, each without blanks around it.

    Commas: a cell that begins with a double quote ends with one, and holds a double
    quote as two (RFC 4180), but no newline. Tabs: quotes mean nothing, as in the tables
    of corpora, whose transcripts have stray ones.

    Args:
      lines: with their numbers, without their ends.
      delimiter: a comma, or another single character.
      name: of the file, for messages.

    Returns:
      A list of cells for every line.

    Raises:
      UserError: a quote that does not end in its line, or a cell too long for ``csv``.
    """
    quoted = delimiter == ","
    rows = []
    for number, line in lines:
        try:
            (row,) = csv.reader(
                [line],
                delimiter=delimiter,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
                skipinitialspace=quoted,
                strict=True,
            )
        except (csv.Error, ValueError) as error:
            raise UserError(f"{name}, line {number}: {error}: {line[:60]!r}") from None
        rows.append([cell.strip() for cell in row])
    return rows


def ambiguous(header: Sequence[str], wanted: Iterable[Sequence[str]]) -> str:
    """Describes columns of which more than one could be meant.

    Args:
      header: names of the columns, in lower case.
      wanted: for each column that is needed, its possible names. "path" beside
        "utterance" is none: manifests have both.

    Returns:
      A message that names both candidates; "" if there is one at most for each.
    """
    for names in wanted:
        found = [name for name in header if name in names]
        if "utterance" in found:
            found = [name for name in found if name != "path"]
        if len(found) > 1:
            return f"the columns {' and '.join(found)} mean the same: keep one of them"
    return ""
