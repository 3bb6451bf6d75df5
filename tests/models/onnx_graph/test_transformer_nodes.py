"""Layers that the front-ends share."""

import jax
import numpy as np
import pytest

from mldg_jax.models.layers import SelfAttention
from mldg_jax.models.onnx_graph.graph_builder import GraphBuilder
from mldg_jax.models.onnx_graph.transformer_nodes import dense, self_attention
from tests.models.onnx_graph.running import run


@pytest.mark.parametrize("key_bias", [True, False])
def test_attention_is_the_modules(key_bias):
    module = SelfAttention(heads=3, key_bias=key_bias)
    x = np.random.default_rng(0).normal(size=(2, 7, 12)).astype(np.float32)
    flat = x.reshape(14, 12)
    params = module.init(jax.random.key(0), flat, 2)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)
    expected = module.apply({"params": params}, flat, 2)
    value = run(lambda graph, x: self_attention(graph, x, params, 3), {"x": x})
    np.testing.assert_allclose(value.reshape(14, 12), expected, atol=1e-5)


def test_adapters_are_not_passed_over():
    layer = {"kernel": np.ones((2, 2)), "lora_a": np.ones((2, 1))}
    with pytest.raises(ValueError, match="query has adapters; merge them"):
        dense(GraphBuilder(), "x", layer, "query")
