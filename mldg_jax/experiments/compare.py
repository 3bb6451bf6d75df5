"""The paper's table: methods, ranks and seeds, trained, scored and compared.

Every run is a separate job that is done once; started again, the command continues.
Methods get the same number of gradient evaluations (``gradient_evaluations``):
the config's ``steps`` are those of a method that differentiates the loss of every
utterance once per step, and a method with costlier steps takes fewer of them.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mldg_jax import lora
from mldg_jax.common import files, run_folder
from mldg_jax.common.config import Config, EpisodeSection
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes
from mldg_jax.data.corpus import NO_ATTACK, corpus_sha256, find_corpus, load_training
from mldg_jax.experiments import jobs, method_tables, statistics
from mldg_jax.experiments.jobs import LFCC, Job, Test
from mldg_jax.experiments.results import Comparison, MethodResult, compare_scores
from mldg_jax.experiments.selection import (
    held_out,
    held_out_test,
)
from mldg_jax.experiments.statistics import Scored
from mldg_jax.scoring.scheme import Scheme
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.objective_section import gradient_evaluations

REFERENCE = "erm"


class MethodRow(NamedTuple):
    """A row of the table before its runs.

    Attributes:
      method: its name in the config file, or ``LFCC``.
      varied: config values that are varied, by dotted name.
      config: config of its runs, except for seed and fold.
      evaluations: gradient evaluations of single utterances in a run.
    """

    method: str
    varied: dict[str, Any]
    config: Config
    evaluations: int

    @property
    def label(self) -> str:
        """The row's name in tables and in folder names."""
        values = [f"{k.rpartition('.')[2]}={v}" for k, v in self.varied.items()]
        return " ".join([self.method, *values])

    def facts(self) -> MethodResult:
        """Returns the result without error rates."""
        return MethodResult(
            method=self.method,
            title=self.label,
            steps=self.config.steps,
            evaluations=self.evaluations,
            varied=self.varied,
        )


def compare_methods(
    config_path: str,
    methods: Sequence[str],
    workdir: Path,
    *,
    seeds: Sequence[int],
    folds: Sequence[int] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    tune: bool = False,
    data_dir: str | Path = "data",
    overrides: Sequence[str] = (),
    scheme: Scheme = statistics.SCHEME,
    execute: Callable[[Sequence[Job]], None],
) -> Comparison:
    """Trains what is missing, scores, compares and writes the tables.

    Args:
      config_path: a config file whose arguments are the methods; arguments after a
        colon are added to each method, as in "configs/xlsr.py:smoke".
      methods: methods of the config file, or "lfcc-gmm". Differences are to "erm".
      workdir: folder for the runs, results.json, the tables and the picture.
      seeds: training seeds; every row is run with each.
      folds: speaker folds; every seed is trained once without each and tested on it.
        None for the official splits.
      vary: values by config name. A method gets a row for each value, and for each
        combination of several names, as far as its config sets the name.
        ``model.lora.rank`` only varies methods with adapters; alpha changes with it, so
        their scale stays the same.
      tune: whether to make short runs that exclude the attacks held out by
        ``config.selection``, and choose the best row of each method on those. The
        config's tests are not used.
      data_dir: folder of the prepared corpora.
      overrides: ``name=value`` for all methods.
      scheme: of the bootstrap.
      execute: runs jobs.

    Returns:
      The comparison, as written to results.json.

    Raises:
      UserError: a config is invalid, a corpus is missing, or a run folder contains a
        run with another config.
    """
    files.check_folder(workdir)
    rows = table_rows(config_path, methods, vary or {}, overrides, tune, data_dir)
    jobs_by_label = {
        label: [
            _job(row, seed, fold, workdir, tune, data_dir)
            for seed, fold in itertools.product(seeds, folds or [None])
        ]
        for label, row in rows.items()
    }
    execute(list(itertools.chain(*jobs_by_label.values())))

    pairs = [(label, reference(rows, label)) for label in rows]
    comparison, _ = compare_runs(
        {label: row.facts() for label, row in rows.items()},
        jobs_by_label,
        [(a, b) for a, b in pairs if b],
        seeds=len(seeds),
        folds=len(folds or []),
        held_out=tune,
        scheme=scheme,
    )
    text = json.dumps(comparison.to_json(), indent=1)
    files.write_text(workdir / "results.json", text)
    for file, text in method_tables.files(comparison).items():
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
      made: jobs by label, ordered as in ``statistics.scored``.
      pairs: pairs of labels whose difference is computed.
      seeds: number of training seeds.
      held_out: whether the tests are held-out training attacks.
      **options: options of ``results.compare_scores``.

    Returns:
      The comparison, and the scored tests by name.
    """
    first = next(iter(made.values()))[0]
    corpus = load_training(first.corpus, first.config.corpus.fold)
    excluded = first.config.episode.exclude if held_out else ()
    trained = set(corpus.attack) - {NO_ATTACK, *excluded}
    rows = {
        label: dataclasses.replace(row, parameters=_parameters(made[label][0]))
        for label, row in rows.items()
    }
    tests = statistics.scored(made, seeds)
    options["held_out"] = held_out
    return compare_scores(rows, tests, trained, pairs, **options), tests


def table_rows(
    config_path: str,
    methods: Sequence[str],
    vary: Mapping[str, Sequence[Any]],
    overrides: Sequence[str],
    tune: bool,
    data_dir: str | Path,
) -> dict[str, MethodRow]:
    """Builds the rows of the table, with equal numbers of gradient evaluations.

    Args:
      config_path, methods, vary, overrides, tune, data_dir: see ``compare_methods``.

    Returns:
      Rows by label.

    Raises:
      UserError: a config is invalid, or a corpus is missing.
    """
    rows = {}
    for method in methods:
        path, _, extras = config_path.partition(":")
        words = ",".join(x for x in (method, extras) if x and x != LFCC)
        base = read_config_file(f"{path}:{words}", overrides)
        folder = find_corpus(base.corpus.name, base.corpus.config, data_dir)
        base = with_values(base, {"corpus.sha256": corpus_sha256(folder)})
        if tune:
            base = held_out(base)
        if method == LFCC:
            sections: dict[str, Any] = {"tests": base.tests}
            if tune:
                sections["episode"] = EpisodeSection(exclude=base.episode.exclude)
            rows[method] = MethodRow(
                method, {}, jobs.lfcc_config(base.corpus, **sections), 0
            )
            continue
        attacks = _attacks(base, folder)
        for varied in _combinations(base, vary):
            config = with_values(base, _with_alpha(base, varied))
            passes = gradient_evaluations(config, attacks)
            budget = config.steps * attacks * config.episode.examples_per_attack
            steps = max(1, round(budget / passes))
            config = with_values(config, {"steps": steps})
            row = MethodRow(method, varied, config, config.steps * passes)
            rows[row.label] = row
    return rows


def reference(rows: Mapping[str, MethodRow], label: str) -> str | None:
    """Finds the row of ERM to compare a row with.

    Args:
      rows: the rows of the table, by label.
      label: the row to compare.

    Returns:
      The label of the first ERM row with the same varied values, or else of the first
      ERM row; None if there is none or the row itself is ERM.
    """
    row = rows[label]
    if row.method == REFERENCE:
        return None
    of_erm = {k: v.varied for k, v in rows.items() if v.method == REFERENCE}
    shared = [
        k
        for k, varied in of_erm.items()
        if all(row.varied.get(name, value) == value for name, value in varied.items())
    ]
    return next(iter(shared or of_erm), None)


def _attacks(config: Config, folder: Path) -> int:
    if config.episode.attacks_per_episode:
        return config.episode.attacks_per_episode
    rows = load_training(folder, config.corpus.fold)
    domains = episodes.group(
        rows, exclude=config.episode.exclude, by=config.episode.domains
    )
    return len(domains.attacks)


def _combinations(
    config: Config, vary: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    flat = run_folder.flat_config(config)
    # An option that is None does not apply to this method's objective.
    own = {name: values for name, values in vary.items() if flat.get(name) is not None}
    if not config.model.lora.rank:
        own.pop("model.lora.rank", None)
    return [
        dict(zip(own, values, strict=True))
        for values in itertools.product(*own.values())
    ]


def _with_alpha(config: Config, varied: dict) -> dict[str, Any]:
    rank = varied.get("model.lora.rank")
    if rank is None:
        return varied
    alpha = config.model.lora.alpha * rank / config.model.lora.rank
    return {"model.lora.alpha": alpha, **varied}


def _job(
    row: MethodRow,
    seed: int,
    fold: int | None,
    workdir: Path,
    tune: bool,
    data_dir: str | Path,
) -> Job:
    config = with_values(row.config, {"seed": seed, "corpus.fold": fold})
    folder = find_corpus(config.corpus.name, config.corpus.config, data_dir)
    suffix = "" if fold is None else f" fold{fold}"
    if tune:
        tests = (held_out_test("held-out", folder, config.episode.exclude, fold),)
    else:
        tests = tuple(
            _test(text, config, fold, data_dir)
            for text in config.tests or (f"{config.corpus.name}:eval",)
        )
    return Job(workdir / f"{row.label} seed{seed}{suffix}", config, folder, tests)


def _test(text: str, config: Config, fold: int | None, data_dir: str | Path) -> Test:
    """Returns the test that "NAME[/CONFIG]:SPLIT" names."""
    name, _, split = text.partition(":")
    name, _, size = name.partition("/")
    own = name == config.corpus.name
    folder = find_corpus(name, size or (config.corpus.config if own else ""), data_dir)
    if fold is not None and not own:
        raise UserError(
            f"a test on {text} cannot be combined with speaker folds of "
            f"{config.corpus.name}; drop the folds or test only on {config.corpus.name}"
        )
    return Test(f"{name}_{split}", folder, split, fold)


def _parameters(job: Job) -> int | None:
    if job.config.method == LFCC:
        return None
    return lora.count(run_folder.read_trainable(job.workdir)[0])
