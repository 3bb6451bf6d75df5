"""Who is in which split: voices and texts are disjoint, voices are balanced."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpora.debspoof.voices import Recording

SPLITS = ("train", "dev", "eval")
VOICE_SPLITS = {
    "train": (
        *("ast_june", "ast_carlo", "fil_small", "fil_alt_m", "fil_alt_v"),
        *("tux_ro", "tux_ru", "tux_da", "kt_lt"),
        *("mfa_man", "ami_meo069", "ami_fee078"),
    ),
    "dev": (
        *("fil_linux_1", "fil_linux_m", "fil_linux_v", "fil_kd", "tux_el"),
        *("kt_fr", "kt_da", "kt_uk", "kl_ml", "ami_mee009", "librivox"),
    ),
    # AMI speakers that are not named above go to eval too. tux_be is here and not in
    # train because seven full voices cannot fill 280 clips with 10 % each
    "eval": (
        *("ast_allison", "ast_ivr_ru", "fil_big", "fil_hs", "tux_bg", "tux_es"),
        *("tux_fr", "tux_be", "fest_ru", "ami_fee083", "mfa_ipa"),
    ),
}
MOST_PER_VOICE = 0.10
"""Largest share of the bona fide clips of a split that one voice may have."""
FEWEST_CLIPS, FEWEST_VOICES = 5, 20

FOLDS = 4
"""Groups of voices in each split, for evaluation on disjoint speakers."""

_TEXT_SHARES = {"train": 0.35, "dev": 0.15, "eval": 0.5}


def seed_of(name: str) -> int:
    """64-bit seed that depends on `name` alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def shuffled(
    items: Iterable[Any], name: str, key: Callable[[Any], str] = str
) -> list[Any]:
    """Items in an order that depends on `name` and on each item's `key` alone."""
    return sorted(items, key=lambda item: seed_of(f"{name}|{key(item)}"))


def spread(counts: Mapping[str, int]) -> list[str]:
    """Names, each `counts[name]` times, mixed so that any prefix is in proportion."""
    slots = [
        ((i + 0.5) / count, name)
        for name, count in counts.items()
        for i in range(count)
    ]
    return [name for _, name in sorted(slots)]


def largest_cap(counts: Sequence[int], share: float = MOST_PER_VOICE) -> int:
    """Largest k with k <= share * sum(min(count, k)): no voice above `share`.

    When even k = 1 is too much (fewer than 1/share voices) the result is 1.
    """
    best = 1
    for cap in range(1, max(counts, default=1) + 1):
        # the tolerance is for 10 <= 0.1 * 100 in floating point
        if cap <= share * sum(min(count, cap) for count in counts) + 1e-9:
            best = cap
    return best


def voice_quotas(counts: Mapping[str, int], wanted: int) -> dict[str, int]:
    """Clips to take of each voice: as even as possible, about `wanted` in all.

    No voice gets more than a tenth; if that allows fewer than `wanted`, fewer it is.
    """
    limit = largest_cap(list(counts.values()))
    cap = 1
    while cap < limit and sum(min(n, cap) for n in counts.values()) < wanted:
        cap += 1
    # the smallest cap that reaches `wanted` may be above a tenth of its own total
    while cap > largest_cap([min(n, cap) for n in counts.values()]):
        cap -= 1
    return {voice: min(n, cap) for voice, n in counts.items()}


def split_of(voice: str) -> str | None:
    """The split a bona fide voice belongs to, None for an unknown voice."""
    for split, names in VOICE_SPLITS.items():
        if voice in names:
            return split
    return "eval" if voice.startswith("ami_") else None


def normal_text(text: str) -> str:
    """Letters and digits only, lower case: two texts that sound alike are equal."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(re.findall(r"\w+", text))


def assign_splits(
    rows: Sequence[Recording], texts: Sequence[Recording] = ()
) -> dict[str, list[Recording]]:
    """Recordings and texts of each split: voices disjoint, texts disjoint.

    The English prompts are shared out by a hash of their text, for there is little
    other English text: the train and dev parts serve as texts for synthesisers only.
    A text that nobody reads goes to one of the splits with a voice of its language.
    """
    parts = {split: [] for split in SPLITS}
    owner: dict[str, str] = {}
    for row in rows:
        split = split_of(row.voice)
        if row.voice == "ast_allison" and row.language == "en":
            split = _part(normal_text(row.text), SPLITS)
        if split is None:
            continue
        text = normal_text(row.text)
        if text and owner.setdefault(text, split) != split:
            continue
        parts[split].append(row)
    homes = defaultdict(set)
    for row in rows:
        homes[row.language].add(split_of(row.voice))
    for row in texts:
        splits = [split for split in SPLITS if split in homes[row.language]]
        text = normal_text(row.text)
        if splits and text not in owner:
            owner[text] = _part(text, splits)
            parts[owner[text]].append(row)
    return parts


def _part(text: str, splits: Sequence[str]) -> str:
    """One of `splits`, by a hash of the text."""
    position = seed_of(text) / 2**64
    total = sum(_TEXT_SHARES[split] for split in splits)
    for split in splits:
        position -= _TEXT_SHARES[split] / total
        if position < 0:
            return split
    return splits[-1]


def speaker_folds(
    by_voice: Mapping[str, Sequence[Recording]], folds: int = FOLDS
) -> dict[str, int]:
    """Deals the voices of a split into groups of about as many clips each.

    Voices with most clips first, each goes to the fold that has fewest clips, among
    equals to the one with the fewest of its language, then of its sex.

    Args:
      by_voice: the recordings of every voice.
      folds: how many groups.

    Returns:
      Voice -> fold, 0 ... folds - 1. It does not depend on the size of the corpus.
    """
    clips = voice_quotas({v: len(r) for v, r in by_voice.items()}, 10**6)
    filled, same = Counter(), Counter()
    result = {}
    for voice in sorted(by_voice, key=lambda voice: (-clips[voice], voice)):
        language, sex = by_voice[voice][0].language, by_voice[voice][0].sex
        fold = min(
            range(folds),
            key=lambda f: (filled[f], same[f, language], same[f, sex], f),
        )
        result[voice] = fold
        filled[fold] += clips[voice]
        same[fold, language] += 1
        same[fold, sex] += 1
    return result


def text_fold(text: str, folds: int = FOLDS) -> int:
    """The fold of a synthesised clip: no text is in two folds."""
    return seed_of("fold|" + normal_text(text)) % folds


def speakable(text: str) -> bool:
    """Text that lasts about 1.5 to 3.5 s and that every engine can read."""
    plain = not re.search(r"[\d$€£%&/#@=()?]\w|\d|\.\.\.", text)
    return 24 <= len(text) <= 60 and plain and len(text.split()) >= 3


def check_voices(rows: Sequence[Recording]) -> None:
    """Raises UserError when a voice or the number of voices is too small."""
    counts = Counter(row.voice for row in rows)
    named = [voice for names in VOICE_SPLITS.values() for voice in names]
    poor = [voice for voice in named if 0 < counts[voice] < FEWEST_CLIPS]
    rich = [voice for voice in named if counts[voice] >= FEWEST_CLIPS]
    if poor:
        raise UserError(
            f"The voice {poor[0]} has {counts[poor[0]]} usable recordings, but at "
            f"least {FEWEST_CLIPS} are needed: its package differs from Debian 12's. "
            "Build on Debian 12 (a container will do)."
        )
    if len(rich) < FEWEST_VOICES:
        raise UserError(
            f"Only {len(rich)} human voices were found, but at least {FEWEST_VOICES} "
            f"are needed; missing: {', '.join(v for v in named if not counts[v])}. "
            "Check that the data packages unpacked below cache/x, or build on Debian "
            "12 (a container will do)."
        )
