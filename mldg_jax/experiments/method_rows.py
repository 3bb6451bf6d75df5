"""The rows of a table of methods, and the runs behind each."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mldg_jax.common import run_folder
from mldg_jax.common.config import Config, EpisodeSection
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.data import episodes
from mldg_jax.data.attack_folds import training_rows
from mldg_jax.data.corpus import corpus_sha256, find_corpus
from mldg_jax.experiments import jobs
from mldg_jax.experiments.jobs import LFCC, PROBE, WITHOUT_STEPS
from mldg_jax.experiments.probing import probe_run
from mldg_jax.experiments.results import MethodResult
from mldg_jax.experiments.selection import held_out
from mldg_jax.training.config_files import read_config_file, varied
from mldg_jax.training.objective_section import gradient_evaluations

REFERENCE = "erm"
OWN = {
    "seed": "--seeds",
    "steps": "--budgets",
    "method": "--methods",
    "corpus.fold": "--folds",
    "corpus.attack_fold": "--attack-folds",
    "averages.detector": "--averages",
    "averages.at": "--budgets",
}
"""Config entries that are not varied, and the option that does it."""
SEGMENTS = 10  # of the shortest run; the uniform average is without the first two


class MethodRow(NamedTuple):
    """A row of the table before its runs.

    Attributes:
      method: its name in the config file, or one of ``WITHOUT_STEPS``.
      varied: config values that are varied, by dotted name.
      config: config of its runs, except for seed and folds.
      per_step: gradient evaluations of single utterances in a step.
    """

    method: str
    varied: dict[str, Any]
    config: Config
    per_step: int

    @property
    def label(self) -> str:
        """The row's name in tables and in folder names."""
        values = [f"{k.rpartition('.')[2]}={v}" for k, v in self.varied.items()]
        return " ".join([self.method, *values])

    @property
    def evaluations(self) -> int:
        """Gradient evaluations of single utterances in a run."""
        return self.config.steps * self.per_step

    def facts(self, budget: int = 0, title: str = "") -> MethodResult:
        """Returns the result without error rates.

        Args:
          budget: index of the budget.
          title: its name for readers; the label by default.
        """
        every = (*self.config.averages.at, self.config.steps)
        steps = every[min(budget, len(every) - 1)]  # some take none at any
        return MethodResult(
            method=self.method,
            title=title or self.label,
            steps=steps,
            evaluations=steps * self.per_step,
            varied=self.varied,
        )


def table_rows(
    config_path: str,
    methods: Sequence[str],
    vary: Mapping[str, Sequence[Any]],
    overrides: Sequence[str],
    tune: bool,
    data_dir: str | Path,
    *,
    budgets: Sequence[int] = (),
    segments: bool = False,
    attack_fold: int | None = None,
) -> dict[str, MethodRow]:
    """Builds the rows of the table, with equal numbers of gradient evaluations.

    Args:
      config_path, methods, vary, overrides, tune, data_dir: see ``compare_methods``.
      budgets: steps of ERM, in place of the config's; the last is the longest.
      segments: whether the runs keep the means that averages are made of.
      attack_fold: a group of attacks that is held out, for the number of the others.

    Returns:
      Rows by label.

    Raises:
      UserError: a config is invalid, or a corpus is missing.
    """
    rows: dict[str, MethodRow] = {}
    unused = _checked(methods, vary)
    for method in methods:
        path, _, extras = config_path.partition(":")
        words = ",".join(x for x in (method, extras) if x and x not in WITHOUT_STEPS)
        base = read_config_file(f"{path}:{words}", overrides)
        folder = find_corpus(base.corpus.name, base.corpus.config, data_dir)
        base = with_values(base, {"corpus.sha256": corpus_sha256(folder)})
        if tune:
            base = held_out(base)
        if budgets:
            base = with_values(base, {"steps": budgets[-1]})
        if method == LFCC:
            sections: dict[str, Any] = {"tests": base.tests}
            if tune:
                sections["episode"] = EpisodeSection(exclude=base.episode.exclude)
            rows[method] = MethodRow(
                method, {}, jobs.lfcc_config(base.corpus, **sections), 0
            )
            continue
        if method == PROBE:
            rows[method] = MethodRow(method, {}, probe_run.probe_config(base), 0)
            continue
        attacks = _attacks(base, folder, attack_fold)
        grid = _own(base, vary)
        unused -= grid.keys()
        if tune and not vary:
            grid = dict(map(varied, base.selection.grid))
        for values in _combinations(grid):
            config = with_values(base, _with_alpha(base, values))
            passes = gradient_evaluations(config, attacks)
            per_step = attacks * config.episode.examples_per_attack / passes
            steps = [max(1, round(x * per_step)) for x in budgets or [config.steps]]
            config = with_values(config, {"steps": steps[-1]})
            if segments or budgets:
                config = with_values(config, _segments(config, steps, segments))
            row = MethodRow(method, values, config, passes)
            rows[row.label] = row
    for name in sorted(unused):
        raise UserError(
            f"--vary {name}: none of the methods {', '.join(methods)} sets it, so it "
            "would vary nothing; drop it, or set it for all with --set"
        )
    return rows


def _checked(methods: Sequence[str], vary: Mapping[str, Any]) -> set[str]:
    """Returns the varied names, if the methods and the names can be used."""
    for method in methods:
        if methods.count(method) > 1 or not method:
            raise UserError(
                f"--methods {','.join(methods)}: {method!r} is "
                + ("there twice" if method else "not a method")
                + "; name each method once"
            )
    for name in vary:
        if name in OWN:
            raise UserError(
                f"--vary {name}: compare sets it itself; use {OWN[name]} instead"
            )
    return set(vary)


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


def _segments(config: Config, steps: Sequence[int], segments: bool) -> dict[str, Any]:
    """Returns values with which a run keeps what its averages are made of."""
    values: dict[str, Any] = {"averages.at": steps[:-1]}
    if segments and not config.averages.every:
        every = max(1, steps[0] // SEGMENTS)
        start = min(2 * every, steps[0] - 1) // every * every
        values |= {"averages.every": every, "averages.start": start}
    return values


def _attacks(config: Config, folder: Path, attack_fold: int | None) -> int:
    if config.episode.attacks_per_episode:
        return config.episode.attacks_per_episode
    section = dataclasses.replace(config.corpus, attack_fold=attack_fold)
    rows = training_rows(folder, section)
    domains = episodes.group(
        rows, exclude=config.episode.exclude, by=config.episode.domains
    )
    return len(domains.attacks)


def _own(config: Config, vary: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    for name, values in vary.items():
        for value in values:
            with_values(config, {name: value})  # or its name or its type is refused
    flat = run_folder.flat_config(config)
    # An option that is None does not apply to this method's objective.
    own = {name: values for name, values in vary.items() if flat.get(name) is not None}
    if not config.model.lora.rank:
        own.pop("model.lora.rank", None)
    return own


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        dict(zip(grid, values, strict=True))
        for values in itertools.product(*grid.values())
    ]


def _with_alpha(config: Config, varied: dict) -> dict[str, Any]:
    rank = varied.get("model.lora.rank")
    if rank is None:
        return varied
    alpha = config.model.lora.alpha * rank / config.model.lora.rank
    return {"model.lora.alpha": alpha, **varied}
