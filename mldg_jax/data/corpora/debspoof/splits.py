"""Splits with disjoint speakers and texts, and quotas that balance the speakers."""

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
    # All other AMI speakers go to eval too. tux_be is here and not in train because
    # seven speakers with enough recordings cannot fill 280 utterances at 10 % each
    "eval": (
        *("ast_allison", "ast_ivr_ru", "fil_big", "fil_hs", "tux_bg", "tux_es"),
        *("tux_fr", "tux_be", "fest_ru", "ami_fee083", "mfa_ipa"),
    ),
}
MOST_PER_VOICE = {"small": 0.10, "full": 0.10, "quick": 0.25}
"""Largest share of the bona fide utterances of a split that one speaker may have."""
FEWEST_CLIPS = 5
"""Fewest recordings of a speaker that a build accepts."""
FEWEST_VOICES = {"small": 20, "full": 20, "quick": 12}
"""Fewest speakers that a build accepts."""

FOLDS = 4
"""Number of groups of speakers per split, for evaluation on disjoint speakers."""

_TEXT_SHARES = {"train": 0.35, "dev": 0.15, "eval": 0.5}


def seed_of(name: str) -> int:
    """Derives a seed from a name, the same on every machine.

    Args:
      name: any text.

    Returns:
      Integer in [0, 2**64).
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def shuffled(
    items: Iterable[Any], name: str, key: Callable[[Any], str] = str
) -> list[Any]:
    """Shuffles items in an order that depends on ``name`` and the keys alone.

    Args:
      items: items to shuffle.
      name: seed.
      key: maps an item to a text that identifies it.

    Returns:
      The items in a new list.
    """
    return sorted(items, key=lambda item: seed_of(f"{name}|{key(item)}"))


def spread(counts: Mapping[str, int]) -> list[str]:
    """Interleaves repeated names so that every prefix is nearly in proportion.

    Args:
      counts: number of repetitions by name.

    Returns:
      Every name, ``counts[name]`` times.
    """
    slots = [
        ((i + 0.5) / count, name)
        for name, count in counts.items()
        for i in range(count)
    ]
    return [name for _, name in sorted(slots)]


def largest_cap(counts: Sequence[int], share: float) -> int:
    """Computes the largest cap that keeps every speaker within a share of the total.

    Args:
      counts: number of recordings of each speaker.
      share: largest fraction of the total that one speaker may have.

    Returns:
      The largest k with k <= share * sum(min(count, k)), or 1 if there is none (fewer
      than 1 / share speakers).
    """
    best = 1
    for cap in range(1, max(counts, default=1) + 1):
        # The tolerance absorbs the rounding of the product when both are equal
        if cap <= share * sum(min(count, cap) for count in counts) + 1e-9:
            best = cap
    return best


def voice_quotas(
    counts: Mapping[str, int], wanted: int, share: float
) -> dict[str, int]:
    """Distributes about ``wanted`` utterances over the speakers as evenly as possible.

    Args:
      counts: number of recordings by speaker.
      wanted: total number of utterances; reached only if no speaker would then have
        more than the share.
      share: largest fraction of the total that one speaker may have.

    Returns:
      Number of utterances by speaker.
    """
    limit = largest_cap(list(counts.values()), share)
    cap = 1
    while cap < limit and sum(min(n, cap) for n in counts.values()) < wanted:
        cap += 1
    # The smallest cap that reaches `wanted` may exceed the share of the resulting total
    while cap > largest_cap([min(n, cap) for n in counts.values()], share):
        cap -= 1
    return {voice: min(n, cap) for voice, n in counts.items()}


def split_of(voice: str) -> str | None:
    """Returns the split of a bona fide speaker.

    Args:
      voice: name of the speaker.

    Returns:
      "train", "dev" or "eval"; None for an unknown speaker.
    """
    for split, names in VOICE_SPLITS.items():
        if voice in names:
            return split
    return "eval" if voice.startswith("ami_") else None


def normal_text(text: str) -> str:
    """Normalises a text so that texts with the same words compare equal.

    Args:
      text: any text.

    Returns:
      Lower-case words of letters, digits and underscores, separated by spaces.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(re.findall(r"\w+", text))


def assign_splits(
    rows: Sequence[Recording], texts: Sequence[Recording] = ()
) -> dict[str, list[Recording]]:
    """Assigns recordings and texts to splits with disjoint speakers and texts.

    The English prompts of ast_allison are distributed by a hash of their text, because
    there is little other English text; in train and dev they only serve as texts for
    synthesisers. A recording whose text belongs to another split is dropped. A text
    without a recording goes to a split that has a speaker of its language.

    Args:
      rows: the catalogue.
      texts: texts without a recording.

    Returns:
      Recordings and texts by split.
    """
    parts = {split: [] for split in SPLITS}
    owner: dict[str, str] = {}
    for row in rows:
        split = split_of(row.voice)
        if row.voice == "ast_allison" and row.language == "en":
            split = _split_by_hash(normal_text(row.text), SPLITS)
        if split is None:
            continue
        text = normal_text(row.text)
        if text and owner.setdefault(text, split) != split:
            continue
        parts[split].append(row)
    language_splits = defaultdict(set)
    for row in rows:
        language_splits[row.language].add(split_of(row.voice))
    for row in texts:
        splits = [split for split in SPLITS if split in language_splits[row.language]]
        text = normal_text(row.text)
        if splits and text not in owner:
            owner[text] = _split_by_hash(text, splits)
            parts[owner[text]].append(row)
    return parts


def _split_by_hash(text: str, splits: Sequence[str]) -> str:
    """Returns one of ``splits``, by a hash of the text and ``_TEXT_SHARES``."""
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
    """Divides the speakers of a split into folds of similar size.

    In decreasing order of utterances, each speaker goes to the fold with the fewest
    utterances; ties go to the fold with the fewest speakers of the same language, then
    of the same sex.

    Args:
      by_voice: recordings by speaker.
      folds: number of folds.

    Returns:
      Fold by speaker, 0 to folds - 1. It does not depend on the size of the corpus.
    """
    # The cap of the published sizes, whatever the size: folds do not depend on it
    share = MOST_PER_VOICE["full"]
    clips = voice_quotas({v: len(r) for v, r in by_voice.items()}, 10**6, share)
    sizes, similar = Counter(), Counter()
    result = {}
    for voice in sorted(by_voice, key=lambda voice: (-clips[voice], voice)):
        language, sex = by_voice[voice][0].language, by_voice[voice][0].sex
        fold = min(
            range(folds),
            key=lambda f: (sizes[f], similar[f, language], similar[f, sex], f),
        )
        result[voice] = fold
        sizes[fold] += clips[voice]
        similar[fold, language] += 1
        similar[fold, sex] += 1
    return result


def text_fold(text: str, folds: int = FOLDS) -> int:
    """Returns the fold of a synthesised utterance, so that no text is in two folds.

    Args:
      text: the sentence.
      folds: number of folds.

    Returns:
      0 to folds - 1, by a hash of the normalised text.
    """
    return seed_of("fold|" + normal_text(text)) % folds


def speakable(text: str) -> bool:
    """Returns True if every engine can read a text and it lasts about 1.5 to 3.5 s.

    Args:
      text: the sentence.

    Returns:
      True for 24 to 60 characters and at least three words, without digits, ellipses
      or symbols that are read out.
    """
    plain = not re.search(r"[\d$€£%&/#@=()?]\w|\d|\.\.\.", text)
    return 24 <= len(text) <= 60 and plain and len(text.split()) >= 3


def check_voices(rows: Sequence[Recording], size: str) -> None:
    """Checks that there are enough speakers with enough recordings each.

    Args:
      rows: the catalogue.
      size: size of the corpus.

    Raises:
      UserError: a speaker has fewer than 5 recordings, or there are fewer speakers
        than ``FEWEST_VOICES``.
    """
    counts = Counter(row.voice for row in rows)
    named = [voice for names in VOICE_SPLITS.values() for voice in names]
    poor = [voice for voice in named if 0 < counts[voice] < FEWEST_CLIPS]
    rich = [voice for voice in named if counts[voice] >= FEWEST_CLIPS]
    if poor:
        raise UserError(
            f"The speaker {poor[0]} has {counts[poor[0]]} usable recordings, but at "
            f"least {FEWEST_CLIPS} are needed: the package differs from Debian 12's. "
            "Build on Debian 12 (a container will do)."
        )
    if len(rich) < FEWEST_VOICES[size]:
        raise UserError(
            f"Only {len(rich)} human speakers were found, but at least "
            f"{FEWEST_VOICES[size]} "
            f"are needed; missing: {', '.join(v for v in named if not counts[v])}. "
            "Check that the data packages were unpacked below cache/x, or build on "
            "Debian 12 (a container will do)."
        )
