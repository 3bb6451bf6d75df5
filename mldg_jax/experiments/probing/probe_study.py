"""The study of ``mldg probe``: features, choice, and a test of the choice."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.data.attack_folds import families, training_rows
from mldg_jax.data.corpus import (
    BONAFIDE,
    Corpus,
    corpus_sha256,
    find_corpus,
    load_test,
)
from mldg_jax.experiments.probing import (
    front_end_cost,
    held_out_scores,
    layer_choice,
    layer_means,
    logistic_probe,
)
from mldg_jax.experiments.probing.layer_choice import Choice
from mldg_jax.experiments.probing.layer_means import FrozenFrontEnd

CONFIRM_SPLIT = "eval"


class Progress(NamedTuple):
    """Called with the number of parts that are done, and of all.

    Attributes:
      features: parts are recordings.
      sets: parts are sets of layers.
    """

    features: Callable[[int, int], Any] = lambda done, total: None
    sets: Callable[[int, int], Any] = lambda done, total: None


@dataclasses.dataclass(frozen=True)
class ProbeStudy:
    """The result of ``mldg probe``.

    Attributes:
      config: the config that was probed.
      choice: the sets of layers and their error rates on held-out training attacks.
      groups: families that were held out in turn.
      speaker_folds: number of groups of speakers that were held out in turn.
      bonafide, spoof: training recordings.
      seconds: of features (0 if all were cached) and of the probes.
      unseen: the same sets on the unseen attacks of ``CONFIRM_SPLIT``, by probes that
        were fitted on all training recordings; None without ``confirm``.
    """

    config: Config
    choice: Choice
    groups: tuple[tuple[str, ...], ...]
    speaker_folds: int
    bonafide: int
    spoof: int
    seconds: tuple[float, float]
    unseen: Choice | None = None


def run(
    config: Config,
    data_dir: str | Path,
    folder: str | Path,
    *,
    confirm: bool = False,
    replicates: int = 1000,
    progress: Progress | None = None,
) -> ProbeStudy:
    """Probes every layer of a config's front-end.

    Args:
      config: its ``corpus``, ``model.weights``, ``model.frontend``, ``crop_samples``
        and ``episode.exclude`` are used.
      data_dir: folder of the prepared corpora.
      folder: where the means of layers are kept.
      confirm: whether to score the unseen attacks of the split eval too, after the
        choice is made.
      replicates: of the bootstrap.
      progress: see ``Progress``.

    Returns:
      The study.

    Raises:
      UserError: the corpus, the weights or the training data do not allow it.
    """
    report = progress or Progress()
    corpus = find_corpus(config.corpus.name, config.corpus.config, data_dir)
    config = with_values(config, {"corpus.sha256": corpus_sha256(corpus)})
    rows = training_rows(corpus, config.corpus)
    rows = rows.take(~np.isin(rows.attack, config.episode.exclude))
    family = families(corpus)
    planned = held_out_scores.plan(rows, family)  # before minutes of features
    unseen = _unseen(corpus, config, rows) if confirm else None
    front_end = layer_means.open_front_end(config)
    cost = front_end_cost.multiply_adds(front_end)
    started = time.monotonic()
    means = _read(front_end, rows, folder, report)
    between = time.monotonic()
    choice = layer_choice.search(
        planned, means, family, cost, replicates=replicates, progress=report.sets
    )
    study = ProbeStudy(
        config=config,
        choice=choice,
        groups=planned.groups,
        speaker_folds=int(planned.speaker_fold.max()) + 1,
        bonafide=int((rows.label == BONAFIDE).sum()),
        spoof=int((rows.label != BONAFIDE).sum()),
        seconds=(between - started, time.monotonic() - between),
    )
    if unseen is None:
        return study
    theirs = _read(front_end, unseen, folder, report)
    confirmed = _confirmed(choice, rows, means, unseen, theirs, family, replicates)
    return dataclasses.replace(study, unseen=confirmed)


def _read(
    front_end: FrozenFrontEnd, rows: Corpus, folder: str | Path, report: Progress
) -> np.ndarray:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report.features(done, len(rows.label))

    return layer_means.read(front_end, rows, folder, progress=advance)


def _unseen(corpus: Path, config: Config, rows: Corpus) -> Corpus:
    """Opens bona fide and the attacks that are not in the training data."""
    test = load_test(corpus, CONFIRM_SPLIT, config.corpus.fold)
    test = test.take(
        (test.label == BONAFIDE) | ~np.isin(test.attack, np.unique(rows.attack))
    )
    real = test.label == BONAFIDE
    if real.all() or not real.any():
        raise UserError(
            f"{corpus}: the split {CONFIRM_SPLIT} has {int(real.sum())} bona fide "
            f"recordings and {int((~real).sum())} of attacks that are not in the "
            "training data, so it confirms nothing; leave out --confirm"
        )
    return test


def _confirmed(
    choice: Choice,
    rows: Corpus,
    means: np.ndarray,
    test: Corpus,
    theirs: np.ndarray,
    family: Mapping[str, str],
    replicates: int,
) -> Choice:
    """Returns the error rates of every set on unseen attacks."""
    planned = held_out_scores.by_family(test, family)
    found, facts = {}, {}
    for one in choice.tried:
        layers = list(one.layers)
        probe = logistic_probe.fit(means[:, layers], rows.label)
        scores = probe.score(theirs[:, layers])
        found[one.layers] = [scores[keep] for keep in planned.tested]
        facts[one.layers] = one.parameters, one.multiply_adds
    pairs = choice.pairs()
    return layer_choice.judge(planned, found, family, facts, replicates, pairs)
