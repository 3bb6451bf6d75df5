"""The protocol files of the public corpora: text in, rows out.

Every parser takes the text of one file and the split it lists (ignored where the lines
say it themselves) and returns its rows and a message for every line that it could not
use. Paths are relative to the folder of the recordings.
"""

import csv
from collections.abc import Callable
from pathlib import PurePosixPath

from mldg_jax.data.schema import NOT_STATED, Row, attack_of, word

Parsed = tuple[list[Row], list[str]]
Parser = Callable[[str, str], Parsed]

SUBSETS_2021 = ("eval", "progress", "hidden_track")
FAKEAVCELEB_TYPES = (
    "RealVideo-RealAudio",
    "RealVideo-FakeAudio",
    "FakeVideo-RealAudio",
    "FakeVideo-FakeAudio",
)
_LANGUAGES = {"E": "en", "F": "fi", "G": "de", "M": "zh"}  # of the VCC 2020 speakers


def asvspoof2019(text: str, split: str) -> Parsed:
    """``LA_0081 LA_T_3727749 - A01 spoof``: speaker, utterance, –, attack, key."""

    def row(p: list[str]) -> Row:
        attack = attack_of(p[4], p[3])
        return Row(p[1], f"{p[1]}.flac", p[4], attack, p[0], split, language="en")

    return _table(text, 5, {4: ("bonafide", "spoof")}, row)


def asvspoof2021_la(text: str, split: str) -> Parsed:
    """``LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval``.

    Speaker, trial, codec, transmission, attack, key, trimming, subset.
    """

    def row(p: list[str]) -> Row:
        attack = attack_of(p[5], p[4])
        return Row(p[1], f"{p[1]}.flac", p[5], attack, p[0], p[7], p[2], "en")

    return _table(text, 8, {5: ("bonafide", "spoof"), 7: SUBSETS_2021}, row)


def asvspoof2021_df(text: str, split: str) -> Parsed:
    """13 columns, as ``LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress
    traditional_vocoder - - - -``.

    Speaker, trial, codec, source, attack, key, trimming, subset, vocoder, task, team,
    gender pair, language. The attack of a row is its vocoder type, by which the
    organisers break down their results: the attack column holds over a hundred teams.
    """

    def row(p: list[str]) -> Row:
        attack = attack_of(p[5], p[8])
        language = _LANGUAGES.get(p[12], "en")
        return Row(p[1], f"{p[1]}.flac", p[5], attack, p[0], p[7], p[2], language)

    return _table(text, 13, {5: ("bonafide", "spoof"), 7: SUBSETS_2021}, row)


def asvspoof5(text: str, split: str) -> Parsed:
    """``D_4461 D_0000000169 F - - - AC1 A14 spoof -``, spaces or tabs.

    Speaker, utterance, gender, codec, its quality and seed, attack tag, attack, key, –.
    """

    def row(p: list[str]) -> Row:
        attack = attack_of(p[8], p[7])
        return Row(p[1], f"{p[1]}.flac", p[8], attack, p[0], split, p[3], "en")

    return _table(text, 10, {8: ("bonafide", "spoof")}, row)


def in_the_wild(text: str, split: str) -> Parsed:
    """``meta.csv``: file, speaker, label ("bona-fide" or "spoof"). No attacks."""
    rows, problems = [], []
    lines = _csv(text)
    for number, p in lines[1:]:
        label = {"bona-fide": "bonafide", "spoof": "spoof"}.get(p[-1])
        if len(p) != 3 or label is None:
            problems.append(_bad(number, p, "file, speaker, bona-fide or spoof"))
            continue
        name = PurePosixPath(p[0]).stem
        row = Row(name, p[0], label, attack_of(label, ""), word(p[1]), split)
        rows.append(row._replace(language="en"))
    return rows, problems


def fakeavceleb(text: str, split: str) -> Parsed:
    """``meta_data.csv``; the label is that of the audio, the attack is the method.

    Known header: source, target1, target2, method, category, type, race, gender, path
    and a last column without a name that holds the folder. The folder and the file are
    recognised by what they look like, wherever they are.
    """
    rows, problems = [], []
    lines = _csv(text)
    names = lines[0][1] if lines else []
    header = {name.lower(): i for i, name in enumerate(names)}
    for number, p in lines[1:]:
        path = _fakeavceleb_path(p)
        if path is None or "source" not in header:
            problems.append(_bad(number, p, "a source, a folder and an .mp4"))
            continue
        label = "bonafide" if path.parts[0].endswith("RealAudio") else "spoof"
        method = p[header["method"]] if "method" in header else ""
        rows.append(
            Row(
                utterance=word(str(path.with_suffix(""))),
                path=str(path),
                label=label,
                attack=attack_of(label, method),
                speaker=word(p[header["source"]]),
                split=split,
                codec=NOT_STATED,
                language="en",
            )
        )
    return rows, problems


def _fakeavceleb_path(cells: list[str]) -> PurePosixPath | None:
    """TYPE/RACE/GENDER/ID/FILE.mp4 out of the cells of a line."""
    folder = file = None
    for cell in cells:
        if "/" in cell:
            parts = PurePosixPath(cell).parts
            types = [i for i, part in enumerate(parts) if part in FAKEAVCELEB_TYPES]
            if types:
                folder = PurePosixPath(*parts[types[0] :])
        if cell.lower().endswith(".mp4"):
            file = PurePosixPath(cell).name
    if folder is None or file is None:
        return None
    return folder if folder.name == file else folder / file


def _table(
    text: str,
    columns: int,
    allowed: dict[int, tuple[str, ...]],
    row: Callable[[list[str]], Row],
) -> Parsed:
    """Rows of a file whose columns are separated by white space."""
    rows, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != columns:
            problems.append(_bad(number, parts, f"{columns} columns"))
            continue
        wrong = [i for i, values in allowed.items() if parts[i] not in values]
        if wrong:
            values = " or ".join(allowed[wrong[0]])
            problems.append(_bad(number, [parts[wrong[0]]], values))
            continue
        rows.append(row(parts))
    return rows, problems


def _csv(text: str) -> list[tuple[int, list[str]]]:
    """Lines of a CSV file that are not empty, with their numbers; first the header."""
    return [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(csv.reader(text.splitlines()), 1)
        if any(cells)
    ]


def _bad(number: int, found: list[str], expected: str) -> str:
    return f"line {number}: {' '.join(found)[:80]!r}; {expected} expected"
