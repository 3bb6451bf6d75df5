"""Times the metrics and the speaker bootstrap on a million trials.

    python benchmarks/evaluation.py

Prints the seconds of one run each. The bootstrap has 1,000 replicates and resamples 500
speakers, or single utterances.
"""

import time

import numpy as np

from mldg_jax import metrics
from mldg_jax.scoring import bootstrap, bootstrap_statistics

TRIALS, SPEAKERS, ATTACKS = 1_000_000, 500, 20


def main() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(TRIALS) < 0.1).astype(int)
    speakers = rng.integers(SPEAKERS, size=TRIALS)
    offset = rng.normal(size=SPEAKERS)[speakers]
    scores = rng.normal(size=TRIALS) + 3 * labels + offset
    attacks = np.char.add("A", rng.integers(10, 10 + ATTACKS, TRIALS).astype(str))
    attacks[labels == 1] = "-"

    def every_metric():
        metrics.detection_metrics(scores[labels == 1], scores[labels == 0])
        for trials in metrics.groups(labels, attacks).values():
            real = labels[trials] == 1
            metrics.detection_metrics(scores[trials[real]], scores[trials[~real]])

    def replicates(ids):
        scheme = bootstrap.Scheme("together")
        clusters = bootstrap.cluster(labels, ids, scheme)
        statistic = bootstrap_statistics.eer(
            scores, labels == 1, clusters.index, clusters.count
        )
        bootstrap.replicate([statistic], clusters, scheme)

    for name, run in (
        (f"all metrics, pooled and of {ATTACKS} attacks", every_metric),
        ("EER, 1,000 replicates of speakers", lambda: replicates(speakers)),
        ("EER, 1,000 replicates of utterances", lambda: replicates(np.arange(TRIALS))),
    ):
        started = time.perf_counter()
        run()
        print(f"{name}: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
