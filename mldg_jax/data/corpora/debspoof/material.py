"""The recordings and texts of one split, from which its attacks are made."""

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
    """Draws the candidates for attacks from the recordings and texts of a split.

    Args:
      split: "train", "dev" or "eval".
      rows: recordings and texts of the split.
      bonafide: candidates for bona fide utterances.
      quotas: number of bona fide utterances to keep, by cell.
      folds: fold by human speaker.
      seed: seed of every draw.
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
        filled = Counter()
        self._bonafide = []  # the utterances of the corpus if none fails to render
        for clip in bonafide:
            filled[clip.cell] += 1
            if filled[clip.cell] <= quotas[clip.cell]:
                self._bonafide.append(clip)
        self._speakers = Counter(clip.speaker for clip in self._bonafide)
        self._languages = Counter(clip.language for clip in self._bonafide)
        self._balanced: dict[str, list[str]] | None = None
        self._rows = defaultdict(list)
        self._texts = defaultdict(dict)  # language -> normal text -> recording
        for row in rows:
            if split_of(row.voice) == split:
                self._rows[row.voice].append(row)
            if speakable(row.text):
                self._texts[row.language].setdefault(normal_text(row.text), row)

    def clips(self, name: str, attack: Attack, count: int) -> list[Clip]:
        """Draws candidates for the utterances of an attack.

        Args:
          name: name of the attack.
          attack: the attack.
          count: number of candidates.

        Returns:
          ``count`` candidates in their final order.

        Raises:
          UserError: there is no text in any language that the attack can speak.
        """
        make = self._speech if attack.voices else self._copies
        return make(name, attack, count)

    def balance_languages(
        self, attacks: Mapping[str, Attack], counts: Mapping[str, int]
    ) -> None:
        """Chooses languages so that spoof has nearly the proportions of bona fide.

        Copy synthesis has the languages of bona fide. Synthesisers then fill the
        deficits, those with the fewest languages first: half of the utterances are in
        the language with the largest deficit, half in all languages in turn.

        Args:
          attacks: attacks by name.
          counts: number of utterances by attack.
        """
        total = sum(self._languages.values())
        clips = sum(counts.values())
        deficit = {name: n / total * clips for name, n in self._languages.items()}
        spoken = {}
        for name, count in counts.items():
            if attacks[name].voices:
                spoken[name] = self._speakable_languages(name, attacks[name])
                continue
            for language, n in self._languages.items():
                deficit[language] -= n / total * count
        self._balanced = {}
        for name in sorted(spoken, key=lambda name: (len(spoken[name]), name)):
            chosen: Counter = Counter()
            for i in range(counts[name]):
                language = spoken[name][i // 2 % len(spoken[name])]
                if i % 2:
                    language = max(spoken[name], key=lambda key: (deficit[key], key))
                deficit[language] -= 1
                chosen[language] += 1
            self._balanced[name] = spread(chosen)

    def _speakable_languages(self, name: str, attack: Attack) -> list[str]:
        """Lists the languages with text and a voice that bona fide speech has too."""
        return [
            language
            for language in self._text_queues(name, attack)
            if language in attack.voices[self._split] and language in self._languages
        ]

    def _copies(self, name: str, attack: Attack, count: int) -> list[Clip]:
        """Draws copy synthesis, with speakers in the same proportion as bona fide."""
        voices = spread(self._speakers)
        offset = seed_of(f"{self._seed}|{self._split}|{name}") % len(voices)
        voices = voices[offset:] + voices[:offset]
        bonafide_keys = {clip.recording.key for clip in self._bonafide}
        queues = {}
        for voice, rows in self._rows.items():
            rows = shuffled(rows, f"{self._seed}|{name}", key=lambda row: row.key)
            # Prefer recordings that are not in the corpus as bona fide
            queues[voice] = sorted(rows, key=lambda row: row.key in bonafide_keys)
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
        """Draws a recording of another speaker for world_swap."""
        generator = np.random.default_rng(seed_of(clip.utterance + "|target"))
        others = [c for c in self._bonafide if c.speaker != row.voice]
        if self._balanced is not None:
            # Size small, whose plan is older, allows targets from other folds
            others = [c for c in others if c.fold == clip.fold] or others
        return others[generator.integers(len(others))].recording

    def _speech(self, name: str, attack: Attack, count: int) -> list[Clip]:
        """Draws speech from text, in the languages of the split's bona fide."""
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
            # The duration of a bona fide utterance, so that length reveals nothing
            natural = self._bonafide[generator.integers(len(self._bonafide))].recording
            clips.append(
                replace(
                    clip,
                    voice=voice,
                    speed=round(float(generator.uniform(0.87, 1.12)), 3),
                    pitch=int(generator.integers(25, 76)),
                    longest=round(min(3.0, max(1.3, natural.seconds)), 3),
                    licence=f"text: {row.licence}",
                )
            )
        return clips

    def _text_queues(self, name: str, attack: Attack) -> dict[str, list[Recording]]:
        """Shuffles the texts of the split for every language the attack speaks."""
        queues = {}
        for language in attack.voices[self._split]:
            rows = self._texts[language].values()
            if name == "fest_clunits":
                # Its units come from fest_ru: those sentences would be the recordings
                rows = [row for row in rows if row.voice != "fest_ru"]
            if rows:
                order = f"{self._seed}|{name}|text"
                queues[language] = shuffled(rows, order, key=lambda row: row.key)
        if not queues:
            raise UserError(
                f"There are no texts for the attack {name} in split {self._split}, but "
                "at least one is needed: the transcripts of the data packages are not "
                "where Debian 12 has them. Build on Debian 12 (a container will do)."
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
