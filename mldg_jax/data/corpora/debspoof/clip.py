"""Candidate utterances, and the plan that says how many of each cell to keep.

A cell is one bona fide speaker or one attack within a split.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mldg_jax.data.corpora.debspoof.splits import seed_of
from mldg_jax.data.corpora.debspoof.voices import Recording


@dataclass(frozen=True)
class Clip:
    """One candidate utterance: how to render it, and its metadata in the corpus.

    Attributes:
      utterance: unique name.
      split: "train", "dev" or "eval".
      label: "bonafide" or "spoof".
      attack: name of the attack, "-" for bona fide.
      speaker: human speaker, or the attack and voice for speech from text.
      language: ISO 639-1 code.
      text: transcript, "" if unknown.
      package: package that the recording or the text comes from.
      licence: licence of that package, after "text: " for speech from text.
      cell: the plan's key for the quota of this utterance.
      family: family of the attack, "-" for bona fide.
      fold: group for evaluation on disjoint speakers (``splits.speaker_folds``).
      recording: bona fide source, None for speech from text.
      target: recording of the target speaker, for world_swap only.
      voice: voice of the synthesiser.
      speed: speaking rate of the synthesiser, 1 = normal.
      pitch: espeak's pitch, 0 to 99.
      longest: upper bound of the length in seconds.
    """

    utterance: str
    split: str
    label: str
    attack: str
    speaker: str
    language: str
    text: str
    package: str
    licence: str
    cell: str
    family: str = "-"
    fold: int = 0
    recording: Recording | None = None
    target: Recording | None = None
    voice: str = ""
    speed: float = 1.0
    pitch: int = 50
    longest: float = 3.0

    @property
    def seed(self) -> int:
        """64-bit seed of every random choice about this utterance."""
        return seed_of(self.utterance)


@dataclass(frozen=True)
class Plan:
    """Candidates in their final order, and how many of each cell to keep.

    Attributes:
      size: "small", "full" or "quick".
      clips: candidates, more than will be kept.
      quotas: number of utterances to keep, by cell.
    """

    size: str
    clips: tuple[Clip, ...]
    quotas: Mapping[str, int]

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of everything that determines the samples."""
        lines = [
            "|".join(
                (
                    *(clip.utterance, clip.attack, clip.speaker, clip.language),
                    *(clip.text, clip.voice, f"{clip.speed:.4f}", str(clip.pitch)),
                    clip.recording.key if clip.recording else "",
                    clip.target.key if clip.target else "",
                    f"{clip.longest:.4f}",
                )
            )
            for clip in self.clips
        ]
        lines += [f"{cell}={quota}" for cell, quota in sorted(self.quotas.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
