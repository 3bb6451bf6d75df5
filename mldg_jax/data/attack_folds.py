"""Leave-family-out training: a corpus's attacks in groups, of which one is held out.

An attack is unseen if nothing like it was trained on: two settings of one engine belong
in the same group. Groups are named in a config's ``corpus.attack_folds``; crossed with
speaker folds, every family and every speaker is tested once by a detector that was
trained without both.
"""

import functools
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mldg_jax.common.config import CorpusSection, ValidationSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import (
    BONAFIDE,
    NO_ATTACK,
    Corpus,
    load_split,
    load_training,
    read_columns,
    split_names,
)

HELD_OUT = "held_out"
"""The ``validation.split`` that is taken from the training data itself."""
EVERY = 8  # bona fide utterance of the training data is held out for it


@functools.lru_cache(maxsize=4)  # every run of a comparison asks for them
def families(folder: str | Path) -> Mapping[str, str]:
    """Returns the family of every attack of a corpus.

    Args:
      folder: folder of the corpus, from ``corpus.find_corpus``.

    Returns:
      Families by attack, sorted; an attack of a corpus without families is its own.
    """
    found: dict[str, str] = {}
    for split in split_names(folder):
        columns = read_columns(folder, split)
        of = columns.get("family", columns["attack"])
        found.update(zip(columns["attack"].tolist(), of.tolist(), strict=True))
    found.pop(NO_ATTACK, None)
    return types.MappingProxyType(dict(sorted(found.items())))


def attacks_of(folder: str | Path, section: CorpusSection) -> tuple[str, ...]:
    """Returns the attacks that a run holds out.

    Args:
      folder: folder of the corpus.
      section: a config's ``corpus`` section.

    Returns:
      The attacks of ``attack_fold``, sorted; none if it is None.

    Raises:
      UserError: there is no such group, or the groups do not contain every attack of
        the corpus once.
    """
    if section.attack_fold is None:
        return ()
    number, groups = section.attack_fold, section.attack_folds
    if number >= len(groups):
        raise UserError(
            f"corpus.attack_fold is {number}, but corpus.attack_folds has "
            f"{len(groups)} groups, numbered from 0"
        )
    return _resolved(families(folder), groups)[number]


def _resolved(
    family: Mapping[str, str], groups: Sequence[Sequence[str]]
) -> list[tuple[str, ...]]:
    """Replaces families by their attacks; checks that each attack occurs once."""
    resolved: list[tuple[str, ...]] = []
    for group in groups:
        names = set(group)
        for name in sorted(names - {*family, *family.values()}):
            raise UserError(
                f"corpus.attack_folds has {name!r}, which is neither an attack nor a "
                f"family of the corpus: choose from {', '.join(family)}"
            )
        attacks = [a for a, of in family.items() if a in names or of in names]
        resolved.append(tuple(attacks))
    for attack in family:
        count = sum(attack in attacks for attacks in resolved)
        if count != 1:
            raise UserError(
                f"corpus.attack_folds contains the attack {attack!r} {count} times; "
                "every attack of the corpus must be in one group"
            )
    return resolved


def training_rows(folder: str | Path, section: CorpusSection) -> Corpus:
    """Opens the training data of a run.

    Args:
      folder: folder of the corpus.
      section: a config's ``corpus`` section.

    Returns:
      The utterances of ``corpus.load_training`` without the attacks held out.

    Raises:
      UserError: there is no such split, speaker fold or group of attacks.
    """
    without = attacks_of(folder, section)
    every = section.attack_fold is not None
    rows = load_training(folder, section.fold, every_attack=every)
    return rows.take(~np.isin(rows.attack, without)) if without else rows


def first_families(
    folder: str | Path, section: CorpusSection, count: int
) -> tuple[str, ...]:
    """Returns attacks to validate or to tune on while a group is held out.

    Args:
      folder: folder of the corpus.
      section: a config's ``corpus`` section, with an ``attack_fold``.
      count: number of families.

    Returns:
      The attacks of the first families of the next groups, sorted.

    Raises:
      UserError: as for ``attacks_of``.
    """
    attacks_of(folder, section)  # checks the groups
    family, groups = families(folder), section.attack_folds
    numbers = [(section.attack_fold or 0) + 1 + i for i in range(count)]
    names = {groups[number % len(groups)][0] for number in numbers}
    return tuple(a for a, of in family.items() if a in names or of in names)


def with_validation(
    folder: str | Path, section: ValidationSection, rows: Corpus
) -> tuple[Corpus, Corpus | None]:
    """Opens the utterances to validate on, and takes them out of the training data.

    Args:
      folder: folder of the corpus.
      section: a config's ``validation`` section.
      rows: from ``training_rows``.

    Returns:
      ``(training, validation)``; the second is None if the config has no validation.

    Raises:
      UserError: there is no such split.
    """
    if not section.attacks:
        return rows, load_split(folder, section.split) if section.every else None
    if section.split != HELD_OUT:
        return rows, load_split(folder, section.split)
    bonafide = np.flatnonzero(rows.label == BONAFIDE)
    held_out = np.isin(rows.attack, section.attacks)
    held_out[bonafide[EVERY - 1 :: EVERY]] = True
    # Training excludes the attacks by itself, and checks that they are of its split.
    return rows.take(~held_out | (rows.label != BONAFIDE)), rows.take(held_out)
