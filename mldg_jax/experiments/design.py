"""The design of a comparison: which runs each row of its table consists of."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import with_values
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_json
from mldg_jax.data.attack_folds import HELD_OUT, attacks_of, first_families
from mldg_jax.data.corpus import find_corpus, speaker_folds
from mldg_jax.experiments.jobs import WITHOUT_STEPS, Average, Job
from mldg_jax.experiments.method_rows import MethodRow
from mldg_jax.experiments.selection import held_out_test
from mldg_jax.experiments.trial_sets import Test
from mldg_jax.training import trajectory

DIWA = "diwa"  # the average over seeds, see ``training.averaging``
TUNED_ON = 2  # families that are held out in addition to the group, to tune on


class Chosen(NamedTuple):
    """Hyper-parameters from a comparison with ``tune``.

    Attributes:
      by_method: values by method.
      by_attack_fold: the same for each group of attacks that was held out.
    """

    by_method: Mapping[str, Mapping[str, Any]] = {}
    by_attack_fold: Mapping[str, Mapping[str, Mapping[str, Any]]] = {}

    def of(self, method: str, attack_fold: int | None) -> Mapping[str, Any]:
        """Returns the values of a run.

        Args:
          method: its method.
          attack_fold: the group of attacks that it holds out, if any.

        Returns:
          Config values by dotted name; none for a method that was not tuned.

        Raises:
          UserError: the method was tuned, but not for this group.
        """
        if attack_fold is None or not self.by_attack_fold:
            return self.by_method.get(method, {})
        by_method = self.by_attack_fold.get(str(attack_fold))
        if by_method is None:
            known = ", ".join(self.by_attack_fold)
            raise UserError(
                f"--chosen has values for the attack folds {known}, not for "
                f"{attack_fold}: tune with the same --attack-folds"
            )
        return by_method.get(method, {})


def read_chosen(path: str | Path) -> Chosen:
    """Reads the hyper-parameters that a comparison with ``tune`` chose.

    Args:
      path: its results.json.

    Returns:
      The values.

    Raises:
      UserError: the file cannot be read, or is not of such a comparison.
    """
    fix = "give the results.json of mldg compare --tune"
    results = read_json(path, dict, fix=fix)
    if not isinstance(results.get("chosen"), dict):
        raise UserError(f"{path} has no chosen values: {fix}")
    return Chosen(results["chosen"], results.get("chosen_by_attack_fold", {}))


@dataclasses.dataclass(frozen=True)
class Design:
    """What every row of a table is run on.

    Attributes:
      seeds: training seeds.
      folds: speaker folds to hold out; None for the official splits.
      attack_folds: groups of attacks to hold out; None for the official attacks.
      averages: averages to test, ``DIWA`` or of ``training.trajectory``; empty for the
        detector of the config.
      tune: see ``compare.compare_methods``.
      chosen: hyper-parameters that were tuned.
    """

    seeds: Sequence[int]
    folds: Sequence[int | None] = (None,)
    attack_folds: Sequence[int | None] = (None,)
    averages: Sequence[str] = ()
    tune: bool = False
    chosen: Chosen = dataclasses.field(default_factory=Chosen)

    def jobs(self, row: MethodRow, workdir: Path, data_dir: str | Path) -> list[Job]:
        """Returns the runs of a row.

        Args:
          row: the row.
          workdir: folder for the runs.
          data_dir: folder of the prepared corpora.

        Returns:
          Jobs in the order of ``scored_tests.scored``: those of the first seed, by
          speaker fold and then by group of attacks, then those of the next seed.

        Raises:
          UserError: a corpus, a fold or a group is missing.
        """
        if self.folds != (None,):  # or it is found out when the others are trained
            corpus = row.config.corpus
            folder = find_corpus(corpus.name, corpus.config, data_dir)
            known = speaker_folds(folder)
            for fold in self.folds:
                if fold not in known:
                    has = f"it has {known}" if known else "only DebSpoof has any"
                    raise UserError(f"{folder} has no speaker fold {fold}; {has}")
        cells = itertools.product(self.seeds, self.folds, self.attack_folds)
        return [self._job(row, *cell, workdir, data_dir) for cell in cells]

    def _job(
        self,
        row: MethodRow,
        seed: int,
        fold: int | None,
        attack_fold: int | None,
        workdir: Path,
        data_dir: str | Path,
    ) -> Job:
        config = with_values(row.config, {"seed": seed, "corpus.fold": fold})
        folder = find_corpus(config.corpus.name, config.corpus.config, data_dir)
        name = f"{row.label} seed{seed}"
        name += "" if fold is None else f" fold{fold}"
        dev = None
        if attack_fold is not None:
            name += f" attacks{attack_fold}"
            config = self._leaving_out(config, attack_fold, folder)
            sections = config.corpus, config.validation
            dev = Test("dev", folder, HELD_OUT, fold, held_out=sections)
        if not self.tune:
            chosen = self.chosen.of(row.method, attack_fold)
            config = with_values(config, dict(chosen))
        if attack_fold is not None:
            unseen = attacks_of(folder, config.corpus)
            tests = (
                Test(f"{config.corpus.name}_unseen", folder, "eval", fold, unseen),
            )
        elif self.tune:
            tests = (held_out_test("held-out", folder, config.episode.exclude, fold),)
        else:
            tests = tuple(
                _test(text, config, fold, data_dir)
                for text in config.tests or (f"{config.corpus.name}:eval",)
            )
        if self.tune and dev is not None:
            tests, dev = (dev._replace(name="held-out"),), None
        averages = self._averages(config)
        return Job(workdir / name, config, folder, tests, dev, averages or (None,))

    def _averages(self, config: Config) -> tuple[Average, ...]:
        """Returns the averages of a run that are tested, at every budget."""
        if config.method in WITHOUT_STEPS:
            return ()
        names = [name for name in self.averages if name != DIWA]
        for name in names:
            if name not in trajectory.names(config):
                raise UserError(
                    f"--averages {name}: it is chosen by the loss on held-out training "
                    "attacks; add --attack-folds, or set validation.attacks"
                )
        steps = (*config.averages.at, config.steps)
        return tuple(itertools.starmap(Average, itertools.product(names, steps)))

    def averaged(self, jobs: Sequence[Job]) -> list[Job]:
        """Returns the averages over seeds of a row (DiWA).

        Args:
          jobs: the row's jobs, from ``jobs``.

        Returns:
          A job for each cell; it needs the jobs to be finished.

        Raises:
          UserError: the runs of different seeds do not start alike, or the average
            would have to be tested at several budgets.
        """
        config = jobs[0].config
        if config.init_seed is None:
            raise UserError(
                f"--averages {DIWA} averages the runs of all seeds, which must start "
                "from the same parameters: add --set init_seed=0"
            )
        if config.averages.at:
            raise UserError(f"--averages {DIWA} is for one budget; drop --budgets")
        cells = len(jobs) // len(self.seeds)
        return [
            job._replace(
                workdir=job.workdir.with_name(
                    job.workdir.name.replace(f" seed{self.seeds[0]}", f" {DIWA}", 1)
                    + f" of {len(self.seeds)}"
                ),
                averages=(None,),
                average_of=tuple(other.workdir for other in jobs[cell::cells]),
            )
            for cell, job in enumerate(jobs[:cells])
        ]

    def _leaving_out(self, config: Config, attack_fold: int, folder: Path) -> Config:
        """Returns the config of a run without a group of attacks.

        The first family of the next group, or of the next two to tune, is not trained
        on either: averages, thresholds and hyper-parameters are chosen on it.
        """
        config = with_values(config, {"corpus.attack_fold": attack_fold})
        count = TUNED_ON if self.tune else 1
        values = {
            "validation.attacks": first_families(folder, config.corpus, count),
            "validation.split": HELD_OUT,
            "episode.exclude": (),
        }
        return with_values(config, values)


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
