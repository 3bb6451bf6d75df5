"""Hyper-parameters, chosen on held-out training attacks.

The dev split of a corpus has the attacks of its training split, so its error rate says
nothing about unseen attacks. Here, short runs exclude some *training* attacks and are
judged on those, with the speakers of dev; the test set is never used.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import with_values
from mldg_jax.experiments import scored_tests, statistics
from mldg_jax.experiments.jobs import Job, Test
from mldg_jax.experiments.statistics import Condition

Run = Callable[[str, Sequence[Job]], None]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Values of a method's config, judged on held-out attacks.

    Attributes:
      method: its name in the config file.
      values: config values by dotted name.
      by_seed: the pooled EER of each seed's run, fractions.
    """

    method: str
    values: Mapping[str, Any]
    by_seed: tuple[float, ...]

    @property
    def eer(self) -> float:
        """The mean EER over seeds, a fraction."""
        return float(np.mean(self.by_seed))

    def to_json(self) -> dict[str, Any]:
        """Returns the method, its values, ``eer`` and ``by_seed``."""
        rates = {"eer": self.eer, "by_seed": list(self.by_seed)}
        return {"method": self.method, **self.values, **rates}


class Selection(NamedTuple):
    """The values chosen for each method, and every candidate."""

    chosen: Mapping[str, Mapping[str, Any]] = {}
    candidates: Sequence[Candidate] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns ``chosen`` and ``candidates``."""
        candidates = [candidate.to_json() for candidate in self.candidates]
        return {
            "chosen": {k: dict(v) for k, v in self.chosen.items()},
            "candidates": candidates,
        }


def best(candidates: Mapping[str, Candidate]) -> dict[str, str]:
    """Finds the candidate with the lowest EER for each method.

    Args:
      candidates: by label; the first of several equally good ones is chosen.

    Returns:
      The chosen label by method.
    """
    chosen: dict[str, str] = {}
    for label, candidate in candidates.items():
        previous = chosen.get(candidate.method)
        if previous is None or candidate.eer < candidates[previous].eer:
            chosen[candidate.method] = label
    return chosen


def select(
    base: Mapping[str, Config],
    corpus: Path,
    workdir: Path,
    run: Run,
) -> Selection:
    """Chooses config values from the candidates in ``config.selection``.

    The first stage chooses the head's learning rate for ``frozen`` and the adapters'
    learning rate for ``erm``; the second, with the latter, the inner learning rate for
    ``mldg``. The lowest EER between bona fide and the spoofs of the held-out attacks in
    dev wins, averaged over a few seeds.

    Args:
      base: configs of the methods frozen, erm and mldg.
      corpus: folder of the prepared corpus.
      workdir: folder for the runs.
      run: called with a title and jobs, runs the jobs.

    Returns:
      The chosen values and all candidates.
    """
    options = base["mldg"].selection
    test = held_out_test("dev", corpus, options.held_out)
    candidates: dict[str, Candidate] = {}
    chosen: dict[str, Mapping[str, Any]] = {}

    def stage(title: str, method_values: list[tuple[str, dict[str, float]]]) -> None:
        settings = {
            _label(method, values): (method, values) for method, values in method_values
        }
        jobs_by_label = {
            label: [
                Job(
                    workdir / f"{label}_{seed}",
                    with_values(held_out(base[method]), {**values, "seed": seed}),
                    corpus,
                    (test,),
                )
                for seed in range(options.seeds)
            ]
            for label, (method, values) in settings.items()
        }
        run(title, list(itertools.chain(*jobs_by_label.values())))
        (scored,) = scored_tests.scored(jobs_by_label, options.seeds)[test.name]
        rates = statistics.points(Condition(scored))
        judged = {
            label: Candidate(method, values, tuple(rates[label].tolist()))
            for label, (method, values) in settings.items()
        }
        candidates.update(judged)
        chosen.update({method: judged[k].values for method, k in best(judged).items()})

    learning_rates = [("erm", {"optimizer.lr": x}) for x in options.lr]
    learning_rates += [("frozen", {"optimizer.head_lr": x}) for x in options.head_lr]
    stage("selection: learning rates", learning_rates)
    inner_rates = [
        ("mldg", {**chosen["erm"], "objective.inner_lr": x}) for x in options.inner_lr
    ]
    stage("selection: inner learning rate", inner_rates)
    return Selection(chosen, list(candidates.values()))


def held_out(config: Config) -> Config:
    """Returns the config of a short run for choosing hyper-parameters.

    Args:
      config: the config of a full run.

    Returns:
      The config with ``selection``'s ``steps`` and ``num_meta_test``, and without the
      attacks that it holds out.
    """
    options = config.selection
    values = {"steps": options.steps, "episode.num_meta_test": options.num_meta_test}
    return with_values(config, {**values, "episode.exclude": options.held_out})


def held_out_test(
    name: str, corpus: Path, attacks: Sequence[str], fold: int | None = None
) -> Test:
    """Returns the test on which values are chosen.

    Args:
      name: name of the test.
      corpus: folder of the prepared corpus.
      attacks: the held-out attacks.
      fold: speaker fold to test instead of the split dev.

    Returns:
      The test on those attacks.
    """
    return Test(name, corpus, "dev", fold, tuple(attacks))


def _label(method: str, values: Mapping[str, float]) -> str:
    return "_".join([method, *(f"{k.split('.')[-1]}{v}" for k, v in values.items())])
