"""What a plan is made of: candidates for clips, and how many of each cell to keep."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mldg_jax.data.corpora.debspoof.splits import seed_of
from mldg_jax.data.corpora.debspoof.voices import Recording


@dataclass(frozen=True)
class Clip:
    """One candidate: what to render, and what the corpus says about it.

    `recording` is the bona fide source (None for speech from text), `target` the
    second voice of world_swap; `speed` (1 = normal), `pitch` (espeak, 0-99) and
    `voice` set the engine; `longest` bounds the length in seconds; `fold` is its group
    for evaluation on disjoint speakers, see `splits.speaker_folds`.
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
        """Seed of every random choice about this clip."""
        return seed_of(self.utterance)


@dataclass(frozen=True)
class Plan:
    """Candidates in their final order, and how many of each cell to keep."""

    size: str
    clips: tuple[Clip, ...]
    quotas: Mapping[str, int]

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides how the clips sound."""
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
