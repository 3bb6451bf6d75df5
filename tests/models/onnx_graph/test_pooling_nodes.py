"""The pooling head."""

import numpy as np

from mldg_jax.models.onnx_graph.pooling_nodes import pooling
from mldg_jax.models.pooling import PoolingHead
from tests.models.onnx_graph.running import run


def test_channels_far_from_zero_keep_their_digits():
    """A mean of a hundred deviations, as massive activations have."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(3, 2, 11, 8)).astype(np.float32)
    hidden[..., 0] += 100
    module = PoolingHead(5)
    params = {
        "layer_weights": rng.normal(size=3),
        "project": {"kernel": rng.normal(size=(8, 5)), "bias": rng.normal(size=5)},
        "logits": {"kernel": rng.normal(size=(10, 2)), "bias": rng.normal(size=2)},
    }
    shift, spread = hidden.mean((1, 2)), hidden.std((1, 2))
    stats = {"shift": shift, "scale": 1 / spread}
    expected = module.apply({"params": params, "batch_stats": stats}, list(hidden))
    value = run(
        lambda graph, *names: pooling(graph, params, stats, names),
        {f"x{i}": x for i, x in enumerate(hidden)},
    )
    np.testing.assert_allclose(value, expected, atol=1e-5)
