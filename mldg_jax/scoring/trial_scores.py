"""Reads the keys of an evaluation, and the scores of their trials in the same order."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.scoring import diagnose, key_files, score_files
from mldg_jax.scoring.key_files import Keys
from mldg_jax.scoring.unmatched import explaining_swap

log = logging.getLogger(__name__)


def read_keys(
    systems: Mapping[str, str | Path],
    keys_path: str | Path | None,
    option: str = "--keys",
) -> Keys:
    """Reads the keys from their file or from a score file that carries them.

    Args:
      systems: score files by the systems' names.
      keys_path: the keys; None to take those of the first score file.
      option: of the command line that names the keys, for the message.

    Returns:
      All trials of the keys.

    Raises:
      UserError: a file cannot be read, or there are no keys.
    """
    first = next(iter(systems.values()))
    if keys_path is not None:
        with explaining_swap(first, keys_path, option):
            return key_files.read(keys_path)
    if score_files.read(first).label is None:
        raise UserError(f"{first} has scores but no keys: add them with {option}")
    return key_files.read(first)


def read_scores(
    path: str | Path,
    format: str,
    everything: Keys,
    keys: Keys,
    option: str = "--subset",
) -> np.ndarray:
    """Reads the scores of the trials, in the order of the keys.

    Args:
      path: the score file.
      format: see ``score_files.read``.
      everything: all trials of the keys; scores of other subsets are not extra.
      keys: the trials that should be scored.
      option: of the command line that chooses the subset, for the message.

    Returns:
      (trials,) finite float64.

    Raises:
      UserError: the file cannot be read or does not fit the keys.
    """
    scores = score_files.read(path, format)
    rows, findings = diagnose.match(scores, everything, keys, option)
    for finding in findings:
        if not finding.note:
            raise UserError(f"{path}: {finding} (`mldg check` lists every problem)")
    if not scores.ended:
        log.warning("%s: %s. %s", path, *diagnose.NO_NEWLINE)
    return scores.score[rows]


def require_both(real: np.ndarray, source: str) -> None:
    """Checks that there are trials of both classes.

    Args:
      real: (trials,) bool, bona fide.
      source: of the trials, for the message, e.g. "the keys".

    Raises:
      UserError: a class has no trials.
    """
    if real.all() or not real.any():
        raise UserError(
            f"all {real.size:,} trials of {source} are "
            f"{'bona fide' if real.all() else 'spoof'}; error rates need both: use "
            "keys with trials of both classes"
        )
