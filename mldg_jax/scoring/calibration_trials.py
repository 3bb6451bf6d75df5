"""The trials that a run is calibrated on: which are allowed, and what is known."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array

from mldg_jax.common.config import Config, CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.data import attack_folds
from mldg_jax.data.corpus import (
    BONAFIDE,
    SPOOF,
    TRAINING_SPLIT,
    Corpus,
    corpus_sha256,
    load_split,
)
from mldg_jax.scoring.calibration import Calibration, warning_of_few

log = logging.getLogger(__name__)

EVALUATION_SPLITS = ("eval", "test")


class DevTrials(NamedTuple):
    """The trials that a run is calibrated on; see ``Calibration``."""

    corpus: str
    split: str
    is_held_out: bool


def trials_of(
    trained_on: CorpusSection, name: str, size: str, sha256: str, split: str
) -> DevTrials:
    """Describes a split to calibrate on, and refuses what a run was trained on.

    Args:
      trained_on: section ``corpus`` of the run's config.
      name: name of the corpus to calibrate on.
      size: its config; "" if it has only one.
      sha256: its fingerprint; "" if unknown.
      split: name of the split.

    Returns:
      The description.

    Raises:
      UserError: the run was trained on the split.
    """
    is_same = bool(sha256) and sha256 == trained_on.sha256
    title = "/".join(filter(None, (name, size)))
    # Sizes of the same name may be one corpus: "" stands for the only one there is.
    is_named_same = name == trained_on.name and (
        size == trained_on.config or not (size and trained_on.config)
    )
    if is_same or is_named_same:
        if trained_on.fold is not None:
            raise UserError(
                f"the run was trained on speakers of every split of {title} "
                f"(corpus.fold {trained_on.fold}), so it cannot be calibrated on "
                f"split {split}: name another corpus with --corpus"
            )
        if split == TRAINING_SPLIT:
            raise UserError(
                f"the run was trained on split {split} of {title}, and scores of "
                "training data are not calibrated for new recordings: calibrate on a "
                "split that it was not trained on, e.g. --split dev"
            )
    return DevTrials(title, split, is_same)


def load_trials(
    config: Config, folder: str | Path, split: str, *, include_excluded: bool = False
) -> Corpus:
    """Opens a split to calibrate on, without the attacks that the run held out.

    An attack is held out so that it stays unseen. A calibration on it would fit the
    threshold of later scores to it.

    Args:
      config: config of the run; ``episode.exclude``, ``validation.attacks`` and
        ``corpus.attack_fold`` name the held-out attacks.
      folder: folder of the corpus, from ``find_corpus``.
      split: name of the split.
      include_excluded: keep the held-out attacks.

    Returns:
      The utterances.

    Raises:
      UserError: there is no such split, or all its spoof is of held-out attacks.
    """
    rows = load_split(folder, split)
    if include_excluded:
        return rows
    held_out = np.isin(rows.attack, sorted(_held_out(config, folder)))
    names = ", ".join(sorted(set(rows.attack[held_out].tolist())))
    if not names:
        return rows
    if not (rows.label[~held_out] == SPOOF).any():
        raise UserError(
            f"split {split} of {folder} has no spoof of attacks other than {names}, "
            "which the run held out of training and which are therefore not calibrated "
            "on: calibrate on another split or corpus, or on these attacks too, with "
            "mldg calibrate RUN --include-excluded"
        )
    return rows.take(~held_out)


def _held_out(config: Config, folder: str | Path) -> set[str]:
    """Returns the names of the attacks that a run held out of training."""
    section = config.corpus
    names = {*config.episode.exclude, *config.validation.attacks}
    if section.attack_fold is None:
        return names
    if corpus_sha256(folder) == section.sha256:  # else the groups do not fit it
        return names.union(attack_folds.attacks_of(folder, section))
    return names.union(section.attack_folds[section.attack_fold])


def check_trials(labels: Array, utterances: int, trials: DevTrials | None) -> None:
    """Checks trials before they are scored, and warns of few and of evaluation trials.

    Args:
      labels: (trials,) 1 bona fide, 0 spoof.
      utterances: largest number of each class to use; 0 for all.
      trials: where they are from; None if unknown.

    Raises:
      UserError: a class is missing, or ``utterances`` is negative.
    """
    if utterances < 0:
        raise UserError(
            f"the number of utterances is {utterances}; it must be at least 1, or 0 "
            "for all"
        )
    title = f"split {trials.split} of {trials.corpus}" if trials else "the split"
    counts = [int(np.sum(labels == label)) for label in (BONAFIDE, SPOOF)]
    for name, number in zip(("bona fide", "spoof"), counts, strict=True):
        if not number:
            raise UserError(
                f"{title} has no {name} utterances, and calibration needs both "
                "classes: choose another split or corpus"
            )
    used = [min(x, utterances) if utterances else x for x in counts]
    if few := warning_of_few(*used):
        log.warning("%s", few)
    if trials and trials.split in EVALUATION_SPLITS:
        log.warning(
            "%s looks like evaluation data: scores of these trials are then calibrated "
            "on themselves, and their Cllr and act DCF too low; calibrate on dev data",
            title,
        )


def trials_in_words(calibration: Calibration) -> str:
    """Describes the trials of a calibration for the model card.

    Args:
      calibration: from ``fit_calibration`` or ``load_calibration``.

    Returns:
      Words to follow "utterances", which claim no more than is known.
    """
    if not calibration.split:
        return " (it was not recorded which)"
    where = f" of split {calibration.split} of {calibration.corpus}"
    if calibration.attacks:
        where += f" (attacks {', '.join(calibration.attacks)})"
    if calibration.is_held_out:
        return f"{where}, which was not used for training"
    return f"{where}; whether the training data contain some of them was not checked"
