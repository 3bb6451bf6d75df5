"""The read-out of AASIST, whose layers are all of graph attention and pooling."""

import jax
import numpy as np
import pytest

from mldg_jax.models.aasist_graph import GraphReadout
from mldg_jax.models.onnx_graph import aasist_graph_nodes
from mldg_jax.models.onnx_graph.aasist_graph_nodes import readout
from tests.models.onnx_graph import detectors
from tests.models.onnx_graph.running import run


@pytest.mark.parametrize(
    ("nodes", "ratios"),
    [((7, 10), (0.5, 0.7, 0.5)), ((4, 2), (0.4, 0.3, 0.1)), ((3, 9), (1.0, 1.0, 1.0))],
)
def test_the_readout_is_the_modules(nodes, ratios):
    """Also with one node left in every set, and with no node dropped."""
    rng = np.random.default_rng(0)
    options = {"ratios": ratios, "temperatures": (2.0, 3.0)}
    spectral, temporal = (
        rng.normal(size=(3, count, 6)).astype(np.float32) for count in nodes
    )
    module = GraphReadout(dims=(5, 4), **options)
    shapes = jax.eval_shape(module.init, jax.random.key(0), spectral, temporal)
    variables = detectors.draw(shapes)
    expected = jax.jit(module.apply)(variables, spectral, temporal)

    def build(graph, *names):
        pairs = zip(names, nodes, strict=True)
        return readout(
            graph, variables["params"], variables["batch_stats"], *pairs, **options
        )

    value = run(build, {"s": spectral, "t": temporal})
    np.testing.assert_allclose(value, expected, atol=2e-5)


def test_of_equal_nodes_the_first_are_kept():
    """As JAX's top_k does: here equal scores keep different nodes apart."""
    x = np.zeros((1, 6, 3), np.float32)
    x[0, :, 1] = np.arange(6)
    params = {"score": {"kernel": np.float32([[1], [0], [0]]), "bias": np.zeros(1)}}
    value = run(
        lambda graph, x: aasist_graph_nodes._pool(graph, params, (x, 6), 0.5, "p")[0],
        {"x": x},
    )
    np.testing.assert_allclose(value[0, :, 1], [0, 0.5, 1])
