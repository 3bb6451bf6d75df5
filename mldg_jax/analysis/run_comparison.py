"""The comparison of several finished runs, for ``mldg analyse``."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mldg_jax.analysis import landscape, subjects
from mldg_jax.analysis.geometry import Angles, principal_angles, updates
from mldg_jax.analysis.trained_update import (
    Geometry,
    Report,
    Stage,
    describe,
    evaluator,
)
from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError

LINE = np.linspace(0, 1, 9)
REPEATED = ("seed", "corpus.fold")  # vary between repetitions of one method


class RunComparison(NamedTuple):
    """The comparison of several runs of one front-end.

    Attributes:
      geometry: the update of each run.
      angles: principal angles between the updates of every pair of runs, by the two
        names.
      paths: the loss between every pair of runs, by the two names.
    """

    geometry: tuple[Geometry, ...]
    angles: dict[tuple[str, str], Angles]
    paths: dict[tuple[str, str], landscape.Path]

    @property
    def kinds(self) -> dict[str, list[tuple[str, str]]]:
        """Pairs of runs, grouped by their methods and by whether they share a seed."""
        runs = {run.name: run for run in self.geometry}
        groups: dict[str, list[tuple[str, str]]] = {}
        for pair in self.paths:
            methods = " : ".join(sorted(runs[name].method for name in pair))
            first_seed, second_seed = (runs[name].seed for name in pair)
            kind = f"{methods}, same seed" if first_seed == second_seed else methods
            groups.setdefault(kind, []).append(pair)
        return groups


def compare_runs(
    them: Sequence[subjects.FinishedRun],
    chosen: subjects.Examples,
    *,
    report: Report,
    line: np.ndarray = LINE,
) -> RunComparison:
    """Compares the updates of several runs, and the loss between every two of them.

    Args:
      them: runs of the same model, with different names.
      chosen: utterances of every attack.
      report: called with the ``Stage`` of each computation before it starts.
      line: (n,) positions between two runs, from 0 to 1.

    Returns:
      The comparison.

    Raises:
      UserError: two runs have the same name or different models, or a run has no
        adapters.
    """
    _check(them)
    labels = method_labels(them)
    pairs = list(itertools.combinations(them, 2))
    total, number = len(them) + len(pairs), itertools.count(1)
    geometries, updates_by_run = [], {}
    for run in them:
        task = f"geometry and Fisher mass: {run.name}"
        report(Stage(next(number), total, task))
        geometries.append(describe(run, chosen)._replace(method=labels[run.name]))
        updates_by_run[run.name] = updates(run.trainable, run.scale)
    angles, paths = {}, {}
    for first, second in pairs:
        task = f"angles and loss between {first.name} and {second.name}"
        report(Stage(next(number), total, task))
        pair = first.name, second.name
        angles[pair] = principal_angles(*(updates_by_run[name] for name in pair))
        paths[pair] = landscape.interpolate(
            evaluator(first, chosen), first.point, second.point, line
        )
    return RunComparison(tuple(geometries), angles, paths)


def method_labels(them: Sequence[subjects.FinishedRun]) -> dict[str, str]:
    """Labels every run with its method and the settings that distinguish it.

    Settings are those in which the runs of the method differ, except seeds and speaker
    folds: runs that differ only in these are repetitions.

    Args:
      them: runs with different names.

    Returns:
      Labels by the name of the run, e.g. ``"mldg inner_lr=0.5"``.
    """
    configs = {run.name: run_folder.flat_config(run.config) for run in them}
    labels = {}
    for run in them:
        method = run.config.method
        peers = [configs[x.name] for x in them if x.config.method == method]
        settings = [
            f"{key.removesuffix('.name').rpartition('.')[2]}={value}"
            for key, value in sorted(configs[run.name].items())
            if key not in REPEATED and any(x.get(key) != value for x in peers)
        ]
        labels[run.name] = " ".join([method, *settings])
    return labels


def _check(them: Sequence[subjects.FinishedRun]) -> None:
    names = [run.name for run in them]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two runs are named {name!r}: rename one of the folders")
    for run in them:
        if not run.config.model.lora.rank:
            raise UserError(
                f"{run.folder} has no adapters (lora.rank is 0): omit this run, or "
                "analyse it on its own"
            )
        for part in ("weights", "frontend", "head"):
            this, first = (getattr(x.config.model, part) for x in (run, them[0]))
            if this != first:
                raise UserError(
                    f"{run.folder} has model.{part} {this}, but {them[0].folder} has "
                    f"{first}: compare only runs of the same model"
                )
