"""Statistics of a bootstrap the long way: the metric of arrays really resampled."""

import numpy as np

from mldg_jax import metrics


def _repeated(values, weights):
    return [np.repeat(values, w) for w in weights]


def pooled(scores, labels, metric=metrics.eer):
    """The metric of all trials, weights (r, trials) -> (r,)."""

    def statistic(weights):
        pairs = zip(_repeated(scores, weights), _repeated(labels, weights), strict=True)
        values = [metric(s[k == 1], s[k == 0]) for s, k in pairs]
        return np.array(values if metric is not metrics.eer else np.array(values)[:, 0])

    return statistic


def macro(scores, labels, attacks, speakers):
    """The macro EER where every draw of a speaker is a speaker of its own."""

    def one(weights):
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

    return lambda weights: np.array([one(w) for w in weights])
