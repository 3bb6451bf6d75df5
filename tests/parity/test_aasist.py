"""Tests AASIST against a torch model, in training and evaluation mode.

In double precision and without dropout, whose draws differ between the libraries.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mldg_jax.models import aasist
from mldg_jax.models.pretrained import convert, key_tables

pytestmark = pytest.mark.parity

CASES = {
    "head": (aasist.AASISTHead(dropout=0.0), key_tables.SSL_AASIST, (3, 31, 12)),
    "raw": (aasist.AASIST(dropout=0.0), key_tables.AASIST, (2, 9_000)),
}


def theirs(kind, x, train):
    """Runs the torch model and differentiates a weighted sum of its logits.

    Returns:
      Logits, gradients by name, the gradient of the input, and the state before and
      after the run.
    """
    import torch

    from tests.parity import torch_aasist

    torch.manual_seed(0)
    models = {
        "head": lambda: torch_aasist.Head(width=x.shape[-1]),
        "raw": torch_aasist.Raw,
    }
    model = models[kind]().double().train(train)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            normalises = "running" in name or "bn" in name
            if normalises and value.is_floating_point():  # away from its initial value
                value.add_(torch.rand(value.shape) * 0.5)
    before = {name: v.numpy().copy() for name, v in model.state_dict().items()}
    x = torch.tensor(x, requires_grad=True)
    logits = model(x)
    (logits * torch.tensor(weights(len(x)))).sum().backward()
    gradients = {
        name: np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        for name, p in model.named_parameters()
    }
    after = {name: v.numpy() for name, v in model.state_dict().items()}
    return logits.detach().numpy(), gradients, x.grad.numpy(), before, after


def weights(batch):
    """Returns the weights of the sum of the logits, (batch, 2)."""
    return np.random.default_rng(1).normal(size=(batch, 2))


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("head", False), ("head", True), ("raw", True),
        pytest.param("raw", False, marks=pytest.mark.full),
    ],
)  # fmt: skip
def test_logits_statistics_and_every_gradient(float64, kind, train):
    model, table, shape = CASES[kind]
    x = np.random.default_rng(0).normal(size=shape)
    logits, gradients, x_gradient, before, after = theirs(kind, x, train)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(x))
    variables = convert.to_ours(table, before, shapes)

    @jax.jit
    def ours(params, x):
        def weighted(params, x):
            parts = {"params": params, "batch_stats": variables["batch_stats"]}
            y, state = model.apply(parts, x, train, mutable="batch_stats")
            return (y * weights(len(x))).sum(), (y, state)

        return jax.grad(weighted, argnums=(0, 1), has_aux=True)(params, x)

    (our_gradients, our_x_gradient), (y, state) = ours(
        variables["params"], jnp.asarray(x)
    )
    np.testing.assert_allclose(y, logits, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        our_x_gradient, x_gradient, rtol=0, atol=1e-7 * np.abs(x_gradient).max()
    )
    largest = max(np.abs(g).max() for g in gradients.values())
    ours_by_name = convert.to_theirs(table, {"params": our_gradients})
    assert ours_by_name.keys() == gradients.keys()
    for name, gradient in ours_by_name.items():
        # some vanish, e.g. of a bias before a normalisation: the error is then absolute
        scale = max(np.abs(gradients[name]).max(), 1e-4 * largest)
        error = np.abs(gradient - gradients[name]).max() / scale
        assert error < 1e-7, (name, error)
    for name, value in convert.to_theirs(table, state).items():
        np.testing.assert_allclose(value, after[name], rtol=1e-8, err_msg=name)
