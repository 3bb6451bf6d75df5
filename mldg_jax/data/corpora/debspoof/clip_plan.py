"""Decides, from the catalogue alone, which clips the corpus is made of.

`make_plan` is a pure function. It lists more candidates than needed for every cell (a
voice of bona fide, an attack of a split): the renderer keeps the first `quota`
successes of a cell in order, so that the corpus does not depend on timing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof.attacks import ATTACKS, Attack
from mldg_jax.data.corpora.debspoof.clip import Clip, Plan
from mldg_jax.data.corpora.debspoof.material import Material
from mldg_jax.data.corpora.debspoof.splits import (
    SPLITS,
    assign_splits,
    check_voices,
    shuffled,
    speaker_folds,
    split_of,
    voice_quotas,
)
from mldg_jax.data.corpora.debspoof.voices import Recording

ALL = 10**6  # more bona fide than there is: the cap of a tenth a voice decides

# size -> split -> (bona fide, clips a seen attack, clips an unseen attack)
QUOTAS = {
    "small": {"train": (300, 42, 0), "dev": (90, 14, 0), "eval": (280, 18, 42)},
    "full": {"train": (ALL, 125, 0), "dev": (ALL, 40, 0), "eval": (ALL, 54, 126)},
}

_SPARE = 1.3  # candidates per wanted clip


def make_plan(
    rows: Sequence[Recording],
    size: str,
    seed: int = 0,
    texts: Sequence[Recording] = (),
) -> Plan:
    """The plan of a corpus.

    Args:
      rows: the catalogue (`voices.catalogue`).
      size: "small" or "full".
      seed: changes every draw; the published corpus has 0.
      texts: sentences that no voice of the catalogue reads (`texts.extra_texts`), for
        size "full".

    Raises:
      UserError: unknown size, or the packages of this machine hold too few clips.
    """
    if size not in QUOTAS:
        raise UserError(
            f"The corpus size is {size!r}, but only {' and '.join(QUOTAS)} exist."
        )
    check_voices(rows)
    parts = assign_splits(rows, texts)
    clips: list[Clip] = []
    quotas: dict[str, int] = {}
    for split in SPLITS:
        wanted = QUOTAS[size][split][0]
        by_voice = _by_voice(parts[split], split)
        # one voice speaks English and Spanish, and English is scarce
        first = "en" if size == "full" else ""
        bonafide, cells = _bonafide(by_voice, split, wanted, seed, first)
        clips += bonafide
        quotas |= cells
        counts = attack_counts(size, split)
        attacks = ATTACKS[size]
        folds = speaker_folds(by_voice)
        source = Material(split, parts[split], bonafide, cells, folds, seed)
        if size == "full":
            source.balance_languages(attacks, counts)
        for attack, count in counts.items():
            clips += source.clips(attack, attacks[attack], int(np.ceil(count * _SPARE)))
            quotas[f"{split}/{attack}"] = count
    return Plan(size, tuple(clips), quotas)


def attack_counts(size: str, split: str) -> dict[str, int]:
    """How many clips of each attack a split of a size gets."""
    _, seen, unseen = QUOTAS[size][split]

    def count(attack: Attack) -> int:
        return round((seen if attack.seen else unseen) * attack.share)

    counts = {name: count(attack) for name, attack in ATTACKS[size].items()}
    return {name: n for name, n in counts.items() if n}


def _by_voice(rows: Sequence[Recording], split: str) -> dict[str, list[Recording]]:
    """The recordings of the split's own voices, voices sorted."""
    by_voice = defaultdict(list)
    for row in rows:
        if split_of(row.voice) == split:
            by_voice[row.voice].append(row)
    return dict(sorted(by_voice.items()))


def _bonafide(
    by_voice: Mapping[str, Sequence[Recording]],
    split: str,
    wanted: int,
    seed: int,
    first: str,
) -> tuple[list[Clip], dict[str, int]]:
    quotas = voice_quotas({v: len(r) for v, r in by_voice.items()}, wanted)
    folds = speaker_folds(by_voice)
    clips = []
    for voice, count in quotas.items():
        chosen = _by_language(by_voice[voice], f"{seed}|{split}|{voice}", first)
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
                    fold=folds[voice],
                    recording=row,
                )
            )
    return clips, {f"{split}/bonafide/{voice}": n for voice, n in quotas.items()}


def _by_language(rows: Sequence[Recording], name: str, first: str) -> list[Recording]:
    """Shuffled rows of one voice: one language `first`, the others taking turns."""
    queues = defaultdict(list)
    for row in shuffled(rows, name, key=lambda row: row.key):
        queues[row.language].append(row)
    order = [
        (language != first, i, language, row)
        for language in queues
        for i, row in enumerate(queues[language])
    ]
    return [row for *_, row in sorted(order, key=lambda item: item[:3])]
