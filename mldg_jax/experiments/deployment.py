"""Decisions of trained detectors on unseen attacks, at thresholds of their dev scores.

An EER is measured at the threshold that suits the test best. A deployed detector has
one threshold, chosen on data of its own: here the bona fide utterances and the attacks
that each run holds out of its training data.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, Corpus
from mldg_jax.experiments.jobs import Job, read_scores
from mldg_jax.experiments.trial_sets import Test
from mldg_jax.scoring.fixed_threshold import (
    ThresholdErrors,
    bayes_threshold,
    count_errors,
    eer_threshold,
)

EER, BAYES = NAMES = ("eer", "bayes")


@dataclass(frozen=True)
class Decisions:
    """Mean errors of a method's runs at one kind of threshold, as fractions.

    Attributes:
      dev: HTER on the dev trials.
      frr: bona fide utterances rejected.
      far: spoofs accepted.
      hter: (frr + far) / 2.
      f1: F1 score of detecting spoofs.
      runs: number of runs; those whose dev scores have no such threshold do not count.
    """

    dev: float
    frr: float
    far: float
    hter: float
    f1: float
    runs: int

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return dict(vars(self))


class _Classes(NamedTuple):
    bonafide: np.ndarray
    spoof: np.ndarray


def decisions(jobs: Sequence[Job]) -> dict[str, Decisions]:
    """Counts the errors of a method's runs at the thresholds of their dev scores.

    Args:
      jobs: finished, each with ``dev``, and scores as in ``Job.read``.

    Returns:
      By the name of the threshold: "eer", where both dev error rates are equal, and
      "bayes", where calibrated dev scores have the lowest expected cost. A name is
      missing if no run has such a threshold.
    """
    errors: dict[str, list[tuple[ThresholdErrors, ThresholdErrors]]] = {}
    for job in jobs:
        assert job.dev is not None
        dev, test = _classes(job, job.dev), _classes(job, job.tests[0])
        for name, threshold in _thresholds(dev).items():
            pair = count_errors(*dev, threshold), count_errors(*test, threshold)
            errors.setdefault(name, []).append(pair)

    def mean(pairs, name: str) -> float:
        return float(np.mean([getattr(test, name) for _, test in pairs]))

    return {
        name: Decisions(
            dev=float(np.mean([dev.hter for dev, _ in pairs])),
            frr=mean(pairs, "frr"),
            far=mean(pairs, "far"),
            hter=mean(pairs, "hter"),
            f1=mean(pairs, "f1"),
            runs=len(pairs),
        )
        for name, pairs in errors.items()
    }


def _classes(job: Job, test: Test) -> _Classes:
    rows: Corpus = test.rows()
    scores = read_scores(job.scores(test), rows)
    return _Classes(scores[rows.label == BONAFIDE], scores[rows.label != BONAFIDE])


def _thresholds(dev: _Classes) -> dict[str, float]:
    """Returns the thresholds that exist.

    Scores of which a single threshold makes no error, or which are higher for spoof,
    cannot be calibrated.
    """
    thresholds = {EER: eer_threshold(*dev)}
    with contextlib.suppress(UserError):
        thresholds[BAYES] = bayes_threshold(*dev)
    return thresholds
