"""Records in shards: each is made once, in whatever process, and kept until the end.

A shard is a thousand rows of a protocol. `plan` writes down which; `make` reads their
recordings and writes the records, with a note of what went in and what was left out.
Making a shard again does nothing, so a build may be killed at any time and goes on with
the shards that are not there yet; and as a shard's bytes depend on its rows alone, it
makes no difference which process, machine or attempt made it.
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

from mldg_jax.common.files import replacing
from mldg_jax.common.processes import pool
from mldg_jax.data import audio
from mldg_jax.data.corpora.completeness import Skipped
from mldg_jax.data.schema import LABELS, Row

ROWS = 1024  # in a shard at most: some 60 MB of FLAC
_FORMAT = 1  # raise it when records change: shards of an older format are made anew
_TEXT = ("utterance", "path", "attack", "speaker", "codec", "language")
_INDEXED = (*_TEXT[:2], "label", *_TEXT[2:], "duration", "rate")


def features(extra: Sequence[str] = ()) -> tfds.features.FeaturesDict:
    """What a record holds.

    ``audio`` is a FLAC file (16 kHz, mono, 16 bits), as bytes: the Audio feature would
    need TensorFlow. ``label`` is 0 for spoof and 1 for bona fide, ``duration`` is in
    seconds, ``rate`` is that of the source in Hz.
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
    """One shard: the file of its records and, beside it, its rows and its note.

    Called, it is what TFDS calls an example generator; TFDS only counts what it yields
    (see `Linker`).
    """

    path: Path

    @property
    def rows(self) -> Path:
        return self.path.with_name(f"{self.path.name}.rows")

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def read_note(self) -> dict:
        """``index``: a list a column; ``skipped``: rows of `Skipped`; ``sha256``."""
        return json.loads(self.note.read_text(encoding="utf-8"))

    def __call__(self) -> Iterator[tuple[int, None]]:
        make(self)
        for i in range(len(self.read_note()["index"]["utterance"])):
            yield i, None


class Linker(tfds.core.ExampleWriter):
    """Makes the shard that TFDS asks for and links it to where TFDS wants it."""

    def __init__(self, folder: Path):
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)
        self._folder = folder

    def write(self, path: os.PathLike, examples: Iterable) -> None:
        del examples  # the shard's own rows say what to write
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
    """Deals the rows of a split to shards, in order.

    Args:
      files: where the shards go, one a shard.
      root: what the rows' paths start from.
      rows: of the split.
      extra: names of the rows' extra columns.

    Shards that an earlier call planned with other rows are deleted, and so are those
    that left out a recording which has changed since.
    """
    shards = [Shard(Path(file)) for file in files]
    for i, shard in enumerate(shards):
        first, last = (len(rows) * k // len(shards) for k in (i, i + 1))
        header = {"format": _FORMAT, "root": str(root), "extra": list(extra)}
        lines = [header, *rows[first:last]]
        text = "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines)
        same = shard.rows.exists() and shard.rows.read_text("utf-8") == text
        if not same or _mended(shard, root):
            shard.path.unlink(missing_ok=True)
            with replacing(shard.rows) as part:
                part.write_text(text, encoding="utf-8")
    return shards


def _mended(shard: Shard, root: Path) -> bool:
    if not shard.path.exists():
        return False
    made = shard.note.stat().st_mtime
    paths = [root / Skipped(*fields).path for fields in shard.read_note()["skipped"]]
    return any(path.exists() and path.stat().st_ctime > made for path in paths)


def make(shard: Shard) -> int:
    """Writes a shard, unless it is there: first its note, then its records.

    Returns:
      How many rows it is made of.
    """
    header, *rows = map(json.loads, shard.rows.read_text("utf-8").splitlines())
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
                try:
                    clip = audio.clip(root / row.path)
                except audio.Unusable as error:
                    place = row.split, row.utterance, row.path
                    skipped.append(Skipped(*place, error.reason, str(error)))
                    continue
                example = _example(row, clip, header["extra"])
                writer.write(serialize(example))
                for name, column in index.items():
                    column.append(example[name])
                _add(digest, example["utterance"], row, clip.samples)
        finally:
            writer.close()
        note = {"index": index, "skipped": skipped, "sha256": digest.hexdigest()}
        with replacing(shard.note) as file:
            file.write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")
    return len(rows)


@functools.cache
def _serializer(extra: tuple[str, ...]) -> Callable[[dict], bytes]:
    """As ``features.serialize_example``, whose bytes differ from process to process."""
    record = features(extra)
    serializer = ExampleSerializer(record.get_serialized_info())

    def serialize(example: dict) -> bytes:
        message = serializer.get_tf_example(record.encode_example(example))
        return message.SerializeToString(deterministic=True)

    return serialize


def _example(row: Row, clip: audio.AudioClip, extra: Sequence[str]) -> dict:
    return {
        **{name: getattr(row, name) for name in (*_TEXT, "label")},
        **dict(zip(extra, row.extra, strict=True)),
        "audio": clip.flac,
        "duration": len(clip.samples) / audio.SAMPLE_RATE,
        "rate": clip.rate,
    }


def _add(digest, utterance: str, row: Row, samples: np.ndarray) -> None:
    for text in (utterance, row.label, row.attack):
        digest.update(text.encode() + b"\0")
    digest.update(np.ascontiguousarray(samples, "<i2").tobytes())


def make_all(
    shards: Sequence[Shard], rows: int, *, workers: int, progress: bool = True
) -> None:
    """Makes the shards that are not there, in parallel.

    Args:
      shards: all of a corpus.
      rows: how many rows they are made of together.
      workers: processes, ≥ 1.
      progress: show a progress bar.

    Raises:
      UserError: a worker died.
    """
    todo = [shard for shard in shards if not shard.path.exists()]
    bar = tqdm(total=rows, unit="utterance", disable=not progress)
    with bar:
        bar.update(sum(make(shard) for shard in shards if shard.path.exists()))
        if min(workers, len(todo)) < 2:  # a pool takes seconds to start
            for shard in todo:
                bar.update(make(shard))
            return
        with pool(min(workers, len(todo))) as processes:
            running = [processes.submit(make, shard) for shard in todo]
            for future in as_completed(running):
                bar.update(future.result())
