"""Recognises the format of a score file, and names what does not fit it."""

import re
from collections.abc import Sequence
from pathlib import Path

from mldg_jax.common.columns import (
    ambiguous,
    delimiter_of,
    has_semicolons,
    is_number,
    split_cells,
)
from mldg_jax.common.errors import UserError
from mldg_jax.data.protocols import LABEL_NAMES, LABEL_WORDS, UTTERANCE_NAMES

FORMATS = ("asvspoof2019", "asvspoof2021", "asvspoof5", "csv")
SCORE_NAMES = ("cm-score", "cm_score", "score", "llr")
DECIMAL_COMMA = "a number with a decimal comma: write decimal points"
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(e[-+]?\d+)?", re.IGNORECASE | re.ASCII)
_SPOOF_WORDS = re.compile("fake|spoof|synth|prob|attack")


def detect(path: str | Path, first: str) -> str:
    """Returns the format that a file's first line determines.

    Args:
      path: the file, for messages.
      first: its first line.

    Returns:
      One of ``FORMATS``.

    Raises:
      UserError: the line does not fit any format, or more than one.
    """
    cells = first.split()
    if "\t" in first and "cm-score" in cells:
        return "asvspoof5"
    if len(cells) > 1 and _DECIMAL_COMMA.fullmatch(cells[-1]):
        raise UserError(
            f"{path} starts with {first.strip()[:80]!r}: {cells[-1]} looks like "
            f"{DECIMAL_COMMA}; if the comma separates a name from its score, add a "
            "first line: 'utterance,score'"
        )
    if "," in first or any(name in map(str.lower, cells) for name in SCORE_NAMES):
        return "csv"
    if len(cells) == 4 and cells[2].lower() in LABEL_WORDS:
        return "asvspoof2019"
    if len(cells) == 3 and (cells[1].lower() in LABEL_WORDS or is_number(cells[1])):
        raise UserError(
            f"{path} starts with {first.strip()[:80]!r}, three columns of which the "
            "second may be a label or a score: write 'utterance score' only, or use "
            "commas and a header ('utterance,label,score')"
        )
    if len(cells) >= 2 and is_number(cells[-1]):
        return "asvspoof2021"
    raise UserError(
        f"{path} starts with {first.strip()[:80]!r}, which does not fit any "
        "score format: expected 'utterance attack key score' (asvspoof2019), "
        "'utterance score' (asvspoof2021), the header 'filename<TAB>cm-score' "
        "(asvspoof5) or 'utterance,score' (csv)"
    )


def with_header(lines: list[str], path: str | Path) -> list[str]:
    """Adds a header to a CSV file without one: the name is first, the score last.

    Args:
      lines: of the file.
      path: the file, for messages.

    Returns:
      The lines, a header first.

    Raises:
      UserError: there is no header, and more than one column may be the score.
    """
    separator = delimiter_of(lines[0]) or ","
    (cells,) = split_cells([(1, lines[0])], separator, name=path)
    numbers = [is_number(cell) for cell in cells]
    if not any(numbers[1:]):
        return lines
    if len(cells) == 3 and _DECIMAL_COMMA.fullmatch(",".join(cells[1:])):
        raise UserError(
            f"{path} starts with {lines[0].strip()[:80]!r}: {cells[1]},{cells[2]} may "
            f"be {DECIMAL_COMMA}; if these are two columns, add a first line with "
            "their names, such as 'utterance,score,duration'"
        )
    if sum(numbers[1:]) > 1 or not numbers[-1]:
        raise UserError(
            f"{path} starts with {lines[0].strip()[:80]!r} and has no header: "
            "which column is the score? Add a first line: 'utterance,score,label'"
        )
    names = ["label" if cell.lower() in LABEL_WORDS else "-" for cell in cells[1:-1]]
    return [separator.join(["utterance", *names, "score"]), *lines]


def split_rows(lines: list[str], path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Splits a table with a header, separated by tabs, commas or white space.

    Args:
      lines: the header first.
      path: the file, for messages.

    Returns:
      The column names in lower case, and the cells of each other line.
    """
    if delimiter := delimiter_of(lines[0]):
        rows = split_cells(enumerate(lines, 1), delimiter, name=path)
    else:
        rows = [line.split() for line in lines]
    return [name.strip().lower() for name in rows[0]], rows[1:]


def column(header: list[str], names: Sequence[str], path: str | Path) -> int:
    """Returns the position of a column.

    Args:
      header: the file's column names.
      names: possible names of the column, the preferred first.
      path: the file, for the message.

    Returns:
      The index of the one of ``names`` that the header contains.

    Raises:
      UserError: it contains none of them, or more than one.
    """
    if problem := ambiguous(header, [names]):
        raise UserError(f"{path}: {problem}")
    for name in names:
        if name in header:
            return header.index(name)
    fix = "rename one in its first line"
    if "score" in names:
        fix = "give the column of the scores, higher for bona fide, one of these names"
        if spoof := next((x for x in header if _SPOOF_WORDS.search(x)), ""):
            fix += (
                f"; if {spoof!r} is a probability of spoof, write the log-odds of bona "
                "fide, log((1 - p) / p), as 'score'"
            )
    raise UserError(
        f"{path} has the columns {', '.join(header)}, none of which is "
        f"{' or '.join(names)}: {fix}"
    )


def check_semicolons(first: str, path: str | Path) -> None:
    """Checks that semicolons do not separate the columns.

    Args:
      first: the file's first line.
      path: the file, for the message.

    Raises:
      UserError: they do.
    """
    if has_semicolons(first, (*UTTERANCE_NAMES, *LABEL_NAMES, *SCORE_NAMES)):
        raise UserError(
            f"{path} starts with {first.strip()[:80]!r}: separate the columns with "
            "commas instead of semicolons, and write decimal points"
        )


def misfit(format: str, header: Sequence[str], row: Sequence[str], place: int) -> str:
    """Describes a line that does not fit the format of its file.

    Args:
      format: one of ``FORMATS``.
      header: names of the columns.
      row: cells of the line.
      place: index of the score.

    Returns:
      What the line is, and what it should be.
    """
    line = repr(" ".join(row)[:60])
    score = row[place] if place < len(row) else ""
    if place == len(header) - 1 and len(row) == len(header) + 1:
        score = ",".join(row[place:])
    if delimiter_of(score) and _DECIMAL_COMMA.fullmatch(score):
        return f"{line}, with {score}, which looks like {DECIMAL_COMMA}"
    if len(row) == len(header) and score and not is_number(score):
        return f"{line}, with the score {score[:40]!r}, which is not a number"
    return f"{line}, but {format} has {len(header)} columns: {' '.join(header)}"
