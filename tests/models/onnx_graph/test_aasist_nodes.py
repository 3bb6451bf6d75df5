"""AASIST on raw waveforms; the head is tested in whole detectors."""

import jax
import numpy as np
import pytest

from mldg_jax.models.aasist import AASIST, AASIST_L
from tests.models.onnx_graph import detectors

SMALL = {"filters": 20, "channels": (4, 4, 6, 6, 6, 6), "dims": (8, 6)}


@pytest.mark.parametrize(
    ("options", "samples"), [(SMALL, 9_000), (SMALL | {"taps": 51}, 10_001)]
)
def test_raw_aasist_gives_its_logits(options, samples):
    module = AASIST(**options)
    variables = detectors.randomize(module, samples)
    windows = detectors.windows(samples)
    expected = np.asarray(jax.jit(module.apply)(variables, windows))
    session = detectors.session(module, variables, samples)
    logits = session.run(["logits"], {"waveform": windows})[0]
    assert np.ptp(expected, axis=0).min() > 1e-2
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("options", [{}, AASIST_L], ids=["AASIST", "AASIST-L"])
def test_published_sizes(options):
    module = AASIST(**options)
    variables = detectors.randomize(module, 64_600)
    windows = detectors.windows(64_600, 4)
    expected = np.asarray(jax.jit(module.apply)(variables, windows))
    session = detectors.session(module, variables, 64_600)
    logits = session.run(["logits"], {"waveform": windows})[0]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
