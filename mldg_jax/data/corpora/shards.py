"""Writes records in shards, each once and in any process.

A shard consists of up to 1024 rows of a protocol. ``plan`` writes the rows of each
shard to a file; ``make`` reads their recordings and writes the records, with a note of
the included and the skipped ones. Making an existing shard does nothing, so a build can
be killed at any time and resumes with the missing shards. A shard's bytes depend on its
rows and their recordings, not on the process, machine or attempt that made it.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tqdm import tqdm

from mldg_jax.common import console
from mldg_jax.common.files import replacing
from mldg_jax.common.processes import pool, working_on
from mldg_jax.common.text_files import (
    parse_json,
    read_json,
    read_text,
    split_lines,
)
from mldg_jax.data import audio
from mldg_jax.data.corpora.completeness import Skipped
from mldg_jax.data.schema import LABELS, Row

ROWS = 1024  # maximum number in a shard: about 60 MB of FLAC
_FORMAT = 1  # increase it when records change, to rebuild shards of an older format
_TEXT = ("utterance", "path", "attack", "speaker", "codec", "language")
_INDEXED = (*_TEXT[:2], "label", *_TEXT[2:], "duration", "rate")


def features(extra: Sequence[str] = ()) -> tfds.features.FeaturesDict:
    """Defines the features of a record.

    Args:
      extra: names of the columns that only this corpus has, as text.

    Returns:
      The features. ``audio`` holds the bytes of a FLAC file (16 kHz, mono, 16 bits),
      because the Audio feature would need TensorFlow; ``label`` is 0 for spoof and 1
      for bona fide, ``duration`` is in seconds, and ``rate`` is the sampling rate of
      the source in Hz.
    """
    return tfds.features.FeaturesDict(
        {
            **{name: tfds.features.Text() for name in (*_TEXT, *extra)},
            "audio": tfds.features.Tensor(shape=(), dtype=np.object_),
            "label": tfds.features.ClassLabel(names=list(LABELS)),
            "duration": tfds.features.Scalar(dtype=np.float32),
            "rate": tfds.features.Scalar(dtype=np.int32),
        }
    )


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard: the file of its records and, next to it, its rows and its note.

    Calling it makes it an example generator of TFDS, which only counts the examples
    (see ``Linker``).

    Attributes:
      path: file of the records.
    """

    path: Path

    @property
    def rows(self) -> Path:
        """Path of the file with the rows."""
        return self.path.with_name(f"{self.path.name}.rows")

    @property
    def note(self) -> Path:
        """Path of the file with the note."""
        return self.path.with_name(f"{self.path.name}.json")

    def read_note(self) -> dict:
        """Reads ``index`` (a list per column), ``skipped`` (rows) and ``sha256``."""
        return read_json(self.note, dict)

    def __call__(self) -> Iterator[tuple[int, None]]:
        make(self)
        for i in range(len(self.read_note()["index"]["utterance"])):
            yield i, None


class Linker(tfds.core.ExampleWriter):
    """Makes the shards that TFDS requests and links them into its folder."""

    def __init__(self, folder: Path):
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)
        self._folder = folder

    def write(self, path: os.PathLike, examples: Iterable) -> None:
        """Makes a shard, unless it exists, and links or copies it.

        Args:
          path: file of the records in the folder of TFDS.
          examples: ignored; the rows of the shard determine its records.
        """
        del examples
        shard = Shard(self._folder / Path(path).name)
        make(shard)
        if Path(path).exists():
            return  # TFDS runs the pipelines of earlier splits again
        try:
            os.link(shard.path, path)
        except OSError:  # a file system without hard links
            with replacing(Path(path)) as part:
                shutil.copyfile(shard.path, part)


def plan(
    files: Sequence[Path], root: Path, rows: Sequence[Row], extra: Sequence[str]
) -> list[Shard]:
    """Assigns the rows of a split to shards, in order.

    Deletes existing shards that were planned with other rows, and those that skipped a
    recording which has changed since.

    Args:
      files: paths of the shards.
      root: folder that the rows' paths are relative to.
      rows: rows of the split.
      extra: names of the rows' extra columns.

    Returns:
      The shards, one per file.
    """
    shards = [Shard(Path(file)) for file in files]
    for i, shard in enumerate(shards):
        first, last = (len(rows) * k // len(shards) for k in (i, i + 1))
        header = {"format": _FORMAT, "root": str(root), "extra": list(extra)}
        lines = [header, *rows[first:last]]
        text = "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)
        same = shard.rows.exists() and shard.rows.read_text("utf-8") == text
        if not same or _is_outdated(shard, root):
            shard.path.unlink(missing_ok=True)
            with replacing(shard.rows) as part:
                part.write_text(text, encoding="utf-8")
    return shards


def _is_outdated(shard: Shard, root: Path) -> bool:
    """Returns whether a recording that the shard skipped has changed since."""
    if not shard.path.exists():
        return False
    written = shard.note.stat().st_mtime
    paths = [root / Skipped(*fields).path for fields in shard.read_note()["skipped"]]
    return any(path.exists() and path.stat().st_ctime > written for path in paths)


def make(shard: Shard) -> int:
    """Writes the note and the records of a shard, unless it exists.

    Args:
      shard: a shard whose rows ``plan`` has written.

    Returns:
      The number of its rows, including those skipped.
    """
    first, *lines = split_lines(read_text(shard.rows))
    header = parse_json(first, dict, shard.rows)
    rows = [parse_json(line, list, shard.rows) for line in lines]
    if shard.path.exists():
        return len(rows)
    serialize, root = _serializer(tuple(header["extra"])), Path(header["root"])
    index: dict[str, list] = {name: [] for name in _INDEXED}
    skipped: list[Skipped] = []
    digest = hashlib.sha256()
    with replacing(shard.path) as part:
        writer = array_record_module.ArrayRecordWriter(
            str(part), "group_size:1,uncompressed"
        )
        try:
            for row in map(Row._make, rows):
                working_on(row.path)
                try:
                    recording = audio.clip(root / row.path)
                except audio.Unusable as error:
                    fields = row.split, row.utterance, row.path
                    skipped.append(Skipped(*fields, error.reason, str(error)))
                    continue
                example = _example(row, recording, header["extra"])
                writer.write(serialize(example))
                for name, column in index.items():
                    column.append(example[name])
                _update(digest, row, recording.samples)
        finally:
            writer.close()
        note = {"index": index, "skipped": skipped, "sha256": digest.hexdigest()}
        # The shard gets its name last, so an existing shard always has its note.
        with replacing(shard.note) as file:
            file.write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")
    return len(rows)


@functools.cache
def _serializer(extra: tuple[str, ...]) -> Callable[[dict], bytes]:
    """Returns a ``features.serialize_example`` with the same bytes in all processes."""
    record = features(extra)
    serializer = ExampleSerializer(record.get_serialized_info())

    def serialize(example: dict) -> bytes:
        message = serializer.get_tf_example(record.encode_example(example))
        return message.SerializeToString(deterministic=True)

    return serialize


def _example(row: Row, recording: audio.AudioClip, extra: Sequence[str]) -> dict:
    return {
        **{name: getattr(row, name) for name in (*_TEXT, "label")},
        **dict(zip(extra, row.extra, strict=True)),
        "audio": recording.flac,
        "duration": len(recording.samples) / audio.SAMPLE_RATE,
        "rate": recording.rate,
    }


def _update(digest, row: Row, samples: np.ndarray) -> None:
    for text in (row.utterance, row.label, row.attack):
        digest.update(text.encode() + b"\0")
    digest.update(np.ascontiguousarray(samples, "<i2").tobytes())


def make_all(
    shards: Sequence[Shard], rows: int, *, workers: int, progress: bool = True
) -> None:
    """Makes the shards that do not exist, in parallel.

    Args:
      shards: all shards of a corpus.
      rows: total number of their rows.
      workers: number of processes, ≥ 1.
      progress: show a progress bar.

    Raises:
      UserError: a worker process died; names the recordings that the workers had.
    """
    missing = [shard for shard in shards if not shard.path.exists()]
    hidden = not progress or console.is_quiet()
    bar = tqdm(total=rows, unit="utterance", disable=hidden)
    with bar:
        bar.update(sum(make(shard) for shard in shards if shard.path.exists()))
        if min(workers, len(missing)) < 2:  # a pool takes seconds to start
            for shard in missing:
                bar.update(make(shard))
            return
        with pool(min(workers, len(missing))) as processes:
            futures = [processes.submit(make, shard) for shard in missing]
            for future in as_completed(futures):
                bar.update(future.result())
