"""The corpus as a TensorFlow Datasets builder that needs no TensorFlow."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from mldg_jax.atomic import replacing

SPLITS = ("train", "dev", "eval")
LABELS = ("spoof", "bonafide")
"""Class names: bona fide is 1, so that a score is higher for bona fide."""
TEXT_FIELDS = ("attack", "speaker", "language", "codec", "text", "source", "licence")


class DebSpoof(tfds.core.GeneratorBasedBuilder):
    """Reads what `render` left in `<data_dir>/build/debspoof-<config>`.

    An example is a dict: utterance (str), audio (samples,) int16 at 16 kHz, label (0 =
    spoof, 1 = bona fide), attack ("-" for bona fide), speaker, language, codec, text,
    source, licence (str), duration (float32, seconds).
    """

    name = "debspoof"
    # TFDS finds it with importlib_resources, a package that it does not require
    code_path = Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="small", description="About 1,450 clips."),
        tfds.core.BuilderConfig(name="full", description="About 3,200 clips."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "utterance": tfds.features.Text(),
            "audio": tfds.features.Tensor(
                # the Audio feature would need TensorFlow
                shape=(None,),
                dtype=np.int16,
                encoding=tfds.features.Encoding.BYTES,
            ),
            "label": tfds.features.ClassLabel(names=list(LABELS)),
            **{name: tfds.features.Text() for name in TEXT_FIELDS},
            "duration": tfds.features.Scalar(dtype=np.float32),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # everything is on the disk already
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        folder = build_folder(Path(self._data_dir_root), self.builder_config.name)
        rows = [row for row in read_rows(folder) if row["split"] == split]
        for i, row in enumerate(rows):
            yield i, example(row, folder / "clips")


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


def example(row: dict, clips: Path) -> dict:
    """One TFDS example from a row and its FLAC file."""
    samples = read_clip(clips / f"{row['utterance']}.flac")
    fields = {name: row[name] for name in ("utterance", "label", *TEXT_FIELDS)}
    duration = np.float32(len(samples) / 16_000)
    return {**fields, "audio": samples, "duration": duration}


def read_clip(path: Path) -> np.ndarray:
    """(samples,) int16 of a rendered clip."""
    samples, _ = soundfile.read(path, dtype="int16")
    return samples


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
    builder.download_and_prepare(file_format="array_record")
    return builder


def corpus_hash(builder: DebSpoof) -> str:
    """SHA-256 over (utterance, label, attack, audio bytes) of all examples in order."""
    digest = hashlib.sha256()
    for split in SPLITS:
        if split not in builder.info.splits:
            continue
        for item in builder.as_data_source(split=split):
            for name in ("utterance", "label", "attack"):
                value = item[name]
                text = value.decode() if isinstance(value, bytes) else str(value)
                digest.update(text.encode() + b"\0")
            digest.update(np.ascontiguousarray(item["audio"], "<i2").tobytes())
    return digest.hexdigest()
