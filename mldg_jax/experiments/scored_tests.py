"""Tests with the scores of every method and seed, read from finished jobs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mldg_jax.data.corpus import Corpus, join
from mldg_jax.experiments import jobs
from mldg_jax.experiments.jobs import Job


class Scored(NamedTuple):
    """The utterances of a test and every method's scores.

    Attributes:
      rows: n utterances.
      scores: by method, (seeds, n) float64, higher for bona fide.
      frame: the utterances of all tests of the same speakers, this one among them, if
        each group of attacks has a test of its own; None if ``rows`` are all.
    """

    rows: Corpus
    scores: Mapping[str, np.ndarray]
    frame: Corpus | None = None


def scored(made: Mapping[str, Sequence[Job]], seeds: int) -> dict[str, list[Scored]]:
    """Reads the scores of finished jobs.

    Args:
      made: jobs by method: first those of the first seed, one per speaker fold, then
        those of the next seed.
      seeds: number of seeds.

    Returns:
      By test name, one entry per speaker fold.
    """
    tests: dict[str, list[Scored]] = {}
    first = next(iter(made.values()))
    folds = len(first) // seeds
    for fold in range(folds):
        for index, test in enumerate(first[fold].tests):
            rows = test.rows()
            scores = {
                method: np.stack(
                    [
                        jobs.read_scores(job.scores(job.tests[index]), rows)
                        for job in method_jobs[fold::folds]
                    ]
                )
                for method, method_jobs in made.items()
            }
            tests.setdefault(test.name, []).append(Scored(rows, scores))
    if first[0].config.corpus.attack_fold is not None:
        folds_of = [job.config.corpus.fold for job in first[:folds]]
        tests = {name: _framed(cells, folds_of) for name, cells in tests.items()}
    return tests


def _framed(cells: Sequence[Scored], folds: Sequence[int | None]) -> list[Scored]:
    """Adds to tests on groups of attacks the trials of the same speaker fold."""
    frames = {}
    for fold in set(folds):
        rows = [x.rows for x, of in zip(cells, folds, strict=True) if of == fold]
        joined = join(rows)
        _, first = np.unique(joined.utterance, return_index=True)
        frames[fold] = joined.take(np.sort(first))
    return [x._replace(frame=frames[of]) for x, of in zip(cells, folds, strict=True)]
