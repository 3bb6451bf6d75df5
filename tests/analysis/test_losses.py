"""The losses to analyse."""

import jax
import numpy as np
import pytest

from mldg_jax.analysis import losses
from mldg_jax.analysis.representation import embeddings
from mldg_jax.models import split

pytestmark = pytest.mark.usefixtures("float64")


def test_the_loss_for_objectives_is_that_of_evaluation(problem):
    loss = losses.for_objectives(problem.detector, problem.batch_stats, problem.frozen)
    (value, aux), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        problem.trainable, problem.batch, None
    )
    (expected, by), expected_gradient = jax.jit(
        jax.value_and_grad(problem.loss, has_aux=True)
    )(problem.trainable, problem.batch, None)
    assert value == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(aux.by_domain, by["by_domain"], rtol=1e-10)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-12),
        gradient,
        expected_gradient,
    )
    variables = split.variables(problem.trainable, problem.batch_stats, problem.frozen)
    waveform = problem.batch["waveform"]
    flat = waveform.reshape(-1, waveform.shape[-1])
    found = embeddings(problem.detector, variables, flat)
    np.testing.assert_allclose(
        aux.features.reshape(len(flat), -1), found, rtol=1e-8, atol=1e-12
    )
    np.testing.assert_array_equal(aux.label, problem.batch["label"])
    assert aux.logits.shape == (*aux.label.shape, 2)
