"""Keys: the label and the conditions of each trial, in ``data.protocols`` formats."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common.columns import has_semicolons
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_text, split_lines
from mldg_jax.data import protocols
from mldg_jax.data.schema import BONAFIDE, NO_ATTACK, NOT_STATED, UNKNOWN_ATTACK

UNKNOWN = NOT_STATED


class Keys(NamedTuple):
    """Trials in the order of their file.

    Attributes:
      utterance: (n,) str.
      label: (n,) int32, 1 bona fide, 0 spoof.
      columns: further columns by name, each (n,) str: attack ("-" for bona fide),
        speaker, codec, language, subset, …; columns without information are excluded.
      format: for messages, e.g. "ASVspoof 2021 LA".
    """

    utterance: np.ndarray
    label: np.ndarray
    columns: dict[str, np.ndarray]
    format: str

    def take(self, rows: np.ndarray) -> "Keys":
        """Selects trials.

        Args:
          rows: a mask or indices.

        Returns:
          The keys of these trials.
        """
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Keys(self.utterance[rows], self.label[rows], columns, self.format)


def read(path: str | Path) -> Keys:
    """Reads keys from a file; its first line determines the format.

    Args:
      path: a protocol or a table in one of ``protocols.FORMATS``.

    Returns:
      The keys.

    Raises:
      UserError: the file cannot be read, has no known format or a line that does not
        fit it, or lists a trial twice.
    """
    text = read_text(path)
    first = next((line for line in split_lines(text) if line.strip()), None)
    if first is None:
        raise UserError(f"{path} is empty: it must hold one line per utterance")
    format = next((x for x in protocols.FORMATS if x.matches(first, path)), None)
    names = (*protocols.UTTERANCE_NAMES, *protocols.LABEL_NAMES, *protocols.LABEL_WORDS)
    if format is None and has_semicolons(first, names):
        raise UserError(
            f"{path} starts with {first.strip()[:80]!r}: separate the columns with "
            "commas instead of semicolons"
        )
    if format is None and first.replace(",", " ").split()[-1] in ("0", "1"):
        raise UserError(
            f"{path} starts with {first.strip()[:80]!r}: {protocols.NUMERIC}; write "
            "bonafide and spoof"
        )
    if format is None:
        known = [x.name for x in protocols.FORMATS if x is not protocols.TABLE]
        raise UserError(
            f"{path} starts with {first.strip()[:80]!r}, which is neither "
            f"a line of a protocol ({', '.join(known)}) nor a header with a column "
            "for the utterance and one for the label. A list of ids alone is not "
            "enough: the keys of ASVspoof 2021 are in keys/LA/CM/trial_metadata.txt"
        )
    label, cells, problems = protocols.read_columns(format, text, name=path)
    if problems:
        raise UserError(
            f"{path}, {problems[0]}. The file was read as {format.name}: correct that "
            "line, or get the file again"
        )
    names = cells.pop("utterance")
    if not names:
        raise UserError(f"{path} has a header but no trials")
    if len(set(names)) < len(names):
        name, times = Counter(names).most_common(1)[0]
        raise UserError(
            f"{path} repeats {len(names) - len(set(names)):,} trials "
            f"({name}: {times} times); keep one line per utterance"
        )
    codes = np.array(label, np.int32)
    columns = _known(cells, codes == BONAFIDE)
    return Keys(np.array(names, str), codes, columns, format.name)


def subset(
    keys: Keys,
    name: str | None = None,
    default: str = "eval",
    option: str = "--subset",
) -> Keys:
    """Selects the trials of one subset.

    Args:
      keys: from ``read``.
      name: a subset, or "all"; if None, ``default`` if the keys have several subsets.
      default: a subset.
      option: of the command line that chooses the subset, for the message.

    Returns:
      The keys of its trials.

    Raises:
      UserError: the subset does not exist.
    """
    names = sorted(set(keys.columns.get("subset", np.array([])).tolist()))
    if name == "all" or (name is None and len(names) < 2):
        return keys
    chosen = name or default
    if not names:
        raise UserError(
            f"there is no subset {chosen!r}: the keys have no column subset or split; "
            f"omit {option}"
        )
    if chosen not in names:
        raise UserError(
            f"there is no subset {chosen!r}: the keys have the subsets "
            f"{', '.join(names)} (column subset or split); choose one "
            f"with {option}, or {option} all"
        )
    return keys.take(keys.columns["subset"] == chosen)


def _known(
    table: Mapping[str, Sequence[str]], real: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the columns that hold information."""
    columns = {}
    for name, values in table.items():
        if name in ("", "_", UNKNOWN):
            continue
        cells = np.array(values, str)
        cells[cells == ""] = UNKNOWN
        if name == "attack":
            cells = np.where(real, NO_ATTACK, cells)
            if np.any(cells != UNKNOWN):
                cells = np.where(~real & (cells == UNKNOWN), UNKNOWN_ATTACK, cells)
        if np.any(cells != UNKNOWN):
            columns[name] = cells
    return columns
