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
from mldg_jax.common.columns import is_number, split_columns
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.data.protocols import LABEL_NAMES, LABEL_WORDS, UTTERANCE_NAMES
from mldg_jax.data.schema import BONAFIDE, NO_ATTACK
from mldg_jax.scoring.score_formats import (
    FORMATS,
    SCORE_NAMES,
    check_semicolons,
    column,
    detect,
    misfit,
    split_rows,
    with_header,
)

NO_LABEL = -1


class Scores(NamedTuple):
    """The lines of a score file, in its order.

    Attributes:
      utterance: (n,) str.
      score: (n,) float64, may contain NaN or infinities.
      label: (n,) int32, 1 bona fide, 0 spoof, ``NO_LABEL`` if a table's column has
        another word; None if the file has no labels.
      attack: (n,) str, "-" for bona fide; None unless the format is asvspoof2019.
      format: one of ``FORMATS``.
      ended: whether the last line ends with a newline; if not, it may be cut off.
    """

    utterance: np.ndarray
    score: np.ndarray
    label: np.ndarray | None
    attack: np.ndarray | None
    format: str
    ended: bool = True


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
    text = text_files.read_text(path)
    lines = _lines(text, path)
    check_semicolons(lines[0], path)
    if format not in (*FORMATS, "auto"):
        raise UserError(
            f"{format!r} is not a score format: use {', '.join(FORMATS)} or auto"
        )
    format = detect(path, lines[0]) if format == "auto" else format
    if format in ("asvspoof5", "csv"):
        lines = with_header(lines, path) if format == "csv" else lines
        header, rows = split_rows(lines, path)
        names = ("cm-score",) if format == "asvspoof5" else SCORE_NAMES
        places = [column(header, UTTERANCE_NAMES, path), column(header, names, path)]
        if not rows:
            raise UserError(f"{path} has a header but no scores")
        table, problems = _good_rows(format, header, places, rows)
        label = _labels(header, table)
    else:
        label = None
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
    attack = None
    if len(places) == 3:
        label = np.array([LABEL_WORDS[x.lower()] for x in table[places[2]]], np.int32)
        attack = np.where(label == BONAFIDE, NO_ATTACK, np.array(table[1], str))
    values, ended = score.astype(np.float64), text.endswith(("\n", "\r"))
    return Scores(utterance, values, label, attack, format, ended), problems


def _labels(header: list[str], table: list[Sequence[str]]) -> np.ndarray | None:
    """Returns the labels of a table; None without a column that has any."""
    for name in LABEL_NAMES:
        if name in header:
            words = table[header.index(name)]
            codes = [LABEL_WORDS.get(word.lower(), NO_LABEL) for word in words]
            if any(code != NO_LABEL for code in codes):
                return np.array(codes, np.int32)
    return None


def _good_rows(
    format: str, header: list[str], places: list[int], rows: list[list[str]]
) -> tuple[list[Sequence[str]], list[str]]:
    """Returns the columns of the rows that fit, and a message for each other row."""
    good, problems = [], []
    for number, row in enumerate(rows, 1):
        if len(row) == len(header) and _fits([[cell] for cell in row], places):
            good.append(row)
        else:
            expected = misfit(format, header, row, places[1])
            problems.append(f"entry {number:,} is {expected}")
    return list(zip(*good, strict=True)) or [()] * len(header), problems


def _fits(table: Sequence[Sequence[str]], places: list[int]) -> bool:
    """Returns whether all scores are numbers, finite or not, and all labels valid."""
    if not all(map(is_number, table[places[1]])):
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
    return _lines(text_files.read_text(path), path)


def _lines(text: str, path: str | Path) -> list[str]:
    """Returns the lines of a text that are not blank."""
    lines = [line for _, line in text_files.numbered_lines(text, path)]
    if not lines:
        raise UserError(f"{path} is empty: it must hold one line per utterance")
    return lines
