"""TensorFlow Datasets builders of corpora that do not need TensorFlow.

They derive from ``ShardBasedBuilder``, because the writer of ``GeneratorBasedBuilder``
spills to tensorflow.io once a split exceeds 1 GB and sorts the whole split in memory to
keep the order of the rows. Here each shard is written independently, in worker
processes or on Apache Beam.
"""

import abc
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pyarrow
import pyarrow.parquet
import tensorflow_datasets as tfds

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora import shards
from mldg_jax.data.corpora.completeness import Skipped
from mldg_jax.data.schema import Row
from mldg_jax.data.segment_labels import parse

SKIPPED = "skipped.tsv"
PAST_END = 0.1  # seconds: labels of frames end up to a frame later than the recording


class CorpusBuilder(tfds.core.ShardBasedBuilder):
    """Base class of all corpora: turns rows into array_record files and an index.

    In addition to the records, the corpus folder gets ``index-SPLIT.parquet``, with the
    columns of the records except the audio, and ``skipped.tsv``, with the recordings
    that were skipped and the reasons. If rows have segment labels, the index has them
    in a column ``segments``, and the fingerprint covers them.
    """

    # By default TFDS looks it up with importlib_resources, which it does not require.
    code_path = Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the source folder as manual_dir."
    EXTRA: ClassVar[tuple[str, ...]] = ()
    """Names of the columns that only this corpus has."""

    shard_rows = shards.ROWS
    """Maximum number of records in a shard; set it before calling ``plan``."""
    rows = 0
    """Number of rows that ``plan`` read."""
    _planned: dict[str, list[shards.Shard]] | None = None
    _segments: Mapping[str, str] = MappingProxyType({})  # none of any utterance

    @abc.abstractmethod
    def list_rows(self, source: Path) -> tuple[Path, Sequence[Row]]:
        """Lists the utterances of a source.

        Args:
          source: the source folder.

        Returns:
          The folder that the rows' paths are relative to, and the rows in order.
        """

    def check(self, skipped: Sequence[Skipped]) -> None:
        """Checks the skipped recordings once all shards are written.

        An error prevents the corpus folder from being created.

        Args:
          skipped: the recordings that could not be used.
        """

    def finish(self, folder: Path, digest: str, columns: dict[str, dict]) -> None:
        """Adds files to the corpus folder before it gets its final name.

        Args:
          folder: the corpus folder under its temporary name.
          digest: SHA-256 over names, labels, attacks and samples, shard by shard.
          columns: the index: for each split, a list per column.
        """

    @property
    def shard_folder(self) -> Path:
        """Folder that holds the shards until the corpus is complete."""
        name = "-".join(filter(None, (self.name, self.builder_config_name)))
        return Path(self.data_dir_root) / "build" / f"{name}.shards"

    def plan(self, source: Path) -> list[shards.Shard]:
        """Reads the protocols and assigns their rows to shards.

        Args:
          source: the source folder.

        Returns:
          The shards of all splits.
        """
        root, rows = self.list_rows(source)
        self.rows = len(rows)
        if any(row.segments for row in rows):
            self._segments = {row.utterance: row.segments for row in rows}
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
        assert self._planned is not None  # set by the call above
        folder = Path(self.data_dir)  # under its temporary name until this returns
        notes = {
            split: [shard.read_note() for shard in planned]
            for split, planned in self._planned.items()
        }
        for leftover in folder.glob("*.shard_infos.json"):  # written by Beam
            leftover.unlink()
        self._correct_lengths(notes)
        skipped = [
            Skipped(*fields)
            for split_notes in notes.values()
            for note in split_notes
            for fields in note["skipped"]
        ]
        self.check(skipped)
        columns = {
            split: {
                name: [value for note in split_notes for value in note["index"][name]]
                for name in split_notes[0]["index"]
            }
            for split, split_notes in notes.items()
        }
        if self._segments:
            for index in columns.values():
                index["segments"] = [self._segments[x] for x in index["utterance"]]
            check_ends(columns)
        for split, index in columns.items():
            write_index(folder, split, index)
        lines = ["\t".join(Skipped._fields), *map(_tsv_line, skipped)]
        (folder / SKIPPED).write_text("\n".join(lines) + "\n", encoding="utf-8")
        digests = [note["sha256"] for split in notes.values() for note in split]
        digests += [x for index in columns.values() for x in index.get("segments", ())]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        self.finish(folder, digest, columns)

    def _correct_lengths(self, notes: dict[str, list[dict]]) -> None:
        """Sets the lengths of the shards in their order.

        With Beam, TFDS 4.9 sorts them by the shards' numbers as text: 0, 1, 10, 11, 2.
        """
        lengths = {
            split: [len(note["index"]["utterance"]) for note in split_notes]
            for split, split_notes in notes.items()
        }
        infos = [
            dataclasses.replace(info, shard_lengths=lengths[split])
            for split, info in self.info.splits.items()
        ]
        self.info.set_splits(tfds.core.SplitDict(infos))


def _tsv_line(fields: Sequence[str]) -> str:
    return "\t".join(" ".join(field.split()) for field in fields)


def check_ends(columns: Mapping[str, Mapping[str, list]]) -> None:
    """Checks that segment labels end within their utterances.

    Args:
      columns: for each split, the index as lists by column, with ``segments``.

    Raises:
      UserError: one ends later, as if its times were not in seconds.
    """
    for index in columns.values():
        names = ("utterance", "segments", "duration")
        for name, text, seconds in zip(*(index[x] for x in names), strict=True):
            end = max((x[1] for x in parse(text) or ()), default=0.0)
            if seconds + PAST_END < end < float("inf"):
                raise UserError(
                    f"{name}: its segment labels end at {end:g} s, but the recording "
                    f"has {seconds:.2f} s: check that they are in seconds and of this "
                    "recording"
                )


def write_index(folder: Path, split: str, columns: dict[str, list]) -> None:
    """Writes the index of a split.

    Args:
      folder: the corpus folder.
      split: name of the split.
      columns: its columns by name, except the audio.
    """
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, folder / index_name(split))


def index_name(split: str) -> str:
    """Returns the file name of a split's index.

    Args:
      split: name of the split.

    Returns:
      The name of a Parquet file in the corpus folder.
    """
    return f"index-{split}.parquet"
