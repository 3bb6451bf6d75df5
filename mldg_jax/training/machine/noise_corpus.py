"""A corpus of noise, to measure the speed of a machine that has no corpus."""

import io
from collections.abc import Sequence

import numpy as np
import soundfile

from mldg_jax.common.config import EpisodeSection
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.corpus import NO_ATTACK, Corpus


def make(episode: EpisodeSection, samples: int, *, attacks: int) -> Corpus:
    """Makes a corpus that is large enough for an episode.

    Args:
      episode: section of a config.
      samples: of a crop; utterances are half as long again.
      attacks: unless ``episode.attacks_per_episode`` says how many.

    Returns:
      Noise, in FLAC in memory and decoded when it is read, as a large corpus is.
    """
    attacks = episode.attacks_per_episode or attacks
    half = episode.examples_per_attack // 2
    names = [f"A{i + 1:02d}" for i in range(attacks)]
    attack = np.array([NO_ATTACK] * (2 * attacks * half) + sorted(names * half))
    noise = np.random.default_rng(0).normal(size=(8, samples * 3 // 2))
    encoded = [_flac((3_000 * x).astype(np.int16)) for x in noise]
    rows = np.arange(len(attack))
    return Corpus(
        utterance=rows.astype(str),
        label=(attack == NO_ATTACK).astype(np.int32),
        attack=attack,
        speaker=np.array([f"s{i % 8}" for i in rows]),
        language=np.full(len(rows), "en"),
        audio=_Decoded([encoded[i % len(encoded)] for i in rows]),
    )


class _Decoded(Sequence):
    """FLAC files in memory, decoded on access, as those of a large corpus are."""

    def __init__(self, files: list[bytes]):
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index):
        return soundfile.read(io.BytesIO(self._files[index]), dtype="int16")[0]


def _flac(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format="FLAC")
    return file.getvalue()
