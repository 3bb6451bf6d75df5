"""Bootstrap replicates of the error rates of several methods and seeds on one test."""

from collections.abc import Mapping, Sequence

import numpy as np

from mldg_jax import metrics
from mldg_jax.data.corpus import BONAFIDE, Corpus
from mldg_jax.scoring import bootstrap, bootstrap_statistics, two_way
from mldg_jax.scoring.bootstrap import Clusters, Scheme
from mldg_jax.scoring.bootstrap_statistics import Statistic


def clusters(rows: Corpus, scheme: Scheme) -> Clusters:
    """Returns what a scheme draws.

    Args:
      rows: the trials.
      scheme: of the bootstrap. For trials of a single attack, or family, those of
        attacks are as those of speakers: there is no other attack to draw.

    Returns:
      The clusters.
    """
    ids, _ = bootstrap.units(rows.label, rows.speaker, rows.utterance)
    if scheme.clusters == "trials":
        ids = np.arange(len(rows.label))
    by_speaker = bootstrap.cluster(rows.label, ids, scheme)
    families = two_way.families(rows.attack, scheme.families)
    if not scheme.attacks or len(set(families[rows.label != BONAFIDE].tolist())) < 2:
        return by_speaker
    return two_way.cross(by_speaker, rows.label, families)


def part(drawn: Clusters, frame: Corpus, rows: Corpus) -> Clusters:
    """Returns clusters of some of the trials that are drawn.

    Args:
      drawn: the clusters of ``frame``.
      frame: the trials.
      rows: some of them, in any order.

    Returns:
      The same clusters for the trials of ``rows``.
    """
    order = np.argsort(frame.utterance)
    found = np.searchsorted(frame.utterance, rows.utterance, sorter=order)
    return drawn._replace(index=drawn.index[order[found]])


def families_of(rows: Corpus, scheme: Scheme) -> int:
    """Returns the number of attack families, or of attacks, of some trials."""
    spoofs = rows.attack[rows.label != BONAFIDE]
    return len(set(two_way.families(spoofs, scheme.families).tolist()))


def families_drawn(
    rows: Corpus, drawn: Clusters, scheme: Scheme, streams: tuple[int, int]
) -> np.ndarray:
    """Counts how many families of some trials each replicate draws.

    Args:
      rows: the trials.
      drawn: their clusters, from ``part``.
      scheme, streams: as for ``replicates``.

    Returns:
      (replicates, 1) float64; the number of families if attacks are not drawn.
    """
    if not drawn.attacks:
        return np.full((scheme.replicates, 1), float(families_of(rows, scheme)))
    alone = np.unique(
        two_way.attack_clusters(drawn, np.flatnonzero(rows.label != BONAFIDE))
    )
    return _draw([lambda counts: counts[:, alone].sum(1)], drawn, scheme, streams).T


def replicates(
    rows: Corpus,
    scores: Mapping[str, np.ndarray],
    drawn: Clusters,
    scheme: Scheme,
    *,
    macro: bool,
    streams: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Draws replicates of the error rate of every method and seed.

    Args:
      rows: n utterances.
      scores: by method, (seeds, n).
      drawn: from ``clusters``.
      scheme: of the bootstrap.
      macro: whether the rate is the macro EER.
      streams: of speakers and of attacks, see ``bootstrap.replicate``.

    Returns:
      By method, (replicates, seeds).
    """
    index, count = drawn.index, drawn.count
    if macro:
        pairs = metrics.macro_pairs(rows.label, rows.attack, rows.speaker)
        made_by = None
        if drawn.attacks:
            spoofs = np.array([spoof[0] for _, spoof in pairs])
            made_by = two_way.attack_clusters(drawn, spoofs)

        def statistic(values):
            return bootstrap_statistics.macro_eer(values, pairs, index, made_by)

    else:
        real = rows.label == BONAFIDE

        def statistic(values):
            return bootstrap_statistics.eer(values, real, index, count)

    statistics = [statistic(x) for by_seed in scores.values() for x in by_seed]
    values = _draw(statistics, drawn, scheme, streams)
    values = values.reshape(len(scores), -1, scheme.replicates).transpose(0, 2, 1)
    return dict(zip(scores, values, strict=True))


def _draw(
    statistics: Sequence[Statistic],
    drawn: Clusters,
    scheme: Scheme,
    streams: tuple[int, int],
) -> np.ndarray:
    """Returns (statistics, replicates); every test has its own random numbers."""
    test, attacks = streams
    return bootstrap.replicate(
        statistics, drawn, scheme, (test,), attack_stream=(attacks,)
    )
