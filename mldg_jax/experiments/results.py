"""Results of a comparison of methods, for ``mldg compare`` and ``mldg demo``."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mldg_jax.common.error_rates import Difference
from mldg_jax.experiments import statistics
from mldg_jax.experiments.deployment import Decisions
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.experiments.selection import Candidate, best
from mldg_jax.experiments.statistics import Condition, SeedRate
from mldg_jax.scoring.bootstrap import Scheme
from mldg_jax.scoring.scheme import CHOICES

UNSEEN = {"pooled": "unseen attacks", "macro": "macro, unseen"}
"""Titles where every attack of the tests is unseen."""
TITLES = {
    "seen": "seen attacks",
    "unseen": "unseen attacks",
    "macro_unseen": "macro, unseen",
}


class Resampled(NamedTuple):
    """An error rate and a difference under one scheme of resampling.

    Attributes:
      rate: of the first method of the pair.
      difference: between the pair.
    """

    rate: SeedRate
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return as_json(self._asdict())


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """A method and its error rates.

    Attributes:
      method: its name in the config file, or that of a baseline.
      title: its name for readers.
      parameters: number of trained parameters; None if it has none.
      steps: training steps of a run.
      evaluations: gradient evaluations of single utterances in a run; None if they were
        not counted.
      varied: config values that were varied, by dotted name.
      eer: error rates by column.
      by_attack: error rates by attack.
      decisions: errors at thresholds of dev scores, by the threshold's name.
    """

    method: str
    title: str
    parameters: int | None = None
    steps: int = 0
    evaluations: int | None = None
    varied: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    eer: Mapping[str, SeedRate] = dataclasses.field(default_factory=dict)
    by_attack: Mapping[str, SeedRate] = dataclasses.field(default_factory=dict)
    decisions: Mapping[str, Decisions] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Error rates of several methods and paired differences.

    Attributes:
      columns: titles of the error rates, by name; see ``statistics.columns``.
      rows: methods by label.
      differences: by the labels of two rows, then by column.
      trained, unseen: attacks in the tests that were trained on, and the others.
      seeds: number of training seeds.
      folds: number of speaker folds; 0 for the official splits.
      scheme: the bootstrap behind the intervals.
      held_out: whether the tests are held-out training attacks, by which a row of each
        method is chosen.
      attack_folds: number of groups of attacks that were left out in turn.
      pair, example: a pair of methods in the first column under every scheme of
        resampling, to show how much the scheme matters.
    """

    columns: Mapping[str, str]
    rows: Mapping[str, MethodResult]
    differences: Mapping[tuple[str, str], Mapping[str, Difference]]
    trained: tuple[str, ...]
    unseen: tuple[str, ...]
    seeds: int
    folds: int
    scheme: Scheme
    held_out: bool = False
    attack_folds: int = 0
    pair: tuple[str, str] | None = None
    example: Mapping[str, Resampled] = dataclasses.field(default_factory=dict)

    @property
    def chosen(self) -> dict[str, str]:
        """The label of each method's row with the lowest EER on held-out attacks."""
        rows = self.rows.items() if self.held_out else ()
        return best(
            {k: Candidate(x.method, x.varied, x.eer["pooled"].by_seed) for k, x in rows}
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the content of results.json of ``mldg compare``."""
        rows = {}
        for label, row in self.rows.items():
            names = ("method", "varied", "parameters", "steps", "evaluations")
            entry = {name: getattr(row, name) for name in names}
            entry |= {"eer": as_json(row.eer), "difference": {}}
            if row.decisions:
                entry["decisions"] = as_json(row.decisions)
            for (a, b), by_column in self.differences.items():
                if a == label:
                    entry |= {"reference": b, "difference": as_json(by_column)}
            rows[label] = entry
        chosen = {
            method: self.rows[label].varied for method, label in self.chosen.items()
        }
        return {
            "columns": list(self.columns),
            "seeds": self.seeds,
            "folds": self.folds,
            "attack_folds": self.attack_folds,
            "tune": self.held_out,
            "bootstrap": self.scheme.to_json(),
            "rows": rows,
            "schemes": {k: x.to_json() for k, x in self.example.items()},
        } | ({"chosen": chosen} if self.held_out else {})


def as_json(found: Mapping[str, Any]) -> dict[str, Any]:
    """Converts results to JSON values.

    Args:
      found: objects with ``to_json``, by name.

    Returns:
      Dictionaries by name.
    """
    return {name: result.to_json() for name, result in found.items()}


def compare_scores(
    rows: Mapping[str, MethodResult],
    tests: Mapping[str, Sequence[Scored]],
    trained: set[str],
    pairs: Iterable[tuple[str, str]],
    *,
    titles: Mapping[str, str] | None = None,
    by_attack: bool = False,
    folds: int = 0,
    attack_folds: int = 0,
    held_out: bool = False,
    scheme: Scheme = statistics.SCHEME,
) -> Comparison:
    """Computes the error rates of several methods and differences between them.

    Args:
      rows: the methods by label, without error rates.
      tests: by test name, one entry per speaker fold, with scores by label.
      trained: attacks that were trained on; the others are unseen.
      pairs: pairs of labels whose difference is computed.
      titles: titles of the columns to show, by name; None for all columns.
      by_attack: whether to compute every attack's rate too; needs a single test without
        folds.
      folds: number of speaker folds; 0 for the official splits.
      attack_folds: number of groups of attacks that were left out in turn.
      held_out: whether the tests are held-out training attacks.
      scheme: of the bootstrap.

    Returns:
      The comparison.
    """
    columns = statistics.columns(tests, trained)
    rates = {name: statistics.rates(parts, scheme) for name, parts in columns.items()}
    scored = list(itertools.chain(*tests.values()))
    seen, unseen = statistics.attacks(scored, trained)
    attack_rates = {
        attack: statistics.rates([Condition(scored[0], (attack,))], scheme)
        for attack in (seen + unseen if by_attack else ())
    }
    first = next(iter(scored[0].scores.values()))
    pairs = list(pairs)
    gaps = {k: statistics.differences(v, pairs) for k, v in rates.items()}
    names = UNSEEN if attack_folds else TITLES
    pair = _shown(rows, pairs)
    return Comparison(
        columns=titles or {name: names.get(name, name) for name in columns},
        rows={
            label: dataclasses.replace(
                row,
                eer={k: statistics.rate(v, label) for k, v in rates.items()},
                by_attack={
                    k: statistics.rate(v, label) for k, v in attack_rates.items()
                },
            )
            for label, row in rows.items()
        },
        differences={
            pair: {k: by_pair[pair] for k, by_pair in gaps.items()} for pair in pairs
        },
        trained=seen,
        unseen=unseen,
        seeds=len(first),
        folds=folds,
        attack_folds=attack_folds,
        pair=pair,
        example=_example(next(iter(columns.values())), pair, scheme)
        if scheme.attacks and pair
        else {},
        scheme=scheme,
        held_out=held_out,
    )


def _shown(
    rows: Mapping[str, MethodResult], pairs: Sequence[tuple[str, str]]
) -> tuple[str, str] | None:
    """Returns the pair to show under every scheme: the first of trained methods."""
    trained = [pair for pair in pairs if all(rows[label].steps for label in pair)]
    return next(iter([*trained, *pairs]), None)


def _example(
    parts: Sequence[Condition], pair: tuple[str, str], scheme: Scheme
) -> dict[str, Resampled]:
    """Returns a pair's error rate and difference under every scheme."""
    a, b = pair

    def only(part: Condition) -> Condition:
        scores = {label: part.test.scores[label] for label in (a, b)}
        return part._replace(test=part.test._replace(scores=scores))

    example = {}
    for name, clusters in CHOICES.items():
        other = dataclasses.replace(scheme, clusters=clusters)
        rates = statistics.rates(list(map(only, parts)), other)
        example[name] = Resampled(
            statistics.rate(rates, a), statistics.difference(rates, a, b)
        )
    return example
