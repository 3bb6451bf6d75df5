"""Hyper-parameters, chosen on training attacks that are held out.

The dev split of a corpus has the attacks of its training split, so its error rate says
nothing of attacks to come. Here short runs leave some *training* attacks out and are
judged on those, on the speakers of dev; nothing of the test is looked at.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import with_values
from mldg_jax.experiments import statistics
from mldg_jax.experiments.jobs import Job, Test
from mldg_jax.experiments.statistics import Condition

Run = Callable[[str, Sequence[Job]], None]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Values of a method's config, judged on held-out attacks.

    Attributes:
      method: of the config file.
      values: by dotted name.
      by_seed: the pooled EER of each seed's run, fractions.
    """

    method: str
    values: Mapping[str, Any]
    by_seed: tuple[float, ...]

    @property
    def eer(self) -> float:
        """The mean over seeds."""
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
        candidates = [one.to_json() for one in self.candidates]
        return {
            "chosen": {k: dict(v) for k, v in self.chosen.items()},
            "candidates": candidates,
        }


def best(candidates: Mapping[str, Candidate]) -> dict[str, str]:
    """Returns by method the label of the lowest EER; of equal ones the first."""
    chosen: dict[str, str] = {}
    for label, one in candidates.items():
        if one.method not in chosen or one.eer < candidates[chosen[one.method]].eer:
            chosen[one.method] = label
    return chosen


def select(
    base: Mapping[str, Config],
    corpus: Path,
    workdir: Path,
    run: Run,
) -> Selection:
    """Chooses the values of a method's config among ``config.selection``.

    First the head's learning rate of ``frozen`` and the adapters' of ``erm``; then, at
    the learning rate of ``erm``, the inner learning rate of ``mldg``: as many
    candidates for every method. The smallest EER between dev's bona fide and dev's
    spoof of the held-out attacks wins, in the mean over a few seeds.

    Args:
      base: configs of the methods frozen, erm and mldg.
      corpus: folder of the prepared corpus.
      workdir: where the runs go.
      run: runs jobs under a title.
    """
    options = base["mldg"].selection
    test = held_out_test("dev", corpus, options.held_out)
    candidates: dict[str, Candidate] = {}
    chosen: dict[str, Mapping[str, Any]] = {}

    def stage(title: str, method_values: list[tuple[str, dict[str, float]]]) -> None:
        trials = {
            _label(method, values): (method, values) for method, values in method_values
        }
        made = {
            label: [
                Job(
                    workdir / f"{label}_{seed}",
                    with_values(held_out(base[method]), {**values, "seed": seed}),
                    corpus,
                    (test,),
                )
                for seed in range(options.seeds)
            ]
            for label, (method, values) in trials.items()
        }
        run(title, [job for its in made.values() for job in its])
        (scored,) = statistics.scored(made, options.seeds)[test.name]
        rates = statistics.points(Condition(scored))
        judged = {
            label: Candidate(method, values, tuple(rates[label].tolist()))
            for label, (method, values) in trials.items()
        }
        candidates.update(judged)
        chosen.update({method: judged[k].values for method, k in best(judged).items()})

    rates = [("erm", {"optimizer.lr": x}) for x in options.lr]
    rates += [("frozen", {"optimizer.head_lr": x}) for x in options.head_lr]
    stage("selection: learning rates", rates)
    inner = [
        ("mldg", {**chosen["erm"], "objective.inner_lr": x}) for x in options.inner_lr
    ]
    stage("selection: inner learning rate", inner)
    return Selection(chosen, list(candidates.values()))


def held_out(config: Config) -> Config:
    """The config of a short run without the attacks that ``selection`` holds out."""
    options = config.selection
    values = {"steps": options.steps, "episode.num_meta_test": options.num_meta_test}
    return with_values(config, {**values, "episode.exclude": options.held_out})


def held_out_test(
    name: str, corpus: Path, attacks: Sequence[str], fold: int | None = None
) -> Test:
    """Returns the test that values are chosen on: held-out attacks, speakers of dev."""
    return Test(name, corpus, "dev", fold, tuple(attacks))


def _label(method: str, values: Mapping[str, float]) -> str:
    return "_".join([method, *(f"{k.split('.')[-1]}{v}" for k, v in values.items())])
