"""A job: a run to train, and the score files to write for it."""

import itertools
from pathlib import Path
from typing import NamedTuple

from mldg_jax.common.config import Config
from mldg_jax.experiments.trial_sets import Test
from mldg_jax.scoring.calibration import CALIBRATION_FILE


class Average(NamedTuple):
    """An average of a run's parameters, see ``training.trajectory``.

    Attributes:
      name: ema, last, uniform or swad.
      step: at which the average ends.
    """

    name: str
    step: int


class Job(NamedTuple):
    """A run to train and score.

    Attributes:
      workdir: folder of the run.
      config: config of the run; ``config.method`` is a method of the config file, or
        one of ``run_folder.WITHOUT_STEPS``.
      corpus: folder of the prepared training corpus.
      tests: tests to score.
      dev: utterances to score for the choice of a threshold, if any.
      averages: averages of the run's parameters to score; None for its detector.
      read: the one of them that ``scores`` names.
      average_of: folders of finished runs whose detectors are averaged (DiWA) instead
        of training one.
      calibrated: whether to calibrate the run, as ``config.calibration`` says. The
        score files keep the scores before calibration.
    """

    workdir: Path
    config: Config
    corpus: Path
    tests: tuple[Test, ...]
    dev: Test | None = None
    averages: tuple[Average | None, ...] = (None,)
    read: Average | None = None
    average_of: tuple[Path, ...] = ()
    calibrated: bool = False

    def scores(self, test: Test, average: Average | None = None) -> Path:
        """Returns the path of a score file.

        Args:
          test: one of ``tests``.
          average: one of ``averages``; None for ``read``.

        Returns:
          ``scores_<test>.txt`` in the run's folder, or a name with the average.
        """
        average = average or self.read
        suffix = f"_{average.name}-{average.step}" if average else ""
        return self.workdir / f"scores_{test.name}{suffix}.txt"

    def unscored(self) -> list[tuple[Test, Average | None]]:
        """Lists the score files that do not exist, by test and average."""
        tests = (*self.tests, self.dev) if self.dev else self.tests
        every = itertools.product(tests, self.averages)
        return [(t, a) for t, a in every if not self.scores(t, a).exists()]

    def is_done(self) -> bool:
        """Returns True if every file that the job writes exists."""
        waits = self.calibrated and not (self.workdir / CALIBRATION_FILE).exists()
        return not (waits or self.unscored())
