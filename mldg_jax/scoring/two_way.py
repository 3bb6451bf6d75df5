"""Intervals that hold for new attacks: a bootstrap over speakers and attacks.

A speaker's effect is shared by all trials of the speaker, an attack's effect by all
trials of the attack. Resampling speakers alone keeps the attacks of the corpus: its
intervals hold for new speakers under the same attacks, and are far too narrow for new
attacks, of which a corpus has few. Here speakers and attacks are drawn independently,
each with replacement; a spoof trial counts as often as its speaker times its attack, a
bona fide trial as often as its speaker. This is the pigeonhole bootstrap (Owen 2007,
"The pigeonhole bootstrap"; McCullagh 2000).

It is conservative. No bootstrap is exact for crossed effects: this one counts the
variance of single trials, and of a speaker × attack interaction, up to three times
(Owen 2007), so that its intervals are too wide by up to a factor of √3 where neither
speakers nor attacks matter (Menzel 2021, "Bootstrap with cluster-dependence in two or
more dimensions"). The variances of the two main effects, which dominate if there are
many trials, are counted once. With few attacks plain percentiles are too short all the
same; ``Clusters.fewest`` expands them, see ``small_samples``. Their coverage in
simulation is in ``benchmarks/interval_coverage.py``.
"""

from collections.abc import Mapping

import numpy as np
from numpy import ndarray as Array

from mldg_jax import metrics
from mldg_jax.metrics import require
from mldg_jax.scoring.bootstrap import Clusters


def families(attacks: Array, family: Mapping[str, str]) -> Array:
    """Returns the family of each trial's attack.

    Args:
      attacks: (trials,) names.
      family: families by attack; an attack that is not listed is its own.

    Returns:
      (trials,) str.
    """
    names, index = metrics.codes(np.asarray(attacks))
    return np.array([family.get(str(name), str(name)) for name in names], str)[index]


def cross(clusters: Clusters, labels: Array, attacks: Array) -> Clusters:
    """Crosses clusters of speakers with attacks, which are drawn independently.

    An attack of which every voice is used by no other attack and has no bona fide
    trials (a synthesiser with voices of its own) is drawn with all its voices, which
    are not drawn in addition: they are nested in the attack, not crossed with it.

    Args:
      clusters: of speakers, from ``bootstrap.cluster``.
      labels: (trials,) of 0 and 1.
      attacks: (trials,) names of attacks or, from ``families``, of their families;
        those of bona fide trials are ignored.

    Returns:
      Clusters of trials with the same speaker and attack, for ``bootstrap.replicate``;
      then one without trials for each attack, see ``attack_clusters``.

    Raises:
      ValueError: attacks of another shape, or a single attack.
    """
    real, attacks = metrics.is_bonafide(labels), np.asarray(attacks)
    require(
        attacks.shape == real.shape, f"attacks have shape {attacks.shape}, not "
        f"{real.shape}"
    )  # fmt: skip
    names, attack = metrics.codes(attacks[~real])
    n = len(names)
    require(n >= 2, "spoof trials have 1 attack, need 2; resample speakers only")
    speakers = sum(clusters.strata)
    voice = clusters.index[~real]
    # A voice that is shared with bona fide trials or with another attack.
    used_by = np.bincount(np.unique(voice * n + attack) // n, minlength=speakers)
    shared = (used_by > 1) | (np.bincount(clusters.index[real], minlength=speakers) > 0)
    crossed = np.bincount(attack, shared[voice], n) > 0
    pair = np.full((real.size, 2), -1)
    pair[:, 0] = clusters.index
    pair[~real, 0] = np.where(crossed[attack], voice, -1)
    pair[~real, 1] = speakers + attack
    width = speakers + n + 1
    code, index = np.unique((pair + 1) @ [width, 1], return_inverse=True)
    factors = np.stack(np.divmod(code, width), axis=1) - 1
    alone = np.stack([np.full(n, -1), speakers + np.arange(n)], axis=1)
    return Clusters(index, clusters.strata, n, np.concatenate([factors, alone]))


def attack_clusters(clusters: Clusters, trials: Array) -> Array:
    """Returns clusters without trials whose counts are those of attacks alone.

    Args:
      clusters: from ``cross``.
      trials: (n,) indices of spoof trials.

    Returns:
      (n,) int, the cluster that is drawn as often as the attack of each.
    """
    assert clusters.factors is not None
    attack = clusters.factors[clusters.index[trials], 1] - sum(clusters.strata)
    return clusters.count - clusters.attacks + attack
