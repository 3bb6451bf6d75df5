"""Bootstrap statistics by brute force, from arrays that are actually resampled."""

import numpy as np

from mldg_jax import metrics


def _repeated(values, weights):
    return [np.repeat(values, w) for w in weights]


def pooled(scores, labels, metric=metrics.eer):
    """Returns a statistic of all trials: weights (r, trials) -> (r,).

    Args:
      scores: (trials,).
      labels: (trials,), 1 for bona fide.
      metric: of bona fide and spoof scores.
    """

    def statistic(weights):
        pairs = zip(_repeated(scores, weights), _repeated(labels, weights), strict=True)
        values = [metric(s[k == 1], s[k == 0]) for s, k in pairs]
        return np.array(values if metric is not metrics.eer else np.array(values)[:, 0])

    return statistic


def macro(scores, labels, attacks, speakers):
    """Returns the macro EER as a statistic: weights (r, trials) -> (r,).

    Every draw of a speaker counts as a separate speaker.

    Args:
      scores: (trials,).
      labels: (trials,), 1 for bona fide.
      attacks: (trials,).
      speakers: (trials,).
    """

    def replicate(weights):
        parts = [np.repeat(np.flatnonzero(labels == 0), weights[labels == 0])]
        names = [speakers[parts[0]]]
        for speaker in np.unique(speakers[labels == 1]):
            trials = np.flatnonzero((labels == 1) & (speakers == speaker))
            for copy in range(weights[trials[0]]):
                parts.append(trials)
                names.append(np.full(trials.size, f"{speaker}/{copy}"))
        index = np.concatenate(parts)
        return metrics.macro_eer(
            scores[index], labels[index], attacks[index], np.concatenate(names)
        )

    return lambda weights: np.array([replicate(w) for w in weights])
