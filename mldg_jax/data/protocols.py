"""The formats of protocols and key files: the table ``FORMATS`` and its reader.

Builders of corpora read the rows of a protocol (``read_rows``), ``mldg evaluate`` the
columns of a key file (``read_columns``). Both report lines that they cannot use.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mldg_jax.common.columns import (
    ambiguous,
    delimiter_of,
    split_cells,
    split_columns,
)
from mldg_jax.common.text_files import split_lines
from mldg_jax.data import fakeavceleb
from mldg_jax.data.schema import LABELS, NOT_STATED, Row, attack_of, word

LABEL_WORDS = {
    **dict.fromkeys(("bonafide", "bona-fide", "bona_fide", "bona fide"), 1),
    **dict.fromkeys(("genuine", "real", "human"), 1),
    **dict.fromkeys(("spoof", "spoofed", "fake", "deepfake"), 0),
}
"""Words for the two labels, in files of unknown origin."""
NUMERIC = "half of the field has 1 for spoof, so numbers are not read as labels"
UTTERANCE_NAMES = (
    "utterance", "filename", "file", "trial", "trial_anon", "utt", "name", "path"
)  # fmt: skip
LABEL_NAMES = ("label", "cm-label", "cm_label", "key")
ALIASES = {
    "attack_anon": "attack", "attack_type": "attack", "spk": "speaker",
    "tar_spk_anon": "speaker", "split": "subset", "lang": "language",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ProtocolFormat:
    """The format of a protocol: how to recognise it and what its columns mean.

    Attributes:
      name: name of the format in messages.
      layout: names of the columns, "_" for one that is dropped; "" to use the names in
        the header. A file without a header is recognised by the number of columns and
        the position of the label.
      header: for a file with a header, the columns that identify it, each as a tuple of
        its possible names.
      derive: function from the cells of a line by the header's names to the columns of
        ``layout``; it returns None if the line does not fit.
      needs: description of what ``derive`` needs, for messages.
      labels: words for spoof and bona fide; key files may also use ``LABEL_WORDS``.
      subsets: values of the column ``subset``, if that is the split.
      attack: name of the column that holds the attack.
      suffix: suffix of the recordings, which the names of utterances may omit.
      languages: values of the column ``language`` with their ISO 639-1 codes; any other
        value is English.
    """

    name: str
    layout: str = ""
    header: tuple[tuple[str, ...], ...] = ()
    derive: Callable[[dict[str, str]], list[str] | None] | None = None
    needs: str = ""
    labels: tuple[str, str] = LABELS
    subsets: tuple[str, ...] = ()
    attack: str = "attack"
    suffix: str = ".flac"
    languages: tuple[tuple[str, str], ...] = ()

    def matches(self, first: str, name: str | Path = "the table") -> bool:
        """Returns whether a key file is of this format.

        Args:
          first: first line of the file.
          name: the file, for messages.

        Returns:
          True if the line fits.
        """
        if self.header:
            names = {
                cell.lower() for _, cells in _split([first], name) for cell in cells
            }
            return all(names & set(column) for column in self.header)
        cells, names = first.split(), self.layout.split()
        if len(cells) != len(names):
            return False
        return cells[names.index("label")].lower() in LABEL_WORDS


# The column names follow the corpora's readmes and the challenges' scripts.
ASVSPOOF2019 = ProtocolFormat(  # LA_0081 LA_T_3727749 - A01 spoof
    "ASVspoof 2019 protocol", "speaker utterance environment attack label"
)
ASVSPOOF2019_SCORES = ProtocolFormat(  # score files that include the keys
    "ASVspoof 2019 scores", "utterance attack label _"
)
ASVSPOOF2021_LA = ProtocolFormat(
    # LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval
    "ASVspoof 2021 LA",
    "speaker utterance codec transmission attack label trim subset",
    subsets=("eval", "progress", "hidden_track"),
)
ASVSPOOF2021_PA = dataclasses.replace(
    ASVSPOOF2021_LA,
    name="ASVspoof 2021 PA",
    layout="speaker utterance asv_room asv_mic distance attacker_room attacker_mic "
    "attacker_distance replay_distance label trim subset",
)
ASVSPOOF2021_DF = dataclasses.replace(
    ASVSPOOF2021_LA,
    # LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress
    # traditional_vocoder - - - -
    name="ASVspoof 2021 DF",
    layout="speaker utterance codec source attack label trim subset vocoder task team "
    "gender language",
    # As in the organisers' results; the column "attack" has over a hundred teams.
    attack="vocoder",
    # Languages of the VCC 2020 speakers.
    languages=(("E", "en"), ("F", "fi"), ("G", "de"), ("M", "zh")),
)
ASVSPOOF5 = ProtocolFormat(
    # D_4461 D_0000000169 F - - - AC1 A14 spoof -, separated by spaces or tabs. The
    # codec's seed and the attack's tag are dropped.
    "ASVspoof 5",
    "speaker utterance gender codec codec_quality _ _ attack label _",
)
PAIRS = ProtocolFormat("utterance and label", "utterance label")
FAKEAVCELEB = ProtocolFormat(
    # id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/
    # RealVideo-RealAudio/African/men/id00076
    "FakeAVCeleb",
    "utterance label attack speaker race",
    header=(("source",), ("method",), ("type",), ("path",)),
    derive=fakeavceleb.columns,
    needs="a source, a folder and an .mp4",
    labels=("FakeAudio", "RealAudio"),
    suffix=".mp4",
)
TABLE = ProtocolFormat("table with a header", header=(UTTERANCE_NAMES, LABEL_NAMES))
IN_THE_WILD = dataclasses.replace(  # 0.wav,Alec Guinness,spoof under a header
    TABLE, name="In-the-Wild", labels=("spoof", "bona-fide"), suffix=".wav"
)
FORMATS = (
    *(ASVSPOOF2019, ASVSPOOF2019_SCORES, ASVSPOOF2021_LA, ASVSPOOF2021_PA),
    *(ASVSPOOF2021_DF, ASVSPOOF5, PAIRS, FAKEAVCELEB, TABLE),
)
"""Formats of key files; the first match counts. In-the-Wild's keys are a ``TABLE``."""


class ProtocolColumns(NamedTuple):
    """The lines of a protocol that fit its format, in their order.

    Attributes:
      label: n labels, 1 for bona fide, 0 for spoof.
      cells: the other columns by name, with n cells each, as in the file.
      problems: messages about the lines that do not fit.
    """

    label: list[int]
    cells: dict[str, Sequence[str]]
    problems: list[str]


def read_rows(
    format: ProtocolFormat, text: str, split: str, name: str | Path = "the table"
) -> tuple[list[Row], list]:
    """Reads the protocol of a corpus, accepting only the format's own labels.

    Args:
      format: format of the file.
      text: contents of the file.
      split: split of the utterances; ignored if the lines name their subset.
      name: the file, for messages.

    Returns:
      Rows, with paths relative to the folder of the recordings, and a message for
      every line that cannot be used.
    """
    label, cells, problems = read_columns(format, text, strict=True, name=name)
    names = ("utterance", format.attack, "speaker", "subset", "codec", "language")
    columns = [cells.get(x, [NOT_STATED] * len(label)) for x in names]
    languages, rows = dict(format.languages), []
    for code, utterance, attack, speaker, subset, codec, language in zip(
        label, *columns, strict=True
    ):
        stem = utterance.removesuffix(format.suffix)
        rows.append(
            Row(
                utterance=word(stem),
                path=stem + format.suffix,
                label=LABELS[code],
                attack=attack_of(LABELS[code], attack),
                speaker=word(speaker),
                split=subset.lower() if format.subsets else split,
                codec=codec,
                language=languages.get(language, "en"),
            )
        )
    return rows, problems


def read_columns(
    format: ProtocolFormat,
    text: str,
    *,
    strict: bool = False,
    name: str | Path = "the table",
) -> ProtocolColumns:
    """Reads the columns of a protocol or a key file.

    Args:
      format: format of the file.
      text: contents of the file.
      strict: accept only the format's own labels and subsets.
      name: the file, for messages.

    Returns:
      The columns of the lines that fit.
    """
    accepted = {"label": {x.lower(): code for code, x in enumerate(format.labels)}}
    if not strict:
        accepted["label"] |= LABEL_WORDS
    elif format.subsets:
        accepted["subset"] = dict.fromkeys(format.subsets, 1)
    lines, names, problems = split_lines(text), format.layout.split(), []
    table = None
    if not format.header:
        table = split_columns([line for line in lines if line.strip()], len(names))
    if table is None or not all(
        {cell.lower() for cell in set(table[names.index(column)])} <= words.keys()
        for column, words in accepted.items()
    ):
        names, rows, problems = _rows(format, _split(lines, name), accepted)
        table = list(zip(*rows, strict=True)) or [()] * len(names)
    cells: dict[str, Sequence[str]] = dict(zip(names, table, strict=True))
    label = [accepted["label"][cell.lower()] for cell in cells.pop("label", ())]
    return ProtocolColumns(label, cells, problems)


def _rows(
    format: ProtocolFormat,
    numbered: Sequence[tuple[int, list[str]]],
    accepted: Mapping[str, Mapping],
) -> tuple[list[str], list[Sequence[str]], list[str]]:
    """Returns column names, the lines that fit, and messages about the others."""
    header = _header(format, numbered) if format.header and numbered else []
    names = format.layout.split() or header
    if (
        problem := header
        and not format.layout
        and ambiguous([cell.lower() for cell in numbered[0][1]], format.header)
    ):
        return names, [], [f"line {numbered[0][0]}: {problem}"]
    if numbered and not {"utterance", "label"} <= set(names):
        number, cells = numbered[0]
        expected = "a header with an utterance and a label expected"
        return names, [], [f"line {number}: {_quote(cells)}; {expected}"]
    rows, problems = [], []
    for number, cells in numbered[bool(header) :]:
        row = cells
        if format.derive is not None:
            row = format.derive(dict(zip(header, cells, strict=False)))
        if row is None:
            problems.append(f"line {number}: {_quote(cells)}; {format.needs} expected")
        elif problem := _problem(format, names, row, accepted):
            problems.append(f"line {number}: {problem}")
        else:
            rows.append(row)
    return names, rows, problems


def _problem(
    format: ProtocolFormat,
    names: list[str],
    cells: Sequence[str],
    accepted: Mapping[str, Mapping],
) -> str:
    """Returns a message about a line that does not fit; "" if it does."""
    if len(cells) != len(names):
        return f"{_quote(cells)}; {len(names)} columns expected ({', '.join(names)})"
    for name, words in accepted.items():
        cell = cells[names.index(name)]
        if cell.lower() not in words:
            expected = format.labels[::-1] if name == "label" else format.subsets
            numeric = f": {NUMERIC}" if name == "label" and cell in ("0", "1") else ""
            return (
                f"{_quote([cell])}; {' or '.join(expected)} expected as {name}{numeric}"
            )
    return ""


def _quote(cells: Sequence[str]) -> str:
    return repr(" ".join(cells)[:80])


def _header(
    format: ProtocolFormat, numbered: Sequence[tuple[int, list[str]]]
) -> list[str]:
    """Returns the names in a header; for a ``TABLE``, as the other formats use them."""
    header = [name.lower() for name in numbered[0][1]]
    if len(numbered) > 1 and len(numbered[1][1]) == len(header) + 1:
        header.append("")  # FakeAVCeleb's last column has no name
    if format.layout:
        return header
    for name, aliases in zip(("utterance", "label"), format.header, strict=True):
        for alias in [alias for alias in aliases if alias in header][:1]:
            header[header.index(alias)] = name
    return [ALIASES.get(name, name) for name in header]


def _split(lines: Sequence[str], name: str | Path) -> list[tuple[int, list[str]]]:
    """Returns the numbers, from 1, and the cells of the lines that are not blank."""
    first = next((line for line in lines if line.strip()), "")
    rows = map(str.split, lines)
    if delimiter := delimiter_of(first):
        rows = split_cells(enumerate(lines, 1), delimiter, name=name)
    return [(n, cells) for n, cells in enumerate(rows, 1) if any(cells)]
