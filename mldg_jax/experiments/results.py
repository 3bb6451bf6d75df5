"""What a comparison of methods found: one type, for ``mldg compare`` and ``mldg "
"demo``."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mldg_jax.common.error_rates import Difference
from mldg_jax.experiments import statistics
from mldg_jax.experiments.selection import Candidate, best
from mldg_jax.experiments.statistics import Condition, Scored, SeedRate
from mldg_jax.scoring.bootstrap import Scheme

TITLES = {
    "seen": "seen attacks",
    "unseen": "unseen attacks",
    "macro_unseen": "macro, unseen",
}


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """A method, and its error rates.

    Attributes:
      method: what the config file calls it, or ``LFCC``.
      title: for readers.
      parameters: that were trained; None where it has none.
      steps: of a run.
      evaluations: gradient evaluations of a run, of an utterance each; None where they
        were not counted.
      varied: the values that it was given, by dotted name.
      eer: by column.
      by_attack: by attack.
    """

    method: str
    title: str
    parameters: int | None = None
    steps: int = 0
    evaluations: int | None = None
    varied: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    eer: Mapping[str, SeedRate] = dataclasses.field(default_factory=dict)
    by_attack: Mapping[str, SeedRate] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Error rates of several methods and paired differences.

    Attributes:
      columns: titles of the error rates, by name; see ``statistics.columns``.
      rows: by label.
      differences: of two rows, by column.
      trained, unseen: attacks of the tests that were trained on, and the others.
      seeds: runs of each.
      folds: speaker folds; 0 for the official splits.
      scheme: where the intervals come from.
      held_out: the tests are training attacks that were held out, to choose a row of
        each method by.
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

    @property
    def chosen(self) -> dict[str, str]:
        """By method the label of the row with the lowest EER on held-out attacks."""
        rows = self.rows.items() if self.held_out else ()
        return best(
            {k: Candidate(x.method, x.varied, x.eer["pooled"].by_seed) for k, x in rows}
        )

    def to_json(self) -> dict[str, Any]:
        """Returns what results.json of ``mldg compare`` holds."""
        rows = {}
        for label, row in self.rows.items():
            names = ("method", "varied", "parameters", "steps", "evaluations")
            entry = {name: getattr(row, name) for name in names}
            entry |= {"eer": as_json(row.eer), "difference": {}}
            for (a, b), found in self.differences.items():
                if a == label:
                    entry |= {"reference": b, "difference": as_json(found)}
            rows[label] = entry
        chosen = {
            method: self.rows[label].varied for method, label in self.chosen.items()
        }
        return {
            "columns": list(self.columns),
            "seeds": self.seeds,
            "folds": self.folds,
            "tune": self.held_out,
            "bootstrap": self.scheme.to_json(),
            "rows": rows,
        } | ({"chosen": chosen} if self.held_out else {})


def as_json(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns results by name as JSON has them."""
    return {name: one.to_json() for name, one in found.items()}


def compare_scores(
    rows: Mapping[str, MethodResult],
    tests: Mapping[str, Sequence[Scored]],
    trained: set[str],
    pairs: Iterable[tuple[str, str]],
    *,
    titles: Mapping[str, str] | None = None,
    by_attack: bool = False,
    folds: int = 0,
    held_out: bool = False,
    scheme: Scheme = statistics.SCHEME,
) -> Comparison:
    """Returns the error rates of several methods, and differences of some pairs of
    them.

    Args:
      rows: the methods by label, without error rates.
      tests: by corpus its tests, one a speaker fold, with scores by label.
      trained: attacks that were trained on; the others are unseen.
      pairs: of labels.
      titles: of the columns to show; None for all.
      by_attack: every attack's rate too, where there is one corpus without folds.
      folds: speaker folds; 0 for the official splits.
      held_out: the tests are training attacks that were held out.
      scheme: of the bootstrap.
    """
    columns = statistics.columns(tests, trained)
    found = {name: statistics.rates(parts, scheme) for name, parts in columns.items()}
    every = [test for its in tests.values() for test in its]
    seen, unseen = statistics.attacks(every, trained)
    attacks = {
        attack: statistics.rates([Condition(every[0], (attack,))], scheme)
        for attack in (seen + unseen if by_attack else ())
    }
    first = next(iter(every[0].scores.values()))
    return Comparison(
        columns=titles or {name: TITLES.get(name, name) for name in columns},
        rows={
            label: dataclasses.replace(
                row,
                eer={k: statistics.rate(v, label) for k, v in found.items()},
                by_attack={k: statistics.rate(v, label) for k, v in attacks.items()},
            )
            for label, row in rows.items()
        },
        differences={
            (a, b): {k: statistics.difference(v, a, b) for k, v in found.items()}
            for a, b in pairs
        },
        trained=seen,
        unseen=unseen,
        seeds=len(first),
        folds=folds,
        scheme=scheme,
        held_out=held_out,
    )
