"""Decides, from the catalogue alone, which clips the corpus is made of.

`make_plan` is a pure function. It lists more candidates than needed for every cell (a
voice of bona fide, an attack of a split): the renderer keeps the first `quota`
successes of a cell in order, so that the corpus does not depend on timing.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mldg_jax.data.debspoof.attacks import (
    COPY_ATTACKS,
    SEEN_ATTACKS,
    UNSEEN_ATTACKS,
    attack_languages,
    engine_voices,
)
from mldg_jax.data.debspoof.splits import (
    SPLITS,
    assign_splits,
    check_voices,
    normal_text,
    seed_of,
    shuffled,
    speakable,
    split_of,
    spread,
    voice_quotas,
)
from mldg_jax.data.debspoof.voices import Recording
from mldg_jax.errors import UserError

# size -> split -> (bona fide, clips a seen attack, clips an unseen attack)
QUOTAS = {
    "small": {"train": (300, 42, 0), "dev": (90, 14, 0), "eval": (280, 18, 42)},
    "full": {"train": (10**6, 126, 0), "dev": (10**6, 42, 0), "eval": (10**6, 54, 126)},
}

_SPARE = 1.3  # candidates per wanted clip


@dataclass(frozen=True)
class Clip:
    """One candidate: what to render, and what the corpus says about it.

    `recording` is the bona fide source (None for speech from text), `target` the
    second voice of world_swap; `speed` (1 = normal), `pitch` (espeak, 0-99) and
    `voice` set the engine; `longest` bounds the length in seconds.
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
        """SHA-256 over everything that the plan decides, places of files apart."""
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


def make_plan(rows: Sequence[Recording], size: str, seed: int = 0) -> Plan:
    """The plan of a corpus.

    Args:
      rows: the catalogue (`voices.catalogue`).
      size: "small" or "full".
      seed: changes every draw; the published corpus has 0.

    Raises:
      UserError: unknown size, or the packages of this machine hold too few clips.
    """
    if size not in QUOTAS:
        raise UserError(
            f"The corpus size is {size!r}, but only {' and '.join(QUOTAS)} exist."
        )
    check_voices(rows)
    parts = assign_splits(rows)
    clips: list[Clip] = []
    quotas: dict[str, int] = {}
    for split in SPLITS:
        wanted, seen, unseen = QUOTAS[size][split]
        bonafide, cells = _bonafide(parts[split], split, wanted, seed)
        clips += bonafide
        quotas |= cells
        source = _Sources(split, parts[split], bonafide, cells, seed)
        for attacks, count in ((SEEN_ATTACKS, seen), (UNSEEN_ATTACKS, unseen)):
            for attack in attacks if count else ():
                make = source.copies if attack in COPY_ATTACKS else source.speech
                clips += make(attack, int(np.ceil(count * _SPARE)))
                quotas[f"{split}/{attack}"] = count
    return Plan(size, tuple(clips), quotas)


def _bonafide(rows, split, wanted, seed) -> tuple[list[Clip], dict[str, int]]:
    by_voice = defaultdict(list)
    for row in rows:
        if split_of(row.voice) == split:
            by_voice[row.voice].append(row)
    quotas = voice_quotas({v: len(r) for v, r in sorted(by_voice.items())}, wanted)
    clips = []
    for voice, count in quotas.items():
        chosen = _by_language(by_voice[voice], f"{seed}|{split}|{voice}")
        for i, row in enumerate(chosen[: int(np.ceil(count * _SPARE)) + 2]):
            clips.append(
                Clip(
                    utterance=f"{split}_bonafide_{voice}_{i:04d}",
                    split=split,
                    label="bonafide",
                    attack="-",
                    speaker=voice,
                    language=row.language,
                    text=row.text,
                    package=row.package,
                    licence=row.licence,
                    cell=f"{split}/bonafide/{voice}",
                    recording=row,
                )
            )
    return clips, {f"{split}/bonafide/{voice}": n for voice, n in quotas.items()}


def _by_language(rows: Sequence[Recording], name: str) -> list[Recording]:
    """Shuffled rows of one voice, its languages taking turns."""
    queues = defaultdict(list)
    for row in shuffled(rows, name, key=lambda row: row.key):
        queues[row.language].append(row)
    order = [
        (i, language, row)
        for language in queues
        for i, row in enumerate(queues[language])
    ]
    return [row for *_, row in sorted(order, key=lambda item: item[:2])]


class _Sources:
    """What the attacks of one split are made from: its recordings and its texts."""

    def __init__(self, split, rows, bonafide, quotas, seed):
        self._split, self._seed = split, seed
        taken = Counter()
        self._kept = []  # the bona fide clips that will be kept if none fails
        for clip in bonafide:
            taken[clip.cell] += 1
            if taken[clip.cell] <= quotas[clip.cell]:
                self._kept.append(clip)
        self._voices = Counter(clip.speaker for clip in self._kept)
        self._languages = Counter(clip.language for clip in self._kept)
        self._rows = defaultdict(list)
        self._texts = defaultdict(dict)  # language -> normal text -> recording
        for row in rows:
            if split_of(row.voice) == split:
                self._rows[row.voice].append(row)
            if speakable(row.text):
                self._texts[row.language].setdefault(normal_text(row.text), row)

    def copies(self, attack: str, count: int) -> list[Clip]:
        """Re-synthesised speech: voices in the same proportion as bona fide."""
        voices = spread(self._voices)
        offset = seed_of(f"{self._seed}|{self._split}|{attack}") % len(voices)
        voices = voices[offset:] + voices[:offset]
        bonafide = {clip.recording.key for clip in self._kept}
        queues = {}
        for voice, rows in self._rows.items():
            rows = shuffled(rows, f"{self._seed}|{attack}", key=lambda row: row.key)
            # recordings that are not in the corpus as bona fide come first
            queues[voice] = sorted(rows, key=lambda row: row.key in bonafide)
        clips, used = [], Counter()
        for i in range(count):
            voice = voices[i % len(voices)]
            row = queues[voice][used[voice] % len(queues[voice])]
            used[voice] += 1
            clip = self._clip(attack, i, row, speaker=voice)
            target = self._target(clip, row) if attack == "world_swap" else None
            clips.append(replace(clip, recording=row, target=target))
        return clips

    def _target(self, clip: Clip, row: Recording) -> Recording:
        generator = np.random.default_rng(seed_of(clip.utterance + "|target"))
        others = [c.recording for c in self._kept if c.speaker != row.voice]
        return others[generator.integers(len(others))]

    def speech(self, attack: str, count: int) -> list[Clip]:
        """Speech from text: the texts and the languages of the split's bona fide."""
        queues = self._text_queues(attack)
        weights = {name: max(1, self._languages[name]) for name in queues}
        languages = spread(weights)
        turns, clips = Counter(), []
        for i in range(count):
            language = languages[i % len(languages)]
            turn = turns[language]
            turns[language] += 1
            row = queues[language][turn % len(queues[language])]
            voices = engine_voices(attack, self._split, language)
            voice = voices[turn % len(voices)]
            name = voice.strip("+") or "default"
            clip = self._clip(attack, i, row, speaker=f"{attack}_{name}")
            generator = np.random.default_rng(seed_of(clip.utterance + "|engine"))
            # the duration of some bona fide clip, so that length tells nothing
            like = self._kept[generator.integers(len(self._kept))].recording
            clips.append(
                replace(
                    clip,
                    voice=voice,
                    speed=round(float(generator.uniform(0.87, 1.12)), 3),
                    pitch=int(generator.integers(25, 76)),
                    longest=round(min(3.0, max(1.3, like.seconds)), 3),
                    licence=f"text: {row.licence}",
                )
            )
        return clips

    def _text_queues(self, attack: str) -> dict[str, list[Recording]]:
        queues = {}
        for language in attack_languages(attack, self._split):
            rows = self._texts[language].values()
            if attack == "fest_clunits":
                # it is cut from fest_ru: its own sentences come out as recorded
                rows = [row for row in rows if row.voice != "fest_ru"]
            if rows:
                name = f"{self._seed}|{attack}|text"
                queues[language] = shuffled(rows, name, key=lambda row: row.key)
        if not queues:
            raise UserError(
                f"There are no texts for the attack {attack} in split {self._split}: "
                "the transcripts of the data packages are not where they are in "
                "Debian 12. Build on Debian 12 (a container will do)."
            )
        return queues

    def _clip(self, attack: str, i: int, row: Recording, speaker: str) -> Clip:
        return Clip(
            utterance=f"{self._split}_{attack}_{i:04d}",
            split=self._split,
            label="spoof",
            attack=attack,
            speaker=speaker,
            language=row.language,
            text=row.text,
            package=row.package,
            licence=row.licence,
            cell=f"{self._split}/{attack}",
        )
