"""DebSpoof in miniature: its splits, voices, attacks, columns; noise for speech."""

import contextlib
import json
from pathlib import Path

import numpy as np
import soundfile

from mldg_jax.data.corpora.debspoof import dataset
from mldg_jax.data.corpora.debspoof.attacks import ATTACKS
from mldg_jax.data.corpora.debspoof.splits import FOLDS, VOICE_SPLITS

SECONDS = 0.5
BONAFIDE = 8  # clips a voice; macro EER asks for 5
SPOOF = {"train": 5, "dev": 14, "eval": 6}  # clips an attack


def make(data_dir: Path, size: str) -> Path:
    """Builds it with the real builder; returns the corpus folder."""
    folder = dataset.build_folder(data_dir, size)
    (folder / "clips").mkdir(parents=True)
    rows = [row for split in VOICE_SPLITS for row in _rows(size, split)]
    rng = np.random.default_rng(0)
    for row in rows:
        path = folder / "clips" / f"{row['utterance']}.flac"
        soundfile.write(path, _sound(rng, row["attack"]), 16_000)
    dataset.write_rows(folder, rows)
    with contextlib.redirect_stdout(None):  # TFDS talks
        made = dataset.prepare(data_dir, size)
    target = dataset.corpus_folder(data_dir, size)
    summary = {"corpus_sha256": dataset.corpus_hash(made), "clips": len(rows)}
    (target / "corpus.json").write_text(json.dumps(summary))
    return target


def _rows(size: str, split: str) -> list[dict]:
    voices = VOICE_SPLITS[split]
    rows = [
        _row(split, "-", "-", voice, i, fold)
        for fold, voice in enumerate(voices)
        for i in range(BONAFIDE)
    ]
    for name, attack in ATTACKS[size].items():
        if not attack.seen and split != "eval":
            continue
        for i in range(SPOOF[split]):
            # a synthesiser has voices of its own, a vocoder those of the split
            own = f"{name}_{i % 3}" if attack.voices else voices[-1 - i % len(voices)]
            rows.append(_row(split, name, attack.family, own, i, i))
    return rows


def _row(split, attack, family, speaker, i, fold):
    real = attack == "-"
    return {
        "split": split,
        "utterance": f"{split}_{f'bonafide_{speaker}' if real else attack}_{i:04d}",
        "label": "bonafide" if real else "spoof",
        "attack": attack,
        "family": family,
        "speaker": speaker,
        "language": ("en", "cs", "fr")[i % 3],
        "codec": "g722",
        "text": "a text",
        "source": "a source",
        "licence": "CC0",
        "fold": str(fold % FOLDS),
    }


def _sound(rng: np.random.Generator, attack: str) -> np.ndarray:
    """Noise that comes and goes; attacks have another colour."""
    samples = int(SECONDS * 16_000)
    noise = rng.normal(size=samples)
    if attack != "-":
        noise = np.convolve(noise, [1, 0.3 + 0.05 * (len(attack) % 9)], "same")
    envelope = 1 + np.sin(2 * np.pi * 3 * np.arange(samples) / 16_000)
    return np.clip(0.1 * envelope * noise, -1, 1).astype(np.float32)
