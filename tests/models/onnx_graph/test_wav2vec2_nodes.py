"""Both families of wav2vec 2.0, in the hidden states that heads take."""

import jax
import numpy as np
import pytest

from mldg_jax.models.onnx_graph.wav2vec2_nodes import wav2vec2
from tests.models.onnx_graph import detectors
from tests.models.onnx_graph.running import run


@pytest.mark.parametrize(
    "options",
    [{}, detectors.BASE, {"normalize": True, "mask_embedding": False}],
    ids=["xlsr", "base", "normalize"],
)
def test_the_hidden_states_are_the_encoders(options):
    samples = 4_000
    module = detectors.wav2vec2(**options)
    variables = detectors.randomize(module, samples)
    windows = 3 * detectors.windows(samples, 2) + 0.1
    apply = jax.jit(lambda x: module.apply(variables, x, hidden_states=True))
    output, states = apply(windows)
    for i, expected in enumerate([output, *states]):

        def build(graph, x, i=i, expected=expected):
            output, states, count = wav2vec2(
                graph, module, variables["params"], x, samples
            )
            assert count == expected.shape[1]
            return [output, *states][i]

        value = run(build, {"x": windows})
        np.testing.assert_allclose(value, expected, atol=3e-5)
