"""The log-mel spectrogram as a convolution, and an encoder's hidden states."""

import numpy as np
import pytest

from mldg_jax.models.onnx_graph.whisper_nodes import log_mel, whisper
from mldg_jax.models.whisper import log_mel as expected_log_mel
from tests import signals
from tests.models.onnx_graph import detectors
from tests.models.onnx_graph.running import run


@pytest.mark.parametrize("samples", [9_000, 9_119, 9_120])
def test_the_spectrogram_is_whispers(samples):
    """Any rest after the last hop, a tone beside noise at −90 dB, and silence."""
    waveform = np.stack(
        [
            *signals.speech_like(samples),
            np.sin(0.5 * np.arange(samples)) + 3e-5 * np.cos(np.arange(samples) ** 2),
            np.zeros(samples),
        ]
    ).astype(np.float32)
    ours = run(lambda graph, x: log_mel(graph, x, 80), {"x": waveform})
    expected = expected_log_mel(waveform)
    assert ours.shape == (4, 80, samples // 160)
    np.testing.assert_allclose(np.swapaxes(ours, 1, 2), expected, atol=2e-4)


@pytest.mark.parametrize("samples", [9_000, 9_120])
def test_the_hidden_states_are_the_encoders(samples):
    module = detectors.whisper()
    variables = detectors.randomize(module, samples)
    windows = detectors.windows(samples, 2)
    frames = module.apply(variables, windows, hidden_states=True)
    for i, expected in enumerate([frames[0], *frames[1]]):

        def build(graph, x, i=i, expected=expected):
            output, states, count = whisper(
                graph, module, variables["params"], x, samples
            )
            assert count == expected.shape[1]
            return [output, *states][i]

        value = run(build, {"x": windows})
        np.testing.assert_allclose(value, expected, atol=2e-5)
