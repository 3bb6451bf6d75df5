"""Reads and writes score files in the formats of the challenges.

    asvspoof2019   utterance attack key score     (white space, no header)
    asvspoof2021   utterance score                (white space, no header)
    asvspoof5      filename<TAB>cm-score          (header)
    csv            utterance,score                (header; commas or tabs)

A score is higher for bona fide. The challenges' own scripts read the files written
here: tDCF_python_v2 (2019) reads columns 2 to 4 with numpy.genfromtxt, the 2021 package
splits at single spaces, and that of ASVspoof 5 reads ``filename`` and ``cm-score`` by
name and requires exactly the trials of its keys.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common import text_files
from mldg_jax.common.columns import (
    ambiguous,
    delimiter_of,
    split_cells,
    split_columns,
)
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.data.protocols import LABEL_WORDS, UTTERANCE_NAMES
from mldg_jax.data.schema import BONAFIDE, NO_ATTACK

FORMATS = ("asvspoof2019", "asvspoof2021", "asvspoof5", "csv")
SCORE_NAMES = ("cm-score", "cm_score", "score", "llr")


class Scores(NamedTuple):
    """The lines of a score file, in its order.

    Attributes:
      utterance: (n,) str.
      score: (n,) float64, may contain NaN or infinities.
      label: (n,) int32, 1 bona fide, 0 spoof; None if the format has no keys.
      attack: (n,) str, "-" for bona fide; None if the format has no keys.
      format: one of ``FORMATS``.
    """

    utterance: np.ndarray
    score: np.ndarray
    label: np.ndarray | None
    attack: np.ndarray | None
    format: str


def read(path: str | Path, format: str = "auto") -> Scores:
    """Reads a score file.

    Args:
      path: the file.
      format: one of ``FORMATS``, or "auto" to detect it from the first line.

    Returns:
      The scores.

    Raises:
      UserError: the file cannot be read, its format is unknown, or a line does not fit
        it.
    """
    scores, problems = parse(path, format)
    if problems:
        raise UserError(f"{path}: {problems[0]}")
    return scores


def parse(path: str | Path, format: str = "auto") -> tuple[Scores, list[str]]:
    """Reads a score file, and collects the lines that do not fit instead of raising.

    Args:
      path: the file.
      format: as for ``read``.

    Returns:
      The scores of the other lines, and a message for each line that does not fit.

    Raises:
      UserError: the file cannot be read or is empty, or its format is unknown.
    """
    lines = read_lines(path)
    if format not in (*FORMATS, "auto"):
        raise UserError(
            f"{format!r} is not a score format: use {', '.join(FORMATS)} or auto"
        )
    format = _detected(path, lines[0]) if format == "auto" else format
    if format in ("asvspoof5", "csv"):
        lines = _with_header(lines, path) if format == "csv" else lines
        header, rows = split_rows(lines, path)
        names = ("cm-score",) if format == "asvspoof5" else SCORE_NAMES
        places = [column(header, UTTERANCE_NAMES, path), column(header, names, path)]
        table, problems = _good_rows(format, header, places, rows)
    else:
        labelled = format == "asvspoof2019"
        names = "utterance attack key score" if labelled else "utterance score"
        header, places = [*names.split()], [0, 3, 2] if labelled else [0, 1]
        table, problems = split_columns(lines, len(header)), []
        if table is None or not _fits(table, places):
            # A name that is followed only by a score may contain spaces.
            maxsplit = -1 if labelled else 1
            rows = [line.rsplit(maxsplit=maxsplit) for line in lines]
            table, problems = _good_rows(format, header, places, rows)
    utterance, score = np.array(table[places[0]], str), np.array(table[places[1]])
    label = attack = None
    if len(places) == 3:
        label = np.array([LABEL_WORDS[x.lower()] for x in table[places[2]]], np.int32)
        attack = np.where(label == BONAFIDE, NO_ATTACK, np.array(table[1], str))
    return Scores(utterance, score.astype(np.float64), label, attack, format), problems


def _good_rows(
    format: str, header: list[str], places: list[int], rows: list[list[str]]
) -> tuple[list[Sequence[str]], list[str]]:
    """Returns the columns of the rows that fit, and a message for each other row."""
    good, problems = [], []
    expected = f"{format} has {len(header)} columns: {' '.join(header)}"
    for number, row in enumerate(rows, 1):
        if len(row) == len(header) and _fits([[cell] for cell in row], places):
            good.append(row)
        else:
            problems.append(
                f"entry {number:,} is {' '.join(row)[:60]!r}, but {expected}"
            )
    return list(zip(*good, strict=True)) or [()] * len(header), problems


def _fits(table: Sequence[Sequence[str]], places: list[int]) -> bool:
    """Returns whether all scores are numbers, finite or not, and all labels valid."""
    try:
        for text in table[places[1]]:
            float(text)
    except ValueError:
        return False
    return len(places) < 3 or all(x.lower() in LABEL_WORDS for x in table[places[2]])


def write(
    path: str | Path,
    utterances: Sequence[str] | np.ndarray,
    scores: np.ndarray,
    format: str,
    *,
    labels: np.ndarray | None = None,
    attacks: Sequence[str] | np.ndarray | None = None,
) -> None:
    """Writes a score file atomically, with every digit of the scores.

    Args:
      path: the file.
      utterances: n names.
      scores: (n,) higher for bona fide.
      format: one of ``FORMATS``.
      labels: (n,) 1 bona fide, 0 spoof; only for asvspoof2019.
      attacks: n names; only for asvspoof2019.

    Raises:
      UserError: a score is not finite, or the format cannot hold a name.
    """
    scores = np.asarray(scores, np.float64)
    for bad in np.flatnonzero(~np.isfinite(scores))[:1]:
        raise UserError(
            f"the score of {utterances[bad]} is {scores[bad]}: scores must be finite; "
            "check that recording, or exclude it"
        )
    numbers = [repr(x).removesuffix(".0") for x in scores.tolist()]
    if format == "asvspoof2019":
        keys = np.where(np.asarray(labels) == BONAFIDE, "bonafide", "spoof")
        assert attacks is not None
        rows = zip(utterances, attacks, keys, numbers, strict=True)
    else:
        rows = zip(utterances, numbers, strict=True)
    separator = {"asvspoof5": "\t", "csv": ","}.get(format, " ")
    header = {"asvspoof5": "filename\tcm-score\n", "csv": "utterance,score\n"}
    with replacing(path) as part:
        text = header.get(format, "") + _joined(rows, separator)
        part.write_text(text, encoding="utf-8")


def _joined(rows: Iterable[Sequence[str]], separator: str) -> str:
    """Returns the text of rows; refuses cells that would change its columns."""
    if separator == ",":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()
    lines = []
    for row in rows:
        if any(not cell or len(cell.split()) != 1 or "#" in cell for cell in row):
            raise UserError(
                f"{' '.join(row)!r} has an empty cell, a blank or a # in a name, which "
                "the challenge's scripts read as a column or a comment: rename it, or "
                "choose the format csv"
            )
        lines.append(separator.join(row) + "\n")
    return "".join(lines)


def read_lines(path: str | Path) -> list[str]:
    """Reads the lines of a text file that are not blank.

    Args:
      path: the file.

    Returns:
      The lines, at least one.

    Raises:
      UserError: the file cannot be read, is not text, or is empty.
    """
    lines = [line for _, line in text_files.read_lines(path)]
    if not lines:
        raise UserError(f"{path} is empty: it must hold one line per utterance")
    return lines


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
    raise UserError(
        f"{path} has the columns {', '.join(header)}, none of which is "
        f"{' or '.join(names)}: rename one in its first line"
    )


def is_number(text: str) -> bool:
    """Returns whether a text is a number, finite or not.

    Args:
      text: a cell.

    Returns:
      Whether ``float`` accepts it.
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_header(lines: list[str], path: str | Path) -> list[str]:
    """Adds a header to a CSV file without one: the name is first, the score last."""
    separator = delimiter_of(lines[0]) or ","
    (cells,) = split_cells([(1, lines[0])], separator, name=path)
    numbers = [is_number(cell) for cell in cells]
    if not any(numbers[1:]):
        return lines
    if sum(numbers[1:]) > 1 or not numbers[-1]:
        raise UserError(
            f"{path} starts with {lines[0].strip()[:80]!r} and has no header: "
            "which column is the score? Add a first line: 'utterance,score,label'"
        )
    return [separator.join(["utterance", *["-"] * (len(cells) - 2), "score"]), *lines]


def _detected(path: str | Path, first: str) -> str:
    """Returns the format that a file's first line determines."""
    cells = first.split()
    if "\t" in first and "cm-score" in cells:
        return "asvspoof5"
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
