"""Scores of training recordings by probes that saw neither attack nor speaker.

Only attacks of the training data are used: each family of them is held out in turn, and
with it, in turn, every group of speakers. A recording's score is that of the probe that
was fitted without its family and its speaker, so that the choice of a layer is by
attacks left out and leaves the attacks of dev and eval untouched.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, Corpus
from mldg_jax.experiments.probing import logistic_probe
from mldg_jax.experiments.resampling import families_of
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.scoring import bootstrap, two_way
from mldg_jax.scoring.scheme import Scheme

MOST_GROUPS = 8  # of families that are held out in turn
SPEAKER_FOLDS = 3


class HeldOut(NamedTuple):
    """What is held out in turn.

    Attributes:
      rows: n training recordings.
      groups: the families of each group, which are held out together.
      in_group: (groups, n) bool, the spoofs of each group.
      speaker_fold: (n,) int, the group of speakers of each recording.
    """

    rows: Corpus
    groups: tuple[tuple[str, ...], ...]
    in_group: np.ndarray
    speaker_fold: np.ndarray

    @property
    def tested(self) -> np.ndarray:
        """(groups, n) bool: bona fide and the spoofs of each group."""
        return self.in_group | (self.rows.label == BONAFIDE)


def by_family(rows: Corpus, family: Mapping[str, str]) -> HeldOut:
    """Returns trials of which every family has an error rate of its own.

    Args:
      rows: n recordings.
      family: families by attack.

    Returns:
      A group for each family, and a single group of speakers.
    """
    own = two_way.families(rows.attack, family)
    spoof = rows.label != BONAFIDE
    groups = tuple((name,) for name in sorted(set(own[spoof].tolist())))
    in_group = np.stack([spoof & np.isin(own, group) for group in groups])
    return HeldOut(rows, groups, in_group, np.zeros(len(own), int))


def plan(rows: Corpus, family: Mapping[str, str]) -> HeldOut:
    """Plans what is held out.

    Args:
      rows: the training data, n recordings.
      family: families by attack.

    Returns:
      One group for each family, or ``MOST_GROUPS`` groups of them; and up to
      ``SPEAKER_FOLDS`` folds of speakers. Recordings of a class with a single speaker
      (a synthetic voice, or no names) are divided by utterance.

    Raises:
      UserError: there are fewer than two families, or too few recordings.
    """
    real = rows.label == BONAFIDE
    own = two_way.families(rows.attack, family)
    names = sorted(set(own[~real].tolist()))
    if len(names) < 2 or real.sum() < 2:
        raise UserError(
            f"the training data has {int(real.sum())} bona fide recordings and "
            f"{len(names)} attack families ({', '.join(names) or 'none'}); a probe "
            "needs at least two of each, to hold one family out: choose another "
            "corpus, or name fewer attacks in episode.exclude"
        )
    count = min(len(names), MOST_GROUPS)
    groups = tuple(tuple(names[i::count]) for i in range(count))
    ids, _ = bootstrap.units(rows.label, rows.speaker, rows.utterance)
    fewest = min(len(np.unique(ids[real])), len(np.unique(ids[~real])))
    folds = np.zeros(len(ids), int)
    splits = min(SPEAKER_FOLDS, fewest)
    if splits > 1:
        splitter = StratifiedGroupKFold(splits)
        for number, (_, test) in enumerate(splitter.split(ids, real, ids)):
            folds[test] = number
    in_group = np.stack([~real & np.isin(own, group) for group in groups])
    return HeldOut(rows, groups, in_group, folds)


def scores(planned: HeldOut, means: np.ndarray) -> list[np.ndarray]:
    """Scores the recordings with probes that did not see them.

    Args:
      planned: from ``plan``.
      means: (n, k, dim) float32, of the layers that are probed.

    Returns:
      For each group the scores of bona fide and of its spoofs, in the order of the
      rows.
    """
    several = planned.speaker_fold.max() > 0
    by_group = []
    for spoofs, trials in zip(planned.in_group, planned.tested, strict=True):
        values = np.full(len(spoofs), np.nan)
        for fold in range(planned.speaker_fold.max() + 1):
            tested = planned.speaker_fold == fold
            fitted_on = ~spoofs & ~tested if several else ~spoofs
            probe = logistic_probe.fit(means[fitted_on], planned.rows.label[fitted_on])
            tested &= trials
            values[tested] = probe.score(means[tested])
        by_group.append(values[trials])
    return by_group


def tests(planned: HeldOut, found: Mapping[str, Sequence[np.ndarray]]) -> list[Scored]:
    """Returns the scores as tests whose error rates are averaged over families.

    Args:
      planned: from ``plan``.
      found: the output of ``scores``, by name of the layers.

    Returns:
      A test for each group, for ``experiments.statistics``.
    """
    return [
        Scored(
            planned.rows.take(trials),
            {name: by_group[i][None] for name, by_group in found.items()},
            planned.rows,
        )
        for i, trials in enumerate(planned.tested)
    ]


def scheme(planned: HeldOut, family: Mapping[str, str], replicates: int) -> Scheme:
    """Returns how the trials are resampled: speakers crossed with families.

    Args:
      planned: from ``plan``.
      family: families by attack.
      replicates: of the bootstrap.

    Returns:
      The scheme.
    """
    settings = {a: of for a, of in family.items() if a != of}
    several = families_of(planned.rows, Scheme("apart", families=settings)) > 2
    clusters = "speakers and attacks" if several else "speakers"
    return Scheme("apart", replicates=replicates, clusters=clusters, families=settings)
