"""Reads the dev scores of evaluated systems, and fixes their thresholds on them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE
from mldg_jax.scoring import fixed_threshold, key_files, trial_scores
from mldg_jax.scoring.fixed_threshold import DevThresholds
from mldg_jax.scoring.key_files import Keys

SUBSET_OPTION = "--threshold-subset"


def fit(
    systems: Iterable[str],
    files: Mapping[str, str | Path] | None,
    keys_path: str | Path | None,
    evaluated: Keys,
    *,
    format: str = "auto",
    subset: str | None = None,
) -> dict[str, DevThresholds]:
    """Fixes the thresholds of each system on its dev scores.

    Args:
      systems: names of the evaluated systems.
      files: dev score files by these names; None for no thresholds.
      keys_path: keys of the dev trials; None if the first file carries them (2019).
      evaluated: the evaluated trials. A warning names dev trials that are among them.
      format: of the score files, see ``score_files.read``.
      subset: see ``key_files.subset``; "dev" if None and the keys have several.

    Returns:
      The thresholds by name; empty without files.

    Raises:
      UserError: the names differ, a file cannot be read or does not fit the keys, a
        class has no dev trials, or the scores are constant or inverted.
    """
    systems = list(systems)
    if files is None:
        if keys_path is not None or subset is not None:
            raise UserError(
                f"{keys_path or subset} describes dev trials, but there are no dev "
                "scores: add them with --threshold-from"
            )
        return {}
    _check_names(systems, list(files))
    everything = trial_scores.read_keys(files, keys_path, "--threshold-keys")
    keys = key_files.subset(everything, subset, "dev", SUBSET_OPTION)
    real = keys.label == BONAFIDE
    keys_file = keys_path or next(iter(files.values()))
    trial_scores.require_both(real, f"the dev keys {keys_file}")
    warnings = _shared_trials(keys, evaluated, keys_file)
    thresholds = {}
    for name in systems:
        path = files[name]
        scores = trial_scores.read_scores(path, format, everything, keys, SUBSET_OPTION)
        dev = fixed_threshold.fit_thresholds(scores[real], scores[~real], str(path))
        thresholds[name] = replace(dev, warnings=dev.warnings + warnings)
    return thresholds


def _check_names(systems: list[str], names: list[str]) -> None:
    """Raises ``UserError`` unless each system has dev scores and nothing else has."""
    for name in systems:
        if name not in names:
            raise UserError(
                f"the system {name!r} has no dev scores; those given are of "
                f"{', '.join(names)}. Each system needs a threshold from its own "
                f"scores: add --threshold-from {name}=FILE"
            )
    for name in names:
        if name not in systems:
            raise UserError(
                f"there are dev scores of {name!r}, but the evaluated systems are "
                f"{', '.join(systems)}: add --scores {name}=FILE, or use a name of "
                "these in --threshold-from NAME=FILE"
            )


def _shared_trials(dev: Keys, evaluated: Keys, file: str | Path) -> tuple[str, ...]:
    """Returns a warning if trials are in both sets, by name."""
    names = set(evaluated.utterance.tolist())
    shared = [name for name in dev.utterance.tolist() if name in names]
    if not shared:
        return ()
    return (
        f"not other data: {len(shared):,} of the {len(dev.label):,} dev trials of "
        f"{file} have the name of an evaluated trial ({shared[0]}). If they are the "
        "same recordings, the errors at the dev thresholds are too low: fix the "
        "thresholds on other trials",
    )
