"""An exported detector scores as ``mldg score`` does, and says what it is."""

import numpy as np

from mldg_jax.exporting.formats import export_run
from mldg_jax.exporting.onnx_files import OnnxSession
from mldg_jax.scoring import scorer
from tests import signals


def test_whisper_scores_as_before(smoke_run, tmp_path):
    code = export_run(smoke_run, tmp_path / "out", "onnx")
    names: dict = {}
    exec(code, names)
    assert names["scores"].shape == (1,)
    detector = scorer.load(smoke_run)
    windows = signals.speech_like(detector.samples, seed=3)
    session = OnnxSession(tmp_path / "out" / "model.onnx")
    expected = scorer.score_waveforms(detector, windows)
    np.testing.assert_allclose(session.scores(windows), expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3  # or the test could not fail
