"""Decisions at thresholds of dev scores, counted by hand on a case with ties."""

import numpy as np
import pytest

from mldg_jax.data.corpus import Corpus
from mldg_jax.experiments import deployment, jobs, trial_sets


def rows(labels):
    names = np.array([f"u{i}" for i in range(len(labels))])
    label = np.array(labels, np.int32)
    attack = np.where(label == 1, "-", "A1")
    return Corpus(names, label, attack, names, names, [])


class Fixed(trial_sets.Test):
    """A test whose rows are given by its name: five bona fide, then spoofs."""

    def rows(self):
        return rows([1] * 5 + [0] * (8 if self.name == "test" else 5))


# EER of dev: at a threshold of 0, one of five is wrong in both classes.
DEV = [2, 1, 1, 0, -1, 0, -1, -1, -2, -3]
# Test scores that equal the threshold are accepted.
TEST = [3, 1, 0, 0, -1, 1, 0, 0, -1, -1, -2, -2, -3]


@pytest.fixture
def job(tmp_path):
    made = jobs.Job(
        tmp_path, jobs.lfcc_config(None), tmp_path,
        (Fixed("test", tmp_path, "eval"),), Fixed("dev", tmp_path, "dev"),
    )  # fmt: skip
    for test, scores in ((made.tests[0], TEST), (made.dev, DEV)):
        jobs.write_scores(made.scores(test), test.rows(), np.array(scores, float))
    return made


def test_rates_are_those_counted_by_hand(job):
    found = deployment.decisions([job, job])["eer"]
    assert found.dev == pytest.approx(1 / 5)
    assert (found.frr, found.far) == (1 / 5, 3 / 8)
    assert found.hter == pytest.approx(0.2875)
    detected, errors = 5, 1 + 3
    assert found.f1 == pytest.approx(2 * detected / (2 * detected + errors))
    assert found.runs == 2


def test_scores_without_a_bayes_threshold_do_not_count(job):
    """Separable dev scores cannot be calibrated."""
    both = deployment.decisions([job])
    assert set(both) == {"eer", "bayes"}
    separable = np.array([1.0] * 5 + [-1.0] * 5)
    job.scores(job.dev).unlink()
    jobs.write_scores(job.scores(job.dev), job.dev.rows(), separable)
    assert set(deployment.decisions([job])) == {"eer"}
