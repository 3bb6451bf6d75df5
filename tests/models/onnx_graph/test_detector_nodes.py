"""Graphs of whole detectors give the logits of the Flax modules."""

import jax
import numpy as np
import pytest

from mldg_jax.models.detector import Detector
from mldg_jax.models.onnx_graph.detector_nodes import detector_graph
from tests.models.onnx_graph import detectors
from tests.small import Head


@pytest.mark.parametrize("kind", detectors.DETECTORS)
def test_every_kind_gives_its_logits(kind):
    module = detectors.DETECTORS[kind]
    variables = detectors.randomize(module)
    windows = detectors.windows()
    expected = np.asarray(jax.jit(module.apply)(variables, windows))
    session = detectors.session(module, variables, scale=0.7, offset=-2.0)
    score, logits = session.run(["score", "logits"], {"waveform": windows})
    assert np.ptp(expected, axis=0).min() > 1e-2  # windows differ
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    by_hand = 0.7 * (expected[:, 1] - expected[:, 0]) - 2
    np.testing.assert_allclose(score, by_hand, atol=1e-5)
    alone = session.run(["logits"], {"waveform": windows[2:3]})[0]
    np.testing.assert_allclose(alone, expected[2:3], atol=1e-5)


def test_a_part_without_a_writer_is_named():
    module = Detector(detectors.whisper(), Head())
    variables = detectors.randomize(module)
    with pytest.raises(ValueError, match="no graph for a Head"):
        detector_graph(module, variables, detectors.SAMPLES)
    with pytest.raises(ValueError, match="no graph for a Head"):
        detector_graph(Head(), variables, detectors.SAMPLES)
