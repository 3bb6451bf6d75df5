"""The paper's table: methods, ranks and seeds, trained, scored and compared.

Every run is a separate job that is done once; started again, the command continues.
Methods get the same number of gradient evaluations (``gradient_evaluations``):
the config's ``steps`` are those of a method that differentiates the loss of every
utterance once per step, and a method with costlier steps takes fewer of them.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mldg_jax import lora
from mldg_jax.common import files, run_folder
from mldg_jax.data.attack_folds import families
from mldg_jax.data.corpus import NO_ATTACK, load_training
from mldg_jax.experiments import (
    learning_curves,
    method_tables,
    scored_tests,
    statistics,
)
from mldg_jax.experiments.deployment import decisions
from mldg_jax.experiments.design import DIWA, Chosen, Design
from mldg_jax.experiments.jobs import LFCC, WITHOUT_STEPS, Average, Job
from mldg_jax.experiments.method_rows import MethodRow, reference, table_rows
from mldg_jax.experiments.results import Comparison, MethodResult, compare_scores
from mldg_jax.experiments.scored_tests import Scored
from mldg_jax.experiments.selection import Candidate, best
from mldg_jax.scoring.scheme import Scheme
from mldg_jax.training import trajectory


def compare_methods(
    config_path: str,
    methods: Sequence[str],
    workdir: Path,
    *,
    seeds: Sequence[int],
    folds: Sequence[int] | None = None,
    attack_folds: Sequence[int] | None = None,
    averages: Sequence[str] = (),
    budgets: Sequence[int] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    tune: bool = False,
    chosen: Chosen | None = None,
    data_dir: str | Path = "data",
    overrides: Sequence[str] = (),
    scheme: Scheme = statistics.SCHEME,
    execute: Callable[[Sequence[Job]], None],
) -> Comparison:
    """Trains what is missing, scores, compares and writes the tables.

    Args:
      config_path: a config file whose arguments are the methods; arguments after a
        colon are added to each method, as in "xlsr:smoke".
      methods: methods of the config file, "lfcc-gmm" or "probe". Differences are to
        "erm".
      workdir: folder for the runs, results.json, the tables and the picture.
      seeds: training seeds; every row is run with each.
      folds: speaker folds; every seed is trained once without each and tested on it.
        None for the official splits.
      attack_folds: groups of the config's ``corpus.attack_folds``; every run is trained
        once without each and tested on its attacks alone. None trains on the attacks of
        the official training split and tests on all.
      averages: averages of each run's parameters, see ``training.trajectory``, or
        "diwa", the average over seeds; each gets a row. None of them for the detector
        of the config.
      budgets: numbers of ERM's steps, ascending, in place of the config's: every run
        takes the last and is tested at each.
      vary: values by config name. A method gets a row for each value, and for each
        combination of several names, as far as its config sets the name.
        ``model.lora.rank`` only varies methods with adapters; alpha changes with it, so
        their scale stays the same.
      tune: whether to make short runs that exclude the attacks held out by
        ``config.selection``, and choose the best row of each method on those. The
        config's tests are not used. With ``attack_folds``, the attacks of each group
        are excluded too, and the choice is made for each group on two other families
        and the bona fide utterances that training leaves out.
      chosen: values to use, from an earlier call with ``tune``.
      data_dir: folder of the prepared corpora.
      overrides: ``name=value`` for all methods.
      scheme: of the bootstrap.
      execute: runs jobs.

    Returns:
      The comparison at the last budget, as written to results.json.

    Raises:
      UserError: a config is invalid, a corpus is missing, or a run folder contains a
        run with another config.
    """
    files.check_folder(workdir)
    if budgets and not averages:
        averages = (trajectory.EMA,)
    rows = table_rows(
        config_path,
        methods,
        vary or {},
        overrides,
        tune,
        data_dir,
        budgets=budgets,
        segments=bool(set(averages) - {DIWA}),
        attack_fold=attack_folds[0] if attack_folds else None,
    )
    design = Design(
        seeds=seeds,
        folds=folds or (None,),
        attack_folds=attack_folds or (None,),
        averages=averages,
        tune=tune,
        chosen=chosen or Chosen(),
    )
    made = {label: design.jobs(row, workdir, data_dir) for label, row in rows.items()}
    averaged = {
        label: design.averaged(jobs)
        for label, jobs in made.items()
        if DIWA in averages and rows[label].method not in WITHOUT_STEPS
    }
    corpus = next(iter(made.values()))[0].corpus
    settings = {a: family for a, family in families(corpus).items() if a != family}
    scheme = dataclasses.replace(scheme, families=settings)
    cells = len(design.folds) * len(design.attack_folds)
    # Seed by seed: a table of fewer seeds can be made before all runs are done.
    execute(
        [
            job
            for start in range(0, len(seeds) * cells, cells)
            for jobs in made.values()
            for job in jobs[start : start + cells]
        ]
    )
    if averaged:
        execute([job for jobs in averaged.values() for job in jobs])

    options = {
        "seeds": len(seeds),
        "folds": len(folds or []),
        "attack_folds": len(attack_folds or []),
        "held_out": tune,
        "scheme": scheme,
    }
    compared = []
    for index in range(max(1, len(budgets))):
        facts, read, pairs = _crossed(rows, made, averaged, averages, index)
        comparison, tests = compare_runs(facts, read, pairs, **options)
        compared.append(comparison)
    results = comparison.to_json()
    if budgets:
        results["budgets"] = {
            str(budget): one.to_json()["rows"]
            for budget, one in zip(budgets, compared, strict=True)
        }
    if tune and attack_folds:
        (cells,) = tests.values()
        results["chosen_by_attack_fold"] = {
            str(number): _best_values(rows, cells[index :: len(attack_folds)])
            for index, number in enumerate(attack_folds)
        }
    files.write_text(workdir / "results.json", json.dumps(results, indent=1))
    texts = method_tables.files(comparison)
    if len(budgets) > 1:
        texts |= learning_curves.files(budgets, compared)
    for file, text in texts.items():
        files.write_text(workdir / file, text)
    return comparison


def compare_runs(
    rows: Mapping[str, MethodResult],
    made: Mapping[str, Sequence[Job]],
    pairs: Iterable[tuple[str, str]],
    *,
    seeds: int,
    held_out: bool = False,
    **options: Any,
) -> tuple[Comparison, dict[str, list[Scored]]]:
    """Compares the methods of finished jobs.

    Args:
      rows: the methods by label; their trained parameters are counted here.
      made: jobs by label, ordered as in ``scored_tests.scored``.
      pairs: pairs of labels whose difference is computed.
      seeds: number of training seeds.
      held_out: whether the tests are held-out training attacks.
      **options: options of ``results.compare_scores``.

    Returns:
      The comparison, and the scored tests by name.
    """
    first = next(iter(made.values()))[0]
    trained: set[str] = set()
    if first.config.corpus.attack_fold is None:
        corpus = load_training(first.corpus, first.config.corpus.fold)
        excluded = first.config.episode.exclude if held_out else ()
        trained = set(corpus.attack) - {NO_ATTACK, *excluded}
    rows = {
        label: dataclasses.replace(
            row,
            parameters=_parameters(made[label][0]),
            decisions=decisions(made[label]) if first.dev else {},
        )
        for label, row in rows.items()
    }
    tests = scored_tests.scored(made, seeds)
    options["held_out"] = held_out
    return compare_scores(rows, tests, trained, pairs, **options), tests


def _crossed(
    rows: Mapping[str, MethodRow],
    made: Mapping[str, Sequence[Job]],
    averaged: Mapping[str, Sequence[Job]],
    averages: Sequence[str],
    budget: int,
) -> tuple[dict[str, MethodResult], dict[str, list[Job]], list[tuple[str, str]]]:
    """Crosses the rows with the averages, at the budget of that index.

    Returns the results to be, the jobs with the scores to read, and the pairs to
    compare: methods with ERM of the same average, averages of ERM with the first.
    """
    facts: dict[str, MethodResult] = {}
    read: dict[str, list[Job]] = {}
    label_of: dict[tuple[str, str | None], str] = {}
    for label, row in rows.items():
        fitted = row.method in WITHOUT_STEPS
        for name in (None,) if fitted else averages or (None,):
            title = f"{label} {name}" if name and len(averages) > 1 else label
            label_of[label, name] = title
            facts[title] = row.facts(budget, title)
            if name == DIWA:  # one for all seeds
                repeated = len(made[label]) // len(averaged[label])
                read[title] = [*averaged[label]] * repeated
                continue
            average = Average(name, facts[title].steps) if name else None
            read[title] = [job._replace(read=average) for job in made[label]]
    pairs = []
    for (label, name), title in label_of.items():
        erm = reference(rows, label)
        own = name or (averages[0] if averages else None)
        if erm is not None:
            pairs.append((title, label_of[erm, own]))
        elif averages and name != averages[0]:
            pairs.append((title, label_of[label, averages[0]]))
    return facts, read, pairs


def _best_values(
    rows: Mapping[str, MethodRow], cells: Sequence[Scored]
) -> dict[str, dict[str, Any]]:
    """Returns the values of each method's best row on some tests."""
    conditions = [statistics.points(statistics.Condition(cell)) for cell in cells]
    candidates = {
        label: Candidate(
            row.method,
            row.varied,
            tuple(np.mean([rates[label] for rates in conditions], 0).tolist()),
        )
        for label, row in rows.items()
    }
    return {
        method: dict(rows[label].varied) for method, label in best(candidates).items()
    }


def _parameters(job: Job) -> int | None:
    if job.config.method == LFCC:
        return None
    folder = job.average_of[0] if job.average_of else job.workdir
    return lora.count(run_folder.read_trainable(folder)[0])
