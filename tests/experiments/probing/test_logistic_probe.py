"""The probe: the optimum of its loss, and the head that gives its scores."""

import numpy as np
import pytest
from scipy.optimize import minimize

from mldg_jax.experiments.probing import logistic_probe
from mldg_jax.models.linear import LinearHead


@pytest.fixture
def trials():
    """Means of two layers with channels of unequal scale; unequal classes."""
    rng = np.random.default_rng(0)
    labels = (np.arange(90) % 5 == 0).astype(int)
    means = rng.normal(size=(90, 2, 3)) * [1, 10, 0.1] + 5
    means[:, 1, 2] += 0.1 * labels
    return means.astype(np.float32), labels


def test_it_minimises_the_penalised_balanced_loss(trials):
    means, labels = trials
    x = means.reshape(90, 6).astype(float)
    x = (x - x.mean(0)) / (x.std(0) + 1e-5) / np.sqrt(6)
    sign = np.where(labels == 1, 1, -1)
    weight = np.where(labels == 1, 1 / (2 * labels.sum()), 1 / (2 * (1 - labels).sum()))

    def loss(w):
        errors = np.logaddexp(0, -sign * (x @ w[:6] + w[6]))
        return (weight * errors).sum() + logistic_probe.PENALTY / 2 * (w[:6] ** 2).sum()

    best = minimize(loss, np.zeros(7), tol=1e-12).x
    scores = logistic_probe.fit(means, labels).score(means)
    np.testing.assert_allclose(scores, x @ best[:6] + best[6], atol=2e-3)


def test_the_head_has_its_scores(trials):
    means, labels = trials
    probe = logistic_probe.fit(means, labels)
    params, stats = probe.as_head()
    frames = np.stack([means - 0.5, means + 0.5], axis=2)  # two frames with that mean
    hidden = list(frames.swapaxes(0, 1).astype(np.float32))
    logits = LinearHead().apply({"params": params, "batch_stats": stats}, hidden)
    scores = np.asarray(logits)[:, 1] - np.asarray(logits)[:, 0]
    np.testing.assert_allclose(scores, probe.score(means), atol=1e-3)
    assert np.ptp(scores) > 1
