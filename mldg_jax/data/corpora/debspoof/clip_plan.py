"""Plans the utterances of the corpus from the catalogue alone.

``make_plan`` is a pure function. It lists more candidates than needed for every cell (a
bona fide speaker or an attack within a split). The renderer keeps the first successes
of each cell in plan order, up to its quota, so the corpus does not depend on timing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof.attacks import ATTACKS, Attack
from mldg_jax.data.corpora.debspoof.clip import Clip, Plan
from mldg_jax.data.corpora.debspoof.material import Material
from mldg_jax.data.corpora.debspoof.splits import (
    MOST_PER_VOICE,
    SPLITS,
    assign_splits,
    check_voices,
    shuffled,
    speaker_folds,
    split_of,
    voice_quotas,
)
from mldg_jax.data.corpora.debspoof.voices import Recording

# More than the catalogue holds: only the cap of a tenth per speaker limits bona fide
ALL = 10**6

# size -> split -> utterances (bona fide in all, per seen attack, per unseen attack)
QUOTAS = {
    "small": {"train": (300, 42, 0), "dev": (90, 14, 0), "eval": (280, 18, 42)},
    "full": {"train": (ALL, 125, 0), "dev": (ALL, 40, 0), "eval": (ALL, 54, 126)},
    # dev: the fewest that a calibration accepts without a warning
    "quick": {"train": (160, 24, 0), "dev": (52, 10, 0), "eval": (48, 4, 6)},
}

_SPARE = 1.3  # candidates per wanted utterance, in case some cannot be rendered


def make_plan(
    rows: Sequence[Recording],
    size: str,
    seed: int = 0,
    texts: Sequence[Recording] = (),
) -> Plan:
    """Returns the plan of a corpus.

    Args:
      rows: the catalogue (``voices.catalogue``).
      size: "small", "full" or "quick".
      seed: changes every draw; the published corpus uses 0.
      texts: sentences without a recording (``texts.extra_texts``), for size "full".

    Returns:
      The candidates, split by split, bona fide before the attacks, and the quotas.

    Raises:
      UserError: the size is unknown, or the installed packages hold too few speakers,
        recordings or texts.
    """
    if size not in QUOTAS:
        raise UserError(
            f"The corpus size is {size!r}, but it must be {' or '.join(QUOTAS)}."
        )
    check_voices(rows, size)
    parts = assign_splits(rows, texts)
    clips: list[Clip] = []
    quotas: dict[str, int] = {}
    for split in SPLITS:
        wanted = QUOTAS[size][split][0]
        by_voice = _by_voice(parts[split], split)
        # One speaker has both English and Spanish, and English is scarce
        first = "en" if size == "full" else ""
        quota = voice_quotas(
            {voice: len(voice_rows) for voice, voice_rows in by_voice.items()},
            wanted,
            MOST_PER_VOICE[size],
        )
        bonafide, cells = _bonafide(by_voice, split, quota, seed, first)
        clips += bonafide
        quotas |= cells
        counts = attack_counts(size, split)
        attacks = ATTACKS[size]
        folds = speaker_folds(by_voice)
        material = Material(split, parts[split], bonafide, cells, folds, seed)
        if size == "full":
            material.balance_languages(attacks, counts)
        for attack, count in counts.items():
            candidates = int(np.ceil(count * _SPARE))
            clips += material.clips(attack, attacks[attack], candidates)
            quotas[f"{split}/{attack}"] = count
    return Plan(size, tuple(clips), quotas)


def attack_counts(size: str, split: str) -> dict[str, int]:
    """Returns the number of utterances wanted of each attack in a split.

    Args:
      size: "small", "full" or "quick".
      split: "train", "dev" or "eval".

    Returns:
      Count by attack, in corpus order; attacks without utterances are omitted.
    """
    _, seen, unseen = QUOTAS[size][split]

    def count(attack: Attack) -> int:
        return round((seen if attack.seen else unseen) * attack.share)

    counts = {name: count(attack) for name, attack in ATTACKS[size].items()}
    return {name: n for name, n in counts.items() if n}


def _by_voice(rows: Sequence[Recording], split: str) -> dict[str, list[Recording]]:
    """Returns the recordings of the split's own speakers, sorted by speaker."""
    by_voice = defaultdict(list)
    for row in rows:
        if split_of(row.voice) == split:
            by_voice[row.voice].append(row)
    return dict(sorted(by_voice.items()))


def _bonafide(
    by_voice: Mapping[str, Sequence[Recording]],
    split: str,
    quotas: Mapping[str, int],
    seed: int,
    first: str,
) -> tuple[list[Clip], dict[str, int]]:
    """Returns the bona fide candidates of a split and the quota of each cell."""
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
    """Shuffles one speaker's recordings: language ``first``, then the rest in turn."""
    queues = defaultdict(list)
    for row in shuffled(rows, name, key=lambda row: row.key):
        queues[row.language].append(row)
    order = [
        (language != first, i, language, row)
        for language in queues
        for i, row in enumerate(queues[language])
    ]
    return [row for *_, row in sorted(order, key=lambda item: item[:3])]
