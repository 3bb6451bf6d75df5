"""Hyper-parameters, chosen on training attacks that are held out.

The dev split of a corpus has the attacks of its training split, so its error rate says
nothing of attacks to come. Here short runs leave some *training* attacks out and are
judged on those, on the speakers of dev; nothing of the test is looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from mldg_jax.experiments import jobs, statistics
from mldg_jax.experiments.jobs import Job, Test

Run = Callable[[str, Sequence[Job]], None]


def select(
    base: Mapping[str, ml_collections.ConfigDict],
    corpus: Path,
    workdir: Path,
    run: Run,
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Chooses the values of an arm's config among ``config.selection``.

    First the head's learning rate of ``frozen`` and the adapters' of ``erm``; then, at
    the learning rate of ``erm``, the inner learning rate of ``mldg``: as many
    candidates for every arm. The smallest EER between dev's bona fide and dev's spoof
    of the held-out attacks wins, in the mean over a few seeds.

    Args:
      base: configs of the arms frozen, erm and mldg.
      corpus: folder of the prepared corpus.
      workdir: where the runs go.
      run: runs jobs under a title.

    Returns:
      The chosen overrides of each arm, and every candidate with its EER.
    """
    options = base["mldg"].selection
    test = Test("dev", corpus, "dev", attacks=tuple(options.without))
    rows = test.rows()
    candidates = []

    def stage(name: str, grid: list[tuple[str, dict[str, float]]]) -> dict:
        trials = [
            [
                _trial(base[arm], {**values, "seed": seed}, test, workdir)
                for seed in range(options.seeds)
            ]
            for arm, values in grid
        ]
        run(name, [job for its in trials for job in its])
        best: dict[str, tuple[float, dict]] = {}
        for (arm, values), its in zip(grid, trials, strict=True):
            scores = [jobs.read_scores(job.scores(test), rows) for job in its]
            by_seed = [statistics.eer(one, rows) for one in scores]
            error = float(np.mean(by_seed))
            candidates.append({"arm": arm, **values, "eer": error, "by_seed": by_seed})
            if arm not in best or error < best[arm][0]:
                best[arm] = (error, values)
        return {arm: values for arm, (_, values) in best.items()}

    rates = [("erm", {"optimizer.lr": x}) for x in options.lr]
    rates += [("frozen", {"optimizer.head_lr": x}) for x in options.head_lr]
    chosen = stage("selection: learning rates", rates)
    inner = [
        ("mldg", {**chosen["erm"], "objective.inner_lr": x}) for x in options.inner_lr
    ]
    chosen |= stage("selection: inner learning rate", inner)
    return chosen, candidates


def override(
    config: ml_collections.ConfigDict, values: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """A copy of a config with other values, by dotted name."""
    copy = ml_collections.ConfigDict(config.to_dict())
    copy.update_from_flattened_dict(dict(values))
    return copy


def held_out(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config of a short run without the attacks that ``selection`` holds out."""
    options = config.selection
    values = {"steps": options.steps, "episode.meta_test": options.meta_test}
    return override(config, {**values, "episode.without": tuple(options.without)})


def _trial(
    base: ml_collections.ConfigDict, values: dict[str, float], test: Test, workdir: Path
) -> Job:
    names = [f"{k.split('.')[-1]}{v}" for k, v in values.items() if k != "seed"]
    folder = workdir / "_".join([base.arm, *names, str(values["seed"])])
    return Job(folder, override(held_out(base), values), test.corpus, (test,))
