"""Corpora as TensorFlow Datasets builders that need no TensorFlow.

They are `ShardBasedBuilder`s: the writer of `GeneratorBasedBuilder` spills to
tensorflow.io once a split exceeds 1 GB and, to keep the order of the rows, sorts all of
it in memory. Here every shard is made by itself, in worker processes or on Apache Beam.
"""

import abc
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow
import pyarrow.parquet
import tensorflow_datasets as tfds

from mldg_jax.data.corpora import shards
from mldg_jax.data.corpora.completeness import Skipped
from mldg_jax.data.schema import Row

SKIPPED = "skipped.tsv"


class CorpusBuilder(tfds.core.ShardBasedBuilder):
    """The base of all corpora: rows in, array_record files and an index out.

    Beside the records the corpus folder gets ``index-SPLIT.parquet``, every column of
    every record but its audio, and ``skipped.tsv``, what was left out and why.
    """

    # TFDS finds it with importlib_resources, a package that it does not require
    code_path = Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the source folder as manual_dir."
    EXTRA: ClassVar[tuple[str, ...]] = ()
    """Columns that only this corpus has."""

    shard_rows = shards.ROWS
    """Records in a shard at most; before ``plan``."""
    rows = 0  # how many ``plan`` found
    _planned: dict[str, list[shards.Shard]] | None = None

    @abc.abstractmethod
    def list_rows(self, source: Path) -> tuple[Path, Sequence[Row]]:
        """Returns what the rows' paths start from, and the rows in their order."""

    def check(self, skipped: Sequence[Skipped]) -> None:
        """Called when all shards are made, before the corpus appears in its place."""

    def finish(self, folder: Path, digest: str, columns: dict[str, dict]) -> None:
        """Adds files to the corpus folder just before it appears in its place.

        Args:
          folder: the corpus folder under its temporary name.
          digest: SHA-256 over names, labels, attacks and samples, shard by shard.
          columns: the index: for each split a list a column.
        """

    @property
    def shard_folder(self) -> Path:
        """Where shards are kept until the corpus is whole."""
        name = "-".join(filter(None, (self.name, self.builder_config_name)))
        return Path(self.data_dir_root) / "build" / f"{name}.shards"

    def plan(self, source: Path) -> list[shards.Shard]:
        """Reads the protocols and deals their rows to shards."""
        root, rows = self.list_rows(source)
        self.rows = len(rows)
        by_split: dict[str, list[Row]] = {}
        for row in rows:
            by_split.setdefault(row.split, []).append(row)
        self._planned = {}
        for split, members in by_split.items():
            count = -(-len(members) // self.shard_rows)
            name = self._get_filename_template(split_name=split)
            files = [
                self.shard_folder
                / name.sharded_filepath(shard_index=i, num_shards=count).name
                for i in range(count)
            ]
            self._planned[split] = shards.plan(files, root, members, self.EXTRA)
        return [shard for split in self._planned.values() for shard in split]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=shards.features(self.EXTRA),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager):
        if self._planned is None:
            self.plan(Path(dl_manager.manual_dir))
        return self._planned

    def _example_writer(self) -> shards.Linker:
        return shards.Linker(self.shard_folder)

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        assert self._planned is not None  # the call above asked for the shards
        folder = Path(self.data_dir)  # a temporary one, until this returns
        notes = {
            split: [shard.read_note() for shard in made]
            for split, made in self._planned.items()
        }
        for leftover in folder.glob("*.shard_infos.json"):  # of Beam
            leftover.unlink()
        self._order_shards(notes)
        skipped = [
            Skipped(*fields)
            for made in notes.values()
            for note in made
            for fields in note["skipped"]
        ]
        self.check(skipped)
        columns = {
            split: {
                name: [value for note in made for value in note["index"][name]]
                for name in made[0]["index"]
            }
            for split, made in notes.items()
        }
        for split, index in columns.items():
            write_index(folder, split, index)
        lines = ["\t".join(Skipped._fields), *map(_tsv_line, skipped)]
        (folder / SKIPPED).write_text("\n".join(lines) + "\n", encoding="utf-8")
        digests = [note["sha256"] for made in notes.values() for note in made]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        self.finish(folder, digest, columns)

    def _order_shards(self, notes: dict[str, list[dict]]) -> None:
        """With Beam, TFDS 4.9 sorts the shards' lengths as text: 0, 1, 10, 11, 2."""
        lengths = {
            split: [len(note["index"]["utterance"]) for note in made]
            for split, made in notes.items()
        }
        infos = [
            dataclasses.replace(info, shard_lengths=lengths[split])
            for split, info in self.info.splits.items()
        ]
        self.info.set_splits(tfds.core.SplitDict(infos))


def _tsv_line(fields: Sequence[str]) -> str:
    return "\t".join(" ".join(field.split()) for field in fields)


def write_index(folder: Path, split: str, columns: dict[str, list]) -> None:
    """Writes all columns of a split but the audio."""
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, folder / index_name(split))


def index_name(split: str) -> str:
    """The file that holds a split's columns."""
    return f"index-{split}.parquet"
