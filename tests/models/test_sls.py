"""Sensitive layer selection: its equations in numpy, its size, padding."""

import numpy as np
from scipy.special import expit

from mldg_jax.models.sls import SLSHead
from tests.models import layered_heads as given


def selu(x):
    return 1.0507009873554805 * np.where(
        x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))
    )


def test_it_is_its_equations():
    head, hidden = SLSHead(dim=5), given.states()
    variables = given.variables(head)
    params = variables["params"]
    layers = given.standardise(variables, hidden)
    for i in range(given.BATCH):
        gates = [
            expit(x[i].mean(axis=0) @ params["gate"]["kernel"] + params["gate"]["bias"])
            for x in layers
        ]
        x = selu(sum(gate * x[i] for gate, x in zip(gates, layers, strict=True)))
        # eight channels: two groups of three, the last two are dropped
        pooled = np.array([x[:, :3].max(), x[:, 3:6].max()])
        y = selu(pooled @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        expected = y @ params["logits"]["kernel"] + params["logits"]["bias"]
        logits = given.apply(head, variables, [h[i : i + 1] for h in hidden])
        np.testing.assert_allclose(logits[0], expected, rtol=1e-12, atol=1e-12)


def test_its_size():
    dim, groups = 5, given.WIDTH // 3
    assert given.count(SLSHead(dim)) == (
        given.WIDTH + 1 + (groups + 1) * dim + 2 * dim + 2
    )


def test_padding_makes_no_difference():
    given.check_padding(SLSHead(dim=5))
