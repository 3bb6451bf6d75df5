"""wav2vec 2.0 and its relatives, in the hidden states that heads take."""

import jax
import numpy as np
import pytest

from mldg_jax.models.hubert import HuBERT
from mldg_jax.models.onnx_graph.wav2vec2_nodes import wav2vec2
from mldg_jax.models.wavlm import WavLM
from tests.models.onnx_graph import detectors
from tests.models.onnx_graph.running import run

MODULES = {
    "xlsr": detectors.wav2vec2(),
    "base": detectors.wav2vec2(**detectors.BASE),
    "normalize": detectors.wav2vec2(normalize=True, mask_embedding=False),
    "distilhubert": detectors.wav2vec2(
        HuBERT, **detectors.BASE, normalize_channels=False
    ),
    "wavlm": detectors.wav2vec2(WavLM, buckets=8, max_distance=6),
    "wavlm base": detectors.wav2vec2(WavLM, **detectors.BASE),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_hidden_states_are_the_encoders(name):
    samples = 4_000
    module = MODULES[name]
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
