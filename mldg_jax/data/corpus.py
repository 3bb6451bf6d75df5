"""A prepared corpus: columns in memory, recordings read when they are asked for."""

import functools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.audio import from_flac
from mldg_jax.data.schema import BONAFIDE, NO_ATTACK, SPOOF

__all__ = [
    "BONAFIDE",
    "NO_ATTACK",
    "SPOOF",
    "Corpus",
    "corpus_sha256",
    "find_corpus",
    "load_split",
    "load_test",
    "load_training",
    "read_columns",
    "split_names",
    "spread",
    "trained_on",
]

KEPT_SECONDS = 10 * 3600  # a split up to this stays in memory once read: 1.2 GB


class Corpus(NamedTuple):
    """Parallel columns, one entry an utterance.

    Attributes:
      utterance: (n,) str, unique names.
      label: (n,) int32, 1 bona fide, 0 spoof.
      attack: (n,) str, "-" for bona fide.
      speaker: (n,) str; of a vocoded utterance, the speaker of its source recording.
      language: (n,) str.
      audio: n arrays (samples,) int16, 16 kHz.
    """

    utterance: np.ndarray
    label: np.ndarray
    attack: np.ndarray
    speaker: np.ndarray
    language: np.ndarray
    audio: Sequence[np.ndarray]

    def take(self, rows: np.ndarray) -> "Corpus":
        """Selects rows by a boolean mask or by indices; reads no audio."""
        rows = np.arange(len(self.label))[rows]
        columns = [column[rows] for column in self[:-1]]
        return Corpus(*columns, audio=_Chosen(self.audio, rows))

    def waveform(self, row: int) -> np.ndarray:
        """One utterance as float32 in [-1, 1)."""
        return self.audio[row].astype(np.float32) / 32768.0


def join(parts: Sequence[Corpus]) -> Corpus:
    """Corpora one after the other, as one; reads no audio."""
    columns = [
        np.concatenate(column)
        for column in zip(*(part[:-1] for part in parts), strict=True)
    ]
    return Corpus(*columns, audio=_Joined([part.audio for part in parts]))


class _Joined(Sequence):
    """Several sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[np.ndarray]]):
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> np.ndarray:
        i = range(len(self))[i]
        part = int(np.searchsorted(self._ends, i, side="right"))
        return self._parts[part][i - int(self._ends[part])]


class _Chosen(Sequence):
    """Some items of a sequence, looked up when they are asked for."""

    def __init__(self, items: Sequence[np.ndarray], rows: np.ndarray):
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> np.ndarray:
        return self._items[self._rows[i]]


class _Recordings(Sequence):
    """The recordings of a split; each access decodes one."""

    def __init__(self, records: Sequence[bytes], features: Any, keep: bool):
        self._records, self._features = records, features
        self._kept: dict[int, np.ndarray] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> np.ndarray:
        i = range(len(self))[i]  # negative ones, IndexError
        if self._kept is None:
            return self._read(i)
        if i not in self._kept:
            self._kept[i] = self._read(i)
        return self._kept[i]

    def _read(self, i: int) -> np.ndarray:
        example = self._features.deserialize_example_np(self._records[i])
        return from_flac(example["audio"])


def spread(which: np.ndarray, count: int) -> np.ndarray:
    """Evenly chosen rows: of every part of a split, so of every attack.

    Args:
      which: (n,) bool, the rows to choose from.
      count: at most so many; 0 for all.
    """
    rows = np.flatnonzero(which)
    if not count or len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def find_corpus(name: str, config: str, data_dir: str | Path) -> Path:
    """Returns the folder of a prepared corpus.

    Args:
      name: of the corpus.
      config: its size or its table's name; "" if there is no choice.
      data_dir: where corpora are kept.

    Raises:
      UserError: it has not been built, or several of its configs have.
    """
    home = Path(data_dir) / name
    there = sorted(home.glob("*/*/dataset_info.json"))
    configs = sorted({path.parent.parent.name for path in there})
    versions = sorted((home / config).glob("*/dataset_info.json"))
    if not versions and not config and len(configs) == 1:
        versions = there
    if versions:
        return versions[-1].parent
    if not config and configs:
        raise UserError(
            f"{name} was built as {' and as '.join(configs)}: name one, as in "
            f"{name}/{configs[0]}"
        )
    how = f"--size {config or 'small'}" if name == "debspoof" else "--source SOURCE"
    what = "/".join(filter(None, (name, config)))
    raise UserError(
        f"There is no corpus {what} under {data_dir}. Build it: "
        f"mldg corpus build {name} {how} --data-dir {data_dir}"
    )


def read_columns(
    folder: str | Path, split: str, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads the columns of a split, but for the audio.

    Args:
      folder: what ``find`` returned.
      split: e.g. "train", "dev" or "eval".
      names: of the columns to read; None for all.

    Returns:
      By name: utterance, path, attack, speaker, codec, language (n,) str; label (n,)
      int32, 1 bona fide; duration (n,) float32 in seconds; rate (n,) int32, the
      recording's own sampling rate in Hz.

    Raises:
      UserError: there is no such split, or the corpus is of an older version.
    """
    import pyarrow.parquet  # a third of a second to import

    path = Path(folder) / f"index-{split}.parquet"
    if not path.exists():
        there = ", ".join(split_names(folder))
        why = "built by an older version of mldg_jax; delete it and build it again"
        raise UserError(
            f"{folder}: {f'no split {split!r}; it has {there}' if there else why}"
        )
    table = pyarrow.parquet.read_table(path, columns=names)
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    if "label" in columns:
        columns["label"] = np.where(columns["label"] == "bonafide", BONAFIDE, SPOOF)
    numbers = {"label": np.int32, "duration": np.float32, "rate": np.int32}
    for name in numbers.keys() & columns.keys():
        columns[name] = columns[name].astype(numbers[name])
    return columns


def split_names(folder: str | Path) -> list[str]:
    """The splits of a prepared corpus."""
    paths = sorted(Path(folder).glob("index-*.parquet"))
    return [path.stem.removeprefix("index-") for path in paths]


def corpus_sha256(folder: str | Path) -> str:
    """The fingerprint that a corpus was built with; "" if it has none."""
    path = Path(folder) / "corpus.json"
    return json.loads(path.read_text())["corpus_sha256"] if path.exists() else ""


def load_split(
    folder: str | Path, split: str, *, kept_seconds: float = KEPT_SECONDS
) -> Corpus:
    """Opens one split of a prepared corpus.

    Args:
      folder: what ``find`` returned.
      split: e.g. "train", "dev" or "eval".
      kept_seconds: recordings of a split that lasts no longer stay in memory once
        read.

    Raises:
      UserError: there is no such split.
    """
    names = ("utterance", "label", "attack", "speaker", "language")
    columns = read_columns(folder, split, [*names, "duration"])
    import tensorflow_datasets as tfds  # two seconds to import; needed only here

    builder = tfds.builder_from_directory(str(folder))
    records = builder.as_data_source(split).data_source
    # Of a record only this is parsed, which halves the time that takes.
    audio = tfds.features.FeaturesDict({"audio": builder.info.features["audio"]})
    keep = bool(columns["duration"].sum() <= kept_seconds)
    recordings = _Recordings(records, audio, keep)
    return Corpus(*(columns[name] for name in names), audio=recordings)


def load_training(folder: str | Path, fold: int | None = None) -> Corpus:
    """Opens what a detector is trained on.

    Args:
      folder: what ``find`` returned.
      fold: None for the split "train". A number: all splits but this speaker fold, as
        far as they are bona fide or of an attack of the split "train". So the speakers
        of the official test take part, and other speakers are tested, see
        ``load_test``.

    Raises:
      UserError: there is no such split or fold.
    """
    trained = load_split(folder, "train")
    if fold is None:
        return trained
    rows, folds = _rotation(folder, fold)
    known = np.isin(rows.attack, np.append(np.unique(trained.attack), NO_ATTACK))
    return rows.take((folds != fold) & known)


def load_test(folder: str | Path, split: str, fold: int | None = None) -> Corpus:
    """Opens a split, or if a fold is given that speaker fold of all splits.

    Over all folds every utterance is tested once, by a detector that was trained
    without its speaker.

    Raises:
      UserError: there is no such split or fold.
    """
    if fold is None:
        return load_split(folder, split)
    rows, folds = _rotation(folder, fold)
    return rows.take(folds == fold)


def trained_on(corpus: Corpus, excluded: Sequence[str] = ()) -> dict[str, Any]:
    """Counts what a detector is trained on.

    Args:
      corpus: the training split.
      excluded: attacks of it that were left out.

    Returns:
      Counts of ``bonafide``, ``spoof`` (by attack) and ``speakers``; ``languages``.
    """
    spoof = corpus.attack[(corpus.label == SPOOF) & ~np.isin(corpus.attack, excluded)]
    return {
        "bonafide": int((corpus.label == BONAFIDE).sum()),
        "spoof": dict(sorted(Counter(spoof.tolist()).items())),
        "speakers": len(set(corpus.speaker)),
        "languages": sorted(set(corpus.language)),
    }


@functools.lru_cache(maxsize=2)  # so that all folds share the recordings in memory
def _everything(folder: Path) -> tuple[Corpus, np.ndarray]:
    names = split_names(folder)
    columns = [read_columns(folder, split) for split in names]
    if any("fold" not in its for its in columns):
        raise UserError(
            f"{folder} has no speaker folds; DebSpoof has: leave corpus.fold empty"
        )
    rows = join([load_split(folder, split, kept_seconds=np.inf) for split in names])
    return rows, np.concatenate([its["fold"] for its in columns])


def _rotation(folder: str | Path, fold: int) -> tuple[Corpus, np.ndarray]:
    rows, folds = _everything(Path(folder))
    there = sorted(set(folds.tolist()))
    if fold not in there:
        raise UserError(f"{folder} has no speaker fold {fold}; it has {there}")
    return rows, folds
