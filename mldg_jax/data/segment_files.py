"""Reads files of segment labels: which parts of which utterance are spoofed.

    .rttm        SPEAKER utterance 1 start duration <NA> <NA> label <NA> <NA>
    .npy         PartialSpoof's: a dictionary of arrays of "0" (spoof) and "1", 20 ms
    .csv, .tsv   utterance, start, end, label under such a header
    other files  lines "utterance start end label"
    a folder     a file for each utterance, named after it, with lines "start end
                 label", as Audacity exports its label tracks

Times are in seconds. Labels are words such as spoof and bonafide; time that no line
names is bona fide.
"""

import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from mldg_jax.common.columns import is_number, split_cells
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_lines
from mldg_jax.data.protocols import LABEL_WORDS
from mldg_jax.data.segment_labels import Interval, merged, of_frames

COLUMNS = ("utterance", "start", "end", "label")
_SPEAKER, _COMMENT = "SPEAKER", ";;"
# What numpy's own pickles of an array of strings name; nothing else is looked up.
_NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),  # of NumPy 1
    ("numpy._core.multiarray", "_reconstruct"),
}

Segments = dict[str, tuple[Interval, ...]]
"""The spoofed parts of each utterance in seconds, rising and disjoint."""


def read(path: str | Path) -> Segments:
    """Reads a file or a folder of segment labels.

    Args:
      path: see above.

    Returns:
      The spoofed parts of every utterance that it names.

    Raises:
      UserError: there is no such file, a line does not fit, or nothing is in it.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return read_npy(path)
    lines = _of_folder(path) if path.is_dir() else _of_file(path)
    parts: dict[str, list[Interval]] = {}
    for name, start, end, is_bonafide in lines:
        listed = parts.setdefault(name, [])
        if not is_bonafide:
            listed.append((start, end))
    if not parts:
        raise UserError(f"{path}: there are no segment labels in it")
    return {name: merged(listed) for name, listed in parts.items()}


def matching(segments: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Finds an utterance in a file of segment labels.

    Args:
      segments: labels by name.
      names: the names that the utterance may have there, the best first.

    Returns:
      The first name that is in the file; None if none is.
    """
    return next((name for name in names if name in segments), None)


def _of_folder(folder: Path) -> Iterator[tuple[str, float, float, int]]:
    for path in sorted(x for x in folder.iterdir() if x.is_file()):
        for number, line in read_lines(path):
            # Audacity adds lines with the frequencies of spectral selections.
            if not line.startswith("\\"):
                yield _line([path.stem, *line.split(maxsplit=2)], path, number)


def _of_file(path: Path) -> Iterator[tuple[str, float, float, int]]:
    lines = read_lines(path)
    delimiter = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    if delimiter:
        table = split_cells(lines, delimiter, name=path)
        rows = [(n, x) for (n, _), x in zip(lines, table, strict=True)]
        names = [x.lower() for x in rows[0][1]] if rows else []
        if missing := [name for name in COLUMNS if name not in names]:
            raise UserError(
                f"{path}: no column {' or '.join(missing)}; segment labels need "
                f"{', '.join(COLUMNS)}"
            )
        order = [names.index(name) for name in COLUMNS]
        for number, cells in rows[1:]:
            fits = len(cells) == len(names)
            yield _line([cells[i] for i in order] if fits else cells[:0], path, number)
        return
    for number, line in lines:
        cells = line.split()
        if path.suffix.lower() == ".rttm":
            if line.startswith(_COMMENT) or cells[0] != _SPEAKER:
                continue
            yield _rttm(cells, path, number)
        elif cells != list(COLUMNS):
            yield _line(cells, path, number)


def _rttm(cells: list[str], path: Path, number: int) -> tuple[str, float, float, int]:
    if len(cells) < 8 or not all(map(is_number, cells[3:5])):
        cells = []
    else:
        end = str(float(cells[3]) + float(cells[4]))
        cells = [cells[1], cells[3], end, cells[7]]
    return _line(cells, path, number)


def _line(cells: list[str], path: Path, number: int) -> tuple[str, float, float, int]:
    """Checks a line: the utterance, start and end in seconds, and the label's word."""
    if len(cells) == 4 and all(map(is_number, cells[1:3])):
        start, end = map(float, cells[1:3])
        label = LABEL_WORDS.get(cells[3].strip().lower().partition(" ")[0])
        if 0 <= start < end < np.inf and label is not None:
            return cells[0], start, end, label
    raise UserError(
        f"{path}, line {number}: start and end in seconds, start below end, and a "
        f"label expected ({', '.join(LABEL_WORDS)})"
    )


class _Reader(pickle.Unpickler):
    """Reads dictionaries, strings and numpy arrays, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what numpy's pickles of arrays need.

        Args:
          module, name: of what the pickle names.

        Raises:
          UnpicklingError: it is anything else, which could run code.
        """
        if (module, name) in _NUMPY:
            # NumPy 1 had numpy.core; what pickles call is the same.
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_npy(path: str | Path) -> Segments:
    """Reads the segment labels of PartialSpoof without running code in the file.

    Args:
      path: of ``SPLIT_seglab_0.02.npy``: a dictionary, saved by ``numpy.save``, of
        arrays (frames,) of "0" for spoof and "1" for bona fide.

    Returns:
      The spoofed parts of every utterance.

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else (
                npy.read_array_header_2_0
            )  # fmt: skip
            shape, _, dtype = header(file)
            labels = _Reader(file).load() if dtype.hasobject else None
        if isinstance(labels, np.ndarray) and shape == () == labels.shape:
            labels = labels.item()
        if not isinstance(labels, dict):
            raise ValueError("it does not hold a dictionary")
        return {str(name): of_frames(_is_bonafide(x)) for name, x in labels.items()}
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: cannot be read as PartialSpoof's segment labels ({error}); get "
            "the file again from https://zenodo.org/records/5766198"
        ) from None


def _is_bonafide(labels: Any) -> np.ndarray:
    words = np.asarray(labels).astype(str)
    if words.ndim != 1 or not np.isin(words, ("0", "1")).all():
        raise ValueError("an array has other values than '0' and '1'")
    return words == "1"
