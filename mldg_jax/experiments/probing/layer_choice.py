"""Which layers: every one alone, then pairs and fours of the best."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mldg_jax.common.error_rates import Difference, ErrorRate
from mldg_jax.experiments import statistics
from mldg_jax.experiments.probing import held_out_scores
from mldg_jax.experiments.probing.held_out_scores import HeldOut
from mldg_jax.experiments.statistics import Condition
from mldg_jax.scoring.scheme import Scheme

SHORTLIST = 6
"""Pairs and fours are made of this many layers, the best alone: 15 of each."""
SIZES = (1, 2, 4)
BEST_LAYER, LAST_LAYER = (
    "best layer",
    "last layer",
)  # what the best set is compared with

Layers = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ProbedLayers:
    """Some layers and the error rate of a probe on them.

    Attributes:
      layers: their numbers, rising; 0 is the input of the first layer.
      rate: mean over held-out families of the EER, with its interval.
      by_group: the EER of each group of families, a fraction.
      parameters: of the probe.
      multiply_adds: of the front-end up to the last of the layers, for a second of
        speech.
    """

    layers: Layers
    rate: ErrorRate
    by_group: Mapping[str, float]
    parameters: int
    multiply_adds: int

    @property
    def setting(self) -> str:
        """The config entry that makes a head read these layers."""
        return f"model.frontend.layers={list(self.layers)}"

    @property
    def title(self) -> str:
        """The layers for readers."""
        return " + ".join(map(str, self.layers))

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return dataclasses.asdict(self) | {"set": self.setting}


@dataclasses.dataclass(frozen=True)
class Choice:
    """The result of ``search``.

    Attributes:
      tried: every set of layers, those of one layer first, by their numbers.
      gaps: difference in EER between the best set and ``BEST_LAYER`` or ``LAST_LAYER``
        alone, if they differ.
      scheme: how trials were resampled for the intervals.
    """

    tried: tuple[ProbedLayers, ...]
    gaps: Mapping[str, Difference]
    scheme: Scheme

    def best(self, size: int = 0) -> ProbedLayers | None:
        """Returns the set with the lowest EER; of equal ones the cheapest.

        Args:
          size: number of layers; 0 for any.

        Returns:
          The set; None if none of this size was tried. The input of the first layer
          alone is not chosen: a front-end has at least one layer.
        """
        sets = [
            x
            for x in self.tried
            if x.layers != (0,) and (not size or len(x.layers) == size)
        ]
        return min(sets, key=_rank, default=None)

    def of(self, layers: Layers) -> ProbedLayers:
        """Returns a set.

        Args:
          layers: its layers.
        """
        return next(x for x in self.tried if x.layers == layers)

    def pairs(self) -> dict[str, tuple[Layers, Layers]]:
        """Returns the pairs of sets behind ``gaps``, by name."""
        best, single = self.best(), self.best(1)
        if best is None or single is None:
            return {}
        last = max(x.layers for x in self.tried if len(x.layers) == 1)
        others = {BEST_LAYER: single.layers, LAST_LAYER: last}
        return {k: (best.layers, x) for k, x in others.items() if x != best.layers}


def _rank(one: ProbedLayers) -> tuple[float, int, int]:
    return one.rate.eer, one.multiply_adds, one.parameters


def search(
    planned: HeldOut,
    means: np.ndarray,
    family: Mapping[str, str],
    multiply_adds: Sequence[int],
    *,
    replicates: int = 1000,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Choice:
    """Probes every layer, and pairs and fours of the best ``SHORTLIST`` layers.

    Args:
      planned: from ``held_out_scores.plan``.
      means: (n, layers + 1, dim) float32.
      family: families by attack.
      multiply_adds: (layers + 1,) of the front-end up to each state, for a second.
      replicates: of the bootstrap.
      progress: called with the number of sets that are done and of all sets.

    Returns:
      The sets and their error rates.
    """
    states = range(means.shape[1])
    shortlist = min(SHORTLIST, len(states))
    later = [list(itertools.combinations(range(shortlist), size)) for size in SIZES[1:]]
    total = len(states) + sum(map(len, later))
    found: dict[Layers, list[np.ndarray]] = {}

    def probe(layers: Layers) -> None:
        found[layers] = held_out_scores.scores(planned, means[:, list(layers)])
        progress(len(found), total)

    for state in states:
        probe((state,))
    alone = _points(planned, found)
    ranked = sorted(states, key=lambda state: (alone[(state,)], state))[:shortlist]
    for sets in later:
        for places in sets:
            probe(tuple(sorted(ranked[place] for place in places)))
    dim = means.shape[-1]
    facts = {x: (len(x) * dim + 1, multiply_adds[max(x)]) for x in found}
    return judge(planned, found, family, facts, replicates)


def _points(
    planned: HeldOut, found: Mapping[Layers, Sequence[np.ndarray]]
) -> dict[Layers, float]:
    """Returns the mean EER over families of every set, without intervals."""
    names = {str(layers): x for layers, x in found.items()}
    rates = [
        statistics.points(Condition(test))
        for test in held_out_scores.tests(planned, names)
    ]
    sizes = [len(group) for group in planned.groups]
    return {
        layers: float(np.average([x[str(layers)][0] for x in rates], weights=sizes))
        for layers in found
    }


def judge(
    planned: HeldOut,
    found: Mapping[Layers, Sequence[np.ndarray]],
    family: Mapping[str, str],
    facts: Mapping[Layers, tuple[int, int]],
    replicates: int,
    pairs: Mapping[str, tuple[Layers, Layers]] | None = None,
) -> Choice:
    """Computes error rates with intervals, all from the same bootstrap replicates.

    Args:
      planned: the trials and the families whose error rates are averaged.
      found: scores of every set of layers, as from ``held_out_scores.scores``.
      family: families by attack.
      facts: parameters and multiply-adds of every set.
      replicates: of the bootstrap.
      pairs: sets whose difference in EER is computed, by name; None for the best set
        and the best layer, and the best set and the last layer.

    Returns:
      The sets and their error rates.
    """
    names = {str(layers): x for layers, x in found.items()}
    parts = [Condition(x) for x in held_out_scores.tests(planned, names)]
    scheme = held_out_scores.scheme(planned, family, replicates)
    rates = statistics.rates(parts, scheme)
    by_group = [statistics.points(part) for part in parts]
    tried = []
    for layers in found:
        rate = statistics.rate(rates, str(layers))
        groups = {
            ", ".join(group): float(points[str(layers)][0])
            for group, points in zip(planned.groups, by_group, strict=True)
        }
        error = ErrorRate(rate.eer, rate.low, rate.high)
        tried.append(ProbedLayers(layers, error, groups, *facts[layers]))
    choice = Choice(tuple(tried), {}, scheme)
    gaps = {
        name: statistics.difference(rates, str(a), str(b))
        for name, (a, b) in (choice.pairs() if pairs is None else pairs).items()
    }
    return dataclasses.replace(choice, gaps=gaps)
