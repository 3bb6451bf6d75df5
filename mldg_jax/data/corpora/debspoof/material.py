"""What the attacks of one split are made from: its recordings and its texts."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof.attacks import Attack
from mldg_jax.data.corpora.debspoof.clip import Clip
from mldg_jax.data.corpora.debspoof.splits import (
    normal_text,
    seed_of,
    shuffled,
    speakable,
    split_of,
    spread,
    text_fold,
)
from mldg_jax.data.corpora.debspoof.voices import Recording


class Material:
    """The recordings and texts of a split, and how attacks draw from them.

    Args:
      split: its name.
      rows: recordings and texts of the split.
      bonafide: candidates for bona fide clips.
      quotas: how many of each cell of them will be kept.
      folds: of the split's voices.
      seed: of every draw.
    """

    def __init__(
        self,
        split: str,
        rows: Sequence[Recording],
        bonafide: Sequence[Clip],
        quotas: Mapping[str, int],
        folds: Mapping[str, int],
        seed: int,
    ):
        self._split, self._seed, self._folds = split, seed, folds
        taken = Counter()
        self._kept = []  # the bona fide clips that will be kept if none fails
        for clip in bonafide:
            taken[clip.cell] += 1
            if taken[clip.cell] <= quotas[clip.cell]:
                self._kept.append(clip)
        self._voices = Counter(clip.speaker for clip in self._kept)
        self._languages = Counter(clip.language for clip in self._kept)
        self._balanced: dict[str, list[str]] | None = None
        self._rows = defaultdict(list)
        self._texts = defaultdict(dict)  # language -> normal text -> recording
        for row in rows:
            if split_of(row.voice) == split:
                self._rows[row.voice].append(row)
            if speakable(row.text):
                self._texts[row.language].setdefault(normal_text(row.text), row)

    def clips(self, name: str, attack: Attack, count: int) -> list[Clip]:
        """`count` candidates for the clips of an attack.

        Raises:
          UserError: there is no text in a language that the attack can speak.
        """
        make = self._speech if attack.voices else self._copies
        return make(name, attack, count)

    def balance_languages(
        self, attacks: Mapping[str, Attack], counts: Mapping[str, int]
    ) -> None:
        """Chooses the languages of all attacks so that spoof is like bona fide.

        Copies have the languages of bona fide. The synthesisers then fill what is
        missing, those that speak the fewest languages first: half of the clips are in
        the languages that lack most, half in all that the synthesiser can speak.
        """
        total = sum(self._languages.values())
        clips = sum(counts.values())
        lack = {name: n / total * clips for name, n in self._languages.items()}
        spoken = {}
        for name, count in counts.items():
            if attacks[name].voices:
                spoken[name] = self._speakable_languages(name, attacks[name])
                continue
            for language, n in self._languages.items():
                lack[language] -= n / total * count
        self._balanced = {}
        for name in sorted(spoken, key=lambda name: (len(spoken[name]), name)):
            chosen: Counter = Counter()
            for i in range(counts[name]):
                language = spoken[name][i // 2 % len(spoken[name])]
                if i % 2:
                    language = max(spoken[name], key=lambda key: (lack[key], key))
                lack[language] -= 1
                chosen[language] += 1
            self._balanced[name] = spread(chosen)

    def _speakable_languages(self, name: str, attack: Attack) -> list[str]:
        able = attack.voices[self._split]
        return [
            language
            for language in self._text_queues(name, attack)
            if language in able and language in self._languages
        ]

    def _copies(self, name: str, attack: Attack, count: int) -> list[Clip]:
        """Re-synthesised speech: voices in the same proportion as bona fide."""
        voices = spread(self._voices)
        offset = seed_of(f"{self._seed}|{self._split}|{name}") % len(voices)
        voices = voices[offset:] + voices[:offset]
        bonafide = {clip.recording.key for clip in self._kept}
        queues = {}
        for voice, rows in self._rows.items():
            rows = shuffled(rows, f"{self._seed}|{name}", key=lambda row: row.key)
            # recordings that are not in the corpus as bona fide come first
            queues[voice] = sorted(rows, key=lambda row: row.key in bonafide)
        clips, used = [], Counter()
        for i in range(count):
            voice = voices[i % len(voices)]
            row = queues[voice][used[voice] % len(queues[voice])]
            used[voice] += 1
            clip = self._clip(name, attack, i, row, voice, self._folds[voice])
            target = self._target(clip, row) if name == "world_swap" else None
            clips.append(replace(clip, recording=row, target=target))
        return clips

    def _target(self, clip: Clip, row: Recording) -> Recording:
        generator = np.random.default_rng(seed_of(clip.utterance + "|target"))
        others = [c for c in self._kept if c.speaker != row.voice]
        if self._balanced is not None:
            # in `small`, which came first, the target may be of another fold
            others = [c for c in others if c.fold == clip.fold] or others
        return others[generator.integers(len(others))].recording

    def _speech(self, name: str, attack: Attack, count: int) -> list[Clip]:
        """Speech from text: the texts and the languages of the split's bona fide."""
        queues = self._text_queues(name, attack)
        if self._balanced is None:
            languages = spread({key: max(1, self._languages[key]) for key in queues})
        else:
            languages = self._balanced[name]
        turns, clips = Counter(), []
        for i in range(count):
            language = languages[i % len(languages)]
            turn = turns[language]
            turns[language] += 1
            row = queues[language][turn % len(queues[language])]
            voices = attack.voices[self._split][language]
            voice = voices[turn % len(voices)]
            speaker = f"{name}_{voice.strip('+') or 'default'}"
            clip = self._clip(name, attack, i, row, speaker, text_fold(row.text))
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

    def _text_queues(self, name: str, attack: Attack) -> dict[str, list[Recording]]:
        queues = {}
        for language in attack.voices[self._split]:
            rows = self._texts[language].values()
            if name == "fest_clunits":
                # it is cut from fest_ru: its own sentences come out as recorded
                rows = [row for row in rows if row.voice != "fest_ru"]
            if rows:
                order = f"{self._seed}|{name}|text"
                queues[language] = shuffled(rows, order, key=lambda row: row.key)
        if not queues:
            raise UserError(
                f"There are no texts for the attack {name} in split {self._split}: "
                "the transcripts of the data packages are not where they are in "
                "Debian 12. Build on Debian 12 (a container will do)."
            )
        return queues

    def _clip(
        self, name: str, attack: Attack, i: int, row: Recording, speaker: str, fold: int
    ) -> Clip:
        return Clip(
            utterance=f"{self._split}_{name}_{i:04d}",
            split=self._split,
            label="spoof",
            attack=name,
            speaker=speaker,
            language=row.language,
            text=row.text,
            package=row.package,
            licence=row.licence,
            cell=f"{self._split}/{name}",
            family=attack.family,
            fold=fold,
        )
