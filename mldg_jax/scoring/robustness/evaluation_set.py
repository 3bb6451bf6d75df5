"""The recordings that a robustness evaluation degrades, with their keys.

They are read one at a time, whenever they are needed, so that memory does not depend on
their number.
"""

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax.common.config import CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.data.augment.degradations import Talkers
from mldg_jax.data.corpus import (
    TRAINING_SPLIT,
    corpus_sha256,
    load_split,
    load_test,
    spread,
)
from mldg_jax.data.schema import BONAFIDE, NOT_STATED, SPOOF
from mldg_jax.scoring import diagnose, key_files, trial_scores
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.recording_paths import collect
from mldg_jax.scoring.score_files import Scores

log = logging.getLogger(__name__)

POOL = 24  # recordings that babble is made of


class EvaluationSet(NamedTuple):
    """Recordings with their keys.

    Attributes:
      title: where they are from.
      keys: the trials.
      read: row → (samples,) float32 within [-1, 1] at 16 kHz.
      identity: differs for other recordings, trials or sources of babble.
      talkers: row → the recordings that its babble can be made of.
    """

    title: str
    keys: Keys
    read: Callable[[int], Array]
    identity: str
    talkers: Callable[[int], Talkers]


def from_corpus(
    folder: str | Path, title: str, split: str, trained_on: CorpusSection, limit: int
) -> EvaluationSet:
    """Opens a split of a prepared corpus.

    Args:
      folder: of the corpus, from ``find_corpus``.
      title: name of the corpus.
      split: e.g. "eval". Of the corpus of a run with a speaker fold, the held-out
        speakers are taken instead.
      trained_on: section ``corpus`` of the run's config.
      limit: largest number of trials of each class; 0 for all.

    Returns:
      The recordings.

    Raises:
      UserError: there is no such split, the run was trained on it, or it lacks a class.
    """
    sha256 = corpus_sha256(folder)
    fold = trained_on.fold if sha256 == trained_on.sha256 else None
    if sha256 == trained_on.sha256 and fold is None and split == TRAINING_SPLIT:
        raise UserError(
            f"the run was trained on split {split} of {title}, whose error rates say "
            "nothing about new recordings: choose another --split"
        )
    if fold is None:
        rows = load_split(folder, split, kept_seconds=0)
        title = f"split {split} of {title}"
    else:
        rows = load_test(folder, split, fold)
        title = f"speaker fold {fold} of {title}"
    columns = {
        name: getattr(rows, name)
        for name in ("attack", "speaker", "language")
        if np.any(getattr(rows, name) != NOT_STATED)
    }
    keys = Keys(rows.utterance, rows.label, columns, title)
    return _made(title, keys, rows.waveform, [sha256, split, str(fold)], limit)


def from_files(
    arguments: Sequence[str], keys_path: str | Path, subset: str | None, limit: int
) -> EvaluationSet:
    """Finds recordings on disk and their keys.

    Args:
      arguments: recordings, folders and lists, see ``recording_paths.collect``.
      keys_path: the keys; see ``diagnose.match`` for how names are compared.
      subset: see ``key_files.subset``.
      limit: largest number of trials of each class; 0 for all.

    Returns:
      The recordings.

    Raises:
      UserError: there are no recordings or no keys, or a trial has no recording.
    """
    paths, problems = collect(arguments)
    if problems:
        raise problems[0]
    audio.check_decoders(paths)
    everything = key_files.read(keys_path)
    keys = key_files.subset(everything, subset)
    named = Scores(np.array(paths, str), np.zeros(len(paths)), None, None, "paths")
    rows, _ = diagnose.match(named, everything, keys)
    missing = np.flatnonzero(rows < 0)
    if missing.size:
        raise UserError(
            f"{missing.size:,} of the {rows.size:,} trials of {keys_path} have no "
            f"recording in {' '.join(arguments)} (the first is "
            f"{keys.utterance[missing[0]]}): add the recordings, or remove these "
            "trials from the keys"
        )
    if len(paths) > rows.size:
        log.info("%d recordings are not in %s", len(paths) - rows.size, keys_path)

    def read(row: int) -> Array:
        return np.asarray(audio.read(paths[rows[row]])[:])

    stamps = (f"{paths[row]} {os.stat(paths[row]).st_mtime_ns}" for row in rows)
    return _made(str(keys_path), keys, read, stamps, limit)


def _made(
    title: str,
    keys: Keys,
    read: Callable[[int], Array],
    source: Iterable[str],
    limit: int,
) -> EvaluationSet:
    """Returns the first trials of each class, with babble from all of them."""
    trial_scores.require_both(keys.label == BONAFIDE, title)
    chosen = np.sort(
        np.concatenate([spread(keys.label == x, limit) for x in (BONAFIDE, SPOOF)])
    )
    pool = _pool(keys)
    digest = hashlib.sha256("\n".join(source).encode())
    for row in (*chosen, -1, *pool):
        text = f"{keys.utterance[row]} {keys.label[row]}" if row >= 0 else "babble"
        digest.update(f"\n{text}".encode())
    voice = functools.lru_cache(maxsize=POOL)(read)
    return EvaluationSet(
        title if len(chosen) == len(keys.label) else f"{title} (a part: --limit)",
        keys.take(chosen),
        lambda row: read(int(chosen[row])),
        digest.hexdigest(),
        lambda row: functools.partial(_pick, keys, pool, voice, int(chosen[row])),
    )


def _pool(keys: Keys) -> list[int]:
    """Chooses bona fide rows for babble by their names, of as many speakers as can be.

    They do not depend on the order of the keys.
    """

    def rank(row: int) -> bytes:
        return hashlib.sha256(str(keys.utterance[row]).encode()).digest()

    ranked = sorted(np.flatnonzero(keys.label == BONAFIDE).tolist(), key=rank)
    speakers = keys.columns.get("speaker", keys.utterance)
    first = list({speakers[row]: row for row in reversed(ranked)}.values())[::-1]
    return [*first, *(row for row in ranked if row not in set(first))][:POOL]


def _pick(
    keys: Keys,
    pool: Sequence[int],
    read: Callable[[int], Array],
    row: int,
    rng: np.random.Generator,
    count: int,
) -> list[Array]:
    """Returns voices of the pool for a row, none of the row's own speaker."""
    speakers = keys.columns.get("speaker", keys.utterance)
    others = [
        other
        for other in pool
        if other != row
        and (speakers[other] != speakers[row] or speakers[row] == NOT_STATED)
    ]
    if not others:
        raise UserError("there is no recording of another speaker to make babble of")
    chosen = rng.choice(len(others), min(count, len(others)), replace=False)
    return [read(others[i]) for i in chosen]
