"""Reads prepared corpora: columns in memory, recordings decoded on access."""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data import sequences
from mldg_jax.data.corpus_folder import (
    corpus_sha256,
    find_corpus,
    fix_of_training_split,
    read_summary,
    split_names,
)
from mldg_jax.data.schema import BONAFIDE, NO_ATTACK, NOT_STATED, SPOOF
from mldg_jax.data.segment_labels import ALL, Interval, parse

__all__ = [
    "BONAFIDE",
    "NO_ATTACK",
    "SPOOF",
    "TRAINING_SPLIT",
    "Corpus",
    "corpus_sha256",
    "find_corpus",
    "load_split",
    "load_test",
    "load_training",
    "read_columns",
    "read_summary",
    "split_names",
    "spread",
    "trained_on",
]

TRAINING_SPLIT = "train"
COLUMNS = 5  # of a ``Corpus``, before the audio
KEPT_SECONDS = 10 * 3600  # splits up to this duration are cached in memory: 1.2 GB


class Corpus(NamedTuple):
    """Parallel columns with one entry per utterance.

    Attributes:
      utterance: (n,) str, unique names.
      label: (n,) int32, 1 for bona fide, 0 for spoof.
      attack: (n,) str, "-" for bona fide.
      speaker: (n,) str; for vocoded speech, the speaker of the source recording.
      language: (n,) str.
      audio: n arrays (samples,) int16, 16 kHz.
      segments: (n,) str, see ``segment_labels``; None if the corpus has none.
    """

    utterance: np.ndarray
    label: np.ndarray
    attack: np.ndarray
    speaker: np.ndarray
    language: np.ndarray
    audio: Sequence[np.ndarray]
    segments: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Corpus":
        """Selects utterances without reading audio.

        Args:
          rows: (n,) bool mask, or int row numbers in any order.

        Returns:
          The selected utterances.
        """
        rows = np.arange(len(self.label))[rows]
        columns = (column[rows] for column in self[:COLUMNS])
        segments = None if self.segments is None else self.segments[rows]
        audio = sequences.Selected(self.audio, rows)
        return Corpus(*columns, audio=audio, segments=segments)

    def waveform(self, row: int) -> np.ndarray:
        """Reads one utterance.

        Args:
          row: row number.

        Returns:
          (samples,) float32 in [-1, 1), 16 kHz.
        """
        return self.audio[row].astype(np.float32) / 32768.0

    def spoofed_parts(self, row: int) -> tuple[Interval, ...] | None:
        """Returns the spoofed parts of an utterance; without labels, all of a spoof.

        Args:
          row: row number.

        Returns:
          (start, end) in seconds, ``inf`` for the end of the utterance; None if the
          corpus has segment labels, but not of this spoof.
        """
        if self.label[row] == BONAFIDE:
            return ()
        return parse(ALL if self.segments is None else str(self.segments[row]))


def join(parts: Sequence[Corpus]) -> Corpus:
    """Concatenates parts of a corpus without reading audio.

    Args:
      parts: at least one.

    Returns:
      All utterances, in the order of ``parts``.
    """
    columns = zip(*(part[:COLUMNS] for part in parts), strict=True)
    segments = [x.segments for x in parts if x.segments is not None]  # all, or none
    return Corpus(
        *map(np.concatenate, columns),
        audio=sequences.Joined([part.audio for part in parts]),
        segments=np.concatenate(segments) if segments else None,
    )


def spread(which: np.ndarray, count: int) -> np.ndarray:
    """Selects evenly spaced rows, so that all parts of a split are represented.

    Args:
      which: (n,) bool, the rows to choose from.
      count: maximum number of rows; 0 for all.

    Returns:
      Row numbers, ascending.
    """
    rows = np.flatnonzero(which)
    if not count or len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def read_columns(
    folder: str | Path, split: str, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads the columns of a split, except the audio.

    Args:
      folder: folder of the corpus, from ``find_corpus``.
      split: e.g. "train", "dev" or "eval".
      names: names of the columns to read, if the corpus has them; None for all.

    Returns:
      By name: utterance, path, attack, speaker, codec, language (n,) str; label (n,)
      int32, 1 for bona fide; duration (n,) float32 in seconds; rate (n,) int32, the
      sampling rate of the source recording in Hz. DebSpoof adds family and fold, and
      corpora with segment labels segments (n,) str.

    Raises:
      UserError: there is no such split, or the corpus was built by an older version.
    """
    import pyarrow.parquet  # a third of a second to import

    path = Path(folder) / f"index-{split}.parquet"
    if not path.exists():
        splits = ", ".join(split_names(folder))
        cause = "built by an older version of mldg_jax; delete it and build it again"
        if splits:
            cause = f"no split {split!r}; it has {splits}"
            if split == TRAINING_SPLIT:
                cause += f". Training needs it: {fix_of_training_split(path.parent)}"
        raise UserError(f"{folder}: {cause}")
    with pyarrow.parquet.ParquetFile(path) as file:
        table = file.read(columns=names)
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    if "label" in columns:
        columns["label"] = np.where(columns["label"] == "bonafide", BONAFIDE, SPOOF)
    numbers = {"label": np.int32, "duration": np.float32, "rate": np.int32}
    for name in numbers.keys() & columns.keys():
        columns[name] = columns[name].astype(numbers[name])
    return columns


def load_split(
    folder: str | Path, split: str, *, kept_seconds: float = KEPT_SECONDS
) -> Corpus:
    """Opens one split of a prepared corpus.

    Args:
      folder: folder of the corpus, from ``find_corpus``.
      split: e.g. "train", "dev" or "eval".
      kept_seconds: decoded recordings of splits up to this duration are cached.

    Returns:
      The utterances of the split, in the order of its protocol.

    Raises:
      UserError: there is no such split, or the corpus was built by an older version.
    """
    names = ("utterance", "label", "attack", "speaker", "language")
    columns = read_columns(folder, split, [*names, "duration", "segments"])
    import tensorflow_datasets as tfds  # two seconds to import; needed only here

    builder = tfds.builder_from_directory(str(folder))
    records = builder.as_data_source(split).data_source
    # Parsing the audio alone halves the time to parse a record.
    audio = tfds.features.FeaturesDict({"audio": builder.info.features["audio"]})
    keep = bool(columns["duration"].sum() <= kept_seconds)
    recordings = sequences.Recordings(records, audio, keep)
    known = (columns[name] for name in names)
    return Corpus(*known, audio=recordings, segments=columns.get("segments"))


def load_training(
    folder: str | Path, fold: int | None = None, *, every_attack: bool = False
) -> Corpus:
    """Opens the training data of a detector.

    Args:
      folder: folder of the corpus, from ``find_corpus``.
      fold: None for the split "train". Otherwise the speaker fold to hold out of all
        splits, see ``load_test``; of the rest, bona fide and the attacks of the split
        "train" are used. Training then includes speakers of the official test.
      every_attack: with a fold, use the attacks of all splits, see ``attack_folds``.

    Returns:
      The utterances to train on.

    Raises:
      UserError: there is no such split or fold.
    """
    train = load_split(folder, TRAINING_SPLIT)
    if fold is None:
        return train
    rows, folds = _speaker_folds(folder, fold)
    if every_attack:
        return rows.take(folds != fold)
    known = np.isin(rows.attack, np.append(np.unique(train.attack), NO_ATTACK))
    return rows.take((folds != fold) & known)


def load_test(folder: str | Path, split: str, fold: int | None = None) -> Corpus:
    """Opens the test data of a detector.

    Over all folds, every utterance is tested once, by a detector that was trained
    without its speaker.

    Args:
      folder: folder of the corpus, from ``find_corpus``.
      split: e.g. "dev" or "eval"; ignored if ``fold`` is given.
      fold: None for the split, or the speaker fold to take from all splits.

    Returns:
      The utterances to test on.

    Raises:
      UserError: there is no such split or fold.
    """
    if fold is None:
        return load_split(folder, split)
    rows, folds = _speaker_folds(folder, fold)
    return rows.take(folds == fold)


def speaker_folds(folder: str | Path) -> list[int]:
    """Lists the speaker folds of a corpus without opening its recordings.

    Args:
      folder: folder of the corpus, from ``find_corpus``.

    Returns:
      Their numbers, ascending; none if the corpus has no folds.
    """
    columns = [read_columns(folder, split) for split in split_names(folder)]
    folds = [x["fold"].tolist() for x in columns if "fold" in x]
    return sorted({int(fold) for part in folds for fold in part})


def trained_on(corpus: Corpus, excluded: Sequence[str] = ()) -> dict[str, Any]:
    """Counts the training data of a detector.

    Args:
      corpus: the training data.
      excluded: attacks held out of training.

    Returns:
      Numbers of ``bonafide`` utterances, ``spoof`` utterances by attack and bona fide
      ``speakers``, and the list of ``languages``; speakers and languages that are not
      stated do not count.
    """
    bonafide = corpus.label == BONAFIDE
    used = bonafide | ~np.isin(corpus.attack, excluded)
    by_attack = Counter(corpus.attack[used & ~bonafide].tolist())
    return {
        "bonafide": int(bonafide.sum()),
        "spoof": dict(sorted(by_attack.items())),
        # Spoof may be in the synthesiser's own voice, which is no person's.
        "speakers": len({*corpus.speaker[bonafide].tolist()} - {NOT_STATED}),
        "languages": sorted({*corpus.language[used].tolist()} - {NOT_STATED}),
    }


@functools.lru_cache(maxsize=2)  # so that all folds share the recordings in memory
def _load_all(folder: Path) -> tuple[Corpus, np.ndarray]:
    splits = split_names(folder)
    columns = [read_columns(folder, split) for split in splits]
    if any("fold" not in names for names in columns):
        raise UserError(
            f"{folder} has no speaker folds; only DebSpoof has: leave corpus.fold empty"
        )
    rows = join([load_split(folder, split, kept_seconds=np.inf) for split in splits])
    return rows, np.concatenate([by_name["fold"] for by_name in columns])


def _speaker_folds(folder: str | Path, fold: int) -> tuple[Corpus, np.ndarray]:
    rows, folds = _load_all(Path(folder))
    known = sorted(set(folds.tolist()))
    if fold not in known:
        raise UserError(f"{folder} has no speaker fold {fold}; it has {known}")
    return rows, folds
