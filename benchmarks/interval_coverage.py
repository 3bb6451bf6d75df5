"""Simulates how often 95 % intervals hold the EER on new speakers and new attacks.

    python benchmarks/interval_coverage.py [--systems 500] [--attacks 7,20]

A trial's score is ±μ plus its speaker's effect (one for each class, correlated by 0.5)
plus, for spoofs, its attack's effect, plus N(0, 1); effects are normal. So the scores
of a class are normal in the population of speakers and attacks, and μ is set such that
the EER of the population is that of the setting. Every system has 50 speakers with 20
bona fide trials and 2 spoofs by each attack. Prints the share of systems whose interval
contains the EER and, in brackets, the median length of the intervals in percentage
points. Of 500 intervals with a coverage of 95 %, 93 to 97 % contain the EER.
"""

import argparse
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from mldg_jax.scoring import bootstrap, bootstrap_statistics, two_way
from mldg_jax.scoring.bootstrap import Clusters
from mldg_jax.scoring.scheme import Scheme

SPEAKERS, BONAFIDE, SPOOFS, CORRELATION = 50, 20, 2, 0.5
METHODS = ("two-way", "two-way, plain", "speakers", "trials")


class Setting(NamedTuple):
    """A population of systems.

    Attributes:
      name: for the table.
      speaker_sd, attack_sd: standard deviations of the effects; that of trials is 1.
      eer: in the population, a fraction.
    """

    name: str
    speaker_sd: float
    attack_sd: float
    eer: float


SETTINGS = (
    Setting("speaker sd 1, attack sd 1", 1.0, 1.0, 0.10),
    Setting("speaker sd 1, attack sd 0.3", 1.0, 0.3, 0.10),
    Setting("both small, sd 0.2", 0.2, 0.2, 0.10),
    Setting("low EER, both sd 1", 1.0, 1.0, 0.015),
    Setting("no effects", 0.0, 0.0, 0.10),
)


class Trials(NamedTuple):
    """Scored trials: scores, labels (1 for bona fide), speakers, attacks, each (n,)."""

    scores: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    attacks: np.ndarray


def simulate(setting: Setting, attacks: int, rng: np.random.Generator) -> Trials:
    """Draws the trials of one system.

    Args:
      setting: the population.
      attacks: number of attacks.
      rng: random numbers.

    Returns:
      The trials, bona fide first; the attack of bona fide is −1.
    """
    speaker, attack = setting.speaker_sd, setting.attack_sd
    spread = np.hypot(1, speaker), np.sqrt(1 + speaker**2 + attack**2)
    centre = -norm.ppf(setting.eer) * sum(spread) / 2
    mix = np.linalg.cholesky([[1, CORRELATION], [CORRELATION, 1]])
    by_speaker = speaker * rng.normal(size=(SPEAKERS, 2)) @ mix.T
    by_attack = attack * rng.normal(size=attacks)
    real = np.repeat(np.arange(SPEAKERS), BONAFIDE)
    fake = np.repeat(np.arange(SPEAKERS), attacks * SPOOFS)
    made_by = np.tile(np.repeat(np.arange(attacks), SPOOFS), SPEAKERS)
    scores = np.r_[
        centre + by_speaker[real, 0],
        -centre + by_speaker[fake, 1] + by_attack[made_by],
    ]
    return Trials(
        scores + rng.normal(size=scores.size),
        np.r_[np.ones(real.size, int), np.zeros(fake.size, int)],
        np.r_[real, fake],
        np.r_[np.full(real.size, -1), made_by],
    )


def intervals(trials: Trials, scheme: Scheme) -> dict[str, tuple[float, float]]:
    """Returns the 95 % interval of the EER by every method.

    Args:
      trials: of one system.
      scheme: of the bootstrap.

    Returns:
      ``(low, high)`` by method.
    """
    labels = trials.labels
    speakers = bootstrap.cluster(labels, trials.speakers, scheme)
    both = two_way.cross(speakers, labels, trials.attacks)
    each = bootstrap.cluster(labels, np.arange(labels.size), scheme)

    def replicates(clusters: Clusters) -> np.ndarray:
        statistic = bootstrap_statistics.eer(
            trials.scores, labels == 1, clusters.index, clusters.count
        )
        return bootstrap.replicate([statistic], clusters, scheme)[0]

    crossed = replicates(both)
    return {
        "two-way": bootstrap.interval(crossed, fewest=both.fewest),
        "two-way, plain": bootstrap.interval(crossed),
        "speakers": bootstrap.interval(replicates(speakers)),
        "trials": bootstrap.interval(replicates(each)),
    }


def coverage(
    setting: Setting, attacks: int, systems: int, *, replicates: int = 1000
) -> dict[str, tuple[float, float]]:
    """Computes the coverage of each method's intervals.

    Args:
      setting: the population.
      attacks: number of attacks of a system.
      systems: number of systems.
      replicates: number of bootstrap replicates.

    Returns:
      By method, the share of intervals that contain the EER and their median length.
    """
    rng = np.random.default_rng(1)
    ends = []
    for seed in range(systems):
        scheme = Scheme("together", replicates=replicates, seed=seed)
        by_method = intervals(simulate(setting, attacks, rng), scheme)
        ends.append([by_method[method] for method in METHODS])
    low, high = np.array(ends).transpose(2, 1, 0)  # (methods, systems)
    share = np.mean((low <= setting.eer) & (setting.eer <= high), axis=1)
    length = np.median(high - low, axis=1)
    return dict(zip(METHODS, zip(share, length, strict=True), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of intervals")
    parser.add_argument("--systems", type=int, default=500)
    parser.add_argument("--attacks", default="7,20")
    arguments = parser.parse_args()
    print(f"{'':28} EER, % attacks" + "".join(f"{name:>18}" for name in METHODS))
    for setting in SETTINGS:
        for attacks in map(int, arguments.attacks.split(",")):
            found = coverage(setting, attacks, arguments.systems)
            cells = [
                f"{100 * share:>8.1f} % ({100 * length:4.1f})"
                for share, length in found.values()
            ]
            head = f"{setting.name:28} {100 * setting.eer:6.1f} {attacks:7}"
            print(head + "".join(f"{cell:>18}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
