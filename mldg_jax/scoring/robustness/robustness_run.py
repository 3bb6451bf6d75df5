"""``mldg evaluate --robustness``: degrades recordings, scores and measures them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mldg_jax import __version__
from mldg_jax.common import files
from mldg_jax.common.config import CorpusSection
from mldg_jax.common.versions import installed
from mldg_jax.data.augment import degradations
from mldg_jax.scoring import hub_scorer, score_output
from mldg_jax.scoring.evaluate import check_replicas
from mldg_jax.scoring.robustness import degraded_scores, robustness_page, score_drops
from mldg_jax.scoring.robustness.evaluation_set import EvaluationSet
from mldg_jax.scoring.robustness.score_drops import Robustness
from mldg_jax.scoring.scheme import Scheme

FOLDER = "robustness"  # in the run folder, if no other is named


def evaluate(
    run: str | Path,
    open_trials: Callable[[CorpusSection], EvaluationSet],
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    scheme: Scheme,
    output: str | Path | None = None,
) -> tuple[Robustness, list[Path]]:
    """Evaluates a detector on degraded recordings.

    Args:
      run: a finished run, or a detector as in ``hub_scorer.load``.
      open_trials: opens the recordings, given the corpus that the run was trained on.
      only, without: see ``degradations.select``.
      scheme: of the bootstrap.
      output: folder of the scores and the report; in the run if None.

    Returns:
      The result and the files of the report, the page first.

    Raises:
      UserError: the run, the recordings, a name or the folder does not allow it.
    """
    check_replicas(scheme.replicates)
    names = degradations.select(only, without)
    run = hub_scorer.local_folder(run)
    folder = Path(run) / FOLDER if output is None else Path(output)
    files.check_folder(folder)
    scorer = hub_scorer.load(run)
    trials = open_trials(scorer.config.corpus)
    settings = {
        "run": score_output.weights_of(run),
        "recordings": trials.identity,
        "trials": int(np.size(trials.keys.label)),
        "mldg_jax": __version__,
        "av": installed(("av",)).get("av", ""),
    }
    with degraded_scores.opened(folder, settings):
        scored = degraded_scores.score_all(scorer, trials, names, folder)
        result = score_drops.measure(trials.title, trials.keys, scored, scheme)
        return result, robustness_page.write(result, folder)
