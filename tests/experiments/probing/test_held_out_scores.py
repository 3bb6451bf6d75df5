"""Held-out scores: what a probe saw, and the average over families."""

import numpy as np
import pytest

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.experiments import statistics
from mldg_jax.experiments.probing import held_out_scores, logistic_probe
from tests.experiments.probing import synthetic


def test_no_probe_sees_what_it_scores(monkeypatch):
    rows = synthetic.rows()
    planned = held_out_scores.plan(rows, synthetic.FAMILY)
    assert planned.groups == (("a",), ("b",), ("c",), ("d",))
    assert set(planned.speaker_fold) == {0, 1, 2}
    seen = []

    class Recorder:
        def __init__(self, means, labels):
            self.rows = means[:, 0, 0].astype(int)
            assert set(labels) == {0, 1}

        def score(self, means):
            tested = means[:, 0, 0].astype(int)
            assert not set(rows.speaker[self.rows]) & set(rows.speaker[tested])
            spoofs = tested[rows.label[tested] == 0]
            families = {synthetic.FAMILY[x] for x in rows.attack[spoofs].tolist()}
            fitted_on = self.rows[rows.label[self.rows] == 0]
            known = {synthetic.FAMILY[x] for x in rows.attack[fitted_on].tolist()}
            assert len(families) == 1 and not families & known and len(known) == 3
            seen.extend(tested.tolist())
            return tested.astype(float)

    monkeypatch.setattr(logistic_probe, "fit", Recorder)
    number = np.arange(len(rows.label), dtype=np.float32)[:, None, None]
    scores = held_out_scores.scores(planned, number)
    real = np.flatnonzero(rows.label == 1).tolist()
    # bona fide once for each family, every spoof once
    assert sorted(seen) == sorted([*range(len(rows.label)), *real * 3])
    for values, trials in zip(scores, planned.tested, strict=True):
        np.testing.assert_array_equal(values, np.flatnonzero(trials))


def test_error_rates_are_averaged_over_families():
    rows = synthetic.rows()
    planned = held_out_scores.plan(rows, synthetic.FAMILY)
    found = held_out_scores.scores(planned, synthetic.means(rows, (2.0,)))
    parts = [
        statistics.Condition(x) for x in held_out_scores.tests(planned, {"0": found})
    ]
    scheme = held_out_scores.scheme(planned, synthetic.FAMILY, 50)
    assert scheme.attacks and scheme.families == {"a1": "a", "a2": "a"}
    rate = statistics.rate(statistics.rates(parts, scheme), "0")
    by_hand = []
    for values, trials in zip(found, planned.tested, strict=True):
        real = rows.label[trials] == 1
        by_hand.append(metrics.eer(values[real], values[~real])[0])
    assert len(by_hand) == 4
    assert rate.eer == pytest.approx(np.mean(by_hand))
    assert rate.low <= rate.eer <= rate.high


def test_speakers_without_names_are_divided_by_utterance():
    rows = synthetic.rows()._replace(speaker=np.full(240, ""))
    planned = held_out_scores.plan(rows, synthetic.FAMILY)
    assert set(planned.speaker_fold) == {0, 1, 2}


def test_one_family_is_not_enough():
    rows = synthetic.rows()
    rows = rows.take((rows.label == 1) | np.isin(rows.attack, ["a1", "a2"]))
    with pytest.raises(UserError, match=r"1 attack families \(a\).* at least two"):
        held_out_scores.plan(rows, synthetic.FAMILY)
