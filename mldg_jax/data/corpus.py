"""A corpus in memory: one row an utterance, read from a prepared TFDS folder.

Rows carry what every protocol of the field has in some form: utterance, label, attack,
speaker, language, codec. Audio is kept as 16-bit integers at 16 kHz, as stored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.errors import UserError

BONAFIDE, SPOOF = 1, 0
NO_ATTACK = "-"  # the attack of a bona fide row


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
        """Selects rows by a boolean mask or by indices."""
        rows = np.arange(len(self.label))[rows]
        columns = [column[rows] for column in self[:-1]]
        return Corpus(*columns, audio=[self.audio[i] for i in rows])

    def waveform(self, row: int) -> np.ndarray:
        """One utterance as float32 in [-1, 1)."""
        return self.audio[row].astype(np.float32) / 32768.0


def find(name: str, config: str, data_dir: str | Path) -> Path:
    """Returns the folder of a prepared corpus.

    Raises:
      UserError: it has not been built.
    """
    versions = sorted((Path(data_dir) / name / config).glob("*/dataset_info.json"))
    if not versions:
        raise UserError(
            f"There is no corpus {name} ({config}) under {data_dir}. Build it: "
            f"mldg corpus build {name} --size {config} --data-dir {data_dir}"
        )
    return versions[-1].parent


def load(folder: str | Path, split: str) -> Corpus:
    """Reads one split of a prepared corpus.

    Args:
      folder: what ``find`` returned.
      split: "train", "dev" or "eval".
    """
    import tensorflow_datasets as tfds  # two seconds to import; needed only here

    source = tfds.builder_from_directory(str(folder)).as_data_source(split)
    rows = [source[i] for i in range(len(source))]

    def text(column: str) -> np.ndarray:
        return np.array([_string(row[column]) for row in rows])

    return Corpus(
        utterance=text("utterance"),
        label=np.array([row["label"] for row in rows], np.int32),
        attack=text("attack"),
        speaker=text("speaker"),
        language=text("language"),
        audio=[np.asarray(row["audio"], np.int16) for row in rows],
    )


def _string(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
