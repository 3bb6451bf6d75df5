"""Factorised attentive pooling: its equations in numpy, its size, padding."""

import numpy as np
from scipy.special import softmax

from mldg_jax.models.mhfa import MHFAHead
from tests.models import layered_heads as given


def test_it_is_its_equations():
    head, hidden = MHFAHead(dim=5, heads=2), given.states()
    variables = given.variables(head)
    params = variables["params"]
    layers = given.standardise(variables, hidden)
    key = np.tensordot(softmax(params["key_weights"]), layers, 1)
    value = np.tensordot(softmax(params["value_weights"]), layers, 1)
    key, value = key @ params["key"]["kernel"], value @ params["value"]["kernel"]
    for i in range(given.BATCH):
        parts = []
        for query in params["attention"]["kernel"].T:
            weights = softmax(key[i] @ query)
            parts.append(sum(w * v for w, v in zip(weights, value[i], strict=True)))
        layer = params["logits"]
        expected = np.concatenate(parts) @ layer["kernel"] + layer["bias"]
        logits = given.apply(head, variables, [h[i : i + 1] for h in hidden])
        np.testing.assert_allclose(logits[0], expected, rtol=1e-12, atol=1e-12)


def test_its_size():
    dim, heads = 5, 2
    assert given.count(MHFAHead(dim, heads)) == (
        2 * given.LAYERS + 2 * given.WIDTH * dim + dim * heads + 2 * heads * dim + 2
    )


def test_padding_makes_no_difference():
    given.check_padding(MHFAHead(dim=5, heads=2))
