"""Key files: what each trial is, in the formats of the corpora.

A key file is told by its first line: the protocols of ASVspoof 2019 and 5, the
trial_metadata.txt of 2021 (LA, PA, DF), In-the-Wild's meta.csv, FakeAVCeleb's
meta_data.csv, a score file of ASVspoof 2019 (which carries its keys), or any file with
a header that has a column for the utterance and one for the label.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, NO_ATTACK
from mldg_jax.scoring.score_files import (
    LABELS,
    UTTERANCE_NAMES,
    column,
    read_lines,
    split_columns,
    split_rows,
)

UNKNOWN = "-"  # what the protocols write where they say nothing
LABEL_NAMES = ("label", "cm-label", "cm_label", "key")
ALIASES = {
    "attack_anon": "attack", "attack_type": "attack", "spk": "speaker",
    "tar_spk_anon": "speaker", "split": "subset", "lang": "language",
}  # fmt: skip

# Columns of the protocols without a header, as their readmes and the challenges'
# scripts name them. "_" is not kept.
LAYOUTS = {
    "ASVspoof 2019 protocol": "speaker utterance environment attack label",
    "ASVspoof 2019 scores": "utterance attack label _",
    "ASVspoof 2021 LA": "speaker utterance codec transmission attack label trim subset",
    "ASVspoof 2021 PA": "speaker utterance asv_room asv_mic distance attacker_room "
    "attacker_mic attacker_distance replay_distance label trim subset",
    "ASVspoof 2021 DF": "speaker utterance codec source attack label trim subset "
    "vocoder task team gender language",
    "ASVspoof 5": "speaker utterance gender codec codec_quality _ _ attack label _",
    "utterance and label": "utterance label",
}


class Keys(NamedTuple):
    """Trials in the order of the key file.

    Attributes:
      utterance: (n,) str.
      label: (n,) int32, 1 bona fide, 0 spoof.
      columns: what else is known, by name, each (n,) str: attack ("-" for bona fide),
        speaker, codec, language, subset, …; a column that says nothing is left out.
      format: for messages, e.g. "ASVspoof 2021 LA".
    """

    utterance: np.ndarray
    label: np.ndarray
    columns: dict[str, np.ndarray]
    format: str

    def take(self, rows: np.ndarray) -> "Keys":
        """Selects rows by a mask or by indices."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Keys(self.utterance[rows], self.label[rows], columns, self.format)


def read(path: str | Path) -> Keys:
    """Reads a key file; see the module for what it may be.

    Raises:
      UserError: no such file, no format it could be, or a line that does not fit.
    """
    lines = read_lines(path)
    cells = lines[0].split()
    for format, layout in LAYOUTS.items():
        names = layout.split()
        place = names.index("label")
        if len(names) == len(cells) and cells[place].lower() in LABELS:
            table = split_columns(lines, len(names))
            if table is None or not set(map(str.lower, table[place])) <= set(LABELS):
                rows = [line.split() for line in lines]
                table = _checked(path, format, names, rows)
            return _keys(path, format, dict(zip(names, table, strict=True)))
    header, rows = split_rows(lines)
    if rows and len(rows[0]) == len(header) + 1:
        header = [*header, ""]  # FakeAVCeleb's last column has no name
    if {"source", "method", "type", "path"} <= set(header):
        return _fakeavceleb(path, header, rows)
    if set(header) & set(UTTERANCE_NAMES) and set(header) & set(LABEL_NAMES):
        header[column(header, UTTERANCE_NAMES, path)] = "utterance"
        header[column(header, LABEL_NAMES, path)] = "label"
        names, format = [ALIASES.get(x, x) for x in header], "table with a header"
        table = _checked(path, format, names, rows)
        return _keys(path, format, dict(zip(names, table, strict=True)))
    raise UserError(
        f"{path} starts with {lines[0].strip()[:80]!r}, which is no line of a key file "
        f"({', '.join(LAYOUTS)}) and no header with a column for the utterance and one "
        "for the label. A list of ids alone is not enough: the keys of ASVspoof 2021 "
        "are in keys/LA/CM/trial_metadata.txt"
    )


def subset(keys: Keys, name: str | None = None) -> Keys:
    """The trials of one subset; by default "eval" where there are several.

    Args:
      keys: of `read`.
      name: a subset, or "all".

    Raises:
      UserError: there is no such subset, or none is called eval and one must be named.
    """
    there = sorted(set(keys.columns.get("subset", np.array([])).tolist()))
    if name == "all" or (name is None and len(there) < 2):
        return keys
    if (name or "eval") not in there:
        has = f"the subsets {', '.join(there)}" if there else "no subsets"
        raise UserError(
            f"the key file has {has}, so not {name or 'eval'!r}: choose one with "
            "--subset, or --subset all"
        )
    return keys.take(keys.columns["subset"] == (name or "eval"))


def _checked(
    path: str | Path, format: str, names: list[str], rows: list[list[str]]
) -> list[Sequence[str]]:
    """The columns of rows, all of which must fit."""
    label = names.index("label")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names) or row[label].lower() not in LABELS:
            raise UserError(
                f"{path}: entry {number:,} is {' '.join(row)[:80]!r}, but {format} has "
                f"{len(names)} columns with bonafide or spoof in column {label + 1}; "
                "mend that line or get the file again"
            )
    return list(zip(*rows, strict=True))


def _keys(path: str | Path, format: str, table: dict[str, Sequence[str]]) -> Keys:
    names, labels = table.pop("utterance"), table.pop("label")
    if len(set(names)) < len(names):
        name, times = Counter(names).most_common(1)[0]
        raise UserError(
            f"{path} has {len(names) - len(set(names)):,} trials more than once "
            f"({name}: {times} times); keep one line an utterance"
        )
    codes = np.array([LABELS[x.lower()] for x in labels], np.int32)
    columns = _known(table, codes == BONAFIDE)
    return Keys(np.array(names, str), codes, columns, format)


def _known(table: dict[str, Sequence[str]], real: np.ndarray) -> dict[str, np.ndarray]:
    """The columns that say something."""
    columns = {}
    for name, values in table.items():
        if name in ("", "_", UNKNOWN):
            continue
        cells = np.array(values, str)
        cells[cells == ""] = UNKNOWN
        if name == "attack":
            cells = np.where(real, NO_ATTACK, cells)
            if np.any(cells != UNKNOWN):
                cells = np.where(~real & (cells == UNKNOWN), "unknown", cells)
        if np.any(cells != UNKNOWN):
            columns[name] = cells
    return columns


def _fakeavceleb(path: str | Path, header: list[str], rows: list[list[str]]) -> Keys:
    """The label is that of the audio; a trial is named folder/file.

    A line is `id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/
    RealVideo-RealAudio/African/men/id00076`: the last column has no name.
    """
    made = []
    for number, row in enumerate(rows, 1):
        cells = dict(zip(header, row, strict=False))
        audio = cells.get("type", "").lower().rpartition("-")[2]
        if audio not in ("realaudio", "fakeaudio"):
            raise UserError(
                f"{path}: entry {number:,} is {','.join(row)[:80]!r}, whose type ends "
                "in neither RealAudio nor FakeAudio; mend that line"
            )
        folder = cells.get("", "").strip("/").partition("/")[2]
        attack = NO_ATTACK if audio == "realaudio" else cells["method"]
        name = f"{folder}/{cells['path']}".lstrip("/")
        kind = "bonafide" if audio == "realaudio" else "spoof"
        made.append([name, kind, attack, cells["source"], cells.get("race", "")])
    names = ["utterance", "label", "attack", "speaker", "race"]
    columns = zip(*made, strict=True)
    return _keys(path, "FakeAVCeleb", dict(zip(names, columns, strict=True)))
