"""Several finished runs beside each other: what ``mldg analyse`` says of them."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mldg_jax.analysis import landscape, subjects
from mldg_jax.analysis.geometry import Angles, principal_angles, updates
from mldg_jax.analysis.trained_update import Geometry, Report, describe, evaluator
from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError

LINE = np.linspace(0, 1, 9)
REPEATED = ("seed", "corpus.fold")


class RunComparison(NamedTuple):
    """The study of several runs of one front-end.

    Attributes:
      geometry: of each run.
      angles: principal angles of every pair of runs, by their names.
      paths: the loss between every pair of runs.
    """

    geometry: tuple[Geometry, ...]
    angles: dict[tuple[str, str], Angles]
    paths: dict[tuple[str, str], landscape.Path]

    @property
    def kinds(self) -> dict[str, list[tuple[str, str]]]:
        """Pairs of runs by their methods and by whether they share a seed."""
        runs = {one.name: one for one in self.geometry}
        found: dict[str, list[tuple[str, str]]] = {}
        for pair in self.paths:
            methods = " : ".join(sorted(runs[name].method for name in pair))
            one, other = (runs[name].seed for name in pair)
            kind = f"{methods}, same seed" if one == other else methods
            found.setdefault(kind, []).append(pair)
        return found


def compare_runs(
    them: Sequence[subjects.FinishedRun],
    chosen: subjects.Examples,
    *,
    report: Report,
    line: np.ndarray = LINE,
) -> RunComparison:
    """Compares runs.

    Args:
      them: the runs, of one model, each with a name of its own.
      chosen, report: as of ``study.analyse_run``.
      line: places between two runs, from 0 to 1.

    Raises:
      UserError: two runs share a name, or are of different models or without adapters.
    """
    _check(them)
    labels = method_labels(them)
    pairs = list(itertools.combinations(them, 2))
    total, number = len(them) + len(pairs), itertools.count(1)
    shapes, by_run = [], {}
    for run in them:
        report(f"{next(number)}/{total} geometry and Fisher mass: {run.name}")
        shapes.append(describe(run, chosen)._replace(method=labels[run.name]))
        by_run[run.name] = updates(run.trainable, run.scale)
    angles, paths = {}, {}
    for one, other in pairs:
        report(f"{next(number)}/{total} between {one.name} and {other.name}")
        pair = one.name, other.name
        angles[pair] = principal_angles(*(by_run[name] for name in pair))
        paths[pair] = landscape.interpolate(
            evaluator(one, chosen), one.point, other.point, line
        )
    return RunComparison(tuple(shapes), angles, paths)


def method_labels(them: Sequence[subjects.FinishedRun]) -> dict[str, str]:
    """Each run's method, with the settings in which runs of that method differ, by
    name.

    Seeds and speaker folds apart: those are repetitions.
    """
    flat = {run.name: run_folder.flat_config(run.config) for run in them}
    found = {}
    for run in them:
        its = flat[run.name]
        others = [flat[x.name] for x in them if x.config.method == run.config.method]
        values = [
            f"{key.rpartition('.')[2]}={value}"
            for key, value in sorted(its.items())
            if key not in REPEATED and any(x.get(key) != value for x in others)
        ]
        found[run.name] = " ".join([run.config.method, *values])
    return found


def _check(them: Sequence[subjects.FinishedRun]) -> None:
    names = [run.name for run in them]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two runs are named {name!r}: rename one of the folders")
    for run in them:
        if not run.config.model.lora.rank:
            raise UserError(
                f"{run.folder} has no adapters (lora.rank is 0): leave it out, or "
                "analyse it alone"
            )
        for part in ("weights", "frontend", "head"):
            this, first = (getattr(x.config.model, part) for x in (run, them[0]))
            if this != first:
                raise UserError(
                    f"{run.folder} has model.{part} {this}, {them[0].folder} has "
                    f"{first}: only runs of the same model can be compared"
                )
